"""Triggers and runs, brought up to date whenever somebody asks."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from threading import RLock
from typing import Any

from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.emulated_run import EmulatedRun, EmulatedTrigger
from pandium.emulator.runs.queues import Queue, RunOwner
from pandium.emulator.runs.schedules import ScheduleDelay
from pandium.emulator.runs.scripts import Phase, Script, Span, validate_script

# A run is killed at ten minutes, says the vendor.
KILLED_AFTER = 600.0
RUN_FIELDS = ("last_run", "current_run", "last_successful_run")
DEFAULT_PHASES: tuple[Phase, ...] = (("Running", 0.3), ("Succeeded", 0))


class Runs:
    """All runs of an emulator, and the scripts that they follow."""

    def __init__(self, clock: Clock, lock: RLock) -> None:
        self._clock = clock
        self._lock = lock
        self._ids = count(1)
        self._trigger_ids = count(1)
        self._queues: dict[int, Queue] = {}
        self._by_id: dict[int, EmulatedRun] = {}
        self._by_trigger: dict[str, EmulatedRun] = {}
        self._scripts: dict[tuple[str, int | None], Script] = {}
        self._delay = ScheduleDelay()
        self.on_end: Callable[[EmulatedRun], object] = lambda _: None
        self.script()

    @property
    def scripts(self) -> dict[tuple[str, int | None], Script]:
        """The scripts by their subjects: ("tenant", id), ("integration", id), ("all", None)."""
        with self._lock:
            return dict(self._scripts)

    def all(self) -> list[EmulatedRun]:
        """Return all runs by id, those that have not appeared too."""
        with self._lock:
            self.settle()
            return list(self._by_id.values())

    def settle(self) -> None:
        """Bring all runs up to date."""
        with self._lock:
            now = self._clock.now()
            for queue in self._queues.values():
                if queue.next_change() <= now:
                    self._settle(queue)

    def _report_end(self, run: EmulatedRun) -> None:
        self.on_end(run)

    def replace(self, runs: Sequence[EmulatedRun]) -> None:
        """Hold these runs, which come by id, no schedule, and no script but the usual one."""
        with self._lock:
            self._scripts.clear()
            self._queues.clear()
            self._delay = ScheduleDelay()
            self.script()
            self._by_id = {run.id: run for run in runs}
            self._by_trigger = {str(one.id): run for run in runs for one in run.triggers}
            self._ids = count(max(self._by_id, default=0) + 1)
            self._trigger_ids = count(max(map(int, self._by_trigger), default=0) + 1)
            for run in runs:
                queue = Queue(run.tenant_id, run.integration_id, self._report_end)
                self._queues.setdefault(run.tenant_id, queue).runs.append(run)
            for queue in self._queues.values():
                queue.sort()

    def script(
        self,
        *,
        tenant: int | None = None,
        integration: int | None = None,
        appears_after: Span = 0.1,
        phases: Sequence[Phase] = DEFAULT_PHASES,
        killed_after: float = KILLED_AFTER,
    ) -> None:
        """
        Say how runs go that are asked for from now on: for a tenant, an integration, or all.

        A run appears `appears_after` seconds after its trigger, or after the end of the run
        before it; a scheduled one appears at once. Each phase is a word and its seconds, `None`
        a word that is missing, so that the status answers 404 again. Instead of seconds, both
        take `Polls(3)`: so many looks at the status. The run is over when all phases have passed,
        and keeps the last word; `math.inf` seconds make a phase that never ends. A run that is
        not over `killed_after` seconds after it appeared ends as "Failed (Timeout)".

        :raises ValueError: names the place of what cannot be read.
        """
        if tenant is not None and integration is not None:
            raise ValueError("tenant, integration: give one of them at most")
        script = validate_script(appears_after, phases, killed_after)
        key = ("integration", integration) if tenant is None else ("tenant", tenant)
        with self._lock:
            for queue in self._queues.values():
                self._settle(queue)
            self._scripts[key if key[1] is not None else ("all", None)] = script

    def clear_scripts(self) -> None:
        """Remove all scripts, so that new runs proceed as they do by default."""
        with self._lock:
            self._scripts.clear()
            self.script()

    def remove_script(self, *, tenant: int | None = None, integration: int | None = None) -> None:
        """
        Remove the script of a tenant or of an integration. Runs that exist keep it.

        :param tenant: the id of the tenant.
        :param integration: the id of the integration, instead of a tenant.
        :raises LookupError: there is no such script.
        :raises ValueError: neither or both are specified.
        """
        if (tenant is None) == (integration is None):
            raise ValueError("tenant, integration: specify one of them")
        key = ("integration", integration) if tenant is None else ("tenant", tenant)
        with self._lock:
            if self._scripts.pop(key, None) is None:
                raise LookupError(f"{key[0]} {key[1]} has no script")

    def schedule(self, tenant: RunOwner, schedule: str | None) -> None:
        """Let a tenant's runs begin by a cron string from now on, or by none."""
        with self._lock:
            queue = self._queues.get(tenant.id)
            if queue is not None or schedule is not None:
                self._queue_of(tenant).set_schedule(schedule, self._clock, self._delay)

    @property
    def schedule_delay(self) -> ScheduleDelay:
        """The randomization of schedules."""
        return self._delay

    def randomize_schedules(self, within: float, seed: int = 0) -> None:
        """
        Start each scheduled run up to so many seconds after its date, as the vendor may do.

        Unless this is called, runs start on the minute.

        :param within: the longest delay in seconds, at most 60; 0 disables the randomization.
        :param seed: the delay of a run depends only on the seed, the tenant and the date.
        :raises ValueError: names the invalid argument.
        """
        delay = ScheduleDelay(within, seed)
        with self._lock:
            queues = [self._settle(queue) for queue in self._queues.values()]
            self._delay = delay
            for queue in queues:
                queue.delay(self._clock, delay)

    def trigger(
        self, tenant: RunOwner, *, mode: str, source: str, payload: Mapping[str, Any] | None
    ) -> EmulatedTrigger:
        """Take a trigger: into a run that has not appeared yet, or into a new one."""
        with self._lock:
            queue, now = self._queue_of(tenant), self._clock.now()
            trigger = EmulatedTrigger(next(self._trigger_ids), now, mode, source, payload)
            self._take(queue, trigger, is_scheduled=False)
            return trigger

    def _queue_of(self, tenant: RunOwner) -> Queue:
        if tenant.id not in self._queues:
            self._queues[tenant.id] = Queue(tenant.id, tenant.integration_id, self._report_end)
        return self._settle(self._queues[tenant.id])

    def _settle(self, queue: Queue) -> Queue:
        """Bring a queue up to date: what was due by its schedule, in order, and what has ended."""
        now = self._clock.now()
        while queue.due <= now:
            queue.settle(queue.due)
            trigger = EmulatedTrigger(next(self._trigger_ids), queue.due, "normal", "Cron", None)
            self._take(queue, trigger, is_scheduled=True)
            queue.take_date(self._clock, self._delay)
        queue.settle(now)
        return queue

    def _take(self, queue: Queue, trigger: EmulatedTrigger, *, is_scheduled: bool) -> None:
        run = queue.open_run(is_scheduled=is_scheduled)
        if run is None:
            script = self._script_of(queue)
            ids = (next(self._ids), queue.tenant_id, queue.integration_id)
            run = queue.add(EmulatedRun(*ids, trigger.mode, script, is_scheduled), trigger.at)
            self._by_id[run.id] = run
        run.triggers.append(trigger)
        self._by_trigger[str(trigger.id)] = run
        queue.version += 1

    def _script_of(self, queue: Queue) -> Script:
        keys = (("tenant", queue.tenant_id), ("integration", queue.integration_id), ("all", None))
        return next(self._scripts[key] for key in keys if key in self._scripts)

    def status(self, trigger_id: str) -> str | None:
        """Look at a trigger: return its run's word, or None as long as there is none."""
        with self._lock:
            run = self._by_trigger.get(trigger_id)
            if run is None:
                return None
            queue = self._settle(self._queues[run.tenant_id])
            status = run.status
            if not run.is_over():
                queue.count_poll(self._clock.now())
            return status

    def tenant_of(self, trigger_id: str) -> int | None:
        """Return the tenant that a trigger is for, or None if there is no such trigger."""
        run = self._by_trigger.get(trigger_id)
        return run.tenant_id if run is not None else None

    def find(self, run_id: int) -> EmulatedRun | None:
        """Return a run that has appeared."""
        with self._lock:
            run = self._by_id.get(run_id)
            if run is None:
                return None
            self._settle(self._queues[run.tenant_id])
            return run if run.has_appeared() else None

    def of(self, tenant: int) -> list[dict[str, Any]]:
        """Return the runs of a tenant that have appeared, by id, as the API shows them."""
        with self._lock:
            queue = self._queues.get(tenant)
            runs = self._settle(queue).runs if queue else ()
            return [run.view(self._clock) for run in runs if run.has_appeared()]

    def version(self, tenant: int) -> int:
        """Return a number that is another one once something but time has changed the runs."""
        queue = self._queues.get(tenant)
        return queue.version if queue else 0

    def summary(self, tenant: int) -> tuple[dict[str, Any], float]:
        """Return what a tenant's status says of its runs, and the moment until it holds."""
        with self._lock:
            if tenant not in self._queues:
                return {name: {} for name in RUN_FIELDS}, math.inf
            queue = self._settle(self._queues[tenant])
            current = queue.front if queue.front and queue.front.has_appeared() else None
            shown = zip(RUN_FIELDS, (queue.last, current, queue.last_successful), strict=True)
            views = {name: run.view(self._clock) if run else {} for name, run in shown}
            return views, queue.next_change()
