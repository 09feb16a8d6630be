"""The `demo` command as a child process, in a pipe and on a terminal, and its parts."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from pandium import RunResult, TriggerStatus, WaitTimeout
from pandium._cli import main
from pandium._cli.app import run as run_command
from pandium._cli.demo import Bars, Lines, Report, Size, choose_display, create_emulator, run
from support.cli import RUN_CHILD, Terminal, child_environment, run_child, run_on_terminal

SMALL = ["demo", "--tenants", "40", "--integrations", "1", "--syncs", "12"]
SMALL_TABLES = ["Succeeded", "Failed (Integration Issue)", "requests sent", "404 responses"]


def test_in_a_pipe_the_demo_writes_plain_lines() -> None:
    """In a pipe, the demo prints a line per stage and plain tables, without escape sequences."""
    done = run_child(*SMALL, environ={"FORCE_COLOR": "1", "http_proxy": "http://127.0.0.1:9"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:4] == [
        "seeding tenants: 40",
        "listing tenants: 40",
        "triggering syncs: 12",
        "waiting for runs: 12",
    ]
    assert all(name in done.stdout for name in SMALL_TABLES)
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


@pytest.mark.posix
def test_on_a_terminal_the_demo_draws_bars() -> None:
    """On a terminal, each stage has a progress bar, followed by the tables."""
    code, screen = run_on_terminal(*SMALL, columns=100, lines=40)
    assert code == 0
    assert "\x1b[" in screen.written
    assert "━" in screen.written
    assert all(text in screen.text for text in ["40/40", "12/12", *SMALL_TABLES])


@pytest.mark.posix
def test_no_color_makes_a_terminal_plain() -> None:
    """With `NO_COLOR`, a terminal gets the same output as a pipe."""
    code, screen = run_on_terminal(*SMALL[:-1], "1", environ={"NO_COLOR": "1"})
    assert code == 0
    assert "waiting for runs: 1\r\n" in screen.written
    assert "\x1b" not in screen.written


@pytest.mark.posix
def test_an_interrupt_ends_the_demo_cleanly() -> None:
    """Ctrl-C during the wait ends the command with exit code 130 and without a traceback."""
    child = subprocess.Popen(
        [sys.executable, "-c", RUN_CHILD, *SMALL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=child_environment({}),
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("triggering"):
            child.send_signal(signal.SIGINT)
            break
    rest, errors = child.communicate(timeout=30)
    assert (child.returncode, rest, errors) == (130, "", "")


@pytest.mark.parametrize("option", ["--tenants", "--integrations", "--syncs"])
def test_a_number_below_one_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A number below 1 is an error that names the option, with exit code 2."""
    assert run_command(["demo", option, "0"]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert option in written.err


def test_the_demo_does_not_sync_more_tenants_than_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If more syncs than tenants are requested, each tenant is synced once."""
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(sys, "argv", ["pandium-api", "demo", "--tenants", "3"])
    assert main() == 0
    assert "waiting for runs: 3\n" in capsys.readouterr().out


def test_an_incomplete_demo_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo ends with exit code 1 if its report is not complete."""
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(Report, "is_complete", lambda _: False)
    assert run(Size(1, 1, 1)) == 1
    assert "Succeeded" in capsys.readouterr().out


def make_result(status: str | None) -> RunResult:
    if status is not None:
        return RunResult("1", TriggerStatus(status), None, 2, 1.0)
    error = WaitTimeout("too late", trigger_id="1", last_status=None, polls=2)
    return RunResult("1", None, error, 2, 1.0)


def test_outcomes_are_counted_by_status() -> None:
    """Outcomes are counted by status or error name, most frequent first."""
    statuses = ("Failed (Refresh)", "Succeeded", "Succeeded", None)
    results = [make_result(status) for status in statuses]
    report = Report(Size(10, 2, 4), 10, 0.5, results, (20, 3), 1.25)
    assert report.outcomes() == [
        ("Succeeded", "2"),
        ("Failed (Refresh)", "1"),
        ("WaitTimeout", "1"),
    ]
    assert report.figures() == [
        ("requests sent", "20"),
        ("404 responses", "3"),
        ("seconds", "1.2"),
        ("tenants per second", "20"),
    ]


@pytest.mark.parametrize(
    ("listed", "statuses", "is_complete"),
    [
        (10, ["Succeeded", "Failed (Refresh)"], True),
        (9, ["Succeeded", "Succeeded"], False),
        (10, ["Succeeded", None], False),
        (10, ["Succeeded"], False),
    ],
)
def test_a_report_is_complete_if_nothing_is_missing(
    listed: int, statuses: list[str | None], *, is_complete: bool
) -> None:
    """A report is complete if every tenant was listed and every run ended, successfully or not."""
    results = [make_result(status) for status in statuses]
    report = Report(Size(10, 2, 2), listed, 0.5, results, (20, 3), 1.25)
    assert report.is_complete() is is_complete


def test_the_emulator_of_the_demo_is_deterministic() -> None:
    """Equal sizes produce equal tenants, distributed among the integrations."""
    steps: list[int] = []
    first, second = (create_emulator(Size(60, 3, 1), lambda: steps.append(1)) for _ in range(2))
    names = [(tenant.name, tenant.integration_id) for tenant in first.tenants]
    assert names[:4] == [("tenant-1", 1), ("tenant-2", 2), ("tenant-3", 3), ("tenant-4", 1)]
    assert names == [(tenant.name, tenant.integration_id) for tenant in second.tenants]
    assert len(steps) == 120


def test_only_a_capable_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets bars, whereas a dumb terminal or a pipe gets lines."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose_display(Terminal()), Bars)
    assert isinstance(choose_display(io.StringIO()), Lines)
    monkeypatch.setenv("TTY_INTERACTIVE", "0")
    assert isinstance(choose_display(Terminal()), Lines)
    monkeypatch.delenv("TTY_INTERACTIVE")
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose_display(Terminal()), Lines)


def test_bars_show_steps_and_tables() -> None:
    """A bar counts the steps of its stage. A table has a title, names and numbers."""
    stream = Terminal()
    with Bars(Console(file=stream, force_terminal=True, width=100)) as bars:
        advance = bars.begin("listing", 2)
        advance()
        advance()
    bars.table("Figures", [("requests sent", "123")])
    assert all(text in stream.getvalue() for text in ("2/2", "Figures", "requests sent", "123"))
