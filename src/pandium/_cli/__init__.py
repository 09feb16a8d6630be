"""The command `pandium-api`: what it needs beyond the client is loaded when it is run."""

from __future__ import annotations

import io
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from pandium._cli import exit_codes as codes

__all__ = ["main"]

_EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "fastapi": "emulator",
    "jsonschema": "emulator",
    "uvicorn": "emulator",
}


def main() -> int:
    """Run the command line, and give the exit code."""
    if not _has_output():
        return codes.NO_IO
    try:
        code = int(import_module("pandium._cli.app").run(sys.argv[1:]))
    except ModuleNotFoundError as error:
        code = _refuse(error)
    except KeyboardInterrupt:
        _ignore_interrupts()
        code = codes.INTERRUPTED
    except BrokenPipeError:
        code = codes.NO_READER
    _end_output()
    return code


def _ignore_interrupts() -> None:
    # There is nothing left to interrupt; and of one that is just on its way Python would complain.
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.unraisablehook = hook


def _has_output() -> bool:
    # Python has no streams of those that were closed before it began.
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    if sys.stdout is None:
        sys.stderr.write("pandium-api: error: standard output is closed\n")
    return sys.stdout is not None


def _end_output() -> None:
    # What cannot be written would fail again, with a traceback, when the interpreter ends.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _refuse(error: ModuleNotFoundError) -> int:
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        raise error
    extra = "demo" if sys.argv[1:2] == ["demo"] else _EXTRAS[module]
    sys.stderr.write(f'pandium-api needs {module}: pip install "pandium[{extra}]"\n')
    return codes.CONFIGURATION
