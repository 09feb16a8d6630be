"""Find the connection settings: options, environment variables, the profile, then defaults."""

from __future__ import annotations

import os

import attrs

from pandium._cli.options import get_option
from pandium._cli.profiles import Profile, read_profile

__all__ = ["DEFAULT", "Setting", "find_api", "find_key_file", "find_profile"]

DEFAULT = "the default"


@attrs.frozen
class Setting:
    """
    A setting of the connection.

    :ivar name: the name of the client's argument.
    :ivar value: the value.
    :ivar source: where the value comes from, such as ``--environment`` or ``PANDIUM_ENV``.
    """

    name: str
    value: str
    source: str


def find_profile() -> Profile | None:
    """
    Return the profile that the user selected with ``--profile``, or ``None``.

    :raises ConfigurationError: if the profile does not exist or is invalid.
    """
    name = get_option("profile")
    return None if name is None else read_profile(name)


def find_api(profile: Profile | None) -> Setting:
    """
    Return the base URL or the environment that selects the API.

    :param profile: the selected profile.
    """
    selected = profile or Profile("")
    candidates = (
        ("base_url", get_option("base_url"), "--base-url"),
        ("environment", get_option("environment"), "--environment"),
        ("base_url", _read_variable("PANDIUM_BASE_URL"), "PANDIUM_BASE_URL"),
        ("environment", _read_variable("PANDIUM_ENV"), "PANDIUM_ENV"),
        ("base_url", selected.base_url, selected.source),
        ("environment", selected.environment, selected.source),
        ("environment", "production", DEFAULT),
    )
    return next(
        Setting(name, value, source) for name, value, source in candidates if value is not None
    )


def find_key_file(profile: Profile | None) -> Setting | None:
    """
    Return the file to read the API key from, or ``None`` to use ``PANDIUM_API_KEY`` or a prompt.

    :param profile: the selected profile.
    """
    if (path := get_option("key_file")) is not None:
        return Setting("key_file", path, "--key-file")
    if profile is None or profile.key_file is None or _read_variable("PANDIUM_API_KEY"):
        return None
    return Setting("key_file", profile.key_file, profile.source)


def _read_variable(name: str) -> str | None:
    # The client, too, treats a blank variable as unset.
    return os.environ.get(name, "").strip() or None
