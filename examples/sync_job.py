"""
Sync all tenants of an integration as a job that may be run again, on any number of hosts.

    pip install 'pandium[postgres]'
    export PANDIUM_API_KEY=… PANDIUM_JOURNAL=postgresql://jobs@db.example/jobs
    python examples/sync_job.py 42 nightly-2026-11-28

Run the command on as many hosts as you like, and again after a failure. Each tenant is triggered
once. ``sync_integration`` is also what a task of Celery or an activity of Temporal calls.
"""

from __future__ import annotations

import asyncio
import os
import sys

from pandium import AsyncPandium, Outcome
from pandium.postgres import PostgresJournal


async def sync_integration(integration_id: int, job: str) -> list[str]:
    """Sync all tenants and describe those that did not succeed."""
    journal = PostgresJournal(os.environ["PANDIUM_JOURNAL"], job=job)
    async with AsyncPandium() as client:
        tenants = client.tenants.list(integration_id=integration_id)
        async with client.tenants.sync_all(tenants, mode="normal", journal=journal) as results:
            return [
                f"tenant {result.tenant_id}: {result.error or result.status}"
                async for result in results
                if result.outcome is not Outcome.SUCCEEDED
            ]


if __name__ == "__main__":
    failures = asyncio.run(sync_integration(int(sys.argv[1]), sys.argv[2]))
    print("\n".join(failures) or "all tenants succeeded")
    sys.exit(1 if failures else 0)
