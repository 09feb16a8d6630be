"""The commands on tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandium._cli.options import (
    COUNT,
    ID,
    MODE,
    Group,
    answers,
    formatted,
    lists,
    read_json,
    read_object,
    read_pair,
    shows,
    waits,
)

if TYPE_CHECKING:
    from pandium import AsyncPandium, Listing, models

__all__ = ["tenants"]

_TENANT = click.argument("tenant_id", metavar="TENANT", type=ID)
_RELEASE = click.option("--release-id", type=ID, help="Or --release-channel.")
_CHANNEL = click.option("--release-channel", metavar="Latest|Default")
_CONFIGS = click.option(
    "--configs", type=read_object, metavar="JSON", help="Or @ and a file of it."
)
_SCHEDULE = click.option("--user-schedule", metavar="CRON")
_SORT = click.option("--sort-by", metavar="FIELD__ASC", help="Or FIELD__DESC.")


def _read_fields(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in map(read_pair, pairs):
        if name in found:
            raise click.BadParameter(f"{name} is given twice")
        found[name] = read_json(value)
    return found


@click.group(cls=Group)
def tenants() -> None:
    """Work with tenants and sync them."""


@tenants.command("list")
@click.option("--integration", "integration_id", type=ID, help="Of this one only.")
@click.option("--user-name", help="Of this user only.")
@click.option("--archived/--not-archived", default=None, help="Archived ones, too or only.")
@_SORT
@lists("Tenant")
def list_(
    client: AsyncPandium,
    *,
    integration_id: int | None,
    user_name: str | None,
    archived: bool | None,
    sort_by: str | None,
) -> Listing[models.Tenant]:
    """List tenants."""
    return client.tenants.list(
        integration_id=integration_id, user_name=user_name, archived=archived, sort_by=sort_by
    )


@tenants.command("create")
@click.argument("name")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@_SCHEDULE
@_RELEASE
@_CHANNEL
@_CONFIGS
@shows("Tenant")
async def create(
    client: AsyncPandium,
    *,
    name: str,
    integration_id: int,
    user_schedule: str | None,
    release_id: int | None,
    release_channel: str | None,
    configs: dict[str, Any] | None,
) -> models.Tenant:
    """Create a tenant, which is paused and not connected."""
    return await client.tenants.create(
        name,
        integration_id,
        user_schedule=user_schedule,
        release_id=release_id,
        release_channel=release_channel,
        configs=configs,
    )


@tenants.command("update")
@_TENANT
@click.option("--name")
@click.option("--paused/--active", default=None)
@_SCHEDULE
@_RELEASE
@_CHANNEL
@_CONFIGS
@click.option(
    "--set",
    "others",
    multiple=True,
    callback=_read_fields,
    metavar="FIELD=JSON",
    help="Any other field.",
)
@formatted
def update(*, tenant_id: int, others: dict[str, Any], **changes: Any) -> int:
    """
    Change some fields of a tenant.

    The vendor names this operation but does not describe it.
    """
    present = {name: value for name, value in changes.items() if value is not None}
    if twice := sorted(present.keys() & others.keys()):
        raise click.UsageError(f"{twice[0]} is given twice")
    if "tenant_id" in others:
        raise click.UsageError("tenant_id is no field that can be changed")
    if not (fields := present | others):
        raise click.UsageError("name at least one field to change")
    from pandium._cli import session

    return session.show(lambda client: client.tenants.update(tenant_id, **fields), "Tenant")


@tenants.command("archive")
@_TENANT
@answers
async def archive(client: AsyncPandium, *, tenant_id: int) -> dict[str, Any]:
    """Archive a tenant; nothing takes that back."""
    return await client.tenants.archive(tenant_id)


@tenants.command("release")
@_TENANT
@shows("Release")
async def release(client: AsyncPandium, *, tenant_id: int) -> models.Release:
    """Show the release that a tenant runs."""
    return await client.tenants.release(tenant_id)


@tenants.command("metadata")
@_TENANT
@shows("TenantMetadata")
async def metadata(client: AsyncPandium, *, tenant_id: int) -> models.TenantMetadata:
    """Show the metadata of a tenant."""
    return await client.tenants.metadata(tenant_id)


@tenants.command("update-metadata")
@_TENANT
@click.argument("data", metavar="JSON", type=read_object)
@shows("TenantMetadata")
async def update_metadata(
    client: AsyncPandium, *, tenant_id: int, data: dict[str, Any]
) -> models.TenantMetadata:
    """Merge JSON, or @ and a file of it, into the metadata of a tenant."""
    return await client.tenants.update_metadata(tenant_id, data)


@tenants.command("runs")
@_TENANT
@_SORT
@lists("Run")
def runs(client: AsyncPandium, *, tenant_id: int, sort_by: str | None) -> Listing[models.Run]:
    """List the runs of a tenant."""
    return client.tenants.runs(tenant_id, sort_by=sort_by)


@tenants.command("sync")
@click.argument("tenant_ids", metavar="[TENANT]...", nargs=-1, type=ID)
@click.option("--integration", "integration_id", type=ID, help="All tenants of it instead.")
@click.option("--mode", type=MODE, default="normal", show_default=True)
@click.option("--payload", type=read_object, metavar="JSON", help="Or @ and a file of it.")
@click.option(
    "--max-concurrency", type=COUNT, default=10, show_default=True, help="Tenants under way."
)
@click.option("--wait", "is_waiting", is_flag=True, help="Wait for the runs, and say how they did.")
@click.option(
    "--journal", type=click.Path(), help="Keep there what was done, to go on after a break."
)
@click.option(
    "--retry-unknown", is_flag=True, help="Ask again where the journal knows of no answer."
)
@waits
def sync(
    *,
    tenant_ids: tuple[int, ...],
    integration_id: int | None,
    mode: str,
    payload: dict[str, Any] | None,
    max_concurrency: int,
    is_waiting: bool,
    journal: str | None,
    retry_unknown: bool,
) -> int:
    """
    Sync tenants.

    Without --wait it writes the triggers, which pandium-api runs wait takes. With --journal, the
    same command goes on where it was broken off, and syncs no tenant twice.
    """
    from pandium._cli import syncs

    if bool(tenant_ids) == (integration_id is not None):
        raise click.UsageError("name some tenants, or an --integration")
    if journal is not None and not is_waiting:
        raise click.UsageError("--journal needs --wait")
    if retry_unknown and journal is None:
        raise click.UsageError("--retry-unknown needs --journal")
    ids = list(dict.fromkeys(tenant_ids))
    wanted = syncs.Wanted(ids, integration_id, mode, payload, max_concurrency)
    if journal is not None:
        return syncs.sync_by_journal(wanted, journal, retry_unknown=retry_unknown)
    return syncs.sync_and_wait(wanted) if is_waiting else syncs.sync(wanted)
