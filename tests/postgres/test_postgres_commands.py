"""The journal of `tenants sync` and `journal show` in PostgreSQL."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import AsyncPandium, Polling
from pandium._bulk.journal import State
from pandium._bulk.postgres_worker import PostgresWorker
from pandium._cli.app import run
from pandium._clock import RealClock
from pandium.postgres import PostgresJournal
from support import KEY
from support.cli import FAST_POLLING, add_tenants, sent_posts
from support.journals import JOB, claim
from support.postgres import PASSWORD, URL_PASSWORD, expire_leases

if TYPE_CHECKING:
    from pandium.emulator import Emulator

pytestmark = pytest.mark.postgres


def show(dsn: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["journal", "show", dsn, "--job", "nightly", "-f", "json"]) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    return summary


@pytest.mark.usefixtures("api_environment")
def test_a_command_syncs_with_a_journal_in_postgresql(
    emulator: Emulator, postgres_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tenants sync` records its progress in PostgreSQL, and sends nothing when it is repeated."""
    ids = add_tenants(emulator, "Succeeded", "Failed (Timeout)", "Succeeded")
    line = ["tenants", "sync", *ids, "--wait", "--journal", postgres_dsn, "--job", "nightly"]
    assert run([*line, *FAST_POLLING]) == 1
    capsys.readouterr()
    summary = show(postgres_dsn, capsys)
    assert summary["job"] == {"mode": "normal", "base_url": emulator.url}
    assert (summary["states"]["succeeded"], summary["states"]["failed"]) == (2, 1)
    emulator.requests.clear()
    assert run([*line, *FAST_POLLING]) == 1
    resuming, warning, *_ = capsys.readouterr().err.splitlines()
    name = PostgresJournal(postgres_dsn, job="nightly").name
    assert resuming == f"pandium-api: resuming {name}: 2 succeeded, 1 failed"
    assert "already holds the results of 3 tenant(s)" in warning
    assert sent_posts(emulator) == []


@pytest.mark.usefixtures("api_environment")
def test_a_hint_does_not_contain_the_password(
    emulator: Emulator, postgres_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the time limit, the hint has the URL and the job, but not the password."""
    [tenant_id] = add_tenants(emulator, "Succeeded")
    emulator.runs.script(appears_after=600, phases=[("Succeeded", 0)], tenant=int(tenant_id))
    url = f"{postgres_dsn}?sslmode=prefer&password={URL_PASSWORD}"
    line = ["tenants", "sync", tenant_id, "--wait", "--journal", url, "--job", "on monday"]
    assert run([*line, *FAST_POLLING, "--wait-timeout", "0.3"]) == 5
    written = capsys.readouterr().err
    shown = f"{postgres_dsn.replace(f':{URL_PASSWORD}', '')}?sslmode=prefer"
    assert f"with --journal '{shown}' --job 'on monday'" in written
    assert PASSWORD not in written
    assert URL_PASSWORD not in written


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (1, r"2 of them belong to another process. If it was killed, its lease expires in \d s,"),
        (2, r"4 of them belong to 2 other processes. If one was .* expires in at most \d s,"),
    ],
)
def test_a_command_says_which_leases_it_waits_for(
    emulator: Emulator,
    postgres_dsn: str,
    capsys: pytest.CaptureFixture[str],
    workers: int,
    expected: str,
) -> None:
    """A command that resumes a job states what is in progress and when the leases expire."""
    settings = PostgresJournal(postgres_dsn, job="nightly", lease=2)
    job = {"mode": "normal", "base_url": emulator.url}

    async def fill() -> None:
        async with AsyncExitStack() as stack:
            for number in range(workers):
                journal = await stack.enter_async_context(
                    PostgresWorker(settings, job, RealClock())
                )
                await claim(journal, 2 * number + 1)
                await claim(journal, 2 * number + 2)

    anyio.run(fill)
    line = ["tenants", "sync", "1", "--wait", "--journal", postgres_dsn, "--job", "nightly"]
    assert run([*line, *FAST_POLLING]) == 1
    resuming, held, *_ = capsys.readouterr().err.splitlines()
    assert resuming.endswith(f": {2 * workers} being sent")
    assert re.search(expected, held)


def test_show_names_the_owners_and_the_tenants_without_success(
    postgres_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`journal show` names each worker that has tenants, and each failed or unknown tenant."""
    settings = PostgresJournal(postgres_dsn, job="nightly")

    async def fill() -> None:
        async with PostgresWorker(settings, JOB, RealClock()) as journal:
            for tenant_id in (1, 2, 3, 4, 5):
                await claim(journal, tenant_id)
            await journal.record_triggered(1, "t1")
            await journal.record_triggered(5, "t5")
            await journal.record_ended(5, "t5", State.FAILED, "Failed (Timeout)")
            await journal.record_unknown(4, "ConnectionLost")

    anyio.run(fill)
    expire_leases(postgres_dsn, 60)
    summary = show(postgres_dsn, capsys)
    released, owner = summary["owners"]
    assert (released["owner"], released["tenants"]) == ("", 1)
    assert (owner["tenants"], owner["seconds_left"] < 0) == (2, True)
    [unknown] = summary["unknown"]
    assert datetime.fromisoformat(unknown.pop("claimed")).tzinfo == UTC
    assert unknown == {"tenant_id": 4, "reason": "ConnectionLost"}
    assert summary["states"] == {
        "sending": 2, "triggered": 1, "succeeded": 0, "failed": 1, "unknown": 1
    }  # fmt: skip
    assert summary["failed"] == [{"tenant_id": 5, "trigger_id": "t5", "status": "Failed (Timeout)"}]


def test_show_creates_nothing(postgres_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that does not exist ends with exit code 74, with or without tables."""
    line = ["journal", "show", postgres_dsn, "--job", "nightly"]
    assert run(line) == 74
    assert "journal 'nightly' in database" in (written := capsys.readouterr().err)
    assert "does not exist" in written

    async def create_other_job() -> None:
        async with PostgresWorker(PostgresJournal(postgres_dsn, job="a"), JOB, RealClock()):
            pass

    anyio.run(create_other_job)
    assert run(line) == 74


@pytest.mark.anyio
async def test_a_client_syncs_with_a_journal_in_postgresql(
    client: AsyncPandium, emulator: Emulator, postgres_dsn: str
) -> None:
    """Two calls of `sync_all` that share a job share the work, and each reports all tenants."""
    emulator.runs.script(appears_after=0, phases=[("Running", 0.1), ("Succeeded", 0)])
    tenants = [emulator.add_tenant().id for _ in range(20)]
    journal = PostgresJournal(postgres_dsn, job="nightly", lease=1)
    found: list[list[int]] = []

    async def sync() -> None:
        polling = Polling(first=0.05, minimum=0.05, rate=200)
        async with (
            AsyncPandium(KEY, base_url=emulator.url) as other,
            other.tenants.sync_all(
                tenants, mode="normal", journal=journal, poll=polling
            ) as results,
        ):
            found.append(sorted([result.tenant_id or 0 async for result in results]))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(sync)
    assert found == [tenants] * 2
    assert len(sent_posts(emulator)) == 20
