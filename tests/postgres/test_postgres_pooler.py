"""Bulk jobs whose journal is behind PgBouncer, a connection pooler."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from pandium import ConfigurationError, PandiumError
from pandium._bulk.postgres_worker import PostgresWorker
from pandium._clock import RealClock
from pandium.postgres import PostgresJournal
from support.journals import JOB, MINE, claim
from support.pgbouncer import PROGRAM, pooled
from support.syncing import JobOptions, SyncingProcess, check_triggers, emulator_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import Server

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(PROGRAM is None, reason="needs PgBouncer"),
]


@contextmanager
def pooled_dsn(server: Server, dsn: str, mode: str, size: int) -> Iterator[str]:
    """Return the connection string of a database through PgBouncer."""
    with pooled(server, mode, size) as port:
        yield dsn.replace(f":{server.port}/", f":{port}/")


@pytest.mark.parametrize(("mode", "size"), [("session", 3), ("transaction", 2)])
def test_a_job_works_behind_a_pooler(
    postgres_server: Server, postgres_dsn: str, mode: str, size: int
) -> None:
    """Three processes trigger each tenant once, even if they share two sessions of the server."""
    tenants = 60
    with (
        pooled_dsn(postgres_server, postgres_dsn, mode, size) as dsn,
        emulator_with(tenants) as emulator,
    ):
        job = JobOptions(emulator.url, dsn, tenants, speed=5.0, job="nightly", lease=10.0)
        for process in [SyncingProcess(job) for _ in range(3)]:
            assert check_triggers(emulator, process.results(), tenants) == set()


@pytest.mark.anyio
async def test_a_pooler_without_transactions_is_a_clear_error(
    postgres_server: Server, postgres_dsn: str
) -> None:
    """A pooler in statement mode is rejected before anything is written."""
    with pooled_dsn(postgres_server, postgres_dsn, "statement", 2) as dsn:
        settings = PostgresJournal(dsn, job="nightly")
        with pytest.raises(ConfigurationError, match="not allowed in statement pooling mode"):
            async with PostgresWorker(settings, JOB, RealClock()):
                pass


@pytest.mark.anyio
async def test_a_worker_whose_pooler_changes_servers_stops(own_server: Server) -> None:
    """A failover that no connection of a worker notices stops the worker nevertheless."""
    with pooled_dsn(own_server, own_server.create_database("jobs"), "transaction", 2) as dsn:
        settings = PostgresJournal(dsn, job="nightly")
        async with PostgresWorker(settings, JOB, RealClock()) as journal:
            assert await claim(journal, 1) == MINE
            await anyio.to_thread.run_sync(own_server.stop)
            await anyio.to_thread.run_sync(own_server.promote)
            with pytest.raises(PandiumError, match="is on another server since a failover"):
                await claim(journal, 2)
