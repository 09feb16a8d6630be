"""How the workers of a job in PostgreSQL divide its request rate."""

from __future__ import annotations

import threading
import time
from contextlib import AsyncExitStack, closing, suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import psycopg
import pytest

from pandium._bulk.postgres_worker import PostgresWorker
from pandium._clock import RealClock
from pandium.emulator import Emulator
from pandium.postgres import PostgresJournal
from support.journals import JOB
from support.postgres import expire_leases
from support.syncing import JobOptions, SyncingProcess, check_triggers

if TYPE_CHECKING:
    from support.postgres import PostgresProxy

LEASE = 1.0


def worker(dsn: str, job: str = "nightly", lease: float = LEASE) -> PostgresWorker:
    return PostgresWorker(PostgresJournal(dsn, job=job, lease=lease), JOB, RealClock())


pytestmark = pytest.mark.postgres


async def renew_until_settled(*workers: PostgresWorker) -> list[float]:
    """Renew the leases of all workers in turn until each has its share, and return the shares."""
    for _ in range(10):
        for one in workers:
            await one.renew()
            assert sum(other.share for other in workers) <= 1 + 1e-9
    return [round(one.share, 9) for one in workers]


@pytest.mark.anyio
async def test_workers_divide_the_rate_as_they_come_and_go(postgres_dsn: str) -> None:
    """The shares of the live workers add up to 1 in the end, and to no more at any time."""
    async with worker(postgres_dsn) as one:
        assert (one.share, one.renewal_interval) == (1.0, LEASE / 4)
        async with worker(postgres_dsn) as two, worker(postgres_dsn, "weekly") as other:
            assert (one.share, two.share, other.share) == (1.0, 0.0, 1.0)
            assert two.renewal_interval < LEASE / 4  # so that it does not wait for long
            assert await renew_until_settled(one, two) == [0.5, 0.5]
            async with worker(postgres_dsn) as three:
                shares = await renew_until_settled(one, two, three)
                assert shares == [round(1 / 3, 9)] * 3
            assert await renew_until_settled(one, two) == [0.5, 0.5]
        assert await renew_until_settled(one) == [1.0]
        assert one.renewal_interval == LEASE / 4


@pytest.mark.anyio
async def test_shares_that_cannot_be_exact_are_settled(postgres_dsn: str) -> None:
    """Eleven workers, whose shares do not add up to 1 exactly, soon renew as seldom as one."""
    async with AsyncExitStack() as stack:
        workers = [worker(postgres_dsn, lease=100.0) for _ in range(11)]
        for one in workers:
            await stack.enter_async_context(one)
        assert await renew_until_settled(*workers) == [round(1 / 11, 9)] * 11
        assert {one.renewal_interval for one in workers} == {25.0}


@pytest.mark.anyio
async def test_a_rounded_rest_is_no_share(postgres_dsn: str) -> None:
    """A worker that joins has no share until others have reduced theirs, despite rounding."""
    async with AsyncExitStack() as stack:
        workers: list[PostgresWorker] = []
        for _ in range(12):
            workers.append(worker(postgres_dsn, lease=100.0))
            await stack.enter_async_context(workers[-1])
            assert workers[-1].share == (0.0 if workers[1:] else 1.0)
            await renew_until_settled(*workers)


@pytest.mark.anyio
async def test_the_share_of_a_dead_worker_is_divided(postgres_dsn: str) -> None:
    """A worker that does not renew its lease loses its share, and has none when it returns."""
    async with worker(postgres_dsn) as one, worker(postgres_dsn) as two:
        assert await renew_until_settled(one, two) == [0.5, 0.5]
        expire_leases(postgres_dsn, 2 * LEASE)
        while two.lease_number is not None:  # noqa: ASYNC110 - no event: time passes
            await anyio.sleep(0.05)
        assert await renew_until_settled(one) == [1.0]
        await two.renew()
        assert two.share == 0.0
        assert await renew_until_settled(one, two) == [0.5, 0.5]


@pytest.mark.anyio
async def test_a_share_is_lost_during_a_renewal_that_takes_longer_than_the_lease(
    postgres_dsn: str, proxy_dsn: str, proxy: PostgresProxy
) -> None:
    """If the server is out of reach for longer than a lease, the worker's share may be in use."""
    is_lost = threading.Event()

    def lose(_: bytes) -> str:
        is_lost.set()
        return "before"

    async with worker(postgres_dsn) as one, worker(proxy_dsn) as two:
        assert await renew_until_settled(one, two) == [0.5, 0.5]
        proxy.lose = lose
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(two.renew)
            await anyio.to_thread.run_sync(is_lost.wait)
            expire_leases(postgres_dsn, 2 * LEASE)
            while two.lease_number is not None:  # noqa: ASYNC110 - no event: time passes
                await anyio.sleep(0.05)
            assert await renew_until_settled(one) == [1.0]
            proxy.lose = lambda _: ""
        assert two.share == 0.0
        assert await renew_until_settled(one, two) == [0.5, 0.5]


@pytest.mark.anyio
async def test_a_worker_that_cannot_register_its_share_is_closed(
    postgres_dsn: str, proxy_dsn: str, proxy: PostgresProxy
) -> None:
    """If opening a journal is canceled after the connection was made, the worker is closed."""
    proxy.lose = lambda data: "before" if b"SET share" in data else ""
    with anyio.move_on_after(1) as scope:
        await worker(proxy_dsn).__aenter__()
    assert scope.cancelled_caught
    assert read_shares(postgres_dsn) == []


def read_shares(dsn: str) -> list[float]:
    """Return the shares of the workers that have not been closed."""
    with closing(psycopg.connect(dsn)) as db, suppress(psycopg.errors.UndefinedTable):
        rows = db.execute("SELECT share FROM pandium_workers WHERE NOT is_closed").fetchall()
        return [round(share, 9) for (share,) in rows]
    return []


def test_processes_together_keep_the_rate_of_the_job(postgres_dsn: str) -> None:
    """Once they have divided the rate, three processes send no more than one client may."""
    tenants, rate, processes = 80, 20.0, 3
    with Emulator() as emulator:
        for _ in range(tenants):
            emulator.add_tenant()
        emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
        job = JobOptions(
            emulator.url, postgres_dsn, tenants, speed=1.0, job="nightly", lease=LEASE,
            max_concurrency=10, requests_per_second=rate,
        )  # fmt: skip
        running = start_together(job, processes)
        while read_shares(postgres_dsn) != [round(1 / processes, 9)] * processes:
            assert all(process.is_running() for process in running)
        began, before = time.monotonic(), emulator.counts.total()
        for process in running:
            assert check_triggers(emulator, process.results(), tenants) == set()
        sent = emulator.counts.total() - before
        # Each process may begin with a burst, and the emulator may receive late what each of its
        # tenants has sent before.
        sent_before = processes * (0.1 * rate + 1 + job.max_concurrency)
        # A slow machine only makes this longer.
        assert time.monotonic() - began >= (sent - sent_before) / rate
        assert sent > 2 * sent_before  # otherwise, this would prove nothing


def start_together(job: JobOptions, number: int) -> list[SyncingProcess]:
    """Start processes that sync nothing before all of them have started."""
    running = []
    for _ in range(number):
        running.append(SyncingProcess(job))
        running[-1].wait_for_start()
        running[-1].suspend()
    for process in running:
        process.resume()
    return running
