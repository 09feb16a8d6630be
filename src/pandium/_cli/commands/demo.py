"""The `demo` command, which does not require an account."""

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
    help="Number of tenants to sync. Capped at --tenants.",
)
def demo(*, tenants: int, integrations: int, syncs: int) -> int:
    """
    Try the client without an account.

    Starts a local emulator, lists its tenants, syncs some of them and waits for the runs to
    finish.

    Example: pandium-api demo --tenants 1000 --syncs 50
    """
    from pandium._cli.demo import Size, run

    return run(Size(tenants, integrations, min(syncs, tenants)))
