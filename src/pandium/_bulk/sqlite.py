"""Store a bulk sync's journal in an SQLite file that several processes can share."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import anyio

from pandium._bulk.file_identity import create_revisions
from pandium._bulk.journal import (
    IN_PROGRESS,
    LEASE,
    RENEWALS_PER_LEASE,
    Entry,
    State,
    storable,
    validate_properties,
)
from pandium._bulk.sqlite_connection import Connection, Database, Work
from pandium._waiting.results import show_status
from pandium.errors import JournalError, UnusableJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from pandium._clock import Clock

__all__ = ["CLAIMED", "SQLiteJournal", "is_empty"]

_APPLICATION_ID = 0x50414E44  # "PAND", which identifies an SQLite file as a journal
_FORMAT_VERSION = 1
_RENEWAL_INTERVAL = LEASE / RENEWALS_PER_LEASE
# The time without a transaction, in seconds, after which the other workers may have been unable to
# renew their leases, too, and the time that they have for it afterwards. Two intervals, because a
# busy worker renews its leases a little late.
_MAX_GAP = _GRACE = 2 * _RENEWAL_INTERVAL

_TABLES = (
    "CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE syncs (
        tenant_id INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        owner TEXT NOT NULL,
        lease REAL NOT NULL,
        trigger_id TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '',
        is_retry INTEGER NOT NULL DEFAULT 0,
        claimed REAL NOT NULL
    )
    """,
    "CREATE INDEX open ON syncs (state) WHERE state IN ('sending', 'triggered')",
)

# A lease that ends too far in the future was written with an incorrect clock. Treat it as expired.
_EXPIRE_CLAIM = """
    UPDATE syncs
    SET state = 'unknown', error = 'its lease expired before a response was recorded'
    WHERE tenant_id = :tenant_id AND state = 'sending' AND lease NOT BETWEEN :valid_from AND :latest
"""
_ADOPT = """
    UPDATE syncs SET owner = :owner, lease = :until
    WHERE tenant_id = :tenant_id AND state = 'triggered'
        AND lease NOT BETWEEN :valid_from AND :latest
"""
_CLAIM = """
    INSERT INTO syncs (tenant_id, state, owner, lease, claimed)
    VALUES (:tenant_id, 'sending', :owner, :until, :now)
    ON CONFLICT (tenant_id) DO NOTHING
"""
# A retry keeps the date of the first claim, because its request may also have triggered a run.
_CLAIM_OR_RETRY = """
    INSERT INTO syncs (tenant_id, state, owner, lease, claimed)
    VALUES (:tenant_id, 'sending', :owner, :until, :now)
    ON CONFLICT (tenant_id) DO
        UPDATE SET state = 'sending', owner = :owner, lease = :until, error = '',
            is_retry = 1
        WHERE state = 'unknown'
"""
CLAIMED = "strftime('%Y-%m-%dT%H:%M:%SZ', claimed, 'unixepoch')"  # an ISO 8601 date in UTC
_SELECT_ENTRY = f"""
    SELECT state, owner, trigger_id, status, error, {CLAIMED}
    FROM syncs WHERE tenant_id = :tenant_id
"""  # noqa: S608 - only a constant is inserted
_SELECT_STATES = "SELECT tenant_id, state FROM syncs ORDER BY tenant_id"
_SELECT_HELD_BY_OTHERS = """
    SELECT tenant_id FROM syncs
    WHERE state IN ('sending', 'triggered') AND owner != :owner
        AND lease BETWEEN :valid_from AND :latest
"""
# Include 'unknown', because the response may be received after the claim has expired.
_RECORD_TRIGGERED = """
    UPDATE syncs SET state = 'triggered', trigger_id = :trigger_id, lease = :until, error = ''
    WHERE tenant_id = :tenant_id AND owner = :owner AND state IN ('sending', 'unknown')
"""
_RECORD_UNKNOWN = """
    UPDATE syncs SET state = 'unknown', error = :error
    WHERE tenant_id = :tenant_id AND owner = :owner AND state = 'sending'
"""
_RECORD_NOT_SENT = """
    DELETE FROM syncs
    WHERE tenant_id = :tenant_id AND owner = :owner AND state IN ('sending', 'unknown')
        AND NOT is_retry
"""
_RECORD_RETRY_NOT_SENT = """
    UPDATE syncs SET state = 'unknown', error = 'an earlier request may have triggered a run'
    WHERE tenant_id = :tenant_id AND owner = :owner AND state = 'sending' AND is_retry
"""
_RECORD_ENDED = """
    UPDATE syncs SET state = :state, status = :status
    WHERE tenant_id = :tenant_id AND trigger_id = :trigger_id AND state = 'triggered'
"""
_RELEASE_ALL = """
    UPDATE syncs SET owner = '', lease = 0 WHERE owner = :owner AND state = 'triggered'
"""
_RELEASE = f"{_RELEASE_ALL} AND tenant_id = :tenant_id"
_RENEW = """
    UPDATE syncs SET lease = :until WHERE owner = :owner AND state IN ('sending', 'triggered')
"""


def is_empty(db: Connection, name: str) -> bool:
    """
    Return whether a database is empty. Otherwise, validate that it is a journal.

    :param name: the name of the file in error messages.
    :raises UnusableJournal: if the database is something else, or is too new.
    """
    ((application_id,),) = db.execute("PRAGMA application_id")
    ((version,),) = db.execute("PRAGMA user_version")
    ((tables,),) = db.execute("SELECT count(*) FROM sqlite_master")
    if application_id == version == tables == 0:
        return True
    if application_id != _APPLICATION_ID:
        raise UnusableJournal(f"{name} is an SQLite database, but not a journal")
    if version > _FORMAT_VERSION:
        raise UnusableJournal(f"{name} was written by a newer version of pandium")
    return False


class LeaseExpiry:
    """
    Determine when the leases of other workers expire.

    A worker runs a transaction at least once per renewal interval, unless the file is locked by
    another program, the machine is suspended or the clock is set forward. None of these may expire
    the leases of workers that are alive. So the leases that were valid before such a gap remain
    valid until the other workers have had two renewal intervals to renew them. This time is counted
    between transactions, whatever the clock is set to. A further gap counts for a twentieth of it.
    Otherwise, a worker with gaps all the time would never take over from a dead one.
    """

    def __init__(self) -> None:
        self._last = 0.0
        # The time left to the other workers after each gap, by the time at which the gap began.
        self._time_left: dict[float, float] = {}

    def start(self, now: float) -> None:
        """Start the time until the first transaction."""
        self._last = now

    def valid_from(self, now: float) -> float:
        """Return the earliest end of a lease that is valid in a transaction at the given time."""
        elapsed = now - self._last
        is_gap = elapsed > _MAX_GAP
        used = _GRACE / 20 if is_gap else max(elapsed, 0.0)
        self._time_left = {
            gap_began: left - used for gap_began, left in self._time_left.items() if left > used
        }
        if is_gap:
            self._time_left[self._last] = _GRACE
        self._last = now
        return min([now, *self._time_left])


class SQLiteJournal:
    """
    A journal in an SQLite file. The methods are documented in `Journal`.

    :param path: the path of the file, or ``None`` to keep the journal in memory.
    :param job: the properties of the job, such as its mode. A file with other values is rejected.
    :param clock: the clock that determines when a lease has expired.
    :param count_active: a function that returns the number of active tenants of this worker. The
        records of many active tenants are written together.
    """

    def __init__(
        self,
        path: Path | None,
        job: Mapping[str, str],
        clock: Clock,
        count_active: Callable[[], int] = lambda: 0,
    ) -> None:
        self._database = Database(path, "journal", clock, count_active)
        self._job = job
        self._clock = clock
        self._owner = uuid.uuid4().hex
        self._expiry = LeaseExpiry()

    @property
    def name(self) -> str:
        """The name of the journal in messages."""
        return self._database.name

    @property
    def renewal_interval(self) -> float:
        """The number of seconds until the leases have to be renewed."""
        return _RENEWAL_INTERVAL

    @property
    def share(self) -> float:
        """The share of the request rate, which this journal does not divide."""
        return 1.0

    @property
    def lease_number(self) -> int:
        """A constant, because the disk of a process does not become unreachable."""
        return 1

    async def __aenter__(self) -> Self:
        self._expiry.start(self._clock.wall().timestamp())
        await self._database.open(self._prepare)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Otherwise, other workers would have to wait for the leases to expire.
        await self._database.close(lambda db: db.execute(_RELEASE_ALL, self._parameters()))

    async def states(self) -> dict[int, State]:
        """Return the states of all tenants that have an entry."""
        return await self._database.run(
            lambda db: {tenant_id: State(state) for tenant_id, state in db.execute(_SELECT_STATES)}
        )

    async def adopt(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        """Return a tenant's entry, adopting it first if it has a trigger with an expired lease."""
        return await self._database.run(
            lambda db: self._adopt_or_claim(db, tenant_id, None, retry_unknown=retry_unknown)
        )

    async def claim(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        """Claim a tenant if it has no entry, and return its entry."""
        claim = _CLAIM_OR_RETRY if retry_unknown else _CLAIM
        try:
            return await self._database.run(
                lambda db: self._adopt_or_claim(db, tenant_id, claim, retry_unknown=retry_unknown)
            )
        except anyio.get_cancelled_exc_class():
            # The claim may have been committed despite the cancellation.
            self._database.queue(*self._deletion(tenant_id))
            raise
        except JournalError:
            # The disk may have failed after the commit. Without the deletion, the outcome becomes
            # unknown once the lease expires.
            with suppress(JournalError):
                self._database.queue(self._deletion(tenant_id)[0], record="")
            raise

    async def record_triggered(self, tenant_id: int, trigger_id: str) -> None:
        """Record the trigger returned by this worker's request."""
        label = f"trigger {trigger_id} of tenant {tenant_id}"
        await self._record(label, _RECORD_TRIGGERED, tenant_id=tenant_id, trigger_id=trigger_id)

    async def record_unknown(self, tenant_id: int, error: str) -> None:
        """Record that this worker's request may or may not have triggered a run."""
        label = f"unknown outcome of tenant {tenant_id}"
        await self._record(label, _RECORD_UNKNOWN, tenant_id=tenant_id, error=storable(error))

    async def record_not_sent(self, tenant_id: int) -> None:
        """Delete this worker's claim after a request that did not trigger a run."""
        await self._database.write(*self._deletion(tenant_id))

    async def record_ended(
        self, tenant_id: int, trigger_id: str, state: State, status: str
    ) -> None:
        """Record the end of a trigger's run. Any worker may call this. The first call wins."""
        label = f"status {show_status(status)} of tenant {tenant_id}"
        parameters = {"trigger_id": trigger_id, "state": state.value, "status": storable(status)}
        await self._record(label, _RECORD_ENDED, tenant_id=tenant_id, **parameters)

    async def release(self, tenant_id: int) -> None:
        """Release this worker's lease so that another worker can adopt the trigger immediately."""
        # If this record is lost, the other workers only have to wait for the lease to expire.
        await self._record("", _RELEASE, tenant_id=tenant_id)

    async def renew(self) -> set[int]:
        """Renew this worker's leases and return the ids of tenants held by other workers."""

        def work(db: Connection) -> set[int]:
            parameters = self._parameters()
            db.execute(_RENEW, parameters)
            return {tenant_id for (tenant_id,) in db.execute(_SELECT_HELD_BY_OTHERS, parameters)}

        return await self._database.run(work)

    async def _record(self, label: str, statement: str, **parameters: object) -> None:
        await self._database.write(
            lambda db: db.execute(statement, self._parameters() | parameters), label
        )

    def _deletion(self, tenant_id: int) -> tuple[Work[None], str]:
        """Return the work that deletes this worker's claim, and its description."""
        return lambda db: self._delete_claim(db, tenant_id), f"tenant {tenant_id} as not triggered"

    def _delete_claim(self, db: Connection, tenant_id: int) -> None:
        parameters = self._parameters() | {"tenant_id": tenant_id}
        db.execute(_RECORD_RETRY_NOT_SENT, parameters)
        db.execute(_RECORD_NOT_SENT, parameters)

    def _adopt_or_claim(
        self, db: Connection, tenant_id: int, claim: str | None, *, retry_unknown: bool
    ) -> Entry:
        parameters = self._parameters() | {"tenant_id": tenant_id}
        db.execute(_EXPIRE_CLAIM, parameters)
        db.execute(_ADOPT, parameters)
        if claim is not None:
            db.execute(claim, parameters)
        row = db.execute(_SELECT_ENTRY, parameters).fetchone()
        if row is None or (retry_unknown and row[0] == State.UNKNOWN):
            return Entry(State.NEW)
        state, owner, *texts = row
        return Entry(State(state), owner == self._owner and state in IN_PROGRESS, *texts)

    def _parameters(self) -> dict[str, Any]:
        # Call this inside the transaction, because waiting for its lock may have taken a long time.
        now = self._clock.wall().timestamp()
        return {
            "owner": self._owner,
            "now": now,
            "until": now + LEASE,
            "latest": now + 2 * LEASE,
            "valid_from": self._expiry.valid_from(now),
        }

    def _prepare(self, db: Connection) -> None:
        """Create the tables in an empty file, or validate an existing journal."""
        if is_empty(db, self.name):
            self._create_tables(db)
        found = dict(db.execute("SELECT name, value FROM job"))
        validate_properties(self._database.name, found, self._job)

    def _create_tables(self, db: Connection) -> None:
        for statement in _TABLES:
            db.execute(statement)
        create_revisions(db)
        db.executemany("INSERT INTO job VALUES (?, ?)", self._job.items())
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_FORMAT_VERSION}")
