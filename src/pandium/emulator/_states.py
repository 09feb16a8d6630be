"""
A saved state: all that an emulator holds, as JSON-ready data and back.

Dates stay dates: what was to happen while nothing ran has happened by the time of loading.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pandium.emulator._canned import canned
from pandium.emulator._clock import Clock
from pandium.emulator._contents import Contents
from pandium.emulator._files import write_file
from pandium.emulator._problems import Problem, Refused, read, refuse_if
from pandium.emulator._records import (
    ConnectionRecord,
    ConnectorRecord,
    Integration,
    Metadata,
    Release,
    Tenant,
)
from pandium.emulator._run_data import run_data, run_of
from pandium.emulator._script_data import scripts_data
from pandium.emulator._service import Service
from pandium.emulator._state_forms import (
    VERSION,
    IntegrationState,
    ReleaseState,
    RunState,
    SavedState,
    TenantState,
)
from pandium.emulator._state_rules import problems, repeated
from pandium.emulator._store import Store

F = TypeVar("F", IntegrationState, ReleaseState, TenantState, RunState)

MARK = "pandium_emulator_state"


def state_of(service: Service) -> dict[str, Any]:
    """Return all that an emulator holds, ready for JSON."""
    with service.lock:
        clock, store = service.clock, service.store
        state = {
            MARK: VERSION,
            "saved_at": clock.wall(),
            "integrations": list(store.integrations.values()),
            "releases": list(store.releases.values()),
            "tenants": list(store.tenants.values()),
            "runs": [run_data(one, clock) for one in service.runs.all()],
            "scripts": scripts_data(service.runs),
            "upstreams": [dict(one) for one in canned(service.connectors)],
        }
        data: dict[str, Any] = msgspec.to_builtins(state)
    return data


def save(service: Service, path: Path | None = None) -> Path:
    """
    Write all that an emulator holds into a file, its own one without a path.

    :raises OSError: the file cannot be written.
    :raises ValueError: there is no path, or something is nested too deeply for a file.
    """
    target = path or service.state_file
    if target is None:
        raise ValueError("path: the emulator has no state file of its own")
    try:
        write_file(target, state_of(service))
    except RecursionError:
        raise ValueError("state: something in it is nested too deeply for a file") from None
    return target


def restored(data: Mapping[str, Any], clock: Clock) -> Contents:
    """
    Return what a saved state describes.

    Time does not go back: a clock that is behind the date of the state is put forward to it.

    :raises ValueError: names the place of what cannot be used.
    """
    if data[MARK] != VERSION:
        raise Refused([Problem((MARK,), f"must be {VERSION}", data[MARK])])
    state = read(SavedState, data)
    refuse_if(*repeated(state))
    store = Store(clock)
    store.integrations |= {one.id: _integration(one) for one in _by_id(state.integrations)}
    store.releases |= {one.id: Release(**dict(one)) for one in _by_id(state.releases)}
    store.tenants |= {one.id: _tenant(one) for one in _by_id(state.tenants)}
    refuse_if(*problems(state, store))
    clock.epoch += max(state.saved_at - clock.wall(), timedelta())
    runs = [run_of(one, clock) for one in _by_id(state.runs)]
    return Contents(store, runs, state.scripts, state.upstreams)


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
