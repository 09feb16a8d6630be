"""The precedence of options, environment variables, profiles and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from pandium._cli.options import set_default_option
from pandium._cli.profiles import Profile
from pandium._cli.settings import Setting, find_api, find_key_file, find_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILE = Profile("a", "sandbox", "https://profile", "/profile.key")
NO_URL = Profile("a", "sandbox")


@pytest.fixture(autouse=True)
def _command() -> Iterator[None]:
    with click.Context(click.Command("command")):
        yield


def set_all(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], variables: dict[str, str]
) -> None:
    for name, value in options.items():
        set_default_option(name, value)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("options", "variables", "profile", "expected"),
    [
        ({}, {}, None, ("environment", "production", "the default")),
        ({}, {}, Profile("a"), ("environment", "production", "the default")),
        ({}, {}, NO_URL, ("environment", "sandbox", "the profile a")),
        ({}, {}, PROFILE, ("base_url", "https://profile", "the profile a")),
        ({}, {"ENV": "sandbox"}, None, ("environment", "sandbox", "PANDIUM_ENV")),
        ({}, {"ENV": "production"}, PROFILE, ("environment", "production", "PANDIUM_ENV")),
        ({}, {"ENV": " \n"}, PROFILE, ("base_url", "https://profile", "the profile a")),
        (
            {},
            {"ENV": "production", "BASE_URL": "https://variable"},
            PROFILE,
            ("base_url", "https://variable", "PANDIUM_BASE_URL"),
        ),
        (
            {"environment": "sandbox"},
            {"ENV": "production", "BASE_URL": "https://variable"},
            PROFILE,
            ("environment", "sandbox", "--environment"),
        ),
        (
            {"base_url": "https://option", "environment": "sandbox"},
            {"ENV": "production", "BASE_URL": "https://variable"},
            PROFILE,
            ("base_url", "https://option", "--base-url"),
        ),
    ],
)
def test_the_api_is_selected_by_the_first_source(
    options: dict[str, str],
    variables: dict[str, str],
    profile: Profile | None,
    expected: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Options override environment variables, which override the profile and then the default."""
    set_all(monkeypatch, options, {f"PANDIUM_{name}": value for name, value in variables.items()})
    assert find_api(profile) == Setting(*expected)


@pytest.mark.parametrize(
    ("option", "variable", "profile", "expected"),
    [
        (None, None, None, None),
        (None, None, NO_URL, None),
        (None, None, PROFILE, ("/profile.key", "the profile a")),
        (None, " ", PROFILE, ("/profile.key", "the profile a")),
        (None, "any key", PROFILE, None),
        ("/option.key", "any key", PROFILE, ("/option.key", "--key-file")),
    ],
)
def test_the_key_file_is_selected_by_the_first_source(
    option: str | None,
    variable: str | None,
    profile: Profile | None,
    expected: tuple[str, str] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--key-file` overrides PANDIUM_API_KEY, which overrides the key file of the profile."""
    options = {} if option is None else {"key_file": option}
    set_all(monkeypatch, options, {} if variable is None else {"PANDIUM_API_KEY": variable})
    found = find_key_file(profile)
    assert found == (None if expected is None else Setting("key_file", *expected))


def test_without_a_name_there_is_no_profile() -> None:
    """The configuration file is not read unless `--profile` is given."""
    assert find_profile() is None
