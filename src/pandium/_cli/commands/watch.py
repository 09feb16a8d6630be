"""The `watch` command, which shows tenants and their runs as they change."""

from __future__ import annotations

import click

from pandium._cli.options import COUNT, ID, SECONDS, Command, format_option

__all__ = ["watch"]


@click.command(cls=Command)
@click.argument("tenants", metavar="[TENANT]...", nargs=-1, type=ID)
@click.option(
    "--integration", "integration_id", type=ID, help="Watch only this integration's tenants."
)
@click.option(
    "--every",
    "interval",
    type=SECONDS,
    metavar="SECONDS",
    default=5.0,
    show_default=True,
    help="Time between polls, in seconds.",
)
@click.option(
    "--count", type=COUNT, help="Stop after this many polls. By default, polls until interrupted."
)
@format_option
def watch(
    *, tenants: tuple[int, ...], integration_id: int | None, interval: float, count: int | None
) -> int:
    """
    Watch tenants and their runs.

    On a terminal, shows a table that is updated in place. Otherwise, prints a row for each change.
    Watches all tenants unless TENANT or --integration is specified.

    Example: pandium-api watch --integration 42 --every 10
    """
    from pandium._cli import watching

    return watching.watch(frozenset(tenants), integration_id, interval, count)
