"""Scripts as data: null is for ever, `{"polls": 3}` is three looks."""

import math
from typing import Any

from pandium.emulator.runs.runs import Runs
from pandium.emulator.runs.scripts import Polls, Script, Span
from pandium.emulator.state.record_models import AssignedScript
from pandium.emulator.state.snapshot_models import ScriptState


def script_data(script: Script) -> dict[str, Any]:
    """Return a script as data."""
    return {
        "appears_after": _span_data(script.appears_after),
        "phases": [[phase, _span_data(span)] for phase, span in script.phases],
        "killed_after": _span_data(script.killed_after),
    }


def _span_data(span: Span) -> Any:
    if isinstance(span, Polls):
        return {"polls": span.number}
    return None if span == math.inf else span


def scripts_data(runs: Runs) -> list[dict[str, Any]]:
    """Return the scripts of all, of integrations and of tenants as data."""
    return [
        {
            "tenant": key if kind == "tenant" else None,
            "integration": key if kind == "integration" else None,
            **script_data(script),
        }
        for (kind, key), script in runs.scripts.items()
    ]


def script_of(given: ScriptState) -> Script:
    """Return the script that data describes."""
    killed_after = _seconds(given.killed_after)
    return Script(given.appears_after, tuple(given.phases), killed_after)


def set_script(runs: Runs, given: AssignedScript) -> None:
    """Say how runs go from now on."""
    runs.script(
        tenant=given.tenant,
        integration=given.integration,
        appears_after=given.appears_after,
        phases=given.phases,
        killed_after=_seconds(given.killed_after),
    )


def _seconds(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
