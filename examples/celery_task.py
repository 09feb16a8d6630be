"""
Sync all tenants of an integration in a Celery task, which runs again if its worker dies.

    pip install 'pandium[postgres]' celery
    celery -A celery_task worker

The worker reads CELERY_BROKER_URL, PANDIUM_API_KEY and PANDIUM_JOURNAL.
"""

from __future__ import annotations

import asyncio

from celery import Celery
from sync_job import sync_integration

app = Celery("jobs")


# Without these two arguments, Celery does not run a task again whose worker has died.
@app.task(acks_late=True, reject_on_worker_lost=True)
def sync(integration_id: int, job: str) -> list[str]:
    return asyncio.run(sync_integration(integration_id, job))
