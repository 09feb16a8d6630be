"""Run the user's functions and iterables in threads, so that they do not block the event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Generator, Iterable, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from pandium._sync.iteration import SyncListing

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pandium._sync.loop_thread import LoopThread

__all__ = ["UserFunctions", "run_in_thread"]

T = TypeVar("T")
F = TypeVar("F")

# How long leaving a wait takes at most if `on_triggered` is still running, in seconds.
_REQUIRED_SECONDS = 2.0
_END = object()
# Reading these takes no time.
_IN_MEMORY = (list, tuple, set, frozenset)


class UserFunctions:
    """
    The functions and the iterable that a user passes to one call.

    The functions run one after another, in order, in a thread of this call. The iterable is read
    in another thread, because it may block until the next item is available.

    :param loop: the event loop in which the call runs.
    """

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._callbacks = FunctionThread()
        self._source = FunctionThread()

    def callback(self, function: F, *, is_required: bool = False) -> F:
        """
        Return a function that calls a plain function in the thread.

        :param function: the user's function. Anything else, such as ``None``, an async function or
            a mapping, is returned unchanged.
        :param is_required: whether to call the function even if the call has been canceled.
        """
        return _wrap(function, partial(self._callbacks.submit, is_required=is_required))

    def source(self, source: Iterable[T] | AsyncIterable[T]) -> Iterable[T] | AsyncIterable[T]:
        """Return an iterable that does not block the event loop."""
        if isinstance(source, SyncListing) and (listing := source.in_loop(self._loop)) is not None:
            return cast("AsyncIterable[T]", listing)
        if isinstance(source, (AsyncIterable, *_IN_MEMORY)):
            return source
        return ThreadedIterator(source, self._source) if isinstance(source, Iterable) else source

    def close(self) -> None:
        """End the threads."""
        self._callbacks.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def run_in_thread(function: F) -> F:
    """Return a function that calls a plain function in a new thread each time."""

    def submit(call: Callable[[], object]) -> Awaitable[object]:
        thread = FunctionThread()
        submitted = thread.submit(call)
        thread.close()
        return submitted

    return _wrap(function, submit)


def _wrap(function: F, submit: Callable[[Callable[[], object]], Awaitable[object]]) -> F:
    if not is_plain_function(function):
        return function
    plain = cast("Callable[..., object]", function)

    # This is not a coroutine function, whose code would not start in a task that was canceled.
    def wrapper(*args: object) -> Awaitable[object]:
        return submit(partial(plain, *args))

    return cast("F", wrapper)


def is_plain_function(value: object) -> bool:
    """Return whether a value can be called and is not an async function."""
    return callable(value) and not inspect.iscoroutinefunction(value)


class ThreadedIterator(AsyncIterator[T]):
    """An async iterator that reads a plain iterable in a thread."""

    def __init__(self, iterable: Iterable[T], thread: FunctionThread) -> None:
        self._iterable = iterable
        self._thread = thread
        self._iterator: Iterator[T] | None = None

    async def __anext__(self) -> T:
        item = await self._thread.submit(self._next)
        if item is _END:
            raise StopAsyncIteration
        return cast("T", item)

    def _next(self) -> object:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        return next(self._iterator, _END)


class FunctionThread:
    """
    A thread that calls functions one at a time, in order. It starts with the first one.

    It is a daemon thread, because a function that blocks must not block the end of the program.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[FunctionCall | None] = SimpleQueue()
        self._is_started = False
        self._last_required: FunctionCall | None = None

    def submit(self, function: Callable[[], object], *, is_required: bool = False) -> FunctionCall:
        """
        Call a function in the thread. Must be called in the event loop.

        :param is_required: whether to call the function even if nothing waits for it any longer.
        :returns: an awaitable for the result.
        :raises RuntimeError: if the process has too many threads.
        """
        if not self._is_started:  # if no thread can be started, the next call tries again
            # The thread holds no reference to this object, which ends it when it is deleted.
            arguments = (self._queue,)
            Thread(target=_run_calls, args=arguments, name="pandium functions", daemon=True).start()
            self._is_started = True
        call = FunctionCall(function, is_required=is_required)
        if is_required:
            self._last_required = call
        self._queue.put(call)
        return call

    def close(self) -> None:
        """End the thread after the current function, and wait for the required ones."""
        self._queue.put(None)
        if self._last_required is not None:
            self._last_required.ended.wait(_REQUIRED_SECONDS)

    def __del__(self) -> None:
        self._queue.put(None)


def _run_calls(queue: SimpleQueue[FunctionCall | None]) -> None:
    while (call := queue.get()) is not None:
        call.run()
        del call  # it would be kept until the next one


class FunctionCall(Awaitable[object]):
    """A call of a user's function, whose result can be awaited in the event loop."""

    def __init__(self, function: Callable[[], object], *, is_required: bool) -> None:
        self._function = function
        self._is_required = is_required
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        # The future only signals the end. Its repr, which asyncio logs in debug mode, would show
        # the result, which may be a secret.
        self._future = self._loop.create_future()
        self._returned: object = None
        self._error: BaseException | None = None
        self.ended = Event()

    def run(self) -> None:
        """Call the function in the current thread."""
        try:
            if self._is_required or not self._future.cancelled():
                self._returned = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            self._error = _as_error(error)
        self.ended.set()
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._notify)

    def _notify(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def __await__(self) -> Generator[Any, None, object]:
        return self._wait().__await__()

    async def _wait(self) -> object:
        await self._future
        error, self._error = self._error, None
        returned, self._returned = self._returned, None
        try:
            if error is not None:
                raise error
            return await returned if inspect.isawaitable(returned) else returned
        finally:
            del error, returned  # tracebacks can show local variables


def _as_error(error: BaseException) -> BaseException:
    """Return an error that ends neither the event loop, as SystemExit would, nor an iteration."""
    if isinstance(error, (Exception, asyncio.CancelledError)) and not isinstance(
        error, StopAsyncIteration
    ):
        return error
    replacement = RuntimeError(f"the function raised {type(error).__name__}")
    replacement.__cause__ = error
    return replacement
