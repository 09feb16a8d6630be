"""A request counts as not sent only if that was observed, with any transport."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import httpx
import pytest
from httpx_aiohttp import AiohttpTransport
from pyreqwest.client import ClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport

from pandium import (
    AsyncPandium,
    ConnectFailed,
    ConnectionLost,
    NotFound,
    PandiumError,
    Retry,
    TransportError,
)
from support import KEY
from support import servers as bad
from support.servers import Behavior, Misbehaving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pytest_httpx import HTTPXMock

RETRY = Retry(initial=0.01)
SYNC = ("POST", "/v2/tenants/1/sync")
# A request that is received completely, and a response that is never sent
LOST_RESPONSES = {
    "reset": bad.reset("all"),
    "closed": bad.close("all"),
    "half a status line": bad.half_a_status_line(),
    "half a body": bad.half_a_body(),
    "garbage": bad.garbage(),
}
TRANSPORT_ERRORS = sorted(
    (
        value
        for value in vars(httpx).values()
        if isinstance(value, type) and issubclass(value, httpx.TransportError)
    ),
    key=lambda cls: cls.__name__,
)


@asynccontextmanager
async def over_httpx() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@asynccontextmanager
async def over_aiohttp() -> AsyncIterator[httpx.AsyncClient]:
    transport = AiohttpTransport(client=aiohttp.ClientSession)
    async with httpx.AsyncClient(transport=transport) as client:
        yield client


@asynccontextmanager
async def over_pyreqwest() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        ClientBuilder().build() as engine,
        httpx.AsyncClient(transport=HttpxTransport(engine)) as client,
    ):
        yield client


ENGINES = {"httpx": over_httpx, "aiohttp": over_aiohttp, "pyreqwest": over_pyreqwest}


@pytest.mark.asyncio
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LOST_RESPONSES)
async def test_a_lost_response_never_causes_a_second_post(engine: str, name: str) -> None:
    """With any `http_client`, a sync whose response is lost is not retried."""
    behavior: Behavior = LOST_RESPONSES[name]
    with Misbehaving(behavior, behavior, behavior, behavior) as server:
        async with ENGINES[engine]() as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(TransportError) as caught:
                await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert server.arrived[SYNC] == 1


@pytest.mark.anyio
@pytest.mark.parametrize("engine", [None, "httpx"])
async def test_a_refused_connection_is_retried(engine: str | None) -> None:
    """With our own pool and with httpx, a refused connection is `ConnectFailed` and is retried."""
    options: dict[str, Any] = {"base_url": "http://127.0.0.1:9", "retry": RETRY}
    async with over_httpx() as mine:
        if engine is not None:
            options["http_client"] = mine
        async with AsyncPandium(KEY, **options) as client:
            with pytest.raises(ConnectFailed) as caught:
                await client.tenants.sync(1, mode="normal")
    assert len(caught.value.attempts) == 4
    assert not caught.value.outcome_unknown


@pytest.mark.anyio
@pytest.mark.parametrize("cls", TRANSPORT_ERRORS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("is_mock", [True, False])
async def test_the_class_of_an_exception_proves_nothing(
    cls: type[httpx.TransportError],
    is_mock: bool,  # noqa: FBT001
    httpx_mock: HTTPXMock,
) -> None:
    """If the transport reports no progress, the outcome is unknown for any class of error."""
    sent = 0

    def lie(_: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        raise cls("it was carried out all the same")

    if is_mock:
        httpx_mock.add_callback(lie)
        client = AsyncPandium(KEY, retry=RETRY)
    else:
        mine = httpx.AsyncClient(transport=httpx.MockTransport(lie))
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
    async with client:
        with pytest.raises(TransportError) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert sent == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        OverflowError("port"),
        AssertionError(),
        RuntimeError("x" * 10_000),
        ssl.SSLError("handshake"),
        ExceptionGroup("several", [OSError("first"), ValueError("second")]),
        ExceptionGroup("nested", [ExceptionGroup("", [KeyError("deep")])]),
    ],
    ids=repr,
)
async def test_anything_that_a_transport_raises_becomes_a_pandium_error(error: Exception) -> None:
    """Any exception from a transport becomes a `TransportError` with a short text."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(ConnectionLost) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert len(str(caught.value)) < 600


# The caller's own exceptions


@pytest.mark.anyio
@pytest.mark.parametrize(
    "handled", [FileNotFoundError(2, "no cache"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")]
)
@pytest.mark.parametrize(
    "raised", [None, httpx.ConnectError(""), httpx.ReadError(""), httpx.RemoteProtocolError("")]
)
async def test_what_the_caller_handles_is_not_our_cause(
    handled: Exception, raised: Exception | None
) -> None:
    """An exception that the caller is handling is neither the cause nor the text of an error."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise raised or httpx.ReadError("")

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as mine:
        options: dict[str, Any] = {"base_url": "http://localhost", "http_client": mine}
        if raised is None:
            options = {"base_url": "http://127.0.0.1:9"}
        async with AsyncPandium(KEY, retry=Retry.never(), **options) as client:
            try:
                raise handled
            except type(handled):
                with pytest.raises(TransportError) as caught:
                    await client.tenants.sync(1, mode="normal")
    assert caught.value.__cause__ is not handled
    assert "cache" not in str(caught.value)
    assert "redirect" not in str(caught.value)


async def raise_for_status(response: httpx.Response) -> None:
    response.raise_for_status()


async def fail_in_a_hook(_: object) -> None:
    raise LookupError("of the hook")


@pytest.mark.anyio
async def test_a_hook_that_raises_for_status_keeps_the_status() -> None:
    """If a hook calls raise_for_status, a 404 is still `NotFound` after one request."""
    requests = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(404, json={"message": "no such tenant"})

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(respond), event_hooks={"response": [raise_for_status]}
    ) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(NotFound):
            await client.tenants.sync(1, mode="normal")
    assert len(requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["request", "response"])
async def test_an_error_of_a_hook_is_the_users(kind: str) -> None:
    """Any other exception from a hook reaches the caller unchanged after one request."""
    requests = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"trigger_id": "t"})

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(respond), event_hooks={kind: [fail_in_a_hook]}
    ) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(LookupError, match="of the hook"):
            await client.tenants.sync(1, mode="normal")
    assert len(requests) == (kind == "response")


# Invalid ports and hosts


@pytest.mark.anyio
@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1:99999/x?sig=1",
        "https://[::1/x",
        "https://a:b/",
        "https:///x",
        "http://xn--/",
        "https://xn--a/",
    ],
)
async def test_an_invalid_signed_url_is_a_decode_error(
    location: str, httpx_mock: HTTPXMock
) -> None:
    """An invalid log URL is a `DecodeError` that does not show the query string."""
    httpx_mock.add_response(status_code=302, headers={"Location": location})
    async with AsyncPandium(KEY, retry=Retry.never()) as client:
        with pytest.raises(PandiumError) as caught:
            await client.runs.log(1)
    assert "sig=1" not in str(caught.value)


def open_tunnel(*parts: bytes) -> Callable[[anyio.abc.SocketStream], Any]:
    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            for part in parts:
                await stream.send(part)

    return handle


@pytest.mark.anyio
@pytest.mark.parametrize(
    "parts", [(), (b"xyz\r\n\r\n",), (b"HTTP/1.1 200 O",)], ids=["closes", "garbage", "half"]
)
async def test_a_tunnel_that_fails_was_never_sent(
    parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy failure while a tunnel is opened is `ConnectFailed`: the request was not sent."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, open_tunnel(*parts))
        async with AsyncPandium(KEY, retry=RETRY) as client:
            with pytest.raises(ConnectFailed) as caught:
                await client.tenants.sync(1, mode="normal")
        tasks.cancel_scope.cancel()
    await listener.aclose()
    assert not caught.value.outcome_unknown
    assert len(caught.value.attempts) == 4


@pytest.mark.anyio
async def test_a_hook_may_raise_before_the_body_is_read() -> None:
    """If a hook calls raise_for_status before the body is read, the status is kept."""
    with Misbehaving(bad.status("404 Not Found")) as server:
        async with httpx.AsyncClient(event_hooks={"response": [raise_for_status]}) as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(NotFound):
                await client.tenants.sync(1, mode="normal")
