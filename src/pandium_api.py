"""
Start the command `pandium-api`.

This module is outside the package, because Ctrl-C may interrupt the import of the package.
"""

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process, and return the exit code."""
    previous = signal.getsignal(signal.SIGINT)
    if previous is signal.default_int_handler:
        # During the import there is nothing to clean up. SIGINT ends the process without a
        # traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pandium._cli import main as run  # noqa: PLC0415 - imported after SIGINT is handled

    signal.signal(signal.SIGINT, previous)
    return run()


if __name__ == "__main__":
    sys.exit(main())
