"""New records: from arguments or from the API's own operations."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pandium.emulator.state.arguments import (
    ConnectorArguments,
    IntegrationArguments,
    ReleaseArguments,
    TenantArguments,
)
from pandium.emulator.state.errors import Problem, refuse_if, validate
from pandium.emulator.state.record_models import (
    ConnectionRecord,
    ConnectorRecord,
    Integration,
    Metadata,
    Release,
    Tenant,
)
from pandium.emulator.state.rules import cron_problems, data_problems, schema_problems
from pandium.emulator.state.store import Store

COPIED = {"integration_id", "user_name", "paused", "archived", "user_schedule", "source"}


def add_integration(store: Store, given: IntegrationArguments) -> Integration:
    """Add an integration with its releases."""
    key = _next_id(store.integrations, given.id)
    date = given.created_date or store.clock.wall()
    name = given.name or f"integration-{key}"
    refuse_if(*_schema_problems(given), *cron_problems("schedule", given.schedule))
    integration = Integration(
        id=key,
        name=name,
        long_name=given.long_name or name.replace("-", " ").title(),
        type=given.type,
        archived=given.archived,
        paused=given.paused,
        connectors=tuple(map(_connector, given.connectors)),
        created_date=date,
        modified_date=date,
        default_release_channel=given.default_release_channel,
        schedule=given.schedule,
    )
    store.add(store.integrations, integration)
    shared = given.model_dump(include={"config_schema", "metadata_schema", "created_date"})
    for number in range(given.releases):
        first = number == 0 and given.default_release_channel != "Latest"
        add_release(store, ReleaseArguments(integration_id=key, default=first, **shared))
    return store.integrations[key]


def add_release(store: Store, given: ReleaseArguments) -> Release:
    """Add a release; with `default`, make it the integration's default one."""
    key = _next_id(store.releases, given.id)
    date = given.created_date or store.clock.wall()
    refuse_if(*integration_problems(store, given.integration_id), *_schema_problems(given))
    details = given.model_dump(exclude={"id", "name", "default", "created_date"})
    name = given.name or f"release-{key}"
    release = Release(id=key, name=name, created_date=date, modified_date=date, **details)
    if given.default:
        integration = store.integrations[given.integration_id]
        store.integrations[integration.id] = replace(integration, default_release_id=key)
    return store.add(store.releases, release)


def add_build(
    store: Store, integration_id: int, tag: str, branch: str | None, date: datetime
) -> Release:
    """Add the release of a finished build, with the schemas of the release before it."""
    given = {"integration_id": integration_id, "name": tag, "tag": tag, "created_date": date}
    for before in store.releases_of(integration_id)[-1:]:
        given |= {"config_schema": before.config_schema, "metadata_schema": before.metadata_schema}
    release = add_release(store, ReleaseArguments.model_validate(given))
    branch = branch or store.integrations[integration_id].repository_tracking_branch
    store.releases[release.id] = replace(release, repository_tracking_branch=branch)
    return store.releases[release.id]


def add_tenant(store: Store, given: TenantArguments) -> Tenant:
    """Add a tenant in any state."""
    key = _next_id(store.tenants, given.id)
    refuse_if(*integration_problems(store, given.integration_id))
    date = given.created_date or store.clock.wall()
    data = given.metadata
    tenant = Tenant(
        id=key,
        name=f"tenant-{key}" if given.name is None else given.name,
        created_date=date,
        modified_date=date,
        configs=given.configs or {},
        integration_release_id=given.release_id,
        integration_release_channel=given.release_channel,
        connections=_connections(store, given, date),
        metadata=Metadata() if data is None else Metadata(data, date, date),
        **given.model_dump(include=COPIED),
    )
    tenant = store.validate(tenant)
    if data is not None:
        refuse_if(*data_problems(data, store.release_of(tenant).metadata_schema, "metadata"))
    return store.add(store.tenants, tenant)


def create_tenant(store: Store, fields: Mapping[str, Any]) -> Tenant:
    """Add a tenant as the API does it: paused and unconnected."""
    given = validate(
        TenantArguments, {"integration_id": fields["integration_id"], "connected": False}
    )
    refuse_if(*integration_problems(store, given.integration_id))
    date = store.clock.wall()
    tenant = Tenant(
        id=_next_id(store.tenants, None),
        paused=True,
        created_date=date,
        modified_date=date,
        connections=_connections(store, given, date),
        **fields,
    )
    return store.add(store.tenants, store.validate(tenant))


def integration_problems(store: Store, integration_id: int) -> list[Problem]:
    """Find out whether an integration exists."""
    if integration_id in store.integrations:
        return []
    return [Problem(("integration_id",), "no integration has this id", integration_id)]


def _connections(
    store: Store, given: TenantArguments, date: datetime
) -> tuple[ConnectionRecord, ...]:
    names = [one.name for one in store.integrations[given.integration_id].connectors]
    chosen = given.connected
    if isinstance(chosen, bool):
        chosen = names if chosen else []
    refuse_if(
        *(
            Problem(("connected",), f"the integration has no connector {name!r}", name)
            for name in chosen
            if name not in names
        )
    )
    return tuple(
        ConnectionRecord(name, name in chosen, date if name in chosen else None) for name in names
    )


def _connector(given: str | ConnectorArguments) -> ConnectorRecord:
    if isinstance(given, str):
        return ConnectorRecord(given)
    return ConnectorRecord(given.name, given.is_global)


def _schema_problems(given: IntegrationArguments | ReleaseArguments) -> list[Problem]:
    return [
        *schema_problems("config_schema", given.config_schema),
        *schema_problems("metadata_schema", given.metadata_schema),
    ]


def _next_id(records: dict[int, Any], wanted: int | None) -> int:
    if wanted is None:
        return next(reversed(records), 0) + 1
    refuse_if(*[Problem(("id",), "is taken", wanted)] * (wanted in records))
    return wanted
