"""The `releases` commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pandium._cli.execution import output_record
from pandium._cli.options import ID, Group

if TYPE_CHECKING:
    from pandium import AsyncPandium
    from pandium.models import Release

__all__ = ["releases"]


@click.group(cls=Group)
def releases() -> None:
    """Show integration releases."""


@releases.command("list")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@output_record("Release")
async def list_(client: AsyncPandium, *, integration_id: int) -> list[Release]:
    """
    List the releases of an integration.

    Example: pandium-api releases list 42
    """
    return await client.releases.list(integration_id)


@releases.command("get")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@click.argument("release_id", metavar="RELEASE", type=ID)
@output_record("Release")
async def get(client: AsyncPandium, *, integration_id: int, release_id: int) -> Release:
    """
    Show a release.

    Example: pandium-api releases get 42 7
    """
    return await client.releases.get(integration_id, release_id)


@releases.command("default")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@output_record("Release")
async def default(client: AsyncPandium, *, integration_id: int) -> Release:
    """
    Show the default release of an integration.

    Example: pandium-api releases default 42
    """
    return await client.releases.default(integration_id)


@releases.command("latest")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@output_record("Release")
async def latest(client: AsyncPandium, *, integration_id: int) -> Release:
    """
    Show the latest release of an integration.

    Example: pandium-api releases latest 42
    """
    return await client.releases.latest(integration_id)
