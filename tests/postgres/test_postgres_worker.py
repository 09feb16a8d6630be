"""The journal in PostgreSQL: its tables, jobs and texts, and servers that lost transactions."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
import pytest

from pandium import ConfigurationError, PandiumError
from pandium._bulk.journal import Entry, State
from pandium._bulk.postgres_worker import PostgresWorker
from pandium._clock import RealClock
from pandium.postgres import PostgresJournal
from support.journals import JOB, MINE, NEW, NOT_MINE, adopt, claim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import Server

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def worker(
    dsn: str, *, job: str = "nightly", mode: str = "normal", accept_failover: bool = False
) -> PostgresWorker:
    settings = PostgresJournal(dsn, job=job, accept_failover=accept_failover)
    return PostgresWorker(settings, {**JOB, "mode": mode}, RealClock())


async def test_jobs_share_the_tables(postgres_dsn: str) -> None:
    """Two jobs in the same tables know nothing of each other's tenants."""
    async with worker(postgres_dsn) as one, worker(postgres_dsn, job="weekly") as two:
        await claim(one, 1)
        assert await adopt(two, 1) == NEW
        assert await claim(two, 1) == MINE
        await one.record_triggered(1, "t1")
        await two.record_ended(1, "t1", State.FAILED, "Failed")
        assert await two.renew() == set()
        assert await one.states() == {1: State.TRIGGERED}
        assert await two.states() == {1: State.SENDING}


async def test_each_index_finds_a_single_tenant(postgres_dsn: str) -> None:
    """Whichever index PostgreSQL chooses, it reads no other tenant's row to find one."""
    async with worker(postgres_dsn):
        with closing(psycopg.connect(postgres_dsn)) as db:
            found = db.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'pandium_syncs'")
            indexes = [index for (index,) in found]
    assert len(indexes) == 2
    assert all("(job_id, tenant_id)" in index for index in indexes)


async def test_a_job_keeps_its_properties(postgres_dsn: str) -> None:
    """A job that was begun with another mode raises an error that shows both."""
    async with worker(postgres_dsn):
        pass
    with pytest.raises(ConfigurationError, match="a job with mode 'normal', not 'init'"):
        async with worker(postgres_dsn, mode="init"):
            pass
    async with worker(postgres_dsn, job="weekly", mode="init"):
        pass


async def test_a_claim_is_returned_once(postgres_dsn: str) -> None:
    """A second claim of a tenant sends nothing, even if the first is of the same worker."""
    async with worker(postgres_dsn) as journal:
        assert await claim(journal) == MINE
        assert await claim(journal) == NOT_MINE
        assert await adopt(journal) == MINE


async def test_a_text_is_stored_as_far_as_possible(postgres_dsn: str) -> None:
    """Characters that PostgreSQL cannot store are replaced, and a long text is shortened."""
    async with worker(postgres_dsn) as journal:
        for tenant_id, text in ((1, "a\0b\ud800"), (2, "x" * 5000)):
            await claim(journal, tenant_id)
            await journal.record_unknown(tenant_id, text)
        assert await adopt(journal, 1) == Entry(State.UNKNOWN, error="a\ufffdb\ufffd")
        assert await adopt(journal, 2) == Entry(State.UNKNOWN, error="x" * 2000)


@pytest.mark.parametrize("trigger_id", ["a\0b", "\ud800", "x" * 5000])
async def test_a_trigger_that_cannot_be_stored_is_an_error(
    postgres_dsn: str, trigger_id: str
) -> None:
    """A trigger is never stored under another id. Other records are not affected."""
    async with worker(postgres_dsn) as journal:
        await claim(journal, 1)
        with pytest.raises(PandiumError, match="cannot store the trigger id"):
            await journal.record_triggered(1, trigger_id)
        await journal.record_ended(1, trigger_id, State.SUCCEEDED, "Succeeded")
        assert await claim(journal, 2) == MINE


async def test_the_key_and_the_payload_have_no_column(postgres_dsn: str) -> None:
    """The tables have only the columns that the documentation names."""
    async with worker(postgres_dsn):
        pass
    with closing(psycopg.connect(postgres_dsn)) as db:
        found = db.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'pandium_syncs'"
        ).fetchall()
    assert {name for (name,) in found} == {
        *("job_id", "tenant_id", "state", "owner", "claim"),
        *("trigger_id", "status", "error", "is_retry", "claimed"),
    }


async def test_workers_create_the_tables_once(postgres_dsn: str) -> None:
    """If many workers open a journal in an empty database at once, all of them can use it."""
    opened = []

    async def open_and_claim() -> None:
        async with worker(postgres_dsn) as journal:
            opened.append((await claim(journal)).is_mine)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(open_and_claim)
    assert sorted(opened) == [False] * 7 + [True]


@pytest.mark.parametrize("is_unknown", [False, True], ids=["not sent", "unknown"])
async def test_a_claim_that_is_given_up_meanwhile_is_made_again(
    postgres_dsn: str,
    is_unknown: bool,  # noqa: FBT001
) -> None:
    """If another worker gives up its claim after ours has found it, the tenant is claimed."""
    found: list[Entry] = []
    async with worker(postgres_dsn) as one, worker(postgres_dsn) as two:
        assert await claim(one) == MINE
        with closing(psycopg.connect(postgres_dsn, autocommit=True)) as db:
            # A statement that inserts nothing also fires the trigger. It then waits for the lock.
            db.execute(_PAUSE_AFTER_INSERT)
            db.execute("SELECT pg_advisory_lock(1)")
            async with anyio.create_task_group() as tasks:

                async def claim_as_two() -> None:
                    found.append(await claim(two, retry_unknown=is_unknown))

                tasks.start_soon(claim_as_two)
                await wait_for_lock(db)
                if is_unknown:
                    await one.record_unknown(1, "lost")
                else:
                    await one.record_not_sent(1)
                db.execute("SELECT pg_advisory_unlock(1)")
        assert found == [MINE]


@contextmanager
def abandoned_tenant(dsn: str, state: State) -> Iterator[psycopg.Connection[Any]]:
    """Store a tenant of a worker that no longer exists, and connect to the database."""
    with closing(psycopg.connect(dsn, autocommit=True)) as db:
        db.execute(
            "INSERT INTO pandium_syncs (job_id, tenant_id, state, owner, claim, trigger_id)"
            " SELECT id, 1, %s, 'dead', 1, 't1' FROM pandium_jobs",
            [state],
        )
        yield db


async def wait_for_lock(db: psycopg.Connection[Any]) -> None:
    """Wait until a transaction waits for a lock."""
    while not db.execute(_COUNT_WAITING).fetchall()[0][0]:  # noqa: ASYNC110 - no event
        await anyio.sleep(0.01)


@pytest.mark.parametrize("state", [State.TRIGGERED, State.SENDING])
async def test_workers_that_adopt_the_same_tenant_do_not_wait_for_each_other(
    postgres_dsn: str, state: State
) -> None:
    """A tenant that another worker is just adopting is held by another, and delays no work."""
    async with worker(postgres_dsn) as journal:
        with abandoned_tenant(postgres_dsn, state) as db, db.transaction():
            db.execute("SELECT FROM pandium_syncs FOR UPDATE")
            with anyio.fail_after(4):
                found = await claim(journal, retry_unknown=True)
        assert (found.state, found.is_mine) == (state, False)
        assert (await claim(journal, retry_unknown=True)).is_mine  # later


@pytest.mark.parametrize("state", [State.TRIGGERED, State.SENDING])
async def test_a_tenant_is_adopted_by_one_worker(postgres_dsn: str, state: State) -> None:
    """If another worker adopts a tenant after our statement has begun, it remains that worker's."""
    found: list[Entry] = []

    async def claim_late() -> None:
        found.append(await claim(journal, retry_unknown=True))

    async with worker(postgres_dsn) as journal:
        with abandoned_tenant(postgres_dsn, state) as db:
            db.execute(_REGISTER_OTHER)
            db.execute(_PAUSE_UPDATES.format(condition=f"state = ''{state}''").encode())
            db.execute("SELECT pg_advisory_lock(1)")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(claim_late)
                await wait_for_lock(db)
                db.execute("UPDATE pandium_syncs SET owner = 'other', claim = 7")
                db.execute("SELECT pg_advisory_unlock(1)")
            assert db.execute("SELECT owner, state FROM pandium_syncs").fetchall() == [
                ("other", state)
            ]
    assert [(entry.state, entry.is_mine) for entry in found] == [(state, False)]


async def test_a_renewal_holds_no_lock_while_other_work_waits(postgres_dsn: str) -> None:
    """A worker whose record waits for a lock does not delay the renewals of the other workers."""
    async with worker(postgres_dsn) as one, worker(postgres_dsn) as two:
        await claim(one)
        async with anyio.create_task_group() as tasks:
            with closing(psycopg.connect(postgres_dsn)) as db, db.transaction():
                db.execute("SELECT FROM pandium_syncs FOR UPDATE")
                tasks.start_soon(one.record_triggered, 1, "t1")
                tasks.start_soon(one.renew)  # queued before the transaction of the record begins
                await wait_for_lock(db)
                began = time.monotonic()
                await two.renew()
                assert time.monotonic() - began < 4


async def test_a_claim_that_is_not_stored_is_an_error(postgres_dsn: str) -> None:
    """If the database discards a claim, claiming fails and does not go on forever."""
    async with worker(postgres_dsn) as journal:
        with closing(psycopg.connect(postgres_dsn, autocommit=True)) as db:
            db.execute(_DISCARD_INSERTS)
        with pytest.raises(PandiumError, match="did not store the claim of tenant 1"):
            await claim(journal)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE pandium_jobs SET properties = 'none'", "Expecting value"),
        ("UPDATE pandium_jobs SET properties = '[]'", "list"),
        ("UPDATE pandium_syncs SET state = 'odd'", "'odd' is not a valid State"),
    ],
    ids=["text", "list", "state"],
)
async def test_content_that_cannot_be_read_is_a_clear_error(
    postgres_dsn: str, change: str, message: str
) -> None:
    """Tables that another program changed raise a PandiumError that names the journal."""
    async with worker(postgres_dsn) as journal:
        await claim(journal)
    with closing(psycopg.connect(postgres_dsn, autocommit=True)) as db:
        db.execute(change.encode())
    with pytest.raises(PandiumError, match=message) as caught:
        async with worker(postgres_dsn) as journal:
            await journal.states()
    assert str(caught.value).startswith("journal 'nightly' in ")


_DISCARD_INSERTS = """
    CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER discard BEFORE INSERT ON pandium_syncs FOR EACH ROW EXECUTE FUNCTION discard()
"""
_PAUSE_AFTER_INSERT = """
    CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(1);
        RETURN NULL;
    END $$;
    CREATE TRIGGER pause AFTER INSERT ON pandium_syncs EXECUTE FUNCTION pause()
"""
_PAUSE_UPDATES = """
    CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF position('{condition}' IN current_query()) > 0 THEN
            PERFORM pg_advisory_xact_lock_shared(1);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER pause BEFORE UPDATE ON pandium_syncs EXECUTE FUNCTION pause()
"""
_REGISTER_OTHER = """
    INSERT INTO pandium_workers (owner, job_id, lease, expires)
    SELECT 'other', id, '1 hour', clock_timestamp() + interval '1 hour' FROM pandium_jobs
"""
_COUNT_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


# Servers that lost transactions


async def test_a_worker_stops_if_its_last_transaction_is_missing(own_server: Server) -> None:
    """A worker whose server is replaced with an older copy stops before it sends anything again."""
    dsn = own_server.create_database("jobs")
    async with worker(dsn) as journal:
        await claim(journal, 1)
        await anyio.to_thread.run_sync(own_server.stop)
        with own_server.copy() as copied:
            await anyio.to_thread.run_sync(own_server.start)
            assert await claim(journal, 2) == MINE  # not in the copy
            await anyio.to_thread.run_sync(own_server.stop, "immediate")
            await anyio.to_thread.run_sync(copied.start)
            for write in (claim(journal, 2), claim(journal, 3), journal.record_triggered(2, "t")):
                with pytest.raises(PandiumError, match="has lost its last transactions"):
                    await write


@pytest.mark.parametrize("accept_failover", [False, True])
async def test_a_worker_stops_after_a_failover(
    own_server: Server, *, accept_failover: bool
) -> None:
    """After a failover, a worker and its job stop, unless the user accepts the failover."""
    dsn = own_server.create_database("jobs")
    async with worker(dsn, accept_failover=accept_failover) as journal:
        await claim(journal, 1)
        await anyio.to_thread.run_sync(own_server.stop)
        await anyio.to_thread.run_sync(own_server.promote)
        if accept_failover:
            assert await claim(journal, 2) == MINE
        else:
            with pytest.raises(PandiumError, match="is on another server since a failover"):
                await claim(journal, 2)
    if not accept_failover:
        with pytest.raises(ConfigurationError, match="a server that has failed over since"):
            async with worker(dsn):
                pass
        async with worker(dsn, accept_failover=True) as journal:
            assert await claim(journal, 2) == MINE
        async with worker(dsn) as journal:  # the job belongs to the new server from now on
            assert await claim(journal, 3) == MINE


async def test_a_replica_is_a_clear_error(own_server: Server) -> None:
    """A server that is a read-only replica is rejected, because its timeline could still change."""
    dsn = own_server.create_database("jobs")
    await anyio.to_thread.run_sync(own_server.stop)
    await anyio.to_thread.run_sync(own_server.start_as_replica)
    with pytest.raises(ConfigurationError, match="is a read-only replica"):
        async with worker(dsn):
            pass


async def test_a_role_that_may_not_identify_the_server_can_use_it(
    postgres_server: Server, postgres_dsn: str
) -> None:
    """If the identity of the server cannot be read, the journal can be used without it."""
    with postgres_server.connect(postgres_dsn.rpartition("/")[2]) as db:
        db.execute("REVOKE EXECUTE ON FUNCTION pg_control_system FROM public")
    async with worker(postgres_dsn) as journal:
        assert await claim(journal) == MINE
