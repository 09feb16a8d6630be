"""Polling settings, and the state of each trigger that is being polled."""

from __future__ import annotations

import copy
import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pandium._cancellation import CancellationGuard
from pandium._validation import (
    as_attrs_validator,
    validate_factor,
    validate_fraction,
    validate_rate,
    validate_seconds,
)
from pandium._waiting.results import RunResult, shorten_response, show_status
from pandium.errors import APIError, NotFound, PandiumError, RequestTimeout, WaitTimeout
from pandium.models import Outcome, TriggerStatus

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import anyio

    from pandium._clock import Clock
    from pandium._waiting.results import Counters

__all__ = ["Classify", "PollStatus", "Polling", "TriggerWait", "WaitOptions"]

PollStatus: TypeAlias = Callable[[str], Awaitable[TriggerStatus | None]]
Classify: TypeAlias = Callable[[TriggerStatus], Outcome]

_log = logging.getLogger("pandium")

# The maximum duration of the last poll, which starts at the time limit. The same limit applies to
# `on_status`.
_LAST_POLL_SECONDS = 2.0
# A clock that is advanced by sleeping may stop just before the target time, because of rounding.
_ROUNDING_SECONDS = 1e-6

_seconds = as_attrs_validator(validate_seconds)


@attrs.frozen
class Polling:
    """
    Settings for how often to poll the status of a run.

    The delay between polls grows with the time waited so far. A ``Retry-After`` response header
    takes precedence over these settings.

    ```python
    from pandium import Polling

    gentle = Polling(first=5.0, factor=0.2, maximum=60.0, rate=2.0)
    status = await client.runs.wait(trigger, poll=gentle, timeout=3600.0)
    ```

    :ivar first: the delay before the first poll, in seconds. Default: 1.
    :ivar factor: the delay before each subsequent poll, as a fraction of the time waited so far.
        Default: 0.1, which is a delay of six seconds after one minute.
    :ivar minimum: the minimum delay between polls, in seconds. Default: 1.
    :ivar maximum: the maximum delay between polls, in seconds. Default: 15.
    :ivar jitter: the random variation of each delay, as a fraction from 0 up to but not
        including 1. Default: 0.2, which is 20% in either direction.
    :ivar rate: the maximum number of polls per second, across all triggers of one wait.
        Default: 20.
    :raises ValueError: if a value is out of range or ``minimum`` is greater than ``maximum``.
    """

    first: float = attrs.field(default=1.0, validator=_seconds)
    factor: float = attrs.field(default=0.1, validator=as_attrs_validator(validate_factor))
    minimum: float = attrs.field(default=1.0, validator=_seconds)
    maximum: float = attrs.field(default=15.0, validator=_seconds)
    jitter: float = attrs.field(default=0.2, validator=as_attrs_validator(validate_fraction))
    rate: float = attrs.field(default=20.0, validator=as_attrs_validator(validate_rate))

    def __attrs_post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum must be at most maximum, not {self.minimum!r}")

    def first_delay(self) -> float:
        """Return the delay before the first poll, in seconds."""
        return self._jittered(self.first)

    def delay(self, age: float) -> float:
        """
        Return the delay before a subsequent poll, in seconds.

        :param age: the time waited so far, in seconds.
        """
        return self._jittered(min(max(self.factor * age, self.minimum), self.maximum))

    def _jittered(self, seconds: float) -> float:
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads load, guards nothing


Polling.__module__ = "pandium"  # as users import it


def _never_paused() -> float:
    return -inf


@attrs.frozen(kw_only=True)
class WaitOptions:
    """
    The options that all triggers of one wait share.

    :ivar poll_status: a function that takes a trigger id and requests the trigger's status. It may
        return ``None`` if there is none yet.
    :ivar clock: the clock used for all times and sleeps.
    :ivar polling: the polling settings.
    :ivar timeout: the time limit for each trigger, in seconds from when it is added.
    :ivar classify: a function that maps a status to an outcome.
    :ivar counters: the poll and result counters.
    :ivar on_status: a callback that is called whenever a trigger's status changes.
    :ivar on_unknown_status: a callback that is called whenever a trigger's status changes to an
        undocumented one.
    :ivar paused_until: a function that returns the clock time until which a rate limit pauses
        the client's requests.
    :ivar polled: the name of what is polled, for log messages. ``{}`` stands for the trigger id.
    """

    poll_status: PollStatus
    clock: Clock
    polling: Polling
    timeout: float
    classify: Classify
    counters: Counters
    on_status: Callable[[TriggerStatus, TriggerWait], Awaitable[None] | None] | None = None
    on_unknown_status: Callable[[TriggerStatus], None] | None = None
    paused_until: Callable[[], float] = _never_paused
    polled: str = "trigger {}"


@attrs.define(eq=False)
class TriggerWait:
    """
    The state of waiting for one trigger's run.

    :ivar key: the caller's identifier for the trigger: its index in the source, or a tenant's id.
    :ivar trigger_id: the trigger's id.
    :ivar options: the options of the wait.
    :ivar began: the clock time at which the wait began.
    :ivar polls: the number of polls so far.
    :ivar last_status: the most recent status received, or ``None`` before the first one.
    :ivar outcome: the outcome of ``last_status``.
    :ivar last_error: the error that the last completed poll raised, or ``None``. A 404 does not
        count as an error.
    :ivar retry_at: the clock time before which a ``Retry-After`` header forbids the next poll.
    :ivar is_queued: whether the next poll is in the scheduler's queue.
    """

    key: Any
    trigger_id: str
    options: WaitOptions
    began: float
    polls: int = 0
    last_status: TriggerStatus | None = None
    outcome: Outcome = Outcome.ACTIVE
    last_error: PandiumError | None = None
    retry_at: float = -inf
    is_queued: bool = False

    def age(self) -> float:
        """Return the time since the wait began, in seconds."""
        return self.options.clock.now() - self.began

    def next_delay(self) -> float:
        """
        Return the delay before the next poll, in seconds.

        The last poll takes place at the time limit.
        """
        polling, age = self.options.polling, self.age()
        delay = polling.delay(age) if self.polls else polling.first_delay()
        delay = max(delay, self._paused_until() - self.options.clock.now())
        return max(0.0, min(delay, self.options.timeout - age))

    def _paused_until(self) -> float:
        return max(self.retry_at, self.options.paused_until())

    def is_overdue(self) -> bool:
        """Return whether the time limit has been reached."""
        return self.age() >= self.options.timeout - _ROUNDING_SECONDS

    def time_limit(self) -> float:
        """Return the clock time at which the time limit is reached."""
        return self.began + self.options.timeout

    def expires_at(self) -> float:
        """Return the clock time after which no poll may start, not even a delayed last poll."""
        return self.time_limit() + _LAST_POLL_SECONDS

    async def poll(self) -> TriggerStatus | None:
        """
        Poll once.

        :returns: the status, or ``None`` if there is none yet, if requests are paused or if the
            poll timed out.
        :raises PandiumError: if the request fails. A 404 response raises ``NotFound``.
        """
        if self._paused_until() > self.options.clock.now() + _ROUNDING_SECONDS:
            return None
        self.polls += 1
        self.options.counters.polls += 1
        try:
            with self._until_expired(), CancellationGuard("a poll"):
                status = await self.options.poll_status(self.trigger_id)
                self.last_error = None
                return status
        except PandiumError as error:
            self._record_error(error)
            raise
        self.last_error = RequestTimeout("there was no response before the time limit of the wait")
        return None

    def _until_expired(self) -> AbstractContextManager[anyio.CancelScope]:
        time_left = max(0.0, self.options.timeout - self.age())
        return self.options.clock.move_on_after(time_left + _LAST_POLL_SECONDS)

    def _record_error(self, error: PandiumError) -> None:
        if isinstance(error, APIError) and error.retry_after is not None:
            self.retry_at = self.options.clock.now() + error.retry_after
        self.last_error = None
        if not isinstance(error, NotFound):
            self.last_error = copy.copy(error)  # copying drops the traceback
            shorten_response(self.last_error)

    async def handle_status(self, status: TriggerStatus | None) -> Outcome:
        """
        Record the result of a poll and call ``on_status`` if the status has changed.

        :returns: the outcome of the latest status, or ``ACTIVE`` if there is no status yet.
        """
        if status is not None:
            has_changed, self.last_status = status != self.last_status, status
            self.outcome = self._classify(status)
            if has_changed:
                await self._notify(status)
        return self.outcome

    def _classify(self, status: TriggerStatus) -> Outcome:
        with CancellationGuard("classify"):
            outcome = self.options.classify(status)
        if not isinstance(outcome, Outcome) or outcome is Outcome.UNKNOWN:
            raise ValueError(f"classify must return ACTIVE, SUCCEEDED or FAILED, not {outcome!r}")
        return outcome

    async def _notify(self, status: TriggerStatus) -> None:
        options = self.options
        if options.on_unknown_status is not None and not status.is_known:
            options.on_unknown_status(status)
        if options.on_status is not None:
            with self._until_expired() as scope, CancellationGuard("on_status"):
                returned = options.on_status(status, self)
                if inspect.isawaitable(returned):
                    await returned
            if scope.cancelled_caught:
                text = "on_status did not finish in time for trigger %s (%s) and was canceled"
                _log.warning(text, self.trigger_id, show_status(status.status))

    def timeout_error(self) -> WaitTimeout:
        """Return the error for a wait that has reached its time limit."""
        last = self.last_status
        seen = "no status yet" if last is None else f"last status {show_status(last.status)}"
        cause = "" if self.last_error is None else f"; the last poll failed: {self.last_error}"
        error = WaitTimeout(
            f"the run of trigger {self.trigger_id} did not end within {self.options.timeout:g} s"
            f" ({seen}, {self.polls} polls){cause}",
            trigger_id=self.trigger_id,
            last_status=last,
            polls=self.polls,
        )
        error.__cause__ = self.last_error
        return error

    def result(self, error: Exception | None = None) -> RunResult:
        """Return the result of a completed wait."""
        status = self.last_status if error is None else None
        outcome = self.outcome if error is None else Outcome.UNKNOWN
        if error is not None:
            shorten_response(error)
        return RunResult(self.trigger_id, status, error, self.polls, self.age(), outcome=outcome)
