"""The journal of `tenants sync`: its contents, and the message if it is not a new one."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium._bulk.sqlite import SQLiteJournal
from pandium._cli.app import run
from pandium._cli.journals import resume_option
from support.cli import (
    DEADLINE,
    FAST_POLLING,
    add_tenants,
    api_variables,
    limit_file_size,
    sent_posts,
    start_child,
)
from support.journals import JOB, CalendarClock
from support.postgres import free_port
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator


def show(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the summary of a journal as JSON."""
    assert run(["journal", "show", str(path), "-f", "json"]) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    return summary


@pytest.mark.usefixtures("api_environment")
def test_a_finished_journal_is_never_silent(
    emulator: Emulator, journal_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command with a finished journal reports its results, and states that nothing was sent."""
    ids = add_tenants(emulator, "Succeeded", "Succeeded")
    line = ["tenants", "sync", *ids, "--wait", "--journal", str(journal_path), *FAST_POLLING]
    assert run(line) == 0
    assert capsys.readouterr().err == "pandium-api: 2 succeeded\n"
    emulator.requests.clear()
    assert run(line) == 0
    resuming, warning, summary = capsys.readouterr().err.splitlines()
    assert warning == (
        f"pandium-api: journal {str(journal_path)!r} already holds the results of 2 tenant(s), and"
        " nothing is sent for them; to sync them again, use a new journal"
    )
    assert resuming == f"pandium-api: resuming journal {journal_path}: 2 succeeded"
    assert summary == "pandium-api: 2 succeeded"
    assert sent_posts(emulator) == []


@pytest.mark.usefixtures("api_environment")
def test_a_journal_without_tenants_is_not_resumed(
    journal_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If an earlier command has recorded no tenant, nothing is said about resuming it."""
    line = ["tenants", "sync", "--integration", "1", "--wait", "--journal", str(journal_path)]
    assert run(line) == run(line) == 0
    assert capsys.readouterr().err == "pandium-api: nothing to wait for\n" * 2


@pytest.mark.usefixtures("api_environment")
def test_show_counts_the_tenants_in_each_state(
    emulator: Emulator, journal_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`journal show` prints the job and the number of tenants in each state."""
    ids = add_tenants(emulator, "Succeeded", "Failed (Timeout)", "Succeeded")
    run(["tenants", "sync", *ids, "--wait", "--journal", str(journal_path), *FAST_POLLING])
    capsys.readouterr()
    summary = show(journal_path, capsys)
    assert summary["job"] == {"mode": "normal", "base_url": emulator.url}
    assert summary["states"] == {
        "sending": 0, "triggered": 0, "succeeded": 2, "failed": 1, "unknown": 0
    }  # fmt: skip
    assert (summary["owners"], summary["unknown"]) == ([], [])
    assert run(["journal", "show", str(journal_path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-4:-1] == ["failed     1", "unknown    0", "total      3"]


@pytest.mark.usefixtures("api_environment")
def test_show_lists_the_tenants_whose_runs_failed(
    emulator: Emulator, journal_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every format has each tenant whose run failed, and with `--failed` it has nothing else."""
    ids = add_tenants(emulator, "Failed (Timeout)", "Succeeded", "Failed")
    line = ["tenants", "sync", *ids, "--wait", "--max-concurrency", "1", *FAST_POLLING]
    run([*line, "--journal", str(journal_path)])
    capsys.readouterr()
    failed = [
        {"tenant_id": 1, "trigger_id": "1", "status": "Failed (Timeout)"},
        {"tenant_id": 3, "trigger_id": "3", "status": "Failed"},
    ]
    assert show(journal_path, capsys)["failed"] == failed
    command = ["journal", "show", str(journal_path)]
    assert run(command) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "failed: tenant 1, trigger 1: Failed (Timeout)",
        "failed: tenant 3, trigger 3: Failed",
    ]
    shown = {}
    for output_format in ("table", "json", "jsonl", "csv"):
        assert run([*command, "--failed", "-f", output_format]) == 0
        shown[output_format] = capsys.readouterr().out
    assert json.loads(shown["json"]) == failed
    assert [json.loads(line) for line in shown["jsonl"].splitlines()] == failed
    rows = list(csv.DictReader(shown["csv"].splitlines()))
    assert rows == [{name: str(value) for name, value in one.items()} for one in failed]
    heading, *lines = (line.split(maxsplit=2) for line in shown["table"].splitlines())
    assert heading == ["TENANT", "TRIGGER", "STATUS"]
    assert lines == [[str(value) for value in one.values()] for one in failed]


def test_show_names_the_owners_and_the_unknown_tenants(
    journal_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every format has each worker with tenants in progress, and each unknown tenant."""
    clock = CalendarClock()

    async def fill() -> None:
        async with SQLiteJournal(journal_path, JOB, clock) as journal:
            for tenant_id in (1, 2, 3, 4):
                await journal.claim(tenant_id, retry_unknown=False)
            await journal.record_triggered(1, "t1")
            await journal.record_unknown(4, "ConnectionLost")
        # The worker released its trigger. The others remain claimed, as after a crash.

    anyio.run(fill)
    summary = show(journal_path, capsys)
    released, owner = summary["owners"]
    assert (released["owner"], released["tenants"]) == ("", 1)
    assert (len(owner["owner"]), owner["tenants"], owner["seconds_left"] < 0) == (32, 2, True)
    assert summary["unknown"] == [
        {"tenant_id": 4, "claimed": "2026-01-01T00:00:00Z", "reason": "ConnectionLost"}
    ]
    assert run(["journal", "show", str(journal_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "in progress: 1 tenants, released by their worker",
        f"in progress: 2 tenants of worker {owner['owner']}, lease has expired",
        "unknown: tenant 4, claimed at 2026-01-01T00:00:00Z: ConnectionLost",
    ]
    assert run(["journal", "show", str(journal_path), "-f", "csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["job.mode"], row["states.triggered"], row["states.unknown"]) == ("normal", "1", "1")
    assert json.loads(row["unknown"]) == summary["unknown"]
    assert run(["journal", "show", str(journal_path), "-f", "jsonl"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["states"] == summary["states"]
    set_leases(journal_path, 4e9)
    assert run(["journal", "show", str(journal_path)]) == 0
    assert "lease expires in " in capsys.readouterr().out


def set_leases(path: Path, until: float) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE syncs SET lease = ? WHERE owner != ''", [until])


def test_show_does_not_create_or_change_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that does not exist, is empty or is something else ends with exit code 74."""
    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.touch()
    text.write_text("not a database, but a text that is long enough to be one")
    before = sorted(tmp_path.iterdir())
    for name, reason in (
        ("missing", "does not exist"),
        ("empty", "is empty"),
        ("text", "is not a journal"),
    ):
        assert run(["journal", "show", str(tmp_path / name)]) == 74
        assert reason in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    assert text.read_text().startswith("not a database")


def read_entries(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT * FROM syncs").fetchall()


def test_show_leaves_a_journal_as_it_is(
    journal_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A journal has the same entries after `journal show`, and no other file is left behind."""

    async def fill() -> None:
        async with SQLiteJournal(journal_path, JOB, CalendarClock()) as journal:
            await journal.claim(1, retry_unknown=False)

    anyio.run(fill)
    before = read_entries(journal_path)
    show(journal_path, capsys)
    assert read_entries(journal_path) == before
    assert list(journal_path.parent.iterdir()) == [journal_path]


# Failures and resumption


@pytest.mark.posix
@pytest.mark.parametrize(("size", "sent"), [(0, 0), (4096, 0), (40_000, 1)])
def test_a_full_disk_is_one_sentence(
    size: int,
    sent: int,
    emulator: Emulator,
    journal_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the journal cannot be written, at the start or later, the exit code is 74."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # its data cannot be written
    add_tenants(emulator, *["Succeeded"] * 400)
    # The first transaction has at most 50 tenants, for which the largest size suffices.
    line = ["tenants", "sync", "--integration", "1", "--max-concurrency", "50", "-f", "jsonl"]
    line += ["--wait", "--journal", str(journal_path), "--wait-timeout", "1", *FAST_POLLING]
    child = start_child(
        *line, environ=api_variables(emulator.url), preexec_fn=limit_file_size(size)
    )
    _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 74
    assert "Traceback" not in errors
    assert "error: journal" in errors
    assert "disk" in errors
    posts = len(sent_posts(emulator))
    assert (posts > 0) is bool(sent)
    named = re.findall(r"triggers that were sent: (.*)$", errors, re.MULTILINE)
    assert len(" ".join(named).split()) == posts


def test_a_job_that_was_killed_says_what_it_waits_for(
    emulator: Emulator, journal_path: Path
) -> None:
    """After SIGKILL, the same command states what the journal knows and when the lease expires."""
    ids = add_tenants(emulator, "Succeeded", "Succeeded", seconds=3)
    line = ["tenants", "sync", *ids, "--wait", "--journal", str(journal_path), *FAST_POLLING]
    child = start_child(*line, environ=api_variables(emulator.url))
    polls = {f"/v2/runs/triggers/{number}/status" for number in (1, 2)}
    wait_until(lambda: polls <= {request.path for request in emulator.requests})
    child.kill()
    child.communicate(timeout=DEADLINE)
    set_leases(journal_path, time.time() + 1000)  # so that it has not expired on a slow machine
    resumed = start_child(*line, environ=api_variables(emulator.url))
    assert resumed.stderr is not None
    resuming, held = resumed.stderr.readline(), resumed.stderr.readline()
    set_leases(journal_path, 0)  # as if the time had passed
    resumed.communicate(timeout=DEADLINE)
    assert resuming.endswith(f"resuming journal {journal_path}: 2 waiting for their runs\n")
    found = re.search(r"2 of them belong .* lease expires in (\d+) s", held)
    assert found is not None
    assert 0 < int(found[1]) <= 1000
    assert resumed.returncode == 0
    assert len(sent_posts(emulator)) == 2


# A journal in PostgreSQL


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://jobs:hunter2@db.example:6432/a", "postgresql://jobs@db.example:6432/a"),
        ("postgres://db.example:6432/a?user=a@b", "'postgres://db.example:6432/a?user=a@b'"),
        ("postgresql://jobs:#hunter2@db.example", "postgresql://jobs@db.example"),
        ("postgresql://jobs:?hunter2@db.example", "postgresql://jobs@db.example"),
        ("postgresql://a,b:1/a?password=hunter2", "postgresql://a,b:1/a"),
        ("postgresql:///a?user=password", "'postgresql:///a?user=password'"),
        ("postgresql:///a?oauth_client_secret=hunter2", "postgresql:///a"),
        (
            "postgresql:///a?pass%77ord=hunter2&options=-c%20b%3D1+2&sslpassword=hunter2",
            "'postgresql:///a?options=-c%20b%3D1+2'",
        ),
    ],
)
def test_the_options_to_resume_contain_no_password(url: str, shown: str) -> None:
    """The options with which a job is resumed contain the URL without its passwords."""
    assert resume_option(url, "on monday") == f"--journal {shown} --job 'on monday'"


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize("command", ["journal show", "tenants sync 1 --wait --journal"])
def test_a_database_that_is_unavailable_is_one_line(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """If a journal's server refuses connections, the exit code is 74 and no password is shown."""
    url = f"postgresql://jobs:hunter2@127.0.0.1:{free_port()}/nightly"
    assert run([*command.split(), url, "--job", "monday"]) == 74
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("pandium-api: error: journal 'monday' in database 'nightly' at 127.0.0")
    assert "hunter2" not in line
