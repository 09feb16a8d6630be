"""Store a bulk sync's journal in a PostgreSQL database that many hosts can share."""

from __future__ import annotations

import itertools
import os
import socket
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import anyio

from pandium._bulk.journal import IN_PROGRESS, RENEWALS_PER_LEASE, Entry, State, storable
from pandium._bulk.postgres_connection import (
    ALONE,
    SELECT_IDENTITY,
    PostgresDatabase,
    Statements,
    Work,
)
from pandium._bulk.postgres_schema import CLAIMED, open_job, prepare_tables
from pandium._waiting.results import show_status
from pandium.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from pandium._clock import Clock
    from pandium.postgres import PostgresJournal

__all__ = ["PostgresWorker"]

# While workers come and go, the lease is renewed more often, so that the rate is soon divided.
_UNSETTLED_RENEWALS = 10
# The error of the sums of shares, as floats, is smaller than this.
_ROUNDING = 1e-9
# A claim is made again if another worker gives up its own claim just after ours has found it. This
# does not repeat, unless something in the database suppresses the insert.
_MAX_CLAIMS = 20

_REGISTER = """
    INSERT INTO pandium_workers (owner, job_id, lease, expires)
    VALUES (%(owner)s, %(job_id)s, %(lease)s * interval '1 second',
        clock_timestamp() + %(lease)s * interval '1 second')
"""
# Workers divide the rate one after the other. Otherwise, two of them could take the same share.
_LOCK_SHARES = "SELECT FROM pandium_jobs WHERE id = %(job_id)s FOR NO KEY UPDATE"
# The shares of the live workers add up to at most 1. A worker stores a smaller share only after it
# has begun to use it, and uses a larger one only after it has stored it.
# A remainder that is only a rounding error counts as none. A worker with such a share would send
# syncs, but would not poll them in time.
_DIVIDE_RATE = f"""
    UPDATE pandium_workers SET share = greatest(%(share)s, least(1.0 / (number + 1), rest))
    FROM (
        SELECT number, CASE WHEN taken > 1 - {_ROUNDING} THEN 0 ELSE 1 - taken END AS rest
        FROM (
            SELECT count(*) AS number, coalesce(sum(share), 0) AS taken FROM pandium_live_workers
            WHERE job_id = %(job_id)s AND owner <> %(owner)s AND NOT is_closed
        ) AS live
    ) AS others
    WHERE owner = %(owner)s
    RETURNING share::float, (1.0 / (number + 1))::float
"""  # noqa: S608 - only a constant is inserted
# This locks the worker's row, so a transaction whose connection was lost ends before the next one.
_RENEW_LEASE = """
    UPDATE pandium_workers SET revision = revision + 1, expires = clock_timestamp() + lease
    WHERE owner = %(owner)s
    RETURNING revision
"""
# A row that another worker is changing is left alone. Otherwise, workers that adopt the same
# triggers would wait for each other until their own leases expire. PostgreSQL evaluates the count
# again if the row was changed after the statement began, which it would not do with NOT EXISTS.
_WITHOUT_LEASE = """
    SELECT FROM pandium_syncs
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s AND state = '{state}'
        AND (SELECT count(*) FROM pandium_live_workers w WHERE w.owner = pandium_syncs.owner) = 0
    FOR UPDATE SKIP LOCKED
"""
_EXPIRE_CLAIM = f"""
    UPDATE pandium_syncs
    SET state = 'unknown', error = 'its lease expired before a response was recorded'
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND EXISTS ({_WITHOUT_LEASE.format(state="sending")})
"""  # noqa: S608 - only a constant is inserted
_ADOPT = f"""
    UPDATE pandium_syncs SET owner = %(owner)s
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND EXISTS ({_WITHOUT_LEASE.format(state="triggered")})
"""  # noqa: S608 - only a constant is inserted
# A unique insert was faster than rows that are created first and claimed with SKIP LOCKED: with
# four processes and 20 claims a transaction, 2,300 instead of 1,300 claims a second. It needs no
# list of the tenants in advance. A claim waits for another worker only while that worker is
# committing a claim of the same tenant.
_CLAIM = """
    INSERT INTO pandium_syncs (job_id, tenant_id, state, owner, claim)
    VALUES (%(job_id)s, %(tenant_id)s, 'sending', %(owner)s, %(claim)s)
    ON CONFLICT (job_id, tenant_id) DO NOTHING
"""
_CLAIM_UNKNOWN = """
    UPDATE pandium_syncs
    SET state = 'sending', owner = %(owner)s, claim = %(claim)s, error = '', is_retry = true
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s AND state = 'unknown'
"""
# The connection was lost while this claim was committed, and no request has been sent for it. While
# the server could not be reached, another worker may have found that its lease had expired.
_CONFIRM_CLAIM = """
    UPDATE pandium_syncs SET state = 'sending', error = ''
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND owner = %(owner)s AND claim = %(claim)s AND state = 'unknown'
"""
_SELECT_ENTRY = f"""
    SELECT state, owner, claim, trigger_id, status, error, {CLAIMED}
    FROM pandium_syncs
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
"""  # noqa: S608 - only a constant is inserted
_SELECT_STATES = """
    SELECT tenant_id, state FROM pandium_syncs WHERE job_id = %(job_id)s ORDER BY tenant_id
"""
_SELECT_HELD_BY_OTHERS = """
    SELECT tenant_id FROM pandium_syncs JOIN pandium_live_workers USING (owner)
    WHERE pandium_syncs.job_id = %(job_id)s AND state IN ('sending', 'triggered')
        AND owner <> %(owner)s
"""
# Include 'unknown', because the response may be received after the claim has expired.
_RECORD_TRIGGERED = """
    UPDATE pandium_syncs SET state = 'triggered', trigger_id = %(trigger_id)s, error = ''
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND owner = %(owner)s AND state IN ('sending', 'unknown')
"""
_RECORD_UNKNOWN = """
    UPDATE pandium_syncs SET state = 'unknown', error = %(error)s
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND owner = %(owner)s AND state = 'sending'
"""
# If the number of the claim is passed, an older outcome of this worker is left alone.
_RECORD_NOT_SENT = """
    DELETE FROM pandium_syncs
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND owner = %(owner)s AND %(claim)s IN (0, claim)
        AND state IN ('sending', 'unknown') AND NOT is_retry
"""
_RECORD_RETRY_NOT_SENT = """
    UPDATE pandium_syncs
    SET state = 'unknown', error = 'an earlier request may have triggered a run'
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND owner = %(owner)s AND %(claim)s IN (0, claim) AND state = 'sending' AND is_retry
"""
_RECORD_ENDED = """
    UPDATE pandium_syncs SET state = %(state)s, status = %(status)s
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND trigger_id = %(trigger_id)s AND state = 'triggered'
"""
_RELEASE = """
    UPDATE pandium_syncs SET owner = ''
    WHERE job_id = %(job_id)s AND tenant_id = %(tenant_id)s
        AND owner = %(owner)s AND state = 'triggered'
"""
_RELEASE_ALL = """
    UPDATE pandium_syncs SET owner = ''
    WHERE job_id = %(job_id)s AND owner = %(owner)s AND state = 'triggered'
"""
_ADVICE = (
    "No more requests are sent. Tenants that were triggered may be missing from the journal, so"
    " check their runs before you resume the job"
)
_UNREGISTER = "UPDATE pandium_workers SET is_closed = true WHERE owner = %(owner)s"


class PostgresWorker:
    """
    One worker's journal in a PostgreSQL database. The methods are documented in `Journal`.

    Each worker has one lease for all its tenants, which every transaction renews.

    :param settings: the settings passed by the user.
    :param job: the properties of the job, such as its mode. A job with other values is rejected.
    :param clock: the client's clock.
    """

    def __init__(self, settings: PostgresJournal, job: Mapping[str, str], clock: Clock) -> None:
        self._database = PostgresDatabase(settings, clock)
        self._settings = settings
        self._properties = job
        host = storable(socket.gethostname())
        self._owner = f"{host}/{os.getpid()}/{uuid.uuid4().hex[:12]}"
        self._job_id = 0
        self._server = ""
        self._claims = itertools.count(1)
        # The share of the rate that is used now, that is stored, and that this worker aims at.
        self.share = self._stored_share = self._target_share = 0.0
        # The number of the lease in which the share was received.
        self._share_lease: int | None = None

    @property
    def name(self) -> str:
        """The name of the journal in messages."""
        return self._settings.name

    @property
    def renewal_interval(self) -> float:
        """The number of seconds until the lease has to be renewed."""
        interval = self._settings.lease / RENEWALS_PER_LEASE
        shares = self.share, self._stored_share, self._target_share
        is_settled = max(shares) - min(shares) < _ROUNDING
        return interval if is_settled else interval / _UNSETTLED_RENEWALS

    @property
    def lease_number(self) -> int | None:
        """The number of this worker's current lease, or ``None`` if it could have expired."""
        return self._database.lease_number

    async def __aenter__(self) -> Self:
        await self._database.open(self._prepare, self._check)
        try:
            await self.renew()
        except BaseException:
            await self._database.close(self._release_all)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Otherwise, other workers would have to wait for the lease to expire.
        await self._database.close(self._release_all)

    async def states(self) -> dict[int, State]:
        """Return the states of all tenants that have an entry."""

        def work(db: Statements) -> Callable[[], dict[int, State]]:
            rows = db.execute(_SELECT_STATES, self._parameters())
            return lambda: {tenant_id: State(state) for tenant_id, state in rows.fetch()}

        return await self._database.run(work)

    async def adopt(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        """Return a tenant's entry, adopting it first if it has a trigger with an expired lease."""
        work = self._adopt_or_claim(tenant_id, 0, retry_unknown=retry_unknown)
        return await self._database.run(work, tenant_id)

    async def claim(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        """Claim a tenant if it has no entry, and return its entry."""
        for _ in range(_MAX_CLAIMS):
            entry = await self._claim_once(tenant_id, retry_unknown=retry_unknown)
            if entry.state is not State.NEW:
                return entry
        raise JournalError(f"{self.name} did not store the claim of tenant {tenant_id}")

    async def _claim_once(self, tenant_id: int, *, retry_unknown: bool) -> Entry:
        number = next(self._claims)
        work = self._adopt_or_claim(tenant_id, number, retry_unknown=retry_unknown)
        try:
            return await self._database.run(work, tenant_id)
        except (anyio.get_cancelled_exc_class(), JournalError):
            # The claim may have been committed despite the cancellation or the lost connection.
            with suppress(JournalError):
                self._database.queue(*self._deletion(tenant_id, number))
            raise

    async def record_triggered(self, tenant_id: int, trigger_id: str) -> None:
        """Record the trigger returned by this worker's request."""
        if trigger_id != storable(trigger_id):
            raise JournalError(f"{self.name} cannot store the trigger id {trigger_id!r:.200}")
        label = f"trigger {trigger_id} of tenant {tenant_id}"
        await self._record(label, _RECORD_TRIGGERED, tenant_id, trigger_id=trigger_id)

    async def record_unknown(self, tenant_id: int, error: str) -> None:
        """Record that this worker's request may or may not have triggered a run."""
        label = f"unknown outcome of tenant {tenant_id}"
        await self._record(label, _RECORD_UNKNOWN, tenant_id, error=storable(error))

    async def record_not_sent(self, tenant_id: int) -> None:
        """Delete this worker's claim after a request that did not trigger a run."""
        await self._database.write(*self._deletion(tenant_id, 0))

    async def record_ended(
        self, tenant_id: int, trigger_id: str, state: State, status: str
    ) -> None:
        """Record the end of a trigger's run. Any worker may call this. The first call wins."""
        label = f"status {show_status(status)} of tenant {tenant_id}"
        values = {"trigger_id": storable(trigger_id), "status": storable(status)}
        await self._record(label, _RECORD_ENDED, tenant_id, state=state.value, **values)

    async def release(self, tenant_id: int) -> None:
        """Release this worker's lease so that another worker can adopt the trigger immediately."""
        # If this record is lost, the other workers only have to wait for the lease to expire.
        await self._record("", _RELEASE, tenant_id)

    async def renew(self) -> set[int]:
        """Renew this worker's lease and return the ids of tenants held by other workers."""
        await self._divide_rate()

        def work(db: Statements) -> Callable[[], set[int]]:
            held = db.execute(_SELECT_HELD_BY_OTHERS, self._parameters())
            return lambda: {tenant_id for (tenant_id,) in held.fetch()}

        return await self._database.run(work)  # with what was queued by tasks that were canceled

    async def _divide_rate(self) -> None:
        def work(db: Statements) -> Callable[[], None]:
            # After an outage, the share may be that of an earlier lease, which others have taken.
            number = self.lease_number
            if number is None or number != self._share_lease:
                self.share = 0.0
            parameters = self._parameters() | {"share": self.share}
            db.execute(_LOCK_SHARES, parameters)
            shares = db.execute(_DIVIDE_RATE, parameters)

            def read() -> None:
                [(self._stored_share, self._target_share)] = shares.fetch()

            return read

        await self._database.run(work, ALONE)
        self.share = min(self._stored_share, self._target_share)
        self._share_lease = self.lease_number

    async def _record(self, label: str, statement: str, tenant_id: int, **values: object) -> None:
        work = _without_result(statement, parameters=self._parameters(tenant_id) | values)
        await self._database.write(work, label, tenant_id)

    def _parameters(self, tenant_id: int = 0) -> dict[str, Any]:
        return {"job_id": self._job_id, "owner": self._owner, "tenant_id": tenant_id}

    def _deletion(self, tenant_id: int, claim: int) -> tuple[Work[None], str, int]:
        """Return the work that deletes this worker's claim, its description and its order."""
        parameters = self._parameters(tenant_id) | {"claim": claim}
        work = _without_result(_RECORD_RETRY_NOT_SENT, _RECORD_NOT_SENT, parameters=parameters)
        return work, f"tenant {tenant_id} as not triggered", tenant_id

    def _release_all(self, db: Statements) -> Callable[[], None]:
        return _without_result(_RELEASE_ALL, _UNREGISTER, parameters=self._parameters())(db)

    def _adopt_or_claim(self, tenant_id: int, claim: int, *, retry_unknown: bool) -> Work[Entry]:
        """
        Return the work that adopts or claims a tenant and returns its entry.

        :param claim: the number of the claim, or 0 to claim nothing. If the work runs again because
            the connection was lost, the number shows whether the first claim was committed.
        """
        parameters = self._parameters(tenant_id) | {"claim": claim}
        statements = [_EXPIRE_CLAIM, _ADOPT]
        if claim:
            statements += [_CLAIM, _CLAIM_UNKNOWN] if retry_unknown else [_CLAIM]
        runs = itertools.count()

        def work(db: Statements) -> Callable[[], Entry]:
            is_rerun = claim and next(runs)
            for statement in [_CONFIRM_CLAIM, *statements] if is_rerun else statements:
                db.execute(statement, parameters)
            rows = db.execute(_SELECT_ENTRY, parameters)
            return lambda: self._read_entry(rows.fetch(), claim, retry_unknown=retry_unknown)

        return work

    def _read_entry(self, rows: list[tuple[Any, ...]], claim: int, *, retry_unknown: bool) -> Entry:
        if not rows or (retry_unknown and rows[0][0] == State.UNKNOWN):
            return Entry(State.NEW)
        [(state, owner, found_claim, *texts)] = rows
        is_mine = owner == self._owner and state in IN_PROGRESS
        if state == State.SENDING and claim:
            is_mine = is_mine and found_claim == claim
        return Entry(State(state), is_mine, *texts)

    # Connecting to the server, and detecting that it lost transactions

    def _prepare(self, db: Statements) -> None:
        if not self._job_id:
            self._register(db)

    def _register(self, db: Statements) -> None:
        server = db.read_identity()
        prepare_tables(db, self.name)
        parameters = {"job": self._settings.job, "server": server}
        db.begin()
        self._job_id = open_job(
            db,
            self.name,
            parameters,
            self._properties,
            accept_failover=self._settings.accept_failover,
        )
        db.execute(_REGISTER, self._parameters() | {"lease": self._settings.lease})
        db.execute("COMMIT")
        self._server = server

    def _check(self, db: Statements) -> Callable[[], int]:
        """
        Renew the lease, and validate that no confirmed transaction is missing.

        Each transaction validates the server, because a connection pooler can run it on another one
        than the last.
        """
        revisions = db.execute(_RENEW_LEASE, self._parameters())
        validates_server = self._server and not self._settings.accept_failover
        servers = db.execute(SELECT_IDENTITY) if validates_server else None

        def validate() -> int:
            if servers is not None:
                self._validate_server(servers.fetch())
            return self._validate_revision(revisions.fetch())

        return validate

    def _validate_server(self, rows: list[tuple[Any, ...]]) -> None:
        if rows != [(self._server,)]:
            raise self._database.fail(
                "is on another server since a failover, which may lack the last transactions."
                f" {_ADVICE}, then pass accept_failover=True"
            )

    def _validate_revision(self, rows: list[tuple[Any, ...]]) -> int:
        revision: int = max((number for (number,) in rows), default=0)
        if revision <= self._database.revision:
            raise self._database.fail(f"has lost its last transactions. {_ADVICE}")
        return revision


def _without_result(*statements: str, parameters: dict[str, Any]) -> Work[None]:
    def work(db: Statements) -> Callable[[], None]:
        for statement in statements:
            db.execute(statement, parameters)
        return lambda: None

    return work
