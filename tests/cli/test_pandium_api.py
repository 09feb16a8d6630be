"""The process of the command: startup, missing extras, closed or full streams, and interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

import pandium
import pandium_api
from pandium._cli import main
from pandium._cli.options import decode_arguments
from support import KEY
from support.cli import (
    DEADLINE,
    FAST_POLLING,
    PREPARE_CHILD,
    RUN_CHILD,
    add_tenants,
    api_variables,
    child_environment,
    limit_file_size,
    run_child,
    start_child,
)
from support.posix import IS_POSIX
from support.waiting import is_asleep, wait_until

if IS_POSIX:
    import fcntl
    import termios

if TYPE_CHECKING:
    from pandium.emulator import Emulator

PIPE_SIZE = 2**16  # on Linux and macOS


def is_full(source: int) -> bool:
    """Return whether a pipe contains almost as much as it can."""
    waiting = array("i", [0])
    fcntl.ioctl(source, termios.FIONREAD, waiting)
    return waiting[0] > PIPE_SIZE * 3 / 4


# Startup


@pytest.mark.parametrize("arguments", [["--help"], ["tenants", "sync", "--help"], ["--version"]])
def test_help_does_not_load_the_client(arguments: list[str]) -> None:
    """A command line that sends no request imports neither the HTTP libraries nor rich."""
    program = (
        f"{PREPARE_CHILD}from pandium._cli import main; code = main();"
        "slow = {'cattrs', 'httpcore2', 'httpx', 'rich'};"
        "sys.stderr.write(' '.join(slow & set(sys.modules))); sys.exit(code)"
    )
    done = run_child(*arguments, program=program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


INTERRUPT_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupter:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupter())
from pandium_api import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "code"), [("pandium._cli", -signal.SIGINT), ("pandium._cli.app", 130)]
)
def test_ctrl_c_during_the_start_shows_no_traceback(module: str, code: int) -> None:
    """While the package is being imported, SIGINT ends the process. Later, the exit code is 130."""
    done = run_child("--help", program=INTERRUPT_IMPORT.format(module=module))
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
@pytest.mark.usefixtures("capsys")
def test_the_handler_of_sigint_is_restored(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the import, SIGINT is handled or ignored as before."""
    monkeypatch.setattr(sys, "argv", ["pandium-api", "--version"])
    previous = signal.signal(signal.SIGINT, handler)
    try:
        assert pandium_api.main() == 0
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, previous)


# Missing extras


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("click", ["--version"], "cli"),
        ("click", ["demo"], "demo"),
        ("rich", ["tenants", "list"], "cli"),
        ("fastapi", ["demo"], "demo"),
        ("uvicorn", ["emulator"], "emulator"),
        ("mcp", ["mcp"], "mcp"),
    ],
)
def test_a_missing_extra_is_one_line(module: str, arguments: list[str], extra: str) -> None:
    """A missing module is reported on one line, with instructions to install it."""
    program = f"import sys; sys.modules[{module!r}] = None; {RUN_CHILD}"
    done = run_child(*arguments, program=program)
    expected = f'pandium-api requires {module}: pip install "pandium[{extra}]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (3, "", expected)


@pytest.mark.parametrize("name", ["pandium._missing", None])
def test_a_module_of_no_extra_is_a_traceback(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing module that belongs to no extra is a bug, so the error is re-raised unchanged."""

    def fail(_: object) -> int:
        raise ModuleNotFoundError("gone", name=name)

    monkeypatch.setitem(sys.modules, "pandium._cli.app", SimpleNamespace(run=fail))
    with pytest.raises(ModuleNotFoundError, match="gone"):
        main()


def test_missing_extras_and_interrupts_have_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`main` returns 3 for a missing extra, and 130 for an interrupt."""
    errors = iter([ModuleNotFoundError("gone", name="rich.table"), KeyboardInterrupt()])

    def fail(_: object) -> int:
        raise next(errors)

    monkeypatch.setattr(sys, "argv", ["pandium-api"])
    monkeypatch.setitem(sys.modules, "pandium._cli.app", SimpleNamespace(run=fail))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # so that it is restored
    previous = signal.getsignal(signal.SIGINT)
    assert (main(), main()) == (3, 130)
    signal.signal(signal.SIGINT, previous)
    assert capsys.readouterr().err == 'pandium-api requires rich: pip install "pandium[cli]"\n'


# Streams


@pytest.mark.parametrize(
    ("closed", "code", "out", "error"),
    [
        ("stdout", 74, "", "pandium-api: error: standard output is closed\n"),
        ("stderr", 0, f"{pandium.__version__}\n", ""),
    ],
)
def test_a_closed_stream_is_not_a_traceback(  # noqa: PLR0917 - two fixtures
    closed: str,
    code: int,
    out: str,
    error: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If standard output is closed, the exit code is 74. A closed standard error has no effect."""
    monkeypatch.setattr(sys, "argv", ["pandium-api", "--version"])
    monkeypatch.setattr(sys, closed, None)
    assert main() == code
    assert capsys.readouterr() == (out, error)


@pytest.mark.posix
def test_output_that_cannot_be_written_has_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pipe is 141 and a full disk is 74. The final flush does not fail again."""
    monkeypatch.setattr(sys, "argv", ["pandium-api", "completion", "fish"])
    reading, writing = os.pipe()
    os.close(reading)
    for descriptor, code in ((writing, 141), (os.open("/dev/full", os.O_WRONLY), 74)):
        with os.fdopen(descriptor, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            assert main() == code


def run_with_full_disk(
    stream: str, line: str, emulator: Emulator
) -> subprocess.CompletedProcess[str]:
    """Run a child whose standard output or standard error cannot be written to."""
    with Path("/dev/full").open("wb") as full:
        return subprocess.run(
            [sys.executable, "-c", RUN_CHILD, *line.split()],
            check=False,
            encoding="utf-8",
            env=child_environment(api_variables(emulator.url)),
            stderr=full if stream == "stderr" else subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            stdout=full if stream == "stdout" else subprocess.PIPE,
            timeout=DEADLINE,
        )


@pytest.mark.posix
@pytest.mark.parametrize("line", ["tenants list", "tenants sync 1", "tenants sync 1 --wait"])
def test_a_full_disk_is_one_line(line: str, emulator: Emulator) -> None:
    """If the output is not writable, the error is one line, and any trigger is named."""
    emulator.runs.script(appears_after=0)
    emulator.add_tenant("acme")
    done = run_with_full_disk("stdout", f"{line} -f jsonl", emulator)
    assert done.returncode == 74
    error, *hints = done.stderr.splitlines()
    assert error == "pandium-api: error: cannot write the output: No space left on device"
    expected = ["pandium-api: to resume, run: pandium-api runs wait 1"]
    assert hints == (expected if "sync" in line else [])


@pytest.mark.posix
@pytest.mark.parametrize("line", ["--help", "emulator --help"])
def test_a_help_text_that_cannot_be_written_has_an_exit_code(line: str, emulator: Emulator) -> None:
    """The emulator parses its own options, but its exit code is that of any command."""
    done = run_with_full_disk("stdout", line, emulator)
    error = "pandium-api: error: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (74, error)


def test_the_output_is_the_same_without_buffers(emulator: Emulator) -> None:
    """With PYTHONUNBUFFERED, as in many containers, the output is the same."""
    emulator.add_tenant("acme")
    variables = api_variables(emulator.url)
    first = run_child("tenants", "list", environ=variables)
    second = run_child("tenants", "list", environ={**variables, "PYTHONUNBUFFERED": "1"})
    assert "acme" in first.stdout
    assert (second.stdout, second.stderr) == (first.stdout, first.stderr)


@pytest.mark.posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_to_a_non_blocking_pipe_is_complete(unbuffered: str, emulator: Emulator) -> None:
    """If another program has made a pipe non-blocking, the output waits for the reader."""
    for _ in range(200):
        emulator.add_tenant()
    line = ["tenants", "list", "--all", "--format", "json"]
    variables = {**api_variables(emulator.url), "PYTHONUNBUFFERED": unbuffered}
    expected = run_child(*line, environ=variables).stdout
    assert len(expected) > PIPE_SIZE
    source, target = os.pipe()
    os.set_blocking(target, False)
    child = start_child(*line, environ=variables, stdout=target)
    os.close(target)
    with os.fdopen(source, encoding="utf-8") as output:
        wait_until(lambda: is_full(source) or child.poll() is not None)
        assert output.read() == expected
    _, errors = child.communicate(timeout=DEADLINE)
    assert (child.returncode, errors) == (0, "")


@pytest.mark.posix
def test_metadata_from_a_non_blocking_pipe_is_complete(emulator: Emulator) -> None:
    """If standard input is non-blocking and still empty, the command waits for it."""
    emulator.add_tenant()
    source, target = os.pipe()
    os.set_blocking(source, False)
    line = ["tenants", "update-metadata", "1", "@-"]
    child = start_child(*line, environ=api_variables(emulator.url), stdin=source)
    os.close(source)
    wait_until(lambda: child.poll() is not None or is_asleep(child.pid))
    os.write(target, b'{"since": ')
    os.write(target, b'"2026-01-01"}')
    os.close(target)
    _, errors = child.communicate(timeout=DEADLINE)
    assert (child.returncode, errors) == (0, "")
    assert json.loads(emulator.requests[-1].body) == {"since": "2026-01-01"}


@pytest.mark.posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_is_cut_off_has_an_exit_code(
    unbuffered: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk fills up within the output, the exit code is 74, even without buffers."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # its data cannot be written
    for _ in range(50):
        emulator.add_tenant()
    variables = {**api_variables(emulator.url), "PYTHONUNBUFFERED": unbuffered}
    line = ["request", "GET", "/v2/tenants"]
    with (tmp_path / "out").open("wb") as out:
        child = start_child(
            *line, environ=variables, stdout=out, preexec_fn=limit_file_size(10_000)
        )
        _, errors = child.communicate(timeout=DEADLINE)
    assert (tmp_path / "out").stat().st_size == 10_000
    assert child.returncode == 74
    assert "cannot write the output" in errors


@pytest.mark.posix
@pytest.mark.parametrize(
    ("line", "code"), [("tenants sync 1 --wait", 0), ("integrations get 999", 4), ("tenants x", 2)]
)
def test_a_full_standard_error_does_not_change_the_exit_code(
    line: str, code: int, emulator: Emulator
) -> None:
    """If standard error is not writable, the exit code still indicates the outcome."""
    emulator.runs.script(appears_after=0)
    emulator.add_tenant()
    assert run_with_full_disk("stderr", line, emulator).returncode == code


def test_the_module_runs_the_command() -> None:
    """`python -m pandium_api` runs the command."""
    command = [sys.executable, "-m", "pandium_api", "--version"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout == f"{pandium.__version__}\n"


# External text


NAME = "Zo\u00eb"
LOCALES = {
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
}


# Run several command lines, separated by a plus sign, in one process.
RUN_LINES = """
import itertools, sys
from pandium._cli import main

codes = []
for is_separator, words in itertools.groupby(sys.argv[1:], "+".__eq__):
    if not is_separator:
        sys.argv[1:] = words
        codes.append(main())
sys.exit(max(codes))
"""


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("locale", LOCALES)
def test_text_is_utf_8_in_every_locale(
    locale: str, mark: str, emulator: Emulator, tmp_path: Path
) -> None:
    """A payload from a file, standard input or an argument is UTF-8, with or without a BOM."""
    emulator.add_tenant("acme")
    content = f'{mark}{{"name": "{NAME}"}}'.encode()
    file = tmp_path / "payload.json"
    file.write_bytes(content)
    command: list[str | bytes] = [sys.executable, "-c", RUN_LINES]
    for payload in (f"@{file}".encode(), b"@-", content):
        command += ["tenants", "sync", "1", "--payload", payload, "+"]
    environ = child_environment(api_variables(emulator.url, **LOCALES[locale]))
    subprocess.run(command, check=True, input=content, env=environ, timeout=60)
    bodies = [each.body for each in emulator.requests if each.operation == "tenants.sync"]
    assert bodies == [f'{{"name":"{NAME}"}}'.encode()] * 3


@pytest.mark.parametrize("locale", LOCALES)
def test_output_for_programs_is_utf_8_in_every_locale(locale: str, emulator: Emulator) -> None:
    """JSON, JSON Lines and CSV are UTF-8 in every locale."""
    emulator.add_integration("orders", long_name=NAME)
    command = [sys.executable, "-c", RUN_LINES]
    for output_format in ("json", "jsonl", "csv"):
        command += ["integrations", "list", "-f", output_format, "+"]
    environ = child_environment(api_variables(emulator.url, **LOCALES[locale]))
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environ, timeout=60)
    assert done.stdout.decode().count(NAME) == 3


@pytest.mark.parametrize("locale", LOCALES)
def test_arguments_are_utf_8_in_every_locale(
    locale: str, emulator: Emulator, tmp_path: Path
) -> None:
    """Names and the paths of files on the command line are UTF-8 in every locale."""
    emulator.add_tenant("acme", user_name=NAME)
    path = tmp_path / f"{NAME}.json"
    path.write_text("{}")
    command: list[str | bytes] = [sys.executable, "-m", "pandium_api", "integrations", "sync", "1"]
    command += ["--user-name", NAME.encode(), "--payload", f"@{path}".encode()]
    environ = child_environment(api_variables(emulator.url, **LOCALES[locale]))
    subprocess.run(command, check=True, env=environ, timeout=60)
    [request] = emulator.requests
    assert (parse_qs(request.query)["user_name"], request.body) == ([NAME], b"{}")


@pytest.mark.parametrize("argument", ["caf\u00e9", "\ud800", "a\udce9b"])
def test_an_argument_that_is_not_utf_8_is_kept(argument: str) -> None:
    """An argument in another encoding reaches the command as Python decoded it."""
    assert decode_arguments([argument]) == [argument]


@pytest.mark.posix
def test_a_key_file_may_have_a_byte_order_mark(emulator: Emulator, tmp_path: Path) -> None:
    """The byte order mark that Windows editors write is not part of the key."""
    file = tmp_path / "key"
    file.write_bytes(b"\xef\xbb\xbf" + KEY.encode() + b"\r\n")
    file.chmod(0o600)
    command = [sys.executable, "-m", "pandium_api", "--key-file", str(file), "tenants", "list"]
    environ = child_environment({"PANDIUM_BASE_URL": emulator.url})
    subprocess.run(command, check=True, env=environ, timeout=60, stdout=subprocess.DEVNULL)


@pytest.mark.posix
@pytest.mark.parametrize(
    ("arguments", "variables", "code"),
    [
        (["tenants", "list"], {}, 3),
        (["mcp"], {"PANDIUM_API_KEY": "key"}, 3),
        (["tenants", "sync", "1", "--payload", "@-"], {"PANDIUM_API_KEY": "key"}, 2),
    ],
)
def test_a_closed_standard_input_is_one_line(
    arguments: list[str], variables: dict[str, str], code: int
) -> None:
    """If standard input is closed but required, the error is one line without a traceback."""
    command = ["bash", "-c", '"$0" -m pandium_api "$@" 0<&-', sys.executable, *arguments]
    environ = child_environment({"PANDIUM_BASE_URL": "http://127.0.0.1:9", **variables})
    done = subprocess.run(
        command, check=False, stderr=subprocess.PIPE, text=True, env=environ, timeout=60
    )
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1


def test_bytes_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    """A file in another encoding is a one-line error that mentions the encoding."""
    file = tmp_path / "payload.json"
    file.write_bytes('{"name": "Zo\u00eb"}'.encode("latin-1"))
    arguments = ["tenants", "sync", "1", "--payload", f"@{file}"]
    done = run_child(*arguments, environ={"PANDIUM_API_KEY": "key"})
    assert done.returncode == 2
    assert "is not UTF-8 text" in done.stderr


NOT_UTF_8 = os.fsdecode(b"caf\xe9")  # "café" in Latin-1


@pytest.mark.posix
@pytest.mark.parametrize("locale", ["UTF-8", "ASCII"])
def test_a_file_name_need_not_be_utf_8(locale: str, emulator: Emulator, tmp_path: Path) -> None:
    """A journal, a key file and a payload can have any name that the system allows."""
    tenant_id, later = add_tenants(emulator, "Succeeded", "Succeeded", seconds=0)
    key_file, payload, journal = (tmp_path / f"{NOT_UTF_8}{end}" for end in (".key", "", ".db"))
    key_file.write_text(KEY)
    key_file.chmod(0o600)
    payload.write_text('{"since": 1}')
    line = ["tenants", "sync", tenant_id, "--key-file", str(key_file), "--payload", f"@{payload}"]
    line += ["--wait", "--journal", str(journal), *FAST_POLLING]
    environ = {"PANDIUM_BASE_URL": emulator.url, **LOCALES[locale]}
    done = run_child(*line, environ=environ)
    assert (done.returncode, done.stderr) == (0, "pandium-api: 1 succeeded\n")
    assert journal.exists()
    emulator.runs.script(tenant=int(later), phases=[("Running", 1000)])
    line[2] = later
    resumed = run_child(*line, "--wait-timeout", "0.2", environ=environ)
    assert f"--journal $'{tmp_path}/caf\\xe9.db'" in resumed.stderr


@pytest.mark.posix
@pytest.mark.parametrize("locale", ["UTF-8", "ASCII"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["journal", "show", NOT_UTF_8], r"journal 'caf\xe9' does not exist"),
        (
            ["tenants", "list", "--key-file", NOT_UTF_8],
            r"cannot read the key file caf\xe9: No such",
        ),
        (["tenants", "sync", "1", "--payload", f"@{NOT_UTF_8}"], r"cannot read caf\xe9: No such"),
        (["tenants", "list", "--profile", NOT_UTF_8], "cannot read "),
        ([NOT_UTF_8], r"No such command 'caf\xe9'"),
    ],
)
def test_a_file_name_that_is_not_utf_8_is_shown_by_its_bytes(
    line: list[str], message: str, locale: str, config_folder: Path
) -> None:
    r"""A byte that is not UTF-8 is an escape such as ``\xe9`` in messages."""
    done = run_child(*line, environ=LOCALES[locale])
    assert message in done.stderr
    assert "udce9" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
