"""The command as a whole: missing extras, interrupts, and the version."""

import signal
import sys
from types import SimpleNamespace

import pytest

from pandium import __version__
from pandium._cli import app, main
from support.cli import RUN, run_child


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


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` writes the version of the package."""
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


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
