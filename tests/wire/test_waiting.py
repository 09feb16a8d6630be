"""Waiting for emulator runs on a manual clock, on which hours pass instantly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

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


def count_polls(emulator: Emulator) -> int:
    return sum(number for key, number in emulator.counts.items() if key[1] == STATUS)


def script(emulator: Emulator, *phases: Phase, appears_after: float | Polls = 5.0) -> None:
    emulator.runs.script(appears_after=appears_after, phases=phases, killed_after=math.inf)


async def sync(emulator: Emulator, client: AsyncPandium) -> Trigger:
    tenant = emulator.add_tenant()
    return await client.tenants.sync(tenant.id, mode="normal")


async def test_a_run_of_two_hours_completes(emulator: Emulator, client: AsyncPandium) -> None:
    """A wait of two hours ends within 20 seconds of the run after fewer than 700 polls."""
    script(emulator, ("Running", 2 * HOUR), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        status = await client.runs.wait(trigger, timeout=3 * HOUR)
    assert status == TriggerStatus("Succeeded")
    assert 2 * HOUR + 5 <= emulator.clock.now() < 2 * HOUR + 25
    assert count_polls(emulator) < 700


async def test_advancing_the_clock_advances_a_wait(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """When ``advance`` returns, all polls due by then have been sent and answered."""
    script(emulator, ("Running", 600), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    seen: list[TriggerStatus] = []

    async def wait() -> None:
        seen.append(await client.runs.wait(trigger, on_status=seen.append))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await emulator.clock.advance(4)
        assert count_polls(emulator) > 1
        assert not seen
        await emulator.clock.advance(60)
        assert [status.status for status in seen] == ["Running"]
        await emulator.clock.advance(600)
        assert [status.status for status in seen] == ["Running", "Succeeded", "Succeeded"]
    assert emulator.clock.now() == 664


async def test_many_triggers_share_one_run(emulator: Emulator, client: AsyncPandium) -> None:
    """Triggers bundled into one run all end with it, and each has its own result."""
    script(emulator, ("Running", 120), ("Succeeded", 0))
    first = await sync(emulator, client)
    await emulator.clock.advance(60)
    tenant = emulator.tenants[0].id
    bundled = [await client.tenants.sync(tenant, mode="normal") for _ in range(6)]
    async with emulator.clock.autojump():
        results = await client.runs.wait_all([first, *bundled])
    assert [result.trigger_id for result in results] == [
        trigger.trigger_id for trigger in [first, *bundled]
    ]
    assert {result.status for result in results} == {TriggerStatus("Succeeded")}
    runs = [run async for run in client.tenants.runs(tenant)]
    assert [len(run.triggers) for run in runs] == [1, 6]


async def by_wait(client: AsyncPandium, trigger: Trigger, **options: Any) -> object:
    try:
        return await client.runs.wait(trigger, **options)
    except WaitTimeout as error:
        return type(error)


async def by_as_completed(client: AsyncPandium, trigger: Trigger, **options: Any) -> object:
    async with client.runs.as_completed([trigger], **options) as results:
        [result] = [result async for result in results]
    return result.status or type(result.error)


SUCCESS: list[Any] = [("Running", 100), (None, 30), ("Running", 30), ("Succeeded", 0)]


@pytest.mark.parametrize("phases", [SUCCESS, [("Failed (Timeout)", 0)], [("Running", math.inf)]])
async def test_wait_and_as_completed_agree(
    emulator: Emulator, client: AsyncPandium, phases: list[Any]
) -> None:
    """For equal runs, both have the same status or error after the same polls and seconds."""
    script(emulator, *phases)
    outcomes = []
    for method in (by_wait, by_as_completed):
        trigger = await sync(emulator, client)
        began, polls = emulator.clock.now(), count_polls(emulator)
        async with emulator.clock.autojump():
            outcome = await method(client, trigger, poll=Polling(jitter=0), timeout=200.0)
        elapsed = round(emulator.clock.now() - began, 3)
        outcomes.append((outcome, count_polls(emulator) - polls, elapsed))
    assert outcomes[0] == outcomes[1]


async def test_a_404_for_twenty_minutes_is_waited_out(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """A wait continues while the trigger has no run, and ``on_status`` is not called."""
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
    """A 404 between two equal statuses is ignored and does not count as a change."""
    script(emulator, ("Running", 60), (None, gap), ("Running", 60), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    seen: list[str] = []
    async with emulator.clock.autojump():
        await client.runs.wait(trigger, on_status=lambda status: seen.append(status.status))
    assert seen == ["Running", "Succeeded"]


async def test_a_result_counts_its_polls(emulator: Emulator, client: AsyncPandium) -> None:
    """``polls`` is the number of status requests that were sent for the trigger."""
    phases: list[Phase] = [("Running", Polls(1)), (None, Polls(3)), ("Running", Polls(2))]
    script(emulator, *phases, ("Succeeded", 0), appears_after=Polls(2))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        [result] = await client.runs.wait_all([trigger])
    assert (result.status, result.polls) == (TriggerStatus("Succeeded"), 9)
    assert count_polls(emulator) == 9


async def test_an_unknown_status_is_logged_once(
    emulator: Emulator, client: AsyncPandium, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown status is active and is logged once, unless ``classify`` is passed."""
    script(emulator, ("Mulling", 60), ("Pondering", 60), ("Mulling", 60), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        assert (await client.runs.wait(trigger)).status == "Succeeded"
    assert [caplog.text.count(status) for status in ("Mulling", "Pondering")] == [1, 1]

    def classify(status: TriggerStatus) -> Outcome:
        return Outcome.FAILED if status.status == "Pondering" else Outcome.ACTIVE

    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        assert (await client.runs.wait(trigger, classify=classify)).status == "Pondering"


@pytest.mark.parametrize("status", ["odd " * 10_000, "failed " * 10_000])
async def test_a_long_status_is_shortened_in_messages(
    emulator: Emulator, client: AsyncPandium, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    """Errors and log records quote only the beginning of a status, which the server chooses."""
    script(emulator, (status, 2 * HOUR), ("Succeeded", 0))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        with pytest.raises((WaitTimeout, RunFailed)) as caught:
            await client.runs.wait(trigger, timeout=60, raise_on_failure=True)
    assert repr(status[:200] + "...") in str(caught.value)
    assert status[:300] not in str(caught.value) + caplog.text


async def test_at_most_a_hundred_unknown_statuses_are_logged(
    emulator: Emulator, client: AsyncPandium, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that makes up statuses does not flood the log."""
    phases: list[Phase] = [(f"Status {number}", Polls(1)) for number in range(150)]
    script(emulator, *phases, ("Succeeded", 0))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        await client.runs.wait(trigger, timeout=HOUR, poll=Polling(maximum=10))
    assert caplog.text.count("unknown run status") == 100


async def test_a_run_that_hangs_fails(emulator: Emulator, client: AsyncPandium) -> None:
    """The service kills a hanging run after ten minutes, and the wait raises ``RunFailed``."""
    emulator.runs.script(phases=[("Running", math.inf)])
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        with pytest.raises(RunFailed, match=r"Failed \(Timeout\)"):
            await client.runs.wait(trigger, raise_on_failure=True)
    assert 600 <= emulator.clock.now() < 620


async def test_a_scheduled_run_ahead_of_the_trigger_is_waited_out(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """A trigger that is queued behind a scheduled run ends after that run."""
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
    """The wait ends exactly at the limit, with the last status and the number of polls."""
    script(emulator, ("Running", math.inf))
    trigger = await sync(emulator, client)
    async with emulator.clock.autojump():
        with pytest.raises(WaitTimeout) as caught:
            await client.runs.wait(trigger, timeout=HOUR / 4)
    assert emulator.clock.now() == pytest.approx(HOUR / 4, abs=0.01)
    assert caught.value.last_status == TriggerStatus("Running")
    assert caught.value.polls == count_polls(emulator)


async def test_a_canceled_wait_stops_polling(emulator: Emulator, client: AsyncPandium) -> None:
    """After a cancellation, no more polls are sent, and the client remains usable."""
    script(emulator, ("Running", 600), ("Succeeded", 0))
    triggers = [await sync(emulator, client) for _ in range(3)]
    async with emulator.clock.autojump():
        with emulator.clock.move_on_after(60) as scope:
            await client.runs.wait(triggers[0])
        assert scope.cancelled_caught
        with emulator.clock.move_on_after(60) as scope:
            await client.runs.wait_all(triggers)
        assert scope.cancelled_caught
    before = count_polls(emulator)
    assert before > 10
    await emulator.clock.advance(HOUR)
    assert count_polls(emulator) == before
    assert (await client.runs.status(triggers[0])).status == "Succeeded"


async def test_leaving_the_block_stops_polling(emulator: Emulator, client: AsyncPandium) -> None:
    """Results received before the block is left are delivered. No more polls are sent."""
    triggers = []
    for number in range(20):
        script(emulator, ("Running", 60.0 * number), ("Succeeded", 0))
        triggers.append(await sync(emulator, client))
    delivered: list[RunResult] = []
    async with emulator.clock.autojump(), client.runs.as_completed(triggers) as results:
        async for result in results:
            delivered.append(result)
            break
    [first] = delivered
    assert (first.trigger_id, first.status) == (triggers[0].trigger_id, TriggerStatus("Succeeded"))
    before = count_polls(emulator)
    await emulator.clock.advance(HOUR)
    assert count_polls(emulator) == before


async def test_an_error_of_the_source_loses_no_results(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """A source error is raised unchanged after the results of all preceding triggers."""
    script(emulator, ("Running", 300), ("Succeeded", 0))

    async def source() -> AsyncIterator[Trigger]:
        for _ in range(3):
            yield await sync(emulator, client)
            await emulator.clock.sleep(60)
        raise ZeroDivisionError

    delivered: list[RunResult] = []
    async with emulator.clock.autojump():
        with pytest.raises(ZeroDivisionError):
            async with client.runs.as_completed(source()) as results:
                async for result in results:
                    delivered.append(result)
    assert [result.trigger_id for result in delivered] == ["1", "2", "3"]
    assert {result.status for result in delivered} == {TriggerStatus("Succeeded")}
    assert emulator.clock.now() >= 120 + 305


async def test_a_hundred_results_arrive_in_order_of_completion(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """Each of a hundred runs has one result, after those of all runs that ended earlier."""
    ends = {}
    for number in range(100):
        seconds = 100.0 * (1 + number * 3 % 4)
        script(emulator, ("Running", seconds), ("Succeeded", 0))
        ends[(await sync(emulator, client)).trigger_id] = seconds
    poll = Polling(first=90, minimum=60, maximum=60, rate=1000)
    async with (
        emulator.clock.autojump(),
        client.runs.as_completed(list(ends), poll=poll) as results,
    ):
        completed = [result.trigger_id or "" async for result in results]
    assert sorted(completed) == sorted(ends)
    assert [ends[trigger_id] for trigger_id in completed] == sorted(ends.values())


async def test_several_clients_share_the_clock(emulator: Emulator, client: AsyncPandium) -> None:
    """All clients created in the test use the emulator's clock to wait."""
    script(emulator, ("Running", 300), ("Succeeded", 0))
    async with AsyncPandium() as other, emulator.clock.autojump():
        clients = (client, other)
        triggers = [await sync(emulator, each) for each in clients]
        async with anyio.create_task_group() as tasks:
            for waiter, trigger in zip(clients, triggers, strict=True):
                tasks.start_soon(lambda c, t: c.runs.wait(t, timeout=HOUR), waiter, trigger)
    assert 300 <= emulator.clock.now() < 325


async def test_a_closed_client_refuses_to_wait(client: AsyncPandium) -> None:
    """The call itself raises an error, rather than each result containing it."""
    await client.aclose()
    with pytest.raises(PandiumError, match="the client is closed"):
        await client.runs.wait_all(["1", "2"])
    with pytest.raises(PandiumError, match="the client is closed"):
        client.runs.as_completed(["1"])
    with pytest.raises(PandiumError, match="the client is closed"):
        client.tenants.sync_all([1], mode="normal")
