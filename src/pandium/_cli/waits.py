"""Wait for runs and report their outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pandium import PandiumError, Polling
from pandium._cli.options import get_option
from pandium._cli.output.terminal import note
from pandium._cli.run_reporter import RunReporter
from pandium._cli.session import hints_on_abort, resume_hints, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from typing import TypeAlias

    from pandium import AsyncPandium
    from pandium._cli.run_logs import LogPrinter

    Report: TypeAlias = Callable[[AsyncPandium, RunReporter], Awaitable[None]]
    # A function that takes trigger ids and returns hints on how to resume waiting for them.
    GetHints: TypeAlias = Callable[[Collection[str]], list[str]]

__all__ = ["create_polling", "report_runs", "wait_for_triggers", "wait_timeout"]

_WAIT_TIMEOUT = 1800.0


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
        waits = client.runs.as_completed(triggers, timeout=wait_timeout(), poll=create_polling())
        async with waits as results:
            async for result in results:
                reporter.report(result)

    return report_runs(report, logs=logs)
