"""The `builds` commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandium._cli.execution import output_json
from pandium._cli.options import ID, MODE, Group

if TYPE_CHECKING:
    from pandium import AsyncPandium

__all__ = ["builds"]


@click.group(cls=Group)
def builds() -> None:
    """Create builds."""


@builds.command("create")
@click.argument("integration_id", metavar="INTEGRATION", type=ID)
@click.argument("build_tag", metavar="TAG")
@click.option(
    "--mode", type=MODE, default="normal", show_default=True, help="Run mode of the build."
)
@output_json
async def create(client: AsyncPandium, *, integration_id: int, build_tag: str, mode: str) -> Any:
    """
    Create a build of an integration.

    Prints the response as JSON.

    Example: pandium-api builds create 42 v1.4.0
    """
    return await client.builds.create(integration_id, build_tag, mode=mode)
