"""Wait for runs: a line for each as it ends, a bar meanwhile, and an exit code that tells."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from typing import TYPE_CHECKING, Self

from pandium import Outcome, PandiumError, Polling, RunResult, WaitTimeout
from pandium._cli import exit_codes as codes
from pandium._cli.options import connecting, setting
from pandium._cli.output.bar import Bar
from pandium._cli.output.records import RunRow
from pandium._cli.output.rows import create_writer
from pandium._cli.output.terminal import note
from pandium._cli.session import explaining, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from types import TracebackType
    from typing import TypeAlias

    from pandium import AsyncPandium, TriggerStatus

    # Says how to go on with some triggers.
    GoingOn: TypeAlias = Callable[[Collection[str]], list[str]]

__all__ = [
    "Follow",
    "code_of",
    "ending_of",
    "followed",
    "outcome_of_error",
    "polling",
    "time_limit",
    "wait",
    "waiting_on",
]

_TIME_LIMIT = 1800.0


def polling() -> Polling:
    """Give the pace of looks that the command line asks for."""
    given = {
        "first": setting("min_interval"),
        "minimum": setting("min_interval"),
        "maximum": setting("max_interval"),
        "rate": setting("poll_rate"),
    }
    return Polling(**{name: value for name, value in given.items() if value is not None})


def time_limit() -> float:
    """Give the seconds that the command line allows each run."""
    limit: float = setting("wait_timeout", _TIME_LIMIT)
    return limit


def ending_of(completed: RunResult, tenant_id: int | None = None) -> RunRow:
    """Say how a wait ended."""
    status, error = completed.status, completed.error
    return RunRow(
        tenant_id,
        completed.trigger_id,
        _outcome_of(status) if error is None else outcome_of_error(error),
        None if status is None else status.status,
        None if error is None else str(error),
        completed.polls,
        round(completed.elapsed, 3),
    )


def _outcome_of(status: TriggerStatus | None) -> str:
    has_succeeded = status is not None and status.outcome is Outcome.SUCCEEDED
    return "succeeded" if has_succeeded else "failed"


def outcome_of_error(error: Exception) -> str:
    """Say in a word why nobody knows how a run ended."""
    if isinstance(error, WaitTimeout):
        return "timeout"
    return "unknown" if isinstance(error, PandiumError) and error.outcome_unknown else "error"


class Follow:
    """
    Runs that are waited for: each end is written as it comes, and a bar shows how many there are.

    ``pending`` has the triggers whose runs are not over, ``late`` those that the time limit cut
    off.
    """

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._begun = 0
        self.pending: dict[str, None] = {}
        self.late: list[str] = []

    def __enter__(self) -> Self:
        self._writer = create_writer("RunRow", setting("format", "table"), sys.stdout)
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

    def begin(self, trigger_id: str) -> None:
        """Take on one more trigger."""
        self.pending[trigger_id] = None
        self.expect(self._begun + 1)

    def expect(self, begun: int) -> None:
        """Know how many runs have been begun."""
        self._begun = begun
        ended = self._outcomes.total()
        self._bar.update(begun, ended, ended - self._outcomes["succeeded"])

    def end(self, ending: RunRow) -> None:
        """Write how a wait ended."""
        self._outcomes[ending.outcome] += 1
        self.pending.pop(ending.trigger_id or "", None)
        if ending.outcome == "timeout" and ending.trigger_id:
            self.late.append(ending.trigger_id)
        with self._bar.hidden():
            self._writer.write([ending])
            sys.stdout.flush()
        self.expect(self._begun)

    def close(self, going_on: GoingOn) -> int:
        """Write what comes last, and give the exit code."""
        self._writer.close()
        words = (f"{number} {word}" for word, number in sorted(self._outcomes.items()))
        note(", ".join(words) or "there is nothing to wait for")
        if self.late:
            note(f"not over yet: {'; '.join(going_on(self.late))}")
        return code_of(self._outcomes)


def code_of(outcomes: Counter[str]) -> int:
    """Give the exit code for what became of runs."""
    # 1. the API refused all of them  2. some failed  3. some are not over  4. all is well
    total = outcomes.total()
    if total and outcomes["error"] == total:
        return codes.API
    if total > outcomes["succeeded"] + outcomes["timeout"]:
        return codes.SOME_FAILED
    return codes.TOO_LATE if outcomes["timeout"] else 0


def waiting_on(triggers: Collection[str]) -> list[str]:
    """Give the command that waits on, where there is something to wait for."""
    words = ["pandium-api", "runs", "wait", *connecting(), *triggers]
    return [f"{shlex.join(words)} goes on"] if triggers else []


def followed(
    use: Callable[[AsyncPandium, Follow], Awaitable[None]], going_on: GoingOn = waiting_on
) -> int:
    """
    Follow runs to their ends, and give the exit code.

    After Ctrl-C, or where the time limit came first, ``going_on`` says how to go on.
    """
    follow = Follow()

    async def all_of(client: AsyncPandium) -> int:
        with follow:
            await use(client, follow)
        return follow.close(going_on)

    with explaining(lambda: going_on(follow.pending)):
        return run(all_of)


def wait(triggers: list[str]) -> int:
    """Wait for the runs of some triggers."""

    async def use(client: AsyncPandium, follow: Follow) -> None:
        for trigger_id in triggers:
            follow.begin(trigger_id)
        waits = client.runs.as_completed(triggers, timeout=time_limit(), poll=polling())
        async with waits as done:
            async for completed in done:
                follow.end(ending_of(completed))

    return followed(use)
