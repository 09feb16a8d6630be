"""Begin the command `pandium-api`: beside the package, whose import Ctrl-C may break off."""

import signal

__all__ = ["main"]


def main() -> int:
    """Run the command line, and give the exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # While it is loaded there is nothing to put in order, and a traceback helps nobody.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pandium._cli import main as run  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, before)
    return run()
