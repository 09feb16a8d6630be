"""The runs of one tenant: one goes, the others wait for it, a scheduled one first."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.schedules import Schedule
from pandium.emulator.runs.scripts import Polls, Script, Span

SUCCESS = frozenset({"succeeded", "success", "successful", "completed"})
# The vendor's word for a run that took too long.
KILLED = "Failed (Timeout)"


class RunOwner(Protocol):
    """A tenant, as far as its runs depend on it."""

    @property
    def id(self) -> int:
        """The tenant's id."""

    @property
    def integration_id(self) -> int:
        """The id of the tenant's integration."""


@dataclass(frozen=True, slots=True)
class EmulatedTrigger:
    """One request for a run."""

    id: int
    at: float
    mode: str
    source: str
    payload: Mapping[str, Any] | None

    def view(self, clock: Clock) -> dict[str, Any]:
        """Return the trigger as the API shows it."""
        return {
            "id": self.id,
            "created_date": clock.at(self.at),
            "mode": self.mode,
            "source": self.source,
            "payload": self.payload or {},
        }


@dataclass(slots=True, eq=False)
class EmulatedRun:
    """
    One run: it waits, is expected, appears, goes through its phases, and is over.

    `status` is what the status of its triggers says, None for 404; `history` has those that it has
    shown, each with its first moment. The step that it stands at ends at the moment `until`, or
    with the last of so many `looks`.
    """

    id: int
    tenant_id: int
    integration_id: int
    mode: str
    script: Script
    is_scheduled: bool = False
    triggers: list[EmulatedTrigger] = field(default_factory=list)
    status: str | None = None
    history: list[tuple[float, str]] = field(default_factory=list)
    appeared_at: float = math.inf
    ended_at: float = math.inf
    step: int = 0
    until: float = math.inf
    polls: int = 0

    def has_appeared(self) -> bool:
        """Say whether the API knows it."""
        return self.appeared_at < math.inf

    def is_over(self) -> bool:
        """Say whether it has ended."""
        return self.ended_at < math.inf

    def has_succeeded(self) -> bool:
        """Say whether its last word is one of success."""
        return self.history[-1][1].casefold() in SUCCESS

    def expect(self, at: float) -> None:
        """Let it be the next to appear; nobody waits for a scheduled one, so it does at once."""
        self._start_step(0 if self.is_scheduled else self.script.appears_after, at)

    def next_change(self) -> float:
        """Return the moment when time alone takes it on."""
        return min(self.until, self.appeared_at + self.script.killed_after)

    def advance(self, at: float) -> None:
        """Take the step that is due, or be killed if none is."""
        if self.until > at:
            self._set_status(KILLED, at)
            self.ended_at = at
        elif self.step == len(self.script.phases):
            self.ended_at = at
        else:
            self.appeared_at = min(self.appeared_at, at)
            phase, span = self.script.phases[self.step]
            self.step += 1
            self._set_status(phase, at)
            self._start_step(span, at)

    def count_poll(self, at: float) -> None:
        """Count a look at a step that lasts so many of them."""
        self.polls -= 1
        self.until = math.inf if self.polls else at

    def _start_step(self, span: Span, at: float) -> None:
        self.polls = span.number if isinstance(span, Polls) else 0
        seconds = 0 if isinstance(span, Polls) else span
        self.until = math.inf if self.polls else at + seconds

    def _set_status(self, phase: str | None, at: float) -> None:
        self.status = phase
        if phase is not None:
            self.history.append((at, phase))

    def view(self, clock: Clock) -> dict[str, Any]:
        """Return the run as the API shows it."""
        started = clock.at(self.appeared_at)
        ended = clock.at(self.ended_at) if self.is_over() else None
        return {
            "id": self.id,
            "mode": self.mode,
            "status": {
                "phase": self.history[-1][1],
                "startTime": started.isoformat(),
                "completionTime": ended and ended.isoformat(),
            },
            "triggers": [one.view(clock) for one in self.triggers],
            "started_date": started,
            "completed_date": ended,
            "tenant_id": self.tenant_id,
            "integration_id": self.integration_id,
        }

    def log(self, clock: Clock) -> Iterator[str]:
        """Write the log as far as the run has come."""
        numbers = ", ".join(str(one.id) for one in self.triggers)
        yield f"{clock.at(self.appeared_at).isoformat()} run {self.id}: triggers {numbers}"
        for at, phase in self.history:
            yield f"{clock.at(at).isoformat()} run {self.id}: {phase}"


def _by_end(run: EmulatedRun) -> tuple[float, float, bool, int]:
    """Order runs by their ends; of those at the same moment a scheduled one went first."""
    return run.ended_at, run.appeared_at, not run.is_scheduled, run.id


class Queue:
    """
    The runs of one tenant, in the order of their ids.

    Of those that have not appeared there are two at most, one scheduled and one asked for, which
    take all triggers of their kind. What is asked for is bundled, and the scheduled goes first:
    both are the vendor's words.
    """

    def __init__(self, tenant_id: int, integration_id: int) -> None:
        self.tenant_id = tenant_id
        self.integration_id = integration_id
        self.runs: list[EmulatedRun] = []
        self.front: EmulatedRun | None = None
        self.last: EmulatedRun | None = None
        self.last_successful: EmulatedRun | None = None
        self.version = 0
        self.due = math.inf
        self._waiting: list[EmulatedRun] = []
        self._schedule: Schedule | None = None

    def set_schedule(self, schedule: str | None, clock: Clock) -> None:
        """Follow another schedule from now on, or none."""
        if schedule != (self._schedule and self._schedule.text):
            self._schedule = None if schedule is None else Schedule(schedule, clock.wall())
            self.take_date(clock)

    def take_date(self, clock: Clock) -> None:
        """Let the next date of the schedule be the one that is due."""
        date = self._schedule.next() if self._schedule else None
        self.due = math.inf if date is None else (date - clock.epoch).total_seconds()
        self.version += 1

    def sort(self) -> None:
        """Find out which runs have ended, and which one is at the front, from what they are."""
        for run in sorted(filter(EmulatedRun.is_over, self.runs), key=_by_end):
            self.last = run
            self.last_successful = run if run.has_succeeded() else self.last_successful
        going = (run for run in self.runs if not run.is_over())
        waiting = sorted(going, key=lambda run: (not run.has_appeared(), not run.is_scheduled))
        self.front, self._waiting = next(iter(waiting), None), waiting[1:]

    def settle(self, now: float) -> None:
        """Do all that time alone has done until now."""
        while self.front is not None and (at := self.front.next_change()) <= now:
            self.front.advance(at)
            if self.front.is_over():
                self._end(self.front, at)

    def _end(self, run: EmulatedRun, at: float) -> None:
        self.last = run
        self.last_successful = run if run.has_succeeded() else self.last_successful
        self.front = min(self._waiting, key=lambda one: not one.is_scheduled, default=None)
        if self.front is not None:
            self._waiting.remove(self.front)
            self.front.expect(at)

    def open_run(self, *, is_scheduled: bool) -> EmulatedRun | None:
        """Return the run of a kind that has not appeared yet, and takes more triggers."""
        runs = self._waiting if self.front is None else [*self._waiting, self.front]
        fitting = (one for one in runs if one.is_scheduled is is_scheduled)
        return next((one for one in fitting if not one.has_appeared()), None)

    def add(self, run: EmulatedRun, at: float) -> EmulatedRun:
        """Add a run; a scheduled one goes before one that has not appeared yet."""
        self.runs.append(run)
        is_preempted = self.front is not None and not self.front.has_appeared() and run.is_scheduled
        if self.front is not None and is_preempted:
            self._waiting.append(self.front)
        if self.front is None or is_preempted:
            self.front = run
            run.expect(at)
        else:
            self._waiting.append(run)
        return run

    def count_poll(self, at: float) -> None:
        """Count a look at a run that is not over, for the one that it waits for."""
        if self.front is not None and self.front.polls:
            self.front.count_poll(at)
            self.version += 1
            self.settle(at)

    def next_change(self) -> float:
        """Return the moment when time alone makes these runs look different."""
        return min(self.due, self.front.next_change() if self.front else math.inf)
