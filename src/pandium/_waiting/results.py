"""Results of runs, delivered as they arrive, and the progress of the work behind them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import attrs

from pandium._background import Background
from pandium.models import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from pandium._clock import Clock
    from pandium.models import TriggerStatus

__all__ = ["Counters", "Progress", "RunResult", "RunResults"]

T = TypeVar("T")


@attrs.frozen
class RunResult:
    """
    The result of waiting for one run. Either ``status`` or ``error`` is set.

    ```python
    async with client.runs.as_completed(triggers) as results:
        async for result in results:
            print(result.trigger_id, result.error or result.status, result.elapsed)
    ```

    :ivar trigger_id: The id of the trigger. ``None`` if a tenant was not triggered, or if the
        response with the id was lost.
    :ivar status: The last status of the run, or ``None`` if there was an error.
    :ivar error: The error that ended the wait, such as ``WaitTimeout``, or ``None``.
    :ivar polls: The number of polls for this run.
    :ivar elapsed: The seconds from the start of the wait to its end.
    :ivar tenant_id: The tenant's id in results of ``tenants.sync_all``, otherwise ``None``.
    """

    trigger_id: str | None
    status: TriggerStatus | None
    error: Exception | None
    polls: int
    elapsed: float
    tenant_id: int | None = None


@attrs.frozen
class Progress:
    """
    A snapshot of the progress of many runs, for a progress bar or a log line.

    Every result counts as ``succeeded``, ``failed`` or ``unknown``.

    ```python
    async with client.runs.as_completed(triggers) as results:
        async for result in results:
            progress = results.progress
            print(f"{progress.active} of {progress.triggered} runs are active")
    ```

    :ivar triggered: The triggers known so far.
    :ivar active: The runs in progress now.
    :ivar succeeded: The runs that succeeded.
    :ivar failed: The runs that failed, and the tenants for which no run was started.
    :ivar unknown: The runs whose outcome is not known, for example after a lost response or at
        the time limit. Such a run may still be in progress.
    :ivar polls: The polls for all runs.
    :ivar seconds: The seconds since the work began. The count stops when the work ends.
    """

    triggered: int = 0
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    polls: int = 0
    seconds: float = 0.0


@attrs.define(eq=False)
class Counters:
    """The mutable counters from which ``Progress`` snapshots are made."""

    clock: Clock
    triggered: int = 0
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    polls: int = 0
    _began: float | None = None
    _ended: float | None = None

    def begin(self) -> None:
        """Start the stopwatch."""
        self._began = self.clock.now()

    def end(self) -> None:
        """Stop the stopwatch. No run is active any more."""
        self._ended, self.active = self.clock.now(), 0

    def count(self, outcome: Outcome) -> None:
        """Count a result. ``ACTIVE`` counts as unknown, since the run may still be in progress."""
        self.succeeded += outcome is Outcome.SUCCEEDED
        self.failed += outcome is Outcome.FAILED
        self.unknown += outcome is Outcome.ACTIVE

    def progress(self) -> Progress:
        """Return a snapshot of the counters."""
        return Progress(
            triggered=self.triggered,
            active=self.active,
            succeeded=self.succeeded,
            failed=self.failed,
            unknown=self.unknown,
            polls=self.polls,
            seconds=self._seconds(),
        )

    def _seconds(self) -> float:
        if self._began is None:
            return 0.0
        return (self.clock.now() if self._ended is None else self._ended) - self._began


class RunResults(Generic[T]):
    """
    An async iterator over results, in order of completion.

    The work runs as long as the ``async with`` block, and stops when the block is left. An error
    of the work itself, such as one raised by the source of the triggers, is raised unchanged after
    all results that precede it.

    Several tasks may iterate at once. Each result is delivered to one of them, exactly once. A
    cancelled call of ``anext`` takes no result.

    ```python
    async with client.runs.as_completed(triggers) as results:
        async for result in results:
            print(result.trigger_id, result.status)
    ```
    """

    def __init__(
        self,
        produce: Callable[[Callable[[T], Awaitable[None]]], Awaitable[None]],
        counters: Counters,
    ) -> None:
        self._produce = produce
        self._counters = counters
        self._background = Background(self._run, inf)

    async def _run(self, send: Callable[[T], Awaitable[None]]) -> None:
        self._counters.begin()
        try:
            await self._produce(send)
        finally:
            self._counters.end()

    @property
    def progress(self) -> Progress:
        """The progress at this moment."""
        return self._counters.progress()

    async def __aenter__(self) -> Self:
        await self._background.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._background.__aexit__(exc_type, exc, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await self._background.__anext__()
