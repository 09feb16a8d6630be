"""What the tests marked ``posix`` need, and whether this system has it."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ENDING_SIGNALS", "FULL", "IS_POSIX", "POSIX_REASON", "small_pipe"]

IS_POSIX = fcntl is not None
POSIX_REASON = "requires a POSIX system"
# The signals that end a command. Windows has no SIGHUP.
ENDING_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
FULL = b"x" * 4096  # fills a small pipe


@contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    """Return the ends of a pipe for little output, as of a pager that has stopped reading."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, len(FULL))
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)
