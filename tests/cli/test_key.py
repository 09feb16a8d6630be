"""The sources of the API key: a private file, the environment, or a prompt."""

from __future__ import annotations

import getpass
import io
import os
import sys
from typing import TYPE_CHECKING

import pytest

from pandium._cli.app import app, run
from support import KEY
from support.cli import Screen, Terminal, run_on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import click

    from pandium.emulator import Emulator

LIST_TENANTS = ["tenants", "list", "-f", "jsonl"]


@pytest.fixture
def _no_key(api_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PANDIUM_API_KEY")


def write_key_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.posix
@pytest.mark.usefixtures("api_environment")
def test_a_key_file_overrides_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--key-file` overrides the environment variable. If it is repeated, the last one wins."""
    monkeypatch.setenv("PANDIUM_API_KEY", "some-other-key")
    path = write_key_file(tmp_path, f"{KEY}\n")
    assert run([*LIST_TENANTS, "--key-file", path]) == 0
    assert run(["--key-file", path, *LIST_TENANTS]) == 0
    assert run(["--key-file", "missing", *LIST_TENANTS, "--key-file", path]) == 0


@pytest.mark.posix
@pytest.mark.usefixtures("_no_key")
def test_a_key_file_can_be_a_pipe() -> None:
    """The key can be read from a pipe, as in `--key-file <(pass show key)`."""
    reading, writing = os.pipe()
    os.write(writing, KEY.encode())
    os.close(writing)
    assert run([*LIST_TENANTS, "--key-file", f"/dev/fd/{reading}"]) == 0
    os.close(reading)


@pytest.mark.posix
@pytest.mark.usefixtures("_no_key")
@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_a_mounted_key_file_is_accepted(mode: int, tmp_path: Path) -> None:
    """A secret that Kubernetes mounts, which only its group can read, is accepted."""
    path = write_key_file(tmp_path, KEY, mode)
    assert run([*LIST_TENANTS, "--key-file", path]) == 0


@pytest.mark.posix
@pytest.mark.usefixtures("_no_key")
@pytest.mark.parametrize("mode", [0o640, 0o444, 0o460, 0o604, 0o620, 0o777, 0o601])
def test_a_key_file_with_access_for_others_is_refused(
    mode: int, tmp_path: Path, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """If other users have any access to the file, nothing is sent and the exit code is 3."""
    path = write_key_file(tmp_path, KEY, mode)
    assert run([*LIST_TENANTS, "--key-file", path]) == 3
    written = capsys.readouterr()
    assert (written.out, written.err.count("\n")) == ("", 1)
    assert f"(mode {mode:04o})" in written.err
    assert KEY not in written.err
    assert list(emulator.requests) == []


@pytest.mark.posix
@pytest.mark.usefixtures("_no_key")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "-missing: No such file"),
        (b" \n", "is empty"),
        (b"one\ntwo\n", "must contain only the key, on one line"),
        (b"\xff\xfe", "not a UTF-8 text file"),
    ],
)
def test_a_key_file_without_a_key_is_refused(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is missing, empty or not a key on one line ends with exit code 3."""
    path = write_key_file(tmp_path, KEY)
    if content is None:
        path += "-missing"
    else:
        (tmp_path / "key").write_bytes(content)
    assert run([*LIST_TENANTS, "--key-file", path]) == 3
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("_no_key")
def test_without_a_terminal_there_is_no_prompt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal for a prompt, the error explains where to put the key."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(KEY))
    monkeypatch.setenv("PANDIUM_API_KEY", "  ")
    assert run(LIST_TENANTS) == 3
    assert "set PANDIUM_API_KEY or specify a file with --key-file" in capsys.readouterr().err


@pytest.mark.usefixtures("_no_key")
@pytest.mark.parametrize(("typed", "code"), [(KEY, 0), ("", 3), (EOFError(), 3), ("wrong", 4)])
def test_on_a_terminal_the_key_is_prompted_for(
    typed: str | EOFError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text typed at the prompt is the key. Empty input is a configuration error."""

    def prompt(_: str) -> str:
        if isinstance(typed, str):
            return typed
        raise typed

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", prompt)
    assert run(LIST_TENANTS) == code


@pytest.mark.posix
def test_a_prompt_does_not_show_the_key(emulator: Emulator) -> None:
    """A key typed at the prompt is used and does not appear on the terminal."""
    emulator.add_tenant("acme")
    typed: list[bytes] = []

    def type_key(screen: Screen) -> bytes | None:
        if typed or "Pandium API key: " not in screen.written:
            return None
        typed.append(f"{KEY}\n".encode())
        return typed[0]

    code, screen = run_on_terminal(
        "tenants", "list", type_keys=type_key, environ={"PANDIUM_BASE_URL": emulator.url}
    )
    assert code == 0
    assert "acme" in screen.text
    assert KEY not in screen.written


def test_no_option_takes_a_key() -> None:
    """No option accepts a key as its value, because `ps` shows the arguments of a process."""

    def option_names(command: click.Command) -> Iterator[str]:
        yield from (name for parameter in command.params for name in parameter.opts)
        for subcommand in getattr(command, "commands", {}).values():
            yield from option_names(subcommand)

    assert not [name for name in option_names(app) if "key" in name]
    assert run([*LIST_TENANTS, "--api-key", KEY]) == 2
