"""The work that waits for a journal's next transaction, and the threads that run it."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from copy import copy
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import anyio.to_thread
import attrs

from pandium.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium._clock import Clock

__all__ = ["QueuedWork", "QueueingDatabase", "WorkQueue"]

T = TypeVar("T")
W = TypeVar("W")


@attrs.define(eq=False)
class QueuedWork(Generic[W, T]):
    """
    Work to run in a transaction, and its result.

    :ivar work: the work, in the form that the database runs.
    :ivar record: a description of what the work records, or ``None`` if the task that queued the
        work can queue it again. A record that cannot be written remains queued.
    :ivar order: the position of the work in a database that sorts the work of a transaction.
    :ivar is_discarded: whether the task that queued the work no longer needs it. The work may
        already be running.
    :ivar is_done: whether the work has succeeded or failed.
    """

    work: W
    record: str | None = None
    order: int = 0
    is_discarded: bool = False
    is_done: bool = False
    _result: T | None = None
    _error: JournalError | None = None

    def succeed(self, result: T) -> None:
        self._result, self.is_done = result, True

    def fail(self, error: JournalError) -> None:
        self._error, self.is_done = error, True

    def result(self) -> T:
        if self._error is not None:
            raise copy(self._error)  # other tasks raise the same error
        return self._result  # type: ignore[return-value]  # set if there is no error


class WorkQueue(Generic[W]):
    """The queue of a database. Tasks append to it while a thread takes what is queued."""

    def __init__(self) -> None:
        self._queued: deque[QueuedWork[W, Any]] = deque()

    def __len__(self) -> int:
        return len(self._queued)

    def append(self, queued: QueuedWork[W, Any]) -> None:
        self._queued.append(queued)

    def take(self, limit: float = inf) -> list[QueuedWork[W, Any]]:
        """Remove queued work, all of it or up to a number, and return what is still needed."""
        taken = [self._queued.popleft() for _ in range(int(min(len(self._queued), limit)))]
        return [queued for queued in taken if not queued.is_discarded]

    def put_back(self, batch: list[QueuedWork[W, Any]]) -> None:
        """Queue a batch again, because its transaction could not begin."""
        self._queued.extendleft(reversed(batch))

    def fail(self, batch: list[QueuedWork[W, Any]], error: JournalError) -> None:
        """Report an error to the tasks of a batch, and queue its records again."""
        self.put_back([queued for queued in batch if queued.record is not None])
        for queued in batch:
            queued.fail(error)

    def lost_records(self) -> list[str]:
        """Return the descriptions of the records that have not been written."""
        return [queued.record for queued in self._queued if queued.record]


class QueueingDatabase(ABC, Generic[W]):
    """
    A database that runs all queued work in one transaction, in a worker thread.

    :param name: the name of the database in error messages.
    :param clock: the client's clock. A test clock does not advance during a transaction.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._process_id = os.getpid()
        self._queue: WorkQueue[W] = WorkQueue()
        # One task at a time runs the queue. The other tasks wait until their work is done.
        self._turn = anyio.Lock()
        # One thread runs the queue, and another one closes the database.
        self._limiter = anyio.CapacityLimiter(2)

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether work can be queued."""

    @abstractmethod
    async def _run_transaction(self) -> None:
        """Run all queued work in a transaction."""

    async def write(self, work: W, record: str, order: int = 0) -> None:
        """
        Write a record in a transaction, even if the task is canceled.

        After a cancellation or an error, the record remains queued. It is written by a later
        transaction, at the latest when the database is closed.

        :param work: the work that writes the record.
        :param record: a description of the record, which is logged if the record is lost.
        :param order: the position of the work in the transaction.
        :raises JournalError: if the database cannot be used.
        """
        await self._finish(self.queue(work, record, order))

    def queue(self, work: W, record: str | None = None, order: int = 0) -> QueuedWork[W, Any]:
        """Queue work to run in the next transaction or when the database is closed."""
        if self._is_forked():  # pragma: no cover - tested in a forked child, which is not measured
            raise JournalError(
                f"{self.name} was opened before this process was forked, so this process sends no"
                " more requests: call sync_all after forking"
            )
        if not self.is_open:
            raise JournalError(f"{self.name} is not open")
        queued: QueuedWork[W, Any] = QueuedWork(work, record, order)
        self._queue.append(queued)
        return queued

    def _is_forked(self) -> bool:
        return os.getpid() != self._process_id

    async def _finish(self, queued: QueuedWork[W, T]) -> T:
        """Wait until queued work is done and return its result."""
        try:
            await self._wait(queued)
        finally:
            queued.is_discarded = queued.record is None
        return queued.result()

    async def _wait(self, queued: QueuedWork[W, Any]) -> None:
        while not queued.is_done:
            async with self._turn:
                if not queued.is_done:
                    await self._run_transaction()

    async def _run_in_thread(self, work: Callable[[], None]) -> None:
        try:
            with self._clock.waiting_for_io():
                await anyio.to_thread.run_sync(work, limiter=self._limiter)
        except RuntimeError as error:  # the process has too many threads
            raise JournalError(f"{self.name}: {error}") from None

    async def _close_in_thread(self, close: Callable[[], None]) -> None:
        """Call a function in a thread, even if the task is canceled or no thread can be started."""
        # Start the thread before the first `await`. If anyio started it, a second `Task.cancel()`
        # could cancel the task first, because a shield does not block it.
        thread = threading.Thread(target=close, name="pandium-journal")
        try:
            thread.start()
        except RuntimeError:  # the process has too many threads
            close()
            return
        try:
            with anyio.CancelScope(shield=True), self._clock.waiting_for_io():
                await anyio.to_thread.run_sync(thread.join, limiter=self._limiter)
        except RuntimeError:  # anyio needs a thread, too
            thread.join()
