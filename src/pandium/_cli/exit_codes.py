"""What the exit codes of `pandium-api` say."""

from __future__ import annotations

__all__ = [
    "API",
    "CONFIGURATION",
    "INTERRUPTED",
    "NO_IO",
    "NO_READER",
    "SOME_FAILED",
    "TOO_LATE",
    "USAGE",
]

SOME_FAILED, USAGE, CONFIGURATION, API, TOO_LATE = range(1, 6)
NO_IO = 74  # as in sysexits.h
# What shells report for a command that SIGINT or SIGPIPE ended.
INTERRUPTED, NO_READER = 130, 141
