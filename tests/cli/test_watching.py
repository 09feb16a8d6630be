"""The `watch` command: a row for each change in a pipe, or a live table on a terminal."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pandium._cli.app import run
from support.cli import Screen, Terminal, api_variables, run_on_terminal, start_child
from support.waiting import wait_until

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator


@pytest.fixture(autouse=True)
def _environment(api_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def test_each_change_is_a_row(emulator: Emulator) -> None:
    """In a pipe, the first poll prints a row per tenant, and later polls print a row per change."""
    for name in ("still", "busy"):
        emulator.add_tenant(name)
    emulator.runs.script(appears_after=0, phases=[("Running", math.inf)])
    command = ("watch", "--every", "0.05", "-f", "jsonl")
    with start_child(*command, environ=api_variables(emulator.url)) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(2)]
        assert run(["tenants", "sync", "2"]) == 0
        lines.append(child.stdout.readline())
        seen = len(emulator.requests)
        wait_until(lambda: len(emulator.requests) >= seen + 5)
        child.kill()
        rest, errors = child.communicate()
    rows = [json.loads(line) for line in lines]
    assert [(row["tenant_id"], row["name"], row["state"], row["running"]) for row in rows] == [
        (1, "still", "active", ""),
        (2, "busy", "active", ""),
        (2, "busy", "active", "Running"),
    ]
    assert (rest, errors) == ("", "")


def test_only_the_selected_tenants_are_watched(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tenants can be selected by id or by integration."""
    other = emulator.add_integration().id
    emulator.add_tenant("a", paused=True)
    emulator.add_tenant("b", integration_id=other)
    emulator.add_tenant("c", archived=True, integration_id=other)
    assert run(["watch", "1", "--count", "1", "-f", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["name"], row["state"]) for row in rows] == [("a", "paused")]
    assert run(["watch", "--integration", str(other), "--count", "1"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split()[:4] == ["AT", "TENANT", "NAME", "STATE"]
    assert [line.split()[2] for line in lines] == ["b"]


def test_a_transient_error_does_not_end_a_watch(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a transient error, a message is printed and the watch continues, except at first."""
    monkeypatch.delenv("PANDIUM_BASE_URL")
    tenant = {"id": 1, "name": "a", "archived": True}
    httpx_mock.add_response(json=[{**tenant, "status": {"last_run": {"status": "Odd"}}}])
    httpx_mock.add_response(status_code=503, json={"message": "not now"})
    httpx_mock.add_response(json=[{**tenant, "status": None}])
    line = ["watch", "--every", "0.01", "--attempts", "1", "-f", "jsonl"]
    assert run([*line, "--count", "3"]) == 0
    written = capsys.readouterr()
    rows = [json.loads(row) for row in written.out.splitlines()]
    assert [(row["state"], row["last_run"]) for row in rows] == [
        ("archived", "Odd"),
        ("archived", ""),
    ]
    assert written.err.startswith("pandium-api: poll failed: GET /v2/tenants: 503")
    httpx_mock.add_response(status_code=503, json={"message": "not now"})
    assert run(line) == 4


@pytest.mark.parametrize(
    "odd",
    [
        {"text": "<html>a gateway</html>"},
        {"status_code": 302, "headers": {"Location": "https://login.example.com/"}},
        {"status_code": 499, "json": {}},
        {"json": [{"id": 3}, {"id": 4}]},
    ],
    ids=["a page", "a redirect", "a closed connection", "another record"],
)
def test_an_odd_response_does_not_end_a_watch(
    odd: dict[str, Any],
    httpx_mock: HTTPXMock,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A response that the API does not send, such as a gateway's, is waited out like a 503."""
    monkeypatch.delenv("PANDIUM_BASE_URL")
    tenants = [{"id": 1, "name": "a"}]
    httpx_mock.add_response(json=tenants)
    httpx_mock.add_response(**odd)
    httpx_mock.add_response(json=tenants)
    assert run(["watch", "--every", "0.01", "--count", "3", "-f", "jsonl"]) == 0
    assert capsys.readouterr().err.startswith("pandium-api: poll failed: GET /v2/tenants: ")


def test_a_changing_listing_does_not_end_a_watch(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a listing may be incomplete because it changed meanwhile, the next poll reads it again."""
    monkeypatch.delenv("PANDIUM_BASE_URL")
    forward = [{"id": number, "name": "a"} for number in range(1, 501)]
    httpx_mock.add_response(json=[])
    httpx_mock.add_response(json=forward)
    httpx_mock.add_response(json=[*forward[::-1], {"id": 501, "name": "b"}], is_reusable=True)
    assert run(["watch", "--every", "0.01", "--count", "2", "-f", "jsonl"]) == 0
    assert "poll failed: the order of the records changed" in capsys.readouterr().err


def test_a_permanent_error_ends_a_watch(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the API rejects the key, the watch ends with exit code 4."""
    monkeypatch.delenv("PANDIUM_BASE_URL")
    httpx_mock.add_response(json=[])
    httpx_mock.add_response(status_code=403, json={"detail": "Not authorized"})
    assert run(["watch", "--every", "0.01"]) == 4
    written = capsys.readouterr()
    assert written.out == ""
    first, second = written.err.splitlines()
    assert first == "pandium-api: nothing found"
    assert second.startswith("pandium-api: error: GET /v2/tenants: 403 Forbidden: Not authorized")


def render(stream: Terminal, columns: int, lines: int) -> Screen:
    return Screen(columns, lines, stream.getvalue().replace("\n", "\r\n"))


@pytest.mark.parametrize("name", ["TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"])
def test_what_cannot_be_redrawn_is_printed_as_changes(
    name: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If rich is told not to redraw its output, or has no columns, each change is a line."""
    emulator.add_tenant("acme")
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, "0")
    assert run(["watch", "--count", "1"]) == 0
    assert "acme" in out.getvalue()
    assert "1 tenants, 0 running" not in out.getvalue()  # which rich would print only at the end


@pytest.mark.parametrize(("lines", "shown"), [(12, 8), (30, 20)])
def test_the_live_table_fits_the_terminal(
    lines: int, shown: int, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running tenants come first. Tenants that do not fit on the screen are counted below."""
    for number in range(1, 21):
        emulator.add_tenant(f"tenant-{number}")
    emulator.runs.script(appears_after=0, phases=[("Running 🚀", math.inf)])
    assert run(["tenants", "sync", "20"]) == 0
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    for name, value in {"TERM": "xterm", "COLUMNS": "60", "LINES": str(lines)}.items():
        monkeypatch.setenv(name, value)
    assert run(["watch", "--count", "2", "--every", "0.01"]) == 0
    head, title, first, *rows = [row for row in render(out, 60, lines).rows if row]
    assert head.endswith("20 tenants, 1 running")
    assert title.split()[:3] == ["ID", "NAME", "INTEGRATION"]
    assert first.split()[:2] == ["20", "tenant-20"]
    names = [row.split()[1] for row in rows if "tenant-" in row]
    assert names == [f"tenant-{number}" for number in range(1, shown)]
    assert rows[-1].startswith("and 12 more") is (shown < 20)


@pytest.mark.posix
def test_ctrl_c_leaves_the_live_table_on_the_terminal(emulator: Emulator) -> None:
    """The table is redrawn in place. Ctrl-C ends the watch with 130 and leaves the last table."""
    emulator.add_tenant("acme")
    emulator.runs.script(appears_after=0, phases=[("Running", math.inf)])
    assert run(["tenants", "sync", "1"]) == 0
    pressed: list[bytes] = []

    def press(screen: Screen) -> bytes | None:
        if pressed or screen.written.count("1 running") < 2:
            return None
        pressed.append(b"\x03")
        return pressed[0]

    code, screen = run_on_terminal(
        "watch", "--every", "0.1", type_keys=press, environ=api_variables(emulator.url)
    )
    assert code == 130
    rows = [row for row in screen.rows if row]
    assert [row.split()[-1] for row in rows[:3]] == ["running", "SCHEDULE", "Running"]
    assert "Traceback" not in screen.written
