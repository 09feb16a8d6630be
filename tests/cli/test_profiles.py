"""Profiles in the configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pandium import ConfigurationError
from pandium._cli.app import run
from pandium._cli.profiles import Profile, config_path, read_profile
from support import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator


@pytest.fixture
def config(config_folder: Path) -> Path:
    """Return the path of the configuration file, whose folder exists."""
    path = config_folder / "pandium-api" / "config.toml"
    path.parent.mkdir()
    return path


def test_the_file_is_in_the_users_configuration_folder(config: Path) -> None:
    """The configuration file belongs to the user and not to the working directory."""
    assert config_path() == config


def test_a_profile_has_an_environment_a_base_url_and_a_key_file(config: Path) -> None:
    """A profile sets what the file says about it, and nothing else."""
    config.write_text(
        '[profiles.a]\nenvironment = "sandbox"\nbase_url = "https://eu.example"\n'
        'key_file = "a.key"\n[profiles."b c"]\n'
    )
    key_file = str(config.parent / "a.key")
    assert read_profile("a") == Profile("a", "sandbox", "https://eu.example", key_file)
    assert read_profile("b c") == Profile("b c")


@pytest.mark.parametrize(
    ("written", "resolved"),
    [("a.key", "{config}/a.key"), ("~/a.key", "{home}/a.key"), ("/run/a.key", "/run/a.key")],
)
def test_a_key_file_is_found_from_the_file_or_the_home_folder(
    written: str, resolved: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path starts at the configuration folder, and `~` is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config.write_text(f'[profiles.a]\nkey_file = "{written}"\n')
    expected = resolved.format(config=config.parent, home=tmp_path)
    assert read_profile("a").key_file == expected


@pytest.mark.parametrize(
    "name", ["api_key", "API-KEY", "key", "token", "password", "secret", "PANDIUM_API_KEY"]
)
@pytest.mark.parametrize("table", ["", "[profiles.a]", "[profiles.other]", "[unrelated.table]"])
def test_a_key_in_the_file_is_refused_by_name(name: str, table: str, config: Path) -> None:
    """A key anywhere in the file is an error that names the setting and not its value."""
    config.write_text(f'{table}\n{name} = "{KEY}"\n')
    with pytest.raises(ConfigurationError) as caught:
        read_profile("a")
    prefix = f"{table.strip('[]')}." if table else ""
    assert f"store the value of {prefix}{name} in a private file" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read {path}: No such file or directory"),
        (b"\xff", "{path} is not UTF-8 text"),
        (b"[profiles", "{path} is not valid TOML: "),
        (b"a = " + b"[" * 100_000, "{path} is not valid TOML: "),
        (b"a = " + b"1" * 5_000, "{path} is not valid TOML: "),
        (b".".join([b"a"] * 3_000) + b" = 1", "{path} has no profile 'a' (profiles: none)"),
        (b"", "{path} has no profile 'a' (profiles: none)"),
        (b"profiles = 1", "{path} has no profile 'a' (profiles: none)"),
        (b"[profiles.b]\n[profiles.c]", "{path} has no profile 'a' (profiles: b, c)"),
        (b"[profiles]\na = 1", "profiles.a in {path} must be a table"),
        (b"[profiles.a]\nhost = 1", "profiles.a.host in {path} is not a setting (settings: "),
        (b"[profiles.a]\nbase_url = 1", "profiles.a.base_url in {path} must be a text"),
        (b"[profiles.a]\nkey_file = ' '", "profiles.a.key_file in {path} must be a text"),
        (
            b"[profiles.a]\nkey_file = '~nobody-here/key'",
            "profiles.a.key_file in {path} begins with a user's home folder that is unknown",
        ),
        (
            b'[profiles.a]\nkey_file = "a\\u0000b"',
            "profiles.a.key_file in {path} must not contain a null character",
        ),
        (
            b"[profiles.a]\nenvironment = 'test'",
            "profiles.a.environment in {path} must be production or sandbox, not 'test'",
        ),
    ],
)
def test_an_invalid_file_is_an_error_with_its_place(
    text: bytes | None, message: str, config: Path
) -> None:
    """Whatever is wrong with the file is named, with the path of the file."""
    if text is not None:
        config.write_bytes(text)
    with pytest.raises(ConfigurationError) as caught:
        read_profile("a")
    assert str(caught.value).startswith(message.format(path=config))


def test_a_byte_order_mark_is_ignored(config: Path) -> None:
    """A file that was saved by an editor on Windows is read as well."""
    config.write_bytes(b'\xef\xbb\xbf[profiles.a]\nenvironment = "sandbox"')
    assert read_profile("a").environment == "sandbox"


@pytest.mark.posix
@pytest.mark.usefixtures("api_environment")
def test_a_command_uses_the_profile(
    config: Path,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With `--profile`, a command uses the API and the key of the profile."""
    for name in ("PANDIUM_API_KEY", "PANDIUM_BASE_URL"):
        monkeypatch.delenv(name)
    config.write_text(f'[profiles.local]\nbase_url = "{emulator.url}"\nkey_file = "local.key"\n')
    key_file = config.parent / "local.key"
    key_file.write_text(KEY)
    key_file.chmod(0o600)
    assert run(["tenants", "list", "--profile", "local"]) == 0
    assert len(emulator.requests) == 1
    assert run(["--profile", "remote", "tenants", "list"]) == 3
    assert "has no profile 'remote' (profiles: local)" in capsys.readouterr().err
    assert len(emulator.requests) == 1
