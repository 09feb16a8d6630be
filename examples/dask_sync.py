"""
Sync all tenants of an integration from several machines with Dask.

    pip install pandium distributed
    python examples/dask_sync.py 42 --journals ./journals --workers 4 --poll-rate 20

Without ``--scheduler``, it starts workers on this machine. The tenants are divided into one share
per worker. Each share is a task with its own client, its own journal, and its part of the polling
rate. If a worker dies, Dask gives its share to another worker, which resumes from the journal, so
no tenant is triggered twice. The directory of the journals must therefore be shared by all workers,
with file locks that work for SQLite. To resume an interrupted job, run it again with the same
directory.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import Client, LocalCluster, as_completed

from pandium import AsyncPandium, Outcome, Polling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandium import RunResult


async def list_tenants(integration_id: int) -> list[int]:
    async with AsyncPandium() as client:
        listing = client.tenants.list(integration_id=integration_id, sort_by="id__ASC")
        return [tenant.id async for tenant in listing]


def sync_share(tenants: Sequence[int], journal: str, rate: float) -> list[RunResult]:
    """Sync one share of the tenants. Dask runs this function on a worker."""

    async def run() -> list[RunResult]:
        poll = Polling(rate=rate)
        async with (
            AsyncPandium() as client,
            client.tenants.sync_all(tenants, mode="normal", journal=journal, poll=poll) as results,
        ):
            return [result async for result in results]

    return asyncio.run(run())


def sync_all(dask: Client, tenants: Sequence[int], journals: Path, rate: float) -> list[RunResult]:
    """Divide the tenants among the workers, and return all results."""
    journals.mkdir(parents=True, exist_ok=True)
    # The number of shares is stored, so that a restart with other workers finds the same journals.
    count = journals / "shares"
    if not count.exists():
        count.write_text(str(len(dask.scheduler_info(n_workers=-1)["workers"])))
    shares = int(count.read_text())
    tasks = [
        dask.submit(
            sync_share,
            [tenant for tenant in tenants if tenant % shares == number],
            str(journals / f"{number}.db"),
            rate / shares,
            pure=False,
        )
        for number in range(shares)
    ]
    return [result for task in as_completed(tasks) for result in task.result()]


def main() -> int:
    parser = argparse.ArgumentParser(description="Sync all tenants of an integration with Dask.")
    parser.add_argument("integration", type=int)
    parser.add_argument(
        "--journals", type=Path, required=True, help="directory of this job's journals"
    )
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    parser.add_argument(
        "--workers", type=int, default=2, help="workers to start without --scheduler"
    )
    parser.add_argument(
        "--poll-rate", type=float, default=20.0, help="most polls per second over all workers"
    )
    options = parser.parse_args()
    tenants = asyncio.run(list_tenants(options.integration))
    cluster = options.scheduler or LocalCluster(
        n_workers=options.workers, threads_per_worker=1, dashboard_address=None
    )
    with Client(cluster) as dask:
        results = sync_all(dask, tenants, options.journals, options.poll_rate)
    if isinstance(cluster, LocalCluster):
        cluster.close()
    succeeded = [r for r in results if r.status and r.status.outcome is Outcome.SUCCEEDED]
    for result in results:
        if result not in succeeded:
            print(result.tenant_id, result.error or result.status, file=sys.stderr)
    print(f"{len(succeeded)} of {len(tenants)} tenants succeeded")
    return 0 if len(succeeded) == len(tenants) else 1


if __name__ == "__main__":
    sys.exit(main())
