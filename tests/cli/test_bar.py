"""The progress bar shown while waiting for runs."""

from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING

from pandium._cli.output.bar import Bar
from support.cli import Screen, Terminal

if TYPE_CHECKING:
    import pytest

ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def draw_bar() -> None:
    bar = Bar()
    bar.start()
    bar.update(7, 5, 1)
    with bar.hidden():
        sys.stderr.write("a message\n")
    bar.stop()


def test_the_bar_counts_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar shows how many runs are done and how many failed, and is removed at the end."""
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    draw_bar()
    written = stream.getvalue()
    assert "5/7 done, 1 failed" in ESCAPE_SEQUENCE.sub("", written)
    rows = Screen(80, 24, written.replace("\n", "\r\n")).rows
    assert [row for row in rows if row] == ["a message"]


def test_a_pipe_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """If standard error is not a terminal, the bar prints nothing."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    draw_bar()
    assert stream.getvalue() == "a message\n"
