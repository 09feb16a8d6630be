"""`--logs`: the log of each failed run, under its tenant's name."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from pandium._cli.app import run
from pandium.emulator import Garbage, Polls, Status
from support.cli import FAST_POLLING, add_tenants, read_outcomes
from support.servers import Behavior, Misbehaving, Wire, answer

if TYPE_CHECKING:
    from pandium.emulator import Emulator

pytestmark = pytest.mark.usefixtures("api_environment")

SYNC = ["--wait", "--logs", "-f", "jsonl", *FAST_POLLING]
TITLE = re.compile(r"^--- (\S+) \(tenant (\d+)\), run (\d+): (.*)$", re.MULTILINE)


def test_the_log_of_each_failed_run_is_printed(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tenants sync --logs` prints the logs of failed runs to standard error, and no others."""
    ids = add_tenants(emulator, "Failed (Timeout)", "Succeeded", "Failed (Refresh)")
    assert run(["tenants", "sync", *ids, *SYNC]) == 1
    written = capsys.readouterr()
    assert read_outcomes(written.out) == {1: "failed", 2: "succeeded", 3: "failed"}
    titles = sorted(TITLE.findall(written.err), key=lambda title: int(title[1]))
    names = {tenant.id: tenant.name for tenant in emulator.tenants}
    assert [(name, tenant, status) for name, tenant, _, status in titles] == [
        (names[1], "1", "Failed (Timeout)"),
        (names[3], "3", "Failed (Refresh)"),
    ]
    for _, _, run_id, status in titles:
        assert f"run {run_id}: {status}\n" in written.err
    assert written.err.endswith("pandium-api: 2 failed, 1 succeeded\n")


def test_nothing_is_requested_if_no_run_failed(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without failed runs, `--logs` prints nothing and sends no request."""
    [tenant] = add_tenants(emulator, "Succeeded")
    assert run(["tenants", "sync", tenant, *SYNC]) == 0
    assert capsys.readouterr().err == "pandium-api: 1 succeeded\n"
    assert not any(request.path.endswith(("/runs", "/tenants")) for request in emulator.requests)


@pytest.mark.parametrize("tenants", [[], ["--tenant", "2"], ["--tenant", "1", "--tenant", "2"]])
def test_a_bundled_run_is_printed_once(
    tenants: list[str], emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several triggers of one run lead to one log, whichever way the tenant is found."""
    emulator.add_tenant("other")
    emulator.add_tenant("acme")
    # The first run is in progress until it is polled, so the other triggers share the next run.
    emulator.runs.script(appears_after=0, phases=[("Running", Polls(1)), ("Failed (Timeout)", 0)])
    for _ in range(4):
        run(["tenants", "sync", "2", "-f", "jsonl"])
    triggers = [json.loads(row)["trigger_id"] for row in capsys.readouterr().out.splitlines()]
    assert run(["runs", "wait", *triggers, "--logs", *tenants, *FAST_POLLING]) == 1
    titles = sorted(TITLE.findall(capsys.readouterr().err))
    assert titles == [("acme", "2", run_id, "Failed (Timeout)") for run_id in ("1", "2")]


def test_a_run_without_a_log_is_named(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a run has no log yet, the message says how to read it later. The exit code stays."""
    [tenant] = add_tenants(emulator, "Failed (Timeout)")
    emulator.faults.add("runs.log", Status(404))
    assert run(["tenants", "sync", tenant, *SYNC]) == 1
    assert "(no log yet; to read it later, run: pandium-api runs log 1)" in capsys.readouterr().err


def test_a_log_that_cannot_be_read_does_not_change_the_outcome(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors while reading a log, a run or the names are printed, and the exit code stays."""
    [tenant] = add_tenants(emulator, "Failed (Timeout)")
    line = ["tenants", "sync", tenant, *SYNC, "--attempts", "1"]
    emulator.faults.add("runs.log", Garbage(), times=1)
    emulator.faults.add("tenants.list", Status(500), times=1)
    assert run(line) == 1
    error = capsys.readouterr().err
    assert "the names of the tenants could not be read: GET /v2/tenants: 500" in error
    assert "--- tenant 1 (tenant 1), run 1: Failed (Timeout)\n(the log could not be read" in error
    emulator.faults.add("tenants.runs", Status(500), times=1)
    assert run(line) == 1
    assert "the run of trigger 2 could not be found: GET" in capsys.readouterr().err


def test_a_run_that_is_not_found_is_named(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the given tenants have no run with the trigger, a message says so."""
    ids = add_tenants(emulator, "Failed (Timeout)", "Succeeded")
    run(["tenants", "sync", ids[0]])
    assert run(["runs", "wait", "1", "--logs", "--tenant", ids[1], *FAST_POLLING]) == 1
    assert "the run of trigger 1 was not found\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tenants sync 1 --logs", "--logs requires --wait"),
        ("runs wait 1 --tenant 1", "--tenant requires --logs"),
    ],
)
def test_the_options_that_belong_together(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option without the one that it belongs to is a usage error."""
    assert run(line.split()) == 2
    assert message in capsys.readouterr().err


# A log on a raw server, which is longer than what is printed

LINES = [f"line {number}" for number in range(1, 1001)]
TRIGGER = {"id": 17, "created_date": "2026-01-01T00:00:00Z", "source": "api", "mode": "normal"}


def long_log(control: str) -> Behavior:
    """Return a service whose only run failed with a long log."""

    async def play(wire: Wire) -> None:
        assert wire.request is not None
        path = wire.request.path
        if path.endswith("/runs/5/log"):
            location = f"http://{wire.request.header('host')}/storage"
            await wire.send(answer(b"", "302 Found", {"Location": location}))
        elif path == "/storage":
            await wire.send(answer("\n".join([*LINES, control]).encode()))
        else:
            await wire.send(answer(json.dumps(respond(path)).encode()))

    return Behavior("a long log", play, keeps=True)


def respond(path: str) -> object:
    if path.endswith("/status"):
        return {"status": "Failed (Timeout)"}
    if path.endswith("/runs"):
        return [{"id": 5, "mode": "normal", "triggers": [TRIGGER]}]
    return [{"id": 7, "name": "acme"}]


def test_a_long_log_is_shortened_from_its_beginning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last 100 lines are printed, with escapes for controls, and how to read the others."""
    with Misbehaving(otherwise=long_log("\x1b[31mred\r")) as server:
        monkeypatch.setenv("PANDIUM_BASE_URL", server.url)
        assert run(["runs", "wait", "17", "--logs", *FAST_POLLING]) == 1
    _, title, more, *lines, summary = capsys.readouterr().err.splitlines()
    assert title == "--- acme (tenant 7), run 5: Failed (Timeout)"
    assert more == ("(901 earlier lines omitted; to read all, run: pandium-api runs log 5)")
    assert lines == [*LINES[-99:], "\\x1b[31mred"]
    assert summary == "pandium-api: 1 failed"
