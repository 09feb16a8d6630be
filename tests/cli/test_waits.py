"""The `runs wait` command: results, time limits and Ctrl-C."""

from __future__ import annotations

import io
import json
import shlex
import signal
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click
import pytest

from pandium._cli.app import app, run
from pandium._cli.waits import MissingRuns, create_polling, wait_for_triggers
from support import KEY
from support.cli import (
    DEADLINE,
    FAST_POLLING,
    InterruptingOutput,
    Screen,
    add_tenants,
    api_variables,
    run_on_terminal,
    start_child,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator

pytestmark = pytest.mark.usefixtures("api_environment")

INTERRUPTED = "pandium-api: interrupted\npandium-api: to resume, run: pandium-api runs wait 1\n"


def sync_tenants(emulator: Emulator, *final_statuses: str) -> list[str]:
    """Sync a tenant for each final status and return the triggers."""
    output = io.StringIO()
    ids = add_tenants(emulator, *final_statuses)
    with redirect_stdout(output):
        assert run(["tenants", "sync", *ids, "-f", "jsonl"]) == 0
    return [json.loads(row)["trigger_id"] for row in output.getvalue().splitlines()]


def test_a_wait_takes_the_triggers_of_a_sync(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """`runs wait` accepts the triggers that `tenants sync` prints, and waits once for each."""
    ids = add_tenants(emulator, "Succeeded", "Failed (Timeout)")
    assert run(["tenants", "sync", *ids]) == 0
    title, *rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert title == ["TENANT", "TRIGGER"]
    triggers = [row[1] for row in rows]
    assert run(["runs", "wait", *triggers, triggers[0], *FAST_POLLING]) == 1
    written = capsys.readouterr()
    assert sorted(row.split()[:2] for row in written.out.splitlines()[1:]) == [
        ["1", "succeeded"],
        ["2", "failed"],
    ]
    assert "Failed (Timeout)" in written.out
    assert written.err.splitlines() == [
        "pandium-api: trigger 2: failed: Failed (Timeout)",
        "pandium-api: to print the logs of the failed runs, run: pandium-api runs wait --logs 2",
        "pandium-api: 1 failed, 1 succeeded",
    ]


def test_the_command_to_resume_uses_the_same_connection(
    emulator: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command to resume repeats the server and key options and can be run."""
    monkeypatch.delenv("PANDIUM_API_KEY")
    monkeypatch.delenv("PANDIUM_BASE_URL")
    key = tmp_path / "a key"
    key.touch(mode=0o600)
    key.write_text(KEY)
    connection = ["--base-url", emulator.url, "--key-file", str(key)]
    [tenant] = add_tenants(emulator, "Succeeded", seconds=1000)
    line = ["tenants", "sync", tenant, "--wait", *FAST_POLLING, "--wait-timeout", "0.3"]
    assert run([*connection, *line]) == 5
    _, _, command = capsys.readouterr().err.partition("to resume, run: ")
    words = shlex.split(command)
    assert words == ["pandium-api", "runs", "wait", *connection, "1"]
    assert run([*words[1:], *FAST_POLLING, "--wait-timeout", "0.1"]) == 5


def test_the_command_to_resume_accepts_any_trigger(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trigger whose id looks like an option is not taken for one in a suggested command."""
    assert emulator.url  # which the environment refers to
    line = ["runs", "wait", *FAST_POLLING, "--wait-timeout", "0.3", "--", "-5"]
    assert run(line) == 5
    _, _, command = capsys.readouterr().err.partition("to resume, run: ")
    words = shlex.split(command)
    assert words == ["pandium-api", "runs", "wait", "--", "-5"]


def test_an_interrupted_wait_says_how_to_resume(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C, the message contains a command that waits for the remaining runs."""
    triggers = sync_tenants(emulator, "In progress", "Succeeded")
    monkeypatch.setattr(sys, "stdout", InterruptingOutput("succeeded"))
    with pytest.raises(KeyboardInterrupt):
        run(["runs", "wait", *triggers, *FAST_POLLING])
    assert capsys.readouterr().err == INTERRUPTED


@pytest.mark.posix
def test_ctrl_c_ends_a_wait_with_130(emulator: Emulator) -> None:
    """SIGINT ends a child with exit code 130 and one line on standard error."""
    triggers = sync_tenants(emulator, "In progress", "Succeeded")
    line = ["runs", "wait", *triggers, "--min-interval", "0.1", "-f", "jsonl"]
    child = start_child(*line, environ=api_variables(emulator.url))
    assert child.stdout is not None
    assert '"succeeded"' in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    rest, errors = child.communicate(timeout=DEADLINE)
    assert (child.returncode, rest) == (130, "")
    assert errors == INTERRUPTED


@pytest.mark.posix
def test_ctrl_c_leaves_a_usable_terminal(emulator: Emulator) -> None:
    """Ctrl-C removes the bar, shows the cursor again, and prints how to resume."""
    triggers = sync_tenants(emulator, "In progress", "Succeeded")
    line = ["runs", "wait", *triggers, "--min-interval", "0.1"]
    keys = [b"\x03"]

    def press(screen: Screen) -> bytes | None:
        return keys.pop() if keys and "succeeded" in screen.written else None

    environ = api_variables(emulator.url)
    code, screen = run_on_terminal(*line, columns=120, type_keys=press, environ=environ)
    assert code == 130
    assert INTERRUPTED.strip() in screen.text
    assert "━" not in screen.text
    assert screen.written.rindex("\x1b[?25h") > screen.written.rindex("\x1b[?25l")
    assert "Traceback" not in screen.written


def test_an_outage_is_one_line_that_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """If the server is down, one line explains it, and so does the reason of each timeout."""
    line = ["runs", "wait", "1", "2", "3", *FAST_POLLING, "--wait-timeout", "0.5"]
    assert run([*line, "--base-url", "http://127.0.0.1:1", "-f", "jsonl"]) == 5
    first, *reasons, _, _ = capsys.readouterr().err.splitlines()
    assert "failed: GET http://127.0.0.1:1/v2/runs/triggers/" in first
    assert len(reasons) == 3
    assert all("the last poll failed: GET http://127.0.0.1:1/" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("options", "minimum", "maximum"),
    [
        ([], 1.0, 15.0),
        (["--max-interval", "0.5"], 0.5, 0.5),
        (["--min-interval", "20"], 20.0, 20.0),
        (["--min-interval", "2", "--max-interval", "3"], 2.0, 3.0),
    ],
)
def test_an_interval_does_not_conflict_with_the_default_of_the_other(
    options: list[str], minimum: float, maximum: float
) -> None:
    """If only one interval is given, the other follows it."""
    group = app.commands["runs"]
    assert isinstance(group, click.Group)
    with group.commands["wait"].make_context("wait", ["1", *options]):
        polling = create_polling()
    assert (polling.minimum, polling.maximum) == (minimum, maximum)


@pytest.mark.parametrize(
    ("responses", "named"),
    [
        ([(0, 404), (20, 404), (40, 404), (60, 404)], 1),
        ([(0, 404), (20, 404), (40, 404), (59, 404)], 0),
        ([(0, 404), (20, 404), (40, 503), (60, 404), (80, 404)], 0),
        ([(0, 404), (20, 404), (40, 404), (60, 404), (61, 200)], 0),
        ([(0, 404), (600, 404)], 0),  # the connections failed in between
        ([(0, 404), (600, 404), (620, 404), (640, 404)], 1),
        ([], 0),
    ],
)
def test_only_a_404_for_some_time_suggests_a_typo(
    responses: list[tuple[float, int]], named: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trigger is named, once, if all responses for it were 404 for a minute."""
    missing = MissingRuns(60)
    for now, status_code in responses:
        missing.count("17%2F1", status_code, now)
        missing.count("18", 200, now)
    missing.name_new()
    missing.name_new()
    errors = capsys.readouterr().err
    assert errors.count("no run has appeared after 60 s for: 17/1; check") == named
    assert len(errors.splitlines()) == named


def test_a_trigger_without_a_run_is_named(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wait for the id of no trigger names it, in contrast to that of a trigger with a run."""
    [tenant_id] = add_tenants(emulator, "Succeeded", seconds=1000)
    assert run(["tenants", "sync", tenant_id]) == 0
    group = app.commands["runs"]
    assert isinstance(group, click.Group)
    line = ["1", "1O", *FAST_POLLING, "--max-interval", "0.05", "--wait-timeout", "1"]
    with group.commands["wait"].make_context("wait", line):
        assert wait_for_triggers(["1", "1O"], suspicious_after=0.4) == 5
    errors = capsys.readouterr().err
    assert errors.count("no run has appeared after 0.4 s for: 1O; check") == 1
    assert "no run has appeared after 0.4 s for: 1;" not in errors


def test_a_failure_says_how_to_get_the_log(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a failed run, the printed command prints its log."""
    ids = add_tenants(emulator, "Failed (Timeout)", "Succeeded")
    assert run(["tenants", "sync", *ids, "--wait", *FAST_POLLING]) == 1
    _, _, command = capsys.readouterr().err.splitlines()[1].rpartition("run: ")
    expected = ["pandium-api", "runs", "wait", "--logs", "--tenant", "1"]
    assert shlex.split(command)[:-1] == expected
    assert run([*shlex.split(command)[1:], *FAST_POLLING]) == 1
    assert "Failed (Timeout)" in capsys.readouterr().err
