"""The command: the demo as a child process, and its parts; what is missing or interrupted."""

import io
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from pandium import RunResult, TriggerStatus, WaitTimeout, __version__
from pandium._cli import app, main
from pandium._cli.demo import Bars, Lines, Report, Size, display_for, run, world
from support.cli import RUN, child_environment, run_child, run_on_terminal

SMALL = ["demo", "--tenants", "40", "--integrations", "1", "--syncs", "12"]
SMALL_TABLES = ["Succeeded", "Failed (Integration Issue)", "requests sent", "404s seen"]


def test_in_a_pipe_the_demo_writes_plain_lines() -> None:
    """Where standard output is no terminal there is a line per stage and a table, without codes."""
    done = run_child(*SMALL, environ={"FORCE_COLOR": "1", "http_proxy": "http://127.0.0.1:9"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:4] == [
        "seeding tenants: 40",
        "walking tenants: 40",
        "triggering syncs: 12",
        "waiting for runs: 12",
    ]
    assert all(name in done.stdout for name in SMALL_TABLES)
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


def test_on_a_terminal_the_demo_draws_bars() -> None:
    """On a terminal each stage has a bar, and the tables come after them."""
    code, screen = run_on_terminal(*SMALL, columns=100, lines=40)
    assert code == 0
    assert "\x1b[" in screen.written
    assert "━" in screen.written
    assert all(text in screen.text for text in ["40/40", "12/12", *SMALL_TABLES])


def test_no_color_makes_a_terminal_plain() -> None:
    """With `NO_COLOR` a terminal gets what a pipe gets."""
    code, screen = run_on_terminal(*SMALL[:-1], "1", environ={"NO_COLOR": "1"})
    assert code == 0
    assert "waiting for runs: 1\r\n" in screen.written
    assert "\x1b" not in screen.written


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("click", ["--version"], "cli"),
        ("click", ["demo"], "demo"),
        ("rich", ["tenants", "list"], "cli"),
        ("fastapi", ["demo"], "demo"),
        ("uvicorn", ["emulator"], "emulator"),
    ],
)
def test_a_missing_extra_is_one_line(module: str, arguments: list[str], extra: str) -> None:
    """What is not installed is named in one line of standard error, with the way to install it."""
    program = f"import sys; sys.modules[{module!r}] = None; {RUN}"
    done = run_child(*arguments, program=program)
    expected = f'pandium-api needs {module}: pip install "pandium[{extra}]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (3, "", expected)


def test_an_interrupt_ends_the_demo_cleanly() -> None:
    """Ctrl-C while runs are waited for ends the command with 130 and without a traceback."""
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, *SMALL],
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


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` writes the version of the package."""
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("option", ["--tenants", "--integrations", "--syncs"])
def test_a_number_below_one_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No option takes a number below 1: the error names it on standard error, with code 2."""
    assert app.run(["demo", option, "0"]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert option in written.err


def test_the_demo_does_not_sync_more_tenants_than_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More syncs than tenants are as many as tenants."""
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(sys, "argv", ["pandium-api", "demo", "--tenants", "3"])
    assert main() == 0
    assert "waiting for runs: 3\n" in capsys.readouterr().out


def test_runs_that_nobody_saw_the_end_of_are_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo ends with 1 if it is not complete."""
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(Report, "is_complete", lambda _: False)
    assert run(Size(1, 1, 1)) == 1
    assert "Succeeded" in capsys.readouterr().out


def completed(status: str | None) -> RunResult:
    if status is not None:
        return RunResult("1", TriggerStatus(status), None, 2, 1.0)
    error = WaitTimeout("too late", trigger_id="1", last_status=None, polls=2)
    return RunResult("1", None, error, 2, 1.0)


def test_outcomes_are_counted_by_word() -> None:
    """The table of outcomes has the vendor's words and the names of errors, most frequent first."""
    ends = [completed(word) for word in ("Failed (Refresh)", "Succeeded", "Succeeded", None)]
    report = Report(Size(10, 2, 4), 10, 0.5, ends, (20, 3), 1.25)
    assert report.outcomes() == [
        ("Succeeded", "2"),
        ("Failed (Refresh)", "1"),
        ("WaitTimeout", "1"),
    ]
    assert report.figures() == [
        ("requests sent", "20"),
        ("404s seen", "3"),
        ("seconds", "1.2"),
        ("tenants a second", "20"),
    ]


@pytest.mark.parametrize(
    ("walked", "words", "is_complete"),
    [
        (10, ["Succeeded", "Failed (Refresh)"], True),
        (9, ["Succeeded", "Succeeded"], False),
        (10, ["Succeeded", None], False),
        (10, ["Succeeded"], False),
    ],
)
def test_a_report_is_complete_if_nothing_is_missing(
    walked: int, words: list[str | None], *, is_complete: bool
) -> None:
    """Every tenant walked and every run's end seen, well or badly: that is complete."""
    report = Report(Size(10, 2, 2), walked, 0.5, list(map(completed, words)), (20, 3), 1.25)
    assert report.is_complete() is is_complete


def test_the_demos_world_is_the_same_each_time() -> None:
    """Equal sizes make equal tenants, of the integrations in turn, and report each of them."""
    steps: list[int] = []
    first, second = (world(Size(60, 3, 1), lambda: steps.append(1)) for _ in range(2))
    names = [(tenant.name, tenant.integration_id) for tenant in first.tenants]
    assert names[:4] == [("tenant-1", 1), ("tenant-2", 2), ("tenant-3", 3), ("tenant-4", 1)]
    assert names == [(tenant.name, tenant.integration_id) for tenant in second.tenants]
    assert len(steps) == 120


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "kind"),
    [
        (Terminal(), {"TERM": "xterm"}, Bars),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, Bars),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, Lines),
        (Terminal(), {"TERM": "dumb"}, Lines),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1"}, Lines),
    ],
)
def test_bars_are_for_terminals(stream: io.StringIO, environ: dict[str, str], kind: type) -> None:
    """Only a terminal that can draw, and whose user has not refused colour, gets bars."""
    assert type(display_for(stream, environ)) is kind


def test_bars_show_steps_and_tables() -> None:
    """A bar counts the steps of its stage, and a table has its title, names and numbers."""
    stream = Terminal()
    with Bars(Console(file=stream, force_terminal=True, width=100)) as bars:
        advance = bars.begin("walking", 2)
        advance()
        advance()
    bars.table("Figures", [("requests sent", "123")])
    assert all(text in stream.getvalue() for text in ("2/2", "Figures", "requests sent", "123"))


@pytest.mark.parametrize("name", ["pandium._nowhere", None])
def test_errors_of_its_own_are_not_blamed_on_extras(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that no extra would bring is an error with its traceback."""

    def fail(_: object) -> int:
        raise ModuleNotFoundError("gone", name=name)

    monkeypatch.setitem(sys.modules, "pandium._cli.app", SimpleNamespace(run=fail))
    with pytest.raises(ModuleNotFoundError, match="gone"):
        main()


def test_what_is_missing_or_interrupted_is_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`main` gives 3 for a missing extra and 130 for an interrupt."""
    errors = iter([ModuleNotFoundError("gone", name="rich.table"), KeyboardInterrupt()])

    def fail(_: object) -> int:
        raise next(errors)

    monkeypatch.setattr(sys, "argv", ["pandium-api"])
    monkeypatch.setitem(sys.modules, "pandium._cli.app", SimpleNamespace(run=fail))
    before = signal.getsignal(signal.SIGINT)
    assert (main(), main()) == (3, 130)
    signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == 'pandium-api needs rich: pip install "pandium[cli]"\n'
