"""Serve an emulator until a signal: `python -m pandium.emulator --port 8080`."""

import argparse
import signal
from collections.abc import Sequence
from queue import SimpleQueue

from pandium.emulator._emulator import Emulator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser("python -m pandium.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="0 lets the system pick one")
    parser.add_argument("--api-key", help="the only key that is right (default: any)")
    parser.add_argument("--seed", help="'demo', or the path of a JSON or YAML file")
    given = parser.parse_args(arguments)
    try:
        emulator = Emulator(given.seed, given.api_key, given.port)
        serve(emulator)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


def serve(emulator: Emulator) -> None:
    """Serve until a signal comes; the handlers of before are back afterwards."""
    # Of all queues only SimpleQueue may be used in a signal handler.
    signals: SimpleQueue[int] = SimpleQueue()
    before = {one: signal.signal(one, lambda number, _: signals.put(number)) for one in SIGNALS}
    try:
        with emulator:
            print(f"Pandium emulator: {emulator.url}", flush=True)  # noqa: T201 - its one line
            signals.get()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


if __name__ == "__main__":
    raise SystemExit(main())
