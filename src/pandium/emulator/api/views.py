"""Records as the API shows them, and their encoding."""

import math
from collections.abc import Iterable
from typing import Any

from pandium.emulator.runs.runs import Runs
from pandium.emulator.state.encoding import encode
from pandium.emulator.state.record_models import Integration, Metadata, Release, Tenant
from pandium.emulator.state.store import Store


def integration_view(one: Integration) -> dict[str, Any]:
    """Return an integration as the API shows it."""
    return {
        "id": one.id,
        "created_date": one.created_date,
        "modified_date": one.modified_date,
        "name": one.name,
        "long_name": one.long_name,
        "connectors": [{"name": c.name, "isGlobal": c.is_global} for c in one.connectors],
        "repository_path": one.repository_path,
        "repository_tracking_branch": one.repository_tracking_branch,
        "repository_url": one.repository_url,
        "type": one.type,
        "categories": one.categories,
        "tags": one.tags,
        "flag": one.flag,
        "default_release_id": one.default_release_id,
        "default_release_channel": one.default_release_channel,
    }


def release_view(one: Release) -> dict[str, Any]:
    """Return a release as the API shows it."""
    return {
        "id": one.id,
        "name": one.name,
        "repository_tracking_branch": one.repository_tracking_branch,
        "run_command": one.run_command,
        "tag": one.tag,
        "config_schema": one.config_schema,
        "config_version": one.config_version,
        "metadata_schema": one.metadata_schema,
        "created_date": one.created_date,
        "modified_date": one.modified_date,
    }


def metadata_view(tenant_id: int, one: Metadata) -> dict[str, Any]:
    """Return metadata as the API shows it."""
    return {
        "tenant_id": tenant_id,
        "data": one.data,
        "created_date": one.created_date,
        "modified_date": one.modified_date,
    }


def tenant_view(one: Tenant, schedule: str | None, runs: dict[str, Any]) -> dict[str, Any]:
    """Return a tenant as the API shows it, with the status of its runs."""
    return {
        "id": one.id,
        "name": one.name,
        "archived": one.archived,
        "integration_id": one.integration_id,
        "configs": one.configs,
        "created_date": one.created_date,
        "modified_date": one.modified_date,
        "paused": one.paused,
        "user_schedule": one.user_schedule,
        "schedule": one.user_schedule or schedule,
        "source": one.source,
        "integration_release_id": one.integration_release_id,
        "integration_release_channel": one.integration_release_channel,
        "status": {**runs, "dynamic_configs": one.dynamic_configs, "auth": _auth_view(one)},
    }


def _auth_view(one: Tenant) -> dict[str, Any]:
    return {
        "connected": all(connection.connected for connection in one.connections),
        "connectors": [
            {
                "name": connection.name,
                "status": "connected" if connection.connected else "disconnected",
                "last_change": connection.last_change,
            }
            for connection in one.connections
        ],
    }


class TenantEncoder:
    """Encode tenants, each of them once for as long as it stays the same."""

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._runs = runs
        self._known: dict[int, tuple[Tenant, object, float, bytes]] = {}

    def encode(self, tenant: Tenant) -> bytes:
        """Encode one tenant."""
        now = self._store.clock.now()
        version = self._runs.version(tenant.id)
        record, seen, until, encoded = self._known.get(tenant.id, (None, None, math.inf, b""))
        if record is tenant and seen == version and now < until:
            return encoded
        runs, until = self._runs.summary(tenant.id)
        schedule = self._store.integrations[tenant.integration_id].schedule
        encoded = encode(tenant_view(tenant, schedule, runs))
        self._known[tenant.id] = (tenant, version, until, encoded)
        return encoded

    def encode_all(self, tenants: Iterable[Tenant]) -> bytes:
        """Encode an array of tenants."""
        return b"[" + b",".join(map(self.encode, tenants)) + b"]"
