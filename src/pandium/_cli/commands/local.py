"""The commands that need no account: the emulator and the demonstration."""

from __future__ import annotations

import click

from pandium._cli.options import COUNT

__all__ = ["demo", "emulator"]


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True}, options_metavar=""
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def emulator(*, arguments: tuple[str, ...]) -> int:
    """Serve a Pandium of your own."""
    from pandium.emulator.__main__ import main

    return main(arguments, program="pandium-api emulator")


@click.command()
@click.option("--tenants", type=COUNT, default=5000, show_default=True)
@click.option("--integrations", type=COUNT, default=8, show_default=True)
@click.option("--syncs", type=COUNT, default=200, show_default=True, help="Of all tenants at most.")
def demo(*, tenants: int, integrations: int, syncs: int) -> int:
    """
    Show the client at work without an account.

    Against an emulator on this machine, it walks all tenants, asks for a sync of some of them,
    and waits for the runs.
    """
    from pandium._cli.demo import Size, run

    return run(Size(tenants, integrations, min(syncs, tenants)))
