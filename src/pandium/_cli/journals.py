"""Show what a journal holds."""

from __future__ import annotations

import sys
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pandium._bulk.summary import read_summary
from pandium._cli.output.rows import write_json, write_text
from pandium._cli.output.terminal import note
from pandium._cli.session import run_coroutine
from pandium._clock import RealClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandium._bulk.summary import JournalSummary, LeaseHolder

__all__ = ["note_resumption", "show"]

_WORDS = {
    "sending": "being sent",
    "triggered": "waiting for their runs",
    "succeeded": "succeeded",
    "failed": "failed",
    "unknown": "with an unknown outcome",
}


def show(path: str, output_format: str) -> int:
    """
    Print a summary of a journal.

    :param path: the path of the journal's file.
    :param output_format: ``table`` or ``json``.
    :returns: the exit code.
    """
    summary = run_coroutine(read_summary, Path(path), RealClock())
    if output_format == "json":
        write_json(attrs.asdict(summary), sys.stdout)
    else:
        write_text("\n".join(_describe(summary)), sys.stdout)
    return 0


async def note_resumption(path: str) -> None:
    """
    Print what an existing journal knows about an interrupted job, and how long to wait for it.

    :param path: the path of the journal's file. If it does not exist, nothing is printed.
    """
    file = Path(path)
    if _is_new(file):
        return
    summary = await read_summary(file, RealClock())
    counts = [f"{number} {_WORDS[state]}" for state, number in summary.states.items() if number]
    if counts:
        note(f"resuming journal {path}: {', '.join(counts)}")
    held = [holder for holder in summary.owners if holder.owner and holder.seconds_left > 0]
    if held:
        tenants = sum(holder.tenants for holder in held)
        seconds = ceil(max(holder.seconds_left for holder in held))
        note(
            f"{tenants} of them belong to another process. If it was killed, its lease expires in"
            f" {seconds} s, and this command continues with them"
        )


def _is_new(file: Path) -> bool:
    return not file.is_file() or not file.stat().st_size


def _describe(summary: JournalSummary) -> Iterator[str]:
    fields = {**summary.job, **summary.states, "total": sum(summary.states.values())}
    width = max(map(len, fields))
    yield from (f"{name:<{width}}  {value}" for name, value in fields.items())
    yield from map(_describe_owner, summary.owners)
    yield from (f"unknown: tenant {one.tenant_id}, {one.reason}" for one in summary.unknown)


def _describe_owner(holder: LeaseHolder) -> str:
    if not holder.owner:
        return f"in progress: {holder.tenants} tenants, released by their worker"
    left = holder.seconds_left
    lease = f"lease expires in {left:.0f} s" if left > 0 else "lease has expired"
    return f"in progress: {holder.tenants} tenants of worker {holder.owner}, {lease}"
