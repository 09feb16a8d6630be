"""The `emulator` command, which passes its arguments to `python -m pandium.emulator`."""

from __future__ import annotations

import click

from pandium._cli.options import as_path

__all__ = ["emulator"]


# The emulator parses its own options, including --help.
@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True}, options_metavar=""
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def emulator(*, arguments: tuple[str, ...]) -> int:
    """Run an emulator of the Pandium API."""
    from pandium.emulator.__main__ import main

    try:
        return main([as_path(argument) for argument in arguments], program="pandium-api emulator")
    except SystemExit as error:  # of argparse, for example after --help
        return int(error.code or 0)
