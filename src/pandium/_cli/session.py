"""Run a coroutine function with a client, with logging and Ctrl-C handling set up."""

from __future__ import annotations

import logging
import signal
import sys
import time
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

import anyio

from pandium import AsyncPandium, Retry
from pandium._cli.key import find_key
from pandium._cli.options import get_option
from pandium._cli.output.terminal import note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import FrameType

__all__ = ["hints_on_interrupt", "run"]

_SHUTDOWN_SECONDS = 5.0  # the time after the first Ctrl-C during which others are ignored
_logger = logging.getLogger("pandium")
_JOURNAL_LOGGER = "pandium.journal"


def run(use_client: Callable[[AsyncPandium], Awaitable[int]]) -> int:
    """
    Call a coroutine function with a client configured from the command's options.

    :param use_client: a coroutine function that takes the client and returns the exit code.
    :returns: the exit code.
    :raises ConfigurationError: if there is no API key or another setting is invalid.
    """
    client_options = _client_options()
    with _log_to_stderr():
        return anyio.run(_run, use_client, client_options)


def _client_options() -> dict[str, Any]:
    given = {name: get_option(name) for name in ("environment", "base_url", "timeout")}
    client_options = {name: value for name, value in given.items() if value is not None}
    if (attempts := get_option("attempts")) is not None:
        client_options["retry"] = Retry(attempts=attempts)
    return {**client_options, "api_key": find_key(get_option("key_file"))}


async def _run(
    use_client: Callable[[AsyncPandium], Awaitable[int]], client_options: dict[str, Any]
) -> int:
    with _protect_shutdown():
        async with AsyncPandium(**client_options) as client:
            return await use_client(client)


@contextmanager
def _protect_shutdown() -> Iterator[None]:
    """Ignore Ctrl-C for a few seconds after the first one, so that shutdown can complete."""
    previous, ignored_until = signal.getsignal(signal.SIGINT), -inf
    if not callable(previous):  # the process ignores the signal
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal ignored_until
        if (now := time.monotonic()) >= ignored_until:
            ignored_until = now + _SHUTDOWN_SECONDS
            # On the first call, asyncio's handler cancels the main task. On the second, it raises
            # KeyboardInterrupt.
            previous(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if ignored_until == -inf:  # otherwise the event loop is still shutting down
            signal.signal(signal.SIGINT, previous)


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(self.format(record))


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """
    Log errors to standard error, plus warnings on a terminal and everything with --debug.

    A warning about the journal is always logged, because without it an old journal looks like
    success.
    """
    is_debug, previous_level = get_option("debug", False), _logger.level
    handler = _NoteHandler(logging.DEBUG if is_debug else logging.WARNING)
    if not (is_debug or sys.stderr.isatty()):
        handler.addFilter(
            lambda record: record.levelno >= logging.ERROR or record.name == _JOURNAL_LOGGER
        )
    _logger.setLevel(logging.DEBUG if is_debug else previous_level)
    _logger.addHandler(handler)
    try:
        yield
    finally:
        _logger.removeHandler(handler)
        _logger.setLevel(previous_level)


@contextmanager
def hints_on_interrupt(get_hints: Callable[[], Iterable[str]]) -> Iterator[None]:
    """
    Print hints, such as how to resume, if Ctrl-C interrupts the block.

    :param get_hints: a function that returns the hints. It is called after the interrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        if hints := "; ".join(get_hints()):
            note(f"interrupted; {hints}")
        raise
