"""Settle what a client is made from: arguments over ``PANDIUM_*`` variables over defaults."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlsplit

import attrs

from pandium.errors import ConfigurationError

__all__ = ["Config", "Secret", "resolve"]

# https://docs.pandium.com: the two hosts that the vendor names.
_HOSTS = {
    "production": "https://api.pandium.io",
    "sandbox": "https://api.sandbox.pandium.com",
}
# A shorter key is none, and to blot it out of a text would blot out words.
_SHORTEST_SECRET = 8


class Secret:
    """A key that shows itself only when asked, and that no pickle holds."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value.strip() if isinstance(value, str) else value

    def is_none(self) -> bool:
        """Tell whether there is no key at all."""
        return self._value is None

    def fault(self) -> str:
        """Say why this cannot be a key; nothing if it can."""
        if not isinstance(self._value, str):
            return f"must be a string, not {type(self._value).__name__}"
        if not self._value:
            return "is empty"
        is_sendable = self._value.isascii() and self._value.isprintable()
        return "" if is_sendable else "has a character that no header can carry"

    def reveal(self) -> str:
        """Give the key, for the header and nothing else."""
        return str(self._value)

    def redact(self, value: Any) -> Any:
        """Blot the key out of JSON-like data that somebody else wrote."""
        if isinstance(value, str):
            long_enough = len(self._value) >= _SHORTEST_SECRET
            return value.replace(self._value, "***") if long_enough else value
        if isinstance(value, dict):
            return {self.redact(k): self.redact(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return "***" if is_number and self.redact(str(value)) != str(value) else value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key cannot be pickled")


@attrs.frozen
class Config:
    """Where requests go and by which key. ``base_url`` has no slash at its end."""

    api_key: Secret
    base_url: str


def resolve(api_key: Secret, environment: str | None, base_url: str | None) -> Config:
    """
    Settle key and host.

    :raises ConfigurationError: which names the argument or variable that is wrong.
    """
    return Config(api_key=_resolve_key(api_key), base_url=_resolve_url(environment, base_url))


def _variable(name: str) -> str | None:
    # Secret managers leave a newline at the end; an empty variable is one that is not set.
    return os.environ.get(name, "").strip() or None


def _resolve_key(argument: Secret) -> Secret:
    # Nothing here holds the key in a variable, which a traceback with variables would show.
    secret, source = argument, "api_key"
    if secret.is_none():
        secret, source = Secret(_variable("PANDIUM_API_KEY")), "PANDIUM_API_KEY"
    if secret.is_none():
        raise ConfigurationError("no API key: pass api_key or set PANDIUM_API_KEY")
    if fault := secret.fault():
        raise ConfigurationError(f"{source} {fault}")
    return secret


def _stripped(value: object, source: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{source} must be a string, not {type(value).__name__}")
    return value.strip()


def _resolve_url(environment: str | None, base_url: str | None) -> str:
    # 1. base_url  2. environment  3. PANDIUM_BASE_URL  4. PANDIUM_ENV  5. production
    named = None if environment is None else _host_of(environment, "environment")
    if base_url is not None:
        return _checked_url(base_url, "base_url")
    if named is not None:
        return named
    if (variable := _variable("PANDIUM_BASE_URL")) is not None:
        return _checked_url(variable, "PANDIUM_BASE_URL")
    return _host_of(_variable("PANDIUM_ENV") or "production", "PANDIUM_ENV")


def _host_of(environment: str, source: str) -> str:
    try:
        return _HOSTS[environment]
    except (KeyError, TypeError):
        known = " or ".join(_HOSTS)
        raise ConfigurationError(f"{source} must be {known}, not {environment!r}") from None


def _checked_url(value: str, source: str) -> str:
    value = _stripped(value, source)
    try:
        parts = urlsplit(value)
        host = parts.hostname
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise ConfigurationError(f"{source} is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(f"{source} must be an http or https URL with a host")
    _check_parts(parts, source)
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(
            f"{source} must be https: a key would travel in the clear to {host}"
        )
    return parts.geturl().rstrip("/")


def _check_parts(parts: SplitResult, source: str) -> None:
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{source} must not hold a user name or password")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{source} must not have a query or a fragment")
    text = parts.geturl()
    if not (text.isascii() and text.isprintable()) or " " in text or "\\" in text:
        raise ConfigurationError(f"{source} has a character that no URL can hold")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
