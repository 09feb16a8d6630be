"""Wait for the runs of many triggers by one schedule, which never sends a burst."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio

from pandium._validation import validate_trigger_id
from pandium._waiting.polling import TriggerWait
from pandium.models import Outcome, Trigger

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from pandium._waiting.polling import RunResult, WaitOptions

__all__ = ["Done", "Scheduler", "Source", "for_each", "wait_for_each"]

T = TypeVar("T")
Source: TypeAlias = Iterable[Trigger | str] | AsyncIterable[Trigger | str]
Done: TypeAlias = Callable[[TriggerWait, Exception | None], Awaitable[None]]

# Polls that may be under way at once, however low the rate: one that hangs must not stop all.
_LEAST_AT_ONCE = 10


async def for_each(
    source: Iterable[T] | AsyncIterable[T], take: Callable[[T], Awaitable[None]]
) -> None:
    """Take each element of a source in turn; a generator is closed however this ends."""
    if isinstance(source, AsyncGenerator):
        async with aclosing(source):
            async for item in source:
                await take(item)
    elif isinstance(source, AsyncIterable):
        async for item in source:
            await take(item)
    else:
        for item in source:
            await take(item)


async def wait_for_each(
    source: Source, options: WaitOptions, send: Callable[[int, RunResult], Awaitable[None]]
) -> None:
    """
    Wait for the runs of many triggers, and send each with its place in the source as it ends.

    An error of the source is raised once all triggers that came before it have ended.
    """
    counters, places = options.counters, itertools.count()
    failure: Exception | None = None

    async def done(watch: TriggerWait, error: Exception | None) -> None:
        counters.active -= 1
        counters.count(watch.outcome if error is None else Outcome.ACTIVE)
        await send(watch.key, watch.completed(error))

    async def take(trigger: Trigger | str) -> None:
        trigger_id = validate_trigger_id(trigger)
        counters.triggered += 1
        counters.active += 1
        schedule.add(next(places), trigger_id)

    async with anyio.create_task_group() as tasks:
        schedule = Scheduler(options, tasks, done)
        tasks.start_soon(schedule.run)
        try:
            await for_each(source, take)
        except Exception as error:  # noqa: BLE001 - the user's own source may raise anything
            failure = error
        schedule.close()
    if failure is not None:
        raise failure


class Scheduler:
    """
    One heap of due times: the earliest first, and at most `rate` looks a second.

    No slot is saved up while nothing can be sent, and no more looks are under way than a second
    may begin: what was stalled does not come all at once.
    """

    def __init__(self, options: WaitOptions, tasks: TaskGroup, done: Done) -> None:
        self._options = options
        self._tasks = tasks
        self._done = done
        self._due: list[tuple[float, int, TriggerWait]] = []
        self._order = itertools.count()
        # All have the same time limit, so the first of these is the first whose time is over.
        self._limits: OrderedDict[TriggerWait, None] = OrderedDict()
        self._waiting = 0
        self._looking = 0
        self._most_looking = max(_LEAST_AT_ONCE, options.polling.rate)
        self._next_slot = -inf
        self._is_closed = False
        self._pause: anyio.CancelScope | None = None

    def add(self, key: Any, trigger_id: str) -> None:
        """Take on one more trigger."""
        watch = TriggerWait(key, trigger_id, self._options, self._options.clock.now())
        self._waiting += 1
        self._limits[watch] = None
        self._push(watch)

    def close(self) -> None:
        """Take on no more; the schedule ends with what it has."""
        self._is_closed = True
        self._wake()

    async def run(self) -> None:
        """Look at what is due until all have ended."""
        while self._waiting or not self._is_closed:
            now = self._options.clock.now()
            self._give_up(now)
            due = self._next_look()
            if due <= now:
                self._begin(now)
            else:
                first = next(iter(self._limits), None)
                await self._sleep(min(due, inf if first is None else first.gives_up_at()) - now)

    def _give_up(self, now: float) -> None:
        """End what has waited for its last look for too long, as the rate allowed none."""
        while self._limits and (watch := next(iter(self._limits))).gives_up_at() <= now:
            del self._limits[watch]
            if watch.is_queued:
                watch.is_queued = False
                self._tasks.start_soon(self._end, watch, watch.timed_out())

    def _next_look(self) -> float:
        while self._due and not self._due[0][-1].is_queued:
            heapq.heappop(self._due)
        if not self._due or self._looking >= self._most_looking:
            return inf
        return max(self._due[0][0], self._next_slot)

    def _begin(self, now: float) -> None:
        watch = heapq.heappop(self._due)[-1]
        watch.is_queued = False
        self._next_slot = now + 1 / self._options.polling.rate
        self._looking += 1
        self._tasks.start_soon(self._look, watch)

    async def _look(self, watch: TriggerWait) -> None:
        error: Exception | None = None
        try:
            status = await self._look_once(watch)
            has_ended = status is not None and await watch.hear(status)
        except Exception as caught:  # noqa: BLE001 - one trigger's failure is one result
            error, has_ended = caught, True
        if not has_ended and watch.is_overdue():
            error, has_ended = watch.timed_out(), True
        if has_ended:
            await self._end(watch, error)
        else:
            self._push(watch)

    async def _look_once(self, watch: TriggerWait) -> Any:
        try:
            return await watch.look()
        finally:
            self._looking -= 1
            self._wake()

    async def _end(self, watch: TriggerWait, error: Exception | None) -> None:
        self._limits.pop(watch, None)
        await self._done(watch, error)
        self._waiting -= 1
        self._wake()

    def _push(self, watch: TriggerWait) -> None:
        due = self._options.clock.now() + watch.pause()
        watch.is_queued = True
        heapq.heappush(self._due, (due, next(self._order), watch))
        self._wake()

    def _wake(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    async def _sleep(self, seconds: float) -> None:
        with anyio.CancelScope() as self._pause:
            await (anyio.sleep_forever() if seconds == inf else self._options.clock.sleep(seconds))
        self._pause = None
