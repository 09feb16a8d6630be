"""Syncing many tenants with a simulated server and a manual clock."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import math
import sqlite3
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.from_thread
import anyio.lowlevel
import attrs
import pytest

from pandium import (
    AuthenticationError,
    ConnectionLost,
    JournalError,
    NotFound,
    Outcome,
    Polling,
    Progress,
    RunResult,
    Trigger,
    TriggerStatus,
    WaitTimeout,
)
from pandium._bulk.journal import LEASE, RENEWALS_PER_LEASE, State
from pandium._bulk.sqlite import SQLiteJournal
from pandium._bulk.sync import SyncOptions, sync_each
from pandium._http.limits import RequestPacer
from pandium._waiting.polling import WaitOptions
from pandium._waiting.results import Counters, RunResults
from pandium.emulator import ManualClock
from pandium.models import Tenant
from support.failures import ODD_ERRORS
from support.instants import raise_foreign_cancellation
from support.journals import by_tenant, count_transactions, read_states

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from pandium._http.send_record import SendRecord

pytestmark = pytest.mark.anyio

Hook: TypeAlias = "Callable[[Any], object]"


async def no_body(_: object) -> bytes | None:
    return None


@attrs.define
class World:
    """
    A simulated server.

    Each POST takes one second, and `runs` contains the duration of each run. The first trigger of
    tenant 7 is "t7", the next one "t7'". The hooks are called with the tenant or trigger of the
    request.
    """

    runs: dict[int, float] = attrs.field(factory=dict)
    errors: dict[int, Exception] = attrs.field(factory=dict)
    clock: ManualClock = attrs.field(factory=ManualClock)
    posts: list[tuple[float, int]] = attrs.field(factory=list)
    bodies: dict[int, bytes | None] = attrs.field(factory=dict)
    polls: list[tuple[float, str]] = attrs.field(factory=list)
    ends: dict[str, float] = attrs.field(factory=dict)
    before_post: Hook = lambda _: None
    after_post: Hook = lambda _: None
    before_poll: Hook = lambda _: None
    posting: int = 0
    most_posting: int = 0
    journal_type: type[SQLiteJournal] = SQLiteJournal
    journal_settings: dict[str, object] = attrs.field(factory=dict)
    latest_journal: Any = None

    async def post(self, tenant_id: int, body: bytes | None, record: SendRecord) -> Trigger:
        record.begin_attempt()
        self.before_post(tenant_id)
        self.posts.append((self.clock.now(), tenant_id))
        self.bodies[tenant_id] = body
        self.posting += 1
        self.most_posting = max(self.most_posting, self.posting)
        try:
            await self.clock.sleep(1)
        finally:
            self.posting -= 1
        if tenant_id in self.errors:
            raise self.errors[tenant_id]
        trigger_id = f"t{tenant_id}"
        while trigger_id in self.ends:
            trigger_id += "'"
        self.ends[trigger_id] = self.clock.now() + self.runs.get(tenant_id, 60.0)
        self.after_post(tenant_id)
        return Trigger(trigger_id)

    def post_after(
        self, wait: Callable[[], Awaitable[object]]
    ) -> Callable[..., Awaitable[Trigger]]:
        """Return a function that sends a POST once it has waited for its turn."""

        async def send(tenant_id: int, body: bytes | None, record: SendRecord) -> Trigger:
            await wait()
            return await self.post(tenant_id, body, record)

        return send

    async def get_status(self, trigger_id: str) -> TriggerStatus:
        self.before_poll(trigger_id)
        self.polls.append((self.clock.now(), trigger_id))
        await anyio.lowlevel.checkpoint()
        if self.clock.now() < self.ends[trigger_id]:
            return TriggerStatus("Running")
        return TriggerStatus("Failed (Timeout)" if int(trigger_id[1:]) % 10 == 9 else "Succeeded")

    def posted(self) -> list[int]:
        return [tenant_id for _, tenant_id in self.posts]

    def syncing(
        self, source: Any, path: Path | None = None, max_concurrency: int = 10, **arguments: Any
    ) -> RunResults[RunResult]:
        options: SyncOptions[Any] = SyncOptions(
            arguments.pop("encode_body", no_body),
            arguments.pop("send", self.post),
            max_concurrency,
            arguments.pop("retry_unknown", False),
            arguments.pop("on_triggered", None),
            arguments.pop("set_share", lambda _: None),
        )
        wait_options = WaitOptions(
            poll_status=arguments.pop("get_status", self.get_status),
            clock=self.clock,
            polling=arguments.pop("polling", Polling(jitter=0)),
            timeout=arguments.pop("timeout", 1800.0),
            classify=lambda status: status.outcome,
            counters=Counters(self.clock),
            on_status=arguments.pop("on_status", lambda *_: None),
        )
        assert not arguments

        async def produce(report: Any) -> None:
            journal = self.journal(path, lambda: wait_options.counters.active)
            await sync_each(source, options, wait_options, journal, report)

        return RunResults(produce, wait_options.counters)

    def journal(
        self, path: Path | None, count_active: Callable[[], int] = lambda: 0
    ) -> SQLiteJournal:
        journal = self.journal_type(path, {"mode": "normal"}, self.clock, count_active)
        for name, value in self.journal_settings.items():
            setattr(journal, name, value)
        self.latest_journal = journal
        return journal

    async def sync(self, source: Any, *args: Any, **options: Any) -> list[RunResult]:
        async with self.clock.autojump(), self.syncing(source, *args, **options) as results:
            return [result async for result in results]

    async def sync_to_failure(self, source: Any, *args: Any, **options: Any) -> list[RunResult]:
        """Return the results before the error of an `UnreachableJournal`."""
        results: list[RunResult] = []
        async with self.clock.autojump(), self.syncing(source, *args, **options) as syncing:
            with pytest.raises(JournalError, match="unreachable"):
                async for result in syncing:
                    results.append(result)
        return results

    async def sync_until(self, seconds: float, source: Any, path: Path, **options: Any) -> None:
        """Cancel the sync after some seconds, before which it must not end."""
        async with self.clock.autojump():
            with self.clock.move_on_after(seconds) as scope:
                async with self.syncing(source, path, **options) as results:
                    assert [result async for result in results] == []
            assert scope.cancelled_caught


class ExpiringJournal(SQLiteJournal):
    """A journal whose lease could have expired just before the first requests."""

    checks = 0
    expired = 2
    number = 1

    @property
    def lease_number(self) -> int | None:  # type: ignore[override]  # as in PostgreSQL
        self.checks += 1
        return self.number if self.checks > self.expired else None


class UnreachableJournal(SQLiteJournal):
    """A journal that cannot be reached any more, so that others may use its share of the rate."""

    renewals = 0
    first_share = 1.0
    reachable = 0  # the number of renewals before it is out of reach

    @property
    def share(self) -> float:
        return 0.0 if self.renewals else self.first_share

    async def renew(self) -> set[int]:
        self.renewals += 1
        if self.renewals <= self.reachable:
            return set()
        raise JournalError("unreachable")


class JoiningJournal(SQLiteJournal):
    """A journal that gives its worker no share of the rate after some of its renewals."""

    renewals = 0
    without_share = frozenset[int]()

    @property
    def share(self) -> float:
        return 0.0 if self.renewals in self.without_share else 0.5

    async def renew(self) -> set[int]:
        self.renewals += 1
        return await super().renew()


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, journal_path: Path) -> Path | None:
    """Return the path of a journal, or None."""
    return journal_path if request.param == "file" else None


@asynccontextmanager
async def suspended_worker(
    world: World, path: Path, *, sending: tuple[int, ...] = (), waiting: tuple[int, ...] = ()
) -> AsyncIterator[SQLiteJournal]:
    """Enter another worker that claims tenants, triggers some of them and does nothing else."""
    async with world.journal(path) as other:
        for tenant_id in (*sending, *waiting):
            assert (await other.claim(tenant_id, retry_unknown=False)).is_mine
        for tenant_id in waiting:
            world.ends[f"t{tenant_id}"] = world.clock.now() + world.runs.get(tenant_id, 60.0)
            await other.record_triggered(tenant_id, f"t{tenant_id}")
        yield other


# A single call


async def test_each_tenant_is_triggered_and_waited_for(path: Path | None) -> None:
    """Each tenant is triggered once. Results are in order of completion, with the final status."""
    world = World({1: 300.0, 2: 5.0, 19: 60.0})
    results = await world.sync([1, 2, 19], path)
    assert [result.tenant_id for result in results] == [2, 19, 1]
    assert [result.trigger_id for result in results] == ["t2", "t19", "t1"]
    assert [str(result.status.status) for result in results if result.status] == [
        "Succeeded",
        "Failed (Timeout)",
        "Succeeded",
    ]
    assert [result.error for result in results] == [None, None, None]
    assert sorted(world.posted()) == [1, 2, 19]
    for result in results:
        polled = [trigger_id for _, trigger_id in world.polls]
        assert result.polls == polled.count(str(result.trigger_id))


async def test_a_source_is_any_iterable(path: Path | None) -> None:
    """The source may be a list, a generator or an async generator, of ids or tenants."""

    async def generate() -> AsyncIterator[int | Tenant]:
        yield 1
        await world.clock.sleep(500)
        yield Tenant(2, "two")

    for source in ([1, Tenant(2, "two")], iter((1, 2)), generate(), {1: "a", 2: "b"}):
        world = World()
        results = await world.sync(source, path and path.with_name(f"{id(source)}"))
        assert set(by_tenant(results)) == {1, 2}


async def test_a_repeated_tenant_is_synced_once(path: Path | None) -> None:
    """A tenant that the source repeats is triggered and reported once, even after its run ended."""
    world = World({1: 5.0})

    async def source() -> AsyncIterator[int | Tenant]:
        yield 1
        yield 1
        await world.clock.sleep(500)
        yield Tenant(1, "one")
        yield 2

    assert set(by_tenant(await world.sync(source(), path))) == {1, 2}
    assert world.posted() == [1, 2]


@pytest.mark.parametrize("max_concurrency", [1, 3, 10])
async def test_max_concurrency_limits_active_tenants(
    max_concurrency: int, path: Path | None
) -> None:
    """The number of active tenants, from before the POST until the run ends, is limited."""
    world = World({n: 5.0 + 7 * (n % 5) for n in range(20)})
    read: list[float] = []

    def source() -> Any:
        for tenant_id in range(20):
            read.append(world.clock.now())
            yield tenant_id

    ended: list[float] = []
    most = 0
    async with world.clock.autojump(), world.syncing(source(), path, max_concurrency) as results:
        async for _ in results:
            ended.append(world.clock.now())
            most = max(most, results.progress.active)
    assert world.most_posting <= most <= max_concurrency
    for index, (began, _) in enumerate(world.posts):
        assert index - sum(end <= began for end in ended) < max_concurrency
    # The source is read at most one tenant in advance.
    for index, when in enumerate(read):
        assert index - sum(end <= when for end in ended) <= max_concurrency
    assert most == max_concurrency


async def test_a_tenant_at_a_time_takes_two_transactions(journal_path: Path) -> None:
    """With one active tenant, a run's end and the next tenant's claim share a transaction."""
    world = World(dict.fromkeys(range(20), 0.0))

    async def encode_body(_: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        return b"{}"

    async def send(tenant_id: int, *_: object) -> Trigger:
        world.ends[f"t{tenant_id}"] = world.clock.now()
        return Trigger(f"t{tenant_id}")

    options = {"encode_body": encode_body, "send": send, "polling": Polling(first=0.0, rate=1e6)}
    assert len(await world.sync(range(20), journal_path, 1, **options)) == 20
    others = 5  # create tables, read the states, record the last end, release triggers, close
    assert count_transactions(journal_path) <= 2 * 20 + others


async def test_one_failure_is_one_result(path: Path | None) -> None:
    """A rejected request, a lost response or a timeout is a result. The other tenants continue."""
    lost = ConnectionLost("gone")
    missing = NotFound("no such tenant", status_code=404)
    unexpected = RuntimeError("unexpected")
    world = World({3: inf}, {1: missing, 2: lost, 5: unexpected})
    results = by_tenant(await world.sync([1, 2, 3, 4, 5], path, timeout=100.0))
    assert (results[1].error, results[1].trigger_id, results[1].polls) == (missing, None, 0)
    assert (results[2].error, results[2].trigger_id) == (lost, None)
    assert isinstance(results[2].error, ConnectionLost)
    assert results[2].error.outcome_unknown
    assert results[2].elapsed == pytest.approx(1)
    assert isinstance(results[3].error, WaitTimeout)
    assert results[3].trigger_id == "t3"
    assert results[4].status == TriggerStatus("Succeeded")
    assert results[5].error is unexpected
    assert world.posted() == [1, 2, 3, 4, 5]
    if path is not None:
        expected = {2: "unknown", 3: "triggered", 4: "succeeded", 5: "unknown"}
        assert read_states(path) == expected


async def test_an_invalid_tenant_is_one_result(path: Path | None) -> None:
    """An item that is not a tenant gives a result with a ValueError that shows the item."""
    invalid: list[Any] = ["7", None, True, 1.5, Tenant("x", "x"), 2**63, -(2**70)]  # type: ignore[arg-type]
    world = World()
    results = await world.sync([1, *invalid, 2**63 - 1], path)
    failed = [result for result in results if result.tenant_id is None]
    assert [type(result.error) for result in failed] == [ValueError] * len(invalid)
    for result, item in zip(failed, invalid, strict=True):
        assert repr(item) in str(result.error)
    assert sorted(world.posted()) == [1, 2**63 - 1]


async def test_a_payload_error_is_one_result(path: Path | None) -> None:
    """If a tenant's payload cannot be created, the tenant is not triggered. The others continue."""
    world = World()

    async def encode_body(item: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        if item == 2:
            raise ZeroDivisionError
        return b"{}"

    results = by_tenant(await world.sync([1, 2, 3], path, 1, encode_body=encode_body))
    assert isinstance(results[2].error, ZeroDivisionError)
    assert world.bodies == {1: b"{}", 3: b"{}"}
    if path is not None:
        assert set(read_states(path)) == {1, 3}


async def test_a_source_without_end_can_be_canceled(path: Path | None) -> None:
    """A source that repeats its tenants without end does not block a cancellation."""
    read = 0
    with anyio.CancelScope() as scope:

        def source() -> Iterator[int]:
            nonlocal read
            for read in range(100_000):
                if read == 10:
                    scope.cancel()
                yield 1

        async with World({1: 5.0}).syncing(source(), path) as results:
            await anext(results)
    assert scope.cancelled_caught
    assert read < 1000


@pytest.mark.parametrize("error", [ZeroDivisionError(), *ODD_ERRORS], ids=repr)
async def test_an_error_of_the_source_is_raised_last(path: Path | None, error: Exception) -> None:
    """A source error is re-raised unchanged after the results of the preceding tenants."""
    world = World()

    async def source() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise error

    seen: list[int | None] = []
    with pytest.raises(type(error)) as caught:
        async with world.clock.autojump(), world.syncing(source(), path, 1) as results:
            async for result in results:
                seen.append(result.tenant_id)
    assert caught.value is error
    assert seen == [1, 2]


@pytest.mark.parametrize("error", [ZeroDivisionError(), *ODD_ERRORS], ids=repr)
async def test_an_error_of_a_payload_is_the_tenants_result(
    path: Path | None, error: Exception
) -> None:
    """An error of the function that creates payloads is its tenant's result, unchanged."""
    before = copy.copy(vars(error))

    async def encode_body(tenant_id: int) -> bytes | None:
        if tenant_id == 2:
            raise error
        return None

    results = by_tenant(await World().sync([1, 2, 3], path, encode_body=encode_body))
    assert results[2].error is error
    assert vars(error) == before
    assert results[1].error is results[3].error is None


@pytest.mark.parametrize("place", ["payload", "request", "on_triggered"])
async def test_a_foreign_cancellation_is_the_tenants_result(path: Path | None, place: str) -> None:
    """User code that awaits a canceled task fails for one tenant only."""
    world = World()

    async def fail_at(here: str, tenant_id: int) -> None:
        if (place, tenant_id) == (here, 3):
            await raise_foreign_cancellation()

    async def encode_body(item: int) -> None:
        await fail_at("payload", item)

    async def on_triggered(_: Trigger, tenant_id: int) -> None:
        await fail_at("on_triggered", tenant_id)

    async def send(tenant_id: int, body: bytes | None, record: SendRecord) -> Trigger:
        trigger = await world.post(tenant_id, body, record)
        await fail_at("request", tenant_id)
        return trigger

    results = by_tenant(
        await world.sync(
            range(1, 11), path, 2, encode_body=encode_body, on_triggered=on_triggered, send=send
        )
    )
    assert set(results) == set(range(1, 11))
    assert [tenant_id for tenant_id, result in results.items() if result.error] == [3]
    assert "was not canceled" in str(results[3].error)
    assert place.replace("request", "the request") in str(results[3].error)
    assert world.posted().count(3) == (place != "payload")
    if path is not None and place != "payload":
        assert read_states(path)[3] == ("unknown" if place == "request" else "triggered")


@pytest.mark.parametrize("is_cancellation", [True, False])
async def test_a_source_never_just_ends(path: Path | None, *, is_cancellation: bool) -> None:
    """A source that raises a foreign cancellation or StopAsyncIteration causes an error."""

    class Source:
        def __init__(self) -> None:
            self.items = [1, 2]

        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            if self.items:
                return self.items.pop()
            raise StopAsyncIteration

    async def canceled() -> AsyncIterator[int]:
        yield 1
        yield 2
        await raise_foreign_cancellation()

    world = World()
    seen: list[int | None] = []
    source = canceled() if is_cancellation else Source()
    with pytest.raises(RuntimeError, match="source of tenants raised"):
        async with world.clock.autojump(), world.syncing(source, path, 1) as results:
            async for result in results:
                seen.append(result.tenant_id)
    assert set(seen) == {1, 2}
    assert len(seen) == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_callback_that_cancels_its_task_is_no_end(path: Path | None) -> None:
    """If a callback cancels a task of the sync, the iteration raises an error and does not hang."""

    def cancel_task(_: Trigger, tenant_id: int) -> None:
        if tenant_id == 2:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    with pytest.raises(RuntimeError, match="canceled from outside"), anyio.fail_after(10):
        await World().sync([1, 2, 3], path, 1, on_triggered=cancel_task)


async def test_no_tenants_give_no_results(path: Path | None) -> None:
    """With an empty source, the sync ends immediately."""
    assert await World().sync([], path) == []


async def test_all_runs_share_the_poll_rate(path: Path | None) -> None:
    """At most `rate` polls are sent in any second, whatever the number of active tenants."""
    world = World()
    await world.sync(range(60), path, 60, polling=Polling(rate=5, jitter=0))
    times = [time for time, _ in world.polls]
    for start in times:
        assert sum(start <= time < start + 1 - 1e-9 for time in times) <= 5


async def test_progress_counts_tenants(path: Path | None) -> None:
    """Each result is counted as succeeded, failed or unknown."""
    lost, missing = ConnectionLost("gone"), NotFound("no such tenant", status_code=404)
    world = World({3: inf}, {1: missing, 2: lost})
    count = 0
    source = [1, 2, 3, 4, 9, "x"]
    async with world.clock.autojump(), world.syncing(source, path, 2, timeout=200.0) as results:
        async for _ in results:
            count += 1
            progress = results.progress
            assert progress.succeeded + progress.failed + progress.unknown >= count
            assert progress.active <= 2
            assert progress.polls == len(world.polls)
    progress = results.progress
    assert progress == Progress(
        total=6,
        triggered=3,
        active=0,
        succeeded=1,
        failed=3,
        unknown=2,
        polls=len(world.polls),
        seconds=progress.seconds,
    )


async def test_the_total_is_known_once_the_source_has_been_read(path: Path | None) -> None:
    """`total` is None while the source is read. Then it is the number of results in all."""
    world = World(dict.fromkeys(range(1, 6), 5.0))
    totals: list[int | None] = []

    async def source() -> AsyncIterator[Any]:
        for item in (1, 2, 2, "no tenant", 3, 1):
            totals.append(results.progress.total)
            yield item

    async with world.clock.autojump(), world.syncing(source(), path, 1) as results:
        assert results.progress.total is None
        found = [(result, results.progress) async for result in results]
    assert set(totals) == {None}
    last = found[-1][1]
    assert last.total == len(found) == last.succeeded + last.failed + last.unknown == 4
    assert results.progress.total == 4


async def test_the_total_is_known_after_an_error_of_the_source() -> None:
    """If the source fails, `total` is the number of results of the tenants before the error."""
    world = World({1: 5.0, 2: 5.0})

    def source() -> Iterator[int]:
        yield from (1, 2)
        raise LookupError("no more")

    with pytest.raises(LookupError):
        async with world.clock.autojump(), world.syncing(source()) as results:
            async for _ in results:
                pass
    assert results.progress.total == 2


async def test_each_result_is_counted_by_its_outcome(path: Path | None) -> None:
    """The outcome of a result is how its run ended, and the progress counts the outcomes."""

    async def send(tenant_id: int, body: bytes | None, record: SendRecord) -> Trigger:
        if tenant_id == 2:
            raise ConnectionLost("no response")
        if tenant_id == 3:
            raise NotFound("no such tenant", status_code=404)
        return await world.post(tenant_id, body, record)

    world = World({1: 5.0, 9: 5.0, 4: math.inf})
    found = by_tenant(await world.sync([1, 2, 3, 4, 9], path, send=send))
    outcomes = {tenant_id: result.outcome for tenant_id, result in found.items()}
    assert outcomes == {
        1: Outcome.SUCCEEDED,
        2: Outcome.UNKNOWN,
        3: Outcome.FAILED,
        4: Outcome.UNKNOWN,
        9: Outcome.FAILED,
    }
    assert {key for key, result in found.items() if result.outcome_unknown} == {2, 4}


# A journal that already has results


async def test_a_finished_journal_warns_that_nothing_is_sent(
    journal_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A job with a finished journal sends nothing, and one warning states how many results it has.

    The recorded results are counted, with their outcomes.
    """
    world = World({1: 5.0, 9: 5.0})
    await world.sync([1, 9], journal_path)
    assert not caplog.records
    world.posts.clear()
    async with world.clock.autojump(), world.syncing([1, 9], journal_path) as results:
        found = by_tenant([result async for result in results])
    assert (found[1].outcome, found[9].outcome) == (Outcome.SUCCEEDED, Outcome.FAILED)
    assert (results.progress.recorded, results.progress.total, world.posts) == (2, 2, [])
    [record] = caplog.records
    assert (record.name, record.levelno) == ("pandium.journal", logging.WARNING)
    assert record.getMessage() == (
        f"journal {str(journal_path)!r} already holds the results of 2 tenant(s), and nothing is"
        " sent for them; to sync them again, use a new journal"
    )


async def test_a_journal_of_another_job_warns_at_the_first_of_its_results(
    journal_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal with results for other tenants is silent until one of its results is reported."""
    world = World({1: 5.0, 2: 5.0, 3: 5.0})
    await world.sync([1, 2], journal_path)
    await world.sync([3], journal_path)
    assert not caplog.records
    await world.sync([3, 1], journal_path)
    assert "already holds the results of 3 tenant(s)" in caplog.text


async def test_results_of_another_worker_are_no_reason_to_warn(
    journal_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Results that another worker records during the job count as recorded, without a warning."""
    world = World({1: 5.0, 2: 5.0})
    found: list[RunResult] = []
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, waiting=(1,)) as other,
        world.syncing([1, 2], journal_path) as results,
    ):
        async for result in results:
            found.append(result)
            await other.record_ended(1, "t1", State.SUCCEEDED, "Succeeded")
    assert [result.tenant_id for result in found] == [2, 1]
    assert {result.outcome for result in found} == {Outcome.SUCCEEDED}
    assert (results.progress.recorded, results.progress.total) == (1, 2)
    assert not caplog.records


async def test_unknown_results_that_are_retried_are_not_recorded_ones(
    journal_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With `retry_unknown`, a tenant with an unknown result is synced again."""
    world = World({1: 5.0, 2: 5.0})

    async def lose_first(tenant_id: int, body: bytes | None, record: SendRecord) -> Trigger:
        if tenant_id == 1:
            raise ConnectionLost("no response")
        return await world.post(tenant_id, body, record)

    await world.sync([1, 2], journal_path, send=lose_first)
    again = world.syncing([1, 2], journal_path, retry_unknown=True)
    async with world.clock.autojump(), again as results:
        found = by_tenant([result async for result in results])
    assert found[1].outcome is Outcome.SUCCEEDED
    assert results.progress.recorded == 1
    assert "already holds the results of 1 tenant(s)" in caplog.text
    caplog.clear()
    await world.sync([1, 2], journal_path)
    assert "already holds the results of 2 tenant(s)" in caplog.text


async def test_on_status_is_called_with_the_tenant() -> None:
    """Each new status is passed on with its wait, whose key is the tenant's id."""
    calls: list[tuple[str, int]] = []
    world = World({1: 5.0, 2: 30.0})
    await world.sync([1, 2], on_status=lambda status, wait: calls.append((status.status, wait.key)))
    assert sorted(calls) == [("Running", 1), ("Running", 2), ("Succeeded", 1), ("Succeeded", 2)]


async def test_leaving_the_block_stops_everything(path: Path | None) -> None:
    """After the block, no request is sent and the source is closed."""
    world = World({1: 5.0})
    is_closed = False

    async def source() -> AsyncIterator[int]:
        nonlocal is_closed
        try:
            for tenant_id in itertools.count(1):
                yield tenant_id
        finally:
            is_closed = True

    async with world.clock.autojump():
        async with world.syncing(source(), path, 3) as results:
            assert (await anext(results)).tenant_id == 1
        left_at, posts, polls = world.clock.now(), len(world.posts), len(world.polls)
        await world.clock.sleep(1000)
    assert is_closed
    assert left_at < 20
    assert (len(world.posts), len(world.polls)) == (posts, polls)
    if path is not None:  # the last connection to close removes SQLite's auxiliary files
        assert [file.name for file in path.parent.iterdir()] == [path.name]


# on_triggered


def recording(calls: list[tuple[str, int]], kind: str) -> Any:
    """Return a sync or async callback that appends the trigger id and the tenant id."""

    def plain(trigger: Trigger, tenant_id: int) -> None:
        calls.append((trigger.trigger_id, tenant_id))

    async def asynchronous(trigger: Trigger, tenant_id: int) -> None:
        plain(trigger, tenant_id)
        await anyio.lowlevel.checkpoint()

    return plain if kind == "plain" else asynchronous


kinds = pytest.mark.parametrize("kind", ["plain", "async"])


@kinds
async def test_on_triggered_is_called_once_per_trigger(path: Path | None, kind: str) -> None:
    """The callback receives each trigger sent, but no tenant whose request failed."""
    calls: list[tuple[str, int]] = []
    missing, lost = NotFound("no such tenant", status_code=404), ConnectionLost("gone")
    world = World(errors={2: missing, 3: lost})
    await world.sync([1, 2, 3, 4, 1], path, on_triggered=recording(calls, kind))
    assert sorted(calls) == [("t1", 1), ("t4", 4)]


@kinds
async def test_on_triggered_is_called_after_the_record(journal_path: Path, kind: str) -> None:
    """When the callback is called, the trigger is in the journal and has not been polled."""
    calls: list[tuple[str, int]] = []
    seen: list[tuple[str, int]] = []
    world = World()
    record = recording(calls, kind)

    def check(trigger: Trigger, tenant_id: int) -> Any:
        assert read_states(journal_path)[tenant_id] == "triggered"
        seen.append((trigger.trigger_id, len(world.polls)))
        return record(trigger, tenant_id)

    [result] = await world.sync([1], journal_path, on_triggered=check)
    assert result.error is None
    assert (seen, calls) == ([("t1", 0)], [("t1", 1)])


async def test_on_triggered_is_not_called_for_recorded_triggers(journal_path: Path) -> None:
    """The callback does not receive triggers in the journal, whether adopted or long ended."""
    calls: list[tuple[str, int]] = []
    world = World()
    await world.sync([1], journal_path)
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, sending=(2,), waiting=(3,)),
        world.syncing(
            [1, 2, 3, 4], journal_path, on_triggered=recording(calls, "plain")
        ) as results,
    ):
        assert {result.tenant_id async for result in results} == {1, 2, 3, 4}
    assert calls == [("t4", 4)]


@kinds
async def test_an_error_of_on_triggered_is_the_tenants_result(path: Path | None, kind: str) -> None:
    """The result has the exception and the trigger, which stays recorded. The others continue."""
    failure = ZeroDivisionError()

    def fail(_: Trigger, tenant_id: int) -> None:
        if tenant_id == 1:
            raise failure

    async def fail_later(trigger: Trigger, tenant_id: int) -> None:
        await anyio.lowlevel.checkpoint()
        fail(trigger, tenant_id)

    world = World()
    callback = fail if kind == "plain" else fail_later
    async with (
        world.clock.autojump(),
        world.syncing([1, 2], path, 1, on_triggered=callback) as results,
    ):
        found = by_tenant([result async for result in results])
    assert (found[1].error, found[1].trigger_id, found[1].status) == (failure, "t1", None)
    assert found[1].elapsed == pytest.approx(1)
    assert found[2].status == TriggerStatus("Succeeded")
    assert {trigger_id for _, trigger_id in world.polls} == {"t2"}
    progress = results.progress
    assert progress == Progress(
        total=2,
        triggered=2,
        active=0,
        succeeded=1,
        failed=0,
        unknown=1,
        polls=len(world.polls),
        seconds=progress.seconds,
    )
    if path is not None:
        assert read_states(path) == {1: "triggered", 2: "succeeded"}
        [resumed] = await world.sync([1], path)
        assert resumed.status == TriggerStatus("Succeeded")
        assert world.posted() == [1, 2]


@kinds
async def test_on_triggered_is_called_even_if_canceled(journal_path: Path, kind: str) -> None:
    """If the task is canceled when the response is received, the callback is still called."""
    calls: list[tuple[str, int]] = []
    world, scope = World(), anyio.CancelScope()
    world.after_post = lambda _: scope.cancel()
    async with world.clock.autojump():
        with scope:
            async with world.syncing(
                [1], journal_path, on_triggered=recording(calls, kind)
            ) as results:
                await anext(results)
    assert scope.cancelled_caught
    assert calls == [("t1", 1)]
    assert read_states(journal_path) == {1: "triggered"}


async def test_an_error_of_on_triggered_does_not_stop_a_cancellation(journal_path: Path) -> None:
    """If the callback fails while the task is canceled, the cancellation still takes effect."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    world, scope = World(), anyio.CancelScope()
    world.after_post = lambda _: scope.cancel()
    async with world.clock.autojump():
        with scope:
            async with world.syncing([1], journal_path, on_triggered=fail) as results:
                await anext(results)
    assert scope.cancelled_caught
    assert read_states(journal_path) == {1: "triggered"}


async def test_on_triggered_is_called_even_if_the_journal_fails(journal_path: Path) -> None:
    """A trigger that cannot be recorded is still passed to the callback, because it was sent."""
    calls: list[tuple[str, int]] = []
    world = World()
    world.after_post = lambda _: journal_path.unlink()
    callback = recording(calls, "plain")
    with pytest.raises(JournalError, match="deleted or replaced"):
        await world.sync([1], journal_path, on_triggered=callback)
    assert calls == [("t1", 1)]


# Transactions


async def test_a_new_tenant_takes_at_most_three_transactions(
    path: Path | None, statements: list[str]
) -> None:
    """The claim, the trigger and the end take one transaction each, possibly shared."""
    for size in (0, 20):
        statements.clear()
        # Runs end before leases are renewed, which would be another transaction.
        world = World(dict.fromkeys(range(size), 0.1))
        polling = Polling(first=0.2, rate=1000, jitter=0)
        file = path and path.with_name(f"{size}")
        await world.sync(range(size), file, size + 1, polling=polling)
        others = 3  # creating the tables, reading the states, and releasing triggers at the end
        assert statements.count("COMMIT") <= others + 3 * size


async def test_a_tenant_alone_does_not_wait_for_others(journal_path: Path) -> None:
    """With few active tenants, records are written without delay."""
    world = World(dict.fromkeys(range(10), 1.0))
    polling = Polling(first=1.0, minimum=1.0, jitter=0)
    await world.sync(range(10), journal_path, 1, polling=polling)
    assert world.clock.now() == 10 * (1 + 1)


async def test_recorded_tenants_share_transactions(
    journal_path: Path, statements: list[str]
) -> None:
    """A result in the journal is read once, together with others, and nothing is written."""
    world = World()
    await world.sync(range(50), journal_path, 50)
    statements.clear()
    await world.sync(range(50), journal_path)
    assert statements.count("COMMIT") < 3 + 50
    reads = [text for text in statements if text.strip().startswith("SELECT state, owner")]
    assert len(reads) == 50


async def test_tenants_of_other_workers_are_looked_up(journal_path: Path) -> None:
    """Once another worker is detected, no payload is created for the tenants that it has synced."""
    world = World()
    made: list[int] = []

    async def encode_body(tenant_id: int) -> None:
        made.append(tenant_id)

    async def source() -> AsyncIterator[int]:
        for tenant_id in (1, 2):
            await world.clock.sleep(5)
            world.ends[f"t{tenant_id}"] = 0.0
            await other.claim(tenant_id, retry_unknown=False)
            await other.record_triggered(tenant_id, f"t{tenant_id}")
            await other.record_ended(tenant_id, f"t{tenant_id}", State.SUCCEEDED, "Succeeded")
            yield tenant_id

    async with (
        world.clock.autojump(),
        world.journal(journal_path) as other,
        world.syncing(source(), journal_path, encode_body=encode_body) as results,
    ):
        assert [result.trigger_id async for result in results] == ["t1", "t2"]
    assert world.posts == []
    assert made == [1]  # only the claim showed that there is another worker


# The journal


async def test_each_step_is_recorded_in_time(journal_path: Path) -> None:
    """A claim is recorded before its POST, a trigger before a poll, an end before its result."""
    world, seen = World(), []

    def note(_: object) -> None:
        seen.append(read_states(journal_path)[1])

    world.before_post, world.after_post, world.before_poll = note, note, note
    polling = Polling(first=0, jitter=0)
    async with world.clock.autojump(), world.syncing([1], journal_path, polling=polling) as results:
        async for _ in results:
            note(None)
    assert seen[:2] == ["sending", "sending"]
    assert set(seen[2:-1]) == {"triggered"}
    assert seen[-1] == "succeeded"


async def test_recorded_results_need_no_request(journal_path: Path) -> None:
    """A second call returns recorded results, for the tenants in its source, without a request."""
    world = World(errors={5: ConnectionLost("gone")})
    first = by_tenant(await world.sync([1, 9, 5], journal_path))
    posts, polls = list(world.posts), list(world.polls)

    async def encode_body(_: int) -> None:
        pytest.fail("nothing is sent")

    again = by_tenant(await world.sync([9, 5, 1], journal_path, encode_body=encode_body))
    assert (world.posts, world.polls) == (posts, polls)
    for tenant_id in (1, 9):
        assert again[tenant_id].status == first[tenant_id].status
        assert again[tenant_id].trigger_id == first[tenant_id].trigger_id
    assert isinstance(again[5].error, ConnectionLost)
    assert again[5].error.outcome_unknown
    assert "tenant 5" in str(again[5].error)
    assert "ConnectionLost" in str(again[5].error)
    assert set(by_tenant(await world.sync([1], journal_path))) == {1}


async def test_an_unknown_outcome_names_the_date_of_its_request(journal_path: Path) -> None:
    """The error of a recorded unknown outcome names the date at which the tenant was claimed.

    The runs since that date show whether the tenant was triggered.
    """
    world = World()
    date = world.clock.wall()
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, sending=(1,)),
        world.syncing([1], journal_path) as results,
    ):
        [result] = [result async for result in results]
    assert world.clock.wall() >= date + timedelta(seconds=LEASE)
    assert str(result.error) == (
        f"tenant 1 may have been triggered at {date:%Y-%m-%dT%H:%M:%SZ}: its lease expired before"
        " a response was recorded"
    )


async def test_waiting_for_the_lease_of_another_process_is_logged(
    journal_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that first has to wait for another process's lease states this once."""
    caplog.set_level(logging.INFO, "pandium.journal")
    world = World()
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, sending=(1,), waiting=(2,)),
    ):
        for path in (journal_path, journal_path.with_name("other.db")):
            async with world.syncing([1, 2], path) as results:
                assert set(by_tenant([result async for result in results])) == {1, 2}
    messages = [one.getMessage() for one in caplog.records if one.levelno == logging.INFO]
    [message] = messages
    assert message == (
        f"journal {str(journal_path)!r}: 2 tenant(s) in progress belong to another process; if it"
        " was killed, this one continues with them when its lease has expired"
    )


async def test_recorded_results_take_no_slot(journal_path: Path) -> None:
    """Recorded results are returned while all slots are taken by runs in progress."""
    world = World(dict.fromkeys(range(1, 9), 5.0))
    await world.sync(range(1, 9), journal_path)
    world.runs[10] = 500.0
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, waiting=(10,)),
        world.syncing(range(1, 9), journal_path, 1) as results,
    ):
        order = [result.tenant_id async for result in results]
    assert order == [*range(1, 9), 10]


async def test_tenants_in_progress_come_first(journal_path: Path) -> None:
    """Triggers of a suspended worker are adopted. Its requests without a response are unknown."""
    world = World()
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, sending=(1,), waiting=(2,)),
    ):
        async with world.syncing([3, 1], journal_path) as results:
            found = by_tenant([result async for result in results])
        progress = results.progress
    assert world.posted() == [3]
    assert set(found) == {1, 2, 3}
    assert isinstance(found[1].error, ConnectionLost)
    assert found[1].error.outcome_unknown
    assert (found[2].trigger_id, found[2].status) == ("t2", TriggerStatus("Succeeded"))
    assert found[3].status == TriggerStatus("Succeeded")
    assert progress == Progress(
        total=3,
        triggered=2,
        active=0,
        succeeded=2,
        failed=0,
        unknown=1,
        recorded=1,
        polls=len(world.polls),
        seconds=progress.seconds,
    )
    assert read_states(journal_path) == {1: "unknown", 2: "succeeded", 3: "succeeded"}


async def test_nothing_is_taken_from_an_active_worker(journal_path: Path) -> None:
    """An active worker's tenants are left alone, and take no slot, until their runs have ended."""
    world = World()
    async with world.clock.autojump(), suspended_worker(world, journal_path, waiting=(1,)) as other:

        async def work() -> None:
            for _ in range(20):
                await world.clock.sleep(5)
                await other.renew()
            await other.record_ended(1, "t1", State.FAILED, "Failed (Timeout)")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            async with world.syncing([1, 2], journal_path, 1) as results:
                assert [result.tenant_id async for result in results] == [2, 1]
    assert world.posted() == [2]
    assert {trigger_id for _, trigger_id in world.polls} == {"t2"}


async def test_an_active_worker_keeps_its_leases(journal_path: Path) -> None:
    """However long its runs take, no other worker adopts the tenants of an active worker."""
    world = World({1: 100.0, 2: 150.0})
    polled: list[str] = []

    async def get_status(trigger_id: str) -> TriggerStatus:
        polled.append(trigger_id)
        return await world.get_status(trigger_id)

    async def sync() -> None:
        async with world.syncing([1, 2], journal_path) as results:
            assert [result.tenant_id async for result in results] == [1, 2]

    async with world.clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(sync)
        await world.clock.sleep(30)
        async with world.syncing([1, 2], journal_path, get_status=get_status) as results:
            assert set(by_tenant([result async for result in results])) == {1, 2}
    assert polled == []
    assert world.posted() == [1, 2]


async def test_a_trigger_sent_meanwhile_is_adopted(journal_path: Path) -> None:
    """A trigger that another worker sent while a payload was created is adopted, not repeated."""
    world = World()
    async with world.clock.autojump(), world.journal(journal_path) as other:

        async def encode_body(tenant_id: int) -> None:
            await other.claim(tenant_id, retry_unknown=False)
            world.ends["t1"] = world.clock.now() + 60
            await other.record_triggered(tenant_id, "t1")
            await world.clock.sleep(2 * LEASE)

        async with world.syncing([1], journal_path, 1, encode_body=encode_body) as results:
            assert [result.trigger_id async for result in results] == ["t1"]
    assert world.posts == []
    assert read_states(journal_path) == {1: "succeeded"}


async def test_a_tenant_refused_to_another_worker_is_triggered(journal_path: Path) -> None:
    """If another worker's request was not sent, a worker whose source has the tenant sends it."""
    world = World()
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, sending=(1, 2)) as other,
        anyio.create_task_group() as tasks,
    ):

        async def refuse() -> None:
            await world.clock.sleep(5)
            await other.record_not_sent(1)
            await other.record_not_sent(2)

        tasks.start_soon(refuse)
        async with world.syncing([1], journal_path) as results:
            assert set(by_tenant([result async for result in results])) == {1}
    assert world.posted() == [1]
    assert read_states(journal_path) == {1: "succeeded"}


async def test_a_source_can_name_a_tenant_late(journal_path: Path) -> None:
    """A tenant that has lost its entry is triggered when the source yields it, however late."""
    world = World()

    async def source() -> AsyncIterator[int]:
        await world.clock.sleep(5)
        await other.record_not_sent(1)
        await world.clock.sleep(20)
        yield 1

    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, sending=(1,)) as other,
        world.syncing(source(), journal_path) as results,
    ):
        assert [result.trigger_id async for result in results] == ["t1"]


async def test_a_source_can_name_a_tenant_that_another_worker_holds(journal_path: Path) -> None:
    """A tenant held by another worker is triggered if the other worker's request is rejected."""
    world = World()

    async def source() -> AsyncIterator[int]:
        await world.clock.sleep(5)
        yield 1
        await world.clock.sleep(1)
        await other.record_not_sent(1)

    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, sending=(1,)) as other,
        world.syncing(source(), journal_path) as results,
    ):
        assert [result.trigger_id async for result in results] == ["t1"]


async def test_a_trigger_is_adopted_by_one_worker(journal_path: Path) -> None:
    """If several workers find an expired lease, one polls the trigger, and all report it."""
    world = World(dict.fromkeys(range(5), 300.0))
    pollers: dict[str, set[int]] = {}
    reports: list[set[int]] = []

    async def sync(worker: int) -> None:
        async def get_status(trigger_id: str) -> TriggerStatus:
            pollers.setdefault(trigger_id, set()).add(worker)
            return await world.get_status(trigger_id)

        async with world.syncing(range(5), journal_path, get_status=get_status) as results:
            reports.append(set(by_tenant([result async for result in results])))

    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, waiting=tuple(range(5))),
        anyio.create_task_group() as tasks,
    ):
        for worker in range(4):
            tasks.start_soon(sync, worker)
    assert reports == [set(range(5))] * 4
    assert [len(pollers[f"t{tenant_id}"]) for tenant_id in range(5)] == [1] * 5
    assert world.posts == []


async def test_adopted_runs_are_active(journal_path: Path) -> None:
    """Runs are adopted even if no slot is free. New tenants wait until enough runs have ended."""
    world = World({n: 50.0 + 20 * n for n in range(5)})

    async def source() -> AsyncIterator[int]:
        await world.clock.sleep(30)
        assert syncing.progress.active == 5
        yield 5
        yield 6

    syncing = world.syncing(source(), journal_path, 2)
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, waiting=(0, 1, 2, 3, 4)),
        syncing as results,
    ):
        assert {result.tenant_id async for result in results} == set(range(7))
    ends = sorted(world.ends[f"t{n}"] for n in range(5))
    assert [began > end for (began, _), end in zip(world.posts, ends[3:], strict=True)] == [
        True
    ] * 2


async def test_workers_share_the_work(journal_path: Path) -> None:
    """Several workers with one journal trigger each tenant once, and each of them reports all."""
    world = World({n: 10.0 + n for n in range(30)})
    reports: list[set[int]] = []
    made: dict[int, list[int]] = {0: [], 1: [], 2: []}

    async def sync(worker: int) -> None:
        async def encode_body(tenant_id: int) -> None:
            made[worker].append(tenant_id)

        async with world.syncing(range(30), journal_path, 3, encode_body=encode_body) as results:
            reports.append(set(by_tenant([result async for result in results])))

    async with world.clock.autojump(), anyio.create_task_group() as tasks:
        for worker in made:
            tasks.start_soon(sync, worker)
    assert reports == [set(range(30))] * 3
    assert sorted(world.posted()) == list(range(30))
    assert all(len(tenants) >= 3 for tenants in made.values())


@pytest.mark.parametrize("seconds", [0, 2 * LEASE])
async def test_unknown_outcomes_are_retried_on_demand(journal_path: Path, seconds: float) -> None:
    """With `retry_unknown`, requests with an unknown outcome are sent again."""
    world = World(errors={1: ConnectionLost("gone")})
    await world.sync([1, 2], journal_path)
    world.errors.clear()
    async with world.clock.autojump(), suspended_worker(world, journal_path, sending=(3, 4)):
        await world.clock.sleep(seconds)
        async with world.syncing([1, 2, 3], journal_path, retry_unknown=True) as results:
            found = by_tenant([result async for result in results])
        assert sorted(world.posted()) == [1, 1, 2, 3]
        assert {tenant_id for tenant_id, result in found.items() if result.status} == {1, 2, 3}
        # The source does not contain tenant 4, so its payload is not known.
        assert isinstance(found[4].error, ConnectionLost)


async def test_a_late_response_still_counts(journal_path: Path) -> None:
    """A suspended worker records its trigger even if the outcome is already considered unknown."""
    world = World()
    async with world.clock.autojump(), suspended_worker(world, journal_path, sending=(1,)) as other:
        async with world.syncing([1], journal_path) as results:
            assert [type(result.error) async for result in results] == [ConnectionLost]
        world.ends["t1"] = world.clock.now()
        await other.record_triggered(1, "t1")
        async with world.syncing([1], journal_path) as results:
            assert [result.trigger_id async for result in results] == ["t1"]
    assert world.posts == []


async def test_a_refused_tenant_has_no_entry(journal_path: Path) -> None:
    """A request that did not trigger a run leaves no entry, so that a later call sends it again."""
    world = World(errors={1: NotFound("no such tenant", status_code=404)})
    [refused] = await world.sync([1], journal_path)
    assert isinstance(refused.error, NotFound)
    assert read_states(journal_path) == {}
    world.errors.clear()
    [result] = await world.sync([1], journal_path)
    assert result.error is None
    assert world.posted() == [1, 1]


async def test_a_later_call_resumes_an_unfinished_run(journal_path: Path) -> None:
    """After a timeout or a rejected poll, a later call waits for the same trigger."""
    world = World({1: 100.0})
    [late] = await world.sync([1], journal_path, timeout=10.0)
    assert isinstance(late.error, WaitTimeout)

    async def refuse(_: str) -> TriggerStatus:
        raise AuthenticationError("no", status_code=403)

    [refused] = await world.sync([1], journal_path, get_status=refuse)
    assert isinstance(refused.error, AuthenticationError)
    [ended] = await world.sync([1], journal_path)
    assert ended.status == TriggerStatus("Succeeded")
    assert world.posted() == [1]


async def test_a_released_trigger_is_adopted_at_once(journal_path: Path) -> None:
    """A trigger whose wait has timed out or was canceled is adopted before its lease expires."""
    world = World({1: 100.0})
    await world.sync([1], journal_path, timeout=10.0)
    began = world.clock.now()
    await world.sync_until(3.0, [1], journal_path)
    assert next(when for when, _ in world.polls if when > began) - began < 2
    [ended] = await world.sync([1], journal_path)
    assert ended.elapsed < 100


async def test_another_worker_adopts_a_run_that_timed_out(journal_path: Path) -> None:
    """A run beyond one worker's time limit is adopted while that worker continues."""
    world = World({1: 500.0, 2: 15.0})
    polled: list[float] = []

    async def source() -> AsyncIterator[int]:
        yield 1
        await world.clock.sleep(15)
        yield 2

    async def get_status(trigger_id: str) -> TriggerStatus:
        polled.append(world.clock.now())
        return await world.get_status(trigger_id)

    async def sync_with_timeout() -> None:
        async with world.syncing(source(), journal_path, timeout=20.0) as results:
            errors = [type(result.error) async for result in results]
        assert errors == [WaitTimeout, type(None)]
        assert min(polled) < world.clock.now()

    async with world.clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(sync_with_timeout)
        await world.clock.sleep(5)
        async with world.syncing([1], journal_path, get_status=get_status) as results:
            assert [result.trigger_id async for result in results] == ["t1"]
    assert min(polled) > 20
    assert world.posted() == [1, 2]


async def test_workers_do_not_wait_one_after_the_other(journal_path: Path) -> None:
    """However many workers share a run that does not end, the time limit applies to all of them."""
    world = World({1: 1000.0})
    ended: list[float] = []

    async def sync() -> None:
        async with world.syncing([1], journal_path, timeout=60.0) as results:
            assert [type(result.error) async for result in results] == [WaitTimeout]
        ended.append(world.clock.now() - began)

    async with world.clock.autojump(), anyio.create_task_group() as tasks:
        began = world.clock.now()
        for _ in range(4):
            tasks.start_soon(sync)
    assert len(ended) == 4
    assert max(ended) < 60 + 4 * LEASE / RENEWALS_PER_LEASE
    assert world.posted() == [1]


async def test_thousands_of_triggers_are_adopted_without_delay(journal_path: Path) -> None:
    """However many tenants are active, a resumed job does not wait for any to record something."""
    world, tenants = World(), range(1, 1501)
    async with world.journal(journal_path):
        pass
    with closing(sqlite3.connect(journal_path)) as db, db:
        insert = (
            "INSERT INTO syncs (tenant_id, state, owner, lease, trigger_id, claimed)"
            " VALUES (?, 'triggered', '', 0, ?, 0)"
        )
        db.executemany(insert, [(tenant_id, f"t{tenant_id}") for tenant_id in tenants])
    world.ends = dict.fromkeys((f"t{tenant_id}" for tenant_id in tenants), 0.0)
    polling = Polling(first=1.0, rate=1e6, jitter=0)
    assert len(await world.sync([], journal_path, polling=polling)) == len(tenants)
    first_polls = [seconds for seconds, _ in world.polls]
    assert max(first_polls) - min(first_polls) < 1


async def test_an_adopted_run_is_polled_after_the_time_limit(journal_path: Path) -> None:
    """A run that ended while its worker was suspended is reported, even after the time limit."""
    world = World({1: 1.0})
    async with (
        world.clock.autojump(),
        suspended_worker(world, journal_path, waiting=(1,)),
        world.syncing([1], journal_path, timeout=2.0) as results,
    ):
        statuses = [result.status async for result in results]
    assert statuses == [TriggerStatus("Succeeded")]


async def test_an_error_of_on_status_loses_no_outcome(journal_path: Path) -> None:
    """The end of a run is recorded even if `on_status` fails."""

    def fail(status: TriggerStatus, _: object) -> None:
        if status.status != "Running":
            raise ZeroDivisionError

    world = World()
    [failed] = await world.sync([1], journal_path, on_status=fail)
    assert isinstance(failed.error, ZeroDivisionError)
    assert read_states(journal_path) == {1: "succeeded"}


# Cancellation


async def test_a_canceled_request_is_unknown_at_once(journal_path: Path) -> None:
    """If a POST is canceled, its tenant is recorded as unknown before the block has ended."""
    world = World()
    await world.sync_until(0.5, [1], journal_path)
    assert world.posted() == [1]
    assert world.clock.now() == pytest.approx(0.5, abs=0.01)
    assert read_states(journal_path) == {1: "unknown"}
    [lost] = await world.sync([1], journal_path)
    assert isinstance(lost.error, ConnectionLost)
    assert "canceled" in str(lost.error)
    assert world.posted() == [1]


async def test_a_trigger_is_recorded_even_if_canceled(journal_path: Path) -> None:
    """If the task is canceled when the response is received, the trigger is still recorded."""
    world, scope = World(), anyio.CancelScope()
    world.after_post = lambda _: scope.cancel()
    async with world.clock.autojump():
        with scope:
            async with world.syncing([1], journal_path) as results:
                await anext(results)
    assert read_states(journal_path) == {1: "triggered"}
    assert [result.trigger_id for result in await world.sync([1], journal_path)] == ["t1"]
    assert world.posted() == [1]


class CancelingClock(ManualClock):
    """A clock that cancels a scope in the nth transaction after opening that reads the date."""

    def __init__(self, scope: anyio.CancelScope, countdown: int) -> None:
        super().__init__()
        self.scope, self.countdown = scope, countdown + 1  # opening a journal reads it, too

    def wall(self) -> datetime:
        self.countdown -= 1
        if self.countdown == 0:
            anyio.from_thread.run_sync(self.scope.cancel)
        return super().wall()


async def test_a_tenant_canceled_before_its_request_has_no_entry(journal_path: Path) -> None:
    """If the task is canceled between the claim and the POST, the claim is deleted."""
    scope = anyio.CancelScope()
    world = World(clock=CancelingClock(scope, 1))  # the claim reads it first
    async with world.clock.autojump():
        with scope:
            async with world.syncing([1], journal_path) as results:
                await anext(results)
    assert scope.cancelled_caught
    assert world.posts == []
    assert read_states(journal_path) == {}


@pytest.mark.parametrize("countdown", range(1, 25, 2))
async def test_a_cancellation_loses_nothing(journal_path: Path, countdown: int) -> None:
    """After a cancellation in any transaction, a resumed job triggers each tenant at most once."""
    scope = anyio.CancelScope()
    world = World({1: 3.0, 2: 8.0}, clock=CancelingClock(scope, countdown))
    async with world.clock.autojump():
        with scope:
            async with world.syncing([1, 2, 3], journal_path, 2) as results:
                async for _ in results:
                    pass
    before = read_states(journal_path)
    assert "sending" not in before.values()
    found = by_tenant(await world.sync([1, 2, 3], journal_path, 2))
    assert set(found) == {1, 2, 3}
    assert len(world.posts) == len(set(world.posted()))
    for tenant_id, result in found.items():
        is_unknown = before.get(tenant_id) == "unknown"
        assert isinstance(result.error, ConnectionLost) == is_unknown
        assert (result.status is None) == is_unknown


# Journal failures


async def test_a_deleted_journal_stops_sending(journal_path: Path) -> None:
    """Once its journal is deleted, a sync sends no more requests and waits for active runs."""
    world = World({1: 200.0, 2: 100.0})
    seen: list[RunResult] = []

    async def source() -> AsyncIterator[int]:
        for tenant_id in (1, 2, 3, 4):
            yield tenant_id
        await anyio.sleep_forever()

    world.before_poll = lambda _: journal_path.unlink(missing_ok=True)
    with pytest.raises(JournalError, match="deleted or replaced") as caught:
        async with world.clock.autojump(), world.syncing(source(), journal_path, 2) as results:
            async for result in results:
                seen.append(result)
    assert str(journal_path) in str(caught.value)
    assert world.posted() == [1, 2]
    assert [result.tenant_id for result in seen if result.status] == [2, 1]
    # A tenant that was read but not sent has the journal error.
    assert {result.tenant_id for result in seen if result.error is caught.value} <= {3, 4}


async def test_tenants_of_others_are_reported_if_the_journal_fails(journal_path: Path) -> None:
    """If the journal fails, tenants held by another worker are reported with the error."""
    world = World({2: 50.0})
    world.before_poll = lambda _: journal_path.unlink(missing_ok=True)
    seen: list[RunResult] = []
    with pytest.raises(JournalError, match="deleted or replaced") as caught:
        async with (
            world.clock.autojump(),
            suspended_worker(world, journal_path, sending=(1,)),
            world.syncing([1, 2], journal_path) as results,
        ):
            async for result in results:
                seen.append(result)
    found = by_tenant(seen)
    assert isinstance(found[1].error, JournalError)
    assert found[2].status == TriggerStatus("Succeeded")
    assert str(found[1].error) == str(caught.value)


async def test_a_claim_that_fails_sends_nothing(journal_path: Path) -> None:
    """If a claim cannot be recorded, there is no POST, and the tenant's result has the error."""
    world = World()

    async def encode_body(_: int) -> None:
        world.before_post(None)

    world.before_post = lambda _: journal_path.unlink()
    seen: list[RunResult] = []
    with pytest.raises(JournalError, match="deleted or replaced"):
        async with (
            world.clock.autojump(),
            world.syncing([1], journal_path, encode_body=encode_body) as results,
        ):
            async for result in results:
                seen.append(result)
    assert [type(result.error) for result in seen] == [JournalError]
    assert world.posts == []


async def test_a_recorded_tenant_has_the_error_of_the_journal(journal_path: Path) -> None:
    """If a recorded tenant's entry cannot be read, its result has the error."""
    world = World()
    await world.sync([1], journal_path)

    def source() -> Any:
        journal_path.unlink()
        yield 1

    seen: list[RunResult] = []
    with pytest.raises(JournalError, match="deleted or replaced"):
        async with world.clock.autojump(), world.syncing(source(), journal_path) as results:
            async for result in results:
                seen.append(result)
    assert [(result.tenant_id, type(result.error)) for result in seen] == [(1, JournalError)]


async def test_nothing_is_sent_after_the_journal_has_failed(journal_path: Path) -> None:
    """
    A tenant whose payload was being created is not sent, even if the journal works again.

    Its outcome is unknown, because another process may have triggered it.
    """
    world, moved_path = World(), journal_path.with_name("moved")

    async def encode_body(tenant_id: int) -> None:
        if tenant_id == 2:
            await world.clock.sleep(30)
            moved_path.rename(journal_path)

    def move(_: object) -> None:
        if world.clock.now() < 30 and journal_path.exists():
            journal_path.rename(moved_path)

    world.before_poll = move
    seen: list[RunResult] = []
    with pytest.raises(JournalError, match="deleted or replaced"):
        async with (
            world.clock.autojump(),
            world.syncing([1, 2], journal_path, encode_body=encode_body) as results,
        ):
            async for result in results:
                seen.append(result)
    assert [type(result.error) for result in seen] == [JournalError, type(None)]
    assert seen[0].outcome is Outcome.UNKNOWN
    assert world.posted() == [1]


class Interrupt(BaseException):
    """An exception like KeyboardInterrupt, which would end the event loop of the tests."""


async def test_an_interrupt_is_raised_unwrapped(path: Path | None) -> None:
    """An exception that is not an Exception is raised without an exception group."""

    async def encode_body(_: object) -> bytes | None:
        raise Interrupt

    world = World()
    with pytest.raises(Interrupt):
        await world.sync([1], path, encode_body=encode_body)


async def test_on_triggered_is_canceled_at_the_time_limit(
    path: Path | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A hanging callback is canceled at the time limit of its run, and the wait continues."""

    async def on_triggered(*_: object) -> None:
        await anyio.sleep_forever()

    world = World({1: 5.0})
    [result] = await world.sync([1], path, on_triggered=on_triggered, timeout=0.5)
    assert result.trigger_id == "t1"
    assert "on_triggered did not finish in time for trigger t1" in caplog.text


async def test_a_request_whose_lease_could_have_expired_is_claimed_again(path: Path | None) -> None:
    """A request is not sent while its lease could have expired. It is sent under a new claim."""
    world = World({1: 5.0}, journal_type=ExpiringJournal)
    [result] = await world.sync([1], path)
    assert (result.outcome, world.posted()) == (Outcome.SUCCEEDED, [1])
    # Two claims, each with one check before it and one after it
    assert world.latest_journal.checks == 2 * 2


async def test_a_request_whose_lease_was_renewed_too_late_is_claimed_again(
    path: Path | None,
) -> None:
    """A request is not sent if its lease expired after the claim, although there is a new lease."""
    world = World({1: 5.0}, journal_type=ExpiringJournal, journal_settings={"expired": 0})
    calls = 0

    async def send(tenant_id: int, body: bytes | None, record: SendRecord) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            world.latest_journal.number += 1  # another worker may have taken the claim over
        return await world.post(tenant_id, body, record)

    [result] = await world.sync([1], path, send=send)
    assert (result.outcome, world.posted(), calls) == (Outcome.SUCCEEDED, [1], 2)


async def test_a_request_can_be_claimed_any_number_of_times() -> None:
    """A lease that expires very often before a request is sent delays the request."""
    world = World({1: 5.0}, journal_type=ExpiringJournal, journal_settings={"expired": 2000})
    [result] = await world.sync([1])
    assert (result.outcome, world.posted()) == (Outcome.SUCCEEDED, [1])


async def test_runs_are_polled_although_the_journal_cannot_be_reached(path: Path | None) -> None:
    """If the leases cannot be renewed, the runs are still polled, and then the error is raised."""
    world = World({1: 60.0, 2: 90.0}, journal_type=UnreachableJournal)
    results = await world.sync_to_failure([1, 2], path, timeout=600.0)
    assert [result.outcome for result in results] == [Outcome.SUCCEEDED] * 2


async def test_a_request_that_waits_is_not_recorded_if_it_is_canceled(journal_path: Path) -> None:
    """If a sync is canceled while a request waits for its turn, its tenant was not triggered."""
    world = World()

    send = world.post_after(partial(world.clock.sleep, 100))
    await world.sync_until(10.0, [1, 2], journal_path, send=send)
    assert world.posted() == []
    assert read_states(journal_path) == {}


@pytest.mark.parametrize("time_limit", [50.0, 1800.0])
async def test_a_request_that_waits_is_not_sent_once_the_journal_has_failed(
    path: Path | None, time_limit: float
) -> None:
    """If a request has to wait for its turn, a failure of the journal meanwhile prevents it."""
    world = World(journal_type=UnreachableJournal)

    send = world.post_after(partial(world.clock.sleep, 100))
    results = await world.sync_to_failure([1, 2, 3], path, 2, send=send, timeout=time_limit)
    assert world.posted() == []
    assert {result.tenant_id for result in results} == {1, 2, 3}
    for result in results:
        assert isinstance(result.error, JournalError)
    if path is not None:
        assert read_states(path) == {}


@pytest.mark.parametrize(
    ("without_share", "seconds", "time_limit"),
    # The last runs reach their time limit while the worker has no share, which frees their slots.
    [({0, 1, 2}, 0, LEASE / 8), ({0, 3, 4}, 0, 1800.0), (set(range(8, 40)), 10**6, 40.0)],
)
async def test_no_tenant_is_started_without_a_share_of_the_rate(
    path: Path | None, without_share: set[int], seconds: float, time_limit: float
) -> None:
    """A tenant whose run could not be polled before its time limit is not triggered yet."""
    settings: dict[str, object] = {"without_share": without_share}
    world = World(
        dict.fromkeys(range(12), seconds), journal_type=JoiningJournal, journal_settings=settings
    )
    shares: list[float] = []

    async def send(*arguments: Any) -> Trigger:
        shares.append(world.latest_journal.share)
        return await world.post(*arguments)

    results = await world.sync(range(12), path, 3, send=send, timeout=time_limit)
    assert all(result.polls > 0 for result in results)
    assert world.latest_journal.renewals > max(without_share)
    assert shares == [0.5] * 12


async def test_a_process_without_a_share_ends_once_the_journal_has_failed(
    path: Path | None,
) -> None:
    """It sends nothing, and reports the journal's error for the tenant that it had begun."""
    world = World(journal_type=UnreachableJournal, journal_settings={"first_share": 0.0})
    results = await world.sync_to_failure([1, 2], path)
    assert world.posted() == []
    assert [(result.tenant_id, type(result.error)) for result in results] == [(1, JournalError)]


async def test_a_request_that_waits_for_a_share_ends_once_the_journal_has_failed(
    path: Path | None,
) -> None:
    """If the share is lost while a request waits for its turn, the request is not sent."""
    world = World(journal_type=UnreachableJournal, journal_settings={"reachable": 1})
    pacer = RequestPacer(world.clock, 10.0)

    async def wait_for_turn() -> None:
        await world.clock.sleep(LEASE / 3)  # the share has been lost by then
        await pacer.wait()

    send = world.post_after(wait_for_turn)
    results = await world.sync_to_failure([1], path, send=send, set_share=pacer.set_share)
    assert world.posted() == []
    assert [(result.tenant_id, type(result.error)) for result in results] == [(1, JournalError)]


async def test_a_lease_that_is_always_too_short_is_an_error(path: Path | None) -> None:
    """A request that cannot be sent within a lease fails after the time limit of a run."""
    world = World(journal_type=ExpiringJournal, journal_settings={"expired": 10**9})

    send = world.post_after(partial(world.clock.sleep, 10))
    [result] = await world.sync([1], path, send=send, timeout=60.0)
    assert (result.outcome, world.posted()) == (Outcome.FAILED, [])
    assert "tenant 1 was not synced: its lease in" in str(result.error)
    if path is not None:
        assert read_states(path) == {}
