"""Fixtures that several unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.journals import CalendarClock, trace_statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "journal"


@pytest.fixture
def calendar() -> CalendarClock:
    """Return a clock whose date the test sets."""
    return CalendarClock()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Return the list of the SQL statements that are executed, by any connection."""
    traced: list[str] = []
    with trace_statements(traced.append):
        yield traced
