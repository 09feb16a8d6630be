"""Summarize what a job's journal in PostgreSQL holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pandium._bulk.journal import State
from pandium._bulk.postgres_connection import PostgresDatabase, Statements
from pandium._bulk.postgres_schema import CLAIMED, has_tables
from pandium._bulk.summary import FailedSync, JournalSummary, LeaseHolder, UnknownSync
from pandium.errors import UnusableJournal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium._clock import Clock
    from pandium.postgres import PostgresJournal

__all__ = ["find_postgres_summary", "read_postgres_summary"]

_FIND_JOB = "SELECT id, properties FROM pandium_jobs WHERE name = %(job)s"
_COUNT_STATES = "SELECT state, count(*) FROM pandium_syncs WHERE job_id = %(job_id)s GROUP BY state"
_SELECT_OWNERS = """
    SELECT owner, count(*), coalesce(extract(epoch FROM max(expires) - clock_timestamp()), 0)::float
    FROM pandium_syncs LEFT JOIN pandium_workers USING (owner)
    WHERE pandium_syncs.job_id = %(job_id)s AND state IN ('sending', 'triggered')
    GROUP BY owner ORDER BY owner
"""
_SELECT_FAILED = """
    SELECT tenant_id, trigger_id, status FROM pandium_syncs
    WHERE job_id = %(job_id)s AND state = 'failed' ORDER BY tenant_id
"""
_SELECT_UNKNOWN = f"""
    SELECT tenant_id, {CLAIMED}, error FROM pandium_syncs
    WHERE job_id = %(job_id)s AND state = 'unknown' ORDER BY tenant_id
"""  # noqa: S608 - only a constant is inserted


async def read_postgres_summary(settings: PostgresJournal, clock: Clock) -> JournalSummary:
    """
    Read a job's journal, which other processes may be using.

    :raises UnusableJournal: if the database cannot be used or has no such job.
    :raises JournalError: if the journal cannot be read.
    """
    summary = await find_postgres_summary(settings, clock)
    if summary is None:
        raise UnusableJournal(f"{settings.name} does not exist")
    return summary


async def find_postgres_summary(settings: PostgresJournal, clock: Clock) -> JournalSummary | None:
    """
    Read a job's journal, or return ``None`` if the database has no such job.

    :raises UnusableJournal: if the database cannot be used.
    :raises JournalError: if the journal cannot be read.
    """
    database = PostgresDatabase(settings, clock)
    jobs: list[dict[str, Any]] = []

    def prepare(db: Statements) -> None:
        found = db.execute(_FIND_JOB, {"job": settings.job}).fetch() if has_tables(db) else []
        jobs[:] = [{"job_id": job_id, "properties": text} for job_id, text in found]

    await database.open(prepare, lambda _: lambda: 0)
    try:
        return await database.run(lambda db: _summarize(db, jobs[0])) if jobs else None
    finally:
        await database.close(None)


def _summarize(db: Statements, job: dict[str, Any]) -> Callable[[], JournalSummary]:
    states, owners, failed, unknown = (
        db.execute(statement, {"job_id": job["job_id"]})
        for statement in (_COUNT_STATES, _SELECT_OWNERS, _SELECT_FAILED, _SELECT_UNKNOWN)
    )

    def read() -> JournalSummary:
        counts = dict(states.fetch())
        return JournalSummary(
            json.loads(job["properties"]),
            {state.value: counts.get(state.value, 0) for state in State if state is not State.NEW},
            [LeaseHolder(*row) for row in owners.fetch()],
            [FailedSync(*row) for row in failed.fetch()],
            [UnknownSync(*row) for row in unknown.fetch()],
        )

    return read
