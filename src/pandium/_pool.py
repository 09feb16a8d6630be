"""Put httpcore2's connection pool, which survives cancelled requests, under httpx's client."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import httpcore2
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator

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


@contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


class _Stream(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        with _as_httpx():
            await self._stream.aclose()


class _Pool(httpcore2.AsyncConnectionPool):
    """Speak httpx's dialect: the transport above hands it httpcore's requests."""

    async def handle_async_request(self, request: Any) -> Any:
        url = request.url
        asked = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
            headers=request.headers,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = await super().handle_async_request(asked)
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


class _Client(httpx.AsyncClient):
    # Not AsyncClient(transport=…), which would no longer read HTTPS_PROXY, NO_PROXY and the like.
    def __init__(self, connections: int) -> None:
        self._connections = connections
        super().__init__()

    def _init_transport(self, *_: Any, **__: Any) -> httpx.AsyncBaseTransport:
        return _Transport(None, self._connections)

    def _init_proxy_transport(
        self, proxy: httpx.Proxy, *_: Any, **__: Any
    ) -> httpx.AsyncBaseTransport:
        return _Transport(proxy, self._connections)


def make_http_client(connections: int) -> httpx.AsyncClient:
    """Make an httpx client over our pool, with proxies and certificates from the environment."""
    return _Client(connections)
