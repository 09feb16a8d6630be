"""Define the exit codes of `pandium-api`."""

from __future__ import annotations

__all__ = [
    "API",
    "BROKEN_PIPE",
    "CONFIGURATION",
    "IO_ERROR",
    "SIGNAL",
    "SOME_FAILED",
    "SUCCESS",
    "TIMEOUT",
    "USAGE",
]

SUCCESS, SOME_FAILED, USAGE, CONFIGURATION, API, TIMEOUT = range(6)
IO_ERROR = 74  # EX_IOERR in sysexits.h
# Shells report 128 + N for a command terminated by signal N. A broken pipe is reported as SIGPIPE.
SIGNAL = 128
BROKEN_PIPE = SIGNAL + 13
