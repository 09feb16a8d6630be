"""Waiting for runs of the emulator, on a clock that is driven: hours pass in no time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio
import pytest

from pandium import (
    AsyncPandium,
    Outcome,
    PandiumError,
    Polling,
    RunFailed,
    RunResult,
    Trigger,
    TriggerStatus,
    WaitTimeout,
)
from pandium.emulator import Polls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pandium.emulator import Emulator, Phase

pytestmark = [pytest.mark.anyio, pytest.mark.pandium(clock="manual")]

HOUR = 3600.0
STATUS = "/v2/runs/triggers/{trigger_id}/status"


@pytest.fixture
def emulator(pandium_emulator: Emulator) -> Emulator:
    return pandium_emulator


@pytest.fixture
def client(pandium_client: AsyncPandium) -> AsyncPandium:
    return pandium_client


def looks(emulator: Emulator) -> int:
    return sum(number for key, number in emulator.counts.items() if key[1] == STATUS)


def script(emulator: Emulator, *phases: Phase, appears_after: float | Polls = 5.0) -> None:
    emulator.runs.script(appears_after=appears_after, phases=phases, killed_after=math.inf)


async def sync(emulator: Emulator, client: AsyncPandium) -> Trigger:
    tenant = emulator.add_tenant()
    return await client.tenants.sync(tenant.id, mode="normal")


async def test_a_run_of_two_hours_is_waited_for(emulator: Emulator, client: AsyncPandium) -> None:
    """The wait ends soon after the run, and looks no more often than its pace says."""
    script(emulator, ("Running", 2 * HOUR), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        status = await client.runs.wait(trigger, timeout=3 * HOUR)
    assert status == TriggerStatus("Succeeded")
    assert 2 * HOUR + 5 <= emulator.clock.now() < 2 * HOUR + 25
    assert looks(emulator) < 700


async def test_advancing_wakes_who_waits(emulator: Emulator, client: AsyncPandium) -> None:
    """What a wait has to do within the time is done, requests included, when it has passed."""
    script(emulator, ("Running", 600), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    found: list[TriggerStatus] = []

    async def wait() -> None:
        found.append(await client.runs.wait(trigger, on_status=found.append))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await emulator.clock.advance(4)
        assert looks(emulator) > 1
        assert not found
        await emulator.clock.advance(60)
        assert [status.status for status in found] == ["Running"]
        await emulator.clock.advance(600)
        assert [status.status for status in found] == ["Running", "Succeeded", "Succeeded"]
    assert emulator.clock.now() == 664


async def test_many_triggers_share_one_run(emulator: Emulator, client: AsyncPandium) -> None:
    """Triggers that were bundled into the next run all end with it, each as a result of its own."""
    script(emulator, ("Running", 120), ("Succeeded", 0))
    first = await sync(emulator, client)
    await emulator.clock.advance(60)
    tenant = emulator.tenants[0].id
    bundled = [await client.tenants.sync(tenant, mode="normal") for _ in range(6)]
    async with emulator.clock.autojump():
        done = await client.runs.wait_all([first, *bundled])
    assert [one.trigger_id for one in done] == [one.trigger_id for one in [first, *bundled]]
    assert {one.status for one in done} == {TriggerStatus("Succeeded")}
    runs = [run async for run in client.tenants.runs(tenant)]
    assert [len(run.triggers) for run in runs] == [1, 6]


async def test_404_for_twenty_minutes_means_not_yet(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """However long nothing is known of a trigger, its wait goes on, and tells nothing."""
    script(emulator, ("Succeeded", 0), appears_after=1200)
    trigger = await sync(emulator, client)
    seen: list[TriggerStatus] = []
    async with emulator.clock.autojump():
        await client.runs.wait(trigger, on_status=seen.append)
    assert seen == [TriggerStatus("Succeeded")]
    assert emulator.counts["GET", STATUS, 404] > 50
    assert emulator.counts["GET", STATUS, 200] == 1


@pytest.mark.parametrize("gap", [120.0, Polls(4)])
async def test_a_status_that_flickers_is_waited_on(
    emulator: Emulator, client: AsyncPandium, gap: float | Polls
) -> None:
    """A 404 after a word is not yet again, and the same word after it is no news."""
    script(emulator, ("Running", 60), (None, gap), ("Running", 60), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    seen: list[str] = []
    async with emulator.clock.autojump():
        await client.runs.wait(trigger, on_status=lambda status: seen.append(status.status))
    assert seen == ["Running", "Succeeded"]


async def test_each_look_counts(emulator: Emulator, client: AsyncPandium) -> None:
    """A result says how many looks it took: no more than there was to see, and none left out."""
    phases: list[Phase] = [("Running", Polls(1)), (None, Polls(3)), ("Running", Polls(2))]
    script(emulator, *phases, ("Succeeded", 0), appears_after=Polls(2))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        [done] = await client.runs.wait_all([trigger])
    assert (done.status, done.polls) == (TriggerStatus("Succeeded"), 9)
    assert looks(emulator) == 9


async def test_words_that_nobody_knows_are_waited_on(
    emulator: Emulator, client: AsyncPandium, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is logged once, unless the caller reads the words by another rule."""
    script(emulator, ("Mulling", 60), ("Pondering", 60), ("Mulling", 60), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        assert (await client.runs.wait(trigger)).status == "Succeeded"
    assert [caplog.text.count(word) for word in ("Mulling", "Pondering")] == [1, 1]

    def classify(status: TriggerStatus) -> Outcome:
        return Outcome.FAILED if status.status == "Pondering" else Outcome.ACTIVE

    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        assert (await client.runs.wait(trigger, classify=classify)).status == "Pondering"


async def test_a_server_full_of_new_words_fills_no_log(
    emulator: Emulator, client: AsyncPandium, caplog: pytest.LogCaptureFixture
) -> None:
    """Of unknown words the first hundred are logged, and no more."""
    phases: list[Phase] = [(f"Word {number}", Polls(1)) for number in range(150)]
    script(emulator, *phases, ("Succeeded", 0))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        await client.runs.wait(trigger, timeout=HOUR, poll=Polling(maximum=10))
    assert caplog.text.count("is not known") == 100


async def test_a_run_that_hangs_ends_as_failed(emulator: Emulator, client: AsyncPandium) -> None:
    """The service kills it at ten minutes, and the wait says so."""
    emulator.runs.script(phases=[("Running", math.inf)])
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        with pytest.raises(RunFailed, match=r"Failed \(Timeout\)"):
            await client.runs.wait(trigger, raise_on_failure=True)
    assert 600 <= emulator.clock.now() < 620


async def test_a_scheduled_run_that_goes_first_is_waited_out(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """A trigger that has to wait for a scheduled run ends after it."""
    script(emulator, ("Running", 300), ("Succeeded", 0), appears_after=30)
    tenant = emulator.add_tenant(user_schedule="0 * * * *")
    async with emulator.clock.autojump():
        await emulator.clock.sleep(HOUR - 10)
        trigger = await client.tenants.sync(tenant.id, mode="normal")
        await client.runs.wait(trigger)
    assert emulator.clock.now() >= HOUR + 300 + 30 + 300
    first, second = [run async for run in client.tenants.runs(tenant.id)]
    assert [first.triggers[0].source, second.triggers[0].source] == ["api", "Cron"]


async def test_a_wait_ends_at_its_time_limit(emulator: Emulator, client: AsyncPandium) -> None:
    """At the limit, not a second before or after, with the last status and the looks."""
    script(emulator, ("Running", math.inf))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        with pytest.raises(WaitTimeout) as caught:
            await client.runs.wait(trigger, timeout=HOUR / 4)
    assert emulator.clock.now() == pytest.approx(HOUR / 4, abs=0.01)
    assert caught.value.last_status == TriggerStatus("Running")
    assert caught.value.polls == looks(emulator)


async def test_a_wait_that_is_cancelled_looks_no_more(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """After a cancellation in the middle nothing goes on, and the client is as good as before."""
    script(emulator, ("Running", 600), ("Succeeded", 0))
    triggers = [await sync(emulator, client) for _ in range(3)]
    async with emulator.clock.autojump():
        with emulator.clock.move_on_after(60) as scope:
            await client.runs.wait(triggers[0])
        assert scope.cancelled_caught
        with emulator.clock.move_on_after(60) as scope:
            await client.runs.wait_all(triggers)
        assert scope.cancelled_caught
    before = looks(emulator)
    assert before > 10
    await emulator.clock.advance(HOUR)
    assert looks(emulator) == before
    assert (await client.runs.status(triggers[0])).status == "Succeeded"


async def test_a_consumer_that_stops_early_stops_the_looks(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """Whoever leaves the block has no more requests sent, and what has ended is not lost."""
    triggers = []
    for number in range(20):
        script(emulator, ("Running", 60.0 * number), ("Succeeded", 0))
        triggers.append(await sync(emulator, client))
    found: list[RunResult] = []
    async with emulator.clock.autojump(), client.runs.as_completed(triggers) as done:
        async for one in done:
            found.append(one)
            break
    [first] = found
    assert (first.trigger_id, first.status) == (triggers[0].trigger_id, TriggerStatus("Succeeded"))
    before = looks(emulator)
    await emulator.clock.advance(HOUR)
    assert looks(emulator) == before


async def test_a_source_that_fails_halfway_loses_nothing(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """What came before the failure is waited for to its end; then the error comes as it is."""
    script(emulator, ("Running", 300), ("Succeeded", 0))

    async def source() -> AsyncIterator[Trigger]:
        for _ in range(3):
            yield await sync(emulator, client)
            await emulator.clock.sleep(60)
        raise ZeroDivisionError

    found: list[RunResult] = []
    async with emulator.clock.autojump():
        with pytest.raises(ZeroDivisionError):
            async with client.runs.as_completed(source()) as done:
                async for one in done:
                    found.append(one)
    assert [one.trigger_id for one in found] == ["1", "2", "3"]
    assert {one.status for one in found} == {TriggerStatus("Succeeded")}
    assert emulator.clock.now() >= 120 + 305


async def test_hundreds_are_waited_for_in_order_of_completion(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """Of as many runs as there are, each comes once, and none before one that ended long ago."""
    ends = {}
    for number in range(100):
        seconds = 100.0 * (1 + number * 3 % 4)
        script(emulator, ("Running", seconds), ("Succeeded", 0))
        ends[(await sync(emulator, client)).trigger_id] = seconds
    poll = Polling(first=90, minimum=60, maximum=60, rate=1000)
    async with emulator.clock.autojump(), client.runs.as_completed(list(ends), poll=poll) as done:
        found = [one.trigger_id or "" async for one in done]
    assert sorted(found) == sorted(ends)
    assert [ends[one] for one in found] == sorted(ends.values())


async def test_several_clients_wait_by_one_clock(emulator: Emulator, client: AsyncPandium) -> None:
    """Each client that was made in the test sleeps by the same time."""
    script(emulator, ("Running", 300), ("Succeeded", 0))
    async with AsyncPandium() as other, emulator.clock.autojump():
        triggers = [await sync(emulator, one) for one in (client, other)]
        async with anyio.create_task_group() as tasks:
            for one, trigger in zip((client, other), triggers, strict=True):
                tasks.start_soon(lambda c, t: c.runs.wait(t, timeout=HOUR), one, trigger)
    assert 300 <= emulator.clock.now() < 325


async def test_a_client_that_is_closed_waits_for_nothing(client: AsyncPandium) -> None:
    """A wait for many says so where it is begun, and not in each result."""
    await client.aclose()
    with pytest.raises(PandiumError, match="the client is closed"):
        await client.runs.wait_all(["1", "2"])
    with pytest.raises(PandiumError, match="the client is closed"):
        client.runs.as_completed(["1"])
    with pytest.raises(PandiumError, match="the client is closed"):
        client.tenants.sync_all([1], mode="normal")
