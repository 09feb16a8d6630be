"""The rate of a client's requests."""

from __future__ import annotations

import itertools
from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandium import RateLimited
from pandium._clock import RealClock
from pandium._http.limits import RateLimitGate, RequestPacer
from pandium.emulator import ManualClock

pytestmark = pytest.mark.anyio

MARGIN = 1e-5  # seconds, for rounding


def assert_rate(times: list[float], rate: float) -> None:
    """Assert that no window has more requests than the rate and one burst allow."""
    burst = max(1.0, rate / 10)
    for begin, end in itertools.combinations(range(len(times)), 2):
        seconds = times[end] - times[begin]
        assert end - begin + 1 <= burst + rate * (seconds + MARGIN), (begin, end)


async def send(gate: RateLimitGate, clock: ManualClock, times: list[float]) -> None:
    await gate.wait(60.0)
    times.append(clock.now())


@pytest.mark.parametrize("rate", [0.5, 1, 7.5, 30, 1000])
async def test_a_rate_is_kept_in_every_window(rate: float) -> None:
    """No period has more requests than the rate allows, plus a tenth of a second's worth."""
    clock, times = ManualClock(), list[float]()
    gate = RateLimitGate(clock, RequestPacer(clock, rate))
    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(send, gate, clock, times)
    assert len(times) == 40
    assert_rate(times, rate)
    assert times[-1] - times[0] <= 40 / rate + MARGIN, "the rate is used up"


@given(
    pauses=st.lists(st.floats(0, 0.5), min_size=2, max_size=30), rate=st.sampled_from([3, 20, 95])
)
def test_a_rate_is_kept_after_any_idle_time(pauses: list[float], rate: float) -> None:
    """Unused capacity does not accumulate beyond one burst, however the requests are spread."""

    async def run() -> list[float]:
        clock, times = ManualClock(), list[float]()
        gate = RateLimitGate(clock, RequestPacer(clock, rate))
        async with clock.autojump():
            for pause in pauses:
                await clock.sleep(pause)
                await send(gate, clock, times)
        return times

    assert_rate(anyio.run(run), rate)


@pytest.mark.parametrize(("rate", "burst"), [(1, 1), (10, 1), (25, 2), (40, 4), (1000, 100)])
async def test_a_burst_is_a_tenth_of_a_seconds_worth(rate: float, burst: int) -> None:
    """After an idle time, exactly a tenth of a second's worth is sent at once, but at least one."""
    clock, times = ManualClock(), list[float]()
    gate = RateLimitGate(clock, RequestPacer(clock, rate))
    async with clock.autojump():
        await clock.sleep(100)
        async with anyio.create_task_group() as tasks:
            for _ in range(burst + 5):
                tasks.start_soon(send, gate, clock, times)
    assert sum(time == times[0] for time in times) == burst


async def test_requests_are_sent_in_order_of_arrival() -> None:
    """Waiting requests are sent first come, first served."""
    clock, order = ManualClock(), list[int]()
    gate = RateLimitGate(clock, RequestPacer(clock, 10))

    async def arrive(number: int) -> None:
        await clock.sleep(number * 0.001)
        await gate.wait(60.0)
        order.append(number)

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for number in reversed(range(30)):
            tasks.start_soon(arrive, number)
    assert order == list(range(30))


class StoppedClock(RealClock):
    """A clock whose time is set by the test. Its sleeps never end."""

    time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep_forever()


async def test_a_request_does_not_overtake_one_that_waits() -> None:
    """A request that arrives at the moment of another one's turn waits behind it."""
    clock = StoppedClock()
    pacer = RequestPacer(clock, 10)
    assert pacer.count_now()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pacer.wait)
        await anyio.wait_all_tasks_blocked()
        clock.time = 0.1
        assert not pacer.count_now()
        tasks.cancel_scope.cancel()
    assert pacer.count_now()


async def test_a_canceled_request_does_not_count() -> None:
    """A thousand requests that are canceled while they wait do not delay the next one."""
    clock, times = ManualClock(), list[float]()
    gate = RateLimitGate(clock, RequestPacer(clock, 1))
    await send(gate, clock, times)
    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(gate.wait, 60.0)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    async with clock.autojump():
        await send(gate, clock, times)
    assert times[1] - times[0] == pytest.approx(1)


async def test_the_rate_is_kept_when_a_pause_ends() -> None:
    """Requests that were delayed by a 429 do not all resume at the same time."""
    clock, times = ManualClock(), list[float]()
    gate = RateLimitGate(clock, RequestPacer(clock, 10))
    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(send, gate, clock, times)
        await clock.sleep(1)
        before = len(times)
        gate.pause(30)
        await clock.sleep(29)
        assert len(times) == before
    assert len(times) == 50
    assert_rate(times, 10)


async def test_a_pause_that_is_too_long_is_an_error() -> None:
    """If a pause begins while a request waits for its turn and is too long, it is an error."""
    clock = ManualClock()
    gate = RateLimitGate(clock, RequestPacer(clock, 1))

    async def wait() -> None:
        with pytest.raises(RateLimited):
            await gate.wait(60.0)

    await gate.wait(60.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        gate.pause(1000)
        tasks.start_soon(clock.advance, 1)


async def test_infinity_is_no_limit() -> None:
    """An infinite rate never delays a request."""
    clock, times = ManualClock(), list[float]()
    gate = RateLimitGate(clock, RequestPacer(clock, float("inf")))
    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(partial(send, gate, clock, times))
    assert set(times) == {times[0]}


async def test_bulk_jobs_leave_a_share_of_the_rate() -> None:
    """The smallest share of several jobs applies. With 0, requests wait until it is larger."""
    clock, times = ManualClock(), list[float]()
    gate = RateLimitGate(clock, RequestPacer(clock, 10))
    gate.set_share("one", 0.5)
    gate.set_share("two", 0.0)
    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(send, gate, clock, times)
        await clock.sleep(5)
        assert times == []
        gate.set_share("two", 1.0)
    assert times == pytest.approx([5.0, 5.2, 5.4])
    gate.set_share("one", 1.0)
    async with clock.autojump():
        for _ in range(3):
            await send(gate, clock, times)
    assert times[3:] == pytest.approx([5.5, 5.6, 5.7])


async def test_a_small_share_delays_no_request_once_it_is_larger() -> None:
    """A share that is tiny for a moment, as by rounding, does not stop the client for ever."""
    clock, times = ManualClock(), list[float]()
    gate = RateLimitGate(clock, RequestPacer(clock, 10))
    gate.set_share("job", 1e-16)
    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(send, gate, clock, times)
        await clock.sleep(5)
        assert times == [0]
        gate.set_share("job", 0.5)
    assert times == pytest.approx([0, 5, 5.2, 5.4])


async def test_a_share_without_a_rate_changes_nothing() -> None:
    """A client without a rate has nothing to share."""
    gate = RateLimitGate(ManualClock())
    gate.set_share("job", 0.0)
    with anyio.fail_after(5):
        await gate.wait(1.0)
