"""Open the journals that options name, and show what a journal holds."""

from __future__ import annotations

import re
import shlex
import sys
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs
import click

from pandium._bulk.summary import read_summary
from pandium._cli.options import as_path
from pandium._cli.output.records import FailedRow
from pandium._cli.output.rows import create_writer, write_data, write_text
from pandium._cli.output.terminal import note
from pandium._cli.session import run_coroutine
from pandium._clock import RealClock
from pandium._validation import validate_journal_path
from pandium.postgres import PostgresJournal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandium._bulk.summary import JournalSummary, LeaseHolder

__all__ = ["note_resumption", "open_journal", "resume_option", "show"]

_WORDS = {
    "sending": "being sent",
    "triggered": "waiting for their runs",
    "succeeded": "succeeded",
    "failed": "failed",
    "unknown": "with an unknown outcome",
}
_SCHEMES = ("postgresql://", "postgres://")
_USER_PASSWORD = re.compile(r"^(\w+://[^:@/]*):[^@/]*@")


def open_journal(
    journal: str | None, job: str | None, *, accept_failover: bool = False
) -> str | PostgresJournal | None:
    """
    Return the journal to pass to ``sync_all``.

    :param journal: a file or a PostgreSQL URL, or ``None`` to run without a journal.
    :param job: the name of the job, which a PostgreSQL URL requires and a file does not have.
    :param accept_failover: whether to continue the job on another server.
    """
    is_url = journal is not None and journal.startswith(_SCHEMES)
    if journal is None or not is_url:
        if job is not None or accept_failover:
            option = "--accept-failover" if job is None else "--job"
            raise click.UsageError(f"{option} requires the URL of a PostgreSQL journal")
        return None if journal is None else _as_journal_path(journal)
    if job is None:
        raise click.UsageError("a PostgreSQL journal requires --job")
    return PostgresJournal(journal, job=job, accept_failover=accept_failover)


def _as_journal_path(text: str) -> str:
    path = as_path(text)
    try:
        validate_journal_path(path)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return path


def resume_option(journal: str, job: str | None) -> str:
    """Return the options with which a job can be resumed, without the password of a URL."""
    if job is None:
        # In a shell, $'…' evaluates the escapes that the message has for bytes that are not UTF-8.
        is_text = journal.isascii() or journal.isprintable()
        return f"--journal {'' if is_text else '$'}{shlex.quote(journal)}"
    shown = shlex.quote(_without_passwords(journal))
    return f"--journal {shown} --job {shlex.quote(job)}"


def _without_passwords(url: str) -> str:
    # Not urlsplit: libpq allows a # or ? in a password, and does not read + as a space.
    address, _, query = _USER_PASSWORD.sub(r"\1@", url).partition("?")
    pairs = [pair for pair in query.split("&") if not _is_secret(unquote(pair.partition("=")[0]))]
    return f"{address}?{'&'.join(pairs)}".rstrip("?")


def _is_secret(name: str) -> bool:
    return "password" in name or "secret" in name  # such as oauth_client_secret


def show(journal: str, job: str | None, output_format: str, *, only_failed: bool = False) -> int:
    """
    Print a summary of a journal.

    :param journal: the journal's file or PostgreSQL URL.
    :param job: the name of the job in a PostgreSQL journal.
    :param output_format: ``table``, ``json``, ``jsonl`` or ``csv``.
    :param only_failed: whether to print only a row for each tenant whose run failed.
    :returns: the exit code.
    """
    summary = _read_summary(open_journal(journal, job) or journal)
    if only_failed:
        writer = create_writer("FailedRow", output_format, sys.stdout)
        writer.write([FailedRow(*attrs.astuple(one)) for one in summary.failed])
        writer.close()
    elif output_format == "table":
        write_text("\n".join(_describe(summary)), sys.stdout)
    else:
        write_data(attrs.asdict(summary), output_format, sys.stdout)
    return 0


async def note_resumption(journal: str | PostgresJournal) -> None:
    """
    Print what an existing journal knows about an interrupted job, and how long to wait for it.

    :param journal: the journal's file or its settings. If it does not exist, nothing is printed.
    """
    summary = await _find_summary(journal)
    if summary is None:
        return
    name = f"journal {journal}" if isinstance(journal, str) else journal.name
    counts = [f"{number} {_WORDS[state]}" for state, number in summary.states.items() if number]
    if counts:
        note(f"resuming {name}: {', '.join(counts)}")
    held = [holder for holder in summary.owners if holder.owner and holder.seconds_left > 0]
    if held:
        note(_describe_held(held))


async def _find_summary(journal: str | PostgresJournal) -> JournalSummary | None:
    if isinstance(journal, str):
        file = Path(journal)
        return None if _is_new(file) else await read_summary(file, RealClock())
    from pandium._bulk.postgres_summary import find_postgres_summary

    return await find_postgres_summary(journal, RealClock())


def _describe_held(held: list[LeaseHolder]) -> str:
    tenants = sum(holder.tenants for holder in held)
    seconds = ceil(max(holder.seconds_left for holder in held))
    is_one = len(held) == 1
    owners = "another process" if is_one else f"{len(held)} other processes"
    killed = "If it was killed, its" if is_one else "If one was killed, its"
    return (
        f"{tenants} of them belong to {owners}. {killed} lease expires in"
        f" {'' if is_one else 'at most '}{seconds} s, and this command continues with them"
    )


def _is_new(file: Path) -> bool:
    return not file.is_file() or not file.stat().st_size


def _read_summary(journal: str | PostgresJournal) -> JournalSummary:
    if isinstance(journal, str):
        return run_coroutine(read_summary, Path(journal), RealClock())
    from pandium._bulk.postgres_summary import read_postgres_summary

    return run_coroutine(read_postgres_summary, journal, RealClock())


def _describe(summary: JournalSummary) -> Iterator[str]:
    fields = {**summary.job, **summary.states, "total": sum(summary.states.values())}
    width = max(map(len, fields))
    yield from (f"{name:<{width}}  {value}" for name, value in fields.items())
    yield from map(_describe_owner, summary.owners)
    yield from (
        f"failed: tenant {one.tenant_id}, trigger {one.trigger_id}: {one.status}"
        for one in summary.failed
    )
    yield from (
        f"unknown: tenant {one.tenant_id}, claimed at {one.claimed}: {one.reason}"
        for one in summary.unknown
    )


def _describe_owner(holder: LeaseHolder) -> str:
    if not holder.owner:
        return f"in progress: {holder.tenants} tenants, released by their worker"
    left = holder.seconds_left
    lease = f"lease expires in {left:.0f} s" if left > 0 else "lease has expired"
    return f"in progress: {holder.tenants} tenants of worker {holder.owner}, {lease}"
