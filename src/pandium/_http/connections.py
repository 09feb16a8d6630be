"""Exchange one request for one answer, bounded in time and size; the one user of httpx."""

from __future__ import annotations

import logging
import os
import warnings
import zlib
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from math import inf
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs
import httpx

from pandium._transport.retry import Budget
from pandium.errors import (
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    DecodeError,
    PandiumError,
    RequestTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Answer", "Connections", "Timeout", "check_http_client", "check_url", "checked_timeout"]

Timeout = httpx.Timeout

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
_NO_URL = (httpx.InvalidURL, UnicodeError)
_ANY_ZLIB = 32 + zlib.MAX_WBITS


@attrs.frozen
class Answer:
    """What came back of a request, whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def check_url(url: str) -> None:
    """
    Let a base URL pass that requests can be sent to.

    :raises ConfigurationError: if its host is none.
    """
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        fault = str(error)
    else:
        return
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


def check_http_client(value: object) -> None:
    """
    Let a client of the user's pass, or none.

    :raises ConfigurationError: if it is something else, or closed.
    """
    if value is not None and not isinstance(value, httpx.AsyncClient):
        name = type(value).__name__
        raise ConfigurationError(f"http_client must be an httpx.AsyncClient, not a {name}")
    if value is not None and value.is_closed:
        raise ConfigurationError("http_client is closed")


class _SignedURL(httpx.URL):
    """A URL whose query is as good as a key."""


def _without_signatures(record: logging.LogRecord) -> bool:
    # Not by another `__str__` of the URL: transports of the user's may go by its text.
    if isinstance(record.args, tuple):
        record.args = tuple(
            one.copy_with(query=None) if isinstance(one, _SignedURL) else one for one in record.args
        )
    return True


# It writes the URL of each request.
logging.getLogger("httpx").addFilter(_without_signatures)


class Connections:
    """
    What all views of one client share: its sockets, its places in flight, and its end.

    It belongs to the event loop, and to the process, of its first request: sockets cannot move.
    """

    def __init__(
        self, places: int, most_bytes: int, http_client: httpx.AsyncClient | None, made_at: str
    ) -> None:
        self._places = places
        self._most_bytes = most_bytes
        self._made_at = made_at
        self._is_borrowed = http_client is not None
        self._http = http_client
        self._in_flight: anyio.Semaphore | None = None
        self._home: object = None
        self._is_closed = False
        self.held_until = -inf
        self.budget = Budget()

    def build(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: httpx.Timeout | float,
        **body: Any,
    ) -> httpx.Request:
        """
        Make a request, with a time limit for each of its phases.

        :raises ValueError: if the URL cannot be sent.
        :raises PandiumError: if the client is closed, or of another event loop or process.
        """
        self._check()
        try:
            # Only a client of the user's has defaults of its own to be merged in.
            make = self._http.build_request if self._http and self._is_borrowed else httpx.Request
            return make(
                method,
                url,
                headers=headers,
                extensions={"timeout": _without_pool_limit(timeout).as_dict()},
                **body,
            )
        except httpx.InvalidURL as error:
            raise ValueError(f"path or params cannot be sent: {error}") from None

    def build_signed(
        self, url: str, headers: Mapping[str, str], timeout: httpx.Timeout | float
    ) -> httpx.Request:
        """Make a GET of a URL that no log may have whole, with nothing of the user's client."""
        self._check()
        extensions = {"timeout": _without_pool_limit(timeout).as_dict()}
        request = httpx.Request("GET", url, headers=headers, extensions=extensions)
        request.url = _SignedURL(request.url)
        return request

    async def exchange(
        self,
        request: httpx.Request,
        timeout: httpx.Timeout | float,  # noqa: ASYNC109 - one attempt's, not the caller's
        is_held: Callable[[], bool],
    ) -> Answer | None:
        """
        Send once, and read the whole answer; unsent, and `None`, if `is_held` once it could be.

        Who waits for a connection does so in order, and without a time limit. A `timeout` in
        seconds is for all that follows.

        :raises TransportError: if no answer came.
        :raises DecodeError: if it is too large, or wrongly compressed.
        """
        self._check()
        cause: OSError | None = None
        limit = anyio.CancelScope()
        seconds = inf if isinstance(timeout, httpx.Timeout) else timeout
        progress = _Progress(limit, seconds, is_held)
        request.extensions["trace"] = progress.note
        try:
            async with self._place():
                if self._is_borrowed:  # it has its place, and may not be told of its connection
                    progress.begin()
                with limit:
                    return await self._send(request)
        except _Held:
            return None
        except (
            httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError, OSError
        ) as error:  # fmt: skip
            failure, cause = _translate(error), _root_of(error)
        else:
            failure = progress.timed_out()
        finally:
            del request.extensions["trace"]  # whoever keeps the request need not keep the client
        # Raised out here, so that no error of httpx, which holds the request, hangs on it.
        raise failure from cause

    async def _send(self, request: httpx.Request) -> Answer:
        # A user's client may have credentials, which are none of another host's business.
        own: dict[str, Any] = {"auth": None} if isinstance(request.url, _SignedURL) else {}
        response = await self._client().send(request, stream=True, follow_redirects=False, **own)
        try:
            content = await _read(response, self._most_bytes)
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers, content)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            # Here, since httpcore2 takes as long to import as half of httpx.
            from pandium._http.pool import make_http_client  # noqa: PLC0415

            try:
                self._http = make_http_client(self._places)
            except OSError as error:
                fault = f"SSL_CERT_FILE or SSL_CERT_DIR cannot be used: {error}"
                raise ConfigurationError(fault) from None
            except (ValueError, httpx.InvalidURL):  # whose text may have the proxy's password
                fault = "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is not the URL of a proxy"
                raise ConfigurationError(fault) from None
        return self._http

    def _place(self) -> AbstractAsyncContextManager[object]:
        # Our own pool has just so many connections and keeps a queue; a semaphore before it would
        # let connections fall idle in between, which the pool then probes at every call.
        if not self._is_borrowed:
            return nullcontext()
        if self._in_flight is None:
            self._in_flight = anyio.Semaphore(self._places, fast_acquire=True)
        return self._in_flight

    def check_open(self) -> None:
        """
        Let pass what is not closed.

        :raises PandiumError: if it is.
        """
        if self._is_closed:
            raise PandiumError("the client is closed")

    def _check(self) -> None:
        self.check_open()
        here = _here()
        if self._home is None:
            self._home = here
        elif self._home != here:
            raise PandiumError(
                "the client was first used in another event loop or process: make one for each"
            )
        if self._is_borrowed and self._http is not None and self._http.is_closed:
            raise PandiumError("the http_client is closed")

    async def aclose(self) -> None:
        """Close what is our own; again is no error."""
        self._is_closed = True
        http, self._http = self._http, None
        if http is not None and not self._is_borrowed and self._home == _here():
            await http.aclose()

    def __del__(self) -> None:
        if not self._is_closed and not self._is_borrowed and self._http is not None:
            warnings.warn(
                f"unclosed AsyncPandium, made at {self._made_at}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


def _here() -> object:
    return os.getpid(), anyio.lowlevel.current_token()


class _Held(Exception):  # noqa: N818 - no error
    """A request got its connection only when none may be used."""


class _Progress:
    """
    How far a request has got, by what httpcore tells of it.

    Its time begins once it has a connection, or the permission to make one; from its headers on it
    may have been carried out.
    """

    def __init__(
        self, limit: anyio.CancelScope, seconds: float, is_held: Callable[[], bool]
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._is_held = is_held
        self._has_begun = False
        self._is_told = False
        # Until told otherwise: another transport than httpcore's tells nothing of what it sends.
        self._is_sent = True

    def begin(self) -> None:
        if self._is_held():
            raise _Held
        self._has_begun = True
        self._limit.deadline = anyio.current_time() + self._seconds

    async def note(self, event: str, info: Mapping[str, Any]) -> None:
        if not self._has_begun:
            self.begin()
        if not self._is_told:
            self._is_told, self._is_sent = True, False
        if event.endswith("send_request_headers.started"):
            # To ask a proxy for a tunnel is not to send the request.
            self._is_sent |= info["request"].method != b"CONNECT"

    def timed_out(self) -> PandiumError:
        if self._is_sent:
            return RequestTimeout(f"no whole answer within {self._seconds:g} s")
        return ConnectFailed(f"no connection within {self._seconds:g} s")


async def _read(response: httpx.Response, most: int) -> bytes:
    """Read a body as it comes, so that neither it nor what it unpacks to fills the memory."""
    if response.is_stream_consumed:  # made by a mock, in memory already
        unpacked = _Unpacked("", most)
        unpacked.add(await response.aread())
        return unpacked.whole()
    unpacked = _Unpacked(response.headers.get("content-encoding", ""), most)
    chunks = response.aiter_raw()
    try:
        async for chunk in chunks:
            unpacked.add(chunk)
    except DecodeError:
        # Once closed, the generators behind it end by an error of their own. Left to themselves
        # they would wait for the garbage collector, of which trio warns.
        await response.aclose()
        with suppress(Exception):
            async for _ in chunks:
                pass
        raise
    return unpacked.whole()


class _Unpacked:
    """A body, unpacked piece by piece, that never grows beyond a bound."""

    def __init__(self, encoding: str, most: int) -> None:
        self._encoding = encoding
        self._inflate = _inflater(encoding)
        self._parts: list[bytes] = []
        self._left = most
        self._most = most

    def add(self, chunk: bytes) -> None:
        while chunk:
            part, chunk = (chunk, b"") if self._inflate is None else self._unpack(chunk)
            self._left -= len(part)
            if self._left < 0:
                raise DecodeError(f"the answer is larger than {self._most} bytes")
            self._parts.append(part)

    def _unpack(self, chunk: bytes) -> tuple[bytes, bytes]:
        """Unpack to the end of what is packed as one; several in a row are one body."""
        if self._inflate.eof:
            chunk = chunk.lstrip(b"\0")  # padding
            if not chunk:
                return b"", b""
            self._inflate = _inflater(self._encoding)
        try:
            part = self._inflate.decompress(chunk, self._left + 1)
        except zlib.error as error:
            raise DecodeError(f"the compressed answer cannot be read: {error}") from None
        return part, self._inflate.unused_data

    def whole(self) -> bytes:
        if self._inflate is not None and self._parts and not self._inflate.eof:
            raise DecodeError("the compressed answer ends early")
        return b"".join(self._parts)


def _inflater(encoding: str) -> Any:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(_ANY_ZLIB)
    raise DecodeError(f"the answer has a content encoding that was not asked for: {name!r}")


def _without_pool_limit(timeout: httpx.Timeout | float) -> httpx.Timeout:
    if not isinstance(timeout, httpx.Timeout):
        return httpx.Timeout(timeout, pool=None)
    return httpx.Timeout(connect=timeout.connect, read=timeout.read, write=timeout.write, pool=None)


def _translate(error: Exception) -> PandiumError:
    # 1. httpx looks where an answer redirects to, although nobody goes there  2. surely not sent
    # 3. too slow  4. whatever else: it may have been sent
    if isinstance(error, _NO_URL) or isinstance(error.__context__, _NO_URL):
        return DecodeError("the answer redirects to what is no URL")
    text = str(error) or str(_root_of(error) or "") or type(error).__name__
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
