"""The `mcp` command."""

from __future__ import annotations

import click

from pandium._cli.options import Command

__all__ = ["mcp"]


@click.command(cls=Command)
@click.option(
    "--allow-writes",
    is_flag=True,
    help="Also offer the tools that change something: sync_tenant and create_build.",
)
def mcp(*, allow_writes: bool) -> int:
    """
    Offer the API as tools to AI agents.

    Starts a server for the Model Context Protocol on standard input and output. An agent starts it
    by itself. The tools only read, unless --allow-writes is given. They use the sandbox, unless an
    option, PANDIUM_ENV, PANDIUM_BASE_URL or the profile selects another API.

    Example: pandium-api mcp --environment production --key-file pandium.key
    """
    from pandium._cli.serving import serve_tools

    return serve_tools(allow_writes=allow_writes)
