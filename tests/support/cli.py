"""Run the command in this process, as a child with pipes, or as a child on a terminal."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pyte

from support import KEY
from support.posix import IS_POSIX

if IS_POSIX:
    import fcntl
    import pty
    import resource
    import termios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pyte.screens import Char

    from pandium.emulator import Emulator

DEADLINE = 60  # the number of seconds after which a test fails instead of waiting for a child
FAST_POLLING = ("--min-interval", "0.05", "--poll-rate", "1000")

# Background jobs of a shell ignore SIGINT, and their child processes inherit this.
PREPARE_CHILD = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
RUN_CHILD = PREPARE_CHILD + "from pandium_api import main; sys.exit(main())"
# Start a session with a controlling terminal, so that Ctrl-C and prompts work.
RUN_ON_TERMINAL = (
    "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); " + RUN_CHILD
)
NO_VARIABLES: Mapping[str, str] = {}
_UNSET_VARIABLES = {
    *("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR"),
    *("PANDIUM_API_KEY", "PANDIUM_BASE_URL", "PANDIUM_ENV"),
}


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child, without variables that would change its behavior."""
    inherited = {name: value for name, value in os.environ.items() if name not in _UNSET_VARIABLES}
    # A proxy could not reach the emulator, which listens on the local machine.
    return {**inherited, "TERM": "xterm-256color", "no_proxy": "127.0.0.1", **changes}


def api_variables(url: str, **changes: str) -> dict[str, str]:
    """Return the environment variables that make a child use a server."""
    return {"PANDIUM_API_KEY": KEY, "PANDIUM_BASE_URL": url, **changes}


def run_child(
    *arguments: str, program: str = RUN_CHILD, environ: Mapping[str, str] = NO_VARIABLES
) -> subprocess.CompletedProcess[str]:
    """Run a child until it exits and return its output."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=child_environment(environ),
        stdin=subprocess.DEVNULL,
        timeout=DEADLINE,
    )


def start_child(
    *arguments: str, environ: Mapping[str, str], **options: Any
) -> subprocess.Popen[str]:
    """Start a child whose output is read by the test."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-c", RUN_CHILD, *arguments],
        encoding="utf-8",
        env=child_environment(environ),
        **(streams | options),
    )


def limit_file_size(size: int) -> Callable[[], None]:
    """Return a function that limits the size of the files that a child writes, as a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@attrs.define
class Screen:
    """The output of a child on a terminal and the resulting screen."""

    columns: int
    lines: int
    written: str = ""

    @property
    def characters(self) -> list[list[Char]]:
        """The text and the style of each cell."""
        screen = pyte.Screen(self.columns, self.lines)
        # pyte drops the text after a zero-width mark.
        pyte.Stream(screen).feed(self.written.replace("\u200e", ""))
        return [[screen.buffer[y][x] for x in range(self.columns)] for y in range(self.lines)]

    @property
    def cells(self) -> list[list[str]]:
        """The text of each cell. The cell to the right of a wide character is empty."""
        return [[character.data for character in line] for line in self.characters]

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
    type_keys: Callable[[Screen], bytes | None] = lambda _: None,
    environ: Mapping[str, str] = NO_VARIABLES,
) -> tuple[int, Screen]:
    """
    Run a child on a terminal and return its exit code and the screen.

    :param type_keys: a function that is called with the screen after each output. It returns the
        keys to type, if any.
    """
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", RUN_ON_TERMINAL, *arguments],
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
            if keys := type_keys(screen):
                os.write(outer, keys)
    except OSError:  # Linux reports the end of a terminal as an error
        pass
    os.close(outer)
    return child.wait(DEADLINE), screen


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class InterruptingOutput(io.StringIO):
    """A standard output stream that raises SIGINT when a given text is written to it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def write(self, text: str) -> int:
        if self._text in text:
            signal.raise_signal(signal.SIGINT)
        return super().write(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]  # strings only
        for line in lines:
            self.write(line)


def add_tenants(emulator: Emulator, *final_statuses: str, seconds: float = 0) -> list[str]:
    """
    Add a tenant for each final status of a run and return the ids.

    :param seconds: the duration of each run, in seconds.
    """
    ids = []
    for final_status in final_statuses:
        tenant = emulator.add_tenant()
        phases = [("Running", seconds), (final_status, 0)]
        emulator.runs.script(tenant=tenant.id, appears_after=0.05, phases=phases)
        ids.append(str(tenant.id))
    return ids


def read_rows(out: str) -> dict[int | None, dict[str, Any]]:
    """Return the rows of a JSON Lines output by tenant id."""
    return {row["tenant_id"]: row for row in map(json.loads, out.splitlines())}


def read_outcomes(out: str) -> dict[int | None, str]:
    """Return the outcomes in a JSON Lines output by tenant id."""
    return {tenant_id: row["outcome"] for tenant_id, row in read_rows(out).items()}


def sent_posts(emulator: Emulator) -> list[str]:
    """Return the paths of all POST requests, sorted."""
    return sorted(request.path for request in emulator.requests if request.method == "POST")
