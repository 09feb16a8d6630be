"""Runs as data: the moments of a clock as dates, and back."""

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.emulated_run import EmulatedRun, EmulatedTrigger
from pandium.emulator.state.errors import Problem
from pandium.emulator.state.script_snapshots import script_data, script_of
from pandium.emulator.state.snapshot_models import RunState


def run_data(run: EmulatedRun, clock: Clock) -> dict[str, Any]:
    """Return a run as data."""
    return {
        "id": run.id,
        "tenant_id": run.tenant_id,
        "integration_id": run.integration_id,
        "mode": run.mode,
        "is_scheduled": run.is_scheduled,
        "triggers": [_trigger_data(one, clock) for one in run.triggers],
        "script": script_data(run.script),
        "step": run.step,
        "history": [{"at": clock.at(at), "phase": phase} for at, phase in run.history],
        "status": run.status,
        "until": _date(run.until, clock),
        "polls": run.polls,
        "ended_at": _date(run.ended_at, clock),
    }


def _trigger_data(one: EmulatedTrigger, clock: Clock) -> dict[str, Any]:
    return {
        "id": one.id,
        "at": clock.at(one.at),
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


def run_of(given: RunState, clock: Clock) -> EmulatedRun:
    """Return the run that data describes."""
    history = [(_moment(one.at, clock), one.phase) for one in given.history]
    triggers = [
        EmulatedTrigger(one.id, _moment(one.at, clock), one.mode, one.source, one.payload)
        for one in given.triggers
    ]
    return EmulatedRun(
        id=given.id,
        tenant_id=given.tenant_id,
        integration_id=given.integration_id,
        mode=given.mode,
        script=script_of(given.script),
        is_scheduled=given.is_scheduled,
        triggers=triggers,
        status=given.status,
        history=history,
        appeared_at=history[0][0] if history else math.inf,
        ended_at=_moment(given.ended_at, clock),
        step=given.step,
        until=_moment(given.until, clock),
        polls=given.polls,
    )


def _moment(date: datetime | None, clock: Clock) -> float:
    return math.inf if date is None else (date - clock.at(0.0)).total_seconds()


def run_problems(given: RunState) -> Iterator[Problem]:
    """Find what no run can have come to."""
    if given.step > len(given.script.phases):
        yield Problem(("step",), "is more than the script has", given.step)
    if (given.step == 0) is bool(given.history):
        yield Problem(("history",), "must be there once a step has begun, and not before", None)
    if given.ended_at is not None and not given.history:
        yield Problem(("ended_at",), "must be null as long as there is no word", None)
    for index, (before, after) in enumerate(pairwise(given.history), 1):
        if after.at < before.at:
            yield Problem(("history", index, "at"), "is before the word that goes before", None)
