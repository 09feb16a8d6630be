"""
The entry point of the `pandium-api` command.

This module is not part of the package, because it must handle Ctrl-C while the package is
being imported.
"""

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line in `sys.argv` and return the exit code."""
    previous = signal.getsignal(signal.SIGINT)
    if previous is signal.default_int_handler:
        # There is nothing to clean up during the import. Let SIGINT terminate the process, because
        # Python's default handler would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pandium._cli import main as run  # noqa: PLC0415 - must follow the SIGINT setup

    signal.signal(signal.SIGINT, previous)
    return run()


if __name__ == "__main__":
    sys.exit(main())
