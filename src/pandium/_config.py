"""Resolve the API key and base URL from arguments, ``PANDIUM_*`` variables and defaults."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import SplitResult, urlsplit
from weakref import WeakSet

import attrs

from pandium._cancellation import CancellationGuard
from pandium._redaction import KeyPattern, Redactor
from pandium._validation import validate_choice
from pandium.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

__all__ = ["Config", "KeyFunction", "Secret", "resolve"]

# Both hosts are listed at https://docs.pandium.com.
_HOSTS = {
    "production": "https://api.pandium.io",
    "sandbox": "https://api.sandbox.pandium.com",
}
# A shorter key is not redacted, because it could match ordinary words in error messages.
_SHORTEST_REDACTED = 8
# The number of most recent keys from a function that are redacted after their requests have ended.
_REMEMBERED_KEYS = 8


class _Redacting(ABC):
    """The base class of what removes API keys from data."""

    __slots__ = ()

    @abstractmethod
    def _patterns(self) -> Iterable[KeyPattern]:
        """Return the pattern of each key."""

    def redact(self, value: Any) -> Any:
        """
        Replace each key with ``***`` in untrusted text or JSON-like data, even if it is escaped.

        Data that is nested too deeply or exceeds the size limits is omitted.
        """
        try:
            return Redactor(self._patterns()).redact(value)
        except BaseException as error:
            error.__traceback__ = None  # the frames below hold the keys in local variables
            raise
        finally:
            del value

    def redact_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers with the keys replaced, which is fast if they do not contain any."""
        plain = dict(headers.items())
        # Examining all texts together takes a tenth of the time.
        text = "\n".join(text for item in plain.items() for text in item)
        redacted: dict[str, str] = plain if self.redact(text) == text else self.redact(plain)
        return redacted


class Secret(_Redacting):
    """An API key that is hidden in reprs and cannot be pickled."""

    __slots__ = ("__weakref__", "_pattern", "_value")

    def __init__(self, value: Any) -> None:
        self._pattern: KeyPattern | None = None
        try:
            self._value = value.strip() if isinstance(value, str) else value
        finally:
            value = None  # tracebacks can show local variables

    @property
    def is_set(self) -> bool:
        """Whether a key was provided."""
        return self._value is not None

    def validate(self, source: str) -> None:
        """
        Validate that the key can be sent in a header.

        :param source: the name of the argument or variable that contained the key.
        :raises ConfigurationError: if the key is invalid. The message does not contain the key.
        """
        if not isinstance(self._value, str):
            kind = type(self._value).__name__
            raise ConfigurationError(f"{source} must be a string, not {kind}")
        if not self._value:
            raise ConfigurationError(f"{source} must not be empty")
        if not (self._value.isascii() and self._value.isprintable()):
            raise ConfigurationError(f"{source} must contain only printable ASCII characters")

    def reveal(self) -> str:
        """Return the key in plain text, for the request header only."""
        return str(self._value)

    def pattern(self) -> KeyPattern:
        """Return the pattern that finds the key."""
        if self._pattern is None:
            self._pattern = KeyPattern(self._value, _SHORTEST_REDACTED)
        return self._pattern

    def _patterns(self) -> Iterable[KeyPattern]:
        return (self.pattern(),)

    def is_same_as(self, other: Secret) -> bool:
        """Return whether another secret is the same key."""
        return bool(self._value == other._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key cannot be pickled")


class KeyFunction(_Redacting):
    """
    A function that returns the API key. It is called before every request.

    A key is redacted as long as its ``Secret`` is in use, and as long as it is one of the most
    recent ones.

    :param function: the function, sync or async.
    """

    def __init__(self, function: Callable[[], str | Awaitable[str]]) -> None:
        self._function = function
        # Responses to earlier requests may still echo the keys that they were sent with.
        self._recent: deque[Secret] = deque(maxlen=_REMEMBERED_KEYS)
        self._in_use: WeakSet[Secret] = WeakSet()

    async def call(self) -> Secret:
        """Call the function and return the key, which has yet to be accepted."""
        returned: Any = None
        try:
            with CancellationGuard("api_key"):
                returned = self._function()
                if inspect.isawaitable(returned):
                    returned = await returned
            return Secret(returned)
        finally:
            del returned  # tracebacks can show local variables

    def accept(self, secret: Secret) -> Secret:
        """
        Validate a key and redact it from now on.

        :returns: the secret to keep until the request has ended.
        :raises ConfigurationError: if the key is invalid. The message does not contain the key.
        """
        secret.validate("the key that api_key returned")
        secret = next((known for known in self._in_use if known.is_same_as(secret)), secret)
        self._in_use.add(secret)
        with suppress(ValueError):
            self._recent.remove(secret)
        self._recent.append(secret)
        return secret

    def _patterns(self) -> Iterable[KeyPattern]:
        return [secret.pattern() for secret in tuple(self._in_use)]


@attrs.frozen
class Config:
    """
    The API key and base URL of a client.

    :ivar api_key: the validated API key, or the function that returns it.
    :ivar base_url: the validated base URL, without a trailing slash.
    """

    api_key: Secret | KeyFunction
    base_url: str


def resolve(api_key: Secret | KeyFunction, environment: str | None, base_url: str | None) -> Config:
    """
    Resolve the configuration of a client.

    :param api_key: the API key passed by the caller, or a function that returns it. The key may be
        unset.
    :param environment: the name of an environment, or ``None``.
    :param base_url: the base URL passed by the caller, or ``None``.
    :returns: the validated configuration.
    :raises ConfigurationError: if a value is invalid. The message names the argument or variable.
    """
    return Config(api_key=_resolve_key(api_key), base_url=_resolve_base_url(environment, base_url))


def _resolve_key(argument: Secret | KeyFunction) -> Secret | KeyFunction:
    if isinstance(argument, KeyFunction):
        return argument
    # Never store the plain key in a local variable, because error reports may show local variables.
    secret, source = argument, "api_key"
    if not secret.is_set:
        secret, source = Secret(_read_variable("PANDIUM_API_KEY")), "PANDIUM_API_KEY"
    if not secret.is_set:
        raise ConfigurationError("no API key: pass api_key or set PANDIUM_API_KEY")
    secret.validate(source)
    return secret


def _resolve_base_url(environment: str | None, base_url: str | None) -> str:
    # The order of precedence is base_url, environment, PANDIUM_BASE_URL, PANDIUM_ENV, and
    # finally the production URL.
    # The environment argument is validated even if base_url overrides it.
    host = None if environment is None else _get_host("environment", environment)
    if base_url is not None:
        return _validate_base_url("base_url", base_url)
    if host is not None:
        return host
    if (variable := _read_variable("PANDIUM_BASE_URL")) is not None:
        return _validate_base_url("PANDIUM_BASE_URL", variable)
    return _get_host("PANDIUM_ENV", _read_variable("PANDIUM_ENV") or "production")


def _read_variable(name: str) -> str | None:
    # Strip white space, because secret managers often add a newline. Treat a blank variable as
    # unset.
    return os.environ.get(name, "").strip() or None


def _get_host(source: str, environment: str) -> str:
    try:
        return _HOSTS[validate_choice(source, environment, tuple(_HOSTS))]
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


# Error messages never show the URL, because it may contain a password.


def _validate_base_url(source: str, value: object) -> str:
    parts = _split_url(source, value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{source} must be an http or https URL with a host")
    _validate_url_parts(source, parts)
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ConfigurationError(
            f"{source} must be https: the API key would be sent unencrypted to {parts.hostname}"
        )
    return parts.geturl().rstrip("/")


def _split_url(source: str, value: object) -> SplitResult:
    if not isinstance(value, str):
        raise ConfigurationError(f"{source} must be a string, not {type(value).__name__}")
    # A password may contain a slash, which ends the host, so that the @ is found after it.
    if "@" in value:
        raise ConfigurationError(f"{source} must not contain a user name or password, or any @")
    try:
        parts = urlsplit(value.strip())
        _ = parts.hostname, parts.port  # raises ValueError if either is invalid
    except ValueError:
        raise ConfigurationError(f"{source} is not a valid URL: check its host and port") from None
    return parts


def _validate_url_parts(source: str, parts: SplitResult) -> None:
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{source} must not contain a query or a fragment")
    url = parts.geturl()
    if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise ConfigurationError(
            f"{source} must contain only printable ASCII characters, and no space or backslash"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
