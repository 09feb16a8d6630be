"""Wait for the run of a trigger: 404 means not yet, and what may pass is waited out."""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pandium._transport.retry import repeating
from pandium.errors import (
    APIError,
    NotFound,
    RateLimited,
    ServerError,
    TransportError,
    WaitTimeout,
)
from pandium.models import Outcome, TriggerStatus

if TYPE_CHECKING:
    from pandium._clock import Clock
    from pandium._waiting.results import Counters

__all__ = [
    "Classify",
    "Look",
    "Polling",
    "RunResult",
    "Tell",
    "TriggerWait",
    "WaitOptions",
    "wait_for_one",
]

Look: TypeAlias = Callable[[str], Awaitable[TriggerStatus]]
Classify: TypeAlias = Callable[[TriggerStatus], Outcome]
Tell: TypeAlias = "Callable[[TriggerStatus, TriggerWait], Awaitable[None] | None]"

_log = logging.getLogger("pandium")
# Seconds that a look may go on for after the time limit, at which the last one begins.
_LAST_LOOK = 2.0
_REQUEST_TIMEOUT = 408
# Seconds that rounding may take from a pause on a clock that moves by pauses alone.
_MOMENT = 1e-6


def _number(attribute: attrs.Attribute[float], value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{attribute.name} must be a number, not {value!r}")
    return value


def _seconds(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if not 0 <= _number(attribute, value) < inf:
        raise ValueError(f"{attribute.name} must be 0 or more, not {value!r}")


def _positive(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if not _number(attribute, value) > 0:
        raise ValueError(f"{attribute.name} must be above 0, not {value!r}")


@attrs.frozen
class Polling:
    """
    When to look at a trigger, in seconds.

    The first look comes after ``first``; each next one after ``factor`` x the time since the wait
    began, at least ``minimum`` and at most ``maximum``, then up to ``jitter`` of it sooner or
    later. ``rate`` is the most looks a second over all triggers of one wait. A ``Retry-After`` of
    the server wins over all of them.
    """

    first: float = attrs.field(default=1.0, validator=_seconds)
    factor: float = attrs.field(default=0.1, validator=_seconds)
    minimum: float = attrs.field(default=1.0, validator=_seconds)
    maximum: float = attrs.field(default=15.0, validator=_seconds)
    jitter: float = attrs.field(default=0.2, validator=_seconds)
    rate: float = attrs.field(default=20.0, validator=_positive)

    def __attrs_post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum must be at most maximum, not {self.minimum!r}")
        if self.jitter >= 1:
            raise ValueError(f"jitter must be below 1, not {self.jitter!r}")

    def pause(self, age: float) -> float:
        """Give the seconds until the next look at a trigger that is so many seconds old."""
        return self._jittered(min(max(self.factor * age, self.minimum), self.maximum))

    def first_pause(self) -> float:
        """Give the seconds until the first look."""
        return self._jittered(self.first)

    def _jittered(self, seconds: float) -> float:
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads load, guards nothing


@attrs.frozen
class RunResult:
    """
    How the wait for one run ended: with a ``status``, or with an ``error``.

    ``polls`` is the number of looks, ``elapsed`` the seconds from the start of the wait.
    ``tenant_id`` is set where tenants were synced; ``trigger_id`` is ``None`` where a tenant got
    none, or its answer was lost.
    """

    trigger_id: str | None
    status: TriggerStatus | None
    error: Exception | None
    polls: int
    elapsed: float
    tenant_id: int | None = None


@attrs.frozen
class WaitOptions:
    """
    On what options to wait: how to look, how often, until when, and what a word means.

    ``held_until`` is the clock's time before which no request may be sent at all.
    """

    look: Look
    clock: Clock
    polling: Polling
    timeout: float
    classify: Classify
    counters: Counters
    tell: Tell
    note: Callable[[TriggerStatus], None] | None = None
    held_until: Callable[[], float] = lambda: -inf


@attrs.define(eq=False)
class TriggerWait:
    """One trigger that is waited for; `key` is what the one who waits knows it by."""

    key: Any
    trigger_id: str
    options: WaitOptions
    began: float
    polls: int = 0
    last_status: TriggerStatus | None = None
    outcome: Outcome = Outcome.ACTIVE
    not_before: float = -inf
    is_queued: bool = False

    def age(self) -> float:
        """Give the seconds since the wait began."""
        return self.options.clock.now() - self.began

    def pause(self) -> float:
        """Give the seconds until the next look, which comes at the time limit at the latest."""
        polling, age = self.options.polling, self.age()
        wanted = polling.pause(age) if self.polls else polling.first_pause()
        wanted = max(wanted, self._free_at() - self.options.clock.now())
        return max(0.0, min(wanted, self.options.timeout - age))

    def _free_at(self) -> float:
        return max(self.not_before, self.options.held_until())

    def is_overdue(self) -> bool:
        """Tell whether the time limit is over."""
        return self.age() >= self.options.timeout - _MOMENT

    def gives_up_at(self) -> float:
        """Give the clock's time after which not even the last look begins."""
        return self.began + self.options.timeout + _LAST_LOOK

    async def look(self) -> TriggerStatus | None:
        """Look once. News that nobody can have yet is no news, nor is what the server holds up."""
        clock = self.options.clock
        if self._free_at() > clock.now() + _MOMENT:
            return None
        self.not_before = clock.now() + 1 / self.options.polling.rate
        self.polls += 1
        self.options.counters.polls += 1
        try:
            with clock.move_on_after(max(0.0, self.options.timeout - self.age()) + _LAST_LOOK):
                return await self.options.look(self.trigger_id)
        except NotFound as error:
            self._obey(error)
        except (APIError, TransportError) as error:
            if not _may_pass(error):
                raise
            self._obey(error)
            _log.warning("no news of trigger %s: %s", self.trigger_id, error)
        return None

    def _obey(self, error: APIError | TransportError) -> None:
        if isinstance(error, APIError) and error.retry_after is not None:
            wanted = self.options.clock.now() + error.retry_after
            self.not_before = max(self.not_before, wanted)

    async def hear(self, status: TriggerStatus) -> bool:
        """Read a status, and tell of it if it is a new one; true if the run has ended."""
        is_news, self.last_status = status != self.last_status, status
        self.outcome = self._outcome_of(status)
        if is_news:
            await self._tell(status)
        return self.outcome is not Outcome.ACTIVE

    def _outcome_of(self, status: TriggerStatus) -> Outcome:
        outcome = self.options.classify(status)
        if not isinstance(outcome, Outcome):
            raise ValueError(f"classify must give an Outcome, not {outcome!r}")
        return outcome

    async def _tell(self, status: TriggerStatus) -> None:
        if self.options.note is not None:
            self.options.note(status)
        told = self.options.tell(status, self)
        if inspect.isawaitable(told):
            await told

    def timed_out(self) -> WaitTimeout:
        """Make the error of a wait whose time limit is over."""
        last = "no status yet" if self.last_status is None else f"last {self.last_status.status!r}"
        return WaitTimeout(
            f"the run of trigger {self.trigger_id} did not end within {self.options.timeout:g} s"
            f" ({last}, {self.polls} looks)",
            trigger_id=self.trigger_id,
            last_status=self.last_status,
            polls=self.polls,
        )

    def completed(self, error: Exception | None = None) -> RunResult:
        """Make the result of a wait that has ended."""
        status = self.last_status if error is None else None
        return RunResult(self.trigger_id, status, error, self.polls, self.age())


def _may_pass(error: APIError | TransportError) -> bool:
    if isinstance(error, (TransportError, ServerError, RateLimited)):
        return True
    return error.status_code == _REQUEST_TIMEOUT


async def wait_for_one(trigger_id: str, options: WaitOptions) -> TriggerStatus:
    """
    Wait until the run of a trigger has ended.

    :raises WaitTimeout: at the time limit.
    :raises PandiumError: if a look fails in a way that no later one can mend.
    """
    watch = TriggerWait(None, trigger_id, options, options.clock.now())

    async def look() -> bool:
        status = await watch.look()
        return status is not None and await watch.hear(status)

    has_ended = await repeating(look, watch.pause, watch.is_overdue, options.clock)
    if has_ended and watch.last_status is not None:
        return watch.last_status
    raise watch.timed_out()
