"""
The `pandium-api` command.

Prints records to standard output and messages to standard error. Returns an exit code.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pandium._blocking_file import BlockingFile
from pandium._cli import exit_codes
from pandium._cli.output.terminal import is_blocked
from pandium._cli.signals import ignore_signals

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["main"]

_STDERR = 2  # the file descriptor
_MAX_SIZE_LENGTH = 6  # digits
_EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "fastapi": "emulator",
    "jsonschema": "emulator",
    "mcp": "mcp",
    "uvicorn": "emulator",
}


def main() -> int:
    """Run the command line in `sys.argv` and return the exit code."""
    if not _prepare_streams():
        return exit_codes.IO_ERROR
    _discard_invalid_sizes()
    try:
        code = int(import_module("pandium._cli.app").run(sys.argv[1:]))
    except ModuleNotFoundError as error:
        code = _report_missing_extra(error)
    except KeyboardInterrupt as interruption:
        _ignore_signals()
        code = exit_codes.SIGNAL + getattr(interruption, "number", signal.SIGINT)
        _discard_blocked_output()
    _flush_streams()
    return code


def _ignore_signals() -> None:
    # There is nothing left to interrupt. The hook is silenced, because Python would report a signal
    # that any thread receives while its handler is being replaced, even if it is handled later.
    sys.unraisablehook = lambda _: None
    ignore_signals()


def _discard_blocked_output() -> None:
    """Discard buffered output if the program that reads it does not, because it may never do so."""
    for stream in (sys.stdout, sys.stderr):
        if is_blocked(stream):
            _redirect_to_null(stream)


def _prepare_streams() -> bool:
    """
    Replace streams that are closed, unbuffered or non-blocking.

    :returns: whether standard output is open.
    """
    # Occupy closed standard streams, so that no file, such as a journal, takes their descriptors.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    # Python sets a stream to None if it was closed when the process started.
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    if sys.stdout is None:
        sys.stderr.write("pandium-api: error: standard output is closed\n")
        return False
    sys.stdout, sys.stderr = _buffer(sys.stdout), _buffer(sys.stderr)
    if sys.stdin is not None and not _is_blocking(sys.stdin):
        source = io.BufferedReader(BlockingFile(sys.stdin.fileno(), closefd=False))
        sys.stdin = io.TextIOWrapper(source, sys.stdin.encoding, sys.stdin.errors)
    return True


def _buffer(stream: TextIO) -> TextIO:
    """Return a stream with a buffer, even if Python was told to use none, whose writes wait."""
    # Without a buffer, Python ignores that the system may have written less than it was given, for
    # example because the disk is full or because of a signal.
    is_buffered = not isinstance(getattr(stream, "buffer", None), io.RawIOBase)
    if is_buffered and _is_blocking(stream):
        return stream
    cls = io.FileIO if _is_blocking(stream) else BlockingFile
    file = io.BufferedWriter(cls(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=True)


def _is_blocking(stream: TextIO) -> bool:
    try:
        return os.get_blocking(stream.fileno())
    except (AttributeError, OSError):  # on Windows, or not a file
        return True


def _discard_invalid_sizes() -> None:
    """Discard a terminal size that is not a number, such as "²", but that rich would parse."""
    for name in ("COLUMNS", "LINES"):
        size = os.environ.get(name, "")
        if not (size.isascii() and size.isdigit() and len(size) <= _MAX_SIZE_LENGTH):
            os.environ.pop(name, None)


def _flush_streams() -> None:
    # The interpreter flushes both streams again at exit and prints a traceback if that fails.
    # Redirecting a broken stream to the null device prevents this.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _redirect_to_null(stream)


def _redirect_to_null(stream: TextIO) -> None:
    with Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), stream.fileno())


def _report_missing_extra(error: ModuleNotFoundError) -> int:
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        raise error
    extra = "demo" if sys.argv[1:2] == ["demo"] else _EXTRAS[module]
    sys.stderr.write(f'pandium-api requires {module}: pip install "pandium[{extra}]"\n')
    return exit_codes.CONFIGURATION
