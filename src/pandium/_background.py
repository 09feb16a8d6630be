"""Run a producer beside its consumer, as an async context manager that gives what comes."""

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
    An async iterator over what a producer sends, which runs as long as the ``async with`` block.

    At most ``prefetch`` items wait for the consumer. An error of the producer is raised, as it is,
    after the items before it; the block's own error passes through as it is, too. However the
    block ends, nothing is left running.
    """

    def __init__(
        self, produce: Callable[[Callable[[T], Awaitable[None]]], Awaitable[None]], prefetch: float
    ) -> None:
        self._produce = produce
        self._ahead = prefetch
        self._error: Exception | None = None
        self._tasks: TaskGroup | None = None
        self._receive: MemoryObjectReceiveStream[T] | None = None

    @property
    def waiting(self) -> int:
        """How many items wait for the consumer."""
        return 0 if self._receive is None else self._receive.statistics().current_buffer_used

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise RuntimeError("this has been entered already: make another one")
        send, self._receive = anyio.create_memory_object_stream[T](self._ahead)
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
            raise RuntimeError("this has not been entered")
        self._tasks.cancel_scope.cancel()
        try:
            # Without the block's own error, which the group would wrap in an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._receive.close()

    async def _run(self, send: MemoryObjectSendStream[T]) -> None:
        with send:
            try:
                await self._produce(send.send)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the consumer's
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
        # A cancellation may have reached the producer first: what it cut off is no end.
        await anyio.lowlevel.checkpoint_if_cancelled()
        raise StopAsyncIteration
