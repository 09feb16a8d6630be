"""Waiting while the emulator fails, on a clock that is driven: minutes without it lose nothing."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import AsyncPandium, ConnectFailed, Polling, RateLimited, Retry, TriggerStatus
from pandium._clock import use_clock
from pandium.emulator import (
    Emulator,
    Garbage,
    ManualClock,
    RateLimit,
    Reset,
    Status,
    Truncate,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from pandium import RunResult

pytestmark = [pytest.mark.anyio, pytest.mark.pandium(clock="manual")]

COUNT = 3
SUCCEEDED = TriggerStatus("Succeeded")
# Of each run: it appears, and ends, so many seconds after its trigger.
APPEARS, ENDS = 5.0, 155.0
# A look each so many seconds, and up to a fifth sooner or later.
PACE = Polling(first=10, minimum=10, maximum=10)
LOOKS = 4 * COUNT


@pytest.fixture
def emulator(pandium_emulator: Emulator) -> Emulator:
    prepare(pandium_emulator)
    return pandium_emulator


@pytest.fixture
def client(pandium_client: AsyncPandium) -> AsyncPandium:
    return pandium_client


def prepare(emulator: Emulator) -> None:
    phases: Any = [("Running", ENDS - APPEARS), ("Succeeded", 0)]
    emulator.runs.script(appears_after=APPEARS, phases=phases, killed_after=math.inf)
    for _ in range(COUNT):
        emulator.add_tenant()


Found = dict[int, TriggerStatus | None]


async def by_wait(client: AsyncPandium) -> Found:
    found: Found = {}

    async def wait(tenant_id: int) -> None:
        trigger = await client.tenants.sync(tenant_id, mode="normal")
        found[tenant_id] = await client.runs.wait(trigger, poll=PACE)

    async with anyio.create_task_group() as tasks:
        for tenant_id in range(1, COUNT + 1):
            tasks.start_soon(wait, tenant_id)
    return found


async def by_as_completed(client: AsyncPandium) -> Found:
    tenants: dict[str | None, int] = {}
    for tenant_id in range(1, COUNT + 1):
        trigger = await client.tenants.sync(tenant_id, mode="normal")
        tenants[trigger.trigger_id] = tenant_id
    triggers = [one for one in tenants if one]
    async with client.runs.as_completed(triggers, poll=PACE) as done:
        return {tenants[one.trigger_id]: one.status async for one in done}


async def by_sync_all(client: AsyncPandium) -> Found:
    return {tenant_id: one.status for tenant_id, one in (await sync_all(client)).items()}


async def sync_all(client: AsyncPandium, journal: Path | None = None) -> dict[int, RunResult]:
    tenants = range(1, COUNT + 1)
    async with client.tenants.sync_all(tenants, mode="normal", journal=journal, poll=PACE) as done:
        results = [one async for one in done]
    found = {one.tenant_id or 0: one for one in results}
    assert sorted(found) == sorted(one.tenant_id or 0 for one in results) == [*tenants]
    return found


each_way = pytest.mark.parametrize("way", [by_wait, by_as_completed, by_sync_all])
Way = Any


def times_of(emulator: Emulator, operation: str) -> list[float]:
    """Give a list to which the time of each request is added, whatever becomes of it."""
    times: list[float] = []
    emulator.drift.before(operation, lambda: times.append(emulator.clock.now()))
    return times


async def after(emulator: Emulator, seconds: float, act: Callable[[], object]) -> None:
    await emulator.clock.sleep(seconds)
    act()


def assert_nothing_lost(emulator: Emulator, found: Found) -> None:
    """See that each run was found in time to have succeeded, and came of one POST."""
    assert found == dict.fromkeys(range(1, COUNT + 1), SUCCEEDED)
    assert ENDS <= emulator.clock.now() < ENDS + 12 + 1
    for tenant_id in found:
        emulator.assert_triggered_once(tenant_id)
        emulator.assert_requested("tenants.sync", tenant=tenant_id, times=1)


@each_way
@pytest.mark.parametrize("fault", [Reset(), Status(500), Truncate(), RateLimit(7)])
async def test_a_minute_of_faults_is_waited_out(
    emulator: Emulator, client: AsyncPandium, way: Way, fault: Any
) -> None:
    """Whatever a minute brings instead of answers, each wait ends as it would have without."""
    outages: list[Any] = []
    async with emulator.clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(
            after, emulator, 60.0, lambda: outages.append(emulator.faults.outage(60, fault))
        )
        found = await way(client)
    assert outages[0].hits > 0
    assert_nothing_lost(emulator, found)


@asynccontextmanager
async def not_listening(clock: ManualClock) -> AsyncIterator[tuple[Emulator, AsyncPandium]]:
    """Give an emulator that can be stopped and started again at its address, and its client."""
    with Emulator(clock=clock) as first:
        port = first.port
    emulator = Emulator(port=port, clock=clock)
    prepare(emulator)
    with use_clock(clock):
        async with AsyncPandium("key", base_url=f"http://127.0.0.1:{port}") as client:
            try:
                yield emulator, client
            finally:
                emulator.stop()


@each_way
async def test_a_minute_in_which_nobody_listens_is_waited_out(way: Way) -> None:
    """A service that is stopped and started again, with all connections refused, loses no wait."""
    async with not_listening(ManualClock()) as (emulator, client):
        emulator.start()
        async with emulator.clock.autojump(), anyio.create_task_group() as tasks:
            tasks.start_soon(after, emulator, 60.0, emulator.stop)
            tasks.start_soon(after, emulator, 120.0, emulator.start)
            looks = times_of(emulator, "runs.status")
            found = await way(client)
        assert not [time for time in looks if 60 < time < 120]
        assert_nothing_lost(emulator, found)


@each_way
@pytest.mark.parametrize("fault", [RateLimit(20, as_date=True), RateLimit(30), RateLimit(70)])
async def test_a_429_in_the_middle_holds_all_looks(
    emulator: Emulator, client: AsyncPandium, way: Way, fault: RateLimit
) -> None:
    """From a 429 on nothing is looked at until its `Retry-After` is over, by the service's time."""
    looks = times_of(emulator, "runs.status")
    plan = emulator.faults.add("runs.status", fault, after=LOOKS, times=1)
    async with emulator.clock.autojump():
        found = await way(client)
    assert plan.hits == 1
    told, until = looks[LOOKS], looks[LOOKS] + (fault.retry_after or 0)
    assert not [time for time in looks[LOOKS + 1 :] if time < until]
    # A date has whole seconds, and the next look is due once the hold is over.
    assert until <= looks[LOOKS + 1] <= until + 2
    assert 30 < told < 60
    assert_nothing_lost(emulator, found)


async def test_a_429_of_another_call_holds_all_looks(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """No look is made while the client may send nothing, and none is counted that was not sent."""
    triggers = [await client.tenants.sync(one.id, mode="normal") for one in emulator.tenants]
    looks = times_of(emulator, "runs.status")
    emulator.faults.add("tenants.metadata", RateLimit(80))

    async def be_refused() -> None:
        await emulator.clock.sleep(60)
        with pytest.raises(RateLimited):
            await client.tenants.metadata(1)

    async with emulator.clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(be_refused)
        done = await client.runs.wait_all(triggers, poll=PACE)
    assert {one.status for one in done} == {SUCCEEDED}
    assert not [time for time in looks if 60 < time < 140]
    assert sum(one.polls for one in done) == len(looks)


@pytest.mark.parametrize(
    ("fault", "triggers"),
    [
        (Reset(), 0),
        (Reset(after_work=True), 1),
        (Status(500), 0),
        (Status(500, after_work=True), 1),
        (Truncate(), 1),
        (Garbage(after_work=True), 1),
    ],
)
async def test_a_sync_whose_answer_was_lost_is_not_sent_again(
    emulator: Emulator, client: AsyncPandium, tmp_path: Path, fault: Any, triggers: int
) -> None:
    """It is unknown now and whenever the job is started again, and the others go on."""
    emulator.faults.add("tenants.sync", fault, tenant=2)
    async with emulator.clock.autojump():
        for _ in range(2):
            results = await sync_all(client, tmp_path / "journal")
            assert getattr(results.pop(2).error, "outcome_unknown", False)
            assert {one.status for one in results.values()} == {SUCCEEDED}
    for tenant_id in range(1, COUNT + 1):
        emulator.assert_requested("tenants.sync", tenant=tenant_id, times=1)
    emulator.assert_triggered(2, times=triggers)


@pytest.mark.parametrize("seconds", [30, 90])
async def test_a_sync_that_is_told_to_wait_is_sent_then(
    emulator: Emulator, client: AsyncPandium, tmp_path: Path, seconds: int
) -> None:
    """By the call itself if it may take so long; or else it is free, and sent by the next start."""
    syncs = times_of(emulator, "tenants.sync")
    emulator.faults.add("tenants.sync", RateLimit(seconds), after=COUNT - 1, times=1)
    async with emulator.clock.autojump():
        first = await sync_all(client, tmp_path / "journal")
        second = await sync_all(client, tmp_path / "journal")
    refused = [type(one.error) for one in first.values() if one.error]
    assert refused == ([] if seconds < Retry().max_elapsed else [RateLimited])
    assert {one.status for one in second.values()} == {SUCCEEDED}
    assert len(syncs) == COUNT + 1
    assert syncs[-1] >= seconds
    for tenant_id in second:
        emulator.assert_triggered_once(tenant_id)


async def test_a_sync_that_nobody_took_is_free(tmp_path: Path) -> None:
    """Refused connections leave no trace: once somebody listens, the job starts as it was."""
    async with not_listening(ManualClock()) as (emulator, client), emulator.clock.autojump():
        refused = await sync_all(client, tmp_path / "journal")
        assert {type(one.error) for one in refused.values()} == {ConnectFailed}
        emulator.start()
        done = await sync_all(client, tmp_path / "journal")
        assert {one.status for one in done.values()} == {SUCCEEDED}
        for tenant_id in done:
            emulator.assert_triggered_once(tenant_id)
            emulator.assert_requested("tenants.sync", tenant=tenant_id, times=1)
