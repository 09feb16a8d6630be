"""Detecting terminals and escaping text that would control them."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
import wcwidth
from hypothesis import example, given
from hypothesis import strategies as st

from pandium._cli.output.terminal import can_draw, escape_controls, note, terminal_width
from support.cli import Terminal, api_variables, run_child, run_on_terminal
from support.records import HOSTILE

if TYPE_CHECKING:
    from pandium.emulator import Emulator


@given(st.text())
@example(HOSTILE)
@example("a\u00a0b\u3000c")
def test_escaped_text_is_printable(text: str) -> None:
    """Escaped text has no control characters, no bidirectional marks and a definite width."""
    escaped = escape_controls(text)
    assert escaped.isprintable()
    assert wcwidth.wcswidth(escaped) >= 0


def test_controls_become_visible_escapes() -> None:
    """Control characters become escapes. Characters of ambiguous width are removed."""
    assert escape_controls(HOSTILE) == r"\x1b[31mred\x07\x9b2J\u202egnp.exe\ud800\r\n"
    assert escape_controls("a\u00a0b\tc\nd", keep="\n\t") == "a b\tc\nd"
    assert escape_controls("caf\udce9 \udcff") == r"caf\xe9 \xff"
    assert escape_controls("👩‍💻 ❤️ 👍🏽 🇩🇪") == "👩💻 ❤ 👍 DE"


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"TERM": "Unknown"}, False),
        (Terminal(), {"TERM": ""}, True),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
    ],
)
def test_only_a_capable_terminal_can_draw(
    stream: io.StringIO,
    environ: dict[str, str],
    expected: bool,  # noqa: FBT001 - a test parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`NO_COLOR`, a dumb terminal and a pipe all disable colors and cursor movement."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert can_draw(stream) is expected


def test_only_a_terminal_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width is the number of columns of a terminal, or `None` for a pipe."""
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal_width(Terminal()) == 72
    assert terminal_width(io.StringIO()) is None


def test_a_note_is_one_safe_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A message with line breaks and control characters is one line on standard error."""
    note("first\nsecond \x1b[31mred")
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "pandium-api: first second \\x1b[31mred\n")


def test_a_note_that_cannot_be_written_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """If standard error is not writable, the message is dropped without an error."""

    class FullDisk(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError("no space left")

    monkeypatch.setattr(sys, "stderr", FullDisk())
    note("lost")


@pytest.mark.posix
@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_plain_terminal_gets_no_escape_sequences(
    changes: dict[str, str], emulator: Emulator
) -> None:
    """With `NO_COLOR` or on a dumb terminal, a command prints no escape sequences."""
    code, screen = run_on_terminal(
        "integrations", "list", environ=api_variables(emulator.url, **changes)
    )
    assert code == 0
    assert "ID  NAME" in screen.written
    assert "\x1b" not in screen.written


def test_a_pipe_gets_no_escape_sequences(emulator: Emulator) -> None:
    """In a pipe, nothing is cropped and there are no escape sequences, even with `FORCE_COLOR`."""
    emulator.add_integration("x" * 300)
    done = run_child(
        "integrations", "list", environ=api_variables(emulator.url, FORCE_COLOR="1", COLUMNS="40")
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "x" * 300 in done.stdout


@pytest.mark.parametrize("name", ["COLUMNS", "LINES"])
@pytest.mark.parametrize("size", ["²", "٣", "9" * 5000, "-1", "wide", ""])
def test_a_terminal_size_that_is_not_a_number_is_ignored(
    size: str, name: str, emulator: Emulator
) -> None:
    """`COLUMNS` and `LINES` never end a command, whatever they contain."""
    emulator.add_tenant("acme")
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    environ = api_variables(emulator.url, **{name: size})
    done = run_child("tenants", "sync", "1", "--wait", "--min-interval", "0.01", environ=environ)
    assert (done.returncode, done.stderr) == (0, "pandium-api: 1 succeeded\n")
