"""Put a pool of httpcore2's connections, which survives cancelled requests, under httpx."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import aclosing
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import httpcore2
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["make_http_client"]

_KEEPALIVE_SECONDS = 5.0  # httpx's own default

# The two libraries name their errors alike.
_ERRORS: tuple[type[Exception], ...] = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


def _as_httpx(error: Exception) -> httpx.TransportError:
    cls: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
    return cls(str(error))


class _Stream(httpx.AsyncByteStream):
    """A body; once it is closed, its connection is taken back."""

    def __init__(self, stream: Any, take_back: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._take_back = take_back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(aiter(self._stream)) as parts:
                async for part in parts:
                    yield part
        except _ERRORS as error:
            raise _as_httpx(error) from error

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._take_back()


# The sockets that the present request has opened.
_opened: ContextVar[list[httpcore2.AsyncNetworkStream]] = ContextVar("_opened")


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._backend: Any = httpcore2.AnyIOBackend()

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> Any:
        stream = await self._backend.connect_tcp(*args, **kwargs)
        _opened.get().append(stream)
        return stream


class _Pool(httpcore2.AsyncConnectionPool):
    """
    Keep httpcore2's connections in places, given in order, and a stack of idle ones.

    httpcore2's own pool looks at each of its connections twice a request. It leaves sockets behind
    whose handshake was cancelled, and a tunnel whose handshake failed keeps its place for good. Nor
    does it mind bytes behind an answer, which it would take for the next one.

    Requests and answers are of httpx's dialect, which look the same as httpcore2's.
    """

    def __init__(self, places: int, keepalive: float = _KEEPALIVE_SECONDS, **options: Any) -> None:
        super().__init__(keepalive_expiry=keepalive, network_backend=_Backend(), **options)
        self._most = places
        self._keepalive = keepalive
        self._places = anyio.Semaphore(places, fast_acquire=True)
        self._busy: set[httpcore2.AsyncConnectionInterface] = set()
        # With the time since when; the one that was used last is at the end.
        self._idle: deque[tuple[float, httpcore2.AsyncConnectionInterface]] = deque()
        self._is_open = True

    async def handle_async_request(self, request: Any) -> Any:
        await self._places.acquire()
        try:
            if self._is_open:
                return await self._send(request)
            raise httpcore2.ConnectError("closed while waiting for a connection")  # noqa: TRY301 - its place is given back below
        except BaseException as error:
            self._places.release()
            if isinstance(error, _ERRORS):
                raise _as_httpx(error) from error
            raise

    async def _send(self, request: Any) -> Any:
        connection = await self._connection_to(request.url.origin)
        self._busy.add(connection)
        token = _opened.set([])
        try:
            answer = await connection.handle_async_request(request)
        except BaseException:
            self._busy.discard(connection)
            await _close(connection, *_opened.get())
            raise
        finally:
            _opened.reset(token)
        answer.stream = _Stream(answer.stream, lambda: self._take_back(connection))
        return answer

    async def _connection_to(self, origin: Any) -> httpcore2.AsyncConnectionInterface:
        """Give the idle connection that was used last, or make one."""
        while (found := self._pop_idle(origin)) is not None:
            if not (found.has_expired() or _has_leftovers(found)):
                return found
            await _close(found)
        while self._idle and len(self._idle) + len(self._busy) >= self._most:
            await _close(self._idle.popleft()[1])
        return self.create_connection(origin)

    def _pop_idle(self, origin: Any) -> httpcore2.AsyncConnectionInterface | None:
        for index in reversed(range(len(self._idle))):
            connection = self._idle[index][1]
            if connection.can_handle_request(origin):
                del self._idle[index]
                return connection
        return None

    async def _take_back(self, connection: httpcore2.AsyncConnectionInterface) -> None:
        now = time.monotonic()
        self._busy.discard(connection)
        try:
            if connection.is_idle() and self._is_open:
                self._idle.append((now, connection))
            else:
                await _close(connection)
        finally:
            self._places.release()
        while self._idle and self._idle[0][0] < now - self._keepalive:
            await _close(self._idle.popleft()[1])

    async def aclose(self) -> None:
        self._is_open = False
        await _close(*self._busy, *(connection for _, connection in self._idle))
        self._idle.clear()


async def _close(*closing: Any) -> None:
    with anyio.CancelScope(shield=True):
        for each in closing:
            await each.aclose()


def _has_leftovers(connection: Any) -> bool:
    """Tell whether bytes came behind the last answer."""
    below = connection
    while (further := getattr(below, "_connection", None)) is not None:
        below = further
    state = getattr(below, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])


class _Transport(httpx.AsyncHTTPTransport):
    # It leaves handle_async_request as it is: pytest-httpx patches that one to see requests.
    def __init__(self, proxy: httpx.Proxy | None, connections: int) -> None:
        self._pool = _Pool(  # type: ignore[assignment]  # it speaks as httpcore's does
            connections,
            ssl_context=_ssl_context(
                os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
            ),
            proxy=None if proxy is None else _as_httpcore2(proxy),
        )


@cache
def _ssl_context(_file: str | None, _directory: str | None) -> ssl.SSLContext:
    # One for the process, as to load the certificates takes tens of milliseconds; httpx reads the
    # two variables itself.
    return httpx.create_ssl_context()


def _as_httpcore2(proxy: httpx.Proxy) -> httpcore2.Proxy:
    url = proxy.url
    return httpcore2.Proxy(
        url=httpcore2.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        ),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=proxy.ssl_context,
    )


class _NoCookies(httpx.Cookies):
    # The API sets none, and to look for them costs a twentieth of a call.
    def extract_cookies(self, response: httpx.Response) -> None:
        pass


class _Client(httpx.AsyncClient):
    # Not AsyncClient(transport=…), which would no longer read HTTPS_PROXY, NO_PROXY and the like.
    def __init__(self, connections: int) -> None:
        self._connections = connections
        super().__init__()
        self._cookies = _NoCookies()

    def _init_transport(self, *_: Any, **__: Any) -> httpx.AsyncBaseTransport:
        return _Transport(None, self._connections)

    def _init_proxy_transport(
        self, proxy: httpx.Proxy, *_: Any, **__: Any
    ) -> httpx.AsyncBaseTransport:
        return _Transport(proxy, self._connections)


def make_http_client(connections: int) -> httpx.AsyncClient:
    """Make an httpx client over our pool, with proxies and certificates from the environment."""
    return _Client(connections)
