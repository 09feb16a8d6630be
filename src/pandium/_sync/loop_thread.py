"""Run coroutines in the event loop of a background thread, and wait for them in other threads."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import warnings
from contextlib import suppress
from threading import Lock, RLock, Thread, current_thread
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from weakref import WeakSet

import anyio

from pandium._daemon_executor import look_up_in_daemon_threads
from pandium.errors import PandiumError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["LoopThread"]

T = TypeVar("T")

# How long an interrupted call waits until what it started is canceled, and how long closing a
# client waits for its thread, in seconds. Both usually take milliseconds.
_CANCEL_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
# How often a waiting thread checks for signals that did not wake it.
_INTERRUPT_SECONDS = 0.5
_CLOSED = "the client is closed"


class LoopThread:
    """
    An event loop in a background thread. The thread starts with the first call.

    Any number of threads may call it at the same time. It belongs to the process of the first call,
    because threads and sockets do not survive a fork.

    ``anyio.from_thread.BlockingPortal`` is not used. Each of its calls crosses to the other thread
    twice, which takes four times as long, and a call that is interrupted while it starts cannot be
    canceled.

    :param on_stop: an async function that the event loop runs before it ends.
    :param created_at: where the client was created, for the warning if it is not closed.
    """

    _loop: _Loop | None = None  # a copy that fails, such as a deep one, is deleted without it

    def __init__(self, on_stop: Callable[[], Awaitable[object]], created_at: str) -> None:
        self._on_stop = on_stop
        self._created_at = created_at
        self._lock = RLock()
        self._pid: int | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the thread has ended or is about to end, so that no more calls are accepted."""
        return self._is_closed

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return self._loop is not None and self._loop.thread is current_thread()

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """
        Call an async function in the event loop and return its result.

        If the wait is interrupted, for example by Ctrl-C, the function is canceled.

        :raises PandiumError: if the client is closed, belongs to another process or cannot start
            its thread.
        :raises RuntimeError: in the thread of the event loop, which would wait for itself.
        """
        loop = self._start()
        if self.is_current:
            raise RuntimeError(
                "a synchronous client cannot be called in its own event loop, which runs async"
                " functions and `classify`: pass a plain function instead"
            )
        call = _Call(function, loop)
        try:
            loop.submit(call)
            call.wait()
        except BaseException:
            loop.cancel(call, _CANCEL_SECONDS)
            raise
        return call.result()

    def try_call(self, function: Callable[[], Awaitable[object]], seconds: float) -> bool:
        """
        Call an async function in the event loop, and wait for some seconds until it has ended.

        In the thread of the event loop, it is called without waiting.

        :returns: whether it has ended. Its error, if any, is ignored.
        :raises PandiumError: as for ``call``.
        """
        loop = self._start()
        call = _Call(function, loop)
        loop.submit(call)
        return not self.is_current and call.wait_for(seconds)

    async def enter(self, block: AbstractAsyncContextManager[object]) -> None:
        """
        Enter a block, which is left when the client is closed. Must be called in the event loop.

        The block may also be left before that, at any time and in any task.
        """
        await self._start().enter(block)

    def post(self, function: Callable[[], None]) -> None:
        """Call a function in the event loop without waiting, unless the loop has ended."""
        if self._loop is not None and self._pid == os.getpid():
            self._loop.post(function)

    def close(self) -> None:
        """Cancel all calls and end the thread. In another process, this has no effect."""
        if self._is_foreign():
            return
        with self._lock:
            self._is_closed = True
            loop = self._loop
        if loop is not None:
            loop.stop()
            if not self.is_current:
                loop.thread.join(_CLOSE_SECONDS)

    def _is_foreign(self) -> bool:
        # Set the process before a thread takes the lock, because a fork may copy a lock that is
        # held, but not the thread that would release it.
        self._pid = self._pid or os.getpid()
        return self._pid != os.getpid()

    def _start(self) -> _Loop:
        if self._is_foreign():
            raise PandiumError(
                "the client was used before this process was forked: create one client in each"
                " process"
            )
        with self._lock:
            if self._loop is None:
                if self._is_closed:
                    raise PandiumError(_CLOSED)
                if _is_exiting:
                    raise PandiumError(
                        "the interpreter is exiting: import pandium before you register a function"
                        " with atexit that uses a client"
                    )
                try:
                    loop = _Loop.start(self._on_stop)
                except (OSError, RuntimeError) as error:  # too many open files or threads
                    raise PandiumError(f"cannot start the client's thread: {error}") from error
                # A signal handler may have made a call while the thread was started.
                if self._loop is None:
                    self._loop = loop
                else:
                    loop.discard()
                _open_threads.add(self)
            return self._loop

    def _abandon(self) -> None:
        """End the thread without waiting for it, and warn if the client was not closed."""
        loop = self._loop
        if loop is None or self._is_foreign() or not loop.thread.is_alive():
            return
        was_closed, self._is_closed = self._is_closed, True
        loop.stop()  # even if the client was closed, because that may have been interrupted
        if not was_closed:
            text = f"unclosed Pandium, created at {self._created_at}"
            warnings.warn(text, ResourceWarning, stacklevel=3, source=self)

    def __del__(self) -> None:
        self._abandon()


_open_threads: WeakSet[LoopThread] = WeakSet()
_is_exiting = False


@atexit.register
def _close_all() -> None:
    """End the threads of all clients that are still open when the interpreter exits."""
    global _is_exiting  # noqa: PLW0603 - the state of the interpreter
    _is_exiting = True
    for thread in tuple(_open_threads):
        try:
            thread._abandon()  # noqa: SLF001 - same module
        except Exception as error:  # noqa: BLE001 - the warning, if the user's filters raise it
            sys.excepthook(type(error), error, error.__traceback__)
        thread.close()


class _Loop:
    """The event loop and its thread. They hold no reference to the ``LoopThread``."""

    def __init__(self, on_stop: Callable[[], Awaitable[object]]) -> None:
        self._on_stop = on_stop
        self._lock = RLock()  # a signal handler may make a call while its thread holds the lock
        self._calls: set[_Call[object]] = set()
        self._blocks: WeakSet[AbstractAsyncContextManager[object]] = WeakSet()
        self._is_stopping = False
        self._loop = asyncio.new_event_loop()
        look_up_in_daemon_threads(self._loop)
        self._stopped = asyncio.Event()
        self.thread = Thread(target=self._run, name="pandium", daemon=True)

    @classmethod
    def start(cls, on_stop: Callable[[], Awaitable[object]]) -> _Loop:
        """Create a loop and start its thread."""
        loop = cls(on_stop)
        try:
            loop.thread.start()
        except RuntimeError as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # it broke a lock of the thread
                loop.discard()
                raise error.__context__ from None
            loop._loop.close()  # there are too many threads
            raise
        except BaseException:  # interrupted, possibly after the thread has started
            loop.discard()
            raise
        return loop

    def submit(self, call: _Call[T]) -> None:
        """
        Start a call. Every call that was started also ends.

        :raises PandiumError: if the loop is stopping.
        """
        with self._lock:
            if self._is_stopping:
                raise PandiumError(_CLOSED)
            self._calls.add(cast("_Call[object]", call))
            self._loop.call_soon_threadsafe(call.start)

    def post(self, function: Callable[[], None]) -> None:
        """Call a function in the loop without waiting, unless the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    async def enter(self, block: AbstractAsyncContextManager[object]) -> None:
        """Enter a block, which is left when the loop ends."""
        self._blocks.add(block)
        await block.__aenter__()

    def cancel(self, call: _Call[T], timeout: float) -> None:
        """Cancel a call and wait for some seconds until it has ended."""
        if call in self._calls:
            self.post(call.cancel)
            call.wait_for(timeout)

    def stop(self) -> None:
        """Cancel all calls and end the loop, without waiting for it."""
        with self._lock:
            self._is_stopping = True
        self.post(self._stopped.set)

    def discard(self) -> None:
        """End the thread of a loop that has run nothing. ``on_stop`` is not called."""
        self._on_stop = _do_nothing
        self.stop()

    def forget(self, call: _Call[T]) -> None:
        """Remove a call that has ended."""
        self._calls.discard(cast("_Call[object]", call))

    def _run(self) -> None:
        runner = asyncio.Runner(loop_factory=lambda: self._loop)
        try:
            serving = runner.get_loop().create_task(self._serve())
            while not serving.done():
                # If a task raises one of these, it interrupts the loop, too.
                with suppress(SystemExit, KeyboardInterrupt):
                    self._loop.run_until_complete(serving)
        finally:
            # Closing a runner starts a thread, which fails when the interpreter exits.
            (self._loop if _is_exiting else runner).close()

    async def _serve(self) -> None:
        await self._stopped.wait()
        calls = tuple(self._calls)
        for call in calls:
            call.cancel()
        for call in calls:
            await call.ended()
        for block in tuple(self._blocks):
            await block.__aexit__(None, None, None)
        await self._on_stop()


async def _do_nothing() -> None:
    pass


class _Call(Generic[T]):
    """An async function that runs in the event loop while another thread waits for it."""

    def __init__(self, function: Callable[[], Awaitable[T]], loop: _Loop) -> None:
        self._function = function
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._is_canceled = False
        self._running = Lock()
        self._running.acquire()

    def start(self) -> None:
        """Start the function in the event loop, with the context variables of the caller."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        _declare_asyncio()
        try:
            with anyio.CancelScope() as self._scope:
                if self._is_canceled:
                    self._scope.cancel()
                self._result.append(await self._function())
        except BaseException as error:  # noqa: BLE001 - re-raised in the caller's thread
            self._error = error
        self._end()

    def _end(self) -> None:
        self._loop.forget(self)
        # When the interpreter exits, only daemon threads can be waiting. They are about to be
        # stopped, and an error in one of them would be printed.
        if not _is_exiting:
            self._running.release()

    def cancel(self) -> None:
        """Cancel the function. Must be called in the event loop."""
        self._is_canceled = True
        if self._task is None:  # the caller was interrupted before it could start the function
            self._end()
        elif self._scope is not None:
            self._scope.cancel()

    async def ended(self) -> None:
        """Wait in the event loop until the function has ended."""
        if self._task is not None:
            await self._task

    def wait(self) -> None:
        """Wait in another thread until the function has ended."""
        # Without a timeout, Ctrl-C on Windows and `_thread.interrupt_main` would have no effect.
        while not self.wait_for(_INTERRUPT_SECONDS):
            pass

    def wait_for(self, seconds: float) -> bool:
        """Wait in another thread for some seconds and return whether the function has ended."""
        return self._running.acquire(timeout=seconds)

    def result(self) -> T:
        """
        Return the function's result or raise its error.

        :raises PandiumError: if the client was closed in the meantime.
        """
        error, self._error = self._error, None
        if error is None and not self._result:
            error = PandiumError("the client was closed during the call")
            error.outcome_unknown = True
        try:
            if error is not None:
                raise error
        finally:
            del error  # otherwise, it would refer to itself through its traceback
        return self._result[0]


def _declare_asyncio() -> None:
    # The context variables of a caller that runs in trio name trio as the current library.
    if sniffio := sys.modules.get("sniffio"):
        sniffio.current_async_library_cvar.set("asyncio")
