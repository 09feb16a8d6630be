"""Wait for runs and report their outcomes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import anyio
import click

from pandium import PandiumError, Polling
from pandium._cli.options import connection_arguments, get_option
from pandium._cli.output.terminal import note
from pandium._cli.run_reporter import RunReporter
from pandium._cli.session import hints_on_abort, resume_hints, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from typing import TypeAlias

    from pandium import AsyncPandium, RunResult
    from pandium._cli.run_logs import LogPrinter

    Report: TypeAlias = Callable[[AsyncPandium, RunReporter], Awaitable[None]]
    # A function that takes trigger ids and returns hints on how to resume waiting for them.
    GetHints: TypeAlias = Callable[[Collection[str]], list[str]]

__all__ = ["create_polling", "report_runs", "suspect_unseen", "wait_for_triggers", "wait_timeout"]

_WAIT_TIMEOUT = 1800.0
_SUSPICIOUS_SECONDS = 60.0  # a run usually appears within a few seconds


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
    report: Report, get_hints: GetHints = resume_hints, logs: LogPrinter | None = None
) -> int:
    """
    Report run outcomes. If the command ends early or a run times out, also print how to resume.

    :param report: a coroutine function that waits for the runs and passes them to the reporter.
    :param get_hints: a function that takes trigger ids and returns hints on how to resume.
    :param logs: the printer for the logs of failed runs, or ``None`` to print no logs.
    :returns: the exit code.
    """
    reporter = RunReporter()

    async def use_client(client: AsyncPandium) -> int:
        with reporter:
            await report(client, reporter)
        if logs is not None:
            await logs.print_logs(client, reporter.failed)
        elif reporter.failed:
            note(f"to print the logs of the failed runs, run: {_log_command(reporter.failed)}")
        code = reporter.finish()
        if reporter.timed_out:
            hints = "; ".join(get_hints(reporter.timed_out))
            note(f"some runs did not finish within the time limit; {hints}")
        return code

    def get_abort_hints(error: BaseException) -> list[str]:
        if isinstance(error, PandiumError) and not reporter.triggers:
            return []  # nothing has been sent
        # After Ctrl-C, all other rows have been printed. Otherwise, any row or record of a journal
        # may be missing.
        is_interrupted = isinstance(error, KeyboardInterrupt)
        return get_hints(reporter.pending if is_interrupted else reporter.triggers)

    with hints_on_abort(get_abort_hints):
        return run(use_client)


def _log_command(failed: Collection[RunResult]) -> str:
    tenants = dict.fromkeys(str(one.tenant_id) for one in failed if one.tenant_id is not None)
    options = [word for tenant in tenants for word in ("--tenant", tenant)]
    triggers = [one.trigger_id for one in failed if one.trigger_id is not None]
    command = ["pandium-api", "runs", "wait", *connection_arguments(), "--logs", *options]
    return shlex.join([*command, *triggers])


async def suspect_unseen(seconds: float, reporter: RunReporter, seen: Collection[str]) -> None:
    """
    Print the triggers for which no run has appeared after some time, because of a likely typo.

    :param seconds: the time to wait, in seconds.
    :param reporter: the reporter, whose pending triggers are checked.
    :param seen: the triggers whose runs have appeared.
    """
    await anyio.sleep(seconds)
    if unseen := [trigger for trigger in reporter.pending if trigger not in seen]:
        note(
            f"no run has appeared after {seconds:.0f} s for: {' '.join(unseen)}; check whether"
            " these are ids of triggers, and whether they belong to this environment"
        )


def wait_for_triggers(triggers: list[str], logs: LogPrinter | None = None) -> int:
    """
    Wait for the runs started by triggers and report their outcomes.

    :param triggers: the trigger ids.
    :param logs: the printer for the logs of failed runs, or ``None`` to print no logs.
    :returns: the exit code.
    """

    async def report(client: AsyncPandium, reporter: RunReporter) -> None:
        for trigger_id in triggers:
            reporter.add_trigger(trigger_id)
        seen: set[str] = set()
        waits = client.runs.as_completed(
            triggers,
            timeout=wait_timeout(),
            poll=create_polling(),
            on_status=lambda _, trigger_id: seen.add(trigger_id),
        )
        async with waits as results, anyio.create_task_group() as tasks:
            tasks.start_soon(suspect_unseen, _SUSPICIOUS_SECONDS, reporter, seen)
            async for result in results:
                reporter.report(result)
            tasks.cancel_scope.cancel()

    return report_runs(report, logs=logs)
