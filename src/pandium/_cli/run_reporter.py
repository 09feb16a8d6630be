"""Report run outcomes: a row for each run, a progress bar, a summary and an exit code."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Self

from pandium import Outcome, PandiumError, RunResult, WaitTimeout
from pandium._cli import exit_codes
from pandium._cli.options import get_option
from pandium._cli.output.bar import Bar
from pandium._cli.output.records import RunRow
from pandium._cli.output.rows import create_writer
from pandium._cli.output.terminal import note, wait_until_writable

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["RunReporter", "error_outcome", "outcomes_exit_code"]


class RunReporter:
    """
    A reporter that shows a progress bar and prints a row for each finished run.

    ``triggers`` contains all triggers except those that were already in a journal. ``pending``
    contains those whose runs have not finished. ``timed_out`` contains the triggers whose runs did
    not finish within the time limit. ``failed`` contains the results of failed runs.
    """

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._triggered = 0
        self.triggers: dict[str, None] = {}
        self.pending: dict[str, None] = {}
        self.timed_out: list[str] = []
        self.failed: list[RunResult] = []

    def __enter__(self) -> Self:
        self._writer = create_writer(
            "RunRow", get_option("format", "table"), sys.stdout, get_option("columns")
        )
        self._bar = Bar()
        self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def add_trigger(self, trigger_id: str) -> None:
        """Add a trigger whose run is pending."""
        self.triggers[trigger_id] = self.pending[trigger_id] = None
        self.set_triggered(self._triggered + 1)

    def set_triggered(self, triggered: int) -> None:
        """Set the number of triggers and update the bar."""
        self._triggered = triggered
        done = self._outcomes.total()
        self._bar.update(triggered, done, done - self._outcomes["succeeded"])

    async def report(self, result: RunResult) -> None:
        """Print a message if a run did not succeed, and a row for its result."""
        await self.report_failure(result)
        await self.report_row(result)

    async def report_failure(self, result: RunResult) -> None:
        """Print a message if a run did not succeed."""
        row = _create_row(result)
        if row.outcome != "succeeded":
            await wait_until_writable(sys.stderr)
            with self._bar.hidden():
                _note_failure(row)

    async def report_row(self, result: RunResult) -> None:
        """Print a row for a result. If this is canceled, the trigger remains pending."""
        row = _create_row(result)
        await wait_until_writable(sys.stdout)
        if self._bar.is_supported:
            await wait_until_writable(sys.stderr)
        self._outcomes[row.outcome] += 1
        if row.trigger_id:
            self.pending.pop(row.trigger_id, None)
        if row.outcome == "failed":
            self.failed.append(result)
        if row.outcome == "timeout" and row.trigger_id:
            self.timed_out.append(row.trigger_id)
        with self._bar.hidden():
            self._writer.write([row])
            sys.stdout.flush()
        self.set_triggered(self._triggered)

    def finish(self) -> int:
        """Complete the output, print a summary and return the exit code."""
        self._writer.close()
        counts = (f"{number} {outcome}" for outcome, number in sorted(self._outcomes.items()))
        note(", ".join(counts) or "nothing to wait for")
        return outcomes_exit_code(self._outcomes)


def _note_failure(row: RunRow) -> None:
    # A table may crop or omit the reason. Standard error always has all of it.
    tenant = None if row.tenant_id is None else f"tenant {row.tenant_id}"
    trigger = None if row.trigger_id is None else f"trigger {row.trigger_id}"
    subject = ", ".join(filter(None, [tenant, trigger]))
    note(f"{subject or 'sync'}: {row.outcome}: {row.error or row.status}")


def _create_row(result: RunResult) -> RunRow:
    status, error = result.status, result.error
    return RunRow(
        tenant_id=result.tenant_id,
        trigger_id=result.trigger_id,
        outcome=_result_outcome(result),
        status=None if status is None else status.status,
        error=None if error is None else str(error),
        polls=result.polls,
        elapsed=round(result.elapsed, 3),
    )


def _result_outcome(result: RunResult) -> str:
    if result.error is None:
        return "succeeded" if result.outcome is Outcome.SUCCEEDED else "failed"
    # The error of a poll or of a journal does not show whether there is a run, but the result does.
    outcome = error_outcome(result.error)
    return "unknown" if outcome == "error" and result.outcome_unknown else outcome


def error_outcome(error: Exception) -> str:
    """Return the ``RunRow`` outcome for a sync that ended with an error."""
    if isinstance(error, WaitTimeout):
        return "timeout"
    return "unknown" if isinstance(error, PandiumError) and error.outcome_unknown else "error"


def outcomes_exit_code(outcomes: Counter[str]) -> int:
    """
    Return the exit code for a set of runs or syncs.

    :param outcomes: the number of runs or syncs per outcome.
    """
    # These cases are checked in order:  1. all were rejected  2. some failed or have an unknown
    # outcome  3. some timed out  4. all succeeded
    total = outcomes.total()
    if total and outcomes["error"] == total:
        return exit_codes.API
    if total > outcomes["succeeded"] + outcomes["timeout"]:
        return exit_codes.SOME_FAILED
    return exit_codes.TIMEOUT if outcomes["timeout"] else exit_codes.SUCCESS
