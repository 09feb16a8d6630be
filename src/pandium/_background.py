"""Run a producer in a background task while consumers iterate over its items."""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio
import anyio.lowlevel

from pandium._cancellation import is_asyncio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType

__all__ = ["Background"]

T = TypeVar("T")


class Background(Generic[T]):
    """
    An async iterator over the items that a background task produces.

    The task runs during the ``async with`` block and is canceled when the block exits. An error in
    the task is raised unchanged after all items that precede it. An error in the block is never
    wrapped in an exception group.

    Each item is delivered exactly once, to one of the consuming tasks, even if a task is canceled
    while it waits for an item. An item is removed from the queue only when the task that receives
    it is running and can no longer be canceled. By contrast, an anyio memory object stream
    assigns an item to a task that has yet to wake up. If asyncio cancels that task first, the item
    is lost.

    The block may be exited in a different task from the one that entered it, for example when an
    async generator is garbage collected. For this reason, the background task does not use a task
    group, whose cancel scope would remain open in the task that entered the block.

    :param produce: an async function that runs as the background task. It is called with ``send``,
        which it awaits for each item.
    :param max_waiting: the maximum number of items waiting for a consumer. ``send`` blocks while
        there are more.
    """

    def __init__(
        self,
        produce: Callable[[Callable[[T], Awaitable[None]]], Awaitable[None]],
        max_waiting: float,
    ) -> None:
        self._produce = produce
        self._max_waiting = max_waiting
        self._items: deque[T] = deque()
        self._idle_consumers = 0
        self._error: BaseException | None = None
        self._is_entered = self._is_finished = self._is_left = False
        # These are set when the block is entered, because a cancel scope requires an event loop.
        self._scope: anyio.CancelScope
        self._changed: anyio.Event
        self._task: object

    @property
    def waiting(self) -> int:
        """The number of items waiting for a consumer."""
        return max(0, len(self._items) - self._idle_consumers)

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise RuntimeError("this context manager has already been entered: create a new one")
        self._is_entered = True
        self._scope, self._changed = anyio.CancelScope(), anyio.Event()
        # Keep a reference to the task, because asyncio itself keeps only a weak one.
        self._task = _start_task(self._run, self._finish)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_entered:
            raise RuntimeError("this context manager has not been entered")
        self.cancel()
        await self._wait_until_finished()
        error, self._error = self._error, None
        if error is not None and not isinstance(error, Exception):
            raise error  # for example, KeyboardInterrupt

    def cancel(self) -> None:
        """Cancel the background task without waiting for it to end. Further iteration fails."""
        self._is_left = True
        self._scope.cancel()

    async def _wait_until_finished(self) -> None:
        # A native asyncio cancellation can interrupt the shield. Keep waiting until the task ends.
        cancellation: BaseException | None = None
        while not self._is_finished:
            try:
                with anyio.CancelScope(shield=True):
                    await self._changed.wait()
            except anyio.get_cancelled_exc_class() as error:
                cancellation = error
        if cancellation is not None:
            raise cancellation

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._produce(self._send)
        except BaseException as error:  # noqa: BLE001 - re-raised in a consumer
            self._finish(error)
        else:
            self._finish()

    def _finish(self, error: BaseException | None = None) -> None:
        if self._is_finished:
            return
        if isinstance(error, anyio.get_cancelled_exc_class()):
            # The scope absorbs our own cancellation. Convert any other cancellation to an error.
            self._error = RuntimeError("the background task was canceled from outside")
            self._error.__cause__ = error
        else:
            self._error = error
        self._is_finished = True
        self._notify()

    async def _send(self, item: T) -> None:
        await anyio.lowlevel.checkpoint()
        self._items.append(item)
        self._notify()
        await self.wait_for_room()

    async def wait_for_room(self) -> None:
        """Wait until at most ``max_waiting`` items are waiting for a consumer."""
        while self.waiting > self._max_waiting:
            await self._changed.wait()

    def _notify(self) -> None:
        # Wake up all waiting tasks, so that no wake-up is lost if one of them is canceled.
        self._changed.set()
        self._changed = anyio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._is_entered:
            raise RuntimeError("iterate inside a `with` block (`async with` in asynchronous code)")
        await anyio.lowlevel.checkpoint()
        while not (self._items or self._is_finished):
            await self._wait_for_item()
        # Do not use `await` below. If the task were canceled there, the item would be lost.
        if self._is_left:
            raise RuntimeError("the `with` or `async with` block of this iterator has exited")
        if self._items:
            item = self._items.popleft()
            self._notify()
            return item
        error, self._error = self._error, None
        raise StopAsyncIteration if error is None else error

    async def _wait_for_item(self) -> None:
        self._idle_consumers += 1
        try:
            await self._changed.wait()
        finally:
            self._idle_consumers -= 1


def _start_task(
    run: Callable[[], Coroutine[Any, Any, None]], finish: Callable[[BaseException], None]
) -> object:
    """
    Start a task outside any task group and return it.

    :param run: the coroutine function to run, which must not raise.
    :param finish: a function that is called with an error if asyncio cancels the task before it
        starts.
    """
    if is_asyncio():
        import asyncio  # noqa: PLC0415 - `import pandium` would take a fifth longer

        task = asyncio.get_running_loop().create_task(run())
        task.add_done_callback(lambda _: finish(asyncio.CancelledError()))
        return task
    import trio  # noqa: PLC0415 - optional, and already imported at this point

    return trio.lowlevel.spawn_system_task(run, context=copy_context())
