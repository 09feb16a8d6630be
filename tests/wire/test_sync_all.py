"""A client's `tenants.sync_all` with the emulator and with servers that misbehave."""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from contextlib import ExitStack
from math import nan
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from pandium import (
    AsyncPandium,
    ConfigurationError,
    ConnectionLost,
    DecodeError,
    NotFound,
    PandiumError,
    Polling,
    Retry,
    Trigger,
    TriggerStatus,
    WaitTimeout,
)
from pandium._clock import RealClock, use_clock
from pandium.models import Outcome
from pandium.postgres import PostgresJournal
from support import KEY, servers
from support.journals import by_tenant, locked, read_states
from support.postgres import free_port
from support.servers import Misbehaving

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator
    from pandium.models import Tenant
    from support.servers import Behavior

pytestmark = pytest.mark.anyio

FAST = Polling(first=0.05, minimum=0.05, rate=200)


def posts(emulator: Emulator) -> list[Any]:
    return [request for request in emulator.requests if request.method == "POST"]


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("tenants", {"tenants": "123"}),
        ("tenants", {"tenants": 7}),
        ("tenants", {"tenants": None}),
        ("mode", {"mode": "hard"}),
        ("payload", {"payload": [1]}),
        ("payload", {"payload": {"a": {1}}}),
        ("journal", {"journal": 7}),
        ("journal", {"journal": ""}),
        ("journal", {"journal": b"journal"}),
        ("use PostgresJournal", {"journal": "postgresql://jobs:secret@db.example/jobs"}),
        ("max_concurrency", {"max_concurrency": 0}),
        ("max_concurrency", {"max_concurrency": True}),
        ("max_concurrency", {"max_concurrency": "3"}),
        ("poll", {"poll": 5}),
        ("timeout", {"timeout": -1}),
        ("timeout", {"timeout": nan}),
        ("timeout", {"timeout": "60"}),
        ("retry_unknown", {"retry_unknown": "no"}),
        ("on_triggered", {"on_triggered": "print"}),
        ("on_status", {"on_status": 5}),
        ("classify", {"classify": None}),
    ],
)
async def test_invalid_arguments_are_named(argument: str, options: dict[str, Any]) -> None:
    """An invalid argument raises a ValueError that names it before the block is entered."""
    arguments = {"tenants": [1], "mode": "normal", **options}
    async with AsyncPandium("key", base_url="http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            client.tenants.sync_all(arguments.pop("tenants"), **arguments)


async def test_a_listing_is_read_while_syncs_run(client: AsyncPandium, emulator: Emulator) -> None:
    """A listing from the same client can be the source. Payloads and statuses match the tenants."""
    emulator.runs.script(appears_after=0, phases=[("Running", 0.1), ("Succeeded", 0)])
    for _ in range(30):
        emulator.add_tenant()
    statuses: list[tuple[str, int]] = []

    async def payload(tenant: Tenant) -> dict[str, str]:
        await anyio.lowlevel.checkpoint()
        return {"name": tenant.name}

    async with client.tenants.sync_all(
        client.tenants.list(page_size=10, prefetch=1),
        mode="init",
        payload=payload,
        poll=FAST,
        on_status=lambda status, tenant_id: statuses.append((status.status, tenant_id)),
    ) as results:
        found = by_tenant([result async for result in results])
    assert set(found) == {tenant.id for tenant in emulator.tenants}
    assert {result.error for result in found.values()} == {None}
    assert results.progress.succeeded == 30
    succeeded = {tenant_id for status, tenant_id in statuses if status == "Succeeded"}
    assert succeeded == set(found)
    names = {f"/v2/tenants/{tenant.id}/sync": tenant.name for tenant in emulator.tenants}
    assert {post.path: json.loads(post.body)["name"] for post in posts(emulator)} == names
    assert {post.query for post in posts(emulator)} == {"mode=init"}
    methods = [request.method for request in emulator.requests if "/runs/" not in request.path]
    last_page = len(methods) - 1 - methods[::-1].index("GET")
    assert "POST" in methods[:last_page]


async def test_on_triggered_gets_trigger_and_tenant(
    client: AsyncPandium, emulator: Emulator, tmp_path: Path
) -> None:
    """The callback receives each new `Trigger` with the tenant's id, but none from the journal."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    for _ in range(3):
        emulator.add_tenant()
    calls: list[tuple[Trigger, int]] = []
    for _ in range(2):
        async with client.tenants.sync_all(
            [1, 2, 3],
            mode="normal",
            poll=FAST,
            journal=tmp_path / "journal",
            on_triggered=lambda trigger, tenant_id: calls.append((trigger, tenant_id)),
        ) as results:
            found = by_tenant([result async for result in results])
        expected = [(Trigger(str(found[n].trigger_id)), n) for n in (1, 2, 3)]
        assert sorted(calls, key=lambda call: call[1]) == expected


async def test_one_payload_serves_all_tenants(client: AsyncPandium, emulator: Emulator) -> None:
    """A mapping is encoded when `sync_all` is called. A function may return None: no body."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    emulator.add_tenant()
    payload = {"since": "2026"}
    syncing = client.tenants.sync_all([1], mode="normal", payload=payload, poll=FAST)
    payload["since"] = "1999"
    async with syncing as results:
        assert [result.error async for result in results] == [None]
    assert json.loads(posts(emulator)[-1].body) == {"since": "2026"}
    async with client.tenants.sync_all(
        [1], mode="normal", payload=lambda _: None, poll=FAST
    ) as results:
        assert [result.error async for result in results] == [None]
    assert posts(emulator)[-1].body == b""


async def test_an_invalid_payload_is_one_result(client: AsyncPandium, emulator: Emulator) -> None:
    """If a function returns anything but a mapping, the tenant's result has a ValueError."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    for _ in range(3):
        emulator.add_tenant()
    payloads: dict[int, Any] = {1: [1], 2: {"a": object()}, 3: {"a": 1}}
    async with client.tenants.sync_all(
        [1, 2, 3], mode="init", payload=payloads.get, poll=FAST
    ) as results:
        found = by_tenant([result async for result in results])
    assert [type(found[tenant_id].error) for tenant_id in (1, 2)] == [ValueError] * 2
    assert "payload" in str(found[1].error)
    assert found[3].status == TriggerStatus("Succeeded")
    assert len(posts(emulator)) == 1


async def test_an_api_error_is_one_result(client: AsyncPandium, emulator: Emulator) -> None:
    """A tenant that does not exist or is archived is a NotFound. The others are synced."""
    emulator.runs.script(appears_after=0, phases=[("Failed (Timeout)", 0)])
    for _ in range(3):
        emulator.add_tenant()
    emulator.archive_tenant(2)
    async with client.tenants.sync_all([1, 2, 3, 99], mode="normal", poll=FAST) as results:
        found = by_tenant([result async for result in results])
    assert {tenant_id for tenant_id, result in found.items() if result.error} == {2, 99}
    assert all(isinstance(found[tenant_id].error, NotFound) for tenant_id in (2, 99))
    assert (results.progress.failed, results.progress.triggered) == (4, 2)


class WholeNumber:
    """An integer of another type, as in NumPy."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


async def test_integers_of_other_types_are_ids(client: AsyncPandium, emulator: Emulator) -> None:
    """A tenant's id and other integer arguments may be of any integer type."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    emulator.add_tenant()
    tenants: Any = [WholeNumber(1)]
    number: Any = WholeNumber(5)
    async with client.tenants.sync_all(
        tenants, mode="normal", max_concurrency=number, timeout=number, poll=FAST
    ) as results:
        [result] = [result async for result in results]
    assert (result.tenant_id, type(result.tenant_id), result.error) == (1, int, None)
    assert [tenant.id async for tenant in client.tenants.list(limit=number)] == [1]
    assert Polling(maximum=number).delay(1000) <= 6
    assert Retry(attempts=number) == Retry(attempts=5)


async def test_a_lost_response_is_not_retried(tmp_path: Path) -> None:
    """If the connection is lost after the POST was read, there is one result and no second POST."""
    with Misbehaving(servers.close("all")) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            for _ in range(2):
                async with client.tenants.sync_all(
                    [7], mode="normal", journal=tmp_path / "journal"
                ) as results:
                    [lost] = [result async for result in results]
                assert isinstance(lost.error, ConnectionLost)
                assert lost.error.outcome_unknown
                assert (results.progress.unknown, results.progress.triggered) == (1, 0)
    assert sum(server.arrived.values()) == 1


async def test_a_job_outlives_its_client(emulator: Emulator, tmp_path: Path) -> None:
    """Another client can resume a job whose client was closed early."""
    emulator.runs.script(appears_after=0, phases=[("Running", 0.3), ("Succeeded", 0)])
    for _ in range(12):
        emulator.add_tenant()
    options: dict[str, Any] = {"mode": "normal", "journal": str(tmp_path / "j"), "poll": FAST}
    async with (
        AsyncPandium(KEY, base_url=emulator.url) as client,
        client.tenants.sync_all(range(1, 13), max_concurrency=3, **options) as results,
    ):
        for _ in range(4):
            await anext(results)
    async with (
        AsyncPandium(KEY, base_url=emulator.url) as client,
        client.tenants.sync_all(range(1, 13), **options) as results,
    ):
        found = by_tenant([result async for result in results])
    assert set(found) == set(range(1, 13))
    assert set(Counter(post.path for post in posts(emulator)).values()) == {1}
    errors = [result.error for result in found.values() if result.error is not None]
    assert all(isinstance(error, ConnectionLost) for error in errors)
    assert len(errors) <= 3


async def test_a_journal_belongs_to_one_job(emulator: Emulator, tmp_path: Path) -> None:
    """A different mode or base URL raises an error that shows both, and nothing is sent."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    emulator.add_tenant()
    journal = tmp_path / "journal"
    async with AsyncPandium(KEY, base_url=emulator.url) as client:
        async with client.tenants.sync_all([1], mode="init", journal=journal, poll=FAST) as results:
            assert [result.error async for result in results] == [None]
        before = len(emulator.requests)
        with pytest.raises(ValueError, match="mode 'init', not 'normal'"):
            async with client.tenants.sync_all([1], mode="normal", journal=journal) as results:
                await anext(results)
    other_url = "http://127.0.0.1:1"
    async with AsyncPandium(KEY, base_url=other_url) as client:
        with pytest.raises(
            ConfigurationError, match=f"base_url '{emulator.url}', not '{other_url}'"
        ):
            async with client.tenants.sync_all([1], mode="init", journal=journal) as results:
                await anext(results)
    assert len(emulator.requests) == before


async def test_nothing_is_sent_while_the_server_of_a_journal_is_unavailable(
    client: AsyncPandium, emulator: Emulator
) -> None:
    """If a journal in PostgreSQL cannot be opened, its error is raised before any request."""
    journal = PostgresJournal(f"postgresql://127.0.0.1:{free_port()}/jobs", job="monday")
    with pytest.raises(PandiumError, match=r"^journal 'monday' in database 'jobs' at 127"):
        async with client.tenants.sync_all([1], mode="normal", journal=journal) as results:
            [result async for result in results]
    assert len(emulator.requests) == 0


async def test_a_wait_ends_at_its_limit_while_the_journal_is_locked(
    client: AsyncPandium, emulator: Emulator, tmp_path: Path
) -> None:
    """Each tenant has a result even if another process never releases its lock."""
    emulator.runs.script(appears_after=0, phases=[("Running", 600)])
    tenants = [emulator.add_tenant().id for _ in range(8)]
    journal = tmp_path / "journal"
    with ExitStack() as stack:

        def lock(_: TriggerStatus, tenant_id: int) -> None:
            waiting.add(tenant_id)
            if len(waiting) == len(tenants):
                stack.enter_context(locked(journal))

        waiting: set[int] = set()
        async with client.tenants.sync_all(
            tenants, mode="normal", journal=journal, poll=FAST, timeout=1.0, on_status=lock
        ) as results:
            with anyio.fail_after(10):
                found = by_tenant([await anext(results) for _ in tenants])
        assert set(found) == set(tenants)
        assert all(isinstance(result.error, WaitTimeout) for result in found.values())
        assert all(result.elapsed < 5 for result in found.values())


async def test_an_error_of_on_triggered_has_one_time_limit_while_the_journal_is_locked(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Recording a trigger and releasing it wait for a lock until the same time limit."""
    tenant_id, journal = emulator.add_tenant().id, tmp_path / "journal"

    def fail(*_: object) -> None:
        raise ValueError

    with ExitStack() as stack:
        async with (
            AsyncPandium(
                KEY,
                base_url=emulator.url,
                on_response=lambda _: stack.enter_context(locked(journal)),
            ) as client,
            client.tenants.sync_all(
                [tenant_id], mode="normal", journal=journal, timeout=2.5, on_triggered=fail
            ) as results,
        ):
            result = await anext(results)
            stack.close()
    assert isinstance(result.error, ValueError)
    assert result.elapsed < 4.5


async def test_a_cancellation_takes_one_grace_period_while_the_journal_is_locked(
    client: AsyncPandium, emulator: Emulator, tmp_path: Path
) -> None:
    """Canceling ends within seconds, however many results are waiting to be recorded."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    tenants = 20
    ids = [emulator.add_tenant().id for _ in range(tenants)]
    journal, triggered = tmp_path / "journal", anyio.Event()
    count = itertools.count(1)

    def on_triggered(*_: object) -> None:
        if next(count) == tenants:
            triggered.set()

    async def sync() -> None:
        async with client.tenants.sync_all(
            ids,
            mode="normal",
            journal=journal,
            max_concurrency=tenants,
            poll=Polling(first=1.0, minimum=1.0, rate=200),
            on_triggered=on_triggered,
        ) as results:
            async for _ in results:
                pytest.fail("the result of a run is recorded before it is delivered")

    with ExitStack() as stack:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sync)
            await triggered.wait()
            stack.enter_context(locked(journal))
            while sum("/runs/" in request.path for request in emulator.requests) < tenants:  # noqa: ASYNC110 - another thread
                await anyio.sleep(0.01)
            began = anyio.current_time()
            tasks.cancel_scope.cancel()
        assert anyio.current_time() - began < 8
    assert set(read_states(journal).values()) == {"triggered"}


async def test_neither_key_nor_payload_is_in_the_journal(
    client: AsyncPandium, emulator: Emulator, tmp_path: Path
) -> None:
    """The journal files contain neither the API key nor any payload."""

    def check() -> None:
        written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"hunter2" not in written
        assert KEY.encode() not in written
        assert b"init" in written

    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    emulator.add_tenant()
    async with client.tenants.sync_all(
        [1, 99], mode="init", payload={"password": "hunter2"}, journal=tmp_path / "j", poll=FAST
    ) as results:
        for _ in range(2):
            await anext(results)
            check()


async def test_the_results_can_be_entered_once(client: AsyncPandium) -> None:
    """Entering the results of `sync_all` a second time raises a RuntimeError."""
    syncing = client.tenants.sync_all([], mode="init")
    async with syncing as results:
        assert [result async for result in results] == []
    with pytest.raises(RuntimeError, match="entered"):
        await syncing.__aenter__()


@pytest.mark.parametrize(
    "trigger_id",
    ["", "..", "\0", "\ud800", "x" * 70_000],
    ids=["empty", "dots", "nul", "surrogate", "long"],
)
async def test_an_unusable_trigger_id_is_one_unknown_result(
    tmp_path: Path, trigger_id: str
) -> None:
    """A sync whose trigger id cannot be part of a URL was executed, and does not stop the job."""
    journal = tmp_path / "journal"

    async def play(wire: servers.Wire) -> None:
        is_odd = wire.request is not None and wire.request.path.endswith("/2/sync")
        body = json.dumps({"trigger_id": trigger_id if is_odd else "t", "status": "Succeeded"})
        await wire.send(servers.answer(body.encode()))

    with Misbehaving(otherwise=servers.Behavior("odd ids", play, keeps=True)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            options: dict[str, Any] = {"mode": "normal", "journal": journal, "poll": FAST}
            async with client.tenants.sync_all([1, 2, 3], **options) as results:
                found = by_tenant([result async for result in results])
            for call in (
                client.tenants.sync(2, mode="normal"),
                client.integrations.sync(2, user_name="ann", mode="normal"),
            ):
                with pytest.raises(DecodeError, match="trigger_id") as caught:
                    await call
                assert (caught.value.path, caught.value.outcome_unknown) == ("trigger_id", True)
    assert isinstance(found[2].error, DecodeError)
    assert [found[tenant_id].status for tenant_id in (1, 3)] == [TriggerStatus("Succeeded")] * 2
    assert read_states(journal) == {1: "succeeded", 2: "unknown", 3: "succeeded"}


@pytest.mark.parametrize("text", ["\ud800", "\0", "x" * 5000], ids=["surrogate", "nul", "long"])
async def test_an_odd_status_is_recorded(tmp_path: Path, text: str) -> None:
    """A status with characters that a journal cannot store is a result and does not stop a job."""
    journal = tmp_path / "journal"
    status = f"Failed ({text})"

    async def play(wire: servers.Wire) -> None:
        is_odd = wire.request is not None and "/triggers/2/" in wire.request.path
        trigger_id = "2" if wire.request is not None and "/2/" in wire.request.path else "1"
        body = {"trigger_id": trigger_id, "status": status if is_odd else "Succeeded"}
        await wire.send(servers.answer(json.dumps(body).encode()))

    options: dict[str, Any] = {"mode": "normal", "journal": journal, "poll": FAST}
    with Misbehaving(otherwise=servers.Behavior("odd status", play, keeps=True)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            async with client.tenants.sync_all([1, 2, 3], **options) as results:
                found = by_tenant([result async for result in results])
            async with client.tenants.sync_all([2], **options) as results:
                [recorded] = [result async for result in results]
    assert found[2].status == TriggerStatus(status)
    assert (recorded.outcome, recorded.trigger_id) == (Outcome.FAILED, "2")
    assert str(recorded.status)
    assert read_states(journal) == {1: "succeeded", 2: "failed", 3: "succeeded"}


class LimitClock(RealClock):
    """A clock that records time limits."""

    def __init__(self) -> None:
        self.limits: list[float] = []

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        self.limits.append(seconds)
        return super().move_on_after(seconds)


@pytest.mark.parametrize(("active", "is_shared"), [(40, True), (5, False)])
async def test_records_of_many_active_tenants_share_transactions(
    emulator: Emulator,
    journal_path: Path,
    active: int,
    is_shared: bool,  # noqa: FBT001
) -> None:
    """With many active tenants, a record waits a few milliseconds for others, but not with few."""
    emulator.runs.script(appears_after=0, phases=[("Running", 1000), ("Succeeded", 0)])
    tenants = [emulator.add_tenant().id for _ in range(active)]
    # The outcome of the only run that ends is recorded while all others are active.
    emulator.runs.script(tenant=tenants[-1], appears_after=0, phases=[("Succeeded", 0)])
    clock = LimitClock()
    with use_clock(clock):
        client = AsyncPandium(KEY, base_url=emulator.url)
    async with (
        client,
        client.tenants.sync_all(
            tenants, mode="normal", journal=journal_path, max_concurrency=active, poll=FAST
        ) as results,
    ):
        assert (await anext(results)).tenant_id == tenants[-1]
    assert any(limit <= 40 * 0.0004 for limit in clock.limits) == is_shared


class CancelingHandler(logging.Handler):
    """A handler that cancels a scope once a request is about to be retried."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        super().__init__()
        self._scope = scope

    def emit(self, record: logging.LogRecord) -> None:
        if "retrying in" in record.getMessage():
            self._scope.cancel()


@pytest.mark.parametrize("is_listening", [True, False])
async def test_a_job_that_is_canceled_between_attempts_leaves_no_unknown_outcome(
    tmp_path: Path, *, is_listening: bool
) -> None:
    """A 429 or a connection that was not made is no request, whatever ends the pause after it."""
    behavior = servers.status("429 Too Many Requests", Retry_After="5")
    logger, path = logging.getLogger("pandium"), tmp_path / "sync.db"
    with Misbehaving(behavior, is_listening=is_listening) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            with anyio.CancelScope() as scope:
                logger.addHandler(handler := CancelingHandler(scope))
                try:
                    async with client.tenants.sync_all(
                        [1], mode="normal", journal=path, poll=FAST
                    ) as results:
                        await anext(results)
                finally:
                    logger.removeHandler(handler)
    assert scope.cancelled_caught
    assert read_states(path) == {}


async def test_a_job_that_is_canceled_in_on_response_after_a_429_leaves_no_unknown_outcome(
    tmp_path: Path,
) -> None:
    """After a 429, the tenant was not triggered, even if the user's function ends the job."""
    behavior, path = servers.status("429 Too Many Requests"), tmp_path / "sync.db"

    async def cancel(_: object) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    with Misbehaving(behavior) as server:
        async with AsyncPandium(KEY, base_url=server.url, on_response=cancel) as client:
            with anyio.CancelScope() as scope:
                async with client.tenants.sync_all(
                    [1], mode="normal", journal=path, poll=FAST
                ) as results:
                    await anext(results)
    assert scope.cancelled_caught
    assert read_states(path) == {}


@pytest.mark.parametrize(
    ("scheme", "behavior", "recorded"),
    [
        ("https", servers.stall_in_the_handshake(), {}),
        ("http", servers.stall_before_the_answer(), {1: "unknown"}),
    ],
)
async def test_a_canceled_sync_is_unknown_only_if_its_request_may_have_been_sent(
    tmp_path: Path, scheme: str, behavior: Behavior, recorded: dict[int, str]
) -> None:
    """A job that is canceled before there is a connection has triggered nothing."""
    path = tmp_path / "sync.db"
    with Misbehaving(behavior) as server:
        url = f"{scheme}://127.0.0.1:{server.port}"
        async with AsyncPandium(KEY, base_url=url) as client, anyio.create_task_group() as tasks:

            async def cancel_once_it_waits() -> None:
                await server.until(lambda: server.seen == 1)
                tasks.cancel_scope.cancel()

            tasks.start_soon(cancel_once_it_waits)
            async with client.tenants.sync_all(
                [1], mode="normal", journal=path, poll=FAST
            ) as results:
                await anext(results)
    assert read_states(path) == recorded
