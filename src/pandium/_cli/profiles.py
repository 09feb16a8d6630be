"""Read profiles, which are named sets of connection settings, from the configuration file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from pandium.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Profile", "config_path", "read_profile"]

_SETTINGS = ("environment", "base_url", "key_file")
_ENVIRONMENTS = ("production", "sandbox")
# Names of settings that would contain a key or another secret, without separators.
_SECRETS = frozenset({"apikey", "key", "pandiumapikey", "password", "secret", "token", "xapikey"})


@attrs.frozen
class Profile:
    """
    The settings of a profile. Each is ``None`` if the profile does not have it.

    :ivar name: the name of the profile.
    :ivar environment: ``production`` or ``sandbox``.
    :ivar base_url: the base URL of the API, which overrides ``environment``.
    :ivar key_file: the path of the key file.
    """

    name: str
    environment: str | None = None
    base_url: str | None = None
    key_file: str | None = None

    @property
    def source(self) -> str:
        """The description of the profile as the source of a setting."""
        return f"the profile {self.name}"


def config_path() -> Path:
    """Return the path of the configuration file in the user's configuration directory."""
    return Path(click.get_app_dir("pandium-api")) / "config.toml"


def read_profile(name: str) -> Profile:
    """
    Read a profile from the configuration file.

    :param name: the name of the profile.
    :raises ConfigurationError: if the file or the profile does not exist or is invalid, or if the
        file contains a key. The message does not contain any value from the file.
    """
    path = config_path()
    config = _read_config(path)
    for secret in _find_secrets(config):
        raise ConfigurationError(
            f"{path} must not contain a key: store the value of {secret} in a private file, and"
            f" set key_file to its path"
        )
    profiles = config.get("profiles")
    if not isinstance(profiles, dict) or name not in profiles:
        known = ", ".join(map(str, profiles)) if isinstance(profiles, dict) else ""
        raise ConfigurationError(f"{path} has no profile {name!r} (profiles: {known or 'none'})")
    return _validate(profiles[name], name, path)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = f"cannot read {path}: {error.strerror}"
    except UnicodeDecodeError:
        reason = f"{path} is not UTF-8 text"
    except (ValueError, RecursionError) as error:  # such as a number with too many digits
        reason = f"{path} is not valid TOML: {error}"
    raise ConfigurationError(reason)


def _find_secrets(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted names of the settings that would contain a secret."""
    pending = [("", config)]  # not recursive, because tables may be nested deeply
    for prefix, table in pending:
        for name, value in table.items():
            if isinstance(value, dict):
                pending.append((f"{prefix}{name}.", value))
            elif name.lower().replace("_", "").replace("-", "") in _SECRETS:
                yield f"{prefix}{name}"


def _validate(settings: Any, name: str, path: Path) -> Profile:
    if not isinstance(settings, dict):
        raise ConfigurationError(f"profiles.{name} in {path} must be a table")
    for setting, value in settings.items():
        if reason := _find_mistake(setting, value):
            raise ConfigurationError(f"profiles.{name}.{setting} in {path} {reason}")
    profile = Profile(name, **settings)
    return attrs.evolve(profile, key_file=_resolve(profile.key_file, path))


def _find_mistake(setting: str, value: object) -> str | None:
    """Return what is wrong with a setting, or ``None``."""
    if setting not in _SETTINGS:
        return f"is not a setting (settings: {', '.join(_SETTINGS)})"
    if not (isinstance(value, str) and value.strip()):
        return "must be a text"
    if setting == "environment" and value not in _ENVIRONMENTS:
        return f"must be production or sandbox, not {value!r}"
    if setting == "key_file":
        if "\0" in value:
            return "must not contain a null character"
        try:
            Path(value).expanduser()
        except RuntimeError:
            return f"begins with a user's home folder that is unknown: {value!r}"
    return None


def _resolve(key_file: str | None, path: Path) -> str | None:
    """Return the absolute path of a key file, which may be relative to the configuration file."""
    return None if key_file is None else str(path.parent / Path(key_file).expanduser())
