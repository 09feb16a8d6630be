"""What an emulator holds at its start: from nothing, the demo, a mapping or a file."""

import re
from collections.abc import Callable, Collection, Mapping
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from pandium.emulator.runs.clock import Clock
from pandium.emulator.state.adding import add_integration, add_release, add_tenant
from pandium.emulator.state.arguments import (
    IntegrationArguments,
    ReleaseArguments,
    ScriptArguments,
    TenantArguments,
    UpstreamArguments,
)
from pandium.emulator.state.errors import Problem, Refused, validate
from pandium.emulator.state.files import read_file
from pandium.emulator.state.record_models import Tenant
from pandium.emulator.state.snapshots import MARK, Snapshot, restore
from pandium.emulator.state.store import Store

Seed = Mapping[str, Any] | str | PathLike[str]
R = TypeVar("R")

BARE: Mapping[str, Any] = {"integrations": [{}]}
NAME = re.compile(r"[\w-]+")
SECTIONS = ("integrations", "releases", "tenants", "scripts", "upstreams")
RENAMED: Mapping[str | int, str] = {
    "integration_release_id": "release_id",
    "integration_release_channel": "release_channel",
}


def seed_data(seed: Seed | None) -> Any:
    """
    Return what a seed says: nothing is one integration, a string is a name or a path.

    :raises ValueError: names the file that cannot be read, and the place in it.
    """
    if seed is None:
        return BARE
    if isinstance(seed, Mapping):
        return seed
    if seed == "demo":
        return demo()
    if isinstance(seed, str) and NAME.fullmatch(seed) and not Path(seed).exists():
        raise ValueError(f"there is no seed {seed!r}: give 'demo' or the path of a file")
    return read_file(Path(seed))


def read_snapshot(data: Any, clock: Clock) -> Snapshot:
    """
    Return the snapshot that a seed or a saved state describes.

    :raises ValueError: names the place of what cannot be used.
    """
    if not isinstance(data, Mapping):
        raise Refused([Problem(("seed",), f"must be an object with {', '.join(SECTIONS)}", data)])
    if MARK in data:
        return restore(data, clock)
    for section in data:
        if section not in SECTIONS:
            msg = f"{section!r} is none of {', '.join(SECTIONS)}"
            raise Refused([Problem(("seed",), msg, section)])
    store = Store(clock)
    _add_records(store, data)
    scripts = _each(data, "scripts", lambda item: validate(ScriptArguments, item))
    upstreams = _each(data, "upstreams", lambda item: validate(UpstreamArguments, item))
    return Snapshot(store, (), scripts, upstreams)


def _add_records(store: Store, data: Mapping[str, Any]) -> None:
    described = [item.get("integration_id") for item in _items(data, "releases")]
    _each(data, "integrations", lambda item: _add_integration(store, item, described))
    _each(data, "releases", lambda item: add_release(store, validate(ReleaseArguments, item)))
    _each(data, "tenants", lambda item: add_tenant_as_given(store, validate(TenantArguments, item)))


def _add_integration(store: Store, item: Mapping[str, Any], described: Collection[Any]) -> None:
    """Add an integration; one whose releases the seed describes gets no other."""
    key = item.get("id") or next(reversed(store.integrations), 0) + 1
    releases = {"releases": 0} if key in described else {}
    add_integration(store, validate(IntegrationArguments, {**releases, **item}))


def add_tenant_as_given(store: Store, given: TenantArguments) -> Tenant:
    """Add a tenant; what is wrong with it is named as it was given."""
    try:
        return add_tenant(store, given)
    except Refused as error:
        raise error.renamed(RENAMED) from None


def _each(data: Mapping[str, Any], section: str, do: Callable[[Mapping[str, Any]], R]) -> list[R]:
    done = []
    for index, item in enumerate(_items(data, section)):
        try:
            done.append(do(item))
        except Refused as error:
            raise error.under(section, index) from None
    return done


def _items(data: Mapping[str, Any], section: str) -> list[Mapping[str, Any]]:
    items = data.get(section, [])
    if not isinstance(items, list):
        raise Refused([Problem((section,), "must be an array", items)])
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise Refused([Problem((section, index), "must be an object", item)])
    return items


def demo() -> dict[str, Any]:
    """Return some integrations, and tenants in all states."""
    limits = {"type": "object", "properties": {"batch": {"type": "integer", "minimum": 1}}}
    integrations: list[dict[str, Any]] = [
        {"name": "orders-to-crm", "long_name": "Orders to CRM", "schedule": "0 * * * *"},
        {"name": "stock-levels", "connectors": ["shop", "warehouse"], "config_schema": limits},
        {"name": "invoices", "connectors": ["shop", "books"], "releases": 3},
        {"name": "contacts", "type": "Internal", "default_release_channel": "Latest"},
        {"name": "old-exports", "archived": True},
    ]
    places = ("amsterdam", "bergen", "cork", "dresden", "evora", "faro", "ghent", "hull")
    numbers = count()
    tenants = [
        _demo_tenant(next(numbers), place, integration)
        for place in places
        for integration in (1, 2, 3, 4, 4)
    ]
    return {"integrations": integrations, "tenants": tenants}


def _demo_tenant(number: int, place: str, integration: int) -> dict[str, Any]:
    states: tuple[dict[str, Any], ...] = (
        {},
        {"paused": True, "connected": False},
        {"user_schedule": "*/15 8-18 * * mon-fri"},
        {"connected": ["shop"]},
        {"release_channel": "Latest"},
        {"archived": True, "paused": True},
        {"metadata": {"cursor": number, "place": place}},
    )
    return {
        "name": f"{place}-{number}",
        "integration_id": integration,
        "user_name": f"{place}-{integration}@example.com",
        "configs": {"batch": 10 + number},
        **states[number % len(states)],
    }
