"""Handle the signals that end a command: SIGINT (Ctrl-C), SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import time
from math import inf
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable
    from types import FrameType, TracebackType

__all__ = ["Interruption", "SignalHandler", "ignore_signals"]

T = TypeVar("T")

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_SHUTDOWN_SECONDS = 5.0  # the time after the first signal during which others are ignored


class Interruption(KeyboardInterrupt):
    """
    A signal ended the command.

    :param number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class SignalHandler:
    """
    A context manager in which all of these signals end a command in the same way.

    The first signal cancels the command's event loop, or raises ``Interruption`` if there is none.
    Others are ignored for a few seconds, so that shutdown can complete. After that, another signal
    raises ``Interruption`` wherever the command is, for example in a blocked write. A signal that
    the process ignores remains ignored.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._ignored_until = -inf
        self._cancel: Callable[[], object] | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) not in {signal.SIG_IGN, None}:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._first is None:  # otherwise, ignore further signals until the process has ended
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if now < self._ignored_until:
            return
        self._ignored_until = now + _SHUTDOWN_SECONDS
        is_first = self._first is None
        self._first = self._first or number
        if is_first and self._cancel is not None:
            self._cancel()
        else:
            raise Interruption(self._first)

    def run(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """
        Run a coroutine function in an event loop that the signals cancel.

        :param function: the coroutine function.
        :param arguments: its arguments.
        :raises Interruption: if there was a signal, whatever else was raised during shutdown.
        :raises BaseException: what the function raised. Exception groups are unwrapped.
        """
        import anyio  # imports an event loop, which --help does not need

        try:
            result: T = anyio.run(self._run_cancelable, function, *arguments)
        except BaseException as error:
            self._raise_if_interrupted()
            if isinstance(error, BaseExceptionGroup):
                leaf = _first_leaf(error)
                raise leaf from leaf.__cause__
            raise
        self._raise_if_interrupted()
        return result

    async def _run_cancelable(
        self, function: Callable[..., Awaitable[T]], *arguments: object
    ) -> Any:
        import asyncio

        import anyio

        from pandium._daemon_executor import DaemonExecutor

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._handle_loop_error)
        loop.set_default_executor(DaemonExecutor())
        with anyio.CancelScope() as scope:
            # A handler runs between two bytecodes, so it must not change the event loop's state.
            self._cancel = lambda: loop.call_soon_threadsafe(scope.cancel)
            try:
                return await function(*arguments)
            finally:
                self._cancel = None
        return None

    def _handle_loop_error(self, loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        if self._first is None:  # otherwise, the interruption is reported instead
            loop.default_exception_handler(context)

    def _raise_if_interrupted(self) -> None:
        if self._first is not None:
            raise Interruption(self._first) from None


def _first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def ignore_signals() -> None:
    """Ignore the signals from now on."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
