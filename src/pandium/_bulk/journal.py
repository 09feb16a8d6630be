"""Keep account of what was asked for each tenant and what came of it, in a file many may share."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import attrs

from pandium._bulk.sqlite import Connection, Database
from pandium.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from pandium._clock import Clock

__all__ = ["LEASE", "Entry", "Journal", "State"]

# Seconds after which anybody may take what its owner has not renewed.
LEASE = 10.0
_APPLICATION = 0x50414E44  # "PAND": what makes an SQLite file a journal
_FORMAT = 1

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
        error TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX open ON syncs (state) WHERE state IN ('sending', 'triggered')",
)

# A lease from far in the future is one of a clock that was wrong: it has lapsed, too.
_ORPHAN = """
    UPDATE syncs SET state = 'unknown', error = 'whoever sent it came to no end in time'
    WHERE tenant_id = :tenant_id AND state = 'sending' AND lease NOT BETWEEN :now AND :latest
"""
_TAKE_OVER = """
    UPDATE syncs SET owner = :owner, lease = :until
    WHERE tenant_id = :tenant_id AND state = 'triggered' AND lease NOT BETWEEN :now AND :latest
"""
_CLAIM = """
    INSERT INTO syncs (tenant_id, state, owner, lease)
    VALUES (:tenant_id, 'sending', :owner, :until)
    ON CONFLICT (tenant_id) DO NOTHING
"""
_CLAIM_AGAIN = """
    INSERT INTO syncs (tenant_id, state, owner, lease)
    VALUES (:tenant_id, 'sending', :owner, :until)
    ON CONFLICT (tenant_id) DO
        UPDATE SET state = 'sending', owner = :owner, lease = :until, error = ''
        WHERE state = 'unknown'
"""
_FIND = """
    SELECT state, owner, trigger_id, status, error FROM syncs WHERE tenant_id = :tenant_id
"""
_UNDER_WAY = """
    SELECT tenant_id, state FROM syncs WHERE state IN ('sending', 'triggered') ORDER BY tenant_id
"""
_ELSEWHERE = """
    SELECT tenant_id FROM syncs
    WHERE state IN ('sending', 'triggered') AND owner != :owner
        AND lease BETWEEN :now AND :latest
"""
# Of the owner's own request, even if others have taken it for lost meanwhile.
_TRIGGERED = """
    UPDATE syncs SET state = 'triggered', trigger_id = :trigger_id, lease = :until, error = ''
    WHERE tenant_id = :tenant_id AND owner = :owner AND state IN ('sending', 'unknown')
"""
_LOST = """
    UPDATE syncs SET state = 'unknown', error = :error
    WHERE tenant_id = :tenant_id AND owner = :owner AND state = 'sending'
"""
_UNSENT = """
    DELETE FROM syncs
    WHERE tenant_id = :tenant_id AND owner = :owner AND state IN ('sending', 'unknown')
"""
_ENDED = """
    UPDATE syncs SET state = :state, status = :status
    WHERE tenant_id = :tenant_id AND trigger_id = :trigger_id AND state = 'triggered'
"""
_LEAVE = "UPDATE syncs SET owner = '', lease = 0 WHERE owner = :owner AND state = 'triggered'"
_RENEW = """
    UPDATE syncs SET lease = :until WHERE owner = :owner AND state IN ('sending', 'triggered')
"""


class State(StrEnum):
    """How far the sync of a tenant has come; what is new is in no file."""

    NEW = "new"
    SENDING = "sending"
    TRIGGERED = "triggered"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


@attrs.frozen
class Entry:
    """What is known of a tenant; `is_mine` where it is the reader's to send, or to wait on."""

    state: State
    is_mine: bool = False
    trigger_id: str = ""
    status: str = ""
    error: str = ""


class Journal:
    """
    One owner's view of the journal of a job.

    What an owner has under way is its own for as long as it renews its lease. After that others
    take it over: a trigger is waited on, and a request without an answer is taken for lost.
    Without a path all is kept in memory. Neither a key nor a payload is in it.

    :raises ConfigurationError: on entering it, if the file cannot be used or is of another job.
    :raises PandiumError: from any call, if the file fails.
    """

    def __init__(self, path: Path | None, job: Mapping[str, str], clock: Clock) -> None:
        self._database = Database(path, "journal", clock)
        self._job = job
        self._clock = clock
        self._owner = uuid.uuid4().hex

    async def __aenter__(self) -> Self:
        await self._database.open(self._prepare)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Others would get it by the lapse of the lease anyway.
        await self._database.close(lambda db: db.execute(_LEAVE, self._values()))

    async def under_way(self) -> list[tuple[int, State]]:
        """Give the tenants whose sync has begun and not ended, whoever has them."""
        rows = await self._database.run(lambda db: db.execute(_UNDER_WAY).fetchall())
        return [(tenant_id, State(state)) for tenant_id, state in rows]

    async def elsewhere(self) -> set[int]:
        """Give the tenants that other owners have under way now."""
        rows = await self._database.run(lambda db: [*db.execute(_ELSEWHERE, self._values())])
        return {tenant_id for (tenant_id,) in rows}

    async def find(self, tenant_id: int, *, may_repeat: bool) -> Entry:
        """
        Give what is known of a tenant; if it is to be triggered, it is new.

        A trigger that nobody waits on any more is taken over. `may_repeat` is whether to send again
        what may have been carried out.
        """
        return await self._database.run(
            lambda db: self._take(db, tenant_id, None, may_repeat=may_repeat)
        )

    async def claim(self, tenant_id: int, *, may_repeat: bool) -> Entry:
        """Take a tenant that is to be triggered for this owner's, or do as `find` does."""
        claim = _CLAIM_AGAIN if may_repeat else _CLAIM
        return await self._database.run(
            lambda db: self._take(db, tenant_id, claim, may_repeat=may_repeat)
        )

    async def triggered(self, tenant_id: int, trigger_id: str) -> None:
        """Record the trigger that a request of this owner's has brought."""
        await self._record(_TRIGGERED, tenant_id=tenant_id, trigger_id=trigger_id)

    async def lost(self, tenant_id: int, error: str) -> None:
        """Record that nobody knows whether a request of this owner's was carried out."""
        await self._record(_LOST, tenant_id=tenant_id, error=error)

    async def unsent(self, tenant_id: int) -> None:
        """Record that a request of this owner's was surely not carried out."""
        await self._record(_UNSENT, tenant_id=tenant_id)

    async def ended(self, tenant_id: int, trigger_id: str, state: State, status: str) -> None:
        """Record how the run of a trigger ended, whoever waits on it."""
        values = {"trigger_id": trigger_id, "state": state.value, "status": status}
        await self._record(_ENDED, tenant_id=tenant_id, **values)

    async def leave(self, tenant_id: int) -> None:
        """Leave a trigger to whoever comes to wait on it."""
        await self._record(f"{_LEAVE} AND tenant_id = :tenant_id", tenant_id=tenant_id)

    async def renew(self) -> None:
        """Keep what this owner has under way for another lease."""
        await self._database.run(lambda db: db.execute(_RENEW, self._values()))

    async def _record(self, statement: str, **values: object) -> None:
        await self._database.surely(lambda db: db.execute(statement, self._values() | values))

    def _take(
        self, db: Connection, tenant_id: int, claim: str | None, *, may_repeat: bool
    ) -> Entry:
        values = self._values() | {"tenant_id": tenant_id}
        db.execute(_ORPHAN, values)
        db.execute(_TAKE_OVER, values)
        if claim is not None:
            db.execute(claim, values)
        row = db.execute(_FIND, values).fetchone()
        if row is None or (may_repeat and row[0] == State.UNKNOWN):
            return Entry(State.NEW)
        state, owner, trigger_id, status, error = row
        is_mine = owner == self._owner and state in (State.SENDING, State.TRIGGERED)
        return Entry(State(state), is_mine, trigger_id, status, error)

    def _values(self) -> dict[str, Any]:
        # The time is taken within the transaction: while it waited for its turn, leases lapsed.
        now = self._clock.wall().timestamp()
        return {"owner": self._owner, "now": now, "until": now + LEASE, "latest": now + 2 * LEASE}

    def _prepare(self, db: Connection) -> None:
        """Make an empty file a journal, and see that any other is one of this job."""
        ((application,),) = db.execute("PRAGMA application_id")
        ((version,),) = db.execute("PRAGMA user_version")
        ((tables,),) = db.execute("SELECT count(*) FROM sqlite_master")
        name = self._database.name
        if application == version == tables == 0:
            self._create(db)
        elif application != _APPLICATION:
            raise ConfigurationError(f"{name} is another database, and no journal")
        elif version > _FORMAT:
            raise ConfigurationError(f"{name} was written by a newer version of pandium")
        found = dict(db.execute("SELECT name, value FROM job"))
        for key, value in self._job.items():
            if found.get(key) != value:
                raise ConfigurationError(
                    f"{name} is that of a job with {key} {found.get(key)!r}, not {value!r}:"
                    " each job needs a journal of its own"
                )

    def _create(self, db: Connection) -> None:
        for statement in _TABLES:
            db.execute(statement)
        db.executemany("INSERT INTO job VALUES (?, ?)", self._job.items())
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {_FORMAT}")
