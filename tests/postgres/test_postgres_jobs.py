"""Bulk jobs of several processes with one journal in PostgreSQL, whatever happens to them."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import httpx
import psycopg
import pytest

from pandium import AsyncPandium, Polling
from pandium.postgres import PostgresJournal
from support import KEY
from support.namespaces import Namespace, has_namespaces
from support.postgres import Server, can_mount, fill
from support.syncing import JobOptions, SyncingProcess, check_triggers, count_posts, emulator_with

if TYPE_CHECKING:
    from pandium.emulator import Emulator
    from support.postgres import PostgresProxy

pytestmark = pytest.mark.postgres

IS_LONG = bool(os.environ.get("PANDIUM_LONG"))
KILLS = 100 if IS_LONG else 12
ROUNDS = 20 if IS_LONG else 1
LONGEST_LIFE = 0.6  # seconds after the process starts or sends its first request
LEASE = 1.0
FAKETIME = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def options(emulator: Emulator, dsn: str, tenants: int, **changes: Any) -> JobOptions:
    standard = JobOptions(
        emulator.url, dsn, tenants, max_concurrency=10, speed=5.0, job="nightly", lease=LEASE
    )
    return attrs.evolve(standard, **changes)


def read_states(dsn: str, state: str) -> dict[int, str]:
    """Return the tenants that are in a state, and their owners."""
    with closing(psycopg.connect(dsn)) as db:
        rows = db.execute("SELECT tenant_id, owner FROM pandium_syncs WHERE state = %s", [state])
        return dict(rows.fetchall())


@pytest.mark.parametrize("number", range(ROUNDS))
def test_three_processes_share_a_job(postgres_dsn: str, number: int) -> None:
    """Each process reports all tenants, and each tenant is triggered once."""
    tenants = 90
    with emulator_with(tenants) as emulator:
        job = options(emulator, postgres_dsn, tenants, lease=10.0)
        for process in [SyncingProcess(job) for _ in range(3)]:
            assert check_triggers(emulator, process.results(), tenants) == set()


def test_killed_processes_can_be_resumed(postgres_dsn: str) -> None:
    """A job killed at any time can be resumed. Only requests in progress have unknown outcomes."""
    tenants, chance = 12 * KILLS, random.Random()
    with emulator_with(tenants) as emulator:
        job = options(emulator, postgres_dsn, tenants)
        for _ in range(KILLS):
            process = SyncingProcess(job)
            process.wait_for_start() if chance.random() < 0.5 else process.wait_for_request(
                emulator
            )
            time.sleep(chance.uniform(0, LONGEST_LIFE))
            process.end()
        unknown = check_triggers(emulator, SyncingProcess(job).results(), tenants)
        assert unknown == read_states(postgres_dsn, "unknown").keys()
        # In a second run, all results come from the journal, and nothing is sent.
        before = emulator.counts.total()
        assert check_triggers(emulator, SyncingProcess(job).results(), tenants) == unknown
        assert emulator.counts.total() == before


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_killed_and_a_suspended_process_harm_no_other(postgres_dsn: str, number: int) -> None:
    """A process that is suspended past its lease and resumed triggers no tenant again."""
    tenants, chance = 150, random.Random()
    with emulator_with(tenants) as emulator:
        job = options(emulator, postgres_dsn, tenants)
        killed, suspended = (SyncingProcess(job) for _ in range(2))
        for process in (killed, suspended):
            process.wait_for_request(emulator)
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        killed.end()
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        suspended.suspend()
        helping = SyncingProcess(job)
        helping.wait_for_start()
        time.sleep(chance.uniform(1.5, 3) * LEASE)
        suspended.resume()
        for process in (suspended, helping):
            check_triggers(emulator, process.results(), tenants)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_job_survives_restarts_of_its_server(own_server: Server, mode: str, number: int) -> None:
    """The processes wait while the server is down, and lose no response that they have received."""
    tenants, chance = 120, random.Random()
    dsn = own_server.create_database("jobs")
    with emulator_with(tenants) as emulator:
        job = options(emulator, dsn, tenants, lease=30.0)
        processes = [SyncingProcess(job) for _ in range(2)]
        wait_for_workers(dsn, processes)
        for _ in range(3):
            time.sleep(chance.uniform(0, LONGEST_LIFE))
            own_server.restart(mode)
        for process in processes:
            assert check_triggers(emulator, process.results(), tenants) == set()
            assert not warnings_of_loss(process)


def test_a_job_can_be_resumed_after_the_disk_of_the_server_was_full(own_server: Server) -> None:
    """With a full disk, a job ends with a clear error. What it could not record is unknown."""
    if not can_mount():
        pytest.skip("needs the permission to mount a file system")
    tenants = 200
    with own_server.small_disk(megabytes=24) as disk, emulator_with(tenants) as emulator:
        dsn = own_server.create_database("jobs", tablespace="small")
        job = options(emulator, dsn, tenants)
        process = SyncingProcess(job)
        process.wait_for_request(emulator)
        filling = fill(disk)
        process.wait()
        [failure] = [line["failed"] for line in process.lines if "failed" in line]
        assert failure.startswith("JournalError: journal 'nightly' in database 'jobs'")
        assert failure.endswith("No space left on device")
        sent = count_posts(emulator)
        assert 0 < sent < tenants
        filling.unlink()
        resumed = SyncingProcess(job).results()
        assert len(check_triggers(emulator, resumed, tenants)) <= sent


def wait_for_workers(dsn: str, processes: list[SyncingProcess]) -> None:
    """Wait until all processes have opened the journal, because that does not wait for a server."""
    for process in processes:
        process.wait_for_start()
    with closing(psycopg.connect(dsn, autocommit=True)) as db:
        while True:
            with suppress(psycopg.errors.UndefinedTable):
                [[count]] = db.execute("SELECT count(*) FROM pandium_workers").fetchall()
                if count == len(processes):
                    return
            time.sleep(0.01)


def warnings_of_loss(process: SyncingProcess) -> list[str]:
    return [line["warning"] for line in process.lines if "written" in line.get("warning", "")]


def test_two_jobs_share_the_tables(postgres_dsn: str) -> None:
    """Each of two jobs triggers each tenant once."""
    tenants = 40
    with emulator_with(tenants) as emulator:
        jobs = [
            options(emulator, postgres_dsn, tenants, job=name, lease=10.0)
            for name in ("nightly", "weekly")
        ]
        for process in [SyncingProcess(job) for job in jobs for _ in range(2)]:
            assert check_triggers(emulator, process.results(), tenants, times=2) == set()


@pytest.mark.skipif(not FAKETIME, reason="needs libfaketime")
def test_clocks_may_be_an_hour_apart(postgres_dsn: str) -> None:
    """If the hosts' clocks differ, a host that died is taken over in time, and no other host is."""
    tenants = 120
    with emulator_with(tenants) as emulator:
        job = options(emulator, postgres_dsn, tenants)
        killed, *others = (
            # Not the program `faketime`, which starts a child that would not be killed.
            SyncingProcess(job, LD_PRELOAD=str(FAKETIME[0]), FAKETIME=shift)
            for shift in ("+1h", "-1h", "+0h")
        )
        for process in (killed, *others):
            process.wait_for_request(emulator)
        killed.end()
        for process in others:
            unknown = check_triggers(emulator, process.results(), tenants)
            owners = read_states(postgres_dsn, "unknown")
            assert {owners[tenant_id].split("/")[1] for tenant_id in unknown} <= {
                str(killed.popen.pid)
            }


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_host_may_be_cut_off(tmp_path: Path, number: int) -> None:
    """A host whose link is cut past its lease and healed triggers no tenant again."""
    if not has_namespaces():
        pytest.skip("needs the permission to create network namespaces")
    tenants, chance = 150, random.Random()
    with (
        Namespace() as one,
        Namespace() as two,
        Server(f"{one.address},{two.address}") as server,
        emulator_with(tenants) as emulator,
    ):
        server.create_database("jobs")
        processes = []
        for host in (one, two):
            host.share(emulator.port, tmp_path / host.address)
            job = options(emulator, server.dsn("jobs", host.address), tenants)
            processes.append(SyncingProcess(job, prefix=host.prefix))
        for process in processes:
            process.wait_for_request(emulator)
        wait_for_workers(server.dsn("jobs"), processes)  # a request may be of the other process
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        one.cut()
        time.sleep(chance.uniform(1.5, 15 if IS_LONG else 3) * LEASE)
        one.heal()
        for process in processes:
            check_triggers(emulator, process.results(), tenants)


@pytest.mark.anyio
@pytest.mark.parametrize("step", ["key function", "request hook"])
async def test_nothing_is_sent_once_the_lease_could_have_expired(
    emulator: Emulator, proxy_dsn: str, proxy: PostgresProxy, step: str
) -> None:
    """A request that waits while the database is away is not sent before it is claimed again."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    tenant_id = emulator.add_tenant().id
    posts_before: list[int] = []

    async def lose_database(*_: object) -> str:
        """Cut the connection before the request, for longer than the lease."""
        posts_before.append(emulator.effects["tenants.sync", tenant_id])
        if len(posts_before) == 1:
            proxy.lose = lambda _: "before"
            await anyio.sleep(1.5 * LEASE)
            threading.Timer(0.5, heal).start()
        return KEY

    def heal() -> None:
        proxy.lose = lambda _: ""

    is_hook = step == "request hook"  # runs between the last check before an attempt and connecting
    hooks = {"request": [lose_database]} if is_hook else {}
    journal = PostgresJournal(proxy_dsn, job="nightly", lease=LEASE)
    async with (
        httpx.AsyncClient(event_hooks=hooks) as mine,
        AsyncPandium(
            KEY if is_hook else lose_database, base_url=emulator.url, http_client=mine
        ) as client,
        client.tenants.sync_all(
            [tenant_id], mode="normal", journal=journal, poll=Polling(first=0.05, minimum=0.05)
        ) as results,
    ):
        [result] = [result async for result in results]
    assert (result.error, result.status and result.status.status) == (None, "Succeeded")
    assert posts_before[:2] == [0, 0]
    assert emulator.effects["tenants.sync", tenant_id] == 1
