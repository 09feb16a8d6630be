"""Syncs with a journal from the command line: the same command again goes on."""

from __future__ import annotations

import csv
import io
import json
import signal
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from pandium._cli.app import run
from support.cli import KEY, PATIENCE, Interrupting, of, run_on_terminal, start_child

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

QUICKLY = ["--min-interval", "0.05", "--poll-rate", "1000", "-f", "jsonl"]


@pytest.fixture(autouse=True)
def _api(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    monkeypatch.setenv("PANDIUM_BASE_URL", emulator.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def add(emulator: Emulator, word: str, seconds: float = 0) -> str:
    tenant = emulator.add_tenant()
    phases = [("Running", seconds), (word, 0)]
    emulator.runs.script(tenant=tenant.id, appears_after=0.05, phases=phases)
    return str(tenant.id)


def outcomes(out: str) -> dict[int, str]:
    return {row["tenant_id"]: row["outcome"] for row in map(json.loads, out.splitlines())}


def posts(emulator: Emulator) -> list[str]:
    return sorted(one.path for one in emulator.requests if one.method == "POST")


def test_a_journal_is_written_and_read_again(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again gives the same results, and asks for no sync a second time."""
    for word in ("Succeeded", "Failed (Timeout)", "Succeeded"):
        add(emulator, word)
    line = ["tenants", "sync", "--integration", "1", "--wait", *QUICKLY]
    line += ["--journal", str(tmp_path / "sync.db")]
    expected = {1: "succeeded", 2: "failed", 3: "succeeded"}
    for _ in range(2):
        assert run(line) == 1
        written = capsys.readouterr()
        assert outcomes(written.out) == expected
        assert written.err == "pandium-api: 1 failed, 2 succeeded\n"
    assert posts(emulator) == [f"/v2/tenants/{number}/sync" for number in (1, 2, 3)]


def test_a_sync_that_was_interrupted_goes_on(
    emulator: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After Ctrl-C the line names the journal; the same command waits for what was under way."""
    ids = [add(emulator, "Succeeded", 0.4), add(emulator, "Succeeded")]
    line = ["tenants", "sync", *ids, "--wait", *QUICKLY, "--journal", str(tmp_path / "a b.db")]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Interrupting('"succeeded"'))
        with pytest.raises(KeyboardInterrupt):
            run(line)
    journal = f"'{tmp_path / 'a b.db'}'"
    said = f"pandium-api: interrupted; the same command goes on, with --journal {journal}\n"
    assert capsys.readouterr().err == said
    assert run(line) == 0
    assert outcomes(capsys.readouterr().out) == {1: "succeeded", 2: "succeeded"}
    assert posts(emulator) == ["/v2/tenants/1/sync", "/v2/tenants/2/sync"]


@pytest.mark.parametrize("more", [[], ["--journal"]])
def test_a_child_that_is_interrupted_says_how_to_go_on(
    more: list[str], emulator: Emulator, tmp_path: Path
) -> None:
    """Ctrl-C, however often and fast, ends a child with 130 and one line."""
    ids = [add(emulator, "Succeeded", 1000), add(emulator, "Succeeded")]
    more = [*more, str(tmp_path / "sync.db")] if more else []
    line = ["tenants", "sync", *ids, "--wait", *QUICKLY, *more]
    child = start_child(*line, environ=of(emulator.url))
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["outcome"] == "succeeded"
    while child.poll() is None:
        child.send_signal(signal.SIGINT)
    rest, errors = child.communicate(timeout=PATIENCE)
    assert (child.returncode, rest, errors.count("\n")) == (130, "", 1)
    assert "goes on" in errors
    assert not more or f"the same command goes on, with {' '.join(more)}" in errors


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_a_tenant_without_a_trigger_has_an_empty_cell(
    form: str, emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the API refuses for a tenant is told with the tenant; there is no trigger of it."""
    ids = ["99", add(emulator, "Succeeded")]
    line = ["tenants", "sync", *ids, "--wait", *QUICKLY, "--journal", str(tmp_path / "sync.db")]
    assert run([*line, "-f", form]) == 1
    out = capsys.readouterr().out
    assert "404 Not Found: Tenant 99 not found" in out
    if form == "json":
        assert {row["tenant_id"]: row["trigger_id"] for row in json.loads(out)} == {
            99: None,
            1: "1",
        }
    elif form == "csv":
        rows = csv.DictReader(io.StringIO(out))
        assert {row["tenant_id"]: row["trigger_id"] for row in rows} == {"99": "", "1": "1"}


def test_what_cannot_be_a_journal_is_one_line(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is none, and a place where none can be, are matters of configuration, 3."""
    (tmp_path / "text").write_text("this is not a journal, but a text of some length\n" * 100)
    for path in (tmp_path / "text", tmp_path / "nowhere" / "sync.db"):
        line = ["tenants", "sync", add(emulator, "Succeeded"), "--wait", "--journal", str(path)]
        assert run(line) == 3
        written = capsys.readouterr()
        assert (written.out, written.err.count("\n")) == ("", 1)
        assert path.name in written.err
    assert posts(emulator) == []


def test_a_bar_counts_what_a_journal_has(emulator: Emulator, tmp_path: Path) -> None:
    """On a terminal the bar of a sync with a journal counts up to all tenants."""
    ids = [add(emulator, "Succeeded"), add(emulator, "Succeeded")]
    line = ["tenants", "sync", *ids, "--wait", "--min-interval", "0.1"]
    line += ["--journal", str(tmp_path / "sync.db")]
    code, screen = run_on_terminal(*line, columns=120, environ=of(emulator.url))
    assert code == 0
    assert "2/2" in screen.written
    assert "━" not in screen.text


def test_a_sync_that_may_have_happened_is_repeated_on_demand_alone(
    httpx_mock: HTTPXMock,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the journal knows no answer of is told as unknown, and sent again by a switch only."""
    monkeypatch.delenv("PANDIUM_BASE_URL")
    httpx_mock.add_exception(httpx.ReadError("cut off"))
    line = ["tenants", "sync", "1", "--wait", *QUICKLY, "--journal", str(tmp_path / "sync.db")]
    line += ["--mode", "init", "--payload", '{"a": 1}']
    for _ in range(2):
        assert run(line) == 1
        assert outcomes(capsys.readouterr().out) == {1: "unknown"}
    assert len(httpx_mock.get_requests()) == 1
    httpx_mock.add_response(method="POST", json={"trigger_id": "9"})
    httpx_mock.add_response(method="GET", json={"status": "Succeeded"})
    assert run([*line, "--retry-unknown"]) == 0
    assert outcomes(capsys.readouterr().out) == {1: "succeeded"}
    for request in httpx_mock.get_requests(method="POST"):
        assert (request.url.query, request.content) == (b"mode=init", b'{"a":1}')


def test_the_terms_of_a_wait_are_those_of_the_command_line(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Time limit and tenants at once hold with a journal, too, and it is told how to go on."""
    ids = [add(emulator, "Succeeded", 1000), add(emulator, "Succeeded")]
    journal = str(tmp_path / "sync.db")
    line = ["tenants", "sync", *ids, "--wait", *QUICKLY, "--journal", journal]
    assert run([*line, "--wait-timeout", "0.3", "--max-concurrency", "1"]) == 5
    written = capsys.readouterr()
    assert outcomes(written.out) == {1: "timeout", 2: "succeeded"}
    going_on = f"the same command goes on, with --journal {journal}\n"
    assert f"not over yet: {going_on}" in written.err
    sent = [(one.method, one.path) for one in emulator.requests]
    second = sent.index(("POST", "/v2/tenants/2/sync"))
    assert ("GET", "/v2/runs/triggers/1/status") not in sent[second:]


def test_what_the_time_limit_cut_off_is_waited_for_again(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command goes on with the trigger that was late, and asks for no other sync."""
    tenant = add(emulator, "Succeeded", 0.5)
    line = ["tenants", "sync", tenant, "--wait", *QUICKLY, "--journal", str(tmp_path / "sync.db")]
    assert run([*line, "--wait-timeout", "0.2"]) == 5
    capsys.readouterr()
    assert run(line) == 0
    assert outcomes(capsys.readouterr().out) == {1: "succeeded"}
    assert posts(emulator) == ["/v2/tenants/1/sync"]
