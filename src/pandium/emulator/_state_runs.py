"""Runs and scripts in a saved state: moments of a clock as dates, and back."""

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

from pandium.emulator._arguments import ScriptArguments
from pandium.emulator._clock import Clock
from pandium.emulator._problems import Problem
from pandium.emulator._runs import Run, Runs, Trigger
from pandium.emulator._state_forms import RunState, TriggerState


def run_data(run: Run, clock: Clock) -> dict[str, Any]:
    """Return a run as data."""
    return {
        "id": run.id,
        "tenant_id": run.tenant_id,
        "integration_id": run.integration_id,
        "mode": run.mode,
        "appears_at": _date(run.appears_at, clock),
        "phases": [
            {"word": word, "ends_at": _date(end, clock)}
            for word, end in zip(run.words, run.ends, strict=True)
        ],
        "triggers": [_trigger_data(one, clock) for one in run.triggers],
    }


def _trigger_data(one: Trigger, clock: Clock) -> dict[str, Any]:
    return {
        "id": one.id,
        "at": _date(one.at, clock),
        "mode": one.mode,
        "source": one.source,
        "payload": one.payload,
    }


def _date(moment: float, clock: Clock) -> datetime | None:
    """Return the date of a moment; what lies beyond all dates is never."""
    try:
        return clock.at(moment)
    except OverflowError:
        return None


def scripts_of(runs: Runs) -> list[ScriptArguments]:
    """Return the scripts, the one for all others first."""
    return [
        ScriptArguments(
            tenant=key if kind == "tenant" else None,
            integration=key if kind == "integration" else None,
            appears_after=_seconds_or_never(script.appears_after),
            phases=[(word, _seconds_or_never(seconds)) for word, seconds in script.phases],
        )
        for (kind, key), script in runs.scripts.items()
    ]


def _seconds_or_never(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def set_script(runs: Runs, given: ScriptArguments) -> None:
    """Say how runs go from now on."""
    runs.script(
        tenant=given.tenant,
        integration=given.integration,
        appears_after=_or_never(given.appears_after),
        phases=[(word, _or_never(seconds)) for word, seconds in given.phases],
    )


def _or_never(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def run_of(given: RunState, clock: Clock) -> Run:
    """Return the run that data describes."""
    return Run(
        id=given.id,
        tenant_id=given.tenant_id,
        integration_id=given.integration_id,
        mode=given.mode,
        appears_at=_moment(given.appears_at, clock),
        words=tuple(phase.word for phase in given.phases),
        ends=tuple(_moment(phase.ends_at, clock) for phase in given.phases),
        triggers=[_trigger_of(one, clock) for one in given.triggers],
    )


def _trigger_of(given: TriggerState, clock: Clock) -> Trigger:
    at = _moment(given.at, clock)
    return Trigger(given.id, at, given.mode, given.source, given.payload)


def _moment(date: datetime | None, clock: Clock) -> float:
    return math.inf if date is None else (date - clock.at(0.0)).total_seconds()


def run_problems(given: RunState) -> Iterator[Problem]:
    """Find phases that end before they begin."""
    dates = [("appears_at",), *(("phases", index, "ends_at") for index in range(len(given.phases)))]
    moments = [given.appears_at, *(phase.ends_at for phase in given.phases)]
    for (before, after), place in zip(pairwise(moments), dates[1:], strict=True):
        if after is not None and (before is None or after < before):
            yield Problem(place, "is before the date of what comes before it", str(after))
