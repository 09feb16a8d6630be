"""The `doctor` command."""

from __future__ import annotations

import click

from pandium._cli.options import Command, format_option

__all__ = ["doctor"]


@click.command(cls=Command)
@click.option(
    "--schema",
    "is_schema",
    is_flag=True,
    help="Compare the API that the service describes in /v2/openapi.json with this client instead.",
)
@format_option
def doctor(*, is_schema: bool) -> int:
    """
    Check the configuration and the connection.

    Shows where the key comes from, which API and which proxy are used, whether the service accepts
    the key, and how far its clock is from the clock of this machine. Never shows the key. The exit
    code is 3 if the configuration is invalid, and 4 if the service does not accept a request.

    With --schema, shows a line for each difference between the service and this client, and what it
    means for you. The exit code is 0 if there is none, and 1 otherwise.

    Example: pandium-api doctor --environment sandbox
    """
    from pandium._cli import diagnosis

    if is_schema:
        return diagnosis.compare_schemas()
    return diagnosis.diagnose()
