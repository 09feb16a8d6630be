"""The data that an emulator starts with: a mapping, a file, or a named seed."""

import re
from collections.abc import Mapping
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any

from pandium.emulator.state.files import read_file

Seed = Mapping[str, Any] | str | PathLike[str]

BARE: Mapping[str, Any] = {"integrations": [{}]}
NAME = re.compile(r"[\w-]+")


def seed_data(seed: Seed | None) -> Any:
    """
    Return the data of a seed.

    :param seed: a mapping, the name "demo", or the path of a file. None stands for a single
        integration.
    :raises ValueError: if the file cannot be read. The message names the file and, if possible, the
        line.
    """
    if seed is None:
        return BARE
    if isinstance(seed, Mapping):
        return seed
    if seed == "demo":
        return demo()
    if isinstance(seed, str) and NAME.fullmatch(seed) and not Path(seed).exists():
        raise ValueError(f"there is no seed {seed!r}: specify 'demo' or the path of a file")
    return read_file(Path(seed))


def demo() -> dict[str, Any]:
    """Return a seed with several integrations, and with tenants in all states."""
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
        {"integration_release_channel": "Latest"},
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
