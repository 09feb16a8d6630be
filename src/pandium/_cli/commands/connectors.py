"""The commands that speak to other systems through a tenant's connectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandium._cli.options import ID, Group, answers, read_object, read_pairs, read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium import AsyncPandium

__all__ = ["connectors"]


@click.group(cls=Group)
def connectors() -> None:
    """Call other systems as a tenant."""


def _target(method: str) -> Callable[[Any], Any]:
    """Add what all three kinds of calls have in common."""
    decorators = (
        click.option("--query", "query_params", multiple=True, callback=read_pairs,
                     metavar="NAME=VALUE", help="In the query of the URL."),
        click.option("--header", "headers", multiple=True, callback=read_pairs,
                     metavar="NAME=VALUE"),
        click.option("-X", "--method", default=method, show_default=True),
        click.argument("target_url", metavar="URL"),
        click.argument("connector"),
        click.argument("tenant_id", metavar="TENANT", type=ID),
    )  # fmt: skip

    def decorate(work: Any) -> Any:
        for add in decorators:
            work = add(work)
        return work

    return decorate


@connectors.command("call")
@_target("GET")
@click.option("--body", type=read_object, metavar="JSON", help="Or @ and a file of it.")
@answers
async def call(
    client: AsyncPandium,
    *,
    tenant_id: int,
    connector: str,
    target_url: str,
    method: str,
    headers: dict[str, Any] | None,
    query_params: dict[str, Any] | None,
    body: dict[str, Any] | None,
) -> Any:
    """Call a REST endpoint, and write the data that it answers."""
    return await client.connectors.call(
        tenant_id,
        connector,
        method=method,
        target_url=target_url,
        headers=headers,
        query_params=query_params,
        body=body,
    )


@connectors.command("soap")
@_target("POST")
@click.option("--data", type=read_text, metavar="TEXT", help="The envelope, or @ and a file of it.")
@answers
async def soap(
    client: AsyncPandium,
    *,
    tenant_id: int,
    connector: str,
    target_url: str,
    method: str,
    headers: dict[str, Any] | None,
    query_params: dict[str, Any] | None,
    data: str | None,
) -> Any:
    """Call a SOAP endpoint, and write the data that it answers."""
    return await client.connectors.soap(
        tenant_id,
        connector,
        method=method,
        target_url=target_url,
        headers=headers,
        query_params=query_params,
        data=data,
    )


@connectors.command("xml")
@_target("POST")
@click.option("--data", type=read_text, metavar="TEXT", help="The document, or @ and a file of it.")
@answers
async def xml(
    client: AsyncPandium,
    *,
    tenant_id: int,
    connector: str,
    target_url: str,
    method: str,
    headers: dict[str, Any] | None,
    query_params: dict[str, Any] | None,
    data: str | None,
) -> Any:
    """Call an XML endpoint, and write the data that it answers."""
    return await client.connectors.xml(
        tenant_id,
        connector,
        method=method,
        target_url=target_url,
        headers=headers,
        query_params=query_params,
        data=data,
    )


@connectors.command("disconnect")
@click.argument("tenant_id", metavar="TENANT", type=ID)
@click.argument("connector")
@answers
async def disconnect(client: AsyncPandium, *, tenant_id: int, connector: str) -> Any:
    """End a tenant's connection to a system."""
    return await client.connectors.disconnect(tenant_id, connector)
