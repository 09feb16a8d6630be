"""
Sync tenants from Airflow without occupying a worker. Requires Airflow 3 and pandium[postgres].

Put this file into the directory for plugins. The triggerer reads the API key from PANDIUM_API_KEY
and the connection string of the journal's database from PANDIUM_JOURNAL, because Airflow stores the
arguments of a trigger in its own database. Airflow may start a trigger several times, for example
after the triggerer was restarted. Each attempt resumes from the journal.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from pandium import AsyncPandium, Outcome
from pandium.postgres import PostgresJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class TenantsSynced(BaseTrigger):
    """Sync tenants with a journal, and fire when all runs have ended."""

    def __init__(self, tenants: Sequence[int], mode: str, job: str) -> None:
        super().__init__()
        self.tenants, self.mode, self.job = list(tenants), mode, job

    def serialize(self) -> tuple[str, dict[str, Any]]:
        arguments = {"tenants": self.tenants, "mode": self.mode, "job": self.job}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        journal = PostgresJournal(os.environ["PANDIUM_JOURNAL"], job=self.job)
        async with (
            AsyncPandium() as client,
            client.tenants.sync_all(self.tenants, mode=self.mode, journal=journal) as results,
        ):
            failed = [
                f"tenant {result.tenant_id}: {result.error or result.status}"
                async for result in results
                if result.outcome is not Outcome.SUCCEEDED
            ]
        yield TriggerEvent(failed)


class SyncTenants(BaseOperator):
    """Sync tenants, and fail if one of them did not succeed."""

    def __init__(self, *, tenants: Sequence[int], mode: str = "normal", **options: Any) -> None:
        super().__init__(**options)
        self.tenants = tenants
        self.mode = mode

    def execute(self, context: Any) -> None:
        task = context["ti"]  # the job's name is the same in every attempt of this task
        job = f"{task.dag_id}/{task.run_id}/{task.task_id}/{task.map_index}"
        self.defer(trigger=TenantsSynced(self.tenants, self.mode, job), method_name="finish")

    def finish(self, context: Any, event: list[str]) -> None:  # noqa: ARG002 - Airflow passes it
        if event:
            raise AirflowException(f"{len(event)} tenants did not succeed: {'; '.join(event)}")
