"""Sync many tenants and print their triggers or wait for their runs."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from pandium import PandiumError
from pandium._cli.options import get_option
from pandium._cli.output.records import TriggerRow
from pandium._cli.output.rows import create_writer
from pandium._cli.output.terminal import note
from pandium._cli.run_reporter import RunReporter, error_outcome, outcomes_exit_code
from pandium._cli.session import hints_on_interrupt, run
from pandium._cli.waits import create_polling, report_runs, resume_hints, wait_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable

    from anyio.abc import TaskGroup

    from pandium import AsyncPandium, Trigger
    from pandium._cli.run_logs import LogPrinter

__all__ = ["SyncSelection", "sync", "sync_and_wait"]


@attrs.frozen
class SyncSelection:
    """
    The tenants to sync and the sync settings.

    If ``integration_id`` is set, all tenants of that integration are synced and ``tenant_ids`` is
    empty.
    """

    tenant_ids: list[int]
    integration_id: int | None
    mode: str
    payload: dict[str, Any] | None
    max_concurrency: int


@attrs.define
class SyncTracker:
    """A record of which tenants have been synced, used for the hints after Ctrl-C."""

    selection: SyncSelection
    _started: dict[int, None] = attrs.field(factory=dict, init=False)
    # These tenants have requests in progress.
    _unknown: dict[int, None] = attrs.field(factory=dict, init=False)
    _is_listed: bool = attrs.field(default=False, init=False)

    async def tenant_ids(self, client: AsyncPandium) -> AsyncIterator[int]:
        """Yield the selected tenant ids. An integration's tenants are listed on demand."""
        for tenant_id in self.selection.tenant_ids:
            yield tenant_id
        if self.selection.integration_id is not None:
            async for tenant_id in _list_tenants(client, self.selection.integration_id):
                yield tenant_id
        self._is_listed = True

    def start(self, tenant_id: int) -> dict[str, Any] | None:
        """Record that a request is about to be sent and return its payload."""
        self._started[tenant_id] = self._unknown[tenant_id] = None
        return self.selection.payload

    def finish(self, tenant_id: int | None) -> None:
        """Record that the outcome of a request is known, or has been reported as unknown."""
        if tenant_id is not None:
            self._unknown.pop(tenant_id, None)

    def hints(self) -> list[str]:
        """Return hints on which tenants may have been synced and which were not."""
        hints = []
        if self._unknown:
            hints.append(f"these tenants may or may not have been synced: {_join(self._unknown)}")
        not_started = [id_ for id_ in self.selection.tenant_ids if id_ not in self._started]
        if not_started:
            hints.append(f"these tenants were not synced: {_join(not_started)}")
        integration_id = self.selection.integration_id
        if integration_id is not None and not self._is_listed:
            hints.append(f"integration {integration_id} has more tenants, which were not synced")
        return hints


def _join(tenant_ids: Iterable[int]) -> str:
    return " ".join(map(str, tenant_ids))


async def _list_tenants(client: AsyncPandium, integration_id: int) -> AsyncIterator[int]:
    is_empty = True
    try:
        async for tenant in client.tenants.list(integration_id=integration_id):
            is_empty = False
            yield tenant.id
    except PandiumError as error:
        error.resume_skip = None  # tenants sync has no --skip option
        raise
    if is_empty:
        # Raise NotFound if the integration does not exist. Otherwise, a mistyped id would look like
        # success.
        await client.integrations.get(integration_id)


def sync(selection: SyncSelection) -> int:
    """
    Trigger a sync for each tenant and print the triggers.

    :returns: the exit code.
    """
    tracker = SyncTracker(selection)
    with hints_on_interrupt(tracker.hints):
        return run(partial(_write_triggers, tracker))


async def _write_triggers(tracker: SyncTracker, client: AsyncPandium) -> int:
    writer = _TriggerWriter(tracker, client)
    await writer.trigger_all()
    return writer.finish()


class _TriggerWriter:
    """A writer that syncs tenants concurrently and prints each trigger as it is created."""

    def __init__(self, tracker: SyncTracker, client: AsyncPandium) -> None:
        self._tracker = tracker
        self._client = client
        self._slots = anyio.Semaphore(tracker.selection.max_concurrency)
        self._rows = create_writer("TriggerRow", get_option("format", "table"), sys.stdout)
        self._outcomes: Counter[str] = Counter()

    async def trigger_all(self) -> None:
        """
        Trigger a sync for each tenant.

        :raises PandiumError: if the listing fails. Tenants listed before that are still synced.
        :raises OSError: if a trigger cannot be printed.
        """
        failure: PandiumError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                failure = await self._start_all(tasks)
        except ExceptionGroup as group:  # the tasks could not print their triggers
            raise group.exceptions[0] from None
        if failure is not None:
            raise failure

    async def _start_all(self, tasks: TaskGroup) -> PandiumError | None:
        """Start a task for each tenant and return the listing error, if any."""
        try:
            async for tenant_id in self._tracker.tenant_ids(self._client):
                await self._slots.acquire()
                tasks.start_soon(self._sync, tenant_id)
        except PandiumError as error:
            return error
        return None

    async def _sync(self, tenant_id: int) -> None:
        mode, payload = self._tracker.selection.mode, self._tracker.start(tenant_id)
        try:
            trigger = await self._client.tenants.sync(tenant_id, mode=mode, payload=payload)
        except (PandiumError, ValueError) as error:
            self._outcomes[error_outcome(error)] += 1
            note(f"tenant {tenant_id}: {error}")
        else:
            self._outcomes["succeeded"] += 1
            self._rows.write([TriggerRow(tenant_id, trigger.trigger_id)])
            sys.stdout.flush()
        self._tracker.finish(tenant_id)
        self._slots.release()

    def finish(self) -> int:
        """Complete the output and return the exit code."""
        self._rows.close()
        if not self._outcomes:
            note("nothing to sync")
        return outcomes_exit_code(self._outcomes)


def sync_and_wait(
    selection: SyncSelection,
    journal: str | None,
    *,
    retry_unknown: bool = False,
    logs: LogPrinter | None = None,
) -> int:
    """
    Trigger a sync for each tenant, wait for the runs and report their outcomes.

    :param selection: the tenants to sync and the sync settings.
    :param journal: the path of the journal file, or ``None`` to run without a journal.
    :param retry_unknown: whether to retry syncs whose outcome is unknown.
    :param logs: the printer for the logs of failed runs, or ``None`` to print no logs.
    :returns: the exit code.
    """
    tracker = SyncTracker(selection)

    def get_hints(triggers: Collection[str]) -> list[str]:
        if journal is None:
            return [*resume_hints(triggers), *tracker.hints()]
        option = f"--journal {shlex.quote(journal)}"
        return [f"to resume, run the same command again with {option}"]

    return report_runs(partial(_report_syncs, tracker, journal, retry_unknown), get_hints, logs)


async def _report_syncs(
    tracker: SyncTracker,
    journal: str | None,
    retry_unknown: bool,  # noqa: FBT001 - functools.partial passes it by position
    client: AsyncPandium,
    reporter: RunReporter,
) -> None:
    def on_triggered(trigger: Trigger, tenant_id: int) -> None:
        tracker.finish(tenant_id)
        reporter.add_trigger(trigger.trigger_id)

    syncs = client.tenants.sync_all(
        tracker.tenant_ids(client),
        mode=tracker.selection.mode,
        payload=tracker.start,  # called just before each request, so it also tracks started syncs
        journal=journal,
        max_concurrency=tracker.selection.max_concurrency,
        poll=create_polling(),
        timeout=wait_timeout(),
        retry_unknown=retry_unknown,
        on_triggered=on_triggered,
    )
    async with syncs as results:
        async for result in results:
            tracker.finish(result.tenant_id)
            reporter.set_triggered(results.progress.triggered)  # also counts journal entries
            reporter.report(result)
