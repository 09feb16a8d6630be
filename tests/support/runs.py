"""Runs that follow a script on a manual clock, for tests of waiting without HTTP."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs

from pandium import NotFound, Polling, TriggerStatus
from pandium._waiting.polling import WaitOptions
from pandium._waiting.results import Counters, RunResults
from pandium._waiting.scheduler import wait_for_each, wait_for_run
from pandium.emulator import ManualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pandium import RunResult

# The result of a poll from a given time on: a status, an error, or `None` for a 404.
Script = list[tuple[float, "str | Exception | None"]]


@attrs.define
class ScriptedRuns:
    """The runs of some triggers, each with a script, and the function that polls them."""

    scripts: dict[str, Script]
    clock: ManualClock = attrs.field(factory=ManualClock)
    polls: list[tuple[float, str]] = attrs.field(factory=list)

    @classmethod
    def same(cls, count: int, *script: tuple[float, str | Exception | None]) -> ScriptedRuns:
        """Return runs that share a script. Their triggers are "0", "1" and so on."""
        return cls({str(number): list(script) for number in range(count)})

    async def poll_status(self, trigger_id: str) -> TriggerStatus:
        now = self.clock.now()
        self.polls.append((now, trigger_id))
        await anyio.lowlevel.checkpoint()
        started = [found for since, found in self.scripts[trigger_id] if since <= now]
        if not started or started[-1] is None:
            raise NotFound("no run yet", status_code=404)
        if isinstance(started[-1], Exception):
            raise started[-1]
        return TriggerStatus(started[-1])

    def poll_times(self, trigger_id: str | None = None) -> list[float]:
        return [time for time, polled in self.polls if trigger_id in (None, polled)]

    def max_polls_per_second(self, since: float = 0.0) -> int:
        times = sorted(time for time in self.poll_times() if time >= since)
        ends = (bisect_left(times, time + 1 - 1e-9) for time in times)
        return max(end - begin for begin, end in enumerate(ends))

    def options(self, **options: Any) -> WaitOptions:
        """Return the options of a wait, without jitter by default."""
        defaults: dict[str, Any] = {
            "poll_status": self.poll_status,
            "clock": self.clock,
            "polling": Polling(jitter=0),
            "timeout": 1800.0,
            "classify": lambda status: status.outcome,
            "counters": Counters(self.clock),
        }
        return WaitOptions(**defaults | options)

    async def wait(self, trigger_id: str = "0", **options: Any) -> TriggerStatus:
        """Wait for one run."""
        async with self.clock.autojump():
            return await wait_for_run(trigger_id, self.options(**options))

    async def wait_for(self, source: Any, **options: Any) -> list[RunResult]:
        """Wait for many runs and return their results in order of completion."""
        collected: list[RunResult] = []
        await self.collect(source, collected, **options)
        return collected

    async def collect(self, source: Any, into: list[RunResult], **options: Any) -> None:
        """Wait for many runs and append each result as soon as it is available."""

        async def append(_: int, result: RunResult) -> None:
            into.append(result)

        async with self.clock.autojump():
            await wait_for_each(source, self.options(**options), append)

    def results(self, source: Any, **options: Any) -> RunResults[RunResult]:
        """Return the results of many runs as an async iterator."""
        wait_options = self.options(**options)

        async def produce(send: Callable[[RunResult], Awaitable[None]]) -> None:
            await wait_for_each(source, wait_options, lambda _, result: send(result))

        return RunResults(produce, wait_options.counters)


def scripted_run(*script: tuple[float, str | Exception | None]) -> ScriptedRuns:
    """Return one run, whose trigger is "0"."""
    return ScriptedRuns.same(1, *script)


def gaps(times: list[float]) -> list[float]:
    """Return the differences between successive times."""
    return [later - earlier for earlier, later in itertools.pairwise(times)]
