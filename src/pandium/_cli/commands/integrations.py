"""The commands on integrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandium._cli.options import ID, MODE, Group, lists, read_object, shows

if TYPE_CHECKING:
    from pandium import AsyncPandium, Listing, Trigger
    from pandium.models import Integration

__all__ = ["integrations"]


@click.group(cls=Group)
def integrations() -> None:
    """Look at integrations and sync them."""


@integrations.command("list")
@click.option("--archived/--not-archived", default=None, help="Archived ones, too or only.")
@click.option("--sort-by", metavar="FIELD__ASC", help="Or FIELD__DESC.")
@lists("Integration")
def list_(
    client: AsyncPandium, *, archived: bool | None, sort_by: str | None
) -> Listing[Integration]:
    """List integrations."""
    return client.integrations.list(archived=archived, sort_by=sort_by)


@integrations.command("get")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@shows("Integration")
async def get(client: AsyncPandium, *, integration_id: int) -> Integration:
    """Show an integration."""
    return await client.integrations.get(integration_id)


@integrations.command("sync")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@click.option("--user-name", required=True, help="The user who installed the tenant.")
@click.option("--mode", type=MODE, default="normal", show_default=True)
@click.option("--payload", type=read_object, metavar="JSON", help="Or @ and a file of it.")
@shows("Trigger")
async def sync(
    client: AsyncPandium,
    *,
    integration_id: int,
    user_name: str,
    mode: str,
    payload: dict[str, Any] | None,
) -> Trigger:
    """
    Sync the tenant that a user has installed.

    What it shows is the trigger; pandium-api runs wait TRIGGER waits for its run.
    """
    return await client.integrations.sync(
        integration_id, user_name=user_name, mode=mode, payload=payload
    )
