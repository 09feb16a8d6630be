"""Wait for runs and report their outcomes."""

from __future__ import annotations

import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio
import click

from pandium import PandiumError, Polling
from pandium._cli.options import get_option, show_command
from pandium._cli.output.terminal import note, wait_until_writable
from pandium._cli.run_reporter import RunReporter
from pandium._cli.session import check_environment, hints_on_abort, resume_hints, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from typing import TypeAlias

    from pandium import AsyncPandium, ResponseEvent, RunResult
    from pandium._cli.run_logs import LogPrinter
    from pandium._transport.events import OnResponse

    Report: TypeAlias = Callable[[AsyncPandium, RunReporter], Awaitable[None]]
    # A function that takes trigger ids and returns hints on how to resume waiting for them.
    GetHints: TypeAlias = Callable[[Collection[str]], list[str]]

__all__ = ["MissingRuns", "create_polling", "report_runs", "wait_for_triggers", "wait_timeout"]

_WAIT_TIMEOUT = 1800.0
_STATUS = "/v2/runs/triggers/{trigger_id}/status"
_USUAL_INTERVAL = 20.0  # seconds between two polls, with the default settings


def create_polling() -> Polling:
    """Return the polling policy configured by the command's options."""
    minimum, maximum = get_option("min_interval"), get_option("max_interval")
    if minimum is not None and maximum is not None and minimum > maximum:
        text = f"--min-interval ({minimum:g}) must be at most --max-interval ({maximum:g})"
        raise click.UsageError(text)
    # If only one is given, the default of the other must not conflict with it.
    if minimum is None and maximum is not None:
        minimum = min(maximum, Polling().minimum)
    elif maximum is None and minimum is not None:
        maximum = max(minimum, Polling().maximum)
    rate = get_option("poll_rate")
    given = {"first": minimum, "minimum": minimum, "maximum": maximum, "rate": rate}
    return Polling(**{name: value for name, value in given.items() if value is not None})


def wait_timeout() -> float:
    """Return the time limit for each run, in seconds."""
    seconds: float = get_option("wait_timeout", _WAIT_TIMEOUT)
    return seconds


def report_runs(
    report: Report,
    get_hints: GetHints = resume_hints,
    logs: LogPrinter | None = None,
    on_response: OnResponse | None = None,
) -> int:
    """
    Report run outcomes. If the command ends early or a run times out, also print how to resume.

    :param report: a coroutine function that waits for the runs and passes them to the reporter.
    :param get_hints: a function that takes trigger ids and returns hints on how to resume.
    :param logs: the printer for the logs of failed runs, or ``None`` to print no logs.
    :param on_response: a function for the client to call after each response.
    :returns: the exit code.
    """
    reporter = RunReporter()

    async def use_client(client: AsyncPandium) -> int:
        check_environment(client)
        with reporter:
            await report(client, reporter)
        await _print_logs(client, reporter.failed, logs)
        return _finish(reporter, get_hints)

    def get_abort_hints(error: BaseException) -> list[str]:
        if isinstance(error, PandiumError) and not reporter.triggers:
            return []  # nothing has been sent
        # After Ctrl-C, all other rows have been printed. Otherwise, any row or record of a journal
        # may be missing.
        is_interrupted = isinstance(error, KeyboardInterrupt)
        return get_hints(reporter.pending if is_interrupted else reporter.triggers)

    with hints_on_abort(get_abort_hints):
        return run(use_client, on_response=on_response)


async def _print_logs(
    client: AsyncPandium, failed: list[RunResult], logs: LogPrinter | None
) -> None:
    """Print the logs of failed runs, or how to print them."""
    if logs is not None:
        await logs.print_logs(client, failed)
    elif failed:
        note(f"to print the logs of the failed runs, run: {_log_command(failed)}")


def _finish(reporter: RunReporter, get_hints: GetHints) -> int:
    """Print the summary and how to resume, and return the exit code."""
    code = reporter.finish()
    if reporter.timed_out:
        hints = "; ".join(get_hints(reporter.timed_out))
        note(f"some runs did not finish within the time limit; {hints}")
    return code


def _log_command(failed: Collection[RunResult]) -> str:
    tenants = dict.fromkeys(str(one.tenant_id) for one in failed if one.tenant_id is not None)
    options = [word for tenant in tenants for word in ("--tenant", tenant)]
    triggers = [one.trigger_id for one in failed if one.trigger_id is not None]
    return show_command("runs", "wait", options=["--logs", *options], operands=triggers)


class MissingRuns:
    """
    The triggers for which the service has answered 404 for some time, because of a likely typo.

    After any other response, the time starts again. A connection that fails has no response, so
    each 404 accounts only for the time that usually passes between two polls.

    :param seconds: the time after which a trigger is named.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last_seen: dict[str, float] = {}
        self._missing_for: dict[str, float] = {}
        self._named: set[str] = set()

    def observe(self, event: ResponseEvent) -> None:
        """Take note of a response. Suitable for ``on_response``."""
        if event.template == _STATUS:
            self.count(event.path.split("/")[-2], event.status_code, time.monotonic())

    def count(self, trigger: str, status_code: int, now: float) -> None:
        """Take note of a response for a trigger at a time."""
        last = self._last_seen.pop(trigger, now)
        missing_for = self._missing_for.pop(trigger, 0.0)
        if status_code == HTTPStatus.NOT_FOUND:
            self._last_seen[trigger] = now
            self._missing_for[trigger] = missing_for + min(now - last, _USUAL_INTERVAL)

    def name_new(self) -> None:
        """Print the triggers that have been missing for long enough, each of them once."""
        missing = {one for one, seconds in self._missing_for.items() if seconds >= self._seconds}
        if new := sorted(missing - self._named):
            self._named |= missing
            note(
                f"no run has appeared after {self._seconds:g} s for: {' '.join(map(unquote, new))};"
                " check whether these are ids of triggers, and whether they belong to this"
                " environment"
            )

    async def watch(self) -> None:
        """Name missing triggers until canceled."""
        while True:
            await anyio.sleep(self._seconds / 4)
            await wait_until_writable(sys.stderr)
            self.name_new()


def wait_for_triggers(
    triggers: list[str], logs: LogPrinter | None = None, *, suspicious_after: float = 60.0
) -> int:
    """
    Wait for the runs started by triggers and report their outcomes.

    :param triggers: the trigger ids.
    :param logs: the printer for the logs of failed runs, or ``None`` to print no logs.
    :param suspicious_after: the time, in seconds, after which a trigger without a run is named. A
        run usually appears within a few seconds.
    :returns: the exit code.
    """
    missing = MissingRuns(suspicious_after)

    async def report(client: AsyncPandium, reporter: RunReporter) -> None:
        for trigger_id in triggers:
            reporter.add_trigger(trigger_id)
        waits = client.runs.as_completed(triggers, timeout=wait_timeout(), poll=create_polling())
        async with waits as results, anyio.create_task_group() as tasks:
            tasks.start_soon(missing.watch)
            async for result in results:
                await reporter.report(result)
            tasks.cancel_scope.cancel()

    return report_runs(report, logs=logs, on_response=missing.observe)
