"""Whether this system is POSIX, on which the tests marked ``posix`` depend."""

from __future__ import annotations

import signal

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["ENDING_SIGNALS", "IS_POSIX", "POSIX_REASON"]

IS_POSIX = fcntl is not None
POSIX_REASON = "requires a POSIX system"
# The signals that end a command. Windows has no SIGHUP.
ENDING_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
