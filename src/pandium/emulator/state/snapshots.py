"""
Convert the complete state of an emulator to JSON-compatible data and back.

A seed is a partial state, and a saved state is a complete one. Dates are absolute, so everything
that became due while no emulator was running has happened when the state is loaded.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import Field

from pandium.emulator.state.adding import (
    add_first_releases,
    add_integration,
    add_release,
    add_tenant,
    integration_problems,
    script_problems,
)
from pandium.emulator.state.builds import BuildsState
from pandium.emulator.state.encoding import to_builtins
from pandium.emulator.state.errors import InvalidInput, Problem, raise_if_any, validate
from pandium.emulator.state.record_base import Moment, Record
from pandium.emulator.state.record_models import Integration, Release, Run, Tenant, Upstream
from pandium.emulator.state.scripts import Script
from pandium.emulator.state.store import Store

R = TypeVar("R", Integration, Release, Tenant)


class EmulatorState(Record):
    """The complete state of an emulator. A seed may omit parts of it."""

    pandium_emulator_state: Literal[2] = 2
    saved_at: Moment | None = None
    integrations: list[Integration] = Field(default_factory=list)
    releases: list[Release] = Field(default_factory=list)
    tenants: list[Tenant] = Field(default_factory=list)
    runs: list[Run] = Field(default_factory=list)
    scripts: list[Script] = Field(default_factory=list)
    upstreams: list[Upstream] = Field(default_factory=list)
    builds: BuildsState = Field(default_factory=BuildsState)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A valid state, and a store with its records."""

    state: EmulatorState
    store: Store


def to_data(state: EmulatorState) -> dict[str, Any]:
    """Return a state as JSON-compatible data."""
    data: dict[str, Any] = to_builtins(state)
    return data


def read_snapshot(data: Any, now: Callable[[], datetime]) -> Snapshot:
    """
    Return the snapshot that a seed or a saved state describes.

    :raises ValueError: if the data is invalid. The message starts with the location of the problem.
    """
    if not isinstance(data, Mapping):
        sections = ", ".join(list(EmulatorState.model_fields)[2:])
        raise InvalidInput([Problem(("seed",), f"must be an object with {sections}", data)])
    state = validate(EmulatorState, dict(data))
    store = Store(now)
    _add_records(store, state)
    raise_if_any(*_reference_problems(state, store))
    return Snapshot(state, store)


def _add_records(store: Store, state: EmulatorState) -> None:
    """Add the records, and create the integrations and releases that a seed omits."""
    # Data that was valid when it was saved remains valid, regardless of later releases.
    is_seed = state.saved_at is None
    _each("integrations", _integrations(state), lambda one: add_integration(store, one))
    _each("releases", state.releases, lambda one: add_release(store, one))
    described = {one.integration_id for one in state.releases}
    for integration in store.integrations.values():
        if integration.id not in described:
            add_first_releases(store, integration)
    _each("tenants", state.tenants, lambda one: add_tenant(store, one, check_data=is_seed))


def _integrations(state: EmulatorState) -> Sequence[Integration]:
    if "integrations" in state.model_fields_set:
        return state.integrations
    wanted = {one.integration_id for one in state.releases}
    wanted |= {one.integration_id for one in state.tenants}
    return [Integration(id=key) for key in sorted(wanted)]


def _each(section: str, records: Sequence[R], add: Callable[[R], object]) -> None:
    places = list(enumerate(records))
    if all(one.id for one in records):  # adding them in another order takes quadratic time
        places.sort(key=lambda place: place[1].id)
    for index, one in places:
        try:
            add(one)
        except InvalidInput as error:
            raise error.under(section, index) from None


def _reference_problems(state: EmulatorState, store: Store) -> Iterator[Problem]:
    """Yield duplicate ids of runs and triggers, and references to missing records."""
    yield from _duplicates((("runs", index), run.id) for index, run in enumerate(state.runs))
    yield from _duplicates(
        (("runs", index, "triggers", number), trigger.id)
        for index, run in enumerate(state.runs)
        for number, trigger in enumerate(run.triggers)
    )
    for index, run in enumerate(state.runs):
        for problem in _of_run(run, store):
            yield replace(problem, loc=("runs", index, *problem.loc))
    for index, script in enumerate(state.scripts):
        for problem in script_problems(store, script):
            yield replace(problem, loc=("scripts", index, *problem.loc))
    for index, build in enumerate(state.builds.pending):
        for problem in integration_problems(store, build.integration_id):
            yield replace(problem, loc=("builds", "pending", index, *problem.loc))


def _of_run(run: Run, store: Store) -> Iterator[Problem]:
    yield from integration_problems(store, run.integration_id)
    if run.tenant_id not in store.tenants:
        yield Problem(("tenant_id",), "no tenant has this id", run.tenant_id)


def _duplicates(ids: Iterable[tuple[tuple[str | int, ...], int]]) -> Iterator[Problem]:
    seen: set[int] = set()
    for place, key in ids:
        if key in seen:
            yield Problem((*place, "id"), "is taken", key)
        seen.add(key)
