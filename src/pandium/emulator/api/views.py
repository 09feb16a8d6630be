"""The JSON objects of the API, and their encoding."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from pandium.emulator.runs.advancing import NEVER
from pandium.emulator.runs.runs import Runs
from pandium.emulator.state.encoding import encode
from pandium.emulator.state.record_base import HIDDEN, Record
from pandium.emulator.state.record_models import Integration, Release, Run, Tenant
from pandium.emulator.state.store import Store

if TYPE_CHECKING:
    from datetime import datetime


@cache
def shown_fields(record: type[Record]) -> tuple[str, ...]:
    """Return the names of the fields that the API returns."""
    return tuple(n for n, field in record.model_fields.items() if HIDDEN not in field.metadata)


def shown(record: Record) -> dict[str, Any]:
    """Return the fields of a record that the API returns."""
    return {name: getattr(record, name) for name in shown_fields(type(record))}


def integration_view(one: Integration, store: Store) -> dict[str, Any]:
    """Return an integration in the API's format."""
    return {
        **shown(one),
        "connectors": [{"name": c.name, "isGlobal": c.is_global} for c in one.systems],
        "default_release_id": store.default_release_id(one.id),
    }


def release_view(one: Release) -> dict[str, Any]:
    """Return a release in the API's format."""
    return shown(one)


def metadata_view(one: Tenant) -> dict[str, Any]:
    """Return a tenant's metadata in the API's format."""
    return {
        "tenant_id": one.id,
        "data": one.metadata,
        "created_date": one.metadata_created_date,
        "modified_date": one.metadata_modified_date,
    }


def run_view(one: Run) -> dict[str, Any]:
    """Return a run, which must have appeared, in the API's format."""
    started, completed = one.started_date, one.completed_date
    status = {
        "phase": one.history[-1].phase,
        "startTime": started and started.isoformat(),
        "completionTime": completed and completed.isoformat(),
    }
    return {**shown(one), "status": status}


def run_log(one: Run) -> str:
    """Return the current log of a run."""
    triggers = ", ".join(str(trigger.id) for trigger in one.triggers)
    events = [(one.history[0].date, f"triggers {triggers}")] if one.history else []
    events += [(change.date, change.phase) for change in one.history]
    return "".join(f"{date.isoformat()} run {one.id}: {text}\n" for date, text in events)


def tenant_view(one: Tenant, store: Store, runs: dict[str, Run | None]) -> dict[str, Any]:
    """Return a tenant in the API's format, with the status of its runs."""
    status = {name: run_view(run) if run else {} for name, run in runs.items()}
    return {
        **shown(one),
        "schedule": one.user_schedule or store.integrations[one.integration_id].schedule,
        "status": {
            **status,
            "dynamic_configs": one.dynamic_configs,
            "auth": _auth_view(one, store),
        },
    }


def _auth_view(one: Tenant, store: Store) -> dict[str, Any]:
    connections = store.connections(one)
    return {
        "connected": all(connections.values()),
        "connectors": [
            {
                "name": name,
                "status": "connected" if is_connected else "disconnected",
                "last_change": one.connection_date(name),
            }
            for name, is_connected in connections.items()
        ],
    }


class TenantEncoder:
    """An encoder for tenants that caches the JSON of unchanged tenants."""

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._runs = runs
        self._known: dict[int, tuple[Tenant, object, datetime, bytes]] = {}

    def encode(self, tenant: Tenant) -> bytes:
        """Encode one tenant."""
        now = self._store.now()
        version = self._runs.version(tenant.id)
        record, seen, until, encoded = self._known.get(tenant.id, (None, None, NEVER, b""))
        if record is tenant and seen == version and now < until:
            return encoded
        runs, until = self._runs.summary(tenant.id)
        encoded = encode(tenant_view(tenant, self._store, runs))
        self._known[tenant.id] = (tenant, version, until, encoded)
        return encoded

    def encode_all(self, tenants: Iterable[Tenant]) -> bytes:
        """Encode an array of tenants."""
        return b"[" + b",".join(map(self.encode, tenants)) + b"]"
