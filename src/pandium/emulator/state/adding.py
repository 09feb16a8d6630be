"""Add records, and set the fields that were omitted."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pandium.emulator.state.errors import Problem, raise_if_any, validate
from pandium.emulator.state.record_models import Integration, Release, Tenant
from pandium.emulator.state.schema_rules import schema_problems
from pandium.emulator.state.scripts import Script
from pandium.emulator.state.store import Store

R = TypeVar("R", Integration, Release, Tenant)


def add_integration(store: Store, given: Integration) -> Integration:
    """Add an integration, without releases."""
    raise_if_any(*_schema_problems(given))
    key = _next_id(store.integrations, given.id)
    integration = _complete(store, given, id=key, name=f"integration-{key}")
    long_name = integration.name.replace("-", " ").title()
    return store.add(store.integrations, integration.with_missing(long_name=long_name))


def add_first_releases(store: Store, integration: Integration) -> None:
    """Add the initial releases of an integration."""
    for number in range(integration.releases):
        is_default = number == 0 and integration.default_release_channel != "Latest"
        release = Release(
            integration_id=integration.id,
            default=is_default,
            config_schema=integration.config_schema,
            metadata_schema=integration.metadata_schema,
            created_date=integration.created_date,
        )
        add_release(store, release)


def add_integration_with_releases(store: Store, given: Integration) -> Integration:
    """Add an integration and its initial releases."""
    integration = add_integration(store, given)
    add_first_releases(store, integration)
    return integration


def add_release(store: Store, given: Release) -> Release:
    """Add a release. A default release replaces the integration's previous default."""
    raise_if_any(*integration_problems(store, given.integration_id), *_schema_problems(given))
    key = _next_id(store.releases, given.id)
    release = _complete(store, given, id=key, name=f"release-{key}")
    if release.default:
        for other in store.releases_of(release.integration_id):
            store.releases[other.id] = other.model_copy(update={"default": False})
    return store.add(store.releases, release)


def add_build(
    store: Store, integration_id: int, tag: str, branch: str | None, date: datetime
) -> Release:
    """Add the release of a finished build, with the schemas of the previous release."""
    before = next(reversed(store.releases_of(integration_id)), None)
    integration = store.integrations[integration_id]
    release = Release(
        integration_id=integration_id,
        name=tag,
        tag=tag,
        created_date=date,
        repository_tracking_branch=branch or integration.repository_tracking_branch,
        config_schema=before.config_schema if before else None,
        metadata_schema=before.metadata_schema if before else None,
    )
    return add_release(store, release)


def add_tenant(store: Store, given: Tenant, *, check_data: bool = True) -> Tenant:
    """
    Add a tenant in any state.

    :param check_data: whether configs and metadata must match the schemas of the release.
    """
    raise_if_any(*integration_problems(store, given.integration_id))
    key = _next_id(store.tenants, given.id)
    tenant = _complete(store, given, id=key, name=f"tenant-{key}")
    tenant = store.validate(tenant, check_data=check_data)
    if "metadata" in given.model_fields_set:
        date = tenant.created_date
        tenant = tenant.with_missing(metadata_created_date=date, metadata_modified_date=date)
        if check_data:
            raise_if_any(*store.metadata_problems(tenant, given.metadata, "metadata"))
    return store.add(store.tenants, tenant)


def create_tenant(store: Store, fields: Mapping[str, Any]) -> Tenant:
    """Add a tenant as the API does: paused and not connected."""
    return add_tenant(store, validate(Tenant, {**fields, "paused": True, "connected": False}))


def integration_problems(store: Store, integration_id: int) -> Iterator[Problem]:
    """Yield a problem if the integration does not exist."""
    if integration_id not in store.integrations:
        yield Problem(("integration_id",), "no integration has this id", integration_id)


def script_problems(store: Store, script: Script) -> Iterator[Problem]:
    """Yield a problem if the tenant or the integration of a script does not exist."""
    if script.tenant is not None and script.tenant not in store.tenants:
        yield Problem(("tenant",), f"there is no tenant {script.tenant}", script.tenant)
    if script.integration is not None and script.integration not in store.integrations:
        msg = f"there is no integration {script.integration}"
        yield Problem(("integration",), msg, script.integration)


def _complete(store: Store, given: R, **values: Any) -> R:
    date = given.created_date if "created_date" in given.model_fields_set else store.now()
    return given.with_missing(created_date=date, modified_date=date, **values)


def _schema_problems(given: Integration | Release) -> Iterator[Problem]:
    yield from schema_problems("config_schema", given.config_schema)
    yield from schema_problems("metadata_schema", given.metadata_schema)


def _next_id(records: dict[int, Any], wanted: int) -> int:
    raise_if_any(*[Problem(("id",), "is taken", wanted)] * (wanted in records))
    return wanted or next(reversed(records), 0) + 1
