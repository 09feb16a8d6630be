"""What a saved state must obey as a whole: ids are used once, and refer to what is there."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from pandium.emulator.state.adding import integration_problems
from pandium.emulator.state.errors import Problem
from pandium.emulator.state.rules import cron_problems, schema_problems
from pandium.emulator.state.run_snapshots import run_problems
from pandium.emulator.state.snapshot_models import (
    IntegrationState,
    ReleaseState,
    RunState,
    SavedState,
    TenantState,
)
from pandium.emulator.state.store import Store

RecordRule = Callable[[Any, Store], Iterator[Problem]]


def id_problems(state: SavedState) -> Iterator[Problem]:
    """Find ids that are used twice, which are to be seen only before records are kept by them."""
    for section in ("integrations", "releases", "tenants", "runs"):
        places = (((section, index), one.id) for index, one in enumerate(getattr(state, section)))
        yield from _find_duplicates(places)
    yield from _find_duplicates(
        (("runs", index, "triggers", number), trigger.id)
        for index, run in enumerate(state.runs)
        for number, trigger in enumerate(run.triggers)
    )


def _find_duplicates(ids: Iterable[tuple[tuple[str | int, ...], int]]) -> Iterator[Problem]:
    seen: set[int] = set()
    for place, key in ids:
        if key in seen:
            yield Problem((*place, "id"), "is taken", key)
        seen.add(key)


def record_problems(state: SavedState, store: Store) -> Iterator[Problem]:
    """Find what breaks a rule, or refers to what is not there."""
    rules: tuple[tuple[str, RecordRule], ...] = (
        ("integrations", _of_integration),
        ("releases", _of_release),
        ("tenants", _of_tenant),
        ("runs", _of_run),
    )
    for section, rule in rules:
        for index, given in enumerate(getattr(state, section)):
            for one in rule(given, store):
                yield replace(one, loc=(section, index, *one.loc))
    for index, build in enumerate(state.builds.pending):
        for one in integration_problems(store, build.integration_id):
            yield replace(one, loc=("builds", "pending", index, *one.loc))


def _of_integration(given: IntegrationState, store: Store) -> Iterator[Problem]:
    yield from cron_problems("schedule", given.schedule)
    key = given.default_release_id
    if key is not None and (
        key not in store.releases or store.releases[key].integration_id != given.id
    ):
        yield Problem(("default_release_id",), "is no release of the integration", key)


def _of_release(given: ReleaseState, store: Store) -> Iterator[Problem]:
    yield from integration_problems(store, given.integration_id)
    yield from schema_problems("config_schema", given.config_schema)
    yield from schema_problems("metadata_schema", given.metadata_schema)


def _of_tenant(given: TenantState, store: Store) -> Iterator[Problem]:
    yield from integration_problems(store, given.integration_id)
    yield from store.problems(store.tenants[given.id])
    if given.integration_id in store.integrations:
        known = {one.name for one in store.integrations[given.integration_id].connectors}
        for index, one in enumerate(given.connections):
            if one.name not in known:
                place = ("connections", index, "name")
                yield Problem(place, "the integration has no such connector", one.name)


def _of_run(given: RunState, store: Store) -> Iterator[Problem]:
    yield from run_problems(given)
    yield from integration_problems(store, given.integration_id)
    if given.tenant_id not in store.tenants:
        yield Problem(("tenant_id",), "no tenant has this id", given.tenant_id)
