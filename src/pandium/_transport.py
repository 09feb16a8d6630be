"""Send a call and give its answer as a value or an error; the one user of httpx."""

from __future__ import annotations

import os
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import anyio.lowlevel
import attrs
import httpx

from pandium._answers import error_of
from pandium._convert import decode, decode_json
from pandium._pool import make_http_client
from pandium._retry import Repeat, Retry, repeat_of, retrying
from pandium._version import __version__
from pandium.errors import (
    APIError,
    Attempt,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    DecodeError,
    PandiumError,
    RateLimited,
    RequestTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandium._clock import Clock
    from pandium._config import Config

__all__ = [
    "Answer",
    "Call",
    "Connections",
    "Transport",
    "checked_config",
    "checked_headers",
    "checked_timeout",
]

T = TypeVar("T")

_KEY_HEADER = "X-API-KEY"
_USER_AGENT = f"pandium-python/{__version__}"
_REDIRECTION, _TOO_MANY = 300, 429
_OWN_HEADERS = frozenset({"x-api-key", "host", "content-length", "transfer-encoding"})
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@attrs.frozen
class Call:
    """A request before it is sent: `path` is percent-encoded, `template` is what it was made of."""

    method: str
    path: str
    template: str
    params: Mapping[str, Any] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(
        cls,
        method: str,
        template: str,
        segments: Mapping[str, object] | None = None,
        *,
        params: Mapping[str, object] | None = None,
        content: bytes | None = None,
    ) -> Call:
        """Make a call from a template such as ``/v2/tenants/{tenant_id}``; `None`s are not sent."""
        path = template.format_map({k: _segment(k, v) for k, v in (segments or {}).items()})
        present = {k: v for k, v in (params or {}).items() if v is not None}
        return cls(method, path, template, present or None, content)


def _segment(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{name} must be an id, not {type(value).__name__}")
    # Dots alone would not be percent-encoded, and would lead to another path.
    if value in ("", ".", ".."):
        raise ValueError(f"{name} must be an id, not {value!r}")
    try:
        return quote(str(value), safe="")
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be an id, and {value!r} is no text") from None


@attrs.frozen
class Answer:
    """What came back of a call that the API did not refuse."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def checked_config(config: Config) -> Config:
    """
    Let a base URL pass that requests can be sent to.

    :raises ConfigurationError: if the host is none.
    """
    try:
        httpx.URL(config.base_url)
    except httpx.InvalidURL as error:
        fault = str(error)
    else:
        return config
    raise ConfigurationError(f"base_url is no URL: {fault}")


def checked_timeout(value: object) -> httpx.Timeout | float:
    """
    Let a time limit pass: seconds, or httpx's own.

    :raises ConfigurationError: if it is neither.
    """
    if isinstance(value, httpx.Timeout):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < inf:
        return float(value)
    raise ConfigurationError(f"timeout must be seconds above 0, or an httpx.Timeout, not {value!r}")


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """
    Let headers pass that a user may add.

    :raises ValueError: if one is the library's own, or would end its line.
    """
    for name, value in headers.items():
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"headers must not set {name}")
        if not (name.isascii() and name.isprintable() and name and not set(name) & set(" :")):
            raise ValueError(f"headers has a name that cannot be sent: {name!r}")
        if not (isinstance(value, str) and value.isascii() and value.isprintable()):
            raise ValueError(f"headers has a value for {name} that cannot be sent")
    return dict(headers)


class Connections:
    """
    What all views of one client share: its sockets, its places in flight, and its end.

    It belongs to the event loop, and to the process, of its first request: sockets cannot move.
    """

    def __init__(self, places: int, http_client: httpx.AsyncClient | None) -> None:
        self._places = places
        self._is_borrowed = http_client is not None
        self._http = http_client
        self._in_flight: anyio.Semaphore | None = None
        self._home: object = None
        self._is_closed = False
        self.held_until = -inf

    def http(self) -> httpx.AsyncClient:
        """Give the HTTP client, which is made at first use."""
        self._check()
        if self._http is None:
            self._http = make_http_client(self._places)
        return self._http

    def in_flight(self) -> anyio.Semaphore:
        """Give the places in flight: who waits for one does so in order and without a limit."""
        if self._in_flight is None:
            self._in_flight = anyio.Semaphore(self._places, fast_acquire=True)
        return self._in_flight

    def _check(self) -> None:
        if self._is_closed:
            raise PandiumError("the client is closed")
        here = (os.getpid(), anyio.lowlevel.current_token())
        if self._home is None:
            self._home = here
        elif self._home != here:
            raise PandiumError(
                "the client was first used in another event loop or process: make one for each"
            )

    async def aclose(self) -> None:
        """Close what is our own; again is no error."""
        self._is_closed = True
        http, self._http = self._http, None
        at_home = self._home == (os.getpid(), anyio.lowlevel.current_token())
        if http is not None and at_home and not self._is_borrowed:
            await http.aclose()


@attrs.frozen
class Transport:
    """Send calls with one set of options; views with others share its connections."""

    config: Config
    connections: Connections
    clock: Clock
    timeout: httpx.Timeout | float
    retry: Retry
    headers: Mapping[str, str] = attrs.field(factory=dict)

    async def call(self, call: Call, cls: type[T]) -> T:
        """Send, and read the answer as a model or a list of models."""
        return await self.send(call, lambda answer: decode(answer.content, cls))

    async def call_json(self, call: Call) -> Any:
        """Send, and read the answer as plain JSON."""
        return await self.send(call, lambda answer: decode_json(answer.content))

    async def send(
        self, call: Call, read: Callable[[Answer], T], *, below: int = _REDIRECTION
    ) -> T:
        """Send, and read the answer by a function; a status of `below` or more is an error."""
        request = self._build(call)
        repeat = repeat_of(call.method, call.path)
        return await self._repeat(_Job(request, str(request.url), repeat, below), read)

    async def fetch(self, url: str) -> bytes:
        """Fetch a signed URL of another host, which sees neither the key nor the user's headers."""
        request = self._request("GET", url, {"User-Agent": _USER_AGENT})
        # Its query is as good as a key, and so may be what the host says of it.
        shown = str(request.url.copy_with(query=None))
        job = _Job(request, shown, Repeat.IDEMPOTENT, _REDIRECTION, is_foreign=True)
        return await self._repeat(job, lambda answer: answer.content)

    def _build(self, call: Call) -> httpx.Request:
        headers = {
            "Accept": "application/json",
            "User-Agent": _USER_AGENT,
            **self.headers,
            **call.headers,
            _KEY_HEADER: self.config.api_key.reveal(),
        }
        if call.content is not None:
            headers["Content-Type"] = "application/json"
        url = self.config.base_url + call.path
        return self._request(call.method, url, headers, params=call.params, content=call.content)

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], **body: Any
    ) -> httpx.Request:
        timeout = _without_pool_limit(self.timeout)
        try:
            return self.connections.http().build_request(
                method, url, headers=headers, timeout=timeout, **body
            )
        except httpx.InvalidURL as error:
            raise ValueError(f"path or params cannot be sent: {error}") from None

    async def _repeat(self, job: _Job, read: Callable[[Answer], T]) -> T:
        attempts: list[Attempt] = []

        async def attempt() -> Answer:
            return await self._attempt(job, attempts)

        try:
            return read(await retrying(attempt, self.retry, job.repeat, self.clock))
        except PandiumError as error:
            error.method, error.url = job.request.method, job.shown_url
            error.attempts = tuple(attempts)
            # An answer that cannot be read is one all the same: the request was carried out.
            error.outcome_unknown |= isinstance(error, DecodeError)
            raise

    async def _attempt(self, job: _Job, attempts: list[Attempt]) -> Answer:
        await self._wait_for_hold()
        at, began, result = self.clock.wall(), self.clock.now(), "cancelled"
        try:
            answer = await self._exchange(job.request)
            result = str(answer.status)
        except PandiumError as error:
            result = str(error)
            raise
        finally:
            attempts.append(Attempt(at, self.clock.now() - began, result))
        if HTTPStatus.OK <= answer.status < job.below:
            return answer
        raise self._error_of(job, answer)

    async def _wait_for_hold(self) -> None:
        while (seconds := self.connections.held_until - self.clock.now()) > 0:
            if seconds > self.retry.max_elapsed:
                text = f"429 before: no request may be sent for another {seconds:.0f} s"
                raise RateLimited(text, status_code=_TOO_MANY, retry_after=seconds)
            await self.clock.sleep(seconds)

    def _error_of(self, job: _Job, answer: Answer) -> APIError:
        error = error_of(
            answer.status,
            {} if job.is_foreign else answer.headers,
            b"" if job.is_foreign else answer.content,
            is_proxied=job.repeat is Repeat.PROXIED,
            redact=self.config.api_key.redact,
            now=self.clock.wall(),
        )
        if isinstance(error, RateLimited) and error.retry_after is not None:
            until = self.clock.now() + error.retry_after
            self.connections.held_until = max(self.connections.held_until, until)
        return error

    async def _exchange(self, request: httpx.Request) -> Answer:
        cause: OSError | None = None
        try:
            async with self.connections.in_flight():
                with anyio.move_on_after(_seconds(self.timeout)):
                    response = await self.connections.http().send(request, follow_redirects=False)
                    return Answer(response.status_code, response.headers, response.content)
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            failure, cause = _translate(error), _root_of(error)
        else:
            failure = RequestTimeout(f"no whole answer within {self.timeout} s")
        # Raised out here, so that no error of httpx, which holds the request, hangs on it.
        raise failure from cause


@attrs.frozen
class _Job:
    """A request with what to do about its answer; `shown_url` is what errors may show of it."""

    request: httpx.Request
    shown_url: str
    repeat: Repeat
    below: int
    is_foreign: bool = False


def _without_pool_limit(timeout: httpx.Timeout | float) -> httpx.Timeout:
    if not isinstance(timeout, httpx.Timeout):
        return httpx.Timeout(timeout, pool=None)
    return httpx.Timeout(connect=timeout.connect, read=timeout.read, write=timeout.write, pool=None)


def _seconds(timeout: httpx.Timeout | float) -> float:
    return inf if isinstance(timeout, httpx.Timeout) else timeout


def _translate(error: Exception) -> PandiumError:
    # 1. unreadable  2. surely not sent  3. too slow  4. whatever else: it may have been sent
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.DecodingError):
        return DecodeError(f"the answer's content encoding cannot be read: {text}")
    if isinstance(error, _NEVER_SENT):
        return ConnectFailed(text)
    if isinstance(error, httpx.TimeoutException):
        return RequestTimeout(text)
    return ConnectionLost(text)


def _root_of(error: BaseException) -> OSError | None:
    """Find the system's own error behind one of httpx."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, OSError):
        seen = seen.__cause__ or seen.__context__
    return seen
