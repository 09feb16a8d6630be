"""Syncing many tenants, on a clock whose hours pass in no time and a server that is two lists."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter
from contextlib import asynccontextmanager, closing
from math import inf, nan
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.from_thread
import attrs
import pytest

from pandium import (
    AsyncPandium,
    AuthenticationError,
    ConfigurationError,
    ConnectionLost,
    NotFound,
    PandiumError,
    Polling,
    Progress,
    RunResult,
    Trigger,
    TriggerStatus,
    WaitTimeout,
)
from pandium._bulk.journal import LEASE, Journal, State
from pandium._bulk.sync import Plan, sync_each
from pandium._waiting.polling import WaitOptions
from pandium._waiting.results import Counters, RunResults
from pandium.emulator import ManualClock
from pandium.models import Tenant
from support import KEY
from support import servers as bad
from support.servers import Misbehaving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio

Hook: TypeAlias = "Callable[[Any], object]"
JOB = {"mode": "normal"}
SOON = Polling(first=0.05, minimum=0.05, rate=200)


async def no_content(_: object) -> bytes | None:
    return None


@attrs.define
class World:
    """
    A server: each POST takes a second, each run begins then and takes as long as `runs` says.

    The trigger of tenant 7 is "t7", then "t7'" and so on. The hooks are called with what is posted
    or looked at.
    """

    runs: dict[int, float] = attrs.field(factory=dict)
    errors: dict[int, Exception] = attrs.field(factory=dict)
    clock: ManualClock = attrs.field(factory=ManualClock)
    posts: list[tuple[float, int]] = attrs.field(factory=list)
    contents: dict[int, bytes | None] = attrs.field(factory=dict)
    polls: list[tuple[float, str]] = attrs.field(factory=list)
    ends: dict[str, float] = attrs.field(factory=dict)
    before_post: Hook = lambda _: None
    after_post: Hook = lambda _: None
    before_look: Hook = lambda _: None
    posting: int = 0
    most_posting: int = 0

    async def post(self, tenant_id: int, content: bytes | None) -> Trigger:
        self.before_post(tenant_id)
        self.posts.append((self.clock.now(), tenant_id))
        self.contents[tenant_id] = content
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

    async def look(self, trigger_id: str) -> TriggerStatus:
        self.before_look(trigger_id)
        self.polls.append((self.clock.now(), trigger_id))
        await anyio.lowlevel.checkpoint()
        if self.clock.now() < self.ends[trigger_id]:
            return TriggerStatus("Running")
        return TriggerStatus("Failed (Timeout)" if int(trigger_id[1:]) % 10 == 9 else "Succeeded")

    def posted(self) -> list[int]:
        return [tenant_id for _, tenant_id in self.posts]

    def syncing(
        self, source: Any, path: Path | None = None, max_concurrency: int = 10, **options: Any
    ) -> RunResults[RunResult]:
        content = options.pop("content", no_content)
        plan: Plan[Any] = Plan(
            content, self.post, max_concurrency, options.pop("may_repeat", False)
        )
        defaults: dict[str, Any] = {
            "poll_status": self.look,
            "clock": self.clock,
            "polling": Polling(jitter=0),
            "timeout": 1800.0,
            "classify": lambda status: status.outcome,
            "counters": Counters(self.clock),
        }
        options = WaitOptions(**defaults | options)

        async def produce(send: Any) -> None:
            await sync_each(source, plan, options, self.owner(path), send)

        return RunResults(produce, options.counters)

    def owner(self, path: Path | None) -> Journal:
        return Journal(path, JOB, self.clock)

    async def sync_within(self, source: Any, *args: Any) -> None:
        async with self.syncing(source, *args) as done:
            async for _ in done:
                pass

    async def sync(self, source: Any, *args: Any, **options: Any) -> list[RunResult]:
        async with self.clock.autojump(), self.syncing(source, *args, **options) as done:
            return [completed async for completed in done]


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "journal" if request.param == "file" else None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def recorded(file: Path) -> dict[int, str]:
    with closing(sqlite3.connect(file)) as db:
        return dict(db.execute("SELECT tenant_id, state FROM syncs"))


def by_tenant(done: list[RunResult]) -> dict[int, RunResult]:
    found = {int(completed.tenant_id or 0): completed for completed in done}
    assert len(found) == len(done), "each tenant comes once"
    return found


@asynccontextmanager
async def standing_still(
    world: World, file: Path, *, sending: tuple[int, ...] = (), waiting: tuple[int, ...] = ()
) -> AsyncIterator[Journal]:
    """Have another owner claim some tenants, trigger some of them, and do nothing more."""
    async with world.owner(file) as other:
        for tenant_id in (*sending, *waiting):
            assert (await other.claim(tenant_id, may_repeat=False)).is_mine
        for tenant_id in waiting:
            world.ends[f"t{tenant_id}"] = world.clock.now() + world.runs.get(tenant_id, 60.0)
            await other.triggered(tenant_id, f"t{tenant_id}")
        yield other


# One call


async def test_each_tenant_is_triggered_and_waited_for(path: Path | None) -> None:
    """Each tenant is triggered once, and comes in order of completion with what it ended as."""
    world = World({1: 300.0, 2: 5.0, 19: 60.0})
    done = await world.sync([1, 2, 19], path)
    assert [completed.tenant_id for completed in done] == [2, 19, 1]
    assert [completed.trigger_id for completed in done] == ["t2", "t19", "t1"]
    assert [str(c.status.status) for c in done if c.status] == [
        "Succeeded",
        "Failed (Timeout)",
        "Succeeded",
    ]
    assert [completed.error for completed in done] == [None, None, None]
    assert sorted(world.posted()) == [1, 2, 19]
    for completed in done:
        assert completed.polls == sum(name == completed.trigger_id for _, name in world.polls)


async def test_tenants_of_any_kind_of_source(path: Path | None) -> None:
    """A source is a list, a generator or an async generator, of ids or tenants."""

    async def coming() -> AsyncIterator[int | Tenant]:
        yield 1
        await world.clock.sleep(500)
        yield Tenant(2, "two")

    for source in ([1, Tenant(2, "two")], iter((1, 2)), coming(), {1: "a", 2: "b"}):
        world = World()
        done = await world.sync(source, path and path.with_name(f"{id(source)}"))
        assert set(by_tenant(done)) == {1, 2}


async def test_a_tenant_that_is_given_twice_is_synced_once(path: Path | None) -> None:
    """However often a tenant comes, under way or long ended, it is triggered and reported once."""
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
async def test_so_many_are_under_way_at_once(max_concurrency: int, path: Path | None) -> None:
    """From before the POST to the end of the run, no more tenants are under way than wanted."""
    world = World({n: 5.0 + 7 * (n % 5) for n in range(40)})
    taken: list[tuple[float, int]] = []

    def source() -> Any:
        for tenant_id in range(40):
            taken.append((world.clock.now(), tenant_id))
            yield tenant_id

    ended: list[float] = []
    most = 0
    async with world.clock.autojump(), world.syncing(source(), path, max_concurrency) as done:
        async for _ in done:
            ended.append(world.clock.now())
            most = max(most, done.progress.active)
    assert world.most_posting <= most <= max_concurrency
    for index, (began, _) in enumerate(world.posts):
        assert index - sum(end <= began for end in ended) < max_concurrency
    # The source is asked for one more at the most.
    for index, (asked, _) in enumerate(taken):
        assert index - sum(end <= asked for end in ended) <= max_concurrency
    assert most == max_concurrency


async def test_one_failure_is_one_result(path: Path | None) -> None:
    """A refused tenant, a lost answer and a run without end are results; the others go on."""
    lost = ConnectionLost("gone")
    missing = NotFound("there is none", status_code=404)
    odd = RuntimeError("who knows")
    world = World({3: inf}, {1: missing, 2: lost, 5: odd})
    done = by_tenant(await world.sync([1, 2, 3, 4, 5], path, timeout=100.0))
    assert (done[1].error, done[1].trigger_id, done[1].polls) == (missing, None, 0)
    assert (done[2].error, done[2].trigger_id) == (lost, None)
    assert isinstance(done[2].error, ConnectionLost)
    assert done[2].error.outcome_unknown
    assert done[2].elapsed == pytest.approx(1)
    assert isinstance(done[3].error, WaitTimeout)
    assert done[3].trigger_id == "t3"
    assert done[4].status == TriggerStatus("Succeeded")
    assert done[5].error is odd
    assert world.posted() == [1, 2, 3, 4, 5]
    if path is not None:
        assert recorded(path) == {2: "unknown", 3: "triggered", 4: "succeeded", 5: "unknown"}


async def test_what_is_no_tenant_is_one_result(path: Path | None) -> None:
    """An element that is no tenant is a result with a ValueError that shows it."""
    bad: list[Any] = ["7", None, True, 1.5, Tenant("x", "x"), 2**63, -(2**70)]  # type: ignore[arg-type]
    world = World()
    done = await world.sync([1, *bad, 2**63 - 1], path)
    faults = [completed for completed in done if completed.tenant_id is None]
    assert [type(completed.error) for completed in faults] == [ValueError] * len(bad)
    for completed, element in zip(faults, bad, strict=True):
        assert repr(element) in str(completed.error)
    assert sorted(world.posted()) == [1, 2**63 - 1]


async def test_an_error_of_a_payload_is_one_result(path: Path | None) -> None:
    """A payload that cannot be made leaves the tenant untouched, and the others alone."""
    world = World()

    async def content(item: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        if item == 2:
            raise ZeroDivisionError
        return b"{}"

    done = by_tenant(await world.sync([1, 2, 3], path, 1, content=content))
    assert isinstance(done[2].error, ZeroDivisionError)
    assert world.contents == {1: b"{}", 3: b"{}"}
    if path is not None:
        assert set(recorded(path)) == {1, 3}


async def test_an_error_of_the_source_comes_last(path: Path | None) -> None:
    """The error of a source is raised as it is, after the results of all that came before it."""
    world = World()

    async def source() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError

    done: list[RunResult] = []
    with pytest.raises(ZeroDivisionError):
        async with world.clock.autojump(), world.syncing(source(), path, 1) as results:
            async for completed in results:
                done.append(completed)
    assert [completed.tenant_id for completed in done] == [1, 2]


async def test_no_tenants_are_no_results(path: Path | None) -> None:
    """An empty source ends at once."""
    assert await World().sync([], path) == []


async def test_one_rate_serves_all(path: Path | None) -> None:
    """However many tenants are under way, no second sees more than `rate` looks."""
    world = World()
    await world.sync(range(60), path, 60, polling=Polling(rate=5, jitter=0))
    times = [time for time, _ in world.polls]
    for time in times:
        assert sum(time <= other < time + 1 - 1e-9 for other in times) <= 5


async def test_progress_counts_tenants(path: Path | None) -> None:
    """Each result is one of three kinds, whatever it is the result of."""
    lost, missing = ConnectionLost("gone"), NotFound("none", status_code=404)
    world = World({3: inf}, {1: missing, 2: lost})
    count = 0
    source = [1, 2, 3, 4, 9, "x"]
    async with world.clock.autojump(), world.syncing(source, path, 2, timeout=200.0) as done:
        async for _ in done:
            count += 1
            progress = done.progress
            assert progress.succeeded + progress.failed + progress.unknown >= count
            assert progress.active <= 2
            assert progress.polls == len(world.polls)
    expected = Progress(3, 0, 1, 3, 2, len(world.polls), done.progress.seconds)
    assert done.progress == expected


async def test_the_callback_is_told_whose_status_it_is() -> None:
    """Each new status is told with the trigger that it is of, whose key is the tenant's id."""
    told: list[tuple[str, int]] = []
    world = World({1: 5.0, 2: 30.0})
    await world.sync(
        [1, 2], on_status=lambda status, watch: told.append((status.status, watch.key))
    )
    assert sorted(told) == [("Running", 1), ("Running", 2), ("Succeeded", 1), ("Succeeded", 2)]


async def test_leaving_early_ends_all(path: Path | None) -> None:
    """Once the block is left no POST begins, nothing runs on, and the source is closed."""
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
        async with world.syncing(source(), path, 3) as done:
            assert (await anext(done)).tenant_id == 1
        left_at, posts, looks = world.clock.now(), len(world.posts), len(world.polls)
        await world.clock.sleep(1000)
    assert is_closed
    assert left_at < 20
    assert (len(world.posts), len(world.polls)) == (posts, looks)
    if path is not None:  # whoever closes the file last tidies up
        assert [one.name for one in path.parent.iterdir()] == [path.name]


# The journal


async def test_each_step_is_recorded_in_time(file: Path) -> None:
    """The intent is on disk before the POST, the trigger before a look, the end before its news."""
    world, seen = World(), []

    def note(_: object) -> None:
        seen.append(recorded(file)[1])

    world.before_post, world.after_post, world.before_look = note, note, note
    max_concurrency = Polling(first=0, jitter=0)
    async with world.clock.autojump(), world.syncing([1], file, polling=max_concurrency) as done:
        async for _ in done:
            note(None)
    assert seen[:2] == ["sending", "sending"]
    assert set(seen[2:-1]) == {"triggered"}
    assert seen[-1] == "succeeded"


async def test_started_again_all_is_as_it_was(file: Path) -> None:
    """Recorded outcomes come again with no request, for those tenants alone that are named."""
    world = World(errors={5: ConnectionLost("gone")})
    first = by_tenant(await world.sync([1, 9, 5], file))
    posts, looks = list(world.posts), list(world.polls)

    async def content(_: int) -> None:
        pytest.fail("nothing is sent")

    again = by_tenant(await world.sync([9, 5, 1], file, content=content))
    assert (world.posts, world.polls) == (posts, looks)
    for tenant_id in (1, 9):
        assert again[tenant_id].status == first[tenant_id].status
        assert again[tenant_id].trigger_id == first[tenant_id].trigger_id
    assert isinstance(again[5].error, ConnectionLost)
    assert again[5].error.outcome_unknown
    assert "tenant 5" in str(again[5].error)
    assert "ConnectionLost" in str(again[5].error)
    assert set(by_tenant(await world.sync([1], file))) == {1}


async def test_what_was_under_way_is_taken_up_first(file: Path) -> None:
    """Of an owner that stands still, triggers are waited on and unanswered requests are lost."""
    world = World()
    async with world.clock.autojump(), standing_still(world, file, sending=(1,), waiting=(2,)):
        async with world.syncing([3, 1], file) as syncing:
            done = by_tenant([completed async for completed in syncing])
        progress = syncing.progress
    assert world.posted() == [3]
    assert set(done) == {1, 2, 3}
    assert isinstance(done[1].error, ConnectionLost)
    assert done[1].error.outcome_unknown
    assert (done[2].trigger_id, done[2].status) == ("t2", TriggerStatus("Succeeded"))
    assert done[3].status == TriggerStatus("Succeeded")
    assert progress == Progress(2, 0, 2, 0, 1, len(world.polls), progress.seconds)
    assert recorded(file) == {1: "unknown", 2: "succeeded", 3: "succeeded"}


async def test_nothing_is_taken_from_an_owner_that_is_alive(file: Path) -> None:
    """What a live owner has under way is left alone, and takes no place, until it has ended."""
    world = World()
    async with world.clock.autojump(), standing_still(world, file, waiting=(1,)) as other:

        async def live() -> None:
            for _ in range(20):
                await world.clock.sleep(5)
                await other.renew()
            await other.ended(1, "t1", State.FAILED, "Failed (Timeout)")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live)
            async with world.syncing([1, 2], file, 1) as done:
                assert [one.tenant_id async for one in done] == [2, 1]
    assert world.posted() == [2]
    assert {name for _, name in world.polls} == {"t2"}


async def test_a_live_owner_keeps_its_lease(file: Path) -> None:
    """However long its runs take, nobody takes them from an owner that goes on working."""
    world = World({1: 100.0, 2: 150.0})
    looked: list[str] = []

    async def look(trigger_id: str) -> TriggerStatus:
        looked.append(trigger_id)
        return await world.look(trigger_id)

    async with world.clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(world.sync_within, [1, 2], file)
        await world.clock.sleep(30)
        async with world.syncing([1, 2], file, poll_status=look) as done:
            assert set(by_tenant([one async for one in done])) == {1, 2}
    assert looked == []
    assert world.posted() == [1, 2]


async def test_what_another_triggered_meanwhile_is_waited_on(file: Path) -> None:
    """What came and was abandoned while a payload was made is taken over, not repeated."""
    world = World()
    async with world.clock.autojump(), world.owner(file) as other:

        async def content(tenant_id: int) -> None:
            await other.claim(tenant_id, may_repeat=False)
            world.ends["t1"] = world.clock.now() + 60
            await other.triggered(tenant_id, "t1")
            await world.clock.sleep(2 * LEASE)

        async with world.syncing([1], file, 1, content=content) as done:
            assert [one.trigger_id async for one in done] == ["t1"]
    assert world.posts == []
    assert recorded(file) == {1: "succeeded"}


async def test_a_tenant_that_another_was_refused_is_tried_again(file: Path) -> None:
    """What another owner surely did not carry out is triggered by whoever was asked to."""
    world = World()
    async with (
        world.clock.autojump(),
        standing_still(world, file, sending=(1, 2)) as other,
        anyio.create_task_group() as tasks,
    ):

        async def refuse() -> None:
            await world.clock.sleep(5)
            await other.unsent(1)
            await other.unsent(2)

        tasks.start_soon(refuse)
        async with world.syncing([1], file) as done:
            assert set(by_tenant([one async for one in done])) == {1}
    assert world.posted() == [1]
    assert recorded(file) == {1: "succeeded"}


async def test_a_tenant_may_be_named_after_it_was_forgotten(file: Path) -> None:
    """A source that comes to a tenant late still has it synced, though the journal knew it once."""
    world = World()

    async def source() -> AsyncIterator[int]:
        await world.clock.sleep(5)
        await other.unsent(1)
        await world.clock.sleep(20)
        yield 1

    async with (
        world.clock.autojump(),
        standing_still(world, file, sending=(1,)) as other,
        world.syncing(source(), file) as done,
    ):
        assert [one.trigger_id async for one in done] == ["t1"]


async def test_a_tenant_may_be_named_while_another_has_it(file: Path) -> None:
    """A tenant that the source names meanwhile is triggered once the other owner was refused."""
    world = World()

    async def source() -> AsyncIterator[int]:
        await world.clock.sleep(5)
        yield 1
        await world.clock.sleep(1)
        await other.unsent(1)

    async with (
        world.clock.autojump(),
        standing_still(world, file, sending=(1,)) as other,
        world.syncing(source(), file) as done,
    ):
        assert [one.trigger_id async for one in done] == ["t1"]


async def test_one_alone_takes_over(file: Path) -> None:
    """Of many that find the same trigger abandoned, one waits on it, and all report it."""
    world = World(dict.fromkeys(range(5), 300.0))
    lookers: dict[str, set[int]] = {}
    reports: list[set[int | None]] = []

    async def sync(number: int) -> None:
        async def look(trigger_id: str) -> TriggerStatus:
            lookers.setdefault(trigger_id, set()).add(number)
            return await world.look(trigger_id)

        async with world.syncing(range(5), file, poll_status=look) as done:
            reports.append(set(by_tenant([one async for one in done])))

    async with (
        world.clock.autojump(),
        standing_still(world, file, waiting=tuple(range(5))),
        anyio.create_task_group() as tasks,
    ):
        for number in range(4):
            tasks.start_soon(sync, number)
    assert reports == [set(range(5))] * 4
    assert [len(lookers[f"t{tenant_id}"]) for tenant_id in range(5)] == [1] * 5
    assert world.posts == []


async def test_runs_that_are_taken_over_count_as_under_way(file: Path) -> None:
    """More may be taken over than begun at once; nothing is begun until they are fewer again."""
    world = World({n: 50.0 + 20 * n for n in range(5)})

    async def source() -> AsyncIterator[int]:
        await world.clock.sleep(30)
        assert syncing.progress.active == 5
        yield 5
        yield 6

    syncing = world.syncing(source(), file, 2)
    async with (
        world.clock.autojump(),
        standing_still(world, file, waiting=(0, 1, 2, 3, 4)),
        syncing as done,
    ):
        assert {completed.tenant_id async for completed in done} == set(range(7))
    ends = sorted(world.ends[f"t{n}"] for n in range(5))
    assert [began > end for (began, _), end in zip(world.posts, ends[3:], strict=True)] == [
        True
    ] * 2


async def test_owners_share_the_work(file: Path) -> None:
    """Several at once on one journal trigger each tenant once, and each reports all of them."""
    world = World({n: 10.0 + n for n in range(30)})
    reports: list[set[int | None]] = []
    posts: dict[int, list[int]] = {0: [], 1: [], 2: []}

    async def sync(number: int) -> None:
        async def content(tenant_id: int) -> None:
            posts[number].append(tenant_id)

        async with world.syncing(range(30), file, 3, content=content) as done:
            reports.append(set(by_tenant([one async for one in done])))

    async with world.clock.autojump(), anyio.create_task_group() as tasks:
        for number in posts:
            tasks.start_soon(sync, number)
    assert reports == [set(range(30))] * 3
    assert sorted(world.posted()) == list(range(30))
    assert all(len(mine) >= 3 for mine in posts.values())


@pytest.mark.parametrize("seconds", [0, 2 * LEASE])
async def test_what_may_have_been_sent_is_repeated_on_demand(file: Path, seconds: float) -> None:
    """With the switch set, lost requests are sent again; without it, never."""
    world = World(errors={1: ConnectionLost("gone")})
    await world.sync([1, 2], file)
    world.errors.clear()
    async with world.clock.autojump(), standing_still(world, file, sending=(3, 4)):
        await world.clock.sleep(seconds)
        async with world.syncing([1, 2, 3], file, may_repeat=True) as syncing:
            done = by_tenant([completed async for completed in syncing])
        assert sorted(world.posted()) == [1, 1, 2, 3]
        assert {tenant_id for tenant_id, one in done.items() if one.status} == {1, 2, 3}
        # Nobody named it, so nobody knows what to send.
        assert isinstance(done[4].error, ConnectionLost)


async def test_a_late_answer_counts_after_all(file: Path) -> None:
    """An owner that stood still and goes on records its trigger, though it was taken for lost."""
    world = World()
    async with world.clock.autojump(), standing_still(world, file, sending=(1,)) as other:
        async with world.syncing([1], file) as done:
            assert [type(one.error) async for one in done] == [ConnectionLost]
        world.ends["t1"] = world.clock.now()
        await other.triggered(1, "t1")
        async with world.syncing([1], file) as done:
            assert [one.trigger_id async for one in done] == ["t1"]
    assert world.posts == []


async def test_a_refused_tenant_is_free_again(file: Path) -> None:
    """What surely did not run leaves no trace, so that a later start triggers it."""
    world = World(errors={1: NotFound("none", status_code=404)})
    assert [type(one.error) for one in await world.sync([1], file)] == [NotFound]
    assert recorded(file) == {}
    world.errors.clear()
    assert [one.error for one in await world.sync([1], file)] == [None]
    assert world.posted() == [1, 1]


async def test_an_unended_run_is_waited_on_again(file: Path) -> None:
    """After a time limit, or a look that was refused, a later start waits on the same trigger."""
    world = World({1: 100.0})
    [late] = await world.sync([1], file, timeout=10.0)
    assert isinstance(late.error, WaitTimeout)

    async def refuse(_: str) -> TriggerStatus:
        raise AuthenticationError("no", status_code=403)

    [refused] = await world.sync([1], file, poll_status=refuse)
    assert isinstance(refused.error, AuthenticationError)
    [ended] = await world.sync([1], file)
    assert ended.status == TriggerStatus("Succeeded")
    assert world.posted() == [1]


async def test_an_unended_run_is_free_at_once(file: Path) -> None:
    """A trigger that its owner gave up, or left behind, is taken over before any lease lapses."""
    world = World({1: 100.0})
    await world.sync([1], file, timeout=10.0)
    began = world.clock.now()
    with pytest.raises(TimeoutError):
        await cut_off(world, [1], file, 3.0)
    assert next(when for when, _ in world.polls if when > began) - began < 2
    [ended] = await world.sync([1], file)
    assert ended.elapsed < 100


async def test_what_one_gives_up_another_waits_on(file: Path) -> None:
    """A run that is over its time limit for one owner is taken over while that owner goes on."""
    world = World({1: 500.0, 2: 15.0})
    firsts: list[float] = []

    async def source() -> AsyncIterator[int]:
        yield 1
        await world.clock.sleep(15)
        yield 2

    async def look(trigger_id: str) -> TriggerStatus:
        firsts.append(world.clock.now())
        return await world.look(trigger_id)

    async with world.clock.autojump(), anyio.create_task_group() as tasks:

        async def go_on() -> None:
            async with world.syncing(source(), file, timeout=20.0) as done:
                assert [type(one.error) async for one in done] == [WaitTimeout, type(None)]
            assert min(firsts) < world.clock.now()

        tasks.start_soon(go_on)
        await world.clock.sleep(5)
        async with world.syncing([1], file, poll_status=look) as done:
            assert [one.trigger_id async for one in done] == ["t1"]
    assert min(firsts) > 20
    assert world.posted() == [1, 2]


async def cut_off(world: World, source: Any, file: Path, seconds: float) -> list[RunResult]:
    async with world.clock.autojump():
        with world.clock.move_on_after(seconds):
            async with world.syncing(source, file) as syncing:
                return [completed async for completed in syncing]
        raise TimeoutError


async def test_an_error_of_a_callback_loses_no_outcome(file: Path) -> None:
    """A run that ended is recorded as such, even if `on_status` failed over it."""

    def fail(status: TriggerStatus, _: object) -> None:
        if status.status != "Running":
            raise ZeroDivisionError

    world = World()
    [failed] = await world.sync([1], file, on_status=fail)
    assert isinstance(failed.error, ZeroDivisionError)
    assert recorded(file) == {1: "succeeded"}


# Cancellation


async def test_a_cancelled_request_is_unknown_at_once(file: Path) -> None:
    """Cancelled in the middle of a POST, the tenant is unknown before the block has ended."""
    world = World()
    with pytest.raises(TimeoutError):
        await cut_off(world, [1], file, 0.5)
    assert world.posted() == [1]
    assert world.clock.now() == pytest.approx(0.5, abs=0.01)
    assert recorded(file) == {1: "unknown"}
    [lost] = await world.sync([1], file)
    assert isinstance(lost.error, ConnectionLost)
    assert "cancelled" in str(lost.error)
    assert world.posted() == [1]


async def test_an_answer_is_recorded_even_if_cancelled(file: Path) -> None:
    """Cancelled in the very moment of the answer, the trigger is recorded nevertheless."""
    world, scope = World(), anyio.CancelScope()
    world.after_post = lambda _: scope.cancel()
    async with world.clock.autojump():
        with scope:
            async with world.syncing([1], file) as syncing:
                await anext(syncing)
    assert recorded(file) == {1: "triggered"}
    assert [one.trigger_id for one in await world.sync([1], file)] == ["t1"]
    assert world.posted() == [1]


class CancellingClock(ManualClock):
    """Cancels a scope when a transaction begins for the n-th time."""

    def __init__(self, scope: anyio.CancelScope, countdown: int) -> None:
        super().__init__()
        self.scope, self.countdown = scope, countdown

    def wall(self) -> datetime:
        self.countdown -= 1
        if self.countdown == 0:
            anyio.from_thread.run_sync(self.scope.cancel)
        return super().wall()


async def test_what_was_cancelled_before_its_request_is_free(file: Path) -> None:
    """Cancelled between the claim and the POST, the tenant is as untouched as it is."""
    scope = anyio.CancelScope()
    world = World(clock=CancellingClock(scope, 2))  # it is looked for first, then claimed
    async with world.clock.autojump():
        with scope:
            async with world.syncing([1], file) as syncing:
                await anext(syncing)
    assert scope.cancelled_caught
    assert world.posts == []
    assert recorded(file) == {}


@pytest.mark.parametrize("countdown", range(1, 30, 2))
async def test_cancelled_at_any_point_nothing_is_forgotten(file: Path, countdown: int) -> None:
    """Cancelled in any transaction and started again, each tenant is triggered at most once."""
    scope = anyio.CancelScope()
    world = World({1: 3.0, 2: 8.0}, clock=CancellingClock(scope, countdown))
    async with world.clock.autojump():
        with scope:
            async with world.syncing([1, 2, 3], file, 2) as syncing:
                async for _ in syncing:
                    pass
    before = recorded(file)
    assert "sending" not in before.values()
    done = by_tenant(await world.sync([1, 2, 3], file, 2))
    assert set(done) == {1, 2, 3}
    assert len(world.posts) == len(set(world.posted()))
    for tenant_id, completed in done.items():
        is_unknown = before.get(tenant_id) == "unknown"
        assert isinstance(completed.error, ConnectionLost) == is_unknown
        assert (completed.status is None) == is_unknown


# A journal that fails


async def test_a_journal_that_is_deleted_stops_the_sending(file: Path) -> None:
    """Without its journal nothing more is sent; what is under way is still waited for."""
    world = World({1: 200.0, 2: 100.0})
    done: list[RunResult] = []

    async def source() -> AsyncIterator[int]:
        for tenant_id in (1, 2, 3, 4):
            yield tenant_id
        await anyio.sleep_forever()

    def delete(trigger_id: str) -> None:
        file.unlink(missing_ok=True)

    world.before_look = delete
    with pytest.raises(PandiumError, match="deleted or replaced") as caught:
        async with world.clock.autojump(), world.syncing(source(), file, 2) as syncing:
            async for completed in syncing:
                done.append(completed)
    assert str(file) in str(caught.value)
    assert world.posted() == [1, 2]
    assert [one.tenant_id for one in done if one.status] == [2, 1]
    # Those that had been asked for are told why they were not sent.
    assert {one.tenant_id for one in done if one.error is caught.value} <= {3, 4}


async def test_a_journal_that_fails_leaves_nobody_waiting(file: Path) -> None:
    """What another owner has under way is reported with the error, once it cannot be read of."""
    world = World({2: 50.0})
    world.before_look = lambda _: file.unlink(missing_ok=True)
    done: list[RunResult] = []
    with pytest.raises(PandiumError, match="deleted or replaced") as caught:
        async with (
            world.clock.autojump(),
            standing_still(world, file, sending=(1,)),
            world.syncing([1, 2], file) as syncing,
        ):
            async for completed in syncing:
                done.append(completed)
    found = by_tenant(done)
    assert isinstance(found[1].error, PandiumError)
    assert found[2].status == TriggerStatus("Succeeded")
    assert str(found[1].error) == str(caught.value)


async def test_a_journal_that_fails_early_sends_nothing(file: Path) -> None:
    """Where the intent cannot be recorded there is no POST, and the tenant's result says why."""
    world = World()

    async def content(_: int) -> None:
        world.before_look(None)

    world.before_look = lambda _: file.unlink()
    done: list[RunResult] = []
    with pytest.raises(PandiumError, match="deleted or replaced"):
        async with world.clock.autojump(), world.syncing([1], file, content=content) as syncing:
            async for completed in syncing:
                done.append(completed)
    assert [type(one.error) for one in done] == [PandiumError]
    assert world.posts == []


async def test_a_journal_that_fails_meanwhile_sends_nothing(file: Path) -> None:
    """What was being made ready when the journal failed is not sent, though that has passed."""
    world, away = World(), file.with_name("away")

    async def content(tenant_id: int) -> None:
        if tenant_id == 2:
            await world.clock.sleep(30)
            away.rename(file)

    def move(_: object) -> None:
        if world.clock.now() < 30 and file.exists():
            file.rename(away)

    world.before_look = move
    done: list[RunResult] = []
    with pytest.raises(PandiumError, match="deleted or replaced"):
        async with world.clock.autojump(), world.syncing([1, 2], file, content=content) as syncing:
            async for completed in syncing:
                done.append(completed)
    assert [type(one.error) for one in done] == [PandiumError, type(None)]
    assert world.posted() == [1]


# The client


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
        ("max_concurrency", {"max_concurrency": 0}),
        ("max_concurrency", {"max_concurrency": True}),
        ("max_concurrency", {"max_concurrency": "3"}),
        ("poll", {"poll": 5}),
        ("timeout", {"timeout": -1}),
        ("timeout", {"timeout": nan}),
        ("timeout", {"timeout": "60"}),
        ("retry_unknown", {"retry_unknown": "no"}),
        ("on_status", {"on_status": 5}),
        ("classify", {"classify": None}),
    ],
)
async def test_bad_arguments_are_named(argument: str, options: dict[str, Any]) -> None:
    """What cannot be used is a ValueError that names the argument, before the block is entered."""
    arguments = {"tenants": [1], "mode": "normal", **options}
    async with AsyncPandium("key", base_url="http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            client.tenants.sync_all(arguments.pop("tenants"), **arguments)


async def test_a_listing_is_walked_while_syncs_run(
    client: AsyncPandium, emulator: Emulator
) -> None:
    """A listing of the client's own is a source; tenant, payload and status go with each other."""
    emulator.runs.script(appears_after=0, phases=[("Running", 0.1), ("Succeeded", 0)])
    for _ in range(30):
        emulator.add_tenant()
    told: list[tuple[str, int]] = []

    async def payload(tenant: Tenant) -> dict[str, str]:
        await anyio.lowlevel.checkpoint()
        return {"name": tenant.name}

    async with client.tenants.sync_all(
        client.tenants.list(page_size=10, prefetch=1),
        mode="init",
        payload=payload,
        poll=SOON,
        on_status=lambda status, tenant_id: told.append((status.status, tenant_id)),
    ) as done:
        results = by_tenant([completed async for completed in done])
    assert set(results) == {tenant.id for tenant in emulator.tenants}
    assert {completed.error for completed in results.values()} == {None}
    assert done.progress.succeeded == 30
    assert {one for one in told if one[0] == "Succeeded"} == {("Succeeded", n) for n in results}
    posts = [request for request in emulator.requests if request.method == "POST"]
    names = {f"/v2/tenants/{one.id}/sync": one.name for one in emulator.tenants}
    assert {request.path: json.loads(request.body)["name"] for request in posts} == names
    assert {request.query for request in posts} == {"mode=init"}
    kinds = [request.method for request in emulator.requests if "/runs/" not in request.path]
    assert "POST" in kinds[: len(kinds) - kinds[::-1].index("GET")]


async def test_a_payload_serves_all(client: AsyncPandium, emulator: Emulator) -> None:
    """A mapping is sent to each tenant as it was when it was given; a function may give none."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    emulator.add_tenant()
    payload = {"since": "2026"}
    syncing = client.tenants.sync_all([1], mode="normal", payload=payload, poll=SOON)
    payload["since"] = "1999"
    async with syncing as done:
        assert [completed.error async for completed in done] == [None]
    assert json.loads(_posts(emulator)[-1].body) == {"since": "2026"}
    async with client.tenants.sync_all(
        [1], mode="normal", payload=lambda _: None, poll=SOON
    ) as done:
        assert [completed.error async for completed in done] == [None]
    assert _posts(emulator)[-1].body == b""


def _posts(emulator: Emulator) -> list[Any]:
    return [request for request in emulator.requests if request.method == "POST"]


async def test_a_payload_that_is_none_is_one_result(
    client: AsyncPandium, emulator: Emulator
) -> None:
    """A function that gives no JSON object for a tenant makes a result with a ValueError."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    for _ in range(3):
        emulator.add_tenant()
    given: dict[int, Any] = {1: [1], 2: {"a": object()}, 3: {"a": 1}}
    async with client.tenants.sync_all(
        [1, 2, 3], mode="init", payload=given.get, poll=SOON
    ) as done:
        results = by_tenant([completed async for completed in done])
    assert [type(results[tenant_id].error) for tenant_id in (1, 2)] == [ValueError] * 2
    assert "payload" in str(results[1].error)
    assert results[3].status == TriggerStatus("Succeeded")
    assert len(_posts(emulator)) == 1


async def test_a_failure_of_the_api_is_one_result(client: AsyncPandium, emulator: Emulator) -> None:
    """A tenant that does not exist, or is archived, is a NotFound; the others are synced."""
    emulator.runs.script(appears_after=0, phases=[("Failed (Timeout)", 0)])
    for _ in range(3):
        emulator.add_tenant()
    emulator.archive_tenant(2)
    async with client.tenants.sync_all([1, 2, 3, 99], mode="normal", poll=SOON) as done:
        results = by_tenant([completed async for completed in done])
    assert {tenant_id for tenant_id, one in results.items() if one.error} == {2, 99}
    assert all(isinstance(results[tenant_id].error, NotFound) for tenant_id in (2, 99))
    assert (done.progress.failed, done.progress.triggered) == (4, 2)


async def test_a_lost_answer_is_not_repeated(tmp_path: Path) -> None:
    """A connection that breaks after the POST was read is one result, and no second POST."""
    with Misbehaving(bad.close("all")) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            for _ in range(2):
                async with client.tenants.sync_all(
                    [7], mode="normal", journal=tmp_path / "journal"
                ) as done:
                    [lost] = [completed async for completed in done]
                assert isinstance(lost.error, ConnectionLost)
                assert lost.error.outcome_unknown
                assert (done.progress.unknown, done.progress.triggered) == (1, 0)
    assert sum(server.arrived.values()) == 1


async def test_a_job_survives_its_client(emulator: Emulator, tmp_path: Path) -> None:
    """Another client, and another loop, goes on where the first was cut off."""
    emulator.runs.script(appears_after=0, phases=[("Running", 0.3), ("Succeeded", 0)])
    for _ in range(12):
        emulator.add_tenant()
    journal = str(tmp_path / "journal")
    seen: list[int | None] = []
    options: dict[str, Any] = {"mode": "normal", "journal": journal, "poll": SOON}
    async with (
        AsyncPandium(KEY, base_url=emulator.url) as client,
        client.tenants.sync_all(range(1, 13), max_concurrency=3, **options) as done,
    ):
        async for completed in done:
            seen.append(completed.tenant_id)
            if len(seen) == 4:
                break
    async with (
        AsyncPandium(KEY, base_url=emulator.url) as client,
        client.tenants.sync_all(range(1, 13), **options) as done,
    ):
        results = by_tenant([completed async for completed in done])
    assert set(results) == set(range(1, 13))
    posts = Counter(request.path for request in _posts(emulator))
    assert set(posts.values()) == {1}
    unknown = [one for one in results.values() if one.error is not None]
    assert all(isinstance(one.error, ConnectionLost) for one in unknown)
    assert len(unknown) <= 3


async def test_a_journal_belongs_to_one_job(emulator: Emulator, tmp_path: Path) -> None:
    """Another mode, or another API, is a ValueError that says so; nothing is sent."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    emulator.add_tenant()
    journal = tmp_path / "journal"
    async with AsyncPandium(KEY, base_url=emulator.url) as client:
        async with client.tenants.sync_all([1], mode="init", journal=journal, poll=SOON) as done:
            assert [completed.error async for completed in done] == [None]
        before = len(emulator.requests)
        with pytest.raises(ValueError, match="mode 'init', not 'normal'"):
            async with client.tenants.sync_all([1], mode="normal", journal=journal) as done:
                await anext(done)
    elsewhere = "http://127.0.0.1:1"
    async with AsyncPandium(KEY, base_url=elsewhere) as client:
        with pytest.raises(
            ConfigurationError, match=f"base_url '{emulator.url}', not '{elsewhere}'"
        ):
            async with client.tenants.sync_all([1], mode="init", journal=journal) as done:
                await anext(done)
    assert len(emulator.requests) == before


async def test_neither_key_nor_payload_is_in_the_journal(
    client: AsyncPandium, emulator: Emulator, tmp_path: Path
) -> None:
    """The journal holds ids, words and errors, and nothing that is secret."""

    def check() -> None:
        written = b"".join(one.read_bytes() for one in tmp_path.iterdir())
        assert b"hunter2" not in written
        assert KEY.encode() not in written
        assert b"init" in written

    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    emulator.add_tenant()
    async with client.tenants.sync_all(
        [1, 99], mode="init", payload={"password": "hunter2"}, journal=tmp_path / "j", poll=SOON
    ) as done:
        for _ in range(2):
            await anext(done)
            check()


async def test_a_second_entry_is_refused(client: AsyncPandium) -> None:
    """What `sync_all` gives is entered once."""
    syncing = client.tenants.sync_all([], mode="init")
    async with syncing as done:
        assert [completed async for completed in done] == []
    with pytest.raises(RuntimeError, match="entered already"):
        await syncing.__aenter__()
