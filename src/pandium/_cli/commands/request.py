"""The `request` command, for endpoints without a dedicated command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandium._cli.execution import output_json
from pandium._cli.options import Command, read_json, read_pairs

if TYPE_CHECKING:
    from pandium import AsyncPandium

__all__ = ["request"]


@click.command(cls=Command)
@click.argument("method")
@click.argument("path")
@click.option(
    "--param",
    "params",
    multiple=True,
    callback=read_pairs,
    metavar="NAME=VALUE",
    help="Add a query parameter. May be repeated.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    callback=read_pairs,
    metavar="NAME=VALUE",
    help="Add a header. May be repeated.",
)
@click.option(
    "--json",
    type=read_json,
    metavar="JSON",
    help="Request body: JSON, @FILE, or @- for standard input. No body by default.",
)
@output_json(is_write=True)
async def request(
    client: AsyncPandium,
    *,
    method: str,
    path: str,
    params: dict[str, Any] | None,
    headers: dict[str, str] | None,
    json: Any,
) -> Any:
    """
    Send a request to any API endpoint.

    PATH must begin with a slash. Prints the response.

    Example: pandium-api request GET /v2/tenants --param limit=1
    """
    return await client.request(method, path, params=params, headers=headers, json=json)
