"""
A saved state: all that an emulator holds, as JSON-ready data and back.

Dates stay dates: what was to happen while nothing ran has happened by the time of loading.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.emulated_run import EmulatedRun
from pandium.emulator.runs.runs import Runs
from pandium.emulator.state.arguments import ScriptArguments, UpstreamArguments
from pandium.emulator.state.builds import Builds
from pandium.emulator.state.errors import Problem, Refused, refuse_if, validate
from pandium.emulator.state.record_models import (
    ConnectionRecord,
    ConnectorRecord,
    Integration,
    Metadata,
    Release,
    Tenant,
)
from pandium.emulator.state.run_snapshots import run_data, run_of
from pandium.emulator.state.script_snapshots import scripts_data
from pandium.emulator.state.snapshot_models import (
    VERSION,
    BuildsState,
    IntegrationState,
    ReleaseState,
    RunState,
    SavedState,
    TenantState,
)
from pandium.emulator.state.snapshot_rules import id_problems, record_problems
from pandium.emulator.state.store import Store

F = TypeVar("F", IntegrationState, ReleaseState, TenantState, RunState)

MARK = "pandium_emulator_state"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The complete state of an emulator: records, runs, scripts and fixed responses."""

    store: Store
    runs: Sequence[EmulatedRun]
    scripts: Sequence[ScriptArguments]
    upstreams: Sequence[UpstreamArguments]
    builds: BuildsState = field(default_factory=BuildsState)


def dump(
    store: Store, runs: Runs, upstreams: Iterable[UpstreamArguments], builds: Builds
) -> dict[str, Any]:
    """Return the complete state of an emulator, ready for JSON."""
    state = {
        MARK: VERSION,
        "saved_at": store.clock.wall(),
        "integrations": list(store.integrations.values()),
        "releases": list(store.releases.values()),
        "tenants": list(store.tenants.values()),
        "runs": [run_data(one, store.clock) for one in runs.all()],
        "scripts": scripts_data(runs),
        "upstreams": [dict(one) for one in upstreams],
        "builds": {
            "scripts": [dict(one) for one in builds.scripts],
            "pending": [dict(one) for one in builds.pending],
        },
    }
    data: dict[str, Any] = msgspec.to_builtins(state)
    return data


def restore(data: Mapping[str, Any], clock: Clock) -> Snapshot:
    """
    Return what a saved state describes.

    Time does not go back: a clock that is behind the date of the state is put forward to it.

    :raises ValueError: names the place of what cannot be used.
    """
    if data[MARK] != VERSION:
        raise Refused([Problem((MARK,), f"must be {VERSION}", data[MARK])])
    state = validate(SavedState, data)
    refuse_if(*id_problems(state))
    store = Store(clock)
    store.integrations |= {one.id: _integration(one) for one in _by_id(state.integrations)}
    store.releases |= {one.id: Release(**dict(one)) for one in _by_id(state.releases)}
    store.tenants |= {one.id: _tenant(one) for one in _by_id(state.tenants)}
    refuse_if(*record_problems(state, store))
    clock.epoch += max(state.saved_at - clock.wall(), timedelta())
    runs = [run_of(one, clock) for one in _by_id(state.runs)]
    return Snapshot(store, runs, state.scripts, state.upstreams, state.builds)


def _by_id(forms: Iterable[F]) -> list[F]:
    return sorted(forms, key=lambda form: form.id)


def _integration(given: IntegrationState) -> Integration:
    connectors = tuple(ConnectorRecord(**dict(one)) for one in given.connectors)
    categories, tags = tuple(given.categories), tuple(given.tags)
    changed = {"connectors": connectors, "categories": categories, "tags": tags}
    return Integration(**{**dict(given), **changed})


def _tenant(given: TenantState) -> Tenant:
    connections = tuple(ConnectionRecord(**dict(one)) for one in given.connections)
    metadata = Metadata(**dict(given.metadata))
    return Tenant(**{**dict(given), "connections": connections, "metadata": metadata})
