"""Shortening the log of a run."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandium._run_log import shorten_log


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)))
def test_a_short_log_is_unchanged(lines: list[str]) -> None:
    """A log of at most 100 lines and 16 KiB is printed as it is."""
    text = "\n".join(lines[:100])
    assert shorten_log(text) == ("\n".join(text.splitlines()), 0)


@settings(deadline=None)  # a log of five megabytes takes some time
@given(count=st.integers(101, 5000), width=st.integers(1, 1000))
def test_a_long_log_keeps_its_end(count: int, width: int) -> None:
    """A long log keeps whole lines from its end, within 100 lines and 16 KiB."""
    lines = [f"{number:0{width}}" for number in range(count)]
    end, omitted = shorten_log("\n".join(lines) + "\n")
    kept = end.splitlines()
    assert kept == lines[omitted:]
    assert 0 < len(kept) <= 100
    assert len(end) <= 16 * 1024
    assert len(kept) == 100 or len(end) + width + 1 >= 16 * 1024


def test_a_single_line_that_is_too_long_keeps_its_end() -> None:
    """A line of a megabyte is shortened from its beginning."""
    end, omitted = shorten_log("first\n" + "x" * 2**20 + "end")
    assert (end[0], end[-4:], omitted) == ("…", "xend", 1)
    assert len(end) <= 16 * 1024 + 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "x\n", "x\r\n"])
def test_only_the_end_of_a_long_log_is_split_into_lines(end: str) -> None:
    """The lines of a log of megabytes take no memory, and all of them are counted."""
    log = end * 2**20
    tracemalloc.start()
    shown, omitted = shorten_log(log)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shown == "\n".join(end.splitlines() * 100)
    assert omitted == 2**20 - 100
    assert peak < 2**20


def test_an_empty_log_has_no_lines() -> None:
    """An empty log stays empty."""
    assert shorten_log("") == ("", 0)
