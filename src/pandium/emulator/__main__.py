"""Run the emulator on this machine until Ctrl-C, SIGTERM or SIGHUP, for any program."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from pandium.emulator._emulator import Emulator
from pandium.emulator.runs.clock import Clock

PROGRAM = "python -m pandium.emulator"
MAX_PORT = 65_535
IO_ERROR, BROKEN_PIPE = 74, 141


def main(arguments: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """
    Run until a signal.

    Return 0, 1 if the state could not be saved, or 74 or 141 if the URL could not be printed. Exit
    with 2 on other errors.
    """
    parser = _parser(program)
    given = parser.parse_args(arguments)
    with _signals() as signals, ExitStack() as stack:
        try:
            emulator = _emulator(given)
            stack.enter_context(emulator)
            if given.state is not None:
                emulator.save()  # report an unwritable file now rather than at the end
        except (OSError, ValueError) as error:
            parser.error(str(error))
        try:
            print(f"Pandium emulator: {emulator.url}", flush=True)  # noqa: T201 - its one line
        except OSError as error:
            return _report_output_error(error, program)
        _wait(signals)
        stack.close()
        return 0 if given.state is None else _save(emulator, program)


def _report_output_error(error: OSError, program: str) -> int:
    """Return the exit code of `pandium-api` for output that cannot be written."""
    # The interpreter would try to write the rest at exit.
    with suppress(OSError), Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    reason = f"{program}: error: cannot write the output: {error.strerror}"
    print(reason, file=sys.stderr)  # noqa: T201 - a command
    return IO_ERROR


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--port", type=_port, default=8080, help="the port; 0 chooses a free one (default: 8080)"
    )
    parser.add_argument("--api-key", type=_key, help="the only accepted API key (default: any)")
    parser.add_argument("--speed", type=_speed, default=1.0, help="the clock's speed (default: 1)")
    parser.add_argument("--seed", help="the initial data: 'demo', or a JSON or YAML file")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="a JSON or YAML file: loaded instead of the seed if it exists, and saved at the end",
    )
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= MAX_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number from 0 to {MAX_PORT}, not {text!r}")


def _speed(text: str) -> float:
    try:
        return Clock(float(text)).speed
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}") from None


def _key(text: str) -> str:
    if text.strip():
        return text.strip()
    raise argparse.ArgumentTypeError("must not be empty")


@contextmanager
def _signals() -> Iterator[SimpleQueue[int]]:
    """Put signals into a queue, and restore the previous handlers at the end."""
    # SimpleQueue is the only queue that may be used in a signal handler.
    queue: SimpleQueue[int] = SimpleQueue()
    handled = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # missing on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # as after nohup
        handled.append(hangup)
    before = {one: signal.signal(one, lambda number, _: queue.put(number)) for one in handled}
    try:
        yield queue
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _wait(signals: SimpleQueue[int]) -> None:
    """Wait for a signal."""
    # While other threads are busy, CPython may not handle signals that arrive together until
    # another one arrives.
    while True:
        with suppress(Empty):
            signals.get(timeout=0.5)
            return


def _emulator(given: argparse.Namespace) -> Emulator:
    option, value = "--seed", given.seed
    try:
        emulator = Emulator(
            given.seed,
            given.api_key,
            given.port,
            clock=Clock(given.speed),
            state_file=given.state,
        )
        if given.state is not None and given.state.exists():
            option, value = "--state", given.state
            emulator.load(given.state)
    except ValueError as error:
        raise ValueError(f"{option} {value}: {error}") from None
    return emulator


def _save(emulator: Emulator, program: str) -> int:
    try:
        emulator.save()
    except (OSError, ValueError) as error:
        print(f"{program}: the state could not be saved: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
