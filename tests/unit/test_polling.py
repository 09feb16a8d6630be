"""Waiting, on a clock whose hours pass in no time and a server that is a dictionary."""

from __future__ import annotations

import gc
import itertools
import logging
import tracemalloc
import weakref
from bisect import bisect_left
from math import inf, nan
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from pandium import (
    APIError,
    AsyncPandium,
    AuthenticationError,
    ConnectionLost,
    NotFound,
    Outcome,
    Polling,
    Progress,
    RateLimited,
    RunResult,
    ServerError,
    TriggerStatus,
    WaitTimeout,
)
from pandium._waiting.polling import WaitOptions, wait_for_one
from pandium._waiting.results import Counters, RunResults
from pandium._waiting.scheduler import wait_for_each
from pandium.emulator import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

Plan = list[tuple[float, "str | Exception | None"]]


@attrs.define
class Server:
    """Answers for each trigger what its plan says for the time; `None` is a 404."""

    plans: dict[str, Plan]
    clock: ManualClock = attrs.field(factory=ManualClock)
    polls: list[tuple[float, str]] = attrs.field(factory=list)

    async def look(self, trigger_id: str) -> TriggerStatus:
        now = self.clock.now()
        self.polls.append((now, trigger_id))
        await anyio.lowlevel.checkpoint()
        answer: str | Exception | None = None
        for since, what in self.plans[trigger_id]:
            if now >= since:
                answer = what
        if answer is None:
            raise NotFound("not yet", status_code=404)
        if isinstance(answer, Exception):
            raise answer
        return TriggerStatus(answer)

    def most_a_second(self, since: float = 0.0) -> int:
        times = sorted(time for time, _ in self.polls if time >= since)
        ends = (bisect_left(times, time + 1 - 1e-9) for time in times)
        return max(end - begin for begin, end in enumerate(ends))

    def options(self, timeout: float = 1800.0, **options: Any) -> WaitOptions:
        defaults: dict[str, Any] = {
            "look": self.look,
            "clock": self.clock,
            "polling": Polling(jitter=0),
            "timeout": timeout,
            "classify": lambda status: status.outcome,
            "counters": Counters(self.clock),
            "tell": lambda *_: None,
        }
        return WaitOptions(**defaults | options)

    async def wait(self, trigger_id: str = "t", **options: Any) -> TriggerStatus:
        async with self.clock.autojump():
            return await wait_for_one(trigger_id, self.options(**options))

    async def wait_for(self, source: Any, **options: Any) -> list[RunResult]:
        done: list[RunResult] = []

        async def keep(_: int, completed: RunResult) -> None:
            done.append(completed)

        async with self.clock.autojump():
            await wait_for_each(source, self.options(**options), keep)
        return done


def _one(*plan: tuple[float, str | Exception | None]) -> Server:
    return Server({"t": list(plan)})


async def _single(server: Server, **options: Any) -> TriggerStatus:
    return await server.wait(**options)


async def _among_many(server: Server, **options: Any) -> TriggerStatus:
    [completed] = await server.wait_for(["t"], **options)
    if completed.error is not None:
        raise completed.error
    assert completed.status is not None
    return completed.status


# One trigger is waited for by tenacity, many by a heap: both must keep the same laws.
both_ways = pytest.mark.parametrize("wait", [_single, _among_many])
Wait = Any


@both_ways
async def test_404_means_not_yet_at_any_time(wait: Wait) -> None:
    """A 404 is waited out before the first status and between two."""
    server = _one((0, None), (1200, "Running"), (1230, None), (1260, "Succeeded"))
    assert await wait(server) == TriggerStatus("Succeeded")


@both_ways
async def test_a_wait_ends_at_its_time_limit(wait: Wait) -> None:
    """At the time limit there is one last look, then a WaitTimeout that says what was seen."""
    server = _one((0, None), (50, "Running"))
    with pytest.raises(WaitTimeout) as caught:
        await wait(server, timeout=100.0)
    assert server.clock.now() == pytest.approx(100, abs=0.01)
    assert server.polls[-1][0] == pytest.approx(100, abs=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.trigger_id == "t"
    assert caught.value.last_status == TriggerStatus("Running")
    assert caught.value.polls == len(server.polls)


@both_ways
async def test_what_ended_before_the_limit_is_found_at_the_limit(wait: Wait) -> None:
    """A run that ends between the last pause and the limit is no timeout."""
    server = _one((0, "Running"), (99.5, "Succeeded"))
    assert (await wait(server, timeout=100.0)).status == "Succeeded"


@both_ways
async def test_looks_keep_to_the_schedule(wait: Wait) -> None:
    """The first look comes after `first`, each next after a share of the age, within bounds."""
    server = _one((0, None), (399, "Succeeded"))
    await wait(server, polling=Polling(first=2, factor=0.5, minimum=3, maximum=40, jitter=0))
    times = [time for time, _ in server.polls]
    assert times[:5] == pytest.approx([2, 5, 8, 12, 18])
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) == pytest.approx(40)


@both_ways
async def test_jitter_stays_within_its_share(wait: Wait) -> None:
    """Jitter moves a look by at most its share of the pause, sooner and later."""
    server = _one((0, None), (500, "Succeeded"))
    await wait(server, polling=Polling(first=10, factor=0, minimum=10, maximum=10, jitter=0.2))
    times = [0.0, *(time for time, _ in server.polls)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(8 - 1e-6 <= gap <= 12 + 1e-6 for gap in gaps)
    assert min(gaps) < 9.9
    assert max(gaps) > 10.1


@both_ways
async def test_what_may_pass_is_waited_out(wait: Wait, caplog: pytest.LogCaptureFixture) -> None:
    """A server that is down or asks for patience does not end a wait, and is logged."""
    down = ServerError("down", status_code=503)
    slow = RateLimited("slow down", status_code=429, retry_after=5)
    lost = ConnectionLost("gone")
    server = _one((0, "Running"), (10, down), (40, lost), (70, slow), (80, "Succeeded"))
    assert (await wait(server)).status == "Succeeded"
    assert "no news of trigger t" in caplog.text


@both_ways
async def test_what_cannot_pass_ends_the_wait(wait: Wait) -> None:
    """A key that is refused is an error at once."""
    server = _one((0, "Running"), (10, AuthenticationError("no", status_code=403)))
    with pytest.raises(AuthenticationError):
        await wait(server)
    assert server.clock.now() < 20


@both_ways
async def test_words_that_nobody_knows_are_waited_on(wait: Wait) -> None:
    """An unknown word is active; another reading of the words can be given."""
    server = _one((0, "Mulling"), (30, "Succeeded"))
    assert (await wait(server)).status == "Succeeded"

    def classify(status: TriggerStatus) -> Outcome:
        return Outcome.SUCCEEDED if status.status == "Mulling" else Outcome.ACTIVE

    assert (await wait(_one((0, "Mulling")), classify=classify)).status == "Mulling"


@both_ways
async def test_each_new_status_is_told_once(wait: Wait) -> None:
    """The callback, plain or async, sees each status that differs from the one before."""
    plan = [(0, "Pending"), (20, "Running"), (60, "Succeeded")]
    seen: list[str] = []

    async def tell(status: TriggerStatus, _: object) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(status.status)

    callbacks: list[Callable[..., Any]] = [lambda s, _: seen.append(s.status), tell]
    for callback in callbacks:
        seen.clear()
        await wait(_one(*plan), tell=callback)
        assert seen == ["Pending", "Running", "Succeeded"]


async def test_results_come_in_order_of_completion() -> None:
    """Of many runs, what ends first comes first, with its looks and its seconds."""
    ends = {"slow": 300.0, "fast": 5.0, "middling": 60.0}
    server = Server({name: [(0, None), (end, "Succeeded")] for name, end in ends.items()})
    done = await server.wait_for(list(ends))
    assert [completed.trigger_id for completed in done] == ["fast", "middling", "slow"]
    for completed in done:
        assert completed.polls == sum(name == completed.trigger_id for _, name in server.polls)
        end = ends[str(completed.trigger_id)]
        assert end <= completed.elapsed <= 1.2 * end + 1.5


async def test_the_rate_bounds_the_looks_of_all_triggers() -> None:
    """However many triggers wait, no second sees more than `rate` looks."""
    names = [str(number) for number in range(100)]
    server = Server({name: [(0, None), (30, "Succeeded")] for name in names})
    done = await server.wait_for(names, polling=Polling(rate=10, jitter=0))
    assert {completed.trigger_id for completed in done} == set(names)
    assert server.most_a_second() <= 10


@both_ways
async def test_the_rate_bounds_the_looks_of_one_trigger(wait: Wait) -> None:
    """However short the pauses, one trigger is looked at no more often than `rate` allows."""
    server = _one((0, None), (20, "Succeeded"))
    polling = Polling(first=0, factor=0, minimum=0, jitter=0, rate=5)
    await wait(server, polling=polling)
    assert server.most_a_second() == 5
    assert server.polls[-1][0] == pytest.approx(20, abs=0.3)


@both_ways
async def test_a_look_at_the_limit_keeps_to_the_rate(wait: Wait) -> None:
    """Where the rate allows none at the time limit, there is no last look."""
    server = _one((0, None))
    with pytest.raises(WaitTimeout):
        await wait(server, timeout=25.0, polling=Polling(rate=0.1, jitter=0))
    assert [round(time) for time, _ in server.polls] == [1, 11, 21]


@attrs.define
class _Rounding:
    """A clock that moves by what is slept, as far as floating point has it."""

    time: float

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.time += seconds

    def move_on_after(self, _: float) -> anyio.CancelScope:
        return anyio.CancelScope()


# With these the last pause ends one step of rounding before the limit.
@pytest.mark.parametrize(
    ("start", "limit"),
    [(60.559953013932684, 100.0), (97.98862775249707, 30.5), (31.383051991609168, 5)],
)
async def test_rounding_does_not_keep_a_wait_from_its_limit(start: float, limit: float) -> None:
    """A pause that ends a trifle before the time limit has ended at it."""
    looks = itertools.count(1)

    async def look(_: str) -> TriggerStatus:
        assert next(looks) <= limit + 1
        raise NotFound("not yet", status_code=404)

    clock: Any = _Rounding(start)
    options = _one().options(clock=clock, timeout=limit, look=look, polling=Polling(jitter=0))
    with pytest.raises(WaitTimeout):
        await wait_for_one("t", options)


async def test_one_failure_is_one_result() -> None:
    """What one trigger's wait ends with leaves the others' alone."""
    refused = AuthenticationError("no", status_code=403)
    server = Server({"bad": [(0, refused)], "late": [(0, None)], "good": [(60, "Succeeded")]})
    done = {c.trigger_id: c for c in await server.wait_for(["bad", "late", "good"], timeout=100.0)}
    assert done["bad"].error is refused
    assert isinstance(done["late"].error, WaitTimeout)
    assert done["good"].status == TriggerStatus("Succeeded")
    assert (done["good"].error, done["bad"].status) == (None, None)


async def test_a_source_may_still_be_producing() -> None:
    """Triggers are waited for while more of them are still to come."""
    server = Server({name: [(0, "Succeeded")] for name in "abc"})

    async def source() -> AsyncIterator[str]:
        for name in "abc":
            yield name
            await server.clock.sleep(100)

    done = await server.wait_for(source())
    assert [completed.trigger_id for completed in done] == ["a", "b", "c"]
    assert [time for time, _ in server.polls] == pytest.approx([1, 101, 201])


async def test_a_source_that_fails_loses_no_result() -> None:
    """The error of a source is raised, as it is, after the results of what came before it."""
    server = Server({"a": [(60, "Succeeded")]})
    done: list[RunResult] = []

    async def source() -> AsyncIterator[str]:
        yield "a"
        raise ZeroDivisionError

    async def keep(_: int, completed: RunResult) -> None:
        done.append(completed)

    async with server.clock.autojump():
        try:
            await wait_for_each(source(), server.options(), keep)
        except ZeroDivisionError:
            assert [completed.trigger_id for completed in done] == ["a"]
        else:
            pytest.fail("the error of the source was lost")


async def test_no_triggers_are_no_results() -> None:
    """An empty source ends at once."""
    assert await Server({}).wait_for([]) == []


async def test_an_earlier_look_overtakes_a_later_one() -> None:
    """A trigger that is taken on while all others sleep long is looked at in its own time."""
    server = Server({"old": [(0, "Running"), (900, "Succeeded")], "new": [(0, "Succeeded")]})

    async def source() -> AsyncIterator[str]:
        yield "old"
        await server.clock.sleep(500)
        yield "new"

    done = await server.wait_for(source())
    assert [completed.trigger_id for completed in done] == ["new", "old"]
    assert done[0].elapsed == pytest.approx(1, abs=0.1)


def test_polling_is_logged_quietly() -> None:
    """The library's logger adds no handler of its own."""
    assert logging.getLogger("pandium").handlers == []


@both_ways
async def test_the_time_limit_ends_a_look_that_is_under_way(wait: Wait) -> None:
    """A look that never ends is cut off two seconds after the time limit."""
    server = _one((0, "Running"))

    async def look(trigger_id: str) -> TriggerStatus:
        status = await server.look(trigger_id)
        if server.clock.now() > 50:
            await anyio.sleep_forever()
        return status

    with pytest.raises(WaitTimeout) as caught:
        await wait(server, timeout=100.0, look=look)
    assert server.clock.now() == pytest.approx(102, abs=0.01)
    assert caught.value.last_status == TriggerStatus("Running")


@both_ways
async def test_the_last_look_has_two_seconds(wait: Wait) -> None:
    """What the last look brings within two seconds after the time limit counts."""
    server = _one((0, "Running"), (99.5, "Succeeded"))

    async def look(trigger_id: str) -> TriggerStatus:
        status = await server.look(trigger_id)
        await server.clock.sleep(1.9 if server.clock.now() >= 100 else 0)
        return status

    assert (await wait(server, timeout=100.0, look=look)).status == "Succeeded"


async def test_a_last_look_that_comes_late_has_two_seconds() -> None:
    """A last look that had to wait for its turn may take as long as any other."""
    names = [str(number) for number in range(20)]
    server = Server({name: [(0, "Running"), (99.5, "Succeeded")] for name in names})

    async def look(trigger_id: str) -> TriggerStatus:
        status = await server.look(trigger_id)
        await server.clock.sleep(1.9 if server.clock.now() >= 100 else 0)
        return status

    polling = Polling(first=90, minimum=90, maximum=90, rate=20)
    done = await server.wait_for(names, timeout=100.0, polling=polling, look=look)
    assert {completed.status for completed in done} == {TriggerStatus("Succeeded")}
    assert max(server.polls)[0] > 100.5


@both_ways
async def test_a_wait_may_be_without_a_limit(wait: Wait) -> None:
    """An infinite time limit is none."""
    server = _one((0, None), (500_000, "Succeeded"))
    polling = Polling(maximum=10_000, jitter=0)
    assert (await wait(server, timeout=inf, polling=polling)).status == "Succeeded"


@both_ways
async def test_a_wait_of_no_time_is_one_look(wait: Wait) -> None:
    """With a time limit of zero there is the last look, and no other."""
    assert (await wait(_one((0, "Succeeded")), timeout=0.0)).status == "Succeeded"
    server = _one((0, "Running"))
    with pytest.raises(WaitTimeout):
        await wait(server, timeout=0.0)
    assert [time for time, _ in server.polls] == pytest.approx([0], abs=0.01)


async def test_a_low_rate_does_not_stretch_the_time_limit() -> None:
    """Where the rate lets no look begin in time, the wait ends without one."""
    names = [str(number) for number in range(20)]
    server = Server({name: [(0, None)] for name in names})
    done = await server.wait_for(names, timeout=30.0, polling=Polling(rate=0.1))
    assert {completed.trigger_id for completed in done} == set(names)
    assert all(isinstance(completed.error, WaitTimeout) for completed in done)
    assert max(completed.elapsed for completed in done) <= 32 + 0.01
    assert {completed.polls for completed in done} == {0, 1}
    assert len(server.polls) <= 4


@both_ways
async def test_408_may_pass(wait: Wait) -> None:
    """A server that has lost patience with itself is asked again."""
    server = _one((0, APIError("timed out", status_code=408)), (10, "Succeeded"))
    assert (await wait(server)).status == "Succeeded"


@both_ways
@pytest.mark.parametrize("cls", [RateLimited, ServerError, NotFound])
async def test_retry_after_wins_over_the_pace(wait: Wait, cls: type[APIError]) -> None:
    """After a look that is told to wait, the next comes when it may, and no sooner."""
    slow = cls("slow down", status_code=429, retry_after=200)
    server = _one((0, "Running"), (10, slow), (20, "Succeeded"))
    await wait(server)
    told, after = [time for time, _ in server.polls][-2:]
    assert after - told == pytest.approx(200, abs=0.01)


@both_ways
async def test_retry_after_wins_over_the_last_look(wait: Wait) -> None:
    """A trigger that may not be looked at before the time limit gets no last look."""
    server = _one((0, RateLimited("slow down", status_code=429, retry_after=1000)))
    with pytest.raises(WaitTimeout):
        await wait(server, timeout=100.0)
    assert len(server.polls) == 1


@both_ways
async def test_a_hold_stops_all_looks(wait: Wait) -> None:
    """While the client may send nothing, nothing is looked at."""
    server = _one((0, "Running"), (400, "Succeeded"))
    held = 50.0, 350.0

    def held_until() -> float:
        return held[1] if server.clock.now() >= held[0] else -inf

    await wait(server, held_until=held_until)
    assert not [time for time, _ in server.polls if held[0] < time < held[1] - 0.01]


async def test_a_hold_is_followed_by_no_burst() -> None:
    """What was held back goes out at the usual rate."""
    names = [str(number) for number in range(60)]
    server = Server({name: [(0, None), (110, "Succeeded")] for name in names})
    polling = Polling(rate=10)
    await server.wait_for(names, polling=polling, held_until=lambda: 100.0)
    assert min(server.polls)[0] >= 100
    assert server.most_a_second() <= 10


async def test_a_stall_of_the_server_is_followed_by_no_burst() -> None:
    """No more looks are under way than a second may begin; those that hang are not made up for."""
    names = [str(number) for number in range(100)]
    server = Server({name: [(0, None), (100, "Succeeded")] for name in names})
    under_way: set[str] = set()
    most = 0

    async def look(trigger_id: str) -> TriggerStatus:
        nonlocal most
        under_way.add(trigger_id)
        most = max(most, len(under_way))
        try:
            if 30 <= server.clock.now() < 80:
                await server.clock.sleep(80 - server.clock.now())
            return await server.look(trigger_id)
        finally:
            under_way.discard(trigger_id)

    await server.wait_for(names, polling=Polling(rate=15), look=look)
    assert most == 15
    assert server.most_a_second(since=81) <= 15


async def test_a_stall_of_the_process_is_followed_by_no_burst() -> None:
    """Time in which nothing ran does not add up to looks that may be made at once."""
    names = [str(number) for number in range(80)]
    server = Server({name: [(0, None), (250, "Succeeded")] for name in names})

    async def look(trigger_id: str) -> TriggerStatus:
        try:
            return await server.look(trigger_id)
        finally:
            if 30 <= server.clock.now() < 35:
                server.clock._seconds += 200  # as for a process that was stopped

    await server.wait_for(names, polling=Polling(rate=10), look=look)
    assert server.most_a_second() <= 10


async def test_looks_that_hang_do_not_stop_the_others() -> None:
    """However low the rate, one trigger whose looks hang leaves the others theirs."""
    server = Server({"stuck": [(0, None)], "well": [(60, "Succeeded")]})

    async def look(trigger_id: str) -> TriggerStatus:
        if trigger_id == "stuck":
            await anyio.sleep_forever()
        return await server.look(trigger_id)

    options = {"polling": Polling(rate=0.5, jitter=0), "timeout": 300.0}
    done = await server.wait_for(["stuck", "well"], look=look, **options)
    assert done[0].trigger_id == "well"
    assert done[0].elapsed < 70
    assert isinstance(done[1].error, WaitTimeout)


async def test_long_and_short_runs_get_their_share() -> None:
    """With far more triggers than the rate serves, none waits longer than its turn for a look."""
    ends = {str(number): 400.0 if number % 10 == 0 else 100.0 for number in range(100)}
    server = Server({name: [(0, "Running"), (end, "Succeeded")] for name, end in ends.items()})
    done = await server.wait_for(list(ends), polling=Polling(rate=3))
    turn = 100 / 3 + 15 * 1.2
    for completed in done:
        mine = [0.0, *(time for time, name in server.polls if name == completed.trigger_id)]
        assert max(later - earlier for earlier, later in itertools.pairwise(mine)) <= turn + 1
        assert completed.elapsed <= ends[str(completed.trigger_id)] + turn + 1


@both_ways
@pytest.mark.parametrize("outcome", [None, True, "succeeded"])
async def test_a_reading_of_a_word_is_an_outcome(wait: Wait, outcome: object) -> None:
    """A `classify` that gives no Outcome is an error, and ends no wait as a success."""
    with pytest.raises(ValueError, match="classify"):
        await wait(_one((0, "Running")), classify=lambda _: outcome)


@pytest.mark.parametrize("callback", ["classify", "tell"])
async def test_an_error_of_a_callback_is_one_result(callback: str) -> None:
    """What `classify` or `on_status` raises for one trigger leaves the others alone."""
    server = Server({"bad": [(0, "Odd")], "good": [(60, "Succeeded")]})

    def fail(status: TriggerStatus, *_: object) -> Outcome:
        if status.status == "Odd":
            raise ZeroDivisionError
        return status.outcome

    done = {c.trigger_id: c for c in await server.wait_for(["bad", "good"], **{callback: fail})}
    assert isinstance(done["bad"].error, ZeroDivisionError)
    assert done["good"].status == TriggerStatus("Succeeded")


async def test_a_result_with_an_error_counts_as_unknown() -> None:
    """Whatever word was seen last, a wait that an error ended is no success."""
    server = _one((0, "Succeeded"))

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with server.clock.autojump(), _completions(server, ["t"], tell=fail) as done:
        assert isinstance((await anext(done)).error, ZeroDivisionError)
    assert (done.progress.succeeded, done.progress.unknown) == (0, 1)


async def test_what_has_ended_is_not_kept() -> None:
    """However long others are waited for, nothing is held of a trigger that has ended."""
    server = Server({"a": [(0, "Succeeded")], "b": [(0, "Running"), (100, "Succeeded")]})
    watches: list[weakref.ref[Any]] = []

    def tell(status: TriggerStatus, watch: Any) -> None:
        if watch.trigger_id == "b" and status.status == "Succeeded":
            gc.collect()
            assert [one() for one in watches] == [None]
        elif watch.trigger_id == "a":
            watches.append(weakref.ref(watch))

    done = await server.wait_for(["a", "b"], tell=tell, timeout=inf)
    assert [completed.error for completed in done] == [None, None]


async def test_a_slow_callback_holds_up_its_own_trigger_alone() -> None:
    """Looks at the others go on while `on_status` takes its time."""
    names = [str(number) for number in range(30)]
    server = Server({name: [(0, "Running"), (30, "Succeeded")] for name in names})
    server.plans["last"] = [(5, "Succeeded")]

    async def tell(status: TriggerStatus, _: object) -> None:
        if status.status == "Running":
            await server.clock.sleep(1000)

    async def look(trigger_id: str) -> TriggerStatus:
        await server.clock.sleep(3)  # so that as many are under way at once as may be
        return await server.look(trigger_id)

    done = await server.wait_for([*names, "last"], tell=tell, look=look, polling=Polling(rate=5))
    assert done[0].trigger_id == "last"
    assert done[0].elapsed < 30


async def test_a_source_with_something_else_in_it_loses_no_result() -> None:
    """An element that is no trigger ends an async source as an error of it would."""
    server = Server({"a": [(60, "Succeeded")]})

    async def source() -> AsyncIterator[Any]:
        yield "a"
        yield 7

    done: list[RunResult] = []
    with pytest.raises(ValueError, match="trigger"):
        await _collect(server, source(), done)
    assert [completed.trigger_id for completed in done] == ["a"]


async def _collect(server: Server, source: Any, done: list[RunResult], **options: Any) -> None:
    async def keep(_: int, completed: RunResult) -> None:
        done.append(completed)

    async with server.clock.autojump():
        await wait_for_each(source, server.options(**options), keep)


def _completions(server: Server, source: Any, **options: Any) -> RunResults[RunResult]:
    options = server.options(**options)

    async def produce(send: Any) -> None:
        await wait_for_each(source, options, lambda _, completed: send(completed))

    return RunResults(produce, options.counters)


async def test_a_consumer_may_stop_early() -> None:
    """Leaving the block ends all looks at once, and closes a source that is a generator."""
    server = Server({"a": [(10, "Succeeded")], "b": [(0, None)]})
    is_closed = False

    async def source() -> AsyncIterator[str]:
        nonlocal is_closed
        try:
            yield "a"
            yield "b"
            await anyio.sleep_forever()
        finally:
            is_closed = True

    async with server.clock.autojump():
        async with _completions(server, source()) as done:
            assert (await anext(done)).trigger_id == "a"
            assert done.progress.active == 1
        looks, left_at = len(server.polls), server.clock.now()
        await server.clock.sleep(1000)
    assert is_closed
    assert left_at < 20
    assert len(server.polls) == looks
    assert done.progress.active == 0


async def test_a_wait_can_be_cancelled_at_any_time() -> None:
    """Whenever a wait is cancelled it ends at once, and nothing goes on behind it."""
    for seconds in itertools.chain((0.0, 0.5, 1.0, 1.1, 2.0), range(3, 40, 5)):
        server = Server({name: [(0, None), (1000, "Succeeded")] for name in "abc"})

        async def look(trigger_id: str, server: Server = server) -> TriggerStatus:
            await server.clock.sleep(0.3)
            return await server.look(trigger_id)

        async with server.clock.autojump():
            for wait in (
                lambda server=server, look=look: wait_for_one("a", server.options(look=look)),
                lambda server=server, look=look: _drain(_completions(server, "abc", look=look)),
            ):
                began = server.clock.now()
                with server.clock.move_on_after(seconds) as scope:
                    await wait()
                assert scope.cancelled_caught
                assert server.clock.now() == pytest.approx(began + seconds, abs=0.01)
            looks = len(server.polls)
            await server.clock.sleep(100)
            assert len(server.polls) == looks


async def _drain(completions: RunResults[RunResult]) -> list[RunResult]:
    async with completions as done:
        return [completed async for completed in done]


async def test_progress_counts_what_happens() -> None:
    """A trigger is active until its result, of one of three kinds; looks and time are counted."""
    server = Server(
        {
            "good": [(0, "Running"), (60, "Succeeded")],
            "bad": [(0, "Running"), (30, "Failed (Timeout)")],
            "late": [(0, None)],
            "refused": [(0, AuthenticationError("no", status_code=403))],
        }
    )
    before = _completions(server, [])
    assert before.progress == Progress()
    async with server.clock.autojump():
        async with _completions(server, list(server.plans), timeout=100.0) as done:
            count = 0
            async for _ in done:
                count += 1
                progress = done.progress
                assert progress.triggered == 4
                assert progress.active == 4 - count
                assert progress.succeeded + progress.failed + progress.unknown == count
                assert progress.polls == len(server.polls)
                assert progress.seconds == pytest.approx(server.clock.now())
        await server.clock.sleep(1000)
    expected = Progress(4, 0, 1, 1, 2, len(server.polls), done.progress.seconds)
    assert done.progress == expected
    assert done.progress.seconds == pytest.approx(100, abs=0.1)


async def test_a_trigger_that_waits_takes_little_memory() -> None:
    """Ten thousand triggers wait in less than 2 KB each beyond the triggers themselves."""
    names = [str(number) for number in range(10_000)]
    server = Server({name: [(0, None)] for name in names})
    sizes: list[int] = []

    async def look(trigger_id: str) -> TriggerStatus:
        sizes.append(tracemalloc.get_traced_memory()[0])
        raise NotFound("not yet", status_code=404)

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with anyio.CancelScope() as scope:

            async def stop() -> None:
                await server.clock.sleep(20)
                scope.cancel()

            async with server.clock.autojump(), anyio.create_task_group() as tasks:
                tasks.start_soon(stop)
                async with _completions(server, names, look=look) as done:
                    await anext(done)
    finally:
        tracemalloc.stop()
    assert len(sizes) > 300
    assert (max(sizes) - before) / len(names) < 2048


NO_POLLING: Any = {"first": 1}
BAD_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("timeout", {"timeout": -1}),
    ("timeout", {"timeout": nan}),
    ("timeout", {"timeout": "60"}),
    ("timeout", {"timeout": True}),
    ("timeout", {"timeout": None}),
    ("poll", {"poll": NO_POLLING}),
    ("classify", {"classify": None}),
    ("on_status", {"on_status": "print"}),
]


@pytest.mark.parametrize(("argument", "options"), BAD_OPTIONS)
async def test_bad_options_are_named(argument: str, options: dict[str, Any]) -> None:
    """A bad option is a ValueError that names the argument, and nothing is sent."""
    async with AsyncPandium("key", base_url="http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            await client.runs.wait("t", **options)
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            client.runs.as_completed(["t"], **options)
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            await client.runs.wait_all(["t"], **options)


async def test_a_client_that_may_send_nothing_does_not_look() -> None:
    """A 429 of any call of the client holds back the looks, and counts as none of them."""
    async with AsyncPandium("key", base_url="http://127.0.0.1:1") as client:
        client._transport.connections.gate.paused_until = inf
        with pytest.raises(WaitTimeout) as caught:
            await client.runs.wait("t", timeout=0.05)
    assert caught.value.polls == 0


@pytest.mark.parametrize("triggers", ["123", b"123", 7, None])
async def test_triggers_are_more_than_one(triggers: Any) -> None:
    """A single id, or what is no iterable, is a ValueError and not waited for letter by letter."""
    async with AsyncPandium("key", base_url="http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="triggers"):
            client.runs.as_completed(triggers)


@pytest.mark.parametrize("name", ["first", "factor", "minimum", "maximum", "jitter", "rate"])
@pytest.mark.parametrize("value", ["5", None, True, nan, -1])
def test_a_pace_is_made_of_numbers(name: str, value: Any) -> None:
    """What is no number, or none that can be kept to, is a ValueError that names the argument."""
    with pytest.raises(ValueError, match=name):
        Polling(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("jitter", 1), ("minimum", 16), ("rate", 0)])
def test_a_pace_can_be_kept_to(name: str, value: float) -> None:
    """Looks with no pause at all between them, or none ever, are a ValueError, too."""
    with pytest.raises(ValueError, match=name):
        Polling(**{name: value})
