"""Run a coroutine function with a client, with logging and signal handling set up."""

from __future__ import annotations

import logging
import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click

from pandium import AsyncPandium, Retry
from pandium._cli import exit_codes
from pandium._cli.key import find_key
from pandium._cli.options import get_option, show_command
from pandium._cli.output.terminal import is_blocked, note
from pandium._cli.settings import find_api, find_key_file, find_profile
from pandium._cli.signals import SignalHandler
from pandium._http.environment import create_ssl_context, find_proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator

    from pandium._transport.events import OnResponse

__all__ = ["check_environment", "hints_on_abort", "resume_hints", "run", "run_coroutine"]

T = TypeVar("T")

_logger = logging.getLogger("pandium")
_ALWAYS_LOGGED = ("pandium.journal", "pandium.waiting")
_WARNING_INTERVAL = 30.0  # seconds
_HELD_INTERVAL = 0.5  # seconds
_MAX_HELD = 10_000  # older records are discarded


def run(
    use_client: Callable[[AsyncPandium], Awaitable[int]],
    *,
    can_prompt: bool = True,
    on_response: OnResponse | None = None,
) -> int:
    """
    Call a coroutine function with a client configured from the command's options.

    :param use_client: a coroutine function that takes the client and returns the exit code.
    :param can_prompt: whether to prompt for a missing key on a terminal.
    :param on_response: a function for the client to call after each response.
    :returns: the exit code.
    :raises ConfigurationError: if there is no API key or another setting is invalid.
    """
    client_options = {**_client_options(can_prompt=can_prompt), "on_response": on_response}
    with _log_to_stderr() as handler:
        return run_coroutine(_run, use_client, client_options, handler)


def _client_options(*, can_prompt: bool) -> dict[str, Any]:
    given = {name: get_option(name) for name in ("environment", "base_url", "timeout")}
    client_options = {name: value for name, value in given.items() if value is not None}
    # The client reads the environment variables itself, and names them in its errors.
    profile = find_profile()
    if profile is not None and (api := find_api(profile)).source == profile.source:
        client_options[api.name] = api.value
    if (attempts := get_option("attempts")) is not None:
        client_options["retry"] = Retry(attempts=attempts)
    key_file = find_key_file(profile)
    key = find_key(None if key_file is None else key_file.value, can_prompt=can_prompt)
    return {**client_options, "api_key": key}


async def _run(
    use_client: Callable[[AsyncPandium], Awaitable[int]],
    client_options: dict[str, Any],
    handler: _NoteHandler,
) -> int:
    code = exit_codes.SUCCESS
    async with AsyncPandium(**client_options) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(handler.keep_printing)
        code = await use_client(client)
        tasks.cancel_scope.cancel()
    return code


def check_environment(client: AsyncPandium) -> None:
    """
    Check the proxy and the certificates before a command sends many requests.

    Without this, each of them would fail for the same reason.

    :raises ConfigurationError: if an environment variable is invalid.
    """
    find_proxy(client._transport.config.base_url)  # noqa: SLF001 - has no public access
    create_ssl_context()


def run_coroutine(function: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Run a coroutine function in an event loop, which the command's signal handler can cancel."""
    context = click.get_current_context(silent=True)
    handler = None if context is None else context.find_object(SignalHandler)
    return (handler or SignalHandler()).run(function, *arguments)


class _NoteHandler(logging.Handler):
    """
    A handler that prints each record to standard error, or holds it while nobody reads the output.

    A warning about a retry is omitted if a similar one was printed recently. Otherwise, an outage
    would cause a warning for each attempt of each request.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._printed_at: dict[str, float] = {}
        self._omitted = 0
        self._held: deque[str] = deque(maxlen=_MAX_HELD)
        self._discarded = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not (self.level > logging.DEBUG and self._is_repeated(record)):
            more = f" ({self._omitted} similar warnings omitted)" if self._omitted else ""
            self._omitted = 0
            self._discarded += len(self._held) == _MAX_HELD
            self._held.append(self.format(record) + more)
        self._print_held()

    def _print_held(self, *, can_block: bool = False) -> None:
        self.acquire()
        try:
            while self._held and (can_block or not is_blocked(sys.stderr)):
                if self._discarded:
                    self._discarded, count = 0, self._discarded
                    note(f"{count} earlier messages omitted")
                else:
                    note(self._held.popleft())
        finally:
            self.release()

    async def keep_printing(self) -> None:
        """Print records that are held as soon as this does not block, until canceled."""
        while True:
            await anyio.sleep(_HELD_INTERVAL)
            self._print_held()

    def flush(self) -> None:
        """Print the records that are held, even if this blocks."""
        self._print_held(can_block=True)

    def discard(self) -> None:
        """Discard the records that are held and cannot be printed without blocking."""
        self._print_held()
        self._held.clear()

    def _is_repeated(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or record.name != _logger.name:
            return False
        last = self._printed_at.setdefault(record.msg, record.created)
        is_repeated = last != record.created and record.created - last < _WARNING_INTERVAL
        self._omitted += is_repeated
        if not is_repeated:
            self._printed_at[record.msg] = record.created
        return is_repeated


@contextmanager
def _log_to_stderr() -> Iterator[_NoteHandler]:
    """
    Log errors to standard error, plus warnings on a terminal and everything with --debug.

    Two kinds of warnings are always logged: about the journal, because without them an old journal
    looks like success, and about failed polls, because otherwise an outage looks like a slow run.
    """
    is_debug, previous_level = get_option("debug", False), _logger.level
    handler = _NoteHandler(logging.DEBUG if is_debug else logging.WARNING)
    if not (is_debug or sys.stderr.isatty()):
        handler.addFilter(
            lambda record: record.levelno >= logging.ERROR or record.name in _ALWAYS_LOGGED
        )
    _logger.setLevel(logging.DEBUG if is_debug else previous_level)
    _logger.addHandler(handler)
    try:
        yield handler
    except KeyboardInterrupt:
        handler.discard()  # a signal ends the command although nobody may read what it prints
        raise
    finally:
        _logger.removeHandler(handler)
        handler.flush()
        _logger.setLevel(previous_level)


@contextmanager
def hints_on_abort(get_hints: Callable[[BaseException], Iterable[str]]) -> Iterator[None]:
    """
    Add hints, such as how to resume, to whatever ends the block: a signal or an error.

    They are printed with the error, one per line.

    :param get_hints: a function that takes the exception and returns the hints.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        for hint in get_hints(error):
            error.add_note(hint)
        raise


def resume_hints(triggers: Collection[str]) -> list[str]:
    """Return a hint with the command that waits for triggers, if there are any."""
    command = show_command("runs", "wait", operands=triggers)
    return [f"to resume, run: {command}"] if triggers else []
