"""The `integrations` commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandium._cli.execution import output_listing, output_record
from pandium._cli.options import ID, MODE, Group, read_object

if TYPE_CHECKING:
    from pandium import AsyncPandium, Listing, Trigger
    from pandium.models import Integration

__all__ = ["integrations"]


@click.group(cls=Group)
def integrations() -> None:
    """List integrations and sync their tenants."""


@integrations.command("list")
@click.option(
    "--archived/--not-archived",
    default=None,
    help="Filter integrations by whether they are archived. No filter is sent by default.",
)
@click.option(
    "--sort-by",
    metavar="FIELD__ASC|FIELD__DESC",
    help="Sort by a field, in ascending or descending order. Uses the API's order by default.",
)
@output_listing("Integration")
def list_(
    client: AsyncPandium, *, archived: bool | None, sort_by: str | None
) -> Listing[Integration]:
    """
    List integrations.

    Example: pandium-api integrations list --sort-by name__ASC
    """
    return client.integrations.list(archived=archived, sort_by=sort_by)


@integrations.command("get")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@output_record("Integration")
async def get(client: AsyncPandium, *, integration_id: int) -> Integration:
    """
    Show an integration.

    Example: pandium-api integrations get 42 --format json
    """
    return await client.integrations.get(integration_id)


@integrations.command("sync")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@click.option("--user-name", required=True, help="Name of the user who installed the tenant.")
@click.option(
    "--mode", type=MODE, default="normal", show_default=True, help="Run mode of the sync."
)
@click.option(
    "--payload",
    type=read_object,
    metavar="JSON",
    help="Data to pass to the run: a JSON object, @FILE, or @- for standard input.",
)
@output_record("Trigger", is_write=True)
async def sync(
    client: AsyncPandium,
    *,
    integration_id: int,
    user_name: str,
    mode: str,
    payload: dict[str, Any] | None,
) -> Trigger:
    """
    Sync the tenant that a user installed.

    Prints the trigger. To wait for its run, use pandium-api runs wait TRIGGER.

    Example: pandium-api integrations sync 42 --user-name ann
    """
    return await client.integrations.sync(
        integration_id, user_name=user_name, mode=mode, payload=payload
    )
