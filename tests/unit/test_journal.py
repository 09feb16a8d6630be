"""Laws for all journals: which worker owns a tenant, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import pytest

from pandium._bulk.journal import LEASE, Entry, Journal, State
from pandium._bulk.postgres_worker import PostgresWorker
from pandium._bulk.sqlite import SQLiteJournal
from pandium.postgres import PostgresJournal
from support.journals import JOB, MINE, NEW, NOT_MINE, CalendarClock, adopt, claim
from support.postgres import expire_leases

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_journal(kind: str, request: pytest.FixtureRequest) -> Callable[[], Journal]:
    """Return a function that creates another worker's journal for the same job."""
    if kind == "postgres":
        settings = PostgresJournal(request.getfixturevalue("postgres_dsn"), job="nightly")
        return lambda: PostgresWorker(settings, JOB, CalendarClock())
    path, calendar = map(request.getfixturevalue, ("journal_path", "calendar"))
    return lambda: SQLiteJournal(path, JOB, calendar)


@pytest.fixture
def advance(kind: str, request: pytest.FixtureRequest) -> Callable[[float], None]:
    """Return a function that advances the clock by which leases expire, in seconds."""
    if kind == "postgres":
        dsn = request.getfixturevalue("postgres_dsn")
        return lambda seconds: expire_leases(dsn, seconds)
    calendar: CalendarClock = request.getfixturevalue("calendar")
    return calendar.advance


async def expire(advance: Callable[[float], None], journal: Journal) -> None:
    """Let the leases of all workers but one expire."""
    for _ in range(3):
        advance(LEASE / 3 + 1)
        await journal.renew()


async def test_a_tenant_is_claimed_by_one_worker(open_journal: Callable[[], Journal]) -> None:
    """If many workers claim the same tenants, each tenant has exactly one owner."""
    claimed: list[int] = []

    async def claim_all() -> None:
        async with open_journal() as journal:
            for tenant_id in range(25):
                if (await claim(journal, tenant_id)).is_mine:
                    claimed.append(tenant_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(claim_all)
    assert sorted(claimed) == list(range(25))


async def test_a_new_tenant_is_not_claimed_by_reading(open_journal: Callable[[], Journal]) -> None:
    """A tenant that one worker has found to be new is still new for the next one."""
    async with open_journal() as one, open_journal() as two:
        assert [await adopt(one), await adopt(two)] == [NEW, NEW]
        assert [await claim(one), await claim(two), await adopt(two)] == [MINE, NOT_MINE, NOT_MINE]


async def test_states_are_those_of_all_entries(open_journal: Callable[[], Journal]) -> None:
    """The states include the tenants of every worker, even finished ones."""
    async with open_journal() as one, open_journal() as two:
        assert await one.states() == {}
        for tenant_id in (1, 2, 3):
            await claim(one, tenant_id)
        await claim(two, 4)
        await one.record_triggered(2, "t2")
        await one.record_triggered(3, "t3")
        await one.record_ended(3, "t3", State.SUCCEEDED, "Succeeded")
        await two.record_unknown(4, "gone")
        assert await two.states() == {
            1: State.SENDING,
            2: State.TRIGGERED,
            3: State.SUCCEEDED,
            4: State.UNKNOWN,
        }


async def test_a_request_is_unknown_once_its_lease_has_expired(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """A request belongs to its owner while the lease is renewed. After that, it is unknown."""
    async with open_journal() as one, open_journal() as two:
        await claim(one)
        for _ in range(5):
            advance(LEASE / 2)
            assert await one.renew() == set()
            assert await two.renew() == {1}
        for _ in range(2):
            advance(LEASE / 2 - 1)
            assert await adopt(two) == NOT_MINE
            assert await two.renew() == {1}
        advance(3)
        assert await two.renew() == set()
        assert (await claim(two)).state is State.UNKNOWN
        assert await two.states() == {1: State.UNKNOWN}


async def test_a_trigger_is_adopted_once_its_lease_has_expired(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """The trigger of a suspended worker can be adopted by any other worker, but only by one."""
    async with open_journal() as one, open_journal() as two, open_journal() as three:
        await claim(one)
        await one.record_triggered(1, "t")
        assert await adopt(two) == Entry(State.TRIGGERED, trigger_id="t")
        await expire(advance, two)
        assert await adopt(two) == Entry(State.TRIGGERED, is_mine=True, trigger_id="t")
        assert await adopt(three) == Entry(State.TRIGGERED, trigger_id="t")
        assert await one.renew() == {1}
        await expire(advance, three)
        assert (await adopt(three)).is_mine


async def test_a_trigger_renews_the_lease(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """Recording a trigger gives its owner a new lease."""
    async with open_journal() as one, open_journal() as two:
        await claim(one)
        advance(LEASE - 1)
        await one.record_triggered(1, "t")
        advance(LEASE - 1)
        assert not (await adopt(two)).is_mine


async def test_a_lease_of_a_wrong_clock_has_expired(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """A lease that ends far in the future counts as expired, for a trigger and for a request."""
    async with open_journal() as one, open_journal() as two:
        await claim(one)
        await one.record_triggered(1, "t")
        await claim(one, 2)
        advance(-1)
        assert not (await adopt(two)).is_mine
        assert await adopt(two, 2) == NOT_MINE
        advance(-10_000)
        assert (await adopt(two)).is_mine
        assert (await adopt(two, 2)).state is State.UNKNOWN


async def test_an_unknown_outcome_is_claimed_only_on_demand(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """With `retry_unknown`, one worker claims a request with an unknown outcome."""
    async with open_journal() as one, open_journal() as two:
        await claim(one, 1)
        await claim(one, 2)
        await one.record_unknown(1, "gone")
        assert await adopt(two, 1) == Entry(State.UNKNOWN, error="gone")
        assert await adopt(two, 1, retry_unknown=True) == NEW
        assert await claim(two, 1, retry_unknown=True) == MINE
        assert await claim(one, 1, retry_unknown=True) == NOT_MINE
        assert await claim(two, 2, retry_unknown=True) == NOT_MINE
        await expire(advance, two)
        assert await adopt(two, 2, retry_unknown=True) == NEW
        assert await claim(two, 2, retry_unknown=True) == MINE


async def test_a_retry_that_was_not_sent_changes_nothing(
    open_journal: Callable[[], Journal],
) -> None:
    """If the second request is not sent, the outcome of the first one is still unknown."""
    async with open_journal() as one, open_journal() as two:
        await claim(one)
        await one.record_unknown(1, "gone")
        assert await claim(two, retry_unknown=True) == MINE
        await two.record_not_sent(1)
        assert (await claim(one)).state is State.UNKNOWN
        assert await claim(two, retry_unknown=True) == MINE
        await two.record_triggered(1, "t")
        assert await adopt(two) == Entry(State.TRIGGERED, is_mine=True, trigger_id="t")


async def test_a_claim_keeps_the_date_of_the_first_request(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """An entry has the date of its first claim, even after a retry of an unknown outcome."""
    async with open_journal() as one:
        claimed = (await claim(one)).claimed
        assert datetime.fromisoformat(claimed).tzinfo is UTC
        await one.record_unknown(1, "gone")
        advance(3600)
        assert (await adopt(one)).claimed == claimed
        assert (await claim(one, retry_unknown=True)).claimed == claimed


async def test_a_trigger_is_never_claimed_again(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """No worker can claim a tenant that has a trigger, even with `retry_unknown`."""
    async with open_journal() as one, open_journal() as two:
        for tenant_id in (1, 2):
            await claim(one, tenant_id)
            await one.record_triggered(tenant_id, f"t{tenant_id}")
        await one.record_ended(2, "t2", State.FAILED, "Failed (Timeout)")
        advance(LEASE + 1)
        assert (await claim(two, 1, retry_unknown=True)).state is State.TRIGGERED
        expected = Entry(State.FAILED, trigger_id="t2", status="Failed (Timeout)")
        assert await claim(two, 2, retry_unknown=True) == expected


async def test_a_former_owner_overwrites_nothing(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """A worker can no longer write to an entry that another worker has claimed."""
    async with open_journal() as one, open_journal() as two:
        await claim(one)
        await expire(advance, two)
        assert await claim(two, retry_unknown=True) == MINE
        await one.record_triggered(1, "late")
        await one.record_unknown(1, "late")
        await one.record_not_sent(1)
        await one.release(1)
        await one.record_ended(1, "late", State.SUCCEEDED, "Succeeded")
        assert await adopt(two) == MINE
        await two.record_triggered(1, "t")
        await one.record_ended(1, "late", State.SUCCEEDED, "Succeeded")
        assert await adopt(two) == Entry(State.TRIGGERED, is_mine=True, trigger_id="t")


async def test_no_record_removes_a_trigger(open_journal: Callable[[], Journal]) -> None:
    """Once a trigger or its end is recorded, the request cannot become unknown or unsent."""
    async with open_journal() as journal:
        await claim(journal)
        for record in (
            journal.record_triggered(1, "t"),
            journal.record_ended(1, "t", State.SUCCEEDED, "Succeeded"),
        ):
            await record
            before = await adopt(journal)
            await journal.record_unknown(1, "late")
            await journal.record_not_sent(1)
            await journal.record_triggered(1, "late")
            assert await adopt(journal) == before


async def test_a_late_response_replaces_unknown(
    open_journal: Callable[[], Journal], advance: Callable[[float], None]
) -> None:
    """If the owner of an expired request receives its response after all, it is recorded."""
    async with open_journal() as one, open_journal() as two:
        for tenant_id in (1, 2):
            await claim(one, tenant_id)
        await expire(advance, two)
        for tenant_id in (1, 2):
            assert (await adopt(two, tenant_id)).state is State.UNKNOWN
        await one.record_triggered(1, "t1")
        await one.record_not_sent(2)
        assert await two.states() == {1: State.TRIGGERED}
        assert (await adopt(two, 1)).trigger_id == "t1"


async def test_any_worker_records_the_end(open_journal: Callable[[], Journal]) -> None:
    """The first worker that detects the end of a run records it for all."""
    async with open_journal() as one, open_journal() as two:
        await claim(one)
        await one.record_triggered(1, "t")
        await two.record_ended(1, "t", State.SUCCEEDED, "Succeeded")
        await one.record_ended(1, "t", State.FAILED, "Failed (Timeout)")
        expected = Entry(State.SUCCEEDED, trigger_id="t", status="Succeeded")
        assert [await adopt(one), await adopt(two)] == [expected, expected]


async def test_closing_releases_triggers(open_journal: Callable[[], Journal]) -> None:
    """Closing a journal releases the worker's triggers, but not its pending requests."""
    async with open_journal() as two:
        async with open_journal() as one:
            await claim(one, 1)
            await claim(one, 2)
            await one.record_triggered(2, "t2")
        assert await two.states() == {1: State.SENDING, 2: State.TRIGGERED}
        assert await adopt(two, 1) == NOT_MINE
        assert (await adopt(two, 2)).is_mine


async def test_a_released_trigger_is_not_renewed(open_journal: Callable[[], Journal]) -> None:
    """A released trigger can be adopted immediately, even while its former owner renews leases."""
    async with open_journal() as one, open_journal() as two:
        await claim(one)
        await one.record_triggered(1, "t")
        await one.release(1)
        await one.renew()
        assert await two.renew() == set()
        assert (await adopt(two)).is_mine
