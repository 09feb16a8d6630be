"""The work that waits for a journal's next transaction."""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from pandium.errors import PandiumError

__all__ = ["QueuedWork", "WorkQueue"]

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
    _error: PandiumError | None = None

    def succeed(self, result: T) -> None:
        self._result, self.is_done = result, True

    def fail(self, error: PandiumError) -> None:
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

    def take(self) -> list[QueuedWork[W, Any]]:
        """Remove all queued work, and return what is still needed."""
        taken = [self._queued.popleft() for _ in range(len(self._queued))]
        return [queued for queued in taken if not queued.is_discarded]

    def put_back(self, batch: list[QueuedWork[W, Any]]) -> None:
        """Queue a batch again, because its transaction could not begin."""
        self._queued.extendleft(reversed(batch))

    def fail(self, batch: list[QueuedWork[W, Any]], error: PandiumError) -> None:
        """Report an error to the tasks of a batch, and queue its records again."""
        self.put_back([queued for queued in batch if queued.record is not None])
        for queued in batch:
            queued.fail(error)

    def lost_records(self) -> list[str]:
        """Return the descriptions of the records that have not been written."""
        return [queued.record for queued in self._queued if queued.record]
