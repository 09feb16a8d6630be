"""Sync many tenants and print their triggers or wait for their runs."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from pandium import PandiumError
from pandium._cli.journals import note_resumption
from pandium._cli.options import get_option
from pandium._cli.output.records import TriggerRow
from pandium._cli.output.rows import create_writer
from pandium._cli.output.terminal import note, wait_until_writable
from pandium._cli.run_reporter import RunReporter, error_outcome, outcomes_exit_code
from pandium._cli.session import check_environment, hints_on_abort, resume_hints, run
from pandium._cli.waits import create_polling, report_runs, wait_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable

    from anyio.abc import TaskGroup

    from pandium import AsyncPandium, RunResult, Trigger
    from pandium._cli.run_logs import LogPrinter
    from pandium._waiting.results import RunResults
    from pandium.postgres import PostgresJournal

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
    """
    A record of which tenants have been synced, used for the hints if the command ends early.

    ``triggers`` contains the triggers that the API returned. After ``stop``, no more tenants are
    started, and requests in progress may take ``settling_seconds``.
    """

    selection: SyncSelection
    settling_seconds: float = inf
    triggers: list[str] = attrs.field(factory=list, init=False)
    is_stopped: bool = attrs.field(default=False, init=False)
    _started: dict[int, None] = attrs.field(factory=dict, init=False)
    # These tenants have requests in progress.
    _unknown: dict[int, None] = attrs.field(factory=dict, init=False)
    _is_listed: bool = attrs.field(default=False, init=False)
    _on_settled: Callable[[], None] | None = attrs.field(default=None, init=False)

    async def tenant_ids(self, client: AsyncPandium) -> AsyncIterator[int]:
        """Yield the selected tenant ids. An integration's tenants are listed on demand."""
        async for tenant_id in self._selected_ids(client):
            if self.is_stopped:
                return
            yield tenant_id
        self._is_listed = True

    async def _selected_ids(self, client: AsyncPandium) -> AsyncIterator[int]:
        for tenant_id in self.selection.tenant_ids:
            yield tenant_id
        if self.selection.integration_id is not None:
            async for tenant_id in _list_tenants(client, self.selection.integration_id):
                yield tenant_id

    def start(self, tenant_id: int) -> dict[str, Any] | None:
        """
        Record that a request is about to be sent and return its payload.

        :raises PandiumError: if the command is ending.
        """
        if self.is_stopped:
            raise PandiumError(f"tenant {tenant_id} was not synced")
        self._started[tenant_id] = self._unknown[tenant_id] = None
        return self.selection.payload

    def finish(self, tenant_id: int | None, trigger: Trigger | None = None) -> None:
        """Record that the outcome of a request is known, or has been reported as unknown."""
        if trigger is not None:
            self.triggers.append(trigger.trigger_id)
        if tenant_id is not None:
            self._unknown.pop(tenant_id, None)
        self._check_if_settled()

    def stop(self, on_settled: Callable[[], None]) -> None:
        """
        Start no more tenants.

        :param on_settled: a function that is called once no request is in progress.
        """
        self.is_stopped, self._on_settled = True, on_settled
        self._check_if_settled()

    def _check_if_settled(self) -> None:
        if self._on_settled is not None and not self._unknown:
            self._on_settled()

    def hints(self) -> list[str]:
        """Return hints on which tenants may have been synced and which were not."""
        hints = []
        if self._unknown:
            hints.append(f"these tenants may or may not have been synced: {_join(self._unknown)}")
        not_started = [id_ for id_ in self.selection.tenant_ids if id_ not in self._started]
        if not_started:
            hints.append(f"these tenants were not synced: {_join(not_started)}")
        integration_id = self.selection.integration_id
        if integration_id is not None and self._started and not self._is_listed:
            hints.append(f"integration {integration_id} has more tenants, which were not synced")
        return hints


def _join(tenant_ids: Iterable[int]) -> str:
    return " ".join(map(str, tenant_ids))


async def _list_tenants(client: AsyncPandium, integration_id: int) -> AsyncIterator[int]:
    is_empty = True
    async for tenant in client.tenants.list(integration_id=integration_id):
        is_empty = False
        yield tenant.id
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

    def get_hints(error: BaseException) -> list[str]:
        if isinstance(error, PandiumError) and not tracker.triggers:
            return []  # nothing has been sent, or each error has been printed
        return [*resume_hints(tracker.triggers), *tracker.hints()]

    with hints_on_abort(get_hints):
        return run(partial(_write_triggers, tracker))


async def _write_triggers(tracker: SyncTracker, client: AsyncPandium) -> int:
    check_environment(client)
    writer = _TriggerWriter(tracker, client)
    await writer.trigger_all()
    return writer.finish()


class _TriggerWriter:
    """A writer that syncs tenants concurrently and prints each trigger or error as it arrives."""

    def __init__(self, tracker: SyncTracker, client: AsyncPandium) -> None:
        self._tracker = tracker
        self._client = client
        self._slots = anyio.Semaphore(tracker.selection.max_concurrency)
        self._rows = create_writer(
            "TriggerRow", get_option("format", "table"), sys.stdout, get_option("columns")
        )
        self._outcomes: Counter[str] = Counter()
        self._failure: Exception | None = None

    async def trigger_all(self) -> None:
        """
        Trigger a sync for each tenant.

        :raises PandiumError: if the listing fails. Tenants listed before that are still synced.
        :raises OSError: if a trigger cannot be printed. No more tenants are synced.
        """
        async with anyio.create_task_group() as tasks:
            await self._start_all(tasks)
        if self._failure is not None:
            raise self._failure

    async def _start_all(self, tasks: TaskGroup) -> None:
        try:
            async for tenant_id in self._tracker.tenant_ids(self._client):
                await self._slots.acquire()
                tasks.start_soon(self._sync, tenant_id)
        except PandiumError as error:
            self._failure = error

    async def _sync(self, tenant_id: int) -> None:
        if not self._tracker.is_stopped:
            try:
                await self._report(tenant_id, await self._trigger(tenant_id))
            except OSError as error:  # wait for the other requests, so that no trigger is lost
                self._failure = error
                self._tracker.stop(lambda: None)
        self._slots.release()

    async def _trigger(self, tenant_id: int) -> Trigger | Exception:
        """Sync a tenant and return the trigger or the error."""
        mode, payload = self._tracker.selection.mode, self._tracker.start(tenant_id)
        try:
            trigger = await self._client.tenants.sync(tenant_id, mode=mode, payload=payload)
        except (PandiumError, ValueError) as error:
            self._outcomes[error_outcome(error)] += 1
            return error
        self._outcomes["succeeded"] += 1
        self._tracker.finish(tenant_id, trigger)
        return trigger

    async def _report(self, tenant_id: int, outcome: Trigger | Exception) -> None:
        if isinstance(outcome, Exception):
            await wait_until_writable(sys.stderr)
            note(f"tenant {tenant_id}: {outcome}")
            self._tracker.finish(tenant_id)
        else:
            await wait_until_writable(sys.stdout)
            self._rows.write([TriggerRow(tenant_id, outcome.trigger_id)])
            sys.stdout.flush()

    def finish(self) -> int:
        """Complete the output and return the exit code."""
        self._rows.close()
        if not self._outcomes:
            note("nothing to sync")
        return outcomes_exit_code(self._outcomes)


def sync_and_wait(
    selection: SyncSelection,
    journal: str | PostgresJournal | None,
    option: str | None,
    *,
    retry_unknown: bool = False,
    logs: LogPrinter | None = None,
    settling_seconds: float = 10.0,
) -> int:
    """
    Trigger a sync for each tenant, wait for the runs and report their outcomes.

    :param selection: the tenants to sync and the sync settings.
    :param journal: the journal, or ``None`` to run without a journal.
    :param option: the options with which the job can be resumed, if there is a journal.
    :param retry_unknown: whether to retry syncs whose outcome is unknown.
    :param logs: the printer for the logs of failed runs, or ``None`` to print no logs.
    :param settling_seconds: with a journal, the time that requests in progress may take once the
        output cannot be written. One of them may be that of another process, which lasts as long as
        the run.
    :returns: the exit code.
    """
    tracker = SyncTracker(selection, inf if journal is None else settling_seconds)

    def get_hints(triggers: Collection[str]) -> list[str]:
        if option is None:
            return [*resume_hints(triggers), *tracker.hints()]
        return [*_name(triggers), f"to resume, run the same command again with {option}"]

    return report_runs(partial(_report_syncs, tracker, journal, retry_unknown), get_hints, logs)


def _name(triggers: Collection[str]) -> list[str]:
    return [f"triggers that were sent: {' '.join(triggers)}"] if triggers else []


async def _report_syncs(
    tracker: SyncTracker,
    journal: str | PostgresJournal | None,
    retry_unknown: bool,  # noqa: FBT001 - functools.partial passes it by position
    client: AsyncPandium,
    reporter: RunReporter,
) -> None:
    if journal is not None:
        await note_resumption(journal)

    def on_triggered(trigger: Trigger, tenant_id: int) -> None:
        reporter.add_trigger(trigger.trigger_id)
        tracker.finish(tenant_id, trigger)

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
        await _report_results(results, tracker, reporter)


async def _report_results(
    results: RunResults[RunResult], tracker: SyncTracker, reporter: RunReporter
) -> None:
    """
    Report each result.

    :raises OSError: if a result cannot be printed. No more tenants are synced, but requests in
        progress are completed first, so that no trigger is lost.
    """
    failure: OSError | None = None
    with anyio.CancelScope() as scope:
        async for result in results:
            reporter.set_triggered(results.progress.triggered)  # also counts journal entries
            # If this is canceled, the tenant is named as one that may have been synced.
            await reporter.report_failure(result)
            tracker.finish(result.tenant_id)
            try:
                await reporter.report_row(result)
            except OSError as error:
                failure = error
                latest = anyio.current_time() + tracker.settling_seconds
                scope.deadline = min(scope.deadline, latest)
                tracker.stop(scope.cancel)
    if failure is not None:
        raise failure
