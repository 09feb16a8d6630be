"""The `tenants` commands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pandium._cli.execution import output_json, output_listing, output_record
from pandium._cli.options import (
    COUNT,
    ID,
    MODE,
    Group,
    format_option,
    logs_option,
    read_json,
    read_object,
    read_pair,
    waiting_options,
)

if TYPE_CHECKING:
    from pandium import AsyncPandium, Listing, models

__all__ = ["tenants"]

_TENANT = click.argument("tenant_id", metavar="TENANT", type=ID)
_RELEASE = click.option(
    "--release-id",
    type=ID,
    help="Run this release. Cannot be combined with --release-channel.",
)
_CHANNEL = click.option(
    "--release-channel",
    metavar="Latest|Default",
    help="Run the release in this channel. Cannot be combined with --release-id.",
)
_CONFIGS = click.option(
    "--configs",
    type=read_object,
    metavar="JSON",
    help="Configuration of the tenant: a JSON object, @FILE, or @- for standard input.",
)
_SCHEDULE = click.option(
    "--user-schedule",
    metavar="CRON",
    help='Sync on the schedule given by this cron expression, such as "0 6 * * *".',
)
_SORT = click.option(
    "--sort-by",
    metavar="FIELD__ASC|FIELD__DESC",
    help="Sort by a field, in ascending or descending order. Uses the API's order by default.",
)


def _read_fields(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in map(read_pair, pairs):
        if name in fields:
            raise click.BadParameter(f"{name} was specified twice")
        fields[name] = read_json(value)
    return fields


def _confirm_archiving(context: click.Context, _: click.Parameter, is_confirmed: bool) -> None:  # noqa: FBT001 - click passes it by position
    if is_confirmed or context.resilient_parsing or sys.stdin is None or not sys.stdin.isatty():
        return
    tenant_id = context.params["tenant_id"]
    if not click.confirm(f"Archive tenant {tenant_id}? This cannot be undone.", err=True):
        raise click.UsageError("the tenant was not archived")


@click.group(cls=Group)
def tenants() -> None:
    """Manage and sync tenants."""


@tenants.command("list")
@click.option(
    "--integration", "integration_id", type=ID, help="List only this integration's tenants."
)
@click.option("--user-name", help="List only this user's tenants.")
@click.option(
    "--archived/--not-archived",
    default=None,
    help="Filter tenants by whether they are archived. No filter is sent by default.",
)
@_SORT
@output_listing("Tenant")
def list_(
    client: AsyncPandium,
    *,
    integration_id: int | None,
    user_name: str | None,
    archived: bool | None,
    sort_by: str | None,
) -> Listing[models.Tenant]:
    """
    List tenants.

    Example: pandium-api tenants list --integration 42 --all
    """
    return client.tenants.list(
        integration_id=integration_id, user_name=user_name, archived=archived, sort_by=sort_by
    )


@tenants.command("find")
@click.argument("tenant_id", metavar="[TENANT]", required=False, type=ID)
@click.option("--name", help="Find the tenant with this name.")
@click.option("--integration", "integration_id", type=ID, help="Search only this integration.")
@format_option
def find(*, tenant_id: int | None, name: str | None, integration_id: int | None) -> int:
    """
    Find a tenant by id or by name.

    Example: pandium-api tenants find --name acme --integration 42
    """
    if tenant_id is None and name is None:
        raise click.UsageError("specify a tenant id or --name")
    from pandium._cli import fetching

    return fetching.fetch_found(
        lambda client: client.tenants.find(tenant_id, name=name, integration_id=integration_id),
        "Tenant",
    )


@tenants.command("create")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@click.argument("name")
@_SCHEDULE
@_RELEASE
@_CHANNEL
@_CONFIGS
@output_record("Tenant", is_write=True)
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
    """
    Create a tenant.

    The new tenant is paused, and none of its connectors are connected.

    Example: pandium-api tenants create 42 acme --release-channel Default
    """
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
@click.option("--name", help="Rename the tenant.")
@click.option(
    "--paused/--active", default=None, help="Pause or resume the tenant's scheduled syncs."
)
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
    help="Set another field to a JSON value. May be repeated.",
)
@format_option
def update(*, tenant_id: int, others: dict[str, Any], **changes: Any) -> int:
    """
    Update a tenant.

    Fields that are not specified keep their values. The API reference does not document this
    operation.

    Example: pandium-api tenants update 7 --paused --set archived=false
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if duplicates := sorted(given.keys() & others.keys()):
        raise click.UsageError(f"{duplicates[0]} was specified twice")
    if reserved := sorted({"self", "tenant_id"} & others.keys()):  # arguments of the method
        raise click.UsageError(f"{reserved[0]} cannot be changed")
    if not (fields := given | others):
        raise click.UsageError("specify at least one field to change")
    from pandium._cli import fetching

    return fetching.fetch_record(
        lambda client: client.tenants.update(tenant_id, **fields), "Tenant", is_write=True
    )


@tenants.command("archive")
@_TENANT
@click.option(
    "--yes",
    callback=_confirm_archiving,
    expose_value=False,
    is_flag=True,
    help="Do not ask for confirmation. Without a terminal, nothing is asked.",
)
@output_json(is_write=True)
async def archive(client: AsyncPandium, *, tenant_id: int) -> dict[str, Any]:
    """
    Archive a tenant.

    This cannot be undone. On a terminal, asks for confirmation first. Prints the response.

    Example: pandium-api tenants archive 7
    """
    return await client.tenants.archive(tenant_id)


@tenants.command("release")
@_TENANT
@output_record("Release")
async def release(client: AsyncPandium, *, tenant_id: int) -> models.Release:
    """
    Show the release a tenant is running.

    Example: pandium-api tenants release 7
    """
    return await client.tenants.release(tenant_id)


@tenants.command("metadata")
@_TENANT
@output_record("TenantMetadata")
async def metadata(client: AsyncPandium, *, tenant_id: int) -> models.TenantMetadata:
    """
    Show a tenant's metadata.

    Example: pandium-api tenants metadata 7
    """
    return await client.tenants.metadata(tenant_id)


@tenants.command("update-metadata")
@_TENANT
@click.argument("data", metavar="JSON", type=read_object)
@output_record("TenantMetadata", is_write=True)
async def update_metadata(
    client: AsyncPandium, *, tenant_id: int, data: dict[str, Any]
) -> models.TenantMetadata:
    """
    Merge data into a tenant's metadata and show the result.

    Pass the data as a JSON object, @FILE, or @- for standard input.

    Example: pandium-api tenants update-metadata 7 '{"last_page": 3}'
    """
    return await client.tenants.update_metadata(tenant_id, data)


@tenants.command("runs")
@_TENANT
@_SORT
@output_listing("Run")
def runs(client: AsyncPandium, *, tenant_id: int, sort_by: str | None) -> Listing[models.Run]:
    """
    List a tenant's runs.

    Example: pandium-api tenants runs 7 --limit 10
    """
    return client.tenants.runs(tenant_id, sort_by=sort_by)


@tenants.command("sync")
@click.argument("tenant_ids", metavar="[TENANT]...", nargs=-1, type=ID)
@click.option(
    "--integration",
    "integration_id",
    type=ID,
    help="Sync all tenants of this integration. Cannot be combined with TENANT.",
)
@click.option(
    "--mode", type=MODE, default="normal", show_default=True, help="Run mode of the syncs."
)
@click.option(
    "--payload",
    type=read_object,
    metavar="JSON",
    help="Data to pass to the runs: a JSON object, @FILE, or @- for standard input.",
)
@click.option(
    "--max-concurrency",
    type=COUNT,
    default=10,
    show_default=True,
    help="Maximum number of tenants to sync at the same time. With --wait, a tenant counts"
    " until its run has ended.",
)
@click.option(
    "--wait",
    "is_waiting",
    is_flag=True,
    help="Wait for the runs to finish and report their outcomes.",
)
@click.option(
    "--journal",
    metavar="FILE|URL",
    help="Record progress in this file, which is created if necessary, or in this PostgreSQL"
    " database, so that an interrupted job can be resumed and"
    " processes can share it. Requires --wait.",
)
@click.option("--job", metavar="NAME", help="Name of the job in a PostgreSQL journal.")
@click.option(
    "--accept-failover",
    is_flag=True,
    help="Continue a job although the PostgreSQL server has failed over. If the new server lacks"
    " the last transactions, tenants may be synced twice.",
)
@click.option(
    "--retry-unknown",
    is_flag=True,
    help="Retry syncs whose outcome is unknown. May sync a tenant twice. Requires --journal.",
)
@logs_option
@waiting_options
def sync(
    *,
    tenant_ids: tuple[int, ...],
    integration_id: int | None,
    mode: str,
    payload: dict[str, Any] | None,
    max_concurrency: int,
    is_waiting: bool,
    journal: str | None,
    job: str | None,
    accept_failover: bool,
    retry_unknown: bool,
    has_logs: bool,
) -> int:
    """
    Sync tenants.

    Without --wait, prints the trigger of each sync, which can be passed to pandium-api runs wait.
    With --wait, prints a row for each run as it finishes. To resume an interrupted job that used
    --journal, run the same command again. No tenant is synced twice. Commands that use the same
    PostgreSQL journal and --job share the work, on any number of hosts.

    Example: pandium-api tenants sync --integration 42 --wait --journal sync.db
    """
    from pandium._cli import journals, syncs

    if bool(tenant_ids) == (integration_id is not None):
        raise click.UsageError("specify either tenant ids or --integration")
    if journal is not None and not is_waiting:
        raise click.UsageError("--journal requires --wait")
    opened = journals.open_journal(journal, job, accept_failover=accept_failover)
    if retry_unknown and journal is None:
        raise click.UsageError("--retry-unknown requires --journal")
    if has_logs and not is_waiting:
        raise click.UsageError("--logs requires --wait")
    unique_ids = list(dict.fromkeys(tenant_ids))
    selection = syncs.SyncSelection(unique_ids, integration_id, mode, payload, max_concurrency)
    if not is_waiting:
        return syncs.sync(selection)
    from pandium._cli import run_logs

    logs = run_logs.LogPrinter() if has_logs else None
    option = None if journal is None else journals.resume_option(journal, job)
    return syncs.sync_and_wait(selection, opened, option, retry_unknown=retry_unknown, logs=logs)
