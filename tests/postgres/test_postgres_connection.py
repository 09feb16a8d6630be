"""How a worker deals with a PostgreSQL server that it cannot use, or that it loses."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
import pytest

from pandium import ConfigurationError, PandiumError
from pandium._bulk.journal import Entry, State
from pandium._bulk.postgres_worker import PostgresWorker
from pandium._clock import RealClock
from pandium.postgres import PostgresJournal
from support.journals import JOB, MINE, NOT_MINE, adopt, claim
from support.postgres import (
    FLUSH,
    PASSWORD,
    SYNC,
    URL_PASSWORD,
    PostgresProxy,
    Server,
    expire_leases,
    old_server,
)
from support.threads import no_threads_at_all
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

LEASE = 1.0


def worker(dsn: str, *, job: str = "nightly", lease: float = 10.0) -> PostgresWorker:
    return PostgresWorker(PostgresJournal(dsn, job=job, lease=lease), JOB, RealClock())


def execute(dsn: str, *statements: str) -> None:
    with closing(psycopg.connect(dsn, autocommit=True)) as db:
        for statement in statements:
            db.execute(statement.encode())


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def read_states(dsn: str) -> dict[int, str]:
    with closing(psycopg.connect(dsn)) as db:
        return dict(db.execute("SELECT tenant_id, state FROM pandium_syncs").fetchall())


# Servers that cannot be used


def wrong_password(server: Server, dsn: str) -> str:
    return dsn.replace(URL_PASSWORD, "letmein")


def unknown_host(server: Server, dsn: str) -> str:
    return dsn.replace("127.0.0.1", "no-such-host.invalid")


def missing_database(server: Server, dsn: str) -> str:
    return dsn.replace("/test_", "/no_")


def closed_port(server: Server, dsn: str) -> str:
    return dsn.replace(f":{server.port}/", ":1/")


def no_permission(server: Server, dsn: str) -> str:
    with server.connect() as db, suppress(psycopg.errors.DuplicateObject):
        db.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    return dsn.replace("jobs:", "guest:")


def no_connection_left(server: Server, dsn: str) -> str:
    with server.connect() as db:
        name = dsn.rpartition("/")[2]
        db.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0".encode())
    return dsn


def read_only(server: Server, dsn: str) -> str:
    return f"{dsn}?options=-cdefault_transaction_read_only%3Don"


def temporary_schema(server: Server, dsn: str) -> str:
    return f"{dsn}?options=-csearch_path%3Dpg_temp,public"


def other_encoding(server: Server, dsn: str) -> str:
    with server.connect() as db:
        db.execute("DROP DATABASE IF EXISTS latin")
        db.execute("CREATE DATABASE latin ENCODING latin1 TEMPLATE template0 OWNER jobs")
    return dsn.rpartition("/")[0] + "/latin"


def newer_tables(server: Server, dsn: str) -> str:
    execute(dsn, "CREATE TABLE pandium_schema (version integer)")
    execute(dsn, "INSERT INTO pandium_schema VALUES (99)")
    return dsn


def table_with_rows(*values: str) -> Callable[[Server, str], str]:
    """Return a function that creates the table of the version with other rows."""

    def change(_: Server, dsn: str) -> str:
        execute(dsn, "CREATE TABLE pandium_schema (version text)")
        for value in values:
            execute(dsn, f"INSERT INTO pandium_schema VALUES ({value})")
        return dsn

    return change


UNUSABLE: list[tuple[Callable[[Server, str], str], str]] = [
    (wrong_password, "password authentication failed"),
    (unknown_host, "no-such-host.invalid"),
    (missing_database, 'database "no_[0-9]+" does not exist'),
    (closed_port, "refused"),
    (no_permission, "permission denied for schema public .grant the role CREATE"),
    (no_connection_left, "too many connections"),
    (read_only, "read-only transaction .connect to the primary"),
    (temporary_schema, "temporary tables, .* set search_path to a permanent schema"),
    (other_encoding, "encoding of the database is LATIN1, and UTF8 is required"),
    (newer_tables, "was written by a newer version"),
    (table_with_rows(), "the table pandium_schema was changed or has another purpose"),
    (table_with_rows("1", "1"), "the table pandium_schema was changed"),
    (table_with_rows("NULL"), "the table pandium_schema was changed"),
    (table_with_rows("'notes'"), "the table pandium_schema was changed"),
]


@pytest.mark.parametrize(("change", "message"), UNUSABLE)
async def test_a_server_that_cannot_be_used_is_a_clear_error(
    postgres_server: Server,
    postgres_dsn: str,
    change: Callable[[Server, str], str],
    message: str,
) -> None:
    """Opening a journal raises a ConfigurationError that names it and the reason, but no secret."""
    dsn = change(postgres_server, postgres_dsn)
    with pytest.raises(ConfigurationError, match=message) as caught:
        async with worker(dsn):
            pass
    assert str(caught.value).startswith("journal 'nightly' in database '")
    assert_no_secret(caught.value)


def assert_no_secret(error: BaseException) -> None:
    """Assert that nothing of psycopg and no password is reachable from an error."""
    secrets = {PASSWORD, URL_PASSWORD, "letmein"}
    seen: list[BaseException | None] = [error]
    for current in seen:
        if current is None:
            continue
        assert not isinstance(current, psycopg.Error)
        assert not any(secret in str(current) for secret in secrets)
        seen += current.__cause__, current.__context__
        traceback = current.__traceback__
        while traceback is not None:
            if "/pandium/" in traceback.tb_frame.f_code.co_filename:
                shown = repr(traceback.tb_frame.f_locals)
                assert not any(secret in shown for secret in secrets), shown
            traceback = traceback.tb_next


async def test_an_old_server_is_a_clear_error() -> None:
    """A server that is too old is rejected before anything is sent to it."""
    with old_server() as port:
        dsn = f"host=127.0.0.1 port={port} user=jobs sslmode=disable gssencmode=disable"
        with pytest.raises(ConfigurationError, match="PostgreSQL 11, and 12 is the oldest"):
            async with worker(dsn):
                pass


async def test_a_role_that_may_not_create_tables_uses_those_that_exist(
    postgres_server: Server, postgres_dsn: str
) -> None:
    """Once the tables exist, a role needs only permissions on them."""
    async with worker(postgres_dsn):
        pass
    guest = no_permission(postgres_server, postgres_dsn)
    execute(
        postgres_dsn,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest",
    )
    async with worker(guest) as journal:
        assert await claim(journal) == MINE


async def test_a_role_that_may_not_end_sessions_uses_a_journal(
    postgres_server: Server, postgres_dsn: str
) -> None:
    """A role needs no permission to end the sessions of suspended workers."""
    with postgres_server.connect(postgres_dsn.rpartition("/")[2]) as db:
        db.execute("REVOKE EXECUTE ON FUNCTION pg_terminate_backend FROM PUBLIC")
        db.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    async with worker(no_permission(postgres_server, postgres_dsn)) as journal:
        assert await claim(journal) == MINE


async def test_any_host_name_is_stored(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose name is not UTF-8 can use a journal."""
    monkeypatch.setattr(socket, "gethostname", lambda: "caf\udce9")
    async with worker(postgres_dsn) as journal:
        assert await claim(journal) == MINE


# Transactions that fail


async def test_a_full_disk_is_a_clear_error(postgres_dsn: str) -> None:
    """Without space, a claim fails, and a record is written once there is space again."""
    async with worker(postgres_dsn) as journal:
        await claim(journal, 1)
        execute(postgres_dsn, *FILL_DISK)
        with pytest.raises(PandiumError, match="No space left") as caught:
            await claim(journal, 2)
        assert_no_secret(caught.value)
        with pytest.raises(PandiumError, match="No space left"):
            await journal.record_triggered(1, "t1")
        execute(postgres_dsn, FREE_DISK)
        assert await claim(journal, 3) == MINE
        assert await journal.states() == {1: State.TRIGGERED, 3: State.SENDING}


FILL_DISK = (
    """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
    END $$
    """,
    "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON pandium_syncs EXECUTE FUNCTION fail()",
)
FREE_DISK = "DROP TRIGGER full_disk ON pandium_syncs"


async def test_records_that_are_lost_are_named(
    postgres_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that cannot be written until the journal is closed is named in a warning."""
    async with worker(postgres_dsn) as journal:
        for tenant_id in (1, 2):
            await claim(journal, tenant_id)
        execute(postgres_dsn, *FILL_DISK)
        for write in (journal.record_triggered(1, "t1"), journal.record_unknown(2, "lost")):
            with pytest.raises(PandiumError, match="No space left"):
                await write
    [warning] = [record.getMessage() for record in caplog.records if "written" in record.msg]
    assert warning.endswith(
        "2 records were not written: trigger t1 of tenant 1, unknown outcome of tenant 2"
    )


async def test_transactions_wait_for_the_disk_of_the_server(
    postgres_server: Server, postgres_dsn: str
) -> None:
    """Each transaction is on disk when it ends, even if the role's default is otherwise."""
    async with worker(postgres_dsn):
        pass
    execute(
        postgres_dsn,
        """
        CREATE FUNCTION require_sync() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            ASSERT current_setting('synchronous_commit') = 'on'; RETURN NEW;
        END $$
        """,
        "CREATE TRIGGER require_sync BEFORE INSERT OR UPDATE ON pandium_syncs"
        " FOR EACH ROW EXECUTE FUNCTION require_sync()",
    )
    dsn = f"{postgres_dsn}?options=-csynchronous_commit%3Doff"
    async with worker(dsn) as journal:
        assert await claim(journal) == MINE
        await journal.record_triggered(1, "t")


# Connections that are lost


async def test_a_lost_connection_is_opened_again(
    postgres_server: Server, postgres_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If the server ends the session, the next transaction opens another one."""
    async with worker(postgres_dsn) as journal:
        await claim(journal, 1)
        end_sessions(postgres_server)
        await journal.record_triggered(1, "t")
        assert await claim(journal, 2) == MINE
        assert await journal.states() == {1: State.TRIGGERED, 2: State.SENDING}
    [warning] = caplog.records
    assert (warning.name, warning.levelno) == ("pandium.journal", logging.WARNING)
    assert warning.getMessage().endswith("; trying again")


def end_sessions(server: Server) -> None:
    with server.connect() as db:
        db.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'pandium'"
        )


def lose_commit(action: str) -> Callable[[bytes], str]:
    """Return a function that loses the first commit that contains a statement on a tenant."""
    remaining = [action]

    def lose(data: bytes) -> str:
        return remaining.pop() if b"COMMIT\0" in data and remaining else ""

    return lose


class CutOff:
    """A worker whose connection is lost at its next commit and cannot be opened again."""

    def __init__(self, proxy: PostgresProxy, action: str) -> None:
        self._proxy = proxy
        self._action = action
        self._is_lost = threading.Event()
        proxy.lose = self._lose

    def _lose(self, data: bytes) -> str:
        if self._is_lost.is_set():
            return "before"
        if b"COMMIT\0" in data:
            self._is_lost.set()
            return self._action
        return ""

    async def wait(self) -> None:
        await anyio.to_thread.run_sync(self._is_lost.wait)

    def heal(self) -> None:
        self._proxy.lose = lambda _: ""


async def wait_for_state(dsn: str, tenant_id: int, state: str) -> None:
    while read_states(dsn).get(tenant_id) != state:  # noqa: ASYNC110 - another process
        await anyio.sleep(0.01)


@pytest.mark.parametrize("retry_unknown", [False, True])
@pytest.mark.parametrize("action", ["before", "after"])
async def test_a_claim_whose_commit_is_lost_is_confirmed(
    postgres_dsn: str, proxy_dsn: str, proxy: PostgresProxy, action: str, *, retry_unknown: bool
) -> None:
    """A worker finds out whether its claim was committed, and claims the tenant once."""
    async with worker(postgres_dsn) as other, worker(proxy_dsn) as journal:
        await claim(other, 1)
        await other.record_unknown(1, "lost")
        await claim(journal, 7)
        proxy.lose = lose_commit(action)
        tenant_id = 1 if retry_unknown else 2
        assert await claim(journal, tenant_id, retry_unknown=retry_unknown) == MINE
        assert proxy.connections == 2
        assert await claim(other, tenant_id, retry_unknown=retry_unknown) == NOT_MINE


@pytest.mark.parametrize("retry_unknown", [False, True])
async def test_a_claim_that_others_found_expired_is_confirmed(
    postgres_dsn: str, proxy_dsn: str, proxy: PostgresProxy, *, retry_unknown: bool
) -> None:
    """A claim that expires while its commit is unknown is still its owner's, who sent nothing."""
    entries = []
    async with worker(postgres_dsn) as other, worker(proxy_dsn) as journal:
        await claim(other, 1)
        await other.record_unknown(1, "lost")
        tenant_id = 1 if retry_unknown else 2
        cut_off = CutOff(proxy, "after")

        async def claim_it() -> None:
            entries.append(await claim(journal, tenant_id, retry_unknown=retry_unknown))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claim_it)
            await cut_off.wait()
            await wait_for_state(postgres_dsn, tenant_id, "sending")
            expire_leases(postgres_dsn, 11)
            assert (await claim(other, tenant_id)).state is State.UNKNOWN
            cut_off.heal()
    assert entries == [MINE]


async def test_a_claim_that_another_worker_made_meanwhile_is_not_ours(
    postgres_dsn: str, proxy_dsn: str, proxy: PostgresProxy
) -> None:
    """If a commit is lost and another worker claims the tenant, it belongs to that worker."""
    entries = []
    async with worker(postgres_dsn) as other, worker(proxy_dsn) as journal:
        cut_off = CutOff(proxy, "before")

        async def claim_it() -> None:
            entries.append(await claim(journal))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claim_it)
            await cut_off.wait()
            assert await claim(other) == MINE
            cut_off.heal()
    assert entries == [NOT_MINE]


@pytest.mark.parametrize("action", ["before", "after"])
async def test_a_canceled_claim_is_deleted(
    postgres_dsn: str, proxy_dsn: str, proxy: PostgresProxy, action: str
) -> None:
    """If a task is canceled while its claim is in doubt, the tenant can be claimed by others."""
    async with worker(postgres_dsn) as other, worker(proxy_dsn) as journal:
        cut_off = CutOff(proxy, action)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claim, journal)
            await cut_off.wait()
            if action == "after":
                await wait_for_state(postgres_dsn, 1, "sending")
            tasks.cancel_scope.cancel()
        cut_off.heal()
        await journal.renew()
        assert await claim(other) == MINE


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the server's time limit is long
async def test_a_host_that_is_cut_off_while_it_opens_a_journal_blocks_nobody(
    postgres_dsn: str, proxy_dsn: str, proxy: PostgresProxy
) -> None:
    """Other workers can open the journal once the server has ended the transaction of that host."""
    is_cut = threading.Event()

    def cut(data: bytes) -> str:
        if b"INSERT INTO pandium_workers" in data:
            is_cut.set()
        return "hang" if is_cut.is_set() else ""

    async def open_there() -> None:
        with pytest.raises(ConfigurationError):
            await worker(proxy_dsn).__aenter__()

    proxy.lose = cut
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_there)
        await anyio.to_thread.run_sync(is_cut.wait)
        async with worker(postgres_dsn) as journal:
            assert await claim(journal) == MINE
        proxy.close()


def wait_for_silent_sessions(dsn: str, count: int = 1, seconds: float = 0.5) -> None:
    """Wait until the server has waited for clients in transactions for some time."""
    query = f"""
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'ClientRead'
            AND state IN ('active', 'idle in transaction')
            AND state_change < clock_timestamp() - interval '{seconds} s'
    """
    with closing(psycopg.connect(dsn, autocommit=True)) as db:
        wait_until(lambda: db.execute(query.encode()).rowcount == count)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the server takes five seconds
@pytest.mark.parametrize(
    ("statement", "use"),
    [
        (b"INSERT INTO pandium_syncs", lambda journal: claim(journal, 1)),
        (b"FOR NO KEY UPDATE", lambda journal: journal.renew()),
    ],
    ids=["claim", "renewal"],
)
@pytest.mark.parametrize("is_sent", [True, False])
async def test_a_host_that_is_cut_off_in_a_transaction_does_not_block_the_others(
    postgres_dsn: str,
    proxy_dsn: str,
    proxy: PostgresProxy,
    *,
    is_sent: bool,
    statement: bytes,
    use: Callable[[PostgresWorker], Coroutine[Any, Any, object]],
) -> None:
    """The server ends the transaction of a worker that disappears with its connection open."""
    sent = b""

    def cut_off(data: bytes) -> str:
        nonlocal sent
        sent += data
        # The client waits for results once it has sent one of these messages.
        is_complete = sent.endswith((FLUSH, SYNC))
        if statement not in sent or (is_sent and not is_complete):
            return ""
        return "cut" if is_sent else "cut early"

    async with worker(proxy_dsn) as gone, worker(postgres_dsn, lease=60.0) as journal:
        proxy.lose = cut_off
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use, gone)
            await anyio.to_thread.run_sync(wait_for_silent_sessions, postgres_dsn)
            proxy.lose = lambda _: ""
            began = journal.lease_number
            await use(journal)
            assert began is not None
            assert journal.lease_number == began
            tasks.cancel_scope.cancel()


def begin_silently(connection: psycopg.Connection[Any]) -> None:
    """Send the beginning of a transaction in a pipeline, and no more."""
    wire = connection.pgconn
    wire.enter_pipeline_mode()
    for statement in (b"BEGIN", b"UPDATE pandium_workers SET revision = revision", b"SELECT 1"):
        wire.send_query_params(statement, [])
    wire.flush()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the sessions are silent for five seconds
async def test_only_silent_sessions_that_hold_locks_of_journals_are_ended(
    postgres_dsn: str,
) -> None:
    """A new worker ends a worker's silent session, but no other session of the same role."""
    async with worker(postgres_dsn):
        execute(postgres_dsn, "CREATE TABLE pandium_export (id int)")
        with (
            closing(psycopg.connect(postgres_dsn)) as silent,
            psycopg.connect(postgres_dsn) as own,
            own.cursor().copy("COPY pandium_export FROM STDIN") as copy,
        ):
            begin_silently(silent)
            copy.write_row((1,))
            await anyio.to_thread.run_sync(wait_for_silent_sessions, postgres_dsn, 2, 5)
            async with worker(postgres_dsn, job="other"):
                await anyio.to_thread.run_sync(wait_for_silent_sessions, postgres_dsn, 1, 5)
            copy.write_row((2,))


@pytest.mark.parametrize(
    ("given", "time_left", "used"),
    [
        ("", 10.0, "5"),
        ("", 3.0, "3"),
        ("?connect_timeout=8", 10.0, "8"),
        ("?connect_timeout=600", 3.0, "3"),
        ("?connect_timeout=600.5", 3.0, "3"),
        ("?connect_timeout=0", 3.0, "3"),
        ("?connect_timeout=soon", 3.0, "soon"),
    ],
)
def test_a_connection_attempt_takes_no_longer_than_what_is_left(
    given: str, time_left: float, used: str
) -> None:
    """A time limit in the connection string applies, unless less time is left."""
    database = worker(f"postgresql://db.example/jobs{given}")._database
    assert database._connection_parameters(time_left)["connect_timeout"] == used


CLOCK = """
import time
from pandium._bulk import postgres_connection
print(postgres_connection._now() - time.monotonic())
"""
AFTER_A_SUSPENSION = ["unshare", "--time", "--boottime", "1000"]


def test_a_lease_expires_while_the_host_is_suspended() -> None:
    """The clock of a lease does not stop while the host is suspended, unlike the monotonic one."""
    try:
        run([*AFTER_A_SUSPENSION, "true"])
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs permission to create time namespaces")
    done = run([*AFTER_A_SUSPENSION, sys.executable, "-c", CLOCK])
    assert float(done.stdout) > 900


async def test_a_server_that_is_restarted_is_waited_for(own_server: Server) -> None:
    """While the server is down, transactions wait, and the lease is not relied on once it ends."""
    dsn = own_server.create_database("jobs")
    async with worker(dsn, lease=LEASE) as journal:
        await claim(journal, 1)
        number = journal.lease_number
        assert number is not None
        await anyio.to_thread.run_sync(own_server.stop, "immediate")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(journal.record_triggered, 1, "t")
            while journal.lease_number is not None:  # noqa: ASYNC110 - no event: time passes
                await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(own_server.start)
        assert journal.lease_number == number + 1
        assert await journal.states() == {1: State.TRIGGERED}


async def test_a_server_that_stays_away_is_an_error(own_server: Server) -> None:
    """After some leases, what waits for the server fails. Records are named when it closes."""
    dsn = own_server.create_database("jobs")
    journal = worker(dsn)
    journal._settings.lease = LEASE / 4  # users may not set it that low
    async with journal:
        await claim(journal, 1)
        await anyio.to_thread.run_sync(own_server.stop)
        errors: list[PandiumError] = []

        async def expect_error(write: Any) -> None:
            with pytest.raises(PandiumError, match="refused") as caught:
                await write
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expect_error, journal.record_triggered(1, "t"))
            tasks.start_soon(expect_error, claim(journal, 2))
        assert len(errors) == 2
        for error in errors:
            assert_no_secret(error)
        await anyio.to_thread.run_sync(own_server.start)
    assert read_states(dsn) == {1: "triggered"}


async def test_closing_does_not_wait_for_a_server_that_hangs(
    proxy_dsn: str, proxy: PostgresProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal is closed within seconds even if the server does not respond."""
    with anyio.fail_after(60):
        async with worker(proxy_dsn) as journal:
            await claim(journal)
            proxy.lose = lambda _: "hang"
    assert caplog.text.count("the server did not respond within 3 seconds; trying again") == 1


# Tasks, threads and processes


async def test_a_record_is_written_even_if_canceled(postgres_dsn: str) -> None:
    """A record of a canceled task is written when the journal is closed."""
    async with worker(postgres_dsn) as journal:
        await claim(journal)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.record_triggered(1, "t")
    assert read_states(postgres_dsn) == {1: "triggered"}


async def test_a_trigger_that_is_written_on_closing_is_released(postgres_dsn: str) -> None:
    """A trigger that is recorded when the journal is closed can be adopted at once."""
    async with worker(postgres_dsn) as one:
        await claim(one)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await one.record_triggered(1, "t1")
    async with worker(postgres_dsn) as two:
        assert await adopt(two) == Entry(State.TRIGGERED, is_mine=True, trigger_id="t1")


async def test_hundreds_of_tenants_do_not_share_one_transaction(postgres_dsn: str) -> None:
    """A transaction has at most 500 tenants, so that it ends in time. All of them are written."""
    count = 600
    async with worker(postgres_dsn) as journal:
        async with anyio.create_task_group() as tasks:
            for tenant_id in range(count):
                tasks.start_soon(claim, journal, tenant_id)
        assert 0 < largest_transaction(postgres_dsn) <= 500
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with anyio.create_task_group() as tasks:
                for tenant_id in range(count):
                    tasks.start_soon(journal.record_triggered, tenant_id, f"t{tenant_id}")
    with closing(psycopg.connect(postgres_dsn)) as db:
        found = db.execute("SELECT state, owner, count(*) FROM pandium_syncs GROUP BY 1, 2")
        assert found.fetchall() == [("triggered", "", count)]


def largest_transaction(dsn: str) -> int:
    """Return the largest number of tenants that one transaction has written."""
    with closing(psycopg.connect(dsn)) as db:
        rows = db.execute("SELECT count(*) FROM pandium_syncs GROUP BY xmin::text").fetchall()
        return max(int(number) for (number,) in rows)


def test_a_journal_needs_a_thread(postgres_dsn: str, anyio_backend: str) -> None:
    """If no thread can be started for a transaction, this is a PandiumError."""

    async def use() -> None:
        async with no_threads_at_all():
            with pytest.raises(PandiumError, match="can't start new thread"):
                await worker(postgres_dsn).__aenter__()

    anyio.run(use, backend=anyio_backend)


def test_a_record_without_a_thread_is_written_later(postgres_dsn: str, anyio_backend: str) -> None:
    """A record for which no thread can be started is written when the journal is closed."""

    async def use() -> None:
        async with worker(postgres_dsn) as journal:
            await claim(journal)
            async with no_threads_at_all():
                with pytest.raises(PandiumError, match="can't start new thread"):
                    await journal.record_triggered(1, "t")

    anyio.run(use, backend=anyio_backend)
    assert read_states(postgres_dsn) == {1: "triggered"}


def test_closing_needs_no_thread(postgres_dsn: str, anyio_backend: str) -> None:
    """If no thread can be started on closing, the records that are queued are written."""

    async def use() -> None:
        journal = await worker(postgres_dsn).__aenter__()
        await claim(journal)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.record_triggered(1, "t")
        async with no_threads_at_all():
            await journal.__aexit__(None, None, None)

    anyio.run(use, backend=anyio_backend)
    assert read_states(postgres_dsn) == {1: "triggered"}


async def test_a_closed_journal_is_a_clear_error(postgres_dsn: str) -> None:
    """A journal that is not open raises an error that names it."""
    journal = worker(postgres_dsn)
    async with journal:
        await claim(journal)
    with pytest.raises(PandiumError, match="is not open"):
        await claim(journal)


async def test_a_forked_child_does_not_use_the_connection_of_its_parent(postgres_dsn: str) -> None:
    """In a child, the journal raises an error. The parent's connection stays usable."""
    async with worker(postgres_dsn) as journal:
        await claim(journal, 1)
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            try:
                journal._database.queue(lambda _: lambda: None)
            except PandiumError as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        assert b"before this process was forked" in os.read(reader, 10_000)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it has ended
        os.close(reader)
        os.close(writer)
        assert await adopt(journal, 1) == MINE


def test_nothing_is_left_open(postgres_server: Server, postgres_dsn: str) -> None:
    """Closing a journal closes its sockets and ends its session."""
    before = set(Path("/proc/self/fd").iterdir())

    async def use() -> None:
        async with worker(postgres_dsn) as journal:
            await claim(journal)

    anyio.run(use)
    assert set(Path("/proc/self/fd").iterdir()) <= before
