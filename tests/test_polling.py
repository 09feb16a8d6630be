"""Waiting, on a clock whose hours pass in no time and a server that is a dictionary."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from pandium import (
    AuthenticationError,
    Completed,
    NotFound,
    Outcome,
    Polling,
    RateLimited,
    ServerError,
    TriggerStatus,
    WaitTimeout,
)
from pandium._polling import Terms, wait_for_each, wait_for_one
from pandium.emulator import DrivenClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

Plan = list[tuple[float, "str | Exception | None"]]


@attrs.define
class Server:
    """Answers for each trigger what its plan says for the time; `None` is a 404."""

    plans: dict[str, Plan]
    clock: DrivenClock = attrs.field(factory=DrivenClock)
    looks: list[tuple[float, str]] = attrs.field(factory=list)

    async def look(self, trigger_id: str) -> TriggerStatus:
        now = self.clock.now()
        self.looks.append((now, trigger_id))
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

    def terms(self, timeout: float = 1800.0, **options: Any) -> Terms:
        polling = options.pop("polling", Polling(jitter=0))
        classify = options.pop("classify", lambda status: status.outcome)
        return Terms(self.look, self.clock, polling, timeout, classify, **options)

    async def wait(self, trigger_id: str = "t", **options: Any) -> TriggerStatus:
        async with self.clock.skipping():
            return await wait_for_one(trigger_id, self.terms(**options))

    async def wait_for(self, source: Any, **options: Any) -> list[Completed]:
        done: list[Completed] = []

        async def keep(_: int, completed: Completed) -> None:
            done.append(completed)

        async with self.clock.skipping():
            await wait_for_each(source, self.terms(**options), keep)
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
    assert server.looks[-1][0] == pytest.approx(100, abs=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.trigger_id == "t"
    assert caught.value.last_status == TriggerStatus("Running")
    assert caught.value.polls == len(server.looks)


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
    times = [time for time, _ in server.looks]
    assert times[:5] == pytest.approx([2, 5, 8, 12, 18])
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) == pytest.approx(40)


@both_ways
async def test_jitter_stays_within_its_share(wait: Wait) -> None:
    """Jitter moves a look by at most its share of the pause, and does move it."""
    server = _one((0, None), (500, "Succeeded"))
    await wait(server, polling=Polling(first=10, factor=0, minimum=10, maximum=10, jitter=0.2))
    times = [0.0, *(time for time, _ in server.looks)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(8 - 1e-6 <= gap <= 12 + 1e-6 for gap in gaps)
    assert len({round(gap, 6) for gap in gaps}) > 5


@both_ways
async def test_what_may_pass_is_waited_out(wait: Wait, caplog: pytest.LogCaptureFixture) -> None:
    """A server that is down or asks for patience does not end a wait, and is logged."""
    down = ServerError("down", status_code=503)
    slow = RateLimited("slow down", status_code=429, retry_after=5)
    server = _one((0, "Running"), (10, down), (70, slow), (80, "Succeeded"))
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

    async def tell(status: TriggerStatus) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(status.status)

    callbacks: list[Callable[[TriggerStatus], Any]] = [lambda s: seen.append(s.status), tell]
    for on_status in callbacks:
        seen.clear()
        await wait(_one(*plan), on_status=on_status)
        assert seen == ["Pending", "Running", "Succeeded"]


async def test_results_come_in_order_of_completion() -> None:
    """Of many runs, what ends first comes first, with its looks and its seconds."""
    ends = {"slow": 300.0, "fast": 5.0, "middling": 60.0}
    server = Server({name: [(0, None), (end, "Succeeded")] for name, end in ends.items()})
    done = await server.wait_for(list(ends))
    assert [completed.trigger_id for completed in done] == ["fast", "middling", "slow"]
    for completed in done:
        assert completed.polls == sum(name == completed.trigger_id for _, name in server.looks)
        assert (
            ends[completed.trigger_id]
            <= completed.elapsed
            <= 1.2 * ends[completed.trigger_id] + 1.5
        )


async def test_the_rate_bounds_the_looks_of_all_triggers() -> None:
    """However many triggers wait, no second sees more than `rate` looks."""
    names = [str(number) for number in range(200)]
    server = Server({name: [(0, None), (60, "Succeeded")] for name in names})
    done = await server.wait_for(names, polling=Polling(rate=10, jitter=0))
    assert {completed.trigger_id for completed in done} == set(names)
    times = [time for time, _ in server.looks]
    for time in times:
        assert sum(time <= other < time + 1 - 1e-9 for other in times) <= 10


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
    assert [time for time, _ in server.looks] == pytest.approx([1, 101, 201])


async def test_a_source_that_fails_loses_no_result() -> None:
    """The error of a source is raised, as it is, after the results of what came before it."""
    server = Server({"a": [(60, "Succeeded")]})
    done: list[Completed] = []

    async def source() -> AsyncIterator[str]:
        yield "a"
        raise ZeroDivisionError

    async def keep(_: int, completed: Completed) -> None:
        done.append(completed)

    async with server.clock.skipping():
        try:
            await wait_for_each(source(), server.terms(), keep)
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
