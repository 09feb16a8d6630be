"""
Sync all tenants of an integration from several machines, by Dask.

    pip install pandium distributed
    python examples/dask_sync.py 42 --journals ./journals --workers 4 --poll-rate 20

Without ``--scheduler`` it starts workers on this machine. The tenants are dealt into as many shares
as there are workers; each share is one task with a client of its own, a journal of its own, and its
part of the rate. If a worker dies Dask gives its share to another, which goes on by the journal: no
tenant is triggered twice. So the directory of the journals must be one that every worker sees, and
whose locks SQLite can trust. Started again with the same directory, the whole job goes on.
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
    """Sync one share of the tenants; this is what runs on a worker."""

    async def run() -> list[RunResult]:
        poll = Polling(rate=rate)
        async with (
            AsyncPandium() as client,
            client.tenants.sync_all(tenants, mode="normal", journal=journal, poll=poll) as done,
        ):
            return [result async for result in done]

    return asyncio.run(run())


def sync_all(dask: Client, tenants: Sequence[int], journals: Path, rate: float) -> list[RunResult]:
    """Deal the tenants to the workers, and gather what became of them."""
    journals.mkdir(parents=True, exist_ok=True)
    # The number of shares is kept, so that each finds its journal again whatever workers there are.
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
    parser = argparse.ArgumentParser(description="Sync all tenants of an integration by Dask.")
    parser.add_argument("integration", type=int)
    parser.add_argument("--journals", type=Path, required=True, help="a directory for this job")
    parser.add_argument("--scheduler", help="the address of a Dask scheduler")
    parser.add_argument("--workers", type=int, default=2, help="how many to start without one")
    parser.add_argument(
        "--poll-rate", type=float, default=20.0, help="looks a second, of all together"
    )
    options = parser.parse_args()
    tenants = asyncio.run(list_tenants(options.integration))
    cluster = options.scheduler or LocalCluster(
        n_workers=options.workers, threads_per_worker=1, dashboard_address=None
    )
    with Client(cluster) as dask:
        results = sync_all(dask, tenants, options.journals, options.rate)
    if isinstance(cluster, LocalCluster):
        cluster.close()
    good = [one for one in results if one.status and one.status.outcome is Outcome.SUCCEEDED]
    for result in results:
        if result not in good:
            print(result.tenant_id, result.error or result.status, file=sys.stderr)
    print(f"{len(good)} of {len(tenants)} tenants succeeded")
    return 0 if len(good) == len(tenants) else 1


if __name__ == "__main__":
    sys.exit(main())
