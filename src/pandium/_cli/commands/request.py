"""The command for endpoints that no other command knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandium._cli.options import Command, answers, read_json, read_pairs

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
    help="In the query.",
)
@click.option("--header", "headers", multiple=True, callback=read_pairs, metavar="NAME=VALUE")
@click.option("--json", type=read_json, metavar="JSON", help="The body, or @ and a file of it.")
@answers
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
    Send any request.

    What it writes is the JSON of the answer. PATH begins with a slash, such as /v2/tenants.
    """
    return await client.request(method, path, params=params, headers=headers, json=json)
