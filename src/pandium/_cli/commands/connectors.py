"""The `connectors` commands, which call external systems through a tenant's connectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandium._cli.execution import output_json
from pandium._cli.options import ID, Group, read_object, read_pairs, read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium import AsyncPandium

__all__ = ["connectors"]


@click.group(cls=Group)
def connectors() -> None:
    """Call external systems through a tenant's connectors."""


def _target(method: str) -> Callable[[Any], Any]:
    """Return a decorator that adds the arguments and options shared by all calls."""
    decorators = (
        click.option("--query", "query_params", multiple=True, callback=read_pairs,
                     metavar="NAME=VALUE", help="Add a query parameter. May be repeated."),
        click.option("--header", "headers", multiple=True, callback=read_pairs,
                     metavar="NAME=VALUE", help="Add a header. May be repeated."),
        click.option("-X", "--method", default=method, show_default=True,
                     help="HTTP method of the request to the external system."),
        click.argument("target_url", metavar="URL"),
        click.argument("connector"),
        click.argument("tenant_id", metavar="TENANT", type=ID),
    )  # fmt: skip

    def decorate(function: Any) -> Any:
        for add in decorators:
            function = add(function)
        return function

    return decorate


@connectors.command("call")
@_target("GET")
@click.option(
    "--body",
    type=read_object,
    metavar="JSON",
    help="Request body: a JSON object, @FILE, or @- for standard input. No body by default.",
)
@output_json(is_write=True)
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
    """
    Call a REST endpoint and print the response data.

    Example: pandium-api connectors call 7 crm https://api.example.com/contacts
    """
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
@click.option(
    "--data",
    type=read_text,
    metavar="TEXT",
    help="Request body: a SOAP envelope, @FILE, or @- for standard input. No body by default.",
)
@output_json(is_write=True)
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
    """
    Call a SOAP endpoint and print the response data.

    Example: pandium-api connectors soap 7 crm https://crm.example --data "<a/>"
    """
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
@click.option(
    "--data",
    type=read_text,
    metavar="TEXT",
    help="Request body: an XML document, @FILE, or @- for standard input. No body by default.",
)
@output_json(is_write=True)
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
    """
    Call an XML endpoint and print the response data.

    Example: pandium-api connectors xml 7 crm https://crm.example --data "<a/>"
    """
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
@output_json(is_write=True)
async def disconnect(client: AsyncPandium, *, tenant_id: int, connector: str) -> Any:
    """
    Disconnect a tenant from a connector.

    Prints the response.

    Example: pandium-api connectors disconnect 7 crm
    """
    return await client.connectors.disconnect(tenant_id, connector)
