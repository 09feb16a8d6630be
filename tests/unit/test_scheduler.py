"""Waiting for one and for many runs: order, rate, failures, cancellation and memory use."""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
import weakref
from math import inf
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandium import (
    AuthenticationError,
    ConnectionLost,
    NotFound,
    Outcome,
    Polling,
    RateLimited,
    RunResult,
    TriggerStatus,
    WaitTimeout,
)
from pandium._waiting.polling import TriggerWait, WaitOptions
from pandium._waiting.results import Counters
from pandium._waiting.scheduler import Scheduler, for_each, wait_for_all, wait_for_run
from pandium.emulator import ManualClock
from support.runs import ScriptedRuns, gaps, scripted_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

    from anyio.abc import TaskGroup

    from support.runs import Script

pytestmark = pytest.mark.anyio

# One trigger and many

FOUND = st.sampled_from(
    [
        *(None, "Pending", "Running", "Mulling", "Succeeded", "Failed (Timeout)"),
        ConnectionLost("gone"),
        RateLimited("slow down", status_code=429, retry_after=40),
        AuthenticationError("no", status_code=403),
    ]
)
SCRIPTS = st.lists(st.tuples(st.floats(0, 200), FOUND), max_size=6).map(
    lambda script: sorted(script, key=lambda entry: entry[0])
)
POLLINGS = st.builds(
    Polling, first=st.floats(0, 9), rate=st.sampled_from([0.05, 0.5, 20, inf]), jitter=st.just(0)
)


asyncio_only = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def canceled_task() -> None:
    """Await a task that other code has canceled."""
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def survive_a_cancellation() -> None:
    """Catch a cancellation of the current task, without ``uncancel``."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert task.cancelling()


async def returned_or_raised(wait: Awaitable[TriggerStatus]) -> TriggerStatus | Exception:
    try:
        return await wait
    except Exception as error:  # noqa: BLE001 - any error is returned
        return error


@given(script=SCRIPTS, polling=POLLINGS, timeout=st.sampled_from([0.0, 25.0, 150.0]))
@settings(max_examples=60, deadline=None)
async def test_one_trigger_and_many_agree(
    script: Script,
    polling: Polling,
    timeout: float,  # noqa: ASYNC109 - the time limit of the waits
) -> None:
    """``wait`` ends like the run's result among many, at the same time and after equal polls."""
    alone, among_many = scripted_run(*script), scripted_run(*script)
    options: dict[str, Any] = {"polling": polling, "timeout": timeout}
    outcome = await returned_or_raised(alone.wait(**options))
    [result] = await among_many.wait_for(["0"], **options)
    if isinstance(outcome, WaitTimeout):
        assert isinstance(result.error, WaitTimeout)
        assert vars(result.error) == vars(outcome)
    else:
        assert outcome in (result.error, result.status)
    assert (result.error is None) == (result.status is not None)
    assert alone.polls == among_many.polls
    assert alone.clock.now() == among_many.clock.now() == result.elapsed
    assert result.polls == len(alone.polls)


async def test_results_arrive_in_order_of_completion() -> None:
    """The run that ends first has the first result, with its polls and its time."""
    ends = {"slow": 300.0, "fast": 5.0, "medium": 60.0}
    runs = ScriptedRuns({name: [(0, None), (end, "Succeeded")] for name, end in ends.items()})
    results = await runs.wait_for(list(ends))
    assert [result.trigger_id for result in results] == ["fast", "medium", "slow"]
    for result in results:
        assert result.polls == len(runs.poll_times(result.trigger_id))
        end = ends[str(result.trigger_id)]
        assert end <= result.elapsed <= 1.2 * end + 1.5


async def test_all_results_are_in_the_order_of_the_source() -> None:
    """``wait_for_all`` returns results in the order of the triggers, whichever ends first."""
    runs = ScriptedRuns({name: [(end, "Succeeded")] for name, end in [("a", 90.0), ("b", 5.0)]})
    async with runs.clock.autojump():
        results = await wait_for_all(["a", "b", "a"], runs.options())
    assert [result.trigger_id for result in results] == ["a", "b", "a"]


async def test_an_error_of_one_trigger_is_its_result() -> None:
    """A failing wait for one trigger does not affect the others."""
    rejected = AuthenticationError("no", status_code=403)
    runs = ScriptedRuns({"bad": [(0, rejected)], "late": [], "good": [(60, "Succeeded")]})
    results = {r.trigger_id: r for r in await runs.wait_for(["bad", "late", "good"], timeout=100.0)}
    assert results["bad"].error is rejected
    assert isinstance(results["late"].error, WaitTimeout)
    assert results["good"].status == TriggerStatus("Succeeded")
    assert (results["good"].error, results["bad"].status) == (None, None)


@pytest.mark.parametrize("callback", ["classify", "on_status"])
async def test_an_error_of_a_callback_is_the_result_of_its_trigger(callback: str) -> None:
    """A callback error ends one wait, even if the error looks transient."""
    for error in (ZeroDivisionError(), NotFound("other", status_code=404)):
        runs = ScriptedRuns({"bad": [(0, "Odd")], "good": [(60, "Succeeded")]})

        def fail(status: TriggerStatus, *_: object, error: Exception = error) -> Outcome:
            if status.status == "Odd":
                raise error
            return status.outcome

        results = {
            r.trigger_id: r for r in await runs.wait_for(["bad", "good"], **{callback: fail})
        }
        assert results["bad"].error is error
        assert results["good"].status == TriggerStatus("Succeeded")


@asyncio_only
@pytest.mark.parametrize("callback", ["classify", "on_status", "on_status_async", "poll_status"])
async def test_a_cancellation_in_a_callback_is_the_result_of_its_trigger(callback: str) -> None:
    """A callback that awaits a canceled task ends only its own wait, with an error."""
    runs = ScriptedRuns({"bad": [(0, "Odd")], "good": [(60, "Succeeded")]})

    def fail(status: TriggerStatus, *_: object) -> Outcome:
        if status.status == "Odd":
            raise asyncio.CancelledError
        return status.outcome

    async def fail_async(status: TriggerStatus, *_: object) -> None:
        if status.status == "Odd":
            await canceled_task()

    async def fail_poll(trigger_id: str) -> TriggerStatus:
        fail(status := await runs.poll_status(trigger_id))
        return status

    callbacks: dict[str, Any] = {
        "classify": {"classify": fail},
        "on_status": {"on_status": fail},
        "on_status_async": {"on_status": fail_async},
        "poll_status": {"poll_status": fail_poll},
    }
    results = {r.trigger_id: r for r in await runs.wait_for(["bad", "good"], **callbacks[callback])}
    error = results["bad"].error
    assert isinstance(error, RuntimeError)
    assert str(error).endswith(" raised CancelledError, but the current task was not canceled")
    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert results["good"].status == TriggerStatus("Succeeded")


class StopEverythingError(BaseException):
    """An exception that is not an ``Exception``, such as KeyboardInterrupt."""


async def test_wait_raises_no_exception_group() -> None:
    """An exception such as KeyboardInterrupt is raised by ``wait`` without an exception group."""
    error = StopEverythingError()

    def on_status(*_: object) -> None:
        raise error

    with pytest.raises(StopEverythingError) as caught:
        await scripted_run((0, "Running")).wait(on_status=on_status)
    assert caught.value is error


# The source


async def test_no_triggers_are_no_results() -> None:
    """With an empty source, the wait ends immediately."""
    assert await ScriptedRuns({}).wait_for([]) == []


async def test_a_source_may_still_be_producing() -> None:
    """Runs are polled while the source is still producing triggers."""
    runs = ScriptedRuns({name: [(0, "Succeeded")] for name in "abc"})

    async def source() -> AsyncIterator[str]:
        for name in "abc":
            yield name
            await runs.clock.sleep(100)

    results = await runs.wait_for(source())
    assert [result.trigger_id for result in results] == ["a", "b", "c"]
    assert runs.poll_times() == pytest.approx([1, 101, 201])


async def test_a_new_trigger_is_polled_before_those_with_long_delays() -> None:
    """The first poll of a new trigger is not delayed by other triggers with long delays."""
    runs = ScriptedRuns({"old": [(0, "Running"), (900, "Succeeded")], "new": [(0, "Succeeded")]})

    async def source() -> AsyncIterator[str]:
        yield "old"
        await runs.clock.sleep(500)
        yield "new"

    results = await runs.wait_for(source())
    assert [result.trigger_id for result in results] == ["new", "old"]
    assert results[0].elapsed == pytest.approx(1, abs=0.1)


async def test_an_error_of_the_source_is_raised_after_all_results() -> None:
    """A source error is re-raised unchanged after the runs of all preceding triggers have ended."""
    runs, results = ScriptedRuns({"a": [(60, "Succeeded")]}), list[RunResult]()
    error = ZeroDivisionError()

    async def source() -> AsyncIterator[str]:
        yield "a"
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        await runs.collect(source(), results)
    assert caught.value is error
    assert [result.trigger_id for result in results] == ["a"]


class StopsEarly:
    """A source that raises the exception that would end an iteration."""

    def __aiter__(self) -> AsyncIterator[str]:
        raise StopAsyncIteration


async def test_a_source_cannot_end_the_iteration_silently() -> None:
    """If a source raises StopAsyncIteration before its first item, the wait raises an error."""
    with pytest.raises(RuntimeError, match="source of triggers raised StopAsyncIteration"):
        await ScriptedRuns({}).wait_for(StopsEarly())


@asyncio_only
@pytest.mark.parametrize("is_generator", [True, False])
@pytest.mark.parametrize("was_canceled", [True, False])
async def test_a_cancellation_in_the_source_is_an_error_of_it(
    *, is_generator: bool, was_canceled: bool
) -> None:
    """
    A source that awaits a canceled task has failed: all results, then a RuntimeError.

    That also holds in a task that was canceled before and went on.
    """
    runs = ScriptedRuns({name: [(60, "Succeeded")] for name in "ab"})

    async def generate() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        await canceled_task()

    class Plain:
        def __aiter__(self) -> AsyncIterator[str]:
            return generate()

    source = generate() if is_generator else Plain()
    if was_canceled:
        await survive_a_cancellation()
    text = "the source of triggers raised CancelledError"
    results: list[RunResult] = []
    with pytest.raises(RuntimeError, match=text) as caught:
        await runs.collect(source, results)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert [result.trigger_id for result in results] == ["a", "b"]


@asyncio_only
async def test_a_cancellation_of_the_wait_in_the_source_is_no_error() -> None:
    """If the wait is canceled while the source awaits something, it ends as canceled."""
    runs = ScriptedRuns({"a": [(0, None)]})
    is_waiting = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        is_waiting.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(wait_for_all(source(), runs.options()))
    await is_waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@asyncio_only
async def test_a_wait_whose_tasks_are_canceled_is_an_error() -> None:
    """Canceling the tasks of a wait, but not the wait itself, raises an error."""
    runs = ScriptedRuns({"a": [(0, None)]})
    others = asyncio.all_tasks()
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(RuntimeError, match="canceled from outside"):
                await wait_for_all(["a"], runs.options())

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        [task] = [t for t in asyncio.all_tasks() - others if "Scheduler" in repr(t)]
        task.cancel()


async def test_an_invalid_trigger_is_an_error_of_the_source() -> None:
    """An item that is not a trigger is a ValueError, raised after the preceding results."""
    runs, results = ScriptedRuns({"a": [(60, "Succeeded")]}), list[RunResult]()

    async def source() -> AsyncIterator[Any]:
        yield "a"
        yield 7.0

    with pytest.raises(ValueError, match="trigger"):
        await runs.collect(source(), results)
    assert [result.trigger_id for result in results] == ["a"]


async def test_each_kind_of_source_is_read_in_order() -> None:
    """Iterables, async iterables and async generators are accepted, and generators are closed."""
    is_closed = False

    async def generate() -> AsyncIterator[int]:
        nonlocal is_closed
        try:
            for number in range(3):
                yield number
        finally:
            is_closed = True

    class Plain:
        def __aiter__(self) -> AsyncIterator[int]:
            return generate()

    for source in (range(3), generate(), Plain()):
        handled: list[int] = []

        async def handle(number: int, handled: list[int] = handled) -> None:
            handled.append(number)

        await for_each(source, handle)
        assert handled == [0, 1, 2]
    assert is_closed


async def test_a_source_without_end_does_not_block_the_event_loop() -> None:
    """While a source in memory is read, results arrive and the wait can be left."""
    runs, read = scripted_run((0, "Succeeded")), 0

    def source() -> Iterator[str]:
        nonlocal read
        for read in range(100_000):  # noqa: B007 - the number of items
            yield "0"

    async with runs.results(source(), polling=Polling(first=0)) as results:
        await anext(results)
    assert read < 1000


# The rate


async def test_the_rate_limits_the_polls_of_all_triggers() -> None:
    """At most ``rate`` polls are sent in any second, however many triggers there are."""
    runs = ScriptedRuns.same(100, (0, None), (30, "Succeeded"))
    results = await runs.wait_for(list(runs.scripts), polling=Polling(rate=10, jitter=0))
    assert {result.trigger_id for result in results} == set(runs.scripts)
    assert runs.max_polls_per_second() <= 10


async def test_the_rate_limits_the_polls_of_one_trigger() -> None:
    """One trigger is polled at most ``rate`` times per second, even without delays."""
    runs = scripted_run((0, None), (20, "Succeeded"))
    await runs.wait(polling=Polling(first=0, factor=0, minimum=0, jitter=0, rate=5))
    assert runs.max_polls_per_second() == 5
    assert runs.poll_times()[-1] == pytest.approx(20, abs=0.3)


@pytest.mark.parametrize("tiny", [0.0, 1e-16], ids=["none", "tiny"])
async def test_a_share_of_the_rate_may_be_used(tiny: float) -> None:
    """
    Polls are as far apart as the current share of the rate requires. With 0, they wait.

    A share that is tiny for a moment, as by rounding, allows one poll and does not end polling.
    """
    clock, polls = ManualClock(), list[float]()

    async def poll(_: str) -> TriggerStatus:
        polls.append(clock.now())
        return TriggerStatus("Running")

    options = WaitOptions(
        poll_status=poll,
        clock=clock,
        polling=Polling(first=1, factor=0, minimum=1, maximum=1, jitter=0, rate=1),
        timeout=1000,
        classify=lambda _: Outcome.ACTIVE,
        counters=Counters(clock),
    )
    async with clock.autojump(), anyio.create_task_group() as tasks:
        scheduler = Scheduler(options, tasks, lambda *_: pytest.fail("no run ends"))
        scheduler.set_share(tiny)
        scheduler.add(0, "t", 0.0)
        tasks.start_soon(scheduler.run)
        await clock.sleep(10)
        assert polls == ([1] if tiny else [])
        scheduler.set_share(0.25)
        await clock.sleep(9)
        tasks.cancel_scope.cancel()
    assert polls[-3:] == pytest.approx([10, 14, 18])


async def test_a_low_rate_may_leave_no_last_poll() -> None:
    """If the rate allows no poll at the time limit, the wait ends without one."""
    runs = scripted_run((0, None))
    with pytest.raises(WaitTimeout):
        await runs.wait(timeout=25.0, polling=Polling(rate=0.1, jitter=0))
    assert [round(time) for time in runs.poll_times()] == [1, 11, 21]
    assert runs.clock.now() == pytest.approx(25, abs=0.01)


async def test_a_low_rate_does_not_extend_the_time_limit() -> None:
    """A trigger that is not due before its time limit ends without a poll."""
    runs = ScriptedRuns.same(20, (0, None))
    results = await runs.wait_for(list(runs.scripts), timeout=30.0, polling=Polling(rate=0.1))
    assert {result.trigger_id for result in results} == set(runs.scripts)
    assert all(isinstance(result.error, WaitTimeout) for result in results)
    assert max(result.elapsed for result in results) <= 32 + 0.01
    assert {result.polls for result in results} == {0, 1}
    assert len(runs.polls) <= 4


async def test_a_delayed_last_poll_may_take_two_seconds() -> None:
    """A last poll that is delayed beyond the time limit may still take two seconds."""
    runs = ScriptedRuns.same(20, (0, "Running"), (99.5, "Succeeded"))

    async def poll_status(trigger_id: str) -> TriggerStatus:
        status = await runs.poll_status(trigger_id)
        await runs.clock.sleep(1.9 if runs.clock.now() >= 100 else 0)
        return status

    results = await runs.wait_for(
        list(runs.scripts),
        timeout=100.0,
        polling=Polling(first=90, minimum=90, maximum=90, rate=20),
        poll_status=poll_status,
    )
    assert {result.status for result in results} == {TriggerStatus("Succeeded")}
    assert max(runs.poll_times()) > 100.5


async def test_all_triggers_are_polled_equally_often() -> None:
    """If the rate is too low for all triggers, each one is polled once per round."""
    ends = {str(number): 400.0 if number % 10 == 0 else 100.0 for number in range(100)}
    runs = ScriptedRuns({name: [(0, "Running"), (end, "Succeeded")] for name, end in ends.items()})
    results = await runs.wait_for(list(ends), polling=Polling(rate=3))
    turn = 100 / 3 + 15 * 1.2
    for result in results:
        assert max(gaps([0.0, *runs.poll_times(result.trigger_id)])) <= turn + 1
        assert result.elapsed <= ends[str(result.trigger_id)] + turn + 1


async def test_no_burst_follows_a_rate_limit() -> None:
    """Polls that were due during a pause are sent at the usual rate."""
    runs = ScriptedRuns.same(60, (0, None), (110, "Succeeded"))
    polling = Polling(rate=10)
    await runs.wait_for(list(runs.scripts), polling=polling, paused_until=lambda: 100.0)
    assert min(runs.poll_times()) >= 100
    assert runs.max_polls_per_second() <= 10


async def test_no_burst_follows_a_server_that_hangs() -> None:
    """At most one second's worth of polls is in flight, and hanging polls are not made up for."""
    runs = ScriptedRuns.same(100, (0, None), (100, "Succeeded"))
    in_flight: set[str] = set()
    most = 0

    async def poll_status(trigger_id: str) -> TriggerStatus:
        nonlocal most
        in_flight.add(trigger_id)
        most = max(most, len(in_flight))
        try:
            if 30 <= runs.clock.now() < 80:
                await runs.clock.sleep(80 - runs.clock.now())
            return await runs.poll_status(trigger_id)
        finally:
            in_flight.discard(trigger_id)

    await runs.wait_for(list(runs.scripts), polling=Polling(rate=15), poll_status=poll_status)
    assert most == 15
    assert runs.max_polls_per_second(since=81) <= 15


class StallingClock(ManualClock):
    """A manual clock that also advances while no code runs, as in a suspended process."""

    stalled = 0.0

    def now(self) -> float:
        return super().now() + self.stalled


async def test_no_burst_follows_a_suspended_process() -> None:
    """Polls that were due while the process was suspended are sent at the usual rate."""
    clock = StallingClock()
    runs = ScriptedRuns.same(80, (0, None), (250, "Succeeded"))
    runs.clock = clock

    async def poll_status(trigger_id: str) -> TriggerStatus:
        try:
            return await runs.poll_status(trigger_id)
        finally:
            if 30 <= clock.now() < 35:
                clock.stalled += 200

    await runs.wait_for(list(runs.scripts), polling=Polling(rate=10), poll_status=poll_status)
    assert clock.stalled
    assert runs.max_polls_per_second() <= 10


def runs_polled_slowly(count: int) -> tuple[ScriptedRuns, Any]:
    """Return runs that never end, and a function for which each poll takes 10 ms of CPU time."""
    runs, clock = ScriptedRuns.same(count, (0, None)), StallingClock()
    runs.clock = clock

    async def poll_status(trigger_id: str) -> TriggerStatus:
        clock.stalled += 0.01
        return await runs.poll_status(trigger_id)

    return runs, poll_status


async def test_a_busy_event_loop_does_not_extend_the_time_limits_of_a_list() -> None:
    """The time limits of a list's triggers begin with the wait, however many polls are due."""
    runs, poll_status = runs_polled_slowly(1500)
    polling = Polling(first=0, rate=inf, jitter=0)
    options: dict[str, Any] = {"polling": polling, "poll_status": poll_status, "timeout": 2.0}
    results = await runs.wait_for(list(runs.scripts), **options)
    assert len(results) == 1500
    assert all(isinstance(result.error, WaitTimeout) for result in results)
    assert runs.clock.now() < 8


async def test_a_busy_event_loop_polls_all_triggers_of_a_list() -> None:
    """The first triggers of a list are not polled again until the last ones have been polled."""
    runs, poll_status = runs_polled_slowly(500)
    polling = Polling(first=0, minimum=0.1, rate=inf, jitter=0)
    options: dict[str, Any] = {"polling": polling, "poll_status": poll_status, "timeout": 10.0}
    results = await runs.wait_for(list(runs.scripts), **options)
    polls = [result.polls for result in results]
    assert max(polls) - min(polls) <= 2


async def test_an_unlimited_rate_does_not_start_all_polls_at_once() -> None:
    """Thousands of due polls do not block the event loop: a limited number is in flight."""
    runs, in_flight = ScriptedRuns.same(2000), 0

    async def poll_status(trigger_id: str) -> TriggerStatus:
        nonlocal in_flight
        in_flight += 1
        await anyio.sleep_forever()
        return await runs.poll_status(trigger_id)

    options: dict[str, Any] = {"polling": Polling(first=0, rate=inf), "poll_status": poll_status}
    await runs.wait_for(list(runs.scripts), timeout=1.0, **options)
    assert in_flight == 500


async def test_thousands_of_waits_that_expire_do_not_block_the_event_loop() -> None:
    """Other tasks run while many waits reach their time limit at the same time."""
    clock, ended, counts = ManualClock(), list[tuple[str, float]](), set[int]()
    async with anyio.create_task_group() as tasks:
        scheduler = running_scheduler(clock, tasks, ended)
        for index in range(1000):
            scheduler.add(index, "t", began=-200.0)
        tasks.start_soon(scheduler.run)
        while len(ended) < 1000:
            await anyio.lowlevel.checkpoint()
            counts.add(len(ended))
        scheduler.close()
    assert len(counts) > 5


async def test_polls_that_hang_do_not_block_the_others() -> None:
    """However low the rate, a trigger whose polls hang does not block the others."""
    runs = ScriptedRuns({"stuck": [(0, None)], "good": [(60, "Succeeded")]})

    async def poll_status(trigger_id: str) -> TriggerStatus:
        if trigger_id == "stuck":
            await anyio.sleep_forever()
        return await runs.poll_status(trigger_id)

    options: dict[str, Any] = {"polling": Polling(rate=0.5, jitter=0), "timeout": 300.0}
    results = await runs.wait_for(["stuck", "good"], poll_status=poll_status, **options)
    assert results[0].trigger_id == "good"
    assert results[0].elapsed < 70
    assert isinstance(results[1].error, WaitTimeout)


async def test_a_slow_callback_delays_its_own_trigger_only() -> None:
    """Other triggers are polled while ``on_status`` is running."""
    runs = ScriptedRuns.same(30, (0, "Running"), (30, "Succeeded"))
    runs.scripts["last"] = [(5, "Succeeded")]

    async def on_status(status: TriggerStatus, _: object) -> None:
        if status.status == "Running":
            await runs.clock.sleep(1000)

    async def poll_status(trigger_id: str) -> TriggerStatus:
        await runs.clock.sleep(3)  # so that the maximum number of polls is in flight
        return await runs.poll_status(trigger_id)

    results = await runs.wait_for(
        list(runs.scripts), on_status=on_status, poll_status=poll_status, polling=Polling(rate=5)
    )
    assert results[0].trigger_id == "last"
    assert results[0].elapsed < 30


# Cancellation and memory use


async def test_a_wait_can_be_canceled_at_any_time() -> None:
    """A canceled wait ends immediately and sends no more polls."""
    for seconds in itertools.chain((0.0, 0.5, 1.0, 1.1, 2.0), range(3, 40, 5)):
        runs = ScriptedRuns({name: [(0, None), (1000, "Succeeded")] for name in "abc"})

        async def poll_status(trigger_id: str, runs: ScriptedRuns = runs) -> TriggerStatus:
            await runs.clock.sleep(0.3)
            return await runs.poll_status(trigger_id)

        options = runs.options(poll_status=poll_status)
        async with runs.clock.autojump():
            for is_alone in (True, False):
                began = runs.clock.now()
                with runs.clock.move_on_after(seconds) as scope:
                    await (wait_for_run("a", options) if is_alone else wait_for_all("abc", options))
                assert scope.cancelled_caught
                assert runs.clock.now() == pytest.approx(began + seconds, abs=0.01)
            polls = len(runs.polls)
            await runs.clock.sleep(100)
            assert len(runs.polls) == polls


async def test_a_wait_that_has_ended_is_released() -> None:
    """No reference to a completed wait is kept while others continue."""
    runs = ScriptedRuns({"a": [(0, "Succeeded")], "b": [(0, "Running"), (100, "Succeeded")]})
    waits: list[weakref.ref[Any]] = []

    def on_status(status: TriggerStatus, wait: Any) -> None:
        if wait.trigger_id == "b" and status.status == "Succeeded":
            gc.collect()
            assert [reference() for reference in waits] == [None]
        elif wait.trigger_id == "a":
            waits.append(weakref.ref(wait))

    results = await runs.wait_for(["a", "b"], on_status=on_status, timeout=inf)
    assert [result.error for result in results] == [None, None]


async def test_a_waiting_trigger_takes_little_memory() -> None:
    """Each of five thousand triggers uses less than 500 bytes between two polls."""
    runs = ScriptedRuns.same(5_000)
    sizes: list[int] = []

    async def poll_status(_: str) -> TriggerStatus:
        sizes.append(tracemalloc.get_traced_memory()[0])
        raise NotFound("no run yet", status_code=404)

    async def wait() -> None:
        await wait_for_all(runs.scripts, runs.options(poll_status=poll_status))

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        async with runs.clock.autojump(), anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await runs.clock.sleep(20)
            tasks.cancel_scope.cancel()
    finally:
        tracemalloc.stop()
    assert len(sizes) > 300
    assert (max(sizes) - before) / len(runs.scripts) < 500


def running_scheduler(
    clock: ManualClock, tasks: TaskGroup, ended: list[tuple[str, float]]
) -> Scheduler:
    """Return a scheduler of runs that never end, with a time limit of 100 seconds."""

    async def poll_status(trigger_id: str) -> TriggerStatus:
        return TriggerStatus("Running")

    async def on_end(wait: TriggerWait, error: Exception | None) -> None:
        assert isinstance(error, WaitTimeout)
        ended.append((wait.trigger_id, clock.now()))

    options = WaitOptions(
        poll_status=poll_status,
        clock=clock,
        polling=Polling(jitter=0),
        timeout=100.0,
        classify=lambda status: status.outcome,
        counters=Counters(clock),
        on_status=lambda *_: None,
    )
    return Scheduler(options, tasks, on_end)


async def test_a_wait_may_have_begun_before_it_was_added() -> None:
    """Waits expire in the order in which they began, not in the order in which they were added."""
    clock, ended = ManualClock(), list[tuple[str, float]]()
    async with clock.autojump(), anyio.create_task_group() as tasks:
        await clock.sleep(60)
        scheduler = running_scheduler(clock, tasks, ended)
        scheduler.add("new", "new")
        scheduler.add("old", "old", began=clock.now() - 50)
        scheduler.close()
        await scheduler.run()
    assert [trigger_id for trigger_id, _ in ended] == ["old", "new"]
    assert ended[1][1] - ended[0][1] == pytest.approx(50, abs=1)


class CountedTime(float):
    """A time that counts the comparisons with others."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        CountedTime.comparisons += 1
        return super().__lt__(other)

    def __gt__(self, other: float) -> bool:
        CountedTime.comparisons += 1
        return super().__gt__(other)


async def test_thousands_of_waits_that_began_earlier_do_not_block_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waits are not sorted again for each one that is added, for example if many are adopted."""
    monkeypatch.setattr(CountedTime, "comparisons", 0)
    async with anyio.create_task_group() as tasks:
        scheduler = running_scheduler(ManualClock(), tasks, [])
        for began in (0, -30):
            for index in range(1000):
                scheduler.add(index, "t", began=CountedTime(began))
    assert CountedTime.comparisons < 100_000


async def test_a_wait_that_is_added_late_ends_at_its_time_limit() -> None:
    """A wait that is added while no polls are allowed ends at its own time limit."""
    clock, ended = ManualClock(), list[tuple[str, float]]()
    async with clock.autojump(), anyio.create_task_group() as tasks:
        scheduler = running_scheduler(clock, tasks, ended)
        scheduler.set_share(0.0)
        tasks.start_soon(scheduler.run)
        scheduler.add("new", "new")
        await clock.sleep(5)
        scheduler.add("old", "old", began=clock.now() - 90)
        await clock.sleep(50)
        scheduler.close()
    assert [trigger_id for trigger_id, _ in ended] == ["old", "new"]
    assert ended[0][1] == pytest.approx(15, abs=3)
