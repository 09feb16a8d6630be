"""
Sync all tenants of an integration on Dask workers that come and go.

    pip install 'pandium[postgres]' distributed
    python examples/dask_sync.py 42 --journal postgresql://jobs@db.example/jobs \
        --job nightly-2026-11-28 --workers 4 --poll-rate 20

Without ``--scheduler``, Dask starts workers on this machine while there is work for them, and stops
them when there is none. The tenants are divided into batches, and each batch is a task with a
separate client and a part of the poll rate. All tasks share a journal in a PostgreSQL database,
which every worker must be able to reach. If a worker dies, Dask runs its batch on another worker,
which resumes from the journal, so that no tenant is triggered twice. To resume the job, run the
command again with the same ``--job``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from distributed import Client, LocalCluster, as_completed

from pandium import AsyncPandium, Outcome, Polling
from pandium.postgres import PostgresJournal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandium import RunResult


async def list_tenants(integration_id: int) -> list[int]:
    async with AsyncPandium() as client:
        listing = client.tenants.list(integration_id=integration_id, sort_by="id__ASC")
        return [tenant.id async for tenant in listing]


def sync_batch(
    tenants: Sequence[int], journal: PostgresJournal, poll_rate: float
) -> list[RunResult]:
    """Sync a batch of tenants. This function runs on a worker."""

    async def sync() -> list[RunResult]:
        poll = Polling(rate=poll_rate)
        async with (
            AsyncPandium() as client,
            client.tenants.sync_all(tenants, mode="normal", journal=journal, poll=poll) as results,
        ):
            return [result async for result in results]

    return asyncio.run(sync())


def sync_all(
    dask: Client, tenants: Sequence[int], journal: PostgresJournal, options: argparse.Namespace
) -> list[RunResult]:
    """Divide the tenants into batches, sync them on the workers and return all results."""
    tasks = [
        dask.submit(sync_batch, batch, journal, options.poll_rate / options.workers, pure=False)
        for batch in batches_of(tenants, options.batch)
    ]
    # Each task also waits for tenants that other tasks have in progress, in case a worker dies.
    results = (result for task in as_completed(tasks) for result in task.result())
    return list({result.tenant_id: result for result in results}.values())


def batches_of(tenants: Sequence[int], size: int) -> list[Sequence[int]]:
    return [tenants[start : start + size] for start in range(0, len(tenants), size)]


def main() -> int:
    options = parse_arguments()
    journal = PostgresJournal(options.journal, job=options.job)
    tenants = asyncio.run(list_tenants(options.integration))
    if options.scheduler:
        results = connect_and_sync(options.scheduler, tenants, journal, options)
    else:
        with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
            cluster.adapt(minimum=1, maximum=options.workers)
            results = connect_and_sync(cluster, tenants, journal, options)
    return report(results)


def connect_and_sync(
    cluster: LocalCluster | str,
    tenants: Sequence[int],
    journal: PostgresJournal,
    options: argparse.Namespace,
) -> list[RunResult]:
    with Client(cluster) as dask:
        return sync_all(dask, tenants, journal, options)


def report(results: Sequence[RunResult]) -> int:
    """Print the tenants that did not succeed, and return the exit code."""
    failed = [result for result in results if result.outcome is not Outcome.SUCCEEDED]
    for result in failed:
        print(result.tenant_id, result.error or result.status, file=sys.stderr)
    print(f"{len(results) - len(failed)} of {len(results)} tenants succeeded")
    return 1 if failed else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sync all tenants of an integration with Dask.")
    parser.add_argument("integration", type=int)
    parser.add_argument("--journal", required=True, help="the connection string of the database")
    parser.add_argument("--job", required=True, help="the name of this job in the journal")
    parser.add_argument("--scheduler", help="the address of a Dask scheduler")
    parser.add_argument("--workers", type=int, default=4, help="the maximum number of workers")
    parser.add_argument("--batch", type=int, default=100, help="the number of tenants per task")
    parser.add_argument(
        "--poll-rate",
        type=float,
        default=20.0,
        help="the maximum number of polls per second across all workers",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
