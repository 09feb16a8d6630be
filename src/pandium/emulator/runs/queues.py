"""The runs of one tenant: one goes, the others wait for it, a scheduled one first."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.emulated_run import EmulatedRun
from pandium.emulator.runs.schedules import Schedule, ScheduleDelay

if TYPE_CHECKING:
    from datetime import datetime


OnEnd = Callable[[EmulatedRun], object]


class RunOwner(Protocol):
    """A tenant, as far as its runs depend on it."""

    # Properties, because the attributes of a frozen record cannot be set.
    @property
    def id(self) -> int: ...  # noqa: D102 - the name says it

    @property
    def integration_id(self) -> int: ...  # noqa: D102 - the name says it


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

    def __init__(self, tenant_id: int, integration_id: int, on_end: OnEnd) -> None:
        self.tenant_id = tenant_id
        self.integration_id = integration_id
        self._on_end = on_end
        self.runs: list[EmulatedRun] = []
        self.front: EmulatedRun | None = None
        self.last: EmulatedRun | None = None
        self.last_successful: EmulatedRun | None = None
        self.version = 0
        self.due = math.inf
        self._waiting: list[EmulatedRun] = []
        self._schedule: Schedule | None = None
        self._date: datetime | None = None

    def set_schedule(self, schedule: str | None, clock: Clock, delay: ScheduleDelay) -> None:
        """Follow another schedule from now on, or none."""
        if schedule != (self._schedule and self._schedule.text):
            self._schedule = None if schedule is None else Schedule(schedule, clock.wall())
            self.take_date(clock, delay)

    def take_date(self, clock: Clock, delay: ScheduleDelay) -> None:
        """Make the next date of the schedule the one that is due."""
        self._date = self._schedule.next() if self._schedule else None
        self.due = self._due_at(clock, delay)
        self.version += 1

    def delay(self, clock: Clock, delay: ScheduleDelay) -> None:
        """Apply another delay to the date that is due."""
        self.due = max(self._due_at(clock, delay), clock.now())
        self.version += 1

    def _due_at(self, clock: Clock, delay: ScheduleDelay) -> float:
        if self._date is None:
            return math.inf
        return (self._date - clock.epoch).total_seconds() + delay.seconds(
            self.tenant_id, self._date
        )

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
        self._on_end(run)

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
