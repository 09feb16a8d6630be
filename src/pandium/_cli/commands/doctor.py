"""The `doctor` command."""

from __future__ import annotations

import click

from pandium._cli.options import Command, format_option

__all__ = ["doctor"]


@click.command(cls=Command)
@format_option
def doctor() -> int:
    """
    Check the configuration and the connection.

    Shows where the key comes from, which API and which proxy are used, whether the service accepts
    the key, and how far its clock is from the clock of this machine. Never shows the key. The exit
    code is 3 if the configuration is invalid, and 4 if the service does not accept a request.

    Example: pandium-api doctor --environment sandbox
    """
    from pandium._cli import diagnosis

    return diagnosis.diagnose()
