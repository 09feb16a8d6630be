"""Provide httpx with a pool of httpcore2 connections that tolerates canceled requests."""

from __future__ import annotations

import time
from collections import deque
from contextlib import aclosing
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import anyio.lowlevel
import httpcore  # noqa: F401 - httpx would import it on the event loop, in the first request
import httpcore2
import httpx
from httpcore2._utils import is_socket_readable

from pandium._http.environment import Proxies, create_ssl_context, origin_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["create_http_client"]

_CHUNKS_PER_CHECKPOINT = 64
_KEEPALIVE_SECONDS = 5.0  # the default in httpx

# For each of these, httpx has an exception of the same name.
_HTTPCORE_ERRORS: tuple[type[Exception], ...] = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


def _as_httpx_error(error: Exception) -> httpx.TransportError:
    cls: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
    return cls(str(error))


class _PooledStream(httpx.AsyncByteStream):
    """A response body that returns its connection to the pool when it is closed."""

    def __init__(self, stream: Any, return_connection: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._return_connection = return_connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        try:
            async with aclosing(aiter(self._stream)) as chunks:
                async for chunk in chunks:
                    yield chunk
                    count += 1
                    # h11 splits the data of one read into as many chunks as the server likes.
                    if count % _CHUNKS_PER_CHECKPOINT == 0:
                        await anyio.lowlevel.checkpoint()
        except _HTTPCORE_ERRORS as error:
            raise _as_httpx_error(error) from error

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._return_connection()


# The sockets opened by the current request.
_opened_streams: ContextVar[list[httpcore2.AsyncNetworkStream]] = ContextVar("_opened_streams")


class _Stream(httpcore2.AsyncNetworkStream):
    """
    A socket or a TLS connection that sets up a timeout only if a request has one for this phase.

    The streams in httpcore2 set up a cancel scope for each read and each write, even without a
    timeout, and look up the socket again before each request.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream: Any = stream
        self._bytes: anyio.abc.ByteStream = stream._stream  # type: ignore[attr-defined]  # noqa: SLF001 - not public
        self._socket = stream.get_extra_info("socket")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - inherited
        if timeout is not None:
            return bytes(await self._stream.read(max_bytes, timeout))
        try:
            return await self._bytes.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore2.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - inherited
        if timeout is not None:
            await self._stream.write(buffer, timeout)
        elif buffer:
            try:
                await self._bytes.send(buffer)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **kwargs: Any) -> _Stream:
        return _Stream(await self._stream.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return is_socket_readable(self._socket)
        return self._stream.get_extra_info(info)


class _RecordingBackend(httpcore2.AsyncNetworkBackend):
    """A wrapper around the httpcore2 network backend that records the sockets it opens."""

    def __init__(self) -> None:
        self._backend: Any = httpcore2.AnyIOBackend()

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> Any:
        stream = _Stream(await self._backend.connect_tcp(*args, **kwargs))
        _opened_streams.get().append(stream)
        return stream


class _Pool(httpcore2.AsyncConnectionPool):
    """
    A connection pool that reuses the most recently used idle connection.

    The pool in httpcore2 examines every connection twice per request. It also leaks the socket if
    a handshake is canceled, never frees the slot of a tunnel whose handshake failed, and treats
    stray bytes after a response as the next response.

    The caller limits the number of requests in flight. Requests and responses are httpx objects,
    which have the same interface as the httpcore2 ones.
    """

    def __init__(
        self,
        max_connections: int,
        proxy_for: Callable[[httpx.URL], httpx.Proxy | None] = lambda _: None,
        keepalive: float = _KEEPALIVE_SECONDS,
        **options: Any,
    ) -> None:
        super().__init__(keepalive_expiry=keepalive, network_backend=_RecordingBackend(), **options)
        self._limit = max_connections
        self._proxy_for = proxy_for
        self._keepalive = keepalive
        self._busy: set[httpcore2.AsyncConnectionInterface] = set()
        # Each connection is paired with the time at which it became idle, most recent last.
        self._idle: deque[tuple[float, httpcore2.AsyncConnectionInterface]] = deque()
        self._is_open = True

    async def handle_async_request(self, request: Any) -> Any:
        if (trace := request.extensions.get("trace")) is not None:
            # Send this event before anything can fail, so that an unsent request is recognized.
            await trace("pool.get_connection.started", {})
        connection = await self._get_connection(request.url.origin)
        self._busy.add(connection)
        token = _opened_streams.set([])
        try:
            response = await connection.handle_async_request(request)
        except BaseException as error:
            self._busy.discard(connection)
            await _close_all(connection, *_opened_streams.get())
            if isinstance(error, _HTTPCORE_ERRORS):
                raise _as_httpx_error(error) from error
            raise
        finally:
            _opened_streams.reset(token)
        response.stream = _PooledStream(
            response.stream, lambda: self._return_connection(connection)
        )
        return response

    async def _get_connection(self, origin: Any) -> httpcore2.AsyncConnectionInterface:
        """Return the most recently used idle connection, or a new one."""
        while (connection := self._pop_idle(origin)) is not None:
            if not (connection.has_expired() or _has_trailing_data(connection)):
                return connection
            await _close_all(connection)
        while self._idle and len(self._idle) + len(self._busy) >= self._limit:
            await _close_all(self._idle.popleft()[1])
        return self.create_connection(origin)

    def create_connection(self, origin: Any) -> httpcore2.AsyncConnectionInterface:
        """Create a connection, through a proxy if the environment sets one for its host."""
        url = httpx.URL(scheme=origin.scheme.decode(), host=origin.host.decode(), port=origin.port)
        proxy = self._proxy_for(url)
        # The inherited method reads this attribute.
        self._proxy = None if proxy is None else _as_httpcore_proxy(proxy)
        return super().create_connection(origin)

    def _pop_idle(self, origin: Any) -> httpcore2.AsyncConnectionInterface | None:
        for index in reversed(range(len(self._idle))):
            connection = self._idle[index][1]
            if connection.can_handle_request(origin):
                del self._idle[index]
                return connection
        return None

    async def _return_connection(self, connection: httpcore2.AsyncConnectionInterface) -> None:
        now = time.monotonic()
        self._busy.discard(connection)
        if connection.is_idle() and self._is_open:
            self._idle.append((now, connection))
        else:
            await _close_all(connection)
        while self._idle and self._idle[0][0] < now - self._keepalive:
            await _close_all(self._idle.popleft()[1])

    async def aclose(self) -> None:
        self._is_open = False
        await _close_all(*self._busy, *(connection for _, connection in self._idle))
        self._idle.clear()


async def _close_all(*closing: Any) -> None:
    """Close all connections and streams, then re-raise the first error."""
    errors: list[BaseException] = []
    with anyio.CancelScope(shield=True):
        for connection in closing:
            try:
                await connection.aclose()
            except BaseException as error:  # noqa: BLE001 - native cancellation ignores the shield
                errors.append(error)
    if errors:
        raise errors[0]


def _has_trailing_data(connection: Any) -> bool:
    """Return whether unexpected bytes were received after the last response."""
    innermost = connection
    while (wrapped := getattr(innermost, "_connection", None)) is not None:
        innermost = wrapped
    state = getattr(innermost, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])


class _PoolTransport(httpx.AsyncHTTPTransport):
    # Inherit `handle_async_request`, because pytest-httpx patches it to intercept requests.
    def __init__(self, max_connections: int) -> None:
        proxies = Proxies.from_environment()
        self._pool = _Pool(  # type: ignore[assignment]  # same interface as httpcore's
            max_connections, proxies.for_url, ssl_context=create_ssl_context()
        )
        self._proxies = proxies

    def proxy_for(self, url: httpx.URL) -> str | None:
        """Return the URL of the proxy for a URL, without credentials, or ``None``."""
        proxy = self._proxies.for_url(url)
        return None if proxy is None else origin_of(proxy.url)


def _as_httpcore_proxy(proxy: httpx.Proxy) -> httpcore2.Proxy:
    url = proxy.url
    return httpcore2.Proxy(
        url=httpcore2.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        ),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=create_ssl_context() if url.scheme == "https" else None,
    )


def create_http_client(max_connections: int) -> httpx.AsyncClient:
    """
    Create an httpx client with our pool, and with proxies and certificates from the environment.

    :raises ConfigurationError: if an environment variable is invalid.
    """
    return httpx.AsyncClient(transport=_PoolTransport(max_connections))
