"""The report of a wait for runs: rows, a progress bar, a summary and an exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pandium._cli.app import run
from support.cli import FAST_POLLING, add_tenants, api_variables, read_outcomes, run_on_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator

OUTCOMES = {"Succeeded": "succeeded", "Completed": "succeeded", "In progress": "timeout"}


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize(
    ("statuses", "code", "summary"),
    [
        (["Succeeded", "Completed"], 0, "2 succeeded"),
        (["Succeeded", "Failed (Timeout)"], 1, "1 failed, 1 succeeded"),
        (["Succeeded", "In progress"], 5, "1 succeeded, 1 timeout"),
        (["Failed (Refresh)", "In progress"], 1, "1 failed, 1 timeout"),
    ],
)
def test_the_exit_code_of_a_wait_reports_the_outcomes(
    statuses: list[str],
    code: int,
    summary: str,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code is 0 if all succeeded, 1 if some failed, and 5 if some timed out."""
    ids = add_tenants(emulator, *statuses)
    line = ["tenants", "sync", *ids, "--wait", "--wait-timeout", "0.5", *FAST_POLLING]
    assert run([*line, "-f", "jsonl"]) == code
    written = capsys.readouterr()
    outcomes = read_outcomes(written.out)
    assert [outcomes[int(id_)] for id_ in ids] == [OUTCOMES.get(s, "failed") for s in statuses]
    assert f"pandium-api: {summary}\n" in written.err
    hint = "not finish within the time limit; to resume, run: pandium-api runs wait 2\n"
    assert (hint in written.err) is ("In progress" in statuses)


@pytest.mark.posix
@pytest.mark.parametrize("has_journal", [False, True])
def test_a_bar_is_drawn_on_a_terminal(
    has_journal: bool,  # noqa: FBT001 - a test parameter
    emulator: Emulator,
    tmp_path: Path,
) -> None:
    """On a terminal, a bar counts the runs that have ended and is removed at the end."""
    ids = add_tenants(emulator, "Succeeded", "Failed (Timeout)")
    line = ["tenants", "sync", *ids, "--wait", "--min-interval", "0.1"]
    line += ["--journal", str(tmp_path / "sync.db")] if has_journal else []
    code, screen = run_on_terminal(*line, columns=120, environ=api_variables(emulator.url))
    assert code == 1
    assert "━" in screen.written
    assert "2/2" in screen.written
    messages = ("failed: Failed", "to print the logs")
    lines = [row for row in screen.rows if row and not any(text in row for text in messages)]
    title, *rows, summary = lines
    assert title.startswith("TENANT")
    assert sorted(row.split()[0] for row in rows) == ids
    assert summary == "pandium-api: 1 failed, 1 succeeded"


@pytest.mark.posix
@pytest.mark.parametrize(
    ("name", "value"), [("NO_COLOR", "1"), ("TTY_INTERACTIVE", "0"), ("TTY_COMPATIBLE", "0")]
)
def test_a_variable_can_turn_the_bar_off(name: str, value: str, emulator: Emulator) -> None:
    """A terminal gets plain lines if a variable of the user says so, and no empty ones."""
    ids = add_tenants(emulator, "Succeeded")
    line = ["tenants", "sync", *ids, "--wait", "--min-interval", "0.1"]
    code, screen = run_on_terminal(*line, environ=api_variables(emulator.url, **{name: value}))
    assert code == 0
    assert "━" not in screen.written
    assert ("\x1b" in screen.written) is (name != "NO_COLOR")  # the title is in bold
    title, row, summary = screen.written.splitlines()
    assert "TENANT" in title
    assert "succeeded" in row
    assert summary == "pandium-api: 1 succeeded"


@pytest.mark.posix
def test_the_bar_does_not_overwrite_rows(emulator: Emulator) -> None:
    """JSON printed on a terminal with a bar is complete."""
    ids = add_tenants(emulator, "Succeeded", "Succeeded")
    line = ["tenants", "sync", *ids, "--wait", "--min-interval", "0.1", "-f", "json"]
    code, screen = run_on_terminal(*line, columns=250, environ=api_variables(emulator.url))
    assert code == 0
    *array, summary = [row for row in screen.rows if row]
    assert sorted(row["tenant_id"] for row in json.loads("".join(array))) == [1, 2]
    assert summary == "pandium-api: 2 succeeded"
