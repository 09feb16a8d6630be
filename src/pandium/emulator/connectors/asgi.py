"""ASGI applications as upstreams."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from pandium.emulator.connectors.upstreams import (
    ERROR_STATUS,
    ConnectorRequest,
    Unsendable,
    UpstreamFailure,
)

# The base URL for relative target URLs.
BASE = httpx.URL("https://upstream")
TYPES = {"soap": "text/xml; charset=utf-8", "xml": "application/xml; charset=utf-8"}
PAIR = 2


async def call_app(app: ASGIApp, request: ConnectorRequest) -> Any:
    """Send a call to an application, and return the response data or the failure."""

    async def app_with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"pandium": request}
        await app(scope, receive, send)

    response = await httpx.ASGITransport(app_with_state).handle_async_request(
        _http_request(request)
    )
    await response.aread()
    status, data = response.status_code, _data(response)
    return UpstreamFailure(status, data) if status in ERROR_STATUS else data


def _http_request(request: ConnectorRequest) -> httpx.Request:
    try:
        url = BASE.join(request.url).copy_merge_params(dict(request.query_params or {}))
        headers = httpx.Headers(_pairs(request.headers))
        if request.kind in TYPES:
            headers.setdefault("content-type", TYPES[request.kind])
            return httpx.Request(request.method, url, headers=headers, content=request.data)
        return httpx.Request(request.method, url, headers=headers, json=request.body)
    except (httpx.InvalidURL, ValueError) as error:
        raise Unsendable(f"The call cannot be sent: {error}") from None


def _pairs(headers: Mapping[str, Any] | list[Any] | None) -> list[tuple[bytes, bytes]]:
    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers or []
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != PAIR:
            raise ValueError(f"headers[{index}]: must be a name and a value, not {pair!r}")
    return [(_text(name).encode(), _text(value).encode()) for name, value in pairs]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _data(response: httpx.Response) -> Any:
    if "json" in response.headers.get("content-type", ""):
        try:
            return response.json()
        except ValueError:
            pass
    return response.text
