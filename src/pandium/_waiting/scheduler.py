"""Poll any number of triggers from one queue, within a rate limit."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import anyio
import anyio.lowlevel

from pandium._cancellation import CancellationGuard, as_iteration_error
from pandium._validation import validate_trigger_id
from pandium._waiting.policy import PollPolicy
from pandium._waiting.polling import TriggerWait
from pandium.models import Trigger

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from pandium._waiting.polling import WaitOptions
    from pandium._waiting.results import RunResult
    from pandium.models import TriggerStatus

__all__ = [
    "OnEnd",
    "Scheduler",
    "Source",
    "for_each",
    "wait_for_all",
    "wait_for_each",
    "wait_for_run",
]

T = TypeVar("T")
Source: TypeAlias = Iterable[Trigger | str | int] | AsyncIterable[Trigger | str | int]
OnEnd: TypeAlias = Callable[[TriggerWait, Exception | None], Awaitable[None]]

# The limit on polls in flight is at least this high, so that a few hanging polls do not block the
# others.
_MIN_IN_FLIGHT = 10
# More polls would wait for a connection. Starting them all at once would block the event loop.
_MAX_IN_FLIGHT = 500
# The number of items of a list, or of expired waits, to handle before other tasks run. In a busy
# event loop, it may take long until the others have run.
_PER_CHECKPOINT = 100


async def for_each(
    source: Iterable[T] | AsyncIterable[T], handle: Callable[[T], Awaitable[None]]
) -> None:
    """
    Call ``handle`` with each item of a source, one at a time.

    An async generator is closed when the loop ends, even after an error. Other tasks run between
    any two items, or after every 100 items of a list, so that a long or endless source does not
    block the event loop.
    """
    counter, interval = itertools.count(), _PER_CHECKPOINT if isinstance(source, list) else 1

    async def handle_and_yield(item: T) -> None:
        await handle(item)
        if next(counter) % interval == 0:
            await anyio.lowlevel.checkpoint()

    if isinstance(source, AsyncGenerator):
        async with aclosing(source):
            async for item in source:
                await handle_and_yield(item)
    elif isinstance(source, AsyncIterable):
        async for item in source:
            await handle_and_yield(item)
    else:
        for item in source:
            await handle_and_yield(item)


async def wait_for_run(trigger_id: str, options: WaitOptions) -> TriggerStatus:
    """
    Wait for the run of one trigger to end and return its last status.

    :raises WaitTimeout: if the run has not ended by the time limit.
    :raises PandiumError: if a poll fails with an error that polling again cannot resolve.
    """
    [result] = await wait_for_all([trigger_id], options)
    if result.error is not None:
        raise result.error
    return cast("TriggerStatus", result.status)


async def wait_for_all(source: Source, options: WaitOptions) -> list[RunResult]:
    """Wait for the runs of many triggers and return the results in the order of the source."""
    results: dict[int, RunResult] = {}

    async def collect(index: int, result: RunResult) -> None:
        results[index] = result

    await wait_for_each(source, options, collect)
    return [results[index] for index in sorted(results)]


async def wait_for_each(
    source: Source, options: WaitOptions, send: Callable[[int, RunResult], Awaitable[None]]
) -> None:
    """
    Wait for the runs of many triggers.

    If the source raises an error, it is re-raised once the runs of all preceding triggers have
    ended. A cancellation that belongs to another task is replaced with a ``RuntimeError``.

    :param source: an iterable or async iterable of triggers or trigger ids.
    :param options: the options of the wait.
    :param send: a function that is called in order of completion, with the trigger's index in the
        source and the result.
    """
    counters, indexes = options.counters, itertools.count()
    # A plain iterable has been read by now. It may take long to add its triggers, because the
    # first ones are polled meanwhile.
    began = None if isinstance(source, AsyncIterable) else options.clock.now()

    async def on_end(wait: TriggerWait, error: Exception | None) -> None:
        result = wait.result(error)
        counters.active -= 1
        counters.count(result)
        await send(wait.key, result)

    source_error: Exception | None = None

    async def add(trigger: Trigger | str | int) -> None:
        trigger_id = validate_trigger_id(trigger)
        counters.triggered += 1
        counters.active += 1
        scheduler.add(next(indexes), trigger_id, began)

    try:
        async with anyio.create_task_group() as tasks:
            scheduler = Scheduler(options, tasks, on_end)
            tasks.start_soon(scheduler.run)
            source_error = await _read(source, add)
            counters.total = counters.triggered
            scheduler.close()
    except BaseExceptionGroup as group:
        # Ordinary errors become results. Only exceptions such as KeyboardInterrupt leave the task
        # group, which wraps them.
        raise group.exceptions[0] from None
    if source_error is not None:
        raise source_error
    if tasks.cancel_scope.cancel_called:
        raise RuntimeError("a task of the wait was canceled from outside")


async def _read(
    source: Source, add: Callable[[Trigger | str | int], Awaitable[None]]
) -> Exception | None:
    """Add all triggers from a source and return the error that the source raised, if any."""
    try:
        with CancellationGuard("the source of triggers"):
            await for_each(source, add)
    except Exception as error:  # noqa: BLE001 - a user-supplied source may raise anything
        return as_iteration_error(error, "the source of triggers")
    return None


class Scheduler:
    """
    A queue that polls triggers in the order in which they are due, at most ``rate`` per second.

    At most one second's worth of polls is in flight, up to a maximum, and unused capacity does not
    accumulate. This prevents a burst of polls after a rate limit or a server outage.

    :param options: the options of the wait.
    :param tasks: the task group in which the polls run.
    :param on_end: a function that is called when a wait ends, with its ``TriggerWait`` and its
        error or ``None``.
    """

    def __init__(self, options: WaitOptions, tasks: TaskGroup, on_end: OnEnd) -> None:
        self._options = options
        self._tasks = tasks
        self._on_end = on_end
        self._policy = PollPolicy()
        # The entry of an expired wait stays in the heap until it reaches the top.
        self._queue: list[tuple[float, int, TriggerWait]] = []
        self._order = itertools.count()
        # All waits have the same timeout, so the one that began first expires first. It is
        # the first one if the waits are in order.
        self._unexpired: OrderedDict[TriggerWait, None] = OrderedDict()
        self._is_in_order = True
        self._unfinished = 0
        self._in_flight = 0
        self._max_in_flight = min(max(_MIN_IN_FLIGHT, options.polling.rate), _MAX_IN_FLIGHT)
        self._sleep_scope: anyio.CancelScope | None = None
        self._last_start = -inf
        self.set_share(1.0)
        self._is_closed = False

    def add(self, key: Any, trigger_id: str, began: float | None = None) -> None:
        """
        Add a trigger.

        :param key: the ``key`` of the ``TriggerWait`` that is passed to ``on_end``.
        :param trigger_id: the trigger's id.
        :param began: the clock's time at which the time limit starts, now by default.
        """
        began = self._options.clock.now() if began is None else began
        wait = TriggerWait(key, trigger_id, self._options, began)
        self._unfinished += 1
        last = next(reversed(self._unexpired), wait)
        self._unexpired[wait] = None
        self._is_in_order = self._is_in_order and last.began <= began
        self._push(wait, wait.next_delay())
        self._wake()  # even if no poll is allowed, the wait must end at its time limit

    def set_share(self, share: float) -> None:
        """Set the share of the poll rate that may be used. With a share of 0, polls wait."""
        self._share = share
        if share:  # the last poll does not delay the next one by the interval of an earlier share
            self._interval = 1 / (self._options.polling.rate * share)
        self._wake()

    def close(self) -> None:
        """Stop accepting triggers, so that ``run`` returns once the last wait has ended."""
        self._is_closed = True
        self._wake()

    async def run(self) -> None:
        """Poll until all waits have ended."""
        while self._unfinished or not self._is_closed:
            now = self._options.clock.now()
            if self._next_expiry() <= now:
                self._expire(now)
                await anyio.lowlevel.checkpoint()
            elif (due := self._next_due()) <= now:
                self._start_poll(now)
            else:
                await self._sleep(min(due, self._next_expiry()) - now)

    def _expire(self, now: float) -> None:
        """End waits whose last poll can no longer start in time, up to the maximum per call."""
        for _ in range(_PER_CHECKPOINT):
            if self._next_expiry() > now:
                return
            wait = self._unexpired.popitem(last=False)[0]
            if wait.is_queued:
                wait.is_queued = False
                self._tasks.start_soon(self._end, wait, wait.timeout_error())

    def _next_expiry(self) -> float:
        first = self._first_unexpired()
        if first is None:
            return inf
        # Do not wait past the time limit if the rate allows no poll before the wait expires.
        is_too_late = self._last_start + self._interval > first.expires_at()
        return first.time_limit() if is_too_late else first.expires_at()

    def _first_unexpired(self) -> TriggerWait | None:
        if not self._is_in_order:  # not sorted in `add`, because thousands may be added at once
            waits = sorted(self._unexpired, key=lambda wait: wait.began)
            self._unexpired = OrderedDict.fromkeys(waits)
            self._is_in_order = True
        return next(iter(self._unexpired), None)

    def _next_due(self) -> float:
        while self._queue and not self._queue[0][-1].is_queued:
            heapq.heappop(self._queue)
        if not self._queue or self._in_flight >= self._max_in_flight or not self._share:
            return inf
        return max(self._queue[0][0], self._last_start + self._interval)

    def _start_poll(self, now: float) -> None:
        wait = heapq.heappop(self._queue)[-1]
        wait.is_queued = False
        self._last_start = now
        self._in_flight += 1
        self._tasks.start_soon(self._poll_once, wait)

    async def _poll_once(self, wait: TriggerWait) -> None:
        delay: float | None = None
        error: Exception | None = None
        try:
            delay = await self._poll_and_decide(wait)
        except Exception as caught:  # noqa: BLE001 - a trigger's error becomes its result
            error = caught
        if delay is None:
            await self._end(wait, error)
        else:
            self._push(wait, delay)

    async def _poll_and_decide(self, wait: TriggerWait) -> float | None:
        response = await self._poll(wait)
        if isinstance(response, Exception):
            return self._policy.decide(wait, response)
        return self._policy.decide(wait, await wait.handle_status(response))

    async def _poll(self, wait: TriggerWait) -> TriggerStatus | Exception | None:
        # Return the error, because a local variable would form a reference cycle with it.
        try:
            return await wait.poll()
        except Exception as error:  # noqa: BLE001 - the policy decides how to handle it
            return error
        finally:
            if self._in_flight >= self._max_in_flight:
                self._wake()
            self._in_flight -= 1

    async def _end(self, wait: TriggerWait, error: Exception | None) -> None:
        self._unexpired.pop(wait, None)
        await self._on_end(wait, error)
        self._unfinished -= 1
        if not self._unfinished:
            self._wake()

    def _push(self, wait: TriggerWait, delay: float) -> None:
        wait.is_queued = True
        due = self._options.clock.now() + delay
        heapq.heappush(self._queue, (due, next(self._order), wait))
        if self._queue[0][-1] is wait:  # otherwise, the next poll starts when it would have anyway
            self._wake()

    def _wake(self) -> None:
        if self._sleep_scope is not None:
            self._sleep_scope.cancel()

    async def _sleep(self, seconds: float) -> None:
        with anyio.CancelScope() as self._sleep_scope:
            await (anyio.sleep_forever() if seconds == inf else self._options.clock.sleep(seconds))
        self._sleep_scope = None
