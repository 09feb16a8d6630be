"""The results of runs, delivered as the runs end, and snapshots of the progress."""

from __future__ import annotations

import json
from math import inf
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import attrs

from pandium._background import Background
from pandium.errors import APIError
from pandium.models import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from pandium._clock import Clock
    from pandium.models import TriggerStatus

__all__ = ["Counters", "Progress", "RunResult", "RunResults", "shorten_response", "show_status"]

T = TypeVar("T")

_MAX_SHOWN = 200
_MAX_RESPONSE = 2000


def show_status(status: str) -> str:
    """Return a status for messages: quoted and shortened, because it is the server's text."""
    return repr(_shorten(status, _MAX_SHOWN))


def shorten_response(error: Exception) -> None:
    """
    Remove a long response body from an error, and all but 2,000 characters of its message.

    Many waits may each keep the error of a poll for a long time, and so may their results. An
    error without attempts was created by the user's code and remains unchanged.
    """
    if isinstance(error, APIError) and error.attempts:
        if isinstance(error.message, str):  # a callback may have changed the error of another call
            error.message = _shorten(error.message, _MAX_RESPONSE)
        if not _is_short(error.body):
            error.body = None


def _is_short(body: object) -> bool:
    try:
        return len(json.dumps(body, ensure_ascii=False)) <= _MAX_RESPONSE
    except RecursionError:
        return False
    except (TypeError, ValueError):  # as above
        return True


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


@attrs.frozen
class RunResult:
    """
    The result of waiting for one run. It has either a ``status`` or an ``error``.

    ```python
    async with client.runs.as_completed(triggers) as results:
        async for result in results:
            print(result.trigger_id, result.outcome, result.error or result.status)
    ```

    :ivar trigger_id: the trigger's id, or ``None`` if the tenant was not triggered or the response
        with the id was lost.
    :ivar status: the last status of the run, or ``None`` if there was an error.
    :ivar error: the error that ended the wait, such as ``WaitTimeout``, or ``None``. An
        ``APIError`` has at most 2,000 characters of the ``message`` here, and no longer ``body``.
    :ivar polls: the number of polls for this run.
    :ivar elapsed: the duration of the wait, in seconds.
    :ivar tenant_id: the tenant's id in a result of ``tenants.sync_all``, otherwise ``None``.
    """

    trigger_id: str | None
    status: TriggerStatus | None
    error: Exception | None
    polls: int
    elapsed: float
    tenant_id: int | None = None
    _outcome: Outcome | None = attrs.field(default=None, repr=False, kw_only=True, alias="outcome")

    @property
    def outcome(self) -> Outcome:
        """
        How the run ended: ``SUCCEEDED``, ``FAILED`` or ``UNKNOWN``.

        A tenant that has certainly not been triggered counts as failed.
        """
        outcome = self._outcome
        if outcome is None:  # the result was not created by a wait
            outcome = Outcome.ACTIVE if self.status is None else self.status.outcome
        return Outcome.UNKNOWN if outcome is Outcome.ACTIVE else outcome

    @property
    def outcome_unknown(self) -> bool:
        """
        Whether it is unknown how the run ended, or whether there was a run at all.

        The run may still be in progress. Before you sync the tenant again, check its runs.
        """
        return self.outcome is Outcome.UNKNOWN


RunResult.__module__ = "pandium"  # as users import it


@attrs.frozen
class Progress:
    """
    A snapshot of the progress of many runs, for a progress bar or a log line.

    Every result is counted as ``succeeded``, ``failed`` or ``unknown``. ``results.progress`` may be
    read from any task, at any time.

    ```python
    async with client.runs.as_completed(triggers) as results:
        async for result in results:
            progress = results.progress
            print(f"{progress.active} of {progress.triggered} runs are active")
    ```

    :ivar total: the number of results in all, or ``None`` while the source of the triggers or
        tenants is still being read.
    :ivar triggered: the number of triggers so far.
    :ivar active: the number of runs in progress.
    :ivar succeeded: the number of runs that succeeded.
    :ivar failed: the number of runs that failed, plus the number of tenants for which no run was
        started.
    :ivar unknown: the number of runs with an unknown outcome, for example because a response was
        lost or the time limit was reached. These runs may still be in progress.
    :ivar recorded: the number of results that came from the journal without a request. They are
        also counted by their outcome.
    :ivar polls: the total number of polls.
    :ivar seconds: the time since the work began, in seconds. It stops increasing when the work
        ends.
    """

    total: int | None = None
    triggered: int = 0
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    recorded: int = 0
    polls: int = 0
    seconds: float = 0.0


Progress.__module__ = "pandium"  # as users import it


@attrs.define(eq=False)
class Counters:
    """The mutable counters behind ``Progress`` snapshots."""

    clock: Clock
    total: int | None = None
    triggered: int = 0
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    recorded: int = 0
    polls: int = 0
    _began: float | None = None
    _ended: float | None = None

    def begin(self) -> None:
        """Start the stopwatch."""
        self._began = self.clock.now()

    def end(self) -> None:
        """Stop the stopwatch and set the number of active runs to zero."""
        self._ended, self.active = self.clock.now(), 0

    def count(self, result: RunResult) -> None:
        """Count a result by its outcome."""
        self.succeeded += result.outcome is Outcome.SUCCEEDED
        self.failed += result.outcome is Outcome.FAILED
        self.unknown += result.outcome_unknown

    def progress(self) -> Progress:
        """Return a snapshot of the counters."""
        return Progress(
            total=self.total,
            triggered=self.triggered,
            active=self.active,
            succeeded=self.succeeded,
            failed=self.failed,
            unknown=self.unknown,
            recorded=self.recorded,
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

    The work runs inside the ``async with`` block and stops when the block is left. If the work
    itself fails, for example because the source of the triggers raises an error, the error is
    re-raised unchanged after all preceding results.

    Several tasks may iterate at the same time. Each result is delivered exactly once, to one of
    the tasks. Canceling a call of ``anext`` does not lose a result.

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
        """A snapshot of the current progress, which may be read from any task, at any time."""
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
