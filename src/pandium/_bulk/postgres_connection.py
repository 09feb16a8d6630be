"""Run PostgreSQL transactions in worker threads, and wait out the loss of the connection."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from copy import copy
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio
import psycopg

from pandium._bulk.work_queue import QueuedWork, QueueingDatabase
from pandium.errors import JournalError, UnusableJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pandium._clock import Clock
    from pandium.postgres import PostgresJournal

__all__ = ["ALONE", "SELECT_IDENTITY", "PostgresDatabase", "Statements", "Work"]

T = TypeVar("T")
Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# A separate logger, so that a program can show these warnings even if it hides the others.
_log = logging.getLogger("pandium.journal")

# The oldest major version that PostgreSQL's session settings below require.
_OLDEST_VERSION = 12
# The pause between attempts while the server cannot be reached, in seconds.
_PAUSE = 0.25
# The number of leases for which an outage is waited out. Others have adopted our triggers long
# before, but a server that is restarted or replaced comes back.
_OUTAGE_LEASES = 12
# The time limits of a transaction and of a connection attempt, and the total time that closing
# waits, in seconds.
_ATTEMPT_TIMEOUT, _CONNECT_TIMEOUT, _CLOSE_TIMEOUT = 10.0, "5", 3.0
# The maximum number of works of a transaction. It takes a second or less, so that thousands of
# tenants do not exceed the time limit of an attempt, which would be repeated with all of them.
_MAX_BATCH = 500
# Positions in the order of the work of a transaction. Work that locks the whole job runs alone.
# Otherwise, the other workers would wait until the work of hundreds of tenants is done.
ALONE, _AFTER_TENANTS = -1, 2**63
# A clock that does not stop while the host is suspended. `time.monotonic` stops on Linux and macOS.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
# Notice within seconds that a host is gone. The connection string can override these settings.
_CONNECTION_DEFAULTS = {
    "application_name": "pandium",
    "keepalives_idle": "2",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
}
# The settings are for the transaction and not for the session, so that they also apply behind a
# connection pooler. Without synchronous_commit, a server that crashes could lose a claim whose
# request has been sent. A suspended host must not block the others for longer than the timeouts.
# The others wait for its locks longer than the server waits for that host.
_SETTINGS = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED",
    b"""
    SELECT set_config('synchronous_commit', 'on', true),
        set_config('idle_in_transaction_session_timeout', '5s', true),
        set_config('lock_timeout', '8s', true)
    """,
)
# The server does not limit the time for which it waits in the middle of a pipeline. A worker that
# is suspended there would block the others until it continues. Recognize workers by their locks, to
# leave other sessions of the same role alone.
_END_SILENT_SESSIONS = b"""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
        AND state = 'active' AND wait_event = 'ClientRead'
        AND state_change < clock_timestamp() - interval '5 s'
        AND pid IN (
            SELECT pg_locks.pid FROM pg_locks JOIN pg_class ON pg_class.oid = relation
            WHERE granted AND database = pg_stat_activity.datid AND mode <> 'AccessShareLock'
                AND relname IN ('pandium_jobs', 'pandium_workers', 'pandium_syncs')
        )
"""
# This changes if the server is replaced. It consists of the identifier of the database cluster and
# the timeline, which is incremented whenever a replica is promoted or a backup is restored.
SELECT_IDENTITY = """
    SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
    FROM pg_control_system()
"""
# The SQLSTATE codes of failures that pass: another attempt may succeed.
_TRANSIENT_CLASSES = frozenset({"08"})
_TRANSIENT_CODES = frozenset(
    {
        "25006",  # read_only_sql_transaction: a replica that has not been promoted yet
        "25P03",  # idle_in_transaction_session_timeout
        "25P04",  # transaction_timeout
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
        "55P03",  # lock_not_available
        "57014",  # query_canceled
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
    }
)
_CONNECTION_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
_HINTS = {
    "25006": "connect to the primary, for example with target_session_attrs=read-write",
    "42501": "grant the role CREATE on the schema, or access to tables that another role created",
}


# The connections of parent processes. Closing them would end the parent's session.
_abandoned: list[object] = []


class UnreachableError(Exception):
    """The server cannot be reached for now. This error never reaches users."""


class Statements:
    """
    The statements of one transaction.

    They are sent in a pipeline, without waiting for their results, so that a transaction takes
    three round trips however many tenants it concerns.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        """Begin a transaction that is on disk once it is committed, and that blocks nobody long."""
        for setting in _SETTINGS:
            self._connection.execute(setting)

    def execute(self, statement: str, parameters: Mapping[str, object] | None = None) -> Rows:
        """Send a statement. Its rows can be fetched once all statements have been sent."""
        return Rows(self._connection.execute(statement.encode(), parameters))

    def read_identity(self) -> str:
        """Return the identity of the server, or ``""`` if the role may not read it."""
        try:
            [[identity]] = self.execute(SELECT_IDENTITY).fetch()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
            return ""
        return str(identity)


class Rows:
    """The rows that a statement returns."""

    def __init__(self, cursor: psycopg.Cursor[tuple[Any, ...]]) -> None:
        self._cursor = cursor

    def fetch(self) -> list[tuple[Any, ...]]:
        """Wait for the rows and return them."""
        return self._cursor.fetchall()


# Work sends its statements and returns a function that fetches its result. Work must be idempotent,
# because it may run several times. If the connection is lost during a commit, it is unknown whether
# the transaction was committed.
Work: TypeAlias = "Callable[[Statements], Callable[[], T]]"


class PostgresDatabase(QueueingDatabase["Work[Any]"]):
    """
    One worker's connection to a PostgreSQL database, which is opened again if it is lost.

    Work is queued, and up to 500 works run in one transaction, because each transaction has to
    wait for the server's disk. If the connection is lost, the work remains queued and runs again
    once the server can be reached. If the transaction fails for another reason, only records remain
    queued.

    Each transaction begins with a statement that updates the row of this worker. That statement
    waits for an earlier transaction of this worker whose connection was lost, so no transaction
    takes effect after a later one.

    :param settings: the connection string and the name of the journal.
    :param clock: the client's clock.
    :ivar revision: the number of this worker's last transaction that was confirmed.
    """

    def __init__(self, settings: PostgresJournal, clock: Clock) -> None:
        super().__init__(settings.name, clock)
        self._settings = settings
        self._connection: Connection | None = None
        # A second reference to the connection's socket, with which a timer can interrupt a thread.
        self._socket: socket.socket | None = None
        self._prepare: Callable[[Statements], None]
        self._check: Work[int]
        self._is_open = False
        self.revision = 0
        # The error after which nothing may be written any more.
        self._fatal: JournalError | None = None
        # One thread at a time uses the connection: the one that runs the queue, or that closes it.
        self._thread_lock = threading.Lock()
        self._unreachable_since: float | None = None
        self._last_error: str = ""
        self._valid_until = 0.0
        self._lease_number = 0

    @property
    def is_open(self) -> bool:
        """Whether the database has been opened and not closed."""
        return self._is_open

    @property
    def lease_number(self) -> int | None:
        """The number of this worker's current lease, or ``None`` if it could have expired."""
        return self._lease_number if _now() < self._valid_until else None

    async def open(self, prepare: Callable[[Statements], None], check: Work[int]) -> None:
        """
        Connect to the database and prepare it.

        :param prepare: a function that creates or validates the tables and registers this worker.
            It is called after each connection attempt that succeeds.
        :param check: the work with which each transaction begins. It renews the lease and returns
            the revision, which becomes ``revision`` once the transaction is committed.
        :raises UnusableJournal: if the database cannot be used.
        """
        self._prepare, self._check = prepare, check
        try:
            await self._run_in_thread(self._open)
        except BaseException:
            await self.close(None)
            raise

    async def close(self, last: Work[object] | None) -> None:
        """
        Run the remaining work and disconnect, even if the task is canceled.

        :param last: the work to run before disconnecting. Its errors are ignored.
        """
        if self._is_forked():  # pragma: no cover - tested in a forked child, which is not measured
            _abandoned.append((self._connection, self._socket))
            self._connection = self._socket = None
            return
        await self._close_in_thread(lambda: self._close(last))

    async def run(self, work: Work[T], order: int = 0) -> T:
        """
        Run work in a transaction and return its result once the transaction is committed.

        If the task is canceled, the transaction may or may not have been committed.

        :raises JournalError: if the database cannot be used.
        """
        result: T = await self._finish(self.queue(work, order=order))
        return result

    def fail(self, reason: str) -> JournalError:
        """Prevent all further transactions, and return the error to raise."""
        self._fatal = JournalError(f"{self.name} {reason}")
        return self._fatal

    async def _run_transaction(self) -> None:
        """Run the queue, and try again for as long as the server cannot be reached."""
        while True:
            with suppress(UnreachableError):
                await self._run_in_thread(self._run_queue)
                return
            with self._clock.waiting_for_io():
                await anyio.sleep(_PAUSE)

    # The methods below run in a worker thread

    def _open(self) -> None:
        with self._thread_lock:
            try:
                self._connect(_ATTEMPT_TIMEOUT)
                self._is_open = True
            except UnreachableError:
                pass
        if not self._is_open:
            raise UnusableJournal(self._last_error)

    def _close(self, last: Work[object] | None) -> None:
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        with self._thread_lock:
            if self._is_open and last is not None:
                self._queue.append(QueuedWork(last, record="", order=_AFTER_TENANTS))
                self._empty_queue(deadline)
            self._is_open = False
            self._disconnect()

    def _empty_queue(self, deadline: float) -> None:
        """Run all queued work, and warn of records that cannot be written by the deadline."""
        while self._queue and (time_left := deadline - time.monotonic()) > 0:
            queued = len(self._queue)
            with suppress(UnreachableError):
                self._run_batch(max(time_left, 1.0))
            if self._fatal is not None:
                break
            if len(self._queue) == queued:  # the transaction failed
                if not self._queue.lost_records():
                    break
                time.sleep(_PAUSE)
        if records := self._queue.lost_records():
            text = "%s; %d records were not written: %s"
            _log.warning(text, self._last_error, len(records), ", ".join(records))

    def _run_queue(self) -> None:
        with self._thread_lock:
            self._run_batch(_ATTEMPT_TIMEOUT)

    def _run_batch(self, timeout: float) -> None:
        """
        Run queued work in one transaction. If the transaction fails, all of its work fails.

        :raises UnreachableError: if the server cannot be reached. The work remains queued.
        """
        batch = self._take_batch()
        try:
            results = self._transaction([pending.work for pending in batch], timeout)
        except UnreachableError:
            if not self._is_outage_too_long():
                self._queue.put_back(batch)
                raise
            self._fail_batch([*batch, *self._queue.take()], JournalError(self._last_error))
        except JournalError as error:
            self._fail_batch(batch, error)
        else:
            self._unreachable_since = None
            for pending, result in zip(batch, results, strict=True):
                pending.succeed(result)

    def _take_batch(self) -> list[QueuedWork[Work[Any], Any]]:
        batch = self._queue.take(_MAX_BATCH)
        if alone := [pending for pending in batch if pending.order == ALONE]:
            self._queue.put_back([pending for pending in batch if pending.order != ALONE])
            return alone
        # Transactions lock the rows of tenants in the same order. Otherwise, two transactions could
        # block each other. The sort is stable, so it keeps the work of each tenant in order.
        return sorted(batch, key=lambda pending: pending.order)

    def _fail_batch(self, batch: list[QueuedWork[Work[Any], Any]], error: JournalError) -> None:
        self._last_error = str(error)
        self._queue.fail(batch, error)

    def _is_outage_too_long(self) -> bool:
        now = time.monotonic()
        if self._unreachable_since is None:
            self._unreachable_since = now
            _log.warning("%s; trying again", self._last_error)
        return now - self._unreachable_since > _OUTAGE_LEASES * self._settings.lease

    def _transaction(self, works: list[Work[Any]], timeout: float) -> list[Any]:
        if self._fatal is not None:
            raise copy(self._fatal)
        began = _now()
        connection = self._connection or self._connect(timeout)
        results = self._attempt(lambda: self._execute(connection, works, timeout), JournalError)
        if self.lease_number is None:
            self._lease_number += 1
        self._valid_until = began + self._settings.lease
        return results

    def _execute(self, connection: Connection, works: list[Work[Any]], timeout: float) -> list[Any]:
        with self._interrupt_after(timeout):
            revision, *results = _run_in_pipeline(connection, [self._check, *works])
        self.revision = revision
        return results

    def _connect(self, timeout: float) -> Connection:
        return self._attempt(lambda: self._open_connection(timeout), UnusableJournal)

    def _open_connection(self, timeout: float) -> Connection:
        self._connection = connection = psycopg.connect(
            **self._connection_parameters(timeout), autocommit=True
        )
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        with self._interrupt_after(timeout):
            self._validate_server(connection)
            _inspect_session(connection)
            _end_silent_sessions(connection)
            self._prepare(Statements(connection))
        return connection

    def _connection_parameters(self, timeout: float) -> dict[str, Any]:
        # Only frames of psycopg hold the result in a local variable, because it has the password.
        connect_timeout = self._settings.dsn.parameters().get("connect_timeout", _CONNECT_TIMEOUT)
        return {
            **_CONNECTION_DEFAULTS,
            **self._settings.dsn.parameters(),
            "connect_timeout": _at_most(connect_timeout, int(timeout)),
            "client_encoding": "UTF8",
        }

    def _validate_server(self, connection: Connection) -> None:
        major = connection.info.server_version // 10_000
        encoding = connection.info.parameter_status("server_encoding")
        if major < _OLDEST_VERSION:
            raise UnusableJournal(
                f"{self.name}: the server is PostgreSQL {major}, and {_OLDEST_VERSION} is the"
                " oldest version that is supported"
            )
        if encoding != "UTF8":
            raise UnusableJournal(
                f"{self.name}: the encoding of the database is {encoding}, and UTF8 is required"
            )

    @contextmanager
    def _interrupt_after(self, seconds: float) -> Iterator[None]:
        """
        Return a context manager that shuts the connection down if its block takes too long.

        The time limits of TCP detect a host that is gone, but not a server that hangs.
        """
        is_late = threading.Event()
        timer = threading.Timer(seconds, _shut_down, args=(self._socket, is_late))
        timer.daemon = True
        with suppress(RuntimeError):  # the process has too many threads; the limits of TCP remain
            timer.start()
        try:
            yield
        except psycopg.Error as error:
            if is_late.is_set():
                text = f"the server did not respond within {seconds:.3g} seconds"
                raise TimeoutError(text) from error
            raise
        finally:
            timer.cancel()

    def _attempt(self, work: Callable[[], T], error_type: type[JournalError]) -> T:
        """Return the result of ``work``. After an error, disconnect and translate the error."""
        failure: Exception
        try:
            return work()
        except JournalError:
            self._disconnect()
            raise
        except Exception as error:  # noqa: BLE001 - tables can hold what another program wrote
            failure = self._translate(error, error_type)
        # Raise the error here, so that it has no context. Frames of psycopg hold the password.
        self._disconnect()
        raise failure

    def _translate(self, error: Exception, error_type: type[JournalError]) -> Exception:
        code = getattr(error, "sqlstate", None)
        text = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
        text = " ".join(self._settings.dsn.redact(text).split())
        hint = f" ({_HINTS[code]})" if code in _HINTS else ""
        self._last_error = f"{self.name}: {text}{hint}"
        is_transient = isinstance(error, _CONNECTION_ERRORS)
        if code is not None:
            is_transient = code in _TRANSIENT_CODES or code[:2] in _TRANSIENT_CLASSES
        return UnreachableError() if is_transient else error_type(self._last_error)

    def _disconnect(self) -> None:
        for resource in (self._connection, self._socket):
            if resource is not None:
                resource.close()
        self._connection = self._socket = None


def _at_most(timeout: str, limit: int) -> str:
    """Limit a timeout in seconds. A number below 1 means no limit."""
    try:
        seconds = int(float(timeout))
    except (ValueError, OverflowError):
        return timeout  # psycopg rejects it
    return str(min(seconds, limit) if seconds > 0 else limit)


def _now() -> float:
    """Return the time of the clock by which leases expire, in seconds."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def _run_in_pipeline(connection: Connection, works: list[Work[Any]]) -> list[Any]:
    """
    Run work in a transaction. The first work must succeed before the others run.

    The server limits the time for which it waits for a client in a transaction, but only after a
    Sync message. Wait for results only in ``sync``: after the Sync messages that psycopg sends by
    itself, a Flush message removes the limit.
    """
    failure: Exception | None = None
    first, *others = works
    results: list[Any] = []
    try:
        with connection.pipeline() as pipeline:
            try:
                statements = Statements(connection)
                statements.begin()
                fetch = first(statements)
                pipeline.sync()
                results.append(fetch())
                fetches = [work(statements) for work in others]
                pipeline.sync()
                results += [fetch() for fetch in fetches]
                # Send this last. If the connection is lost before, nothing has been committed.
                statements.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - the pipeline would log it otherwise
                failure = error
    except psycopg.Error as error:
        failure = failure or error
    if failure is not None:
        raise failure
    return results


def _inspect_session(connection: Connection) -> None:
    """Reject a replica, and do not prepare statements behind a connection pooler."""
    statement = b"SELECT pg_is_in_recovery(), pg_backend_pid()"
    [[is_replica, process_id]] = connection.execute(statement).fetchall()
    if is_replica:
        # Do not wait until it is promoted, because its timeline changes at that time.
        raise psycopg.errors.ReadOnlySqlTransaction("the server is a read-only replica")
    if process_id != connection.info.backend_pid:
        # A pooler may run each transaction in another session. There, another client may have
        # prepared another statement under the same name. Otherwise, preparing pays: with 100
        # active tenants, a server runs 1,200 instead of 900 tenants per second.
        connection.prepare_threshold = None


def _end_silent_sessions(connection: Connection) -> None:
    """
    End the sessions of workers that were suspended or cut off while they sent a transaction.

    This is done for each new connection, because a worker that was blocked connects again.
    """
    with suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute(_END_SILENT_SESSIONS)


def _shut_down(connected: socket.socket, is_late: threading.Event) -> None:
    is_late.set()
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
