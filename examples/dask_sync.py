"""
Sync all tenants of an integration from several machines with Dask.

    pip install pandium distributed
    python examples/dask_sync.py 42 --journals ./journals --workers 4 --poll-rate 20

Without ``--scheduler``, the script starts workers on this machine. It divides the tenants into one
share per worker. Each share is processed by a task with a separate client, a separate journal and
a part of the poll rate. If a worker dies, Dask assigns its share to another worker, which resumes
from the journal, so that no tenant is triggered twice. The journal directory must therefore be
accessible to every worker, on a file system with locks that SQLite can rely on. To resume the job,
run the command again with the same directory.
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


def sync_share(tenants: Sequence[int], journal: str, poll_rate: float) -> list[RunResult]:
    """Sync one share of the tenants. This function runs on a worker."""

    async def sync() -> list[RunResult]:
        poll = Polling(rate=poll_rate)
        async with (
            AsyncPandium() as client,
            client.tenants.sync_all(tenants, mode="normal", journal=journal, poll=poll) as results,
        ):
            return [result async for result in results]

    return asyncio.run(sync())


def sync_all(
    dask: Client, tenants: Sequence[int], journals: Path, poll_rate: float
) -> list[RunResult]:
    """Divide the tenants among the workers and return all results."""
    journals.mkdir(parents=True, exist_ok=True)
    # Store the count, so that a resumed job has the same shares even if the number of workers
    # has changed.
    count_file = journals / "shares"
    if not count_file.exists():
        count_file.write_text(str(len(dask.scheduler_info(n_workers=-1)["workers"])))
    shares = int(count_file.read_text())
    tasks = [
        dask.submit(
            sync_share,
            [tenant for tenant in tenants if tenant % shares == number],
            str(journals / f"{number}.db"),
            poll_rate / shares,
            pure=False,
        )
        for number in range(shares)
    ]
    return [result for task in as_completed(tasks) for result in task.result()]


def main() -> int:
    parser = argparse.ArgumentParser(description="Sync all tenants of an integration with Dask.")
    parser.add_argument("integration", type=int)
    parser.add_argument(
        "--journals", type=Path, required=True, help="the directory for the journals of this job"
    )
    parser.add_argument("--scheduler", help="the address of a Dask scheduler")
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        help="the number of local workers to start if --scheduler is not given",
    )
    parser.add_argument(
        "--poll-rate",
        type=float,
        default=20.0,
        help="the maximum number of polls per second across all workers",
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
    succeeded = [
        result for result in results if result.status and result.status.outcome is Outcome.SUCCEEDED
    ]
    for result in results:
        if result not in succeeded:
            print(result.tenant_id, result.error or result.status, file=sys.stderr)
    print(f"{len(succeeded)} of {len(tenants)} tenants succeeded")
    return 0 if len(succeeded) == len(tenants) else 1


if __name__ == "__main__":
    sys.exit(main())
