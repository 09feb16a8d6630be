"""The command that shows tenants and their runs as they change."""

from __future__ import annotations

import click

from pandium._cli.options import COUNT, ID, SECONDS, Command, formatted

__all__ = ["watch"]


@click.command(cls=Command)
@click.argument("tenants", metavar="[TENANT]...", nargs=-1, type=ID)
@click.option("--integration", "integration_id", type=ID, help="Tenants of this one only.")
@click.option("--every", type=SECONDS, metavar="SECONDS", default=5.0, show_default=True)
@click.option("--count", type=COUNT, help="Look so many times; else until Ctrl-C.")
@formatted
def watch(
    *, tenants: tuple[int, ...], integration_id: int | None, every: float, count: int | None
) -> int:
    """
    Watch tenants and their runs.

    On a terminal it is a table that is drawn anew; elsewhere each change is a line.
    """
    from pandium._cli import watching

    return watching.watch(frozenset(tenants), integration_id, every, count)
