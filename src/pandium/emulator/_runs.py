"""Triggers and runs, computed from the time whenever somebody asks."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from threading import RLock
from typing import Any

from pandium.emulator._clock import Clock
from pandium.emulator._records import Tenant

SUCCESS = frozenset({"succeeded", "success", "successful", "completed"})
PAIR = 2


@dataclass(frozen=True, slots=True)
class Script:
    """How long a run keeps its triggers waiting, and what it goes through then."""

    appears_after: float
    phases: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Trigger:
    """One request for a run."""

    id: int
    at: float
    mode: str
    source: str
    payload: Mapping[str, Any] | None


@dataclass(slots=True)
class Run:
    """One run: all of its future is known when it is planned."""

    id: int
    tenant_id: int
    integration_id: int
    mode: str
    appears_at: float
    words: tuple[str, ...]
    ends: tuple[float, ...]
    triggers: list[Trigger] = field(default_factory=list)

    @property
    def ends_at(self) -> float:
        """Return the moment when the last phase is over."""
        return self.ends[-1]

    def word(self, now: float) -> str:
        """Return the phase; the last word stays."""
        return self.words[min(bisect_right(self.ends, now), len(self.words) - 1)]

    def next_change(self, now: float) -> float:
        """Return the next moment when this run looks different."""
        return min((t for t in (self.appears_at, *self.ends) if t > now), default=math.inf)

    def view(self, clock: Clock) -> dict[str, Any]:
        """Return the run as the API shows it."""
        now = clock.now()
        started = clock.at(self.appears_at)
        ended = clock.at(self.ends_at) if self.ends_at <= now else None
        return {
            "id": self.id,
            "mode": self.mode,
            "status": {
                "phase": self.word(now),
                "startTime": started.isoformat(),
                "completionTime": ended and ended.isoformat(),
            },
            "triggers": [_trigger_view(one, clock) for one in self.triggers],
            "started_date": started,
            "completed_date": ended,
            "tenant_id": self.tenant_id,
            "integration_id": self.integration_id,
        }

    def log(self, clock: Clock) -> Iterator[str]:
        """Write the log as far as the run has come."""
        now = clock.now()
        numbers = ", ".join(str(one.id) for one in self.triggers)
        yield f"{clock.at(self.appears_at).isoformat()} run {self.id}: triggers {numbers}"
        for word, begin in zip(self.words, (self.appears_at, *self.ends), strict=False):
            if begin <= now:
                yield f"{clock.at(begin).isoformat()} run {self.id}: {word}"


def _trigger_view(trigger: Trigger, clock: Clock) -> dict[str, Any]:
    return {
        "id": trigger.id,
        "created_date": clock.at(trigger.at),
        "mode": trigger.mode,
        "source": trigger.source,
        "payload": trigger.payload or {},
    }


class Runs:
    """All runs of an emulator, and the scripts that they follow."""

    def __init__(self, clock: Clock, lock: RLock) -> None:
        self._clock = clock
        self._lock = lock
        self._ids = count(1)
        self._trigger_ids = count(1)
        self._planned: dict[int, list[Run]] = {}
        self._by_id: dict[int, Run] = {}
        self._by_trigger: dict[str, Run] = {}
        self._scripts: dict[tuple[str, int | None], Script] = {}
        self.script()

    @property
    def scripts(self) -> dict[tuple[str, int | None], Script]:
        """The scripts by their subjects: ("tenant", id), ("integration", id), ("all", None)."""
        with self._lock:
            return dict(self._scripts)

    def all(self) -> list[Run]:
        """Return all runs by id, those that have not appeared too."""
        with self._lock:
            return list(self._by_id.values())

    def replace(self, runs: Sequence[Run]) -> None:
        """Hold these runs, which come by id, and no script but the usual one."""
        with self._lock:
            self._scripts.clear()
            self.script()
            self._by_id = {run.id: run for run in runs}
            self._by_trigger = {str(one.id): run for run in runs for one in run.triggers}
            self._planned = {}
            for run in runs:
                self._planned.setdefault(run.tenant_id, []).append(run)
            self._ids = count(max(self._by_id, default=0) + 1)
            self._trigger_ids = count(max(map(int, self._by_trigger), default=0) + 1)

    def script(
        self,
        *,
        tenant: int | None = None,
        integration: int | None = None,
        appears_after: float = 0.1,
        phases: Sequence[tuple[str, float]] = (("Running", 0.3), ("Succeeded", 0)),
    ) -> None:
        """
        Say how runs go that are planned from now on: for a tenant, an integration, or all.

        A run appears `appears_after` seconds after its trigger, or after the end of the run
        before it. Each phase is a word and its seconds; the run is over when all of them have
        passed, and keeps the last word. `math.inf` seconds make a phase that never ends.

        :raises ValueError: names the place of what cannot be read.
        """
        if tenant is not None and integration is not None:
            raise ValueError("tenant, integration: give one of them at most")
        script = Script(_read_seconds("appears_after", appears_after), _read_phases(phases))
        key = ("integration", integration) if tenant is None else ("tenant", tenant)
        with self._lock:
            self._scripts[key if key[1] is not None else ("all", None)] = script

    def trigger(
        self, tenant: Tenant, *, mode: str, source: str, payload: Mapping[str, Any] | None
    ) -> Trigger:
        """Take a trigger: into a run that has not begun yet, or into a new one after the last."""
        with self._lock:
            now = self._clock.now()
            trigger = Trigger(next(self._trigger_ids), now, mode, source, payload)
            planned = self._planned.setdefault(tenant.id, [])
            if not planned or planned[-1].appears_at <= now:
                after = max(now, planned[-1].ends_at) if planned else now
                planned.append(self._plan(tenant, mode, after))
            planned[-1].triggers.append(trigger)
            self._by_trigger[str(trigger.id)] = planned[-1]
            return trigger

    def _plan(self, tenant: Tenant, mode: str, after: float) -> Run:
        script = self._script_of(tenant)
        begin = after + script.appears_after
        ends = tuple(accumulate((seconds for _, seconds in script.phases), initial=begin))[1:]
        words = tuple(word for word, _ in script.phases)
        run = Run(next(self._ids), tenant.id, tenant.integration_id, mode, begin, words, ends)
        self._by_id[run.id] = run
        return run

    def _script_of(self, tenant: Tenant) -> Script:
        keys = (("tenant", tenant.id), ("integration", tenant.integration_id), ("all", None))
        return next(self._scripts[key] for key in keys if key in self._scripts)

    def status(self, trigger_id: str) -> str | None:
        """Return the phase of a trigger's run, or None as long as there is no run."""
        with self._lock:
            now = self._clock.now()
            run = self._by_trigger.get(trigger_id)
            return run.word(now) if run is not None and run.appears_at <= now else None

    def find(self, run_id: int) -> Run | None:
        """Return a run that has appeared."""
        with self._lock:
            run = self._by_id.get(run_id)
            return run if run is not None and run.appears_at <= self._clock.now() else None

    def of(self, tenant: int) -> list[dict[str, Any]]:
        """Return the runs of a tenant that have appeared, by id, as the API shows them."""
        with self._lock:
            now = self._clock.now()
            runs = self._planned.get(tenant, ())
            return [run.view(self._clock) for run in runs if run.appears_at <= now]

    def mark(self, tenant: int) -> int:
        """Return a number that is another one once the tenant has got a trigger."""
        planned = self._planned.get(tenant)
        return planned[-1].triggers[-1].id if planned else 0

    def summary(self, tenant: int) -> tuple[dict[str, Any], float]:
        """Return what a tenant's status says of its runs, and the moment until it holds."""
        with self._lock:
            now = self._clock.now()
            runs = self._planned.get(tenant, [])
            over = [run for run in reversed(runs) if run.ends_at <= now]
            good = (run for run in over if run.word(now).casefold() in SUCCESS)
            going = (run for run in runs[-PAIR:] if run.appears_at <= now < run.ends_at)
            shown = {
                "last_run": next(iter(over), None),
                "current_run": next(going, None),
                "last_successful_run": next(good, None),
            }
            until = min((run.next_change(now) for run in runs[-PAIR:]), default=math.inf)
            return {key: run.view(self._clock) if run else {} for key, run in shown.items()}, until


def _read_phases(phases: object) -> tuple[tuple[str, float], ...]:
    if isinstance(phases, str) or not isinstance(phases, Sequence) or not phases:
        raise ValueError("phases: must be a sequence of (word, seconds), one at least")
    return tuple(_read_phase(f"phases[{index}]", phase) for index, phase in enumerate(phases))


def _read_phase(place: str, phase: object) -> tuple[str, float]:
    if isinstance(phase, str) or not isinstance(phase, Sequence) or len(phase) != PAIR:
        raise ValueError(f"{place}: must be a word and its seconds, not {phase!r}")
    word, seconds = phase
    if not isinstance(word, str) or not word:
        raise ValueError(f"{place}[0]: must be a word, not {word!r}")
    return word, _read_seconds(f"{place}[1]", seconds)


def _read_seconds(place: str, seconds: object) -> float:
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0:
        return seconds
    raise ValueError(f"{place}: must be seconds, zero or more, not {seconds!r}")
