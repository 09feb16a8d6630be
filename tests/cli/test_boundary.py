"""The edge of the process: keys, errors, pipes that close, the start, and completion."""

from __future__ import annotations

import getpass
import http.server
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

import pandium
import pandium_api
from pandium._cli import main
from pandium._cli.app import app, run
from support.cli import (
    KEY,
    NONE,
    PATIENCE,
    RUN,
    START,
    Screen,
    Terminal,
    child_environment,
    of,
    run_child,
    run_on_terminal,
    start_child,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click
    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

LISTING = ["tenants", "list", "-f", "jsonl"]


@pytest.fixture
def _api(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator.add_tenant("acme")
    monkeypatch.setenv("PANDIUM_BASE_URL", emulator.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


# The key.


def key_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.usefixtures("_api")
def test_the_key_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private file gives the key, before the environment and without the line's end."""
    monkeypatch.setenv("PANDIUM_API_KEY", "some-other-key")
    path = key_file(tmp_path, f"{KEY}\n")
    assert run([*LISTING, "--key-file", path]) == 0
    assert run(["--key-file", path, *LISTING]) == 0
    assert run(["--key-file", "nowhere", *LISTING, "--key-file", path]) == 0


@pytest.mark.usefixtures("_api")
def test_the_key_comes_from_a_pipe() -> None:
    """What another program writes into a pipe gives the key, as in --key-file <(pass show key)."""
    reading, writing = os.pipe()
    os.write(writing, KEY.encode())
    os.close(writing)
    assert run([*LISTING, "--key-file", f"/dev/fd/{reading}"]) == 0
    os.close(reading)


@pytest.mark.usefixtures("_api")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777, 0o601])
def test_a_key_file_that_others_can_use_is_refused(
    mode: int, tmp_path: Path, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with any right for others is refused by its mode, nothing is sent, and it is 3."""
    path = key_file(tmp_path, KEY, mode)
    assert run([*LISTING, "--key-file", path]) == 3
    written = capsys.readouterr()
    assert (written.out, written.err.count("\n")) == ("", 1)
    assert f"its mode is {mode:04o}" in written.err
    assert KEY not in written.err
    assert list(emulator.requests) == []


@pytest.mark.usefixtures("_api")
def test_a_key_file_without_a_key_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is missing, empty or no text is a matter of configuration, 3."""
    assert run([*LISTING, "--key-file", str(tmp_path / "nowhere")]) == 3
    assert "cannot be read: No such file" in capsys.readouterr().err
    assert run([*LISTING, "--key-file", key_file(tmp_path, " \n")]) == 3
    assert "is empty" in capsys.readouterr().err
    assert run([*LISTING, "--key-file", key_file(tmp_path, "one\ntwo\n")]) == 3
    assert "has more than one line" in capsys.readouterr().err
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    assert run([*LISTING, "--key-file", str(tmp_path / "key")]) == 3
    assert "it is no text" in capsys.readouterr().err


@pytest.mark.usefixtures("_api")
def test_without_a_terminal_a_key_is_not_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can answer, a key that is missing is an error that says where to put it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(KEY))
    monkeypatch.setenv("PANDIUM_API_KEY", "  ")
    assert run(LISTING) == 3
    assert "set PANDIUM_API_KEY, or name a file with --key-file" in capsys.readouterr().err


@pytest.mark.usefixtures("_api")
@pytest.mark.parametrize(("typed", "code"), [(KEY, 0), ("", 3), (EOFError(), 3), ("wrong", 4)])
def test_on_a_terminal_a_key_is_asked_for(
    typed: str | EOFError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is typed is the key; nothing typed is a matter of configuration."""

    def ask(_: str) -> str:
        if isinstance(typed, str):
            return typed
        raise typed

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", ask)
    assert run(LISTING) == code


def test_a_prompt_shows_nothing_of_the_key(emulator: Emulator) -> None:
    """A key that is typed at the prompt works, and is nowhere on the terminal."""
    emulator.add_tenant("acme")
    typed: list[bytes] = []

    def answer(screen: Screen) -> bytes | None:
        if typed or "Pandium API key: " not in screen.written:
            return None
        typed.append(f"{KEY}\n".encode())
        return typed[0]

    code, screen = run_on_terminal(
        "tenants", "list", answer=answer, environ={"PANDIUM_BASE_URL": emulator.url}
    )
    assert code == 0
    assert "acme" in screen.text
    assert KEY not in screen.written


def test_no_option_takes_a_key() -> None:
    """No command has an option whose value is the key: `ps` would show it."""

    def names(command: click.Command) -> Iterator[str]:
        yield from (name for parameter in command.params for name in parameter.opts)
        for below in getattr(command, "commands", {}).values():
            yield from names(below)

    assert not [name for name in names(app) if "key" in name]
    assert run([*LISTING, "--api-key", KEY]) == 2


# Errors.


@pytest.mark.usefixtures("_api")
def test_a_wrong_key_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that the API refuses ends with 4 and the API's own words, not with the key."""
    monkeypatch.setenv("PANDIUM_API_KEY", "a-key-of-nobody")
    assert run(LISTING) == 4
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("pandium-api: error: GET /v2/tenants: 403 Forbidden: Not author")
    assert written.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--environment", "nowhere"], "environment must be 'production' or 'sandbox'"),
        (["--base-url", "http://example.com"], "base_url must be https"),
    ],
)
def test_a_wrong_setting_is_3(
    options: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be used of the configuration is named."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    assert run([*LISTING, *options]) == 3
    assert complaint in capsys.readouterr().err


@pytest.fixture
def _mocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)


@pytest.mark.usefixtures("_mocked")
def test_what_a_server_says_cannot_act_on_a_terminal(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences and new lines in an error's message stand there as text, in one line."""
    message = "no\x1b]0;title\x07\r\nreally\u202e"
    httpx_mock.add_response(status_code=400, json={"message": message})
    assert run(LISTING) == 4
    written = capsys.readouterr().err
    assert written.endswith(r"400 Bad Request: no\x1b]0;title\x07 really\u202e" + "\n")


@pytest.mark.usefixtures("_mocked")
def test_what_may_have_happened_is_told(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no answer came to a request that does something, the line says that it may be done."""
    httpx_mock.add_exception(httpx.ReadTimeout("too late"))
    assert run(["builds", "create", "1", "v1", "--timeout", "5"]) == 4
    assert capsys.readouterr().err.endswith("(it may have been carried out)\n")


@pytest.mark.usefixtures("_mocked")
def test_what_only_reads_changes_nothing(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no answer came to a request that reads, nobody is alarmed."""
    httpx_mock.add_exception(httpx.ReadTimeout("too late"))
    assert run(["integrations", "get", "1", "--attempts", "1"]) == 4
    assert "carried out" not in capsys.readouterr().err


def test_a_server_that_cannot_be_reached_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line has the host, which may be what is wrong."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    line = ["integrations", "get", "1", "--attempts", "1", "--base-url", "http://127.0.0.1:1"]
    assert run(line) == 4
    said = capsys.readouterr().err
    assert said.startswith("pandium-api: error: GET http://127.0.0.1:1/v2/integrations/1: ")


@pytest.mark.usefixtures("_mocked")
def test_a_listing_that_breaks_off_says_where_to_go_on(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The records before an error are written, a JSON array has no end, and `--skip` is named."""
    httpx_mock.add_response(json=[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    httpx_mock.add_response(status_code=400, json={"message": "no"}, is_reusable=True)
    assert (
        run(["tenants", "list", "--all", "--page-size", "2", "--prefetch", "1", "-f", "json"]) == 4
    )
    written = capsys.readouterr()
    assert written.out.count('"id"') == 2
    with pytest.raises(json.JSONDecodeError):
        json.loads(written.out)
    assert "(--skip 2 goes on from there)" in written.err


@pytest.mark.usefixtures("_mocked")
@pytest.mark.parametrize(
    ("options", "errors", "words"),
    [
        ([], io.StringIO, ["error"]),
        ([], Terminal, ["follows", "error"]),
        (["--debug"], io.StringIO, ["attempt 1,", "follows", "attempt 2,", "error"]),
    ],
)
def test_how_much_is_logged(
    options: list[str],
    errors: type[io.StringIO],
    words: list[str],
    httpx_mock: HTTPXMock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe gets the error alone; a terminal hears of repetitions; --debug of everything."""
    httpx_mock.add_response(status_code=503, json={"message": "x"}, headers={"Retry-After": "0"})
    httpx_mock.add_response(status_code=404, json={"message": f"no {KEY}"})
    stream = errors()
    monkeypatch.setattr(sys, "stderr", stream)
    assert run([*LISTING, "--attempts", "2", *options]) == 4
    text = stream.getvalue()
    assert len(text.splitlines()) == len(words)
    assert all(word in line for word, line in zip(words, text.splitlines(), strict=True))
    assert all(line.startswith("pandium-api: ") for line in text.splitlines())
    assert KEY not in text
    assert logging.getLogger("pandium").handlers == []


# Pipes.


class Endless(http.server.BaseHTTPRequestHandler):
    """A listing of 100,000 tenants, made as it is asked for."""

    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        query = parse_qs(urlsplit(self.path).query)
        skip, limit = int(query["skip"][0]), int(query["limit"][0])
        numbers = range(skip, min(skip + limit, 100_000))
        body = json.dumps([{"id": one, "name": f"tenant-{one}"} for one in numbers]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def endless() -> Iterator[str]:
    Endless.requests = 0
    Endless.protocol_version = "HTTP/1.1"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(PATIENCE)


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_a_reader_that_has_enough_ends_a_listing_quietly(form: str) -> None:
    """100,000 lines into `head`: it gets its lines, no word comes, and few pages are fetched."""
    with endless() as url:
        child = start_child("tenants", "list", "--all", "-f", form, environ=of(url))
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(10)]
        child.stdout.close()
        assert child.wait(PATIENCE) == 141
        assert child.stderr is not None
        assert child.stderr.read() == ""
        child.stderr.close()
    assert all("tenant-" in line for line in lines[1:])
    assert Endless.requests < 60


def test_the_end_of_100000_lines_is_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last 20,000 of 100,000 tenants come out, each on one line, in order."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    with endless() as url:
        assert run(["tenants", "list", "--all", "--skip", "80000", "--base-url", url]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == list(range(80_000, 100_000))


def test_a_full_disk_is_one_line(emulator: Emulator) -> None:
    """What cannot be written is an error in one line, without a traceback."""
    emulator.add_tenant("acme")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", RUN, *LISTING],
            check=False,
            encoding="utf-8",
            env=child_environment(of(emulator.url)),
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            stdout=full,
            timeout=PATIENCE,
        )
    assert done.returncode == 74
    assert done.stderr == "pandium-api: error: [Errno 28] No space left on device\n"


@pytest.mark.usefixtures("_api")
def test_an_interrupted_listing_says_where_to_go_on(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C there is the number of records to skip; before the first page there is none."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    for _ in range(5):
        emulator.add_tenant()

    class Interrupting(io.StringIO):
        def flush(self) -> None:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "stdout", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        run(["tenants", "list", "--all", "--page-size", "2"])
    assert capsys.readouterr().err == "pandium-api: interrupted; --skip 2 goes on from there\n"

    def ask(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.delenv("PANDIUM_API_KEY")
    with pytest.raises(KeyboardInterrupt):
        run(LISTING)
    assert capsys.readouterr().err == ""


def test_output_that_cannot_be_written_ends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is gone is 141, a full disk 74; what is left to write fails no second time."""
    monkeypatch.setattr(sys, "argv", ["pandium-api", "completion", "fish"])
    reading, writing = os.pipe()
    os.close(reading)
    for descriptor, code in ((writing, 141), (os.open("/dev/full", os.O_WRONLY), 74)):
        with os.fdopen(descriptor, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            assert main() == code


@pytest.mark.parametrize(
    ("line", "code"), [("tenants sync 1 --wait", 0), ("integrations get 999", 4), ("tenants x", 2)]
)
def test_messages_that_cannot_be_written_change_no_exit_code(
    line: str, code: int, emulator: Emulator
) -> None:
    """Where standard error takes nothing, the exit code tells what became of the command."""
    emulator.runs.script(appears_after=0)
    emulator.add_tenant()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", RUN, *line.split()],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=full,
            env=child_environment(of(emulator.url)),
            timeout=PATIENCE,
        )
    assert done.returncode == code


# The start.


@pytest.mark.parametrize("arguments", [["--help"], ["tenants", "sync", "--help"], ["--version"]])
def test_the_help_does_not_wait_for_the_client(arguments: list[str]) -> None:
    """What needs no request loads neither HTTP nor what draws."""
    program = (
        f"{START}from pandium._cli import main; code = main();"
        "heavy = {'cattrs', 'httpcore2', 'httpx', 'rich'};"
        "sys.stderr.write(' '.join(heavy & set(sys.modules))); sys.exit(code)"
    )
    done = run_child(*arguments, program=program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


ON_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from pandium_api import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "code"), [("pandium.models", -signal.SIGINT), ("pandium._cli.app", 130)]
)
def test_ctrl_c_at_the_start_shows_no_traceback(module: str, code: int) -> None:
    """While the package is loaded it ends by the signal; later as at any time."""
    done = run_child("--help", program=ON_IMPORT.format(module=module))
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(
    ("closed", "code", "out", "error"),
    [
        ("stdout", 74, "", "pandium-api: error: standard output is closed\n"),
        ("stderr", 0, f"{pandium.__version__}\n", ""),
    ],
)
def test_closed_streams_are_no_traceback(  # noqa: PLR0917 - two fixtures
    closed: str,
    code: int,
    out: str,
    error: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a standard output there is nothing to do; without the other nothing is said."""
    monkeypatch.setattr(sys, "argv", ["pandium-api", "--version"])
    monkeypatch.setattr(sys, closed, None)
    assert main() == code
    assert capsys.readouterr() == (out, error)


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_the_handler_of_interrupts_is_put_back(
    before: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the command is loaded, it handles Ctrl-C as it was told before."""
    monkeypatch.setattr(sys, "argv", ["pandium-api", "--version"])
    kept = signal.signal(signal.SIGINT, before)
    try:
        assert pandium_api.main() == 0
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, kept)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command tells what it does, and each has a line in the help of its group."""

    def walk(command: click.Command, path: list[str]) -> None:
        if path == ["emulator"]:
            return
        assert run([*path, "--help"]) == 0
        written = capsys.readouterr().out
        assert command.help
        assert "\\b" not in written
        for name, below in getattr(command, "commands", {}).items():
            assert f"  {name} " in written
            walk(below, [*path, name])

    walk(app, [])


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`pandium-api tenants` alone is a wrong command line, answered with what `--help` says."""
    for path in ([], ["tenants"]):
        assert run(path) == 2
        said = capsys.readouterr().err
        assert run([*path, "--help"]) == 0
        assert said == capsys.readouterr().out


def test_lists_in_a_help_stay_lists(capsys: pytest.CaptureFixture[str]) -> None:
    """What a shell is to be told can be copied, as each command has a line of its own."""
    assert run(["completion", "--help"]) == 0
    written = capsys.readouterr().out
    path = "~/.local/share/bash-completion/completions/pandium-api"
    assert f"  bash: pandium-api completion bash > {path}\n" in written


# The emulator.


def test_the_emulator_takes_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    """`emulator` hands its options to the emulator, also those that look like ours."""
    with pytest.raises(SystemExit) as ending:
        run(["emulator", "--help"])
    assert ending.value.code == 0
    assert "--seed" in capsys.readouterr().out


def test_the_emulator_serves_until_a_signal() -> None:
    """`emulator` serves on the port that it is told, and SIGTERM ends it well."""
    child = start_child("emulator", "--port", "0", "--seed", "demo", environ=NONE)
    assert child.stdout is not None
    url = child.stdout.readline().removeprefix("Pandium emulator: ").strip()
    done = run_child("integrations", "get", "1", "-f", "json", environ=of(url))
    assert json.loads(done.stdout)["name"] == "orders-to-crm"
    child.terminate()
    assert child.communicate(timeout=PATIENCE) == ("", "")
    assert child.returncode == 0


# Completion.

SCRIPTS = {
    "bash": """source <(pandium-api completion bash)
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _pandium_api_completion pandium-api; echo ${COMPREPLY[@]}; }
ask pandium-api tena; ask pandium-api tenants upd; ask pandium-api tenants list --format ''""",
    "zsh": """compdef() { }; source <(pandium-api completion zsh)
_describe() { for one in ${(P)3}; do print -n "${one%%:*} "; done }
compadd() { print -n "${(P)${@[-1]}}" }
ask() { words=("$@"); CURRENT=$#; _pandium_api_completion; print }
ask pandium-api tena; ask pandium-api tenants upd; ask pandium-api tenants list --format ''""",
    "fish": """pandium-api completion fish | source
function ask; string join ' ' (complete -C $argv[1] | string replace -r '\\t.*' ''); end
ask 'pandium-api tena'; ask 'pandium-api tenants upd'; ask 'pandium-api tenants list --format '""",
}


@pytest.mark.parametrize("shell", [shell for shell in SCRIPTS if shutil.which(shell)])
def test_shells_complete_commands_and_values(shell: str, tmp_path: Path) -> None:
    """Each shell that is there completes commands, their commands, and the values of options."""
    program = tmp_path / "pandium-api"
    program.write_text(f"#!{sys.executable}\n{RUN}\n")
    program.chmod(0o700)
    done = subprocess.run(
        [shell, "-c", SCRIPTS[shell]],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=child_environment({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}),
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    first, second, third = done.stdout.splitlines()
    assert first.split() == ["tenants"]
    assert second.split() == ["update", "update-metadata"]
    assert sorted(third.split()) == ["csv", "json", "jsonl", "table"]


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_completions_can_be_written_for_each_shell(
    shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripts are there whichever shells are, and ask the command for what comes next."""
    assert run(["completion", shell]) == 0
    assert f"_PANDIUM_API_COMPLETE={shell}_complete" in capsys.readouterr().out
    monkeypatch.setenv("_PANDIUM_API_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "pandium-api run")
    monkeypatch.setenv("COMP_CWORD", "1" if shell != "fish" else "run")
    assert run([]) == 0
    assert "runs" in capsys.readouterr().out
