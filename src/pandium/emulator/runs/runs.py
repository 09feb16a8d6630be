"""Triggers and runs, which are brought up to date whenever they are read."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import count
from threading import RLock
from typing import Any

from pandium.emulator.runs.advancing import NEVER
from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.queues import Queue
from pandium.emulator.runs.schedules import ScheduleDelay
from pandium.emulator.state.arguments import fields_as_arguments
from pandium.emulator.state.errors import validate
from pandium.emulator.state.record_models import Run, RunTrigger, Tenant
from pandium.emulator.state.scripts import Script

RUN_FIELDS = ("last_run", "current_run", "last_successful_run")
Subject = tuple[int | None, int | None]
ALL: Subject = (None, None)


class Runs:
    """The runs of an emulator, and the scripts that they follow."""

    def __init__(self, clock: Clock, lock: RLock) -> None:
        self._clock = clock
        self._lock = lock
        self._ids = count(1)
        self._trigger_ids = count(1)
        self._queues: dict[int, Queue] = {}
        self._by_id: dict[int, Run] = {}
        self._by_trigger: dict[str, Run] = {}
        self._scripts: dict[Subject, Script] = {ALL: Script()}
        self._delay = ScheduleDelay()
        self.on_end: Callable[[Run], object] = lambda _: None
        self.validate_script: Callable[[Script], object] = lambda _: None

    @property
    def scripts(self) -> list[Script]:
        """The scripts of tenants and integrations, and the default script."""
        with self._lock:
            return list(self._scripts.values())

    def all(self) -> list[Run]:
        """Return all runs by id, including those that have not appeared yet."""
        with self._lock:
            self.settle()
            return list(self._by_id.values())

    def settle(self) -> None:
        """Update all runs."""
        with self._lock:
            now = self._clock.wall()
            for queue in self._queues.values():
                if queue.next_change() <= now:
                    self._settle(queue)

    def next_change(self) -> datetime:
        """Return the next date at which a run changes without a poll, or NEVER."""
        with self._lock:
            return min((queue.next_change() for queue in self._queues.values()), default=NEVER)

    def _report_end(self, run: Run) -> None:
        self.on_end(run)

    def replace(self, runs: Iterable[Run], scripts: Iterable[Script]) -> None:
        """Replace all runs and scripts, and remove all schedules."""
        with self._lock:
            self._scripts = {ALL: Script()}
            self._scripts |= {_subject(script): script for script in scripts}
            self._queues.clear()
            self._delay = ScheduleDelay()
            self._by_id = {run.id: run for run in sorted(runs, key=lambda run: run.id)}
            self._by_trigger = {
                str(one.id): run for run in self._by_id.values() for one in run.triggers
            }
            self._ids = count(max(self._by_id, default=0) + 1)
            self._trigger_ids = count(max(map(int, self._by_trigger), default=0) + 1)
            for run in self._by_id.values():
                queue = Queue(run.tenant_id, run.integration_id, self._report_end)
                self._queues.setdefault(run.tenant_id, queue).runs.append(run)
            for queue in self._queues.values():
                queue.sort()

    @fields_as_arguments(Script, "tenant")
    def script(self, script: Script) -> None:
        """
        Set the script for new runs of a tenant, of an integration, or of all others.

        The arguments are the fields of a `Script`. All are optional:

        - `tenant` or `integration`: the id of the tenant or integration. Without either, the script
          becomes the default.
        - `appears_after`: the seconds from the trigger, or from the end of the previous run, until
          the run appears; 0.1 by default. A scheduled run appears immediately.
        - `phases`: pairs of a status and the seconds that it lasts. During a phase whose status is
          `None`, the API responds with 404. The run ends with the last phase, whose status it
          keeps.
        - `killed_after`: the seconds after which a run that has not ended is killed, with the
          status "Failed (Timeout)"; 600 by default.

        Instead of seconds, `appears_after` and phases accept a number of polls, such as `Polls(3)`.
        `math.inf` and `None` stand for an unlimited time.

        :raises ValueError: if an argument is invalid. The message starts with its location, such as
            `phases[0][1]`.
        """
        self.set_script(script)

    def set_script(self, script: Script) -> None:
        """Set a script, or raise InvalidInput if its tenant or integration does not exist."""
        with self._lock:
            self.validate_script(script)
            for queue in self._queues.values():
                self._settle(queue)
            self._scripts[_subject(script)] = script

    def clear_scripts(self) -> None:
        """Remove all scripts, so that new runs follow the default script."""
        with self._lock:
            self._scripts = {ALL: Script()}

    def remove_script(self, *, tenant: int | None = None, integration: int | None = None) -> None:
        """
        Remove the script of a tenant or of an integration. Existing runs keep it.

        :param tenant: the id of the tenant.
        :param integration: the id of the integration, instead of a tenant.
        :raises LookupError: if there is no such script.
        :raises ValueError: if neither or both are specified.
        """
        if (tenant is None) == (integration is None):
            raise ValueError("tenant, integration: exactly one of them must be specified")
        noun = f"integration {integration}" if tenant is None else f"tenant {tenant}"
        with self._lock:
            if self._scripts.pop((tenant, integration), None) is None:
                raise LookupError(f"{noun} has no script")

    def schedule(self, tenant: Tenant, schedule: str | None) -> None:
        """Set or remove the cron schedule of a tenant."""
        with self._lock:
            queue = self._queues.get(tenant.id)
            if queue is not None or schedule is not None:
                self._queue_of(tenant).set_schedule(schedule, self._clock.wall(), self._delay)

    @property
    def schedule_delay(self) -> ScheduleDelay:
        """The random delay of scheduled runs."""
        return self._delay

    def randomize_schedules(self, within: float, seed: int = 0) -> None:
        """
        Start each scheduled run at a random time after its date, as the vendor may do.

        Unless this is called, runs start on the minute.

        :param within: the maximum delay in seconds, at most 60. A value of 0 disables the
            randomization.
        :param seed: the random seed. The delay of a run depends only on the seed, the tenant and
            the date.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        delay = validate(ScheduleDelay, {"within": within, "seed": seed})
        with self._lock:
            queues = [self._settle(queue) for queue in self._queues.values()]
            self._delay = delay
            for queue in queues:
                queue.delay(self._clock.wall(), delay)

    def trigger(
        self, tenant: Tenant, *, mode: str, source: str, payload: Mapping[str, Any] | None
    ) -> RunTrigger:
        """Add a trigger to the run that has not appeared yet, or to a new run."""
        with self._lock:
            queue = self._queue_of(tenant)
            trigger = RunTrigger(
                id=next(self._trigger_ids),
                created_date=self._clock.wall(),
                mode=mode,
                source=source,
                payload=dict(payload or {}),
            )
            self._take(queue, trigger, is_scheduled=False)
            return trigger

    def _queue_of(self, tenant: Tenant) -> Queue:
        if tenant.id not in self._queues:
            self._queues[tenant.id] = Queue(tenant.id, tenant.integration_id, self._report_end)
        return self._settle(self._queues[tenant.id])

    def _settle(self, queue: Queue) -> Queue:
        """Update a queue: start the scheduled runs that are due, and advance all runs."""
        now = self._clock.wall()
        while queue.due <= now:
            queue.settle(queue.due)
            key = next(self._trigger_ids)
            trigger = RunTrigger(id=key, created_date=queue.due, mode="normal", source="Cron")
            self._take(queue, trigger, is_scheduled=True)
            queue.take_date(self._delay)
        queue.settle(now)
        return queue

    def _take(self, queue: Queue, trigger: RunTrigger, *, is_scheduled: bool) -> None:
        run = queue.open_run(is_scheduled=is_scheduled)
        if run is None:
            run = Run(
                id=next(self._ids),
                tenant_id=queue.tenant_id,
                integration_id=queue.integration_id,
                mode=trigger.mode,
                script=self._script_of(queue),
                is_scheduled=is_scheduled,
                triggers=[trigger],
            )
            self._by_id[run.id] = queue.add(run, trigger.created_date)
        else:
            run.triggers.append(trigger)
        self._by_trigger[str(trigger.id)] = run
        queue.version += 1

    def _script_of(self, queue: Queue) -> Script:
        keys = ((queue.tenant_id, None), (None, queue.integration_id), ALL)
        return next(self._scripts[key] for key in keys if key in self._scripts)

    def status(self, trigger_id: str) -> str | None:
        """Return the status of a trigger, or None for 404. Counts as a poll."""
        with self._lock:
            run = self._by_trigger.get(trigger_id)
            if run is None:
                return None
            queue = self._settle(self._queues[run.tenant_id])
            phase = run.phase
            if not run.is_over():
                queue.count_poll(self._clock.wall())
            return phase

    def tenant_of(self, trigger_id: str) -> int | None:
        """Return the tenant that a trigger is for, or None if there is no such trigger."""
        run = self._by_trigger.get(trigger_id)
        return run.tenant_id if run is not None else None

    def find(self, run_id: int) -> Run | None:
        """Return a run that has appeared, or None."""
        with self._lock:
            run = self._by_id.get(run_id)
            if run is None:
                return None
            self._settle(self._queues[run.tenant_id])
            return run if run.has_appeared() else None

    def of(self, tenant: int) -> list[Run]:
        """Return the runs of a tenant that have appeared, by id."""
        with self._lock:
            queue = self._queues.get(tenant)
            runs = self._settle(queue).runs if queue else ()
            return [run for run in runs if run.has_appeared()]

    def version(self, tenant: int) -> int:
        """Return a number that changes when a trigger, a poll or a schedule changes the runs."""
        queue = self._queues.get(tenant)
        return queue.version if queue else 0

    def summary(self, tenant: int) -> tuple[dict[str, Run | None], datetime]:
        """Return the runs in a tenant's status, and the date on which they next change."""
        with self._lock:
            if tenant not in self._queues:
                return dict.fromkeys(RUN_FIELDS), NEVER
            queue = self._settle(self._queues[tenant])
            current = queue.front if queue.front and queue.front.has_appeared() else None
            runs = (queue.last, current, queue.last_successful)
            return dict(zip(RUN_FIELDS, runs, strict=True)), queue.next_change()


def _subject(script: Script) -> Subject:
    return script.tenant, script.integration
