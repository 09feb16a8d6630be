"""Clocks that run in real time, that run faster, and that a test advances."""

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import httpx
import pytest

from pandium.emulator import Clock, Emulator, ManualClock

if TYPE_CHECKING:
    from pandium._clock import Clock as ClientsClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def tasks() -> AsyncIterator[anyio.abc.TaskGroup]:
    async with anyio.create_task_group() as group:
        yield group
        group.cancel_scope.cancel()


async def test_it_stands_still_until_it_is_advanced(clock: ManualClock) -> None:
    """A manual clock always starts at the same date, and only `advance` changes its time."""
    assert (clock.now(), clock.wall()) == (0, datetime(2026, 1, 1, tzinfo=UTC))
    await anyio.sleep(0.01)
    assert clock.now() == 0
    await clock.advance(3600)
    await clock.advance(0)
    assert (clock.now(), clock.wall()) == (3600, datetime(2026, 1, 1, 1, tzinfo=UTC))
    assert clock.at(60) == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


async def test_the_start_can_be_chosen(clock: ManualClock) -> None:
    """The start can be any date with a UTC offset."""
    start = datetime(2030, 2, 28, 23, 59, tzinfo=UTC)
    clock = ManualClock(start)
    await clock.advance(60)
    assert clock.wall() == start + timedelta(minutes=1)
    with pytest.raises(ValueError, match=r"^start: "):
        ManualClock(datetime(2030, 1, 1))  # noqa: DTZ001 - what is refused


async def test_sleepers_wake_in_the_order_of_their_due_times(
    clock: ManualClock, tasks: anyio.abc.TaskGroup
) -> None:
    """Each task wakes at its due times, regardless of the order in which the tasks started."""
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for seconds in naps:
            await clock.sleep(seconds)
            woken.append((name, clock.now()))

    tasks.start_soon(sleeper, "late", 30)
    await clock.advance(0)
    tasks.start_soon(sleeper, "early", 10, 5, 15)
    await clock.advance(0)
    tasks.start_soon(sleeper, "last", 30, 0.5)
    await clock.advance(29)
    assert woken == [("early", 10), ("early", 15)]
    await clock.advance(1)
    assert sorted(woken[2:]) == [("early", 30), ("last", 30), ("late", 30)]
    await clock.advance(0.5)
    assert woken[5:] == [("last", 30.5)]


async def test_hundreds_sleep_at_once(clock: ManualClock, tasks: anyio.abc.TaskGroup) -> None:
    """All of several hundred tasks have finished when `advance` returns."""
    done: list[float] = []

    async def sleeper(number: int) -> None:
        for _ in range(3):
            await clock.sleep(1 + number % 7)
        done.append(clock.now())

    for number in range(400):
        tasks.start_soon(sleeper, number)
    await clock.advance(21)
    assert sorted(done) == sorted(3.0 * (1 + number % 7) for number in range(400))


async def test_io_ends_before_the_clock_advances(
    clock: ManualClock, tasks: anyio.abc.TaskGroup
) -> None:
    """The clock does not advance while a task waits for I/O, however long that takes."""
    seen: list[tuple[str, float]] = []

    async def worker(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        with clock.waiting_for_io():
            await anyio.to_thread.run_sync(lambda: None)
            await anyio.sleep(0.05)
        await anyio.lowlevel.checkpoint()
        with clock.waiting_for_io():
            await anyio.sleep(0.01)
        seen.append((name, clock.now()))

    for name, seconds in (("a", 1), ("b", 1), ("c", 2), ("d", 3)):
        tasks.start_soon(worker, name, seconds)
    await clock.advance(3)
    assert sorted(seen) == [("a", 1), ("b", 1), ("c", 2), ("d", 3)]


async def test_a_long_chain_of_tasks_ends_before_the_clock_advances(
    clock: ManualClock, tasks: anyio.abc.TaskGroup
) -> None:
    """The clock does not advance while tasks wake each other, however many there are."""
    events = [anyio.Event() for _ in range(300)]
    seen: list[float] = []

    async def wake_next(number: int) -> None:
        await events[number].wait()
        seen.append(clock.now())
        if number + 1 < len(events):
            events[number + 1].set()

    async def begin() -> None:
        await clock.sleep(1)
        events[0].set()

    for number in range(len(events)):
        tasks.start_soon(wake_next, number)
    tasks.start_soon(begin)
    tasks.start_soon(clock.sleep, 2)
    await clock.advance(2)
    assert seen == [1] * len(events)


async def test_consecutive_requests_end_before_the_clock_advances(
    clock: ManualClock, tasks: anyio.abc.TaskGroup
) -> None:
    """The clock does not advance between the requests of a task, however many there are."""
    seen: list[float] = []

    async def send_requests() -> None:
        await clock.sleep(1)
        for _ in range(1_100):
            with clock.waiting_for_io():
                await anyio.lowlevel.checkpoint()
            seen.append(clock.now())

    tasks.start_soon(send_requests)
    tasks.start_soon(clock.sleep, 2)
    await clock.advance(2)
    assert seen == [1] * 1_100


async def test_a_task_that_only_yields_does_not_stop_the_clock(clock: ManualClock) -> None:
    """A task that yields until the clock has advanced does not prevent the clock from advancing."""

    async def yield_until(seconds: float) -> None:
        while clock.now() < seconds:
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(60):
        async with clock.autojump(), anyio.create_task_group() as tasks:
            tasks.start_soon(yield_until, 10)
            for _ in range(10):
                await clock.sleep(1)
    assert clock.now() == 10


async def test_the_clock_waits_for_a_client_in_another_thread(clock: ManualClock) -> None:
    """The clock stands still while a thread works inside `waiting_for_io`."""
    with Emulator(clock=clock) as emulator:
        tenant = emulator.add_tenant()
        emulator.runs.script(appears_after=50, phases=[("Succeeded", 0)])

        def trigger() -> None:
            url = f"{emulator.url}/v2/tenants/{tenant.id}/sync?mode=normal"
            httpx.post(url, headers={"x-api-key": "k"}).raise_for_status()

        async with clock.autojump(), anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep, 100)
            with clock.waiting_for_io():
                await anyio.to_thread.run_sync(trigger)
        [run] = emulator.runs.all()
    assert [trigger.created_date for trigger in run.triggers] == [clock.at(0)]


async def test_a_sleep_of_zero_seconds_returns_at_once(clock: ManualClock) -> None:
    """A sleep of zero seconds or less ends without advancing the clock."""
    for seconds in (0, -1):
        await clock.sleep(seconds)
        with clock.move_on_after(seconds) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
    assert clock.now() == 0


async def test_a_very_short_sleep_advances_the_clock(clock: ManualClock) -> None:
    """A sleep that is too short to change the time by addition still advances it."""
    await clock.advance(1e12)
    async with clock.autojump():
        await clock.sleep(1e-9)
    assert clock.now() > 1e12


async def test_a_time_limit_cancels_its_block(
    clock: ManualClock, tasks: anyio.abc.TaskGroup
) -> None:
    """A block is canceled at its limit, unless it has ended before."""
    ends: list[tuple[bool, float]] = []

    async def limited(limit: float, seconds: float) -> None:
        with clock.move_on_after(limit) as scope:
            await clock.sleep(seconds)
        ends.append((scope.cancelled_caught, clock.now()))

    tasks.start_soon(limited, 10, 60)
    tasks.start_soon(limited, 60, 20)
    await clock.advance(100)
    assert ends == [(True, 10), (False, 20)]


async def test_a_canceled_sleep_leaves_no_timer(clock: ManualClock) -> None:
    """After a canceled sleep or `advance`, the clock can be used as before."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 10)
        await clock.advance(5)
        tasks.cancel_scope.cancel()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.advance(7)
    async with clock.autojump():
        await clock.sleep(1)
        await anyio.wait_all_tasks_blocked()
    assert clock.now() == 6


async def test_autojump_goes_from_one_due_time_to_the_next(clock: ManualClock) -> None:
    """Each task wakes at its due time, and the clock stops at the last one."""
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.now())

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for seconds in (7200, 5, 86400):
            tasks.start_soon(sleeper, seconds)
    assert woken == [5, 7200, 86400]
    assert clock.now() == 86400


async def test_autojump_waits_while_nothing_is_due(clock: ManualClock) -> None:
    """The clock stands still while no task sleeps or one waits for I/O, and then continues."""
    async with clock.autojump():
        await anyio.wait_all_tasks_blocked()
        assert clock.now() == 0
        async with anyio.create_task_group() as tasks:
            with clock.waiting_for_io():
                tasks.start_soon(clock.sleep, 10)
                await anyio.wait_all_tasks_blocked()
                assert clock.now() == 0
        assert clock.now() == 10


async def test_autojump_does_not_change_the_error_of_its_block(clock: ManualClock) -> None:
    """An error is not wrapped in a group, and the clock can be advanced again."""
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            async with clock.autojump():
                raise error
    with anyio.CancelScope() as scope:
        async with clock.autojump():
            scope.cancel()
            await clock.sleep(math.inf)
    assert scope.cancelled_caught
    await clock.advance(1)
    assert clock.now() == 1


async def test_only_one_call_advances_the_clock(clock: ManualClock) -> None:
    """A second `advance` or `autojump` at the same time is an error."""
    async with clock.autojump():
        with pytest.raises(RuntimeError, match="already being advanced"):
            await clock.advance(1)
        with pytest.raises(RuntimeError, match="already being advanced"):
            async with clock.autojump():
                pass
    await clock.advance(1)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, "1", True, None])
async def test_invalid_seconds_are_rejected(clock: ManualClock, seconds: Any) -> None:
    """Seconds that are negative, not finite or not a number raise an error that names them."""
    with pytest.raises(ValueError, match=r"^seconds: "):
        await clock.advance(seconds)
    assert clock.now() == 0


async def test_only_one_event_loop_at_a_time_can_use_it(
    clock: ManualClock, tasks: anyio.abc.TaskGroup
) -> None:
    """A second event loop can use the clock only once the first one has finished."""
    tasks.start_soon(clock.sleep, 1)
    await clock.advance(0)
    with pytest.raises(RuntimeError, match="one event loop"):
        await anyio.to_thread.run_sync(asyncio.run, asyncio.wait_for(clock.sleep(1), 10))
    await clock.advance(1)
    await anyio.to_thread.run_sync(asyncio.run, clock.advance(1))
    assert clock.now() == 2


async def test_clients_can_use_both_clocks(clock: ManualClock) -> None:
    """Both clocks implement the protocol of the client's clock."""
    clocks: list[ClientsClock] = [clock, Clock()]
    for one in clocks:
        with one.waiting_for_io():
            assert isinstance(one.now(), float)


async def test_a_faster_clock_shortens_sleeps() -> None:
    """A sleep and a time limit of one hour end after one hour of the clock."""
    clock = Clock(speed=36_000)
    with anyio.fail_after(60):
        for wait in (clock.sleep(3600), _limited(clock, 3600)):
            before = clock.now()
            await wait
            assert clock.now() - before > 3500  # the event loop's clock differs a little


async def _limited(clock: Clock, seconds: float) -> None:
    with clock.move_on_after(seconds):
        await anyio.sleep_forever()


async def test_the_speed_can_be_changed() -> None:
    """After a change of the speed, the clock continues from the same time."""
    clock = Clock(1e6)
    while clock.now() < 1000:
        pass
    clock.speed = 1e-6
    first = clock.now()
    assert first >= 1000
    assert first <= clock.now() < first + 1
    assert clock.speed == 1e-6


@pytest.mark.parametrize("speed", [0, -1, 1e7, 10**400, math.nan, math.inf, "2", True])
async def test_an_invalid_speed_is_rejected(speed: Any) -> None:
    """An invalid speed raises an error that names it, and changes nothing."""
    with pytest.raises(ValueError, match=r"^speed: "):
        Clock(speed)
    clock = Clock(2)
    with pytest.raises(ValueError, match=r"^speed: "):
        clock.speed = speed
    assert clock.speed == 2


async def test_a_real_clock_cannot_be_advanced() -> None:
    """`advance` and `autojump` of a real clock raise an error that names `ManualClock`."""
    clock = Emulator().clock
    with pytest.raises(RuntimeError, match="ManualClock"):
        await clock.advance(1)
    with pytest.raises(RuntimeError, match="ManualClock"):
        clock.autojump()


def test_the_default_clock_runs_by_itself() -> None:
    """The time increases, and a number of seconds always corresponds to the same date."""
    clock = Emulator().clock
    assert type(clock) is Clock
    before = clock.now()
    while clock.now() == before:
        pass
    assert clock.now() > before
    assert clock.at(before) == clock.at(before) < clock.wall()
