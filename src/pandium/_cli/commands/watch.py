"""The `watch` command, which shows tenants and their runs as they change."""

from __future__ import annotations

import click

from pandium._cli.options import COUNT, ID, SECONDS, Command, format_option

__all__ = ["watch"]


@click.command(cls=Command)
@click.argument("tenants", metavar="[TENANT]...", nargs=-1, type=ID)
@click.option(
    "--integration", "integration_id", type=ID, help="Watch the tenants of this integration only."
)
@click.option(
    "--every",
    "interval",
    type=SECONDS,
    metavar="SECONDS",
    default=5.0,
    show_default=True,
    help="Seconds between two polls.",
)
@click.option("--count", type=COUNT, help="Number of polls. By default, polls until Ctrl-C.")
@format_option
def watch(
    *, tenants: tuple[int, ...], integration_id: int | None, interval: float, count: int | None
) -> int:
    """
    Watch tenants and their runs.

    On a terminal, shows a table that is updated in place. In a pipe or a file, writes a row for
    each change. Without TENANT and --integration, watches all tenants.

    Example: pandium-api watch --integration 42 --every 10
    """
    from pandium._cli import watching

    return watching.watch(frozenset(tenants), integration_id, interval, count)
