"""The `demo` command, which needs no account."""

from __future__ import annotations

import click

from pandium._cli.options import COUNT

__all__ = ["demo"]


@click.command()
@click.option(
    "--tenants", type=COUNT, default=5000, show_default=True, help="Number of tenants to create."
)
@click.option(
    "--integrations",
    type=COUNT,
    default=8,
    show_default=True,
    help="Number of integrations to create.",
)
@click.option(
    "--syncs",
    type=COUNT,
    default=200,
    show_default=True,
    help="Number of tenants to sync, at most all of them.",
)
def demo(*, tenants: int, integrations: int, syncs: int) -> int:
    """
    Show the client at work without an account.

    Starts an emulator on this machine, lists all its tenants, syncs some of them and waits for
    their runs.

    Example: pandium-api demo --tenants 1000 --syncs 50
    """
    from pandium._cli.demo import Size, run

    return run(Size(tenants, integrations, min(syncs, tenants)))
