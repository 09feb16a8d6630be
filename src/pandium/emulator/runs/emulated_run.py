"""One run: it waits, appears, advances through the phases of its script, and ends."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.scripts import Polls, Script, Span

SUCCESS = frozenset({"succeeded", "success", "successful", "completed"})
# The vendor's word for a run that took too long.
KILLED = "Failed (Timeout)"


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
