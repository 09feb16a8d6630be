"""What an emulator holds at its start: from nothing, the demo, a mapping or a file."""

import importlib
import json
from collections.abc import Collection, Mapping
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any

from pandium.emulator._adding import add_integration, add_release, add_tenant
from pandium.emulator._arguments import IntegrationArguments, ReleaseArguments, TenantArguments
from pandium.emulator._problems import Problem, Refused, read
from pandium.emulator._store import Store

Seed = Mapping[str, Any] | str | PathLike[str]

BARE: Mapping[str, Any] = {"integrations": [{}]}
SECTIONS = ("integrations", "releases", "tenants")
RENAMED: Mapping[str | int, str] = {
    "integration_release_id": "release_id",
    "integration_release_channel": "release_channel",
}


def plant(store: Store, seed: Seed | None) -> None:
    """
    Add the records of a seed.

    :raises ValueError: names the place of what cannot be used.
    """
    data = _load(seed)
    if not isinstance(data, Mapping):
        raise Refused([Problem(("seed",), f"must be an object with {', '.join(SECTIONS)}", data)])
    for section in data:
        if section not in SECTIONS:
            raise ValueError(f"seed: {section!r} is none of {', '.join(SECTIONS)}")
    described = [item.get("integration_id") for item in _items(data, "releases")]
    for section in SECTIONS:
        for index, item in enumerate(_items(data, section)):
            try:
                _add(store, section, item, described)
            except Refused as error:
                raise error.renamed(RENAMED).under(section, index) from None


def _add(store: Store, section: str, item: Mapping[str, Any], described: Collection[Any]) -> None:
    """Add one record; an integration whose releases the seed describes gets no other."""
    if section == "tenants":
        add_tenant(store, read(TenantArguments, item))
    elif section == "releases":
        add_release(store, read(ReleaseArguments, item))
    else:
        key = item.get("id") or next(reversed(store.integrations), 0) + 1
        releases = {"releases": 0} if key in described else {}
        add_integration(store, read(IntegrationArguments, {**releases, **item}))


def _items(data: Mapping[str, Any], section: str) -> list[Mapping[str, Any]]:
    items = data.get(section, [])
    if not isinstance(items, list):
        raise Refused([Problem((section,), "must be an array", items)])
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise Refused([Problem((section, index), "must be an object", item)])
    return items


def _load(seed: Seed | None) -> Any:
    if seed is None:
        return BARE
    if seed == "demo":
        return demo()
    return seed if isinstance(seed, Mapping) else _load_file(Path(seed))


def _load_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"seed: cannot read {str(path)!r}: {error.strerror} (built in is only 'demo')"
        raise ValueError(msg) from None
    if path.suffix in {".yaml", ".yml"}:
        return _load_yaml(path, text)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"seed: {str(path)!r} is not JSON: {error}") from None


def _load_yaml(path: Path, text: str) -> Any:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise ValueError(f"seed: {str(path)!r} is YAML, which needs PyYAML") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"seed: {str(path)!r} is not YAML: {error}") from None


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
