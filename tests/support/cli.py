"""Run the command: in this process, as a child in pipes, and as a child on a terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import attrs
import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PATIENCE = 60  # seconds within which whatever a test waits for surely happens
KEY = "a-key-of-the-tests"

# Shells ignore the interrupt in what they run in the background, and children inherit that.
START = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
RUN = START + "from pandium_api import main; sys.exit(main())"
# A session of its own, whose terminal is standard input: so Ctrl-C and prompts find it.
ON_TERMINAL = "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); " + RUN
NONE: Mapping[str, str] = {}
_UNSET = {"COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR"}
_UNSET |= {"PANDIUM_API_KEY", "PANDIUM_BASE_URL", "PANDIUM_ENV"}


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _UNSET}
    # The emulator is on this machine, where a proxy of the environment does not reach it.
    return {**kept, "TERM": "xterm-256color", "no_proxy": "127.0.0.1", **changes}


def of(url: str, **more: str) -> dict[str, str]:
    """Give the variables of a child that works with a server."""
    return {"PANDIUM_API_KEY": KEY, "PANDIUM_BASE_URL": url, **more}


def run_child(
    *arguments: str, program: str = RUN, environ: Mapping[str, str] = NONE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=child_environment(environ),
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
    )


def start_child(*arguments: str, environ: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=child_environment(environ),
    )


@attrs.define
class Screen:
    """What a child wrote to its terminal, and what its screen looked like then."""

    columns: int
    lines: int
    written: str = ""

    @property
    def cells(self) -> list[list[str]]:
        """What stands in each cell of the screen; a wide character has an empty one behind it."""
        screen = pyte.Screen(self.columns, self.lines)
        # pyte forgets what comes after a mark without width.
        pyte.Stream(screen).feed(self.written.replace("\u200e", ""))
        return [
            [line[x].data for x in range(self.columns)]
            for line in map(screen.buffer.__getitem__, range(self.lines))
        ]

    @property
    def rows(self) -> list[str]:
        return ["".join(cells).rstrip() for cells in self.cells]

    @property
    def text(self) -> str:
        return "\n".join(self.rows)


def run_on_terminal(
    *arguments: str,
    columns: int = 80,
    lines: int = 24,
    answer: Callable[[Screen], bytes | None] = lambda _: None,
    environ: Mapping[str, str] = NONE,
) -> tuple[int, Screen]:
    """Run a child on a terminal; what `answer` gives for what it has written so far is typed."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, *arguments],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=child_environment(environ),
    )
    os.close(inner)
    screen, raw = Screen(columns, lines), b""
    try:
        while chunk := os.read(outer, 65536):
            raw += chunk
            screen.written = raw.decode(errors="ignore")
            if typed := answer(screen):
                os.write(outer, typed)
    except OSError:  # how Linux reports the end of a terminal
        pass
    os.close(outer)
    return child.wait(PATIENCE), screen


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Interrupting(io.StringIO):
    """Standard output that interrupts the program when a text is written to it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def write(self, text: str) -> int:
        if self._text in text:
            signal.raise_signal(signal.SIGINT)
        return super().write(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]  # of strings
        for line in lines:
            self.write(line)
