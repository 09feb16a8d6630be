"""The commands on runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pandium._cli.options import ID, Group, answers, shows, waits

if TYPE_CHECKING:
    from pandium import AsyncPandium, TriggerStatus

__all__ = ["runs"]


@click.group(cls=Group)
def runs() -> None:
    """Wait for runs and read their logs."""


@runs.command("status")
@click.argument("trigger")
@shows("TriggerStatus")
async def status(client: AsyncPandium, *, trigger: str) -> TriggerStatus:
    """Look once at the run of a trigger."""
    return await client.runs.status(trigger)


@runs.command("log")
@click.argument("run_id", metavar="RUN", type=ID)
@answers
async def log(client: AsyncPandium, *, run_id: int) -> str:
    """Write the log of a run."""
    return await client.runs.log(run_id)


@runs.command("log-url")
@click.argument("run_id", metavar="RUN", type=ID)
@answers
async def log_url(client: AsyncPandium, *, run_id: int) -> str:
    """Write the URL of a run's log: whoever has it can read the log, for a quarter of an hour."""
    return await client.runs.log_url(run_id)


@runs.command("wait")
@click.argument("triggers", metavar="TRIGGER...", nargs=-1, required=True)
@waits
def wait(*, triggers: tuple[str, ...]) -> int:
    """Wait until runs have ended, and write how each of them did."""
    from pandium._cli import follow

    return follow.wait(list(dict.fromkeys(triggers)))
