"""The `runs` commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pandium._cli.execution import output_json, output_record
from pandium._cli.options import ID, Group, format_option, logs_option, waiting_options

if TYPE_CHECKING:
    from pandium import AsyncPandium, TriggerStatus

__all__ = ["runs"]


@click.group(cls=Group)
def runs() -> None:
    """Wait for runs and read their logs."""


@runs.command("status")
@click.argument("trigger")
@output_record("TriggerStatus")
async def status(client: AsyncPandium, *, trigger: str) -> TriggerStatus:
    """
    Show the status of the run started by a trigger.

    Example: pandium-api runs status 17
    """
    return await client.runs.status(trigger)


@runs.command("find")
@click.argument("trigger")
@click.option(
    "--tenant", "tenant_id", type=ID, required=True, help="The tenant that was synced. Required."
)
@format_option
def find(*, trigger: str, tenant_id: int) -> int:
    """
    Find the run started by a trigger.

    Example: pandium-api runs find 17 --tenant 7
    """
    from pandium._cli import fetching

    return fetching.fetch_found(
        lambda client: client.runs.find(trigger, tenant_id=tenant_id), "Run"
    )


@runs.command("log")
@click.argument("run_id", metavar="RUN", type=ID)
@output_json()
async def log(client: AsyncPandium, *, run_id: int) -> str:
    """
    Print a run's log.

    Example: pandium-api runs log 301
    """
    return await client.runs.log(run_id)


@runs.command("log-url")
@click.argument("run_id", metavar="RUN", type=ID)
@output_json()
async def log_url(client: AsyncPandium, *, run_id: int) -> str:
    """
    Print the URL of a run's log.

    Anyone with the URL can read the log for 15 minutes.

    Example: pandium-api runs log-url 301
    """
    return await client.runs.log_url(run_id)


@runs.command("wait")
@click.argument("triggers", metavar="TRIGGER...", nargs=-1, required=True)
@logs_option
@click.option(
    "--tenant",
    "tenant_ids",
    type=ID,
    multiple=True,
    help="Search the runs of this tenant for the logs. May be repeated. Without it, --logs searches"
    " the runs of all tenants, which can take many requests.",
)
@waiting_options
def wait(*, triggers: tuple[str, ...], has_logs: bool, tenant_ids: tuple[int, ...]) -> int:
    """
    Wait for triggered runs to finish.

    Prints a row for each run as it finishes.

    Example: pandium-api runs wait 17 18 --wait-timeout 600
    """
    if tenant_ids and not has_logs:
        raise click.UsageError("--tenant requires --logs")
    from pandium._cli import run_logs, waits

    logs = run_logs.LogPrinter(tenant_ids) if has_logs else None
    return waits.wait_for_triggers(list(dict.fromkeys(triggers)), logs)
