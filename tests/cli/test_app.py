"""The command as a whole: error messages, help, completion and the emulator command."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from pandium import __version__
from pandium._cli.app import app, run
from support import KEY
from support.cli import (
    DEADLINE,
    NO_VARIABLES,
    RUN_CHILD,
    api_variables,
    child_environment,
    run_child,
    start_child,
)

if TYPE_CHECKING:
    from pathlib import Path

    import click
    from pytest_httpx import HTTPXMock

LIST_TENANTS = ["tenants", "list", "-f", "jsonl"]


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version of the package."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


# Errors


@pytest.mark.usefixtures("api_environment")
def test_a_wrong_key_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that the API rejects ends with exit code 4 and the API's message, without the key."""
    monkeypatch.setenv("PANDIUM_API_KEY", "some-other-key")
    assert run(LIST_TENANTS) == 4
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("pandium-api: error: GET /v2/tenants: 403 Forbidden: Not author")
    assert written.err.endswith("(check the API key and the environment)\n")
    assert "some-other-key" not in written.err
    assert written.err.count("\n") == 1


@pytest.mark.usefixtures("_key")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--environment", "nowhere"], "environment must be 'production' or 'sandbox'"),
        (["--base-url", "http://example.com"], "base_url must be https"),
    ],
)
def test_an_invalid_setting_is_a_configuration_error(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid environment or base URL is named, and the exit code is 3."""
    assert run([*LIST_TENANTS, *options]) == 3
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("_key")
def test_an_error_message_cannot_control_the_terminal(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences and newlines in the API's message are printed as text on one line."""
    message = "no\x1b]0;title\x07\r\nreally\u202e"
    httpx_mock.add_response(status_code=400, json={"message": message})
    assert run(LIST_TENANTS) == 4
    written = capsys.readouterr().err
    assert written.endswith(r"400 Bad Request: no\x1b]0;title\x07 really\u202e" + "\n")


@pytest.mark.usefixtures("_key")
def test_an_unknown_outcome_is_mentioned(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the response to a POST is lost, the message states that it may have been executed."""
    httpx_mock.add_exception(httpx.ReadTimeout("too late"))
    assert run(["builds", "create", "1", "v1", "--timeout", "5"]) == 4
    assert capsys.readouterr().err.endswith("(the request may have been executed)\n")


@pytest.mark.usefixtures("_key")
def test_a_rate_limit_says_how_long_it_lasts(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A 429 that is not retried states when the API accepts requests again."""
    httpx_mock.add_response(status_code=429, headers={"Retry-After": "100"})
    assert run(LIST_TENANTS) == 4
    assert capsys.readouterr().err.endswith("(the API accepts requests again in 100 s)\n")


@pytest.mark.usefixtures("_key")
def test_the_outcome_of_a_get_is_not_mentioned(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the response to a GET is lost, there is no such hint, because a GET changes nothing."""
    httpx_mock.add_exception(httpx.ReadTimeout("too late"))
    assert run(["integrations", "get", "1", "--attempts", "1"]) == 4
    assert "executed" not in capsys.readouterr().err


@pytest.mark.usefixtures("_key")
def test_a_connection_error_names_the_host(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message contains the full URL, because the host may be the problem."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    line = ["integrations", "get", "1", "--attempts", "1", "--base-url", "http://127.0.0.1:1"]
    assert run(line) == 4
    error = capsys.readouterr().err
    assert error.startswith("pandium-api: error: GET http://127.0.0.1:1/v2/integrations/1: ")


# Help


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has a help text and a line in the help of its group."""

    def check(command: click.Command, path: list[str]) -> None:
        if path == ["emulator"]:
            return
        assert run([*path, "--help"]) == 0
        written = capsys.readouterr().out
        assert command.help
        assert "\\b" not in written
        for name, subcommand in getattr(command, "commands", {}).items():
            assert f"  {name} " in written
            check(subcommand, [*path, name])

    check(app, [])


@pytest.mark.parametrize("path", [[], ["tenants"]])
def test_a_group_without_a_command_shows_its_help(
    path: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`pandium-api tenants` is a usage error and shows the same text as `--help`."""
    assert run(path) == 2
    error = capsys.readouterr().err
    assert run([*path, "--help"]) == 0
    assert error == capsys.readouterr().out


def test_lists_in_a_help_text_are_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    """The command for each shell is on a separate line and can be copied."""
    assert run(["completion", "--help"]) == 0
    written = capsys.readouterr().out
    path = "~/.local/share/bash-completion/completions/pandium-api"
    assert f"  bash: pandium-api completion bash > {path}\n" in written


# The emulator


def test_the_emulator_parses_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    """`emulator` passes all options, including `--help`, to the emulator."""
    assert run(["emulator", "--help"]) == 0
    assert "--seed" in capsys.readouterr().out


def test_the_emulator_serves_until_sigterm() -> None:
    """`emulator` serves on the given port until SIGTERM and ends with exit code 0."""
    child = start_child("emulator", "--port", "0", "--seed", "demo", environ=NO_VARIABLES)
    assert child.stdout is not None
    url = child.stdout.readline().removeprefix("Pandium emulator: ").strip()
    done = run_child("integrations", "get", "1", "-f", "json", environ=api_variables(url))
    assert json.loads(done.stdout)["name"] == "orders-to-crm"
    child.terminate()
    assert child.communicate(timeout=DEADLINE) == ("", "")
    assert child.returncode == 0


# Completion

SCRIPTS = {
    "bash": """source <(pandium-api completion bash)
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _pandium_api_completion pandium-api; echo ${COMPREPLY[@]}; }
complete_line pandium-api tena; complete_line pandium-api tenants upd
complete_line pandium-api tenants list --format ''""",
    "zsh": """compdef() { }; source <(pandium-api completion zsh)
_describe() { for item in ${(P)3}; do print -n "${item%%:*} "; done }
compadd() { print -n "${(P)${@[-1]}}" }
complete_line() { words=("$@"); CURRENT=$#; _pandium_api_completion; print }
complete_line pandium-api tena; complete_line pandium-api tenants upd
complete_line pandium-api tenants list --format ''""",
    "fish": """pandium-api completion fish | source
function complete_line; string join ' ' (complete -C $argv[1] | string replace -r '\\t.*' ''); end
complete_line 'pandium-api tena'; complete_line 'pandium-api tenants upd'
complete_line 'pandium-api tenants list --format '""",
}


@pytest.mark.posix
@pytest.mark.parametrize("shell", [shell for shell in SCRIPTS if shutil.which(shell)])
def test_shells_complete_commands_and_values(shell: str, tmp_path: Path) -> None:
    """Each installed shell completes groups, commands and option values."""
    program = tmp_path / "pandium-api"
    program.write_text(f"#!{sys.executable}\n{RUN_CHILD}\n")
    program.chmod(0o700)
    done = subprocess.run(
        [shell, "-c", SCRIPTS[shell]],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=child_environment({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}),
        timeout=DEADLINE,
    )
    assert done.stderr == ""
    groups, commands, values = done.stdout.splitlines()
    assert groups.split() == ["tenants"]
    assert commands.split() == ["update", "update-metadata"]
    assert sorted(values.split()) == ["csv", "json", "jsonl", "table"]


@pytest.mark.posix
@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_each_shell_has_a_completion_script(
    shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell's script runs the command to get the completions."""
    assert run(["completion", shell]) == 0
    assert f"_PANDIUM_API_COMPLETE={shell}_complete" in capsys.readouterr().out
    monkeypatch.setenv("_PANDIUM_API_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "pandium-api run")
    monkeypatch.setenv("COMP_CWORD", "1" if shell != "fish" else "run")
    assert run([]) == 0
    assert "runs" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--payload @-", "--payload @- --mode normal"])
def test_completing_a_line_reads_no_input(
    option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data that a line reads from standard input is not read when the line is completed."""
    data = io.BytesIO(b"{}")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    words = f"pandium-api tenants sync 7 {option} --journ"
    monkeypatch.setenv("_PANDIUM_API_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert run([]) == 0
    assert capsys.readouterr().out == "plain,--journal\n"
    assert data.tell() == 0
