"""The queue of a tenant's runs: one run at a time, and scheduled runs first."""

from collections.abc import Callable
from datetime import datetime

from pandium.emulator.runs.advancing import NEVER, advance, count_poll, expect, later, next_change
from pandium.emulator.runs.schedules import Schedule, ScheduleDelay
from pandium.emulator.state.record_models import Run

OnEnd = Callable[[Run], object]


def _by_end(run: Run) -> tuple[datetime, datetime, bool, int]:
    """Return a sort key for ended runs. If two ended together, the scheduled one comes first."""
    return run.completed_date or NEVER, run.started_date or NEVER, not run.is_scheduled, run.id


class Queue:
    """
    The runs of one tenant, in the order of their ids.

    At most two of them have not appeared: one scheduled run, and one run that bundles all other
    triggers. The vendor documents that triggers are bundled and that scheduled runs go first.
    """

    def __init__(self, tenant_id: int, integration_id: int, on_end: OnEnd) -> None:
        self.tenant_id = tenant_id
        self.integration_id = integration_id
        self._on_end = on_end
        self.runs: list[Run] = []
        self.front: Run | None = None
        self.last: Run | None = None
        self.last_successful: Run | None = None
        self.version: int = 0
        self.due: datetime = NEVER
        self._waiting: list[Run] = []
        self._schedule: Schedule | None = None
        self._date: datetime | None = None

    def set_schedule(self, schedule: str | None, now: datetime, delay: ScheduleDelay) -> None:
        """Set the schedule, or remove it."""
        if schedule != (self._schedule and self._schedule.text):
            self._schedule = None if schedule is None else Schedule(schedule, now)
            self.take_date(delay)

    def take_date(self, delay: ScheduleDelay) -> None:
        """Move on to the next date of the schedule."""
        self._date = self._schedule.next() if self._schedule else None
        self.due = self._due_at(delay)
        self.version += 1

    def delay(self, now: datetime, delay: ScheduleDelay) -> None:
        """Apply another random delay to the next date."""
        self.due = max(self._due_at(delay), now)
        self.version += 1

    def _due_at(self, delay: ScheduleDelay) -> datetime:
        if self._date is None:
            return NEVER
        return later(self._date, delay.seconds(self.tenant_id, self._date))

    def sort(self) -> None:
        """Find the run at the front of the queue and the last run that has ended."""
        for run in sorted(filter(Run.is_over, self.runs), key=_by_end):
            self.last = run
            self.last_successful = run if run.has_succeeded() else self.last_successful
        going = (run for run in self.runs if not run.is_over())
        waiting = sorted(going, key=lambda run: (not run.has_appeared(), not run.is_scheduled))
        self.front, self._waiting = next(iter(waiting), None), waiting[1:]

    def settle(self, now: datetime) -> None:
        """Advance the runs to the current date."""
        while self.front is not None and (date := next_change(self.front)) <= now:
            advance(self.front, date)
            if self.front.is_over():
                self._end(self.front, date)

    def _end(self, run: Run, date: datetime) -> None:
        self.last = run
        self.last_successful = run if run.has_succeeded() else self.last_successful
        self.front = min(self._waiting, key=lambda one: not one.is_scheduled, default=None)
        if self.front is not None:
            self._waiting.remove(self.front)
            expect(self.front, date)
        self._on_end(run)

    def open_run(self, *, is_scheduled: bool) -> Run | None:
        """Return the run that has not appeared yet and still accepts triggers, if there is one."""
        runs = self._waiting if self.front is None else [*self._waiting, self.front]
        fitting = (one for one in runs if one.is_scheduled is is_scheduled)
        return next((one for one in fitting if not one.has_appeared()), None)

    def add(self, run: Run, date: datetime) -> Run:
        """Add a run. A scheduled run overtakes one that has not appeared yet."""
        self.runs.append(run)
        is_preempted = self.front is not None and not self.front.has_appeared() and run.is_scheduled
        if self.front is not None and is_preempted:
            self._waiting.append(self.front)
        if self.front is None or is_preempted:
            self.front = run
            expect(run, date)
        else:
            self._waiting.append(run)
        return run

    def count_poll(self, now: datetime) -> None:
        """Count a poll for the run at the front."""
        if self.front is not None and self.front.polls:
            count_poll(self.front, now)
            self.version += 1
            self.settle(now)

    def next_change(self) -> datetime:
        """Return the date at which the runs change without a poll, or NEVER."""
        return min(self.due, next_change(self.front) if self.front else NEVER)
