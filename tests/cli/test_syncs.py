"""The `tenants sync` command, with or without a wait or a journal."""

from __future__ import annotations

import csv
import io
import json
import signal
import sqlite3
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import click
import httpx
import pytest

from pandium._bulk.journal import LEASE
from pandium._cli.app import app, run
from pandium._cli.syncs import SyncSelection, sync_and_wait
from pandium.emulator import Status
from support.cli import (
    DEADLINE,
    FAST_POLLING,
    InterruptingOutput,
    add_tenants,
    api_variables,
    read_outcomes,
    read_rows,
    sent_posts,
    start_child,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

pytestmark = pytest.mark.usefixtures("api_environment")

WAIT = ["--wait", *FAST_POLLING, "-f", "jsonl"]


@pytest.fixture
def mocked_api(httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch) -> HTTPXMock:
    """Return a mock of the production API, which replaces the emulator."""
    monkeypatch.delenv("PANDIUM_BASE_URL")
    return httpx_mock


# Selecting tenants


def test_all_tenants_of_an_integration_can_be_synced(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--integration` syncs each tenant of that integration once and no other tenant."""
    other = emulator.add_integration().id
    add_tenants(emulator, "Succeeded", "Succeeded", "Succeeded")
    emulator.add_tenant(integration_id=other)
    line = ["tenants", "sync", "--integration", "1", "--max-concurrency", "2", *WAIT]
    assert run([*line, "--mode", "init", "--payload", '{"a": 1}']) == 0
    assert set(read_outcomes(capsys.readouterr().out)) == {1, 2, 3}
    assert sent_posts(emulator) == [f"/v2/tenants/{id_}/sync" for id_ in (1, 2, 3)]
    sent = [request for request in emulator.requests if request.method == "POST"]
    assert {(request.query, request.body) for request in sent} == {("mode=init", b'{"a":1}')}


@pytest.mark.parametrize("options", [[], ["--wait"]])
def test_an_integration_that_does_not_exist_is_an_error(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A nonexistent integration id ends with exit code 4, so that a mistyped id is noticed."""
    assert run(["tenants", "sync", "--integration", "99", *options]) == 4
    assert "404 Not Found: Integration 99 not found" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--wait"]])
def test_an_integration_without_tenants_is_not_an_error(
    options: list[str], emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """If there is nothing to sync, a message is printed and the exit code is 0."""
    empty = str(emulator.add_integration().id)
    assert run(["tenants", "sync", "--integration", empty, *options]) == 0
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("pandium-api: nothing to ")


@pytest.mark.parametrize(
    "options", [[], ["--wait", "--min-interval", "0.01", "--poll-rate", "100000"]]
)
def test_a_failed_listing_ends_the_command_after_the_listed_tenants(
    options: list[str], mocked_api: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tenants listed before an error are synced, and their runs are awaited. The exit code is 4."""
    tenants = [{"id": id_, "name": f"t-{id_}"} for id_ in range(1, 501)]

    def respond(request: httpx.Request) -> httpx.Response:
        path, id_ = request.url.path, request.url.path.split("/")[-2]
        if path == "/v2/tenants":
            is_first = request.url.params["skip"] == "0"
            return httpx.Response(200, json=tenants) if is_first else httpx.Response(400, text="no")
        if path.endswith("/sync"):
            return httpx.Response(200, json={"trigger_id": id_})
        return httpx.Response(200, json={"status": "Succeeded"})

    mocked_api.add_callback(respond, is_reusable=True)
    assert run(["tenants", "sync", "--integration", "1", *options, "-f", "jsonl"]) == 4
    written = capsys.readouterr()
    assert len(read_rows(written.out)) == 500
    assert "400 Bad Request: no\n" in written.err
    assert written.err.endswith("integration 1 has more tenants, which were not synced\n")


@pytest.mark.parametrize("options", [[], ["--wait"]])
def test_an_id_that_no_tenant_can_have_is_an_error(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error shows an id of more than 64 bits, and the exit code is 4."""
    assert run(["tenants", "sync", str(2**64), *options]) == 4
    written = capsys.readouterr()
    assert str(2**64) in (written.out if options else written.err)


# Concurrency and failures


@pytest.mark.parametrize("has_journal", [False, True])
def test_max_concurrency_counts_tenants_until_their_runs_end(
    has_journal: bool,  # noqa: FBT001 - a test parameter
    emulator: Emulator,
    tmp_path: Path,
) -> None:
    """A tenant counts as active from its request until the end of its run."""
    ids = add_tenants(emulator, "Succeeded", "Succeeded", "Succeeded")
    journal = ["--journal", str(tmp_path / "sync.db")] if has_journal else []
    assert run(["tenants", "sync", *ids, "--max-concurrency", "1", *WAIT, *journal]) == 0
    sent = [(request.method, request.path, request.status) for request in emulator.requests]
    for id_ in (1, 2):
        polled = sent.index(("GET", f"/v2/runs/triggers/{id_}/status", 200))
        assert polled < sent.index(("POST", f"/v2/tenants/{id_ + 1}/sync", 202))


@pytest.mark.parametrize("options", [[], ["--wait", *FAST_POLLING]])
@pytest.mark.parametrize(("ids", "code"), [(["1", "98"], 1), (["98", "99"], 4)])
def test_a_refused_sync_does_not_affect_the_others(
    options: list[str],
    ids: list[str],
    code: int,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If the API rejects some syncs, the exit code is 1. If it rejects all of them, it is 4."""
    add_tenants(emulator, "Succeeded")
    assert run(["tenants", "sync", *ids, *options]) == code
    written = capsys.readouterr()
    assert "404 Not Found: Tenant 98 not found" in (written.out if options else written.err)


def test_a_run_whose_polls_are_rejected_was_not_refused(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the API accepts a sync and rejects the polls, the outcome is unknown, and not an error."""
    add_tenants(emulator, "Succeeded")
    emulator.faults.add("runs.status", Status(403))
    assert run(["tenants", "sync", "1", "--wait", *FAST_POLLING, "-f", "jsonl"]) == 1
    assert read_outcomes(capsys.readouterr().out) == {1: "unknown"}


@pytest.mark.parametrize("options", [[], ["--wait"]])
def test_a_sync_with_an_unknown_outcome_is_not_retried(
    options: list[str], mocked_api: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the response is lost, the request is not retried, and the exit code is 1."""
    mocked_api.add_exception(
        httpx.ReadError("cut off"), url="https://api.pandium.io/v2/tenants/1/sync?mode=normal"
    )
    assert run(["tenants", "sync", "1", *options]) == 1
    written = capsys.readouterr()
    assert len(mocked_api.get_requests()) == 1
    assert ("unknown" in written.out) is bool(options)
    assert "/v2/tenants/1/sync" in (written.out if options else written.err)


class BrokenPipe(io.StringIO):
    """A standard output whose reader has closed the pipe."""

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("options", [[], ["--wait", *FAST_POLLING]])
def test_a_broken_pipe_ends_a_sync(
    options: list[str],
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the reader closes the pipe, the exit code is 141, and every trigger is named."""
    monkeypatch.setattr(sys, "stdout", BrokenPipe())
    ids = add_tenants(emulator, "Succeeded", "Succeeded")
    assert run(["tenants", "sync", *ids, *options]) == 141
    first, *hints = capsys.readouterr().err.splitlines()
    assert first == "pandium-api: the program that reads the output has closed the pipe"
    [command] = [hint for hint in hints if "runs wait" in hint]
    assert len(command.rpartition("wait ")[2].split()) == len(sent_posts(emulator))


def test_a_broken_pipe_starts_no_more_tenants(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first trigger that cannot be printed, nothing is sent for the other tenants."""
    monkeypatch.setattr(sys, "stdout", BrokenPipe())
    ids = add_tenants(emulator, *["Succeeded"] * 4)
    assert run(["tenants", "sync", *ids, "--max-concurrency", "1"]) == 141
    assert len(sent_posts(emulator)) == 1


# Ctrl-C


@pytest.mark.parametrize(
    ("options", "max_concurrency"), [([], "1"), (["--wait", "--min-interval", "0.01"], "2")]
)
def test_an_interrupted_sync_accounts_for_every_tenant(
    options: list[str],
    max_concurrency: str,
    mocked_api: HTTPXMock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After Ctrl-C, triggers, unknown outcomes and tenants that were not synced are listed."""
    polled = anyio.Event()

    async def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/v2/runs"):
            polled.set()
            return httpx.Response(404, json={"message": "not yet"})
        if request.url.path.endswith("/5/sync"):
            return httpx.Response(200, json={"trigger_id": "17"})
        if options:
            await polled.wait()
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()
        raise AssertionError

    mocked_api.add_callback(respond, is_reusable=True)
    line = ["tenants", "sync", "5", "6", "7", "8", "--max-concurrency", max_concurrency, *options]
    with pytest.raises(KeyboardInterrupt):
        run(line)
    written = capsys.readouterr()
    assert ("17" in written.out) is not bool(options)
    assert written.err.splitlines() == [
        "pandium-api: interrupted",
        "pandium-api: to resume, run: pandium-api runs wait 17",
        "pandium-api: these tenants may or may not have been synced: 6",
        "pandium-api: these tenants were not synced: 7 8",
    ]


@pytest.mark.parametrize("options", [[], WAIT])
def test_an_interrupted_sync_of_an_integration_is_incomplete(
    options: list[str],
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After Ctrl-C, a message states that the integration has more tenants."""
    add_tenants(emulator, *["Succeeded"] * 501)
    monkeypatch.setattr(sys, "stdout", InterruptingOutput(" 1" if not options else '"succeeded"'))
    with pytest.raises(KeyboardInterrupt):
        run(["tenants", "sync", "--integration", "1", "--max-concurrency", "1", *options])
    assert "integration 1 has more tenants, which were not synced\n" in capsys.readouterr().err


# Journals


def test_a_finished_journal_is_written_again_without_requests(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command prints the same results and sends no sync again."""
    add_tenants(emulator, "Succeeded", "Failed (Timeout)", "Succeeded")
    line = ["tenants", "sync", "--integration", "1", *WAIT, "--journal", str(tmp_path / "sync.db")]
    expected = {1: "succeeded", 2: "failed", 3: "succeeded"}
    for _ in range(2):
        assert run(line) == 1
        written = capsys.readouterr()
        assert read_outcomes(written.out) == expected
        assert written.err.splitlines()[-1] == "pandium-api: 1 failed, 2 succeeded"
    assert sent_posts(emulator) == [f"/v2/tenants/{id_}/sync" for id_ in (1, 2, 3)]


def test_an_interrupted_job_is_resumed(
    emulator: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After Ctrl-C, the message names the journal, and the same command resumes the job."""
    ids = [*add_tenants(emulator, "Succeeded", seconds=0.4), *add_tenants(emulator, "Succeeded")]
    line = ["tenants", "sync", *ids, *WAIT, "--journal", str(tmp_path / "a b.db")]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", InterruptingOutput('"succeeded"'))
        with pytest.raises(KeyboardInterrupt):
            run(line)
    option = f"--journal '{tmp_path / 'a b.db'}'"
    hint = f"pandium-api: to resume, run the same command again with {option}"
    assert capsys.readouterr().err.splitlines()[-1] == hint
    assert run(line) == 0
    assert read_outcomes(capsys.readouterr().out) == {1: "succeeded", 2: "succeeded"}
    assert sent_posts(emulator) == ["/v2/tenants/1/sync", "/v2/tenants/2/sync"]


def test_a_broken_pipe_does_not_wait_for_another_process(
    mocked_api: HTTPXMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the output cannot be written, the tenants of another process do not delay the end."""
    journal = tmp_path / "sync.db"

    def claim_second_tenant(_: httpx.Request) -> httpx.Response:
        with closing(sqlite3.connect(journal)) as other, other:
            now = time.time()
            columns = "(tenant_id, state, owner, lease, claimed)"
            values = [2, "sending", "another process", now + LEASE, now]
            other.execute(f"INSERT INTO syncs {columns} VALUES (?, ?, ?, ?, ?)", values)
        return httpx.Response(200, json={"trigger_id": "17"})

    mocked_api.add_callback(claim_second_tenant, method="POST")
    mocked_api.add_response(method="GET", json={"status": "Succeeded"})
    monkeypatch.setattr(sys, "stdout", BrokenPipe())
    group = app.commands["tenants"]
    assert isinstance(group, click.Group)
    selection = SyncSelection([1, 2], None, "normal", None, max_concurrency=1)
    with (
        group.commands["sync"].make_context("sync", ["1", "2", "--wait", *FAST_POLLING]),
        pytest.raises(BrokenPipeError),
    ):
        sync_and_wait(selection, str(journal), "", settling_seconds=0.1)
    with closing(sqlite3.connect(journal)) as db:
        states = db.execute("SELECT state FROM syncs ORDER BY tenant_id").fetchall()
    assert states == [("succeeded",), ("sending",)]  # otherwise, the lease expired meanwhile


@pytest.mark.posix
@pytest.mark.parametrize("has_journal", [False, True])
def test_many_interrupts_end_a_child_once(
    has_journal: bool,  # noqa: FBT001 - a test parameter
    emulator: Emulator,
    tmp_path: Path,
) -> None:
    """Any number of SIGINTs ends a child with exit code 130 and one message."""
    ids = [*add_tenants(emulator, "Succeeded", seconds=1000), *add_tenants(emulator, "Succeeded")]
    journal = ["--journal", str(tmp_path / "sync.db")] if has_journal else []
    line = ["tenants", "sync", *ids, *WAIT, *journal]
    child = start_child(*line, environ=api_variables(emulator.url))
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["outcome"] == "succeeded"
    while child.poll() is None:
        child.send_signal(signal.SIGINT)
    rest, errors = child.communicate(timeout=DEADLINE)
    assert (child.returncode, rest, errors.count("interrupted")) == (130, "", 1)
    assert "Traceback" not in errors
    expected = f"the same command again with {' '.join(journal)}" if journal else "runs wait 1"
    assert expected in errors


@pytest.mark.parametrize("output_format", ["json", "csv", "table"])
@pytest.mark.parametrize("has_journal", [False, True])
def test_a_refused_sync_has_no_trigger(
    output_format: str,
    has_journal: bool,  # noqa: FBT001 - a test parameter
    emulator: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The row of a rejected sync has the tenant and the error, and an empty trigger."""
    ids = ["99", *add_tenants(emulator, "Succeeded")]
    journal = ["--journal", str(tmp_path / "sync.db")] if has_journal else []
    assert run(["tenants", "sync", *ids, *WAIT, *journal, "-f", output_format]) == 1
    out = capsys.readouterr().out
    assert "404 Not Found: Tenant 99 not found" in out
    if output_format == "json":
        triggers = {row["tenant_id"]: row["trigger_id"] for row in json.loads(out)}
        assert triggers == {99: None, 1: "1"}
    elif output_format == "csv":
        rows = csv.DictReader(io.StringIO(out))
        assert {row["tenant_id"]: row["trigger_id"] for row in rows} == {"99": "", "1": "1"}


UNUSABLE = {
    "text": "is not a journal, but another kind of file",
    "folder": "is a directory: specify a file",
    "missing/sync.db": "directory does not exist",
    "missing/../sync.db": "directory does not exist",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_journal_is_one_sentence(
    name: str, emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the path cannot be a journal, nothing is sent and the exit code is 74."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("this text is not a journal, although it is long\n" * 100)
    ids = add_tenants(emulator, "Succeeded")
    assert run(["tenants", "sync", *ids, "--wait", "--journal", str(tmp_path / name)]) == 74
    written = capsys.readouterr()
    assert (written.out, written.err.count("\n")) == ("", 1)
    assert name in written.err
    assert UNUSABLE[name] in written.err
    assert sent_posts(emulator) == []
    assert not list(tmp_path.glob("sync.db*"))


def test_a_journal_of_another_job_is_one_sentence(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the journal belongs to another job, nothing is sent, and the exit code is 74."""
    ids = add_tenants(emulator, "Succeeded")
    line = ["tenants", "sync", *ids, *WAIT, "--journal", str(tmp_path / "sync.db")]
    assert run(line) == 0
    capsys.readouterr()
    assert run([*line, "--mode", "init"]) == 74
    written = capsys.readouterr()
    assert written.out == ""
    assert "belongs to a job with mode 'normal', not 'init'" in written.err
    assert len(sent_posts(emulator)) == 1


def test_an_unknown_outcome_is_retried_only_on_request(
    mocked_api: HTTPXMock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sync with an unknown outcome is retried only with `--retry-unknown`."""
    mocked_api.add_exception(httpx.ReadError("cut off"))
    line = ["tenants", "sync", "1", *WAIT, "--journal", str(tmp_path / "sync.db")]
    line += ["--mode", "init", "--payload", '{"a": 1}']
    for _ in range(2):
        assert run(line) == 1
        assert read_outcomes(capsys.readouterr().out) == {1: "unknown"}
    assert len(mocked_api.get_requests()) == 1
    mocked_api.add_response(method="POST", json={"trigger_id": "9"})
    mocked_api.add_response(method="GET", json={"status": "Succeeded"})
    assert run([*line, "--retry-unknown"]) == 0
    assert read_outcomes(capsys.readouterr().out) == {1: "succeeded"}
    for request in mocked_api.get_requests(method="POST"):
        assert (request.url.query, request.content) == (b"mode=init", b'{"a":1}')


def test_the_time_limit_holds_with_a_journal(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that times out frees its slot, and the message explains how to resume."""
    ids = [*add_tenants(emulator, "Succeeded", seconds=1000), *add_tenants(emulator, "Succeeded")]
    journal = str(tmp_path / "sync.db")
    line = ["tenants", "sync", *ids, *WAIT, "--journal", journal]
    assert run([*line, "--wait-timeout", "0.3", "--max-concurrency", "1"]) == 5
    written = capsys.readouterr()
    assert read_outcomes(written.out) == {1: "timeout", 2: "succeeded"}
    hint = f"to resume, run the same command again with --journal {journal}\n"
    assert "some runs did not finish within the time limit" in written.err
    assert written.err.endswith(hint)
    sent = [(request.method, request.path) for request in emulator.requests]
    second = sent.index(("POST", "/v2/tenants/2/sync"))
    assert ("GET", "/v2/runs/triggers/1/status") not in sent[second:]


def test_a_run_that_timed_out_is_waited_for_again(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command waits for the trigger that timed out and sends no other sync."""
    [tenant] = add_tenants(emulator, "Succeeded", seconds=0.5)
    line = ["tenants", "sync", tenant, *WAIT, "--journal", str(tmp_path / "sync.db")]
    assert run([*line, "--wait-timeout", "0.2"]) == 5
    capsys.readouterr()
    assert run(line) == 0
    assert read_rows(capsys.readouterr().out)[1]["trigger_id"] == "1"
    assert sent_posts(emulator) == ["/v2/tenants/1/sync"]
