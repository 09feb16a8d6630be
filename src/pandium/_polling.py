"""Wait for the runs of triggers: 404 means not yet, and one schedule serves many."""

from __future__ import annotations

import heapq
import inspect
import itertools
import logging
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import attrs

from pandium._retry import repeating
from pandium.errors import (
    NotFound,
    RateLimited,
    ServerError,
    TransportError,
    WaitTimeout,
)
from pandium.models import Outcome, Trigger, TriggerStatus

if TYPE_CHECKING:
    from pandium._clock import Clock

__all__ = [
    "Classify",
    "Completed",
    "Look",
    "OnStatus",
    "Polling",
    "Source",
    "Terms",
    "trigger_id_of",
    "wait_for_each",
    "wait_for_one",
]

Look: TypeAlias = Callable[[str], Awaitable[TriggerStatus]]
Classify: TypeAlias = Callable[[TriggerStatus], Outcome]
OnStatus: TypeAlias = Callable[[TriggerStatus], Awaitable[None] | None]
Source: TypeAlias = Iterable[Trigger | str] | AsyncIterable[Trigger | str]

_log = logging.getLogger("pandium")


def _seconds(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < inf:
        raise ValueError(f"{attribute.name} must be 0 or more, not {value!r}")


@attrs.frozen
class Polling:
    """
    When to look at a trigger, in seconds.

    The first look comes after ``first``; each next one after ``factor`` x the time since the wait
    began, at least ``minimum`` and at most ``maximum``, then up to ``jitter`` of it sooner or
    later. ``rate`` is the most looks a second over all triggers of one wait.
    """

    first: float = attrs.field(default=1.0, validator=_seconds)
    factor: float = attrs.field(default=0.1, validator=_seconds)
    minimum: float = attrs.field(default=1.0, validator=_seconds)
    maximum: float = attrs.field(default=15.0, validator=_seconds)
    jitter: float = attrs.field(default=0.2, validator=_seconds)
    rate: float = attrs.field(default=20.0)

    def __attrs_post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum must be at most maximum, not {self.minimum!r}")
        if self.jitter >= 1:
            raise ValueError(f"jitter must be below 1, not {self.jitter!r}")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, not {self.rate!r}")

    def pause(self, age: float) -> float:
        """Give the seconds until the next look at a trigger that is so many seconds old."""
        return self._jittered(min(max(self.factor * age, self.minimum), self.maximum))

    def first_pause(self) -> float:
        """Give the seconds until the first look."""
        return self._jittered(self.first)

    def _jittered(self, seconds: float) -> float:
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads load, guards nothing


@attrs.frozen
class Completed:
    """
    How the wait for one trigger ended: with a ``status``, or with an ``error``.

    ``polls`` is the number of looks, ``elapsed`` the seconds from the start of the wait.
    """

    trigger_id: str
    status: TriggerStatus | None
    error: Exception | None
    polls: int
    elapsed: float


@attrs.frozen
class Terms:
    """On what terms to wait: how to look, how often, until when, and what a word means."""

    look: Look
    clock: Clock
    polling: Polling
    timeout: float
    classify: Classify
    on_status: OnStatus | None = None
    note: Callable[[TriggerStatus], None] | None = None


def trigger_id_of(trigger: object) -> str:
    """
    Give the id of a trigger, or the id that it is.

    :raises ValueError: if it is neither.
    """
    if isinstance(trigger, Trigger):
        return trigger.trigger_id
    if isinstance(trigger, str) and trigger:
        return trigger
    raise ValueError(f"trigger must be a Trigger or its id, not {trigger!r}")


@attrs.define(eq=False)
class _Watch:
    """One trigger that is waited for."""

    trigger_id: str
    terms: Terms
    began: float
    polls: int = 0
    last_status: TriggerStatus | None = None

    def age(self) -> float:
        return self.terms.clock.now() - self.began

    def pause(self) -> float:
        # The last look comes at the time limit, not one pause before it.
        polling, age = self.terms.polling, self.age()
        wanted = polling.pause(age) if self.polls else polling.first_pause()
        return max(0.0, min(wanted, self.terms.timeout - age))

    async def look(self) -> bool:
        """Look once; true if the run has ended. News that nobody can have yet is no news."""
        self.polls += 1
        try:
            status = await self.terms.look(self.trigger_id)
        except NotFound:
            return False
        except (TransportError, ServerError, RateLimited) as error:
            _log.warning("no news of trigger %s: %s", self.trigger_id, error)
            return False
        await self._tell(status)
        return self.terms.classify(status) is not Outcome.ACTIVE

    async def _tell(self, status: TriggerStatus) -> None:
        is_news, self.last_status = status != self.last_status, status
        if not is_news:
            return
        if self.terms.note is not None:
            self.terms.note(status)
        if self.terms.on_status is not None:
            told = self.terms.on_status(status)
            if inspect.isawaitable(told):
                await told

    def is_overdue(self) -> bool:
        return self.age() >= self.terms.timeout

    def timed_out(self) -> WaitTimeout:
        last = "no status yet" if self.last_status is None else f"last {self.last_status.status!r}"
        return WaitTimeout(
            f"the run of trigger {self.trigger_id} did not end within {self.terms.timeout:g} s"
            f" ({last}, {self.polls} looks)",
            trigger_id=self.trigger_id,
            last_status=self.last_status,
            polls=self.polls,
        )

    def completed(self, error: Exception | None = None) -> Completed:
        status = self.last_status if error is None else None
        return Completed(self.trigger_id, status, error, self.polls, self.age())


async def wait_for_one(trigger_id: str, terms: Terms) -> TriggerStatus:
    """
    Wait until the run of a trigger has ended.

    :raises WaitTimeout: at the time limit.
    :raises PandiumError: if a look fails in a way that no later one can mend.
    """
    watch = _Watch(trigger_id, terms, terms.clock.now())
    has_ended = await repeating(watch.look, watch.pause, watch.is_overdue, terms.clock)
    if has_ended and watch.last_status is not None:
        return watch.last_status
    raise watch.timed_out()


async def wait_for_each(
    source: Source, terms: Terms, send: Callable[[int, Completed], Awaitable[None]]
) -> None:
    """
    Wait for the runs of many triggers, and send each with its place in the source as it ends.

    An error of the source is raised once all triggers that came before it have ended.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        schedule = _Schedule(terms, tasks, send)
        tasks.start_soon(schedule.run)
        try:
            async for trigger_id in _ids(source):
                schedule.add(trigger_id)
        except Exception as error:  # noqa: BLE001 - the user's own source may raise anything
            failure = error
        schedule.close()
    if failure is not None:
        raise failure


async def _ids(source: Source) -> AsyncIterator[str]:
    if isinstance(source, AsyncIterable):
        async for trigger in source:
            yield trigger_id_of(trigger)
    else:
        for trigger in source:
            yield trigger_id_of(trigger)


class _Schedule:
    """One heap of due times: the earliest first, and at most `rate` looks a second."""

    def __init__(
        self, terms: Terms, tasks: Any, send: Callable[[int, Completed], Awaitable[None]]
    ) -> None:
        self._terms = terms
        self._tasks = tasks
        self._send = send
        self._due: list[tuple[float, int, int, _Watch]] = []
        self._order = itertools.count()
        self._indices = itertools.count()
        self._looking = 0
        self._next_slot = -inf
        self._is_closed = False
        self._pause: anyio.CancelScope | None = None

    def add(self, trigger_id: str) -> None:
        """Take on one more trigger."""
        watch = _Watch(trigger_id, self._terms, self._terms.clock.now())
        self._push(next(self._indices), watch)

    def close(self) -> None:
        """Take on no more; the schedule ends with what it has."""
        self._is_closed = True
        self._wake()

    async def run(self) -> None:
        """Look at what is due until all have ended."""
        while self._due or self._looking or not self._is_closed:
            now = self._terms.clock.now()
            due = max(self._due[0][0], self._next_slot) if self._due else inf
            if due > now:
                await self._sleep(due - now)
                continue
            *_, index, watch = heapq.heappop(self._due)
            self._next_slot = max(now, self._next_slot) + 1 / self._terms.polling.rate
            self._looking += 1
            self._tasks.start_soon(self._look, index, watch)

    async def _look(self, index: int, watch: _Watch) -> None:
        error: Exception | None = None
        try:
            has_ended = await watch.look()
        except Exception as caught:  # noqa: BLE001 - one trigger's failure is one result
            error, has_ended = caught, True
        self._looking -= 1
        if not has_ended and watch.is_overdue():
            error, has_ended = watch.timed_out(), True
        if has_ended:
            await self._send(index, watch.completed(error))
            self._wake()
        else:
            self._push(index, watch)

    def _push(self, index: int, watch: _Watch) -> None:
        due = self._terms.clock.now() + watch.pause()
        heapq.heappush(self._due, (due, next(self._order), index, watch))
        self._wake()

    def _wake(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    async def _sleep(self, seconds: float) -> None:
        with anyio.CancelScope() as self._pause:
            await (anyio.sleep_forever() if seconds == inf else self._terms.clock.sleep(seconds))
        self._pause = None
