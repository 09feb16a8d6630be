"""Put httpcore2's connection pool, which survives cancelled requests, under httpx's client."""

from __future__ import annotations

import os
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import httpcore2
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

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
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except _ERRORS as error:
            raise _as_httpx(error) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


# The sockets that the present request has opened.
_opened: ContextVar[list[httpcore2.AsyncNetworkStream]] = ContextVar("_opened")


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._backend: Any = httpcore2.AnyIOBackend()

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> Any:
        stream = await self._backend.connect_tcp(*args, **kwargs)
        _opened.get().append(stream)
        return stream


def _clean(connection: Any) -> Any:
    """
    Make a connection leave nothing behind when a request on it fails or is cancelled.

    httpcore2 leaves sockets open whose handshake was cancelled, and a tunnel through a proxy whose
    handshake failed keeps its place in the pool for good. Nor does it mind bytes behind an answer,
    which it would take for the next one.
    """
    handle = connection.handle_async_request

    async def handle_cleanly(request: Any) -> Any:
        token = _opened.set([])
        try:
            await _refuse_leftovers(connection)
            return await handle(request)
        except httpcore2.ConnectionNotAvailable:
            raise  # another request has it, and this one takes another connection
        except BaseException:
            with anyio.CancelScope(shield=True):
                await connection.aclose()
                for stream in _opened.get():
                    await stream.aclose()
            raise
        finally:
            _opened.reset(token)

    connection.handle_async_request = handle_cleanly
    return connection


async def _refuse_leftovers(connection: Any) -> None:
    below = connection
    while (further := getattr(below, "_connection", None)) is not None:
        below = further
    state = getattr(below, "_h11_state", None)
    if state is not None and state.trailing_data[0]:
        await connection.aclose()
        raise httpcore2.ConnectionNotAvailable


class _Pool(httpcore2.AsyncConnectionPool):
    """Speak httpx's dialect: its transport hands over httpcore's requests, which look the same."""

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        connection: httpcore2.AsyncConnectionInterface = _clean(super().create_connection(origin))
        return connection

    async def handle_async_request(self, request: Any) -> Any:
        try:
            answer = await super().handle_async_request(request)
        except _ERRORS as error:
            raise _as_httpx(error) from error
        answer.stream = _Stream(answer.stream)
        return answer


class _Transport(httpx.AsyncHTTPTransport):
    # It leaves handle_async_request as it is: pytest-httpx patches that one to see requests.
    def __init__(self, proxy: httpx.Proxy | None, connections: int) -> None:
        self._pool = _Pool(  # type: ignore[assignment]  # it speaks as httpcore's does
            ssl_context=_ssl_context(
                os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
            ),
            proxy=None if proxy is None else _as_httpcore2(proxy),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=_Backend(),
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
