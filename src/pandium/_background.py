"""Run a producer in a background task while a consumer iterates over its items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

__all__ = ["Background"]

T = TypeVar("T")


class Background(Generic[T]):
    """
    An async iterator over the items that a background task sends.

    The task runs as long as the ``async with`` block, and is cancelled when the block is left. An
    error of the task is raised unchanged after the items that precede it. An error of the block
    is never wrapped in an exception group.

    :param produce: The task: a function that is called with ``send``, and awaits it per item.
    :param max_waiting: The maximum number of items that wait for the consumer. ``send`` blocks
        while the buffer is full.
    """

    def __init__(
        self,
        produce: Callable[[Callable[[T], Awaitable[None]]], Awaitable[None]],
        max_waiting: float,
    ) -> None:
        self._produce = produce
        self._max_waiting = max_waiting
        self._error: Exception | None = None
        self._tasks: TaskGroup | None = None
        self._receive: MemoryObjectReceiveStream[T] | None = None

    @property
    def waiting(self) -> int:
        """The number of items that wait for the consumer."""
        return 0 if self._receive is None else self._receive.statistics().current_buffer_used

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise RuntimeError("this context manager was entered already: create a new one")
        send, self._receive = anyio.create_memory_object_stream[T](self._max_waiting)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run, send)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tasks is None or self._receive is None:
            raise RuntimeError("this context manager was not entered")
        self._tasks.cancel_scope.cancel()
        try:
            # The block's own error is not passed on, because the group would wrap it.
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._receive.close()

    async def _run(self, send: MemoryObjectSendStream[T]) -> None:
        with send:
            try:
                await self._produce(send.send)
            except Exception as error:  # noqa: BLE001 - raised to the consumer
                self._error = error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._receive is None:
            raise RuntimeError("enter this with `async with` before iterating over it")
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            error, self._error = self._error, None
        if error is not None:
            raise error
        # If the task ended because of a cancellation, the consumer is being cancelled as well.
        await anyio.lowlevel.checkpoint_if_cancelled()
        raise StopAsyncIteration
