"""Waiting on a manual clock while the service fails: a one-minute outage loses nothing."""

from __future__ import annotations

import json
import logging
import math
import pickle
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import (
    AsyncPandium,
    AuthenticationError,
    ConnectFailed,
    Polling,
    RateLimited,
    RequestTimeout,
    Retry,
    RunResult,
    ServerError,
    TriggerStatus,
    WaitTimeout,
)
from pandium._clock import use_clock
from pandium.emulator import (
    Emulator,
    Garbage,
    ManualClock,
    ProxyPage,
    RateLimit,
    Reset,
    Status,
    Truncate,
)
from support.servers import Misbehaving, stall_before_the_answer, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from pandium import RunResult

pytestmark = [pytest.mark.anyio, pytest.mark.pandium(clock="manual")]

COUNT = 3
SUCCEEDED = TriggerStatus("Succeeded")
# The times, in seconds after its trigger, at which a run appears and ends
APPEARS, ENDS = 5.0, 155.0
EVERY_TEN_SECONDS = Polling(first=10, minimum=10, maximum=10)  # the default jitter is 20%
POLLS_BEFORE_FAULT = 4 * COUNT


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


Statuses = dict[int, TriggerStatus | None]


async def by_wait(client: AsyncPandium) -> Statuses:
    statuses: Statuses = {}

    async def wait(tenant_id: int) -> None:
        trigger = await client.tenants.sync(tenant_id, mode="normal")
        statuses[tenant_id] = await client.runs.wait(trigger, poll=EVERY_TEN_SECONDS)

    async with anyio.create_task_group() as tasks:
        for tenant_id in range(1, COUNT + 1):
            tasks.start_soon(wait, tenant_id)
    return statuses


async def by_as_completed(client: AsyncPandium) -> Statuses:
    tenants: dict[str | None, int] = {}
    for tenant_id in range(1, COUNT + 1):
        trigger = await client.tenants.sync(tenant_id, mode="normal")
        tenants[trigger.trigger_id] = tenant_id
    triggers = [trigger_id for trigger_id in tenants if trigger_id]
    async with client.runs.as_completed(triggers, poll=EVERY_TEN_SECONDS) as results:
        return {tenants[result.trigger_id]: result.status async for result in results}


async def by_sync_all(client: AsyncPandium) -> Statuses:
    return {tenant_id: result.status for tenant_id, result in (await sync_all(client)).items()}


async def sync_all(client: AsyncPandium, journal: Path | None = None) -> dict[int, RunResult]:
    tenants = range(1, COUNT + 1)
    async with client.tenants.sync_all(
        tenants, mode="normal", journal=journal, poll=EVERY_TEN_SECONDS
    ) as results:
        delivered = [(result.tenant_id or 0, result) async for result in results]
    assert sorted(tenant_id for tenant_id, _ in delivered) == [*tenants]
    return dict(delivered)


every_method = pytest.mark.parametrize("method", [by_wait, by_as_completed, by_sync_all])
Method = Any


def record_times(emulator: Emulator, operation: str) -> list[float]:
    """Return a list to which the time of each request is appended, including failed ones."""
    times: list[float] = []
    emulator.drift.before(operation, lambda: times.append(emulator.clock.now()))
    return times


async def after(emulator: Emulator, seconds: float, act: Callable[[], object]) -> None:
    await emulator.clock.sleep(seconds)
    act()


def assert_nothing_lost(emulator: Emulator, statuses: Statuses) -> None:
    """Assert that each run was seen to succeed soon after its end and was triggered once."""
    assert statuses == dict.fromkeys(range(1, COUNT + 1), SUCCEEDED)
    assert ENDS <= emulator.clock.now() < ENDS + 12 + 1
    for tenant_id in statuses:
        emulator.assert_triggered_once(tenant_id)
        emulator.assert_requested("tenants.sync", tenant=tenant_id, times=1)


@every_method
@pytest.mark.parametrize("fault", [Reset(), Status(500), Truncate(), RateLimit(7)])
async def test_a_minute_of_faults_is_waited_out(
    emulator: Emulator, client: AsyncPandium, method: Method, fault: Any
) -> None:
    """After a minute of failing requests, every wait ends as if none had failed."""
    outages: list[Any] = []
    async with emulator.clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(
            after, emulator, 60.0, lambda: outages.append(emulator.faults.outage(60, fault))
        )
        statuses = await method(client)
    assert outages[0].hits > 0
    assert_nothing_lost(emulator, statuses)


@every_method
@pytest.mark.parametrize(
    "fault",
    [
        ProxyPage(),
        Garbage(),
        *(Garbage(body=body) for body in (b"", b"[]", b"null", b'{"status": 5}', b'"Succeeded"')),
    ],
)
async def test_an_odd_response_is_waited_out(
    emulator: Emulator,
    client: AsyncPandium,
    method: Method,
    fault: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A 200 response without a status, such as a gateway's page, is logged. Polling continues."""
    plan = emulator.faults.add("runs.status", fault, after=POLLS_BEFORE_FAULT, times=1)
    async with emulator.clock.autojump():
        statuses = await method(client)
    assert plan.hits == 1
    assert_nothing_lost(emulator, statuses)
    [message] = caplog.messages
    assert message.startswith("polling trigger ")


async def test_a_timeout_says_why_no_poll_succeeded(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """If the service is down, the last poll's error is the cause of the WaitTimeout."""
    trigger = await client.tenants.sync(1, mode="normal")
    emulator.faults.add("runs.status", Status(503))
    async with emulator.clock.autojump():
        with pytest.raises(WaitTimeout, match="the last poll failed: GET /v2/runs/") as caught:
            await client.runs.wait(trigger, timeout=60.0)
    assert isinstance(caught.value.__cause__, ServerError)
    assert caught.value.__cause__.status_code == 503


@asynccontextmanager
async def stopped_emulator(clock: ManualClock) -> AsyncIterator[tuple[Emulator, AsyncPandium]]:
    """Yield an emulator that can be started and stopped at a fixed address, and a client for it."""
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


@every_method
async def test_a_minute_of_refused_connections_is_waited_out(method: Method) -> None:
    """A service that refuses connections for a minute does not end any wait."""
    async with stopped_emulator(ManualClock()) as (emulator, client):
        emulator.start()
        async with emulator.clock.autojump(), anyio.create_task_group() as tasks:
            tasks.start_soon(after, emulator, 60.0, emulator.stop)
            tasks.start_soon(after, emulator, 120.0, emulator.start)
            polls = record_times(emulator, "runs.status")
            statuses = await method(client)
        assert not [time for time in polls if 60 < time < 120]
        assert_nothing_lost(emulator, statuses)


@every_method
@pytest.mark.parametrize("fault", [RateLimit(20, as_date=True), RateLimit(30), RateLimit(70)])
async def test_a_429_of_one_poll_pauses_all_polls(
    emulator: Emulator, client: AsyncPandium, method: Method, fault: RateLimit
) -> None:
    """After a 429, no polls are sent until ``Retry-After`` has passed on the service's clock."""
    polls = record_times(emulator, "runs.status")
    plan = emulator.faults.add("runs.status", fault, after=POLLS_BEFORE_FAULT, times=1)
    async with emulator.clock.autojump():
        statuses = await method(client)
    assert plan.hits == 1
    refused_at, later = polls[POLLS_BEFORE_FAULT], polls[POLLS_BEFORE_FAULT + 1 :]
    paused_until = refused_at + (fault.retry_after or 0)
    # As a date, Retry-After is rounded to whole seconds.
    assert paused_until <= min(later) <= paused_until + 2
    assert 30 < refused_at < 60
    assert_nothing_lost(emulator, statuses)


async def test_a_429_of_another_request_pauses_all_polls(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """No polls are sent or counted while the client is rate limited."""
    triggers = [await client.tenants.sync(each.id, mode="normal") for each in emulator.tenants]
    polls = record_times(emulator, "runs.status")
    emulator.faults.add("tenants.metadata", RateLimit(80))

    async def send_another_request() -> None:
        await emulator.clock.sleep(60)
        with pytest.raises(RateLimited):
            await client.tenants.metadata(1)

    async with emulator.clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(send_another_request)
        results = await client.runs.wait_all(triggers, poll=EVERY_TEN_SECONDS)
    assert {result.status for result in results} == {SUCCEEDED}
    assert not [time for time in polls if 60 < time < 140]
    assert sum(result.polls for result in results) == len(polls)


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
async def test_a_sync_without_a_response_is_not_sent_again(
    emulator: Emulator, client: AsyncPandium, tmp_path: Path, fault: Any, triggers: int
) -> None:
    """The outcome is unknown now and when the job is resumed. The other tenants are synced."""
    emulator.faults.add("tenants.sync", fault, tenant=2)
    async with emulator.clock.autojump():
        for _ in range(2):
            results = await sync_all(client, tmp_path / "journal")
            assert getattr(results.pop(2).error, "outcome_unknown", False)
            assert {result.status for result in results.values()} == {SUCCEEDED}
    for tenant_id in range(1, COUNT + 1):
        emulator.assert_requested("tenants.sync", tenant=tenant_id, times=1)
    emulator.assert_triggered(2, times=triggers)


@pytest.mark.parametrize("seconds", [30, 90])
async def test_a_rate_limited_sync_is_sent_later(
    emulator: Emulator, client: AsyncPandium, tmp_path: Path, seconds: int
) -> None:
    """It is retried if the retry policy allows the delay. Otherwise, it is sent on resuming."""
    syncs = record_times(emulator, "tenants.sync")
    emulator.faults.add("tenants.sync", RateLimit(seconds), after=COUNT - 1, times=1)
    async with emulator.clock.autojump():
        first = await sync_all(client, tmp_path / "journal")
        second = await sync_all(client, tmp_path / "journal")
    refused = [type(result.error) for result in first.values() if result.error]
    assert refused == ([] if seconds < Retry().max_elapsed else [RateLimited])
    assert {result.status for result in second.values()} == {SUCCEEDED}
    assert len(syncs) == COUNT + 1
    assert syncs[-1] >= seconds
    for tenant_id in second:
        emulator.assert_triggered_once(tenant_id)


async def test_a_sync_that_was_not_sent_is_sent_on_resuming(tmp_path: Path) -> None:
    """After refused connections, the resumed job triggers every tenant once."""
    async with stopped_emulator(ManualClock()) as (emulator, client), emulator.clock.autojump():
        refused = await sync_all(client, tmp_path / "journal")
        assert {type(result.error) for result in refused.values()} == {ConnectFailed}
        emulator.start()
        results = await sync_all(client, tmp_path / "journal")
        assert {result.status for result in results.values()} == {SUCCEEDED}
        for tenant_id in results:
            emulator.assert_triggered_once(tenant_id)
            emulator.assert_requested("tenants.sync", tenant=tenant_id, times=1)


# The cause of a timeout

FAST = Polling(first=0.05, minimum=0.05, maximum=0.05)


async def test_a_server_that_is_down_is_the_cause_of_a_timeout() -> None:
    """If no connection can be made, ``WaitTimeout`` names the host and has that error as cause."""
    with Misbehaving() as server:
        url = server.url
    async with AsyncPandium("key", base_url=url) as client:
        with pytest.raises(WaitTimeout, match="the last poll failed: GET http://127") as caught:
            await client.runs.wait("1", timeout=0.3, poll=FAST)
    assert isinstance(caught.value.__cause__, ConnectFailed)
    assert caught.value.polls > 1  # the client does not retry within a poll


async def test_a_server_that_does_not_respond_is_the_cause_of_a_timeout() -> None:
    """A poll that is canceled at the time limit is the cause of ``WaitTimeout``."""
    with Misbehaving(stall_before_the_answer(), otherwise=stall_before_the_answer()) as server:
        async with AsyncPandium("key", base_url=server.url) as client:
            with pytest.raises(WaitTimeout, match="the last poll failed: there was no") as caught:
                await client.runs.wait("1", timeout=0.1, poll=FAST)
    assert isinstance(caught.value.__cause__, RequestTimeout)


async def test_an_outage_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """If the server is down, many waits log one warning on ``pandium.waiting``."""
    with Misbehaving() as server:
        url = server.url
    async with AsyncPandium("key", base_url=url) as client:
        results = await client.runs.wait_all(range(1, 6), timeout=0.3, poll=FAST)
    assert {type(result.error) for result in results} == {WaitTimeout}
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.name == "pandium.waiting"
    assert record.getMessage().endswith("; polling continues")


async def results_of_wait(client: AsyncPandium) -> list[RunResult]:
    return await client.runs.wait_all([1, 2], poll=Polling(first=0))


async def results_of_sync(client: AsyncPandium) -> list[RunResult]:
    async with client.tenants.sync_all([1, 2], mode="normal") as results:
        return [result async for result in results]


@pytest.mark.parametrize("run", [results_of_wait, results_of_sync])
async def test_a_result_keeps_a_short_body(
    run: Callable[[AsyncPandium], Awaitable[list[RunResult]]],
) -> None:
    """The error of a result has the response if it is not long."""
    body = {"message": "no", "reason": "paused"}
    with Misbehaving(otherwise=status("403 Forbidden", json.dumps(body).encode())) as server:
        async with AsyncPandium("k" * 20, base_url=server.url) as client:
            errors = [result.error for result in await run(client)]
    assert [getattr(error, "body", None) for error in errors] == [body, body]


@pytest.mark.parametrize("run", [results_of_wait, results_of_sync])
async def test_a_result_keeps_no_body_and_no_long_message(
    run: Callable[[AsyncPandium], Awaitable[list[RunResult]]],
) -> None:
    """If each of many requests is rejected with a long response, the results remain small."""
    body = json.dumps({"message": "x" * 100_000}).encode()
    with Misbehaving(otherwise=status("403 Forbidden", body, X_Id="1")) as server:
        async with AsyncPandium("k" * 20, base_url=server.url) as client:
            results = await run(client)
            with pytest.raises(AuthenticationError) as caught:
                await client.runs.status(1)
    assert len(results) == 2
    for result in results:
        assert isinstance(result.error, AuthenticationError)
        assert result.error.body is None
        assert result.error.headers["x-id"] == "1"
        assert len(pickle.dumps(result.error)) < 6000
    assert caught.value.message == caught.value.body["message"] == "x" * 100_000
