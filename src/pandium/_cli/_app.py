"""The commands and their options; each command loads what it needs when it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import App, CycloptsError, Parameter, validators

from pandium._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "run"]

_USAGE = 2  # by convention: the command line was wrong
_Count: TypeAlias = Annotated[int, Parameter(validator=validators.Number(gte=1))]

app = App(
    name="pandium-api",
    help="Work with the Pandium API.",
    version=__version__,
    result_action="return_int_as_exit_code_else_zero",
    suppress_keyboard_interrupt=False,
)


def run(arguments: Sequence[str]) -> int:
    """Run a command line, and give the exit code."""
    try:
        code: int = app(arguments, exit_on_error=False)
    except CycloptsError:
        return _USAGE
    return code


@app.command
def demo(*, tenants: _Count = 5000, integrations: _Count = 8, syncs: _Count = 200) -> int:
    """
    Show the client at work against an emulator on this machine; no account is needed.

    It walks all tenants, asks for a sync of some of them, and waits for the runs.

    Parameters
    ----------
    tenants
        How many tenants the emulator holds.
    integrations
        How many integrations they are spread over.
    syncs
        How many tenants to sync; at most all of them.
    """
    # Only this command needs the emulator.
    from pandium._cli import _demo  # noqa: PLC0415

    return _demo.run(_demo.Size(tenants, integrations, min(syncs, tenants)))
