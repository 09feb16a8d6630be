"""The `journal` commands."""

from __future__ import annotations

import click

__all__ = ["journal"]


@click.group()
def journal() -> None:
    """Inspect the journals of bulk syncs."""


@journal.command("show", cls=click.Command)
@click.argument("journal", metavar="FILE|URL")
@click.option("--job", metavar="NAME", help="Name of the job in a PostgreSQL journal.")
@click.option(
    "-f",
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    default="table",
    help="Output format: a line per field (table), a JSON object, a JSON object on one line, or a"
    " row of CSV with a column per field. [default: table]",
)
@click.option(
    "--failed",
    "only_failed",
    is_flag=True,
    help="Print only the tenants whose runs failed, as a table, a JSON array, a JSON object per"
    " line, or CSV.",
)
def show(*, journal: str, job: str | None, output_format: str, only_failed: bool) -> int:
    """
    Show what a journal holds.

    Pass the file or the URL that --journal had.

    Prints the job, the number of tenants in each state, the workers that have tenants in progress,
    the tenants whose runs failed, and the tenants that may or may not have been synced.

    Example: pandium-api journal show sync.db --failed
    """
    from pandium._cli import journals

    return journals.show(journal, job, output_format, only_failed=only_failed)
