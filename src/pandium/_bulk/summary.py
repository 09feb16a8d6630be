"""Summaries of journals, and how to read that of a journal in an SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pandium._bulk.journal import State
from pandium._bulk.sqlite import CLAIMED, is_empty
from pandium._bulk.sqlite_connection import Connection, Database
from pandium.errors import UnusableJournal

if TYPE_CHECKING:
    from pathlib import Path

    from pandium._clock import Clock

__all__ = ["FailedSync", "JournalSummary", "LeaseHolder", "UnknownSync", "read_summary"]

_SELECT_FAILED = """
    SELECT tenant_id, trigger_id, status FROM syncs WHERE state = 'failed' ORDER BY tenant_id
"""
_SELECT_UNKNOWN = f"""
    SELECT tenant_id, {CLAIMED}, error FROM syncs
    WHERE state = 'unknown' ORDER BY tenant_id
"""  # noqa: S608 - only a constant is inserted


@attrs.frozen
class LeaseHolder:
    """
    A worker that has tenants in progress.

    :ivar owner: the worker's id, or an empty string for tenants that a worker released.
    :ivar tenants: the number of tenants.
    :ivar seconds_left: the time until the last of its leases expires, in seconds. Negative if all
        of them have expired.
    """

    owner: str
    tenants: int
    seconds_left: float


@attrs.frozen
class FailedSync:
    """
    A tenant whose run failed.

    :ivar tenant_id: the tenant's id.
    :ivar trigger_id: the id of the trigger that started the run.
    :ivar status: the run's final status.
    """

    tenant_id: int
    trigger_id: str
    status: str


@attrs.frozen
class UnknownSync:
    """
    A tenant that may or may not have been triggered.

    :ivar tenant_id: the tenant's id.
    :ivar claimed: when the tenant was first claimed, just before its request, as an ISO 8601 date.
    :ivar reason: why the outcome is unknown.
    """

    tenant_id: int
    claimed: str
    reason: str


@attrs.frozen
class JournalSummary:
    """
    The contents of a journal.

    :ivar job: the properties of the job, such as its mode.
    :ivar states: the number of tenants in each state that is stored.
    :ivar owners: the workers that have tenants in progress.
    :ivar failed: the tenants whose runs failed.
    :ivar unknown: the tenants whose outcome is unknown.
    """

    job: dict[str, str]
    states: dict[str, int]
    owners: list[LeaseHolder]
    failed: list[FailedSync]
    unknown: list[UnknownSync]


async def read_summary(path: Path, clock: Clock) -> JournalSummary:
    """
    Read the journal in a file, which other processes may be using.

    :param path: the path of the file.
    :param clock: the clock that determines when a lease expires.
    :raises UnusableJournal: if there is no such file or it is not a journal.
    :raises JournalError: if the file cannot be read.
    """
    _require_file(path)
    database = Database(path, "journal", clock, is_reader=True)

    def validate(db: Connection) -> None:
        if is_empty(db, database.name):
            raise UnusableJournal(f"{database.name} is empty")

    await database.open(validate)
    try:
        return await database.run(lambda db: _summarize(db, clock.wall().timestamp()))
    finally:
        await database.close(lambda _: None)


def _require_file(path: Path) -> None:
    if not path.exists():  # opening the file would create it
        raise UnusableJournal(f"journal {str(path)!r} does not exist")


def _summarize(db: Connection, now: float) -> JournalSummary:
    counts = dict(db.execute("SELECT state, count(*) FROM syncs GROUP BY state"))
    owners = db.execute(
        "SELECT owner, count(*), max(lease) FROM syncs WHERE state IN ('sending', 'triggered')"
        " GROUP BY owner ORDER BY owner"
    )
    return JournalSummary(
        dict(db.execute("SELECT name, value FROM job ORDER BY name")),
        {state.value: counts.get(state.value, 0) for state in State if state is not State.NEW},
        [LeaseHolder(owner, count, lease - now) for owner, count, lease in owners],
        [FailedSync(*row) for row in db.execute(_SELECT_FAILED)],
        [UnknownSync(*row) for row in db.execute(_SELECT_UNKNOWN)],
    )
