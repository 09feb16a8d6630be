"""A request counts as not sent only if that was observed, with any transport."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import ssl
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from pandium import (
    APIError,
    AsyncPandium,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    ConnectorError,
    DecodeError,
    NotFound,
    Outcome,
    PandiumError,
    Polling,
    RateLimited,
    RequestTimeout,
    Retry,
    ServerError,
    TransportError,
    ValidationError,
    WaitTimeout,
)
from pandium._http.send_record import SendRecord
from pandium._transport.spec import RequestSpec
from support import KEY
from support import servers as bad
from support.engines import ENGINES, over_httpx
from support.failures import ODD_ERRORS
from support.servers import Behavior, Misbehaving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from pytest_httpx import HTTPXMock

    from pandium import Progress, RunResult

RETRY = Retry(initial=0.01)
POLLING = Polling(first=0, minimum=0.01)
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


@pytest.mark.asyncio
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("line", ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_redirect_is_not_followed(engine: str, line: str) -> None:
    """With any `http_client`, the target of a redirect receives neither the request nor the key."""
    with Misbehaving() as target:
        redirect = bad.status(line, Location=f"{target.url}/v2/tenants/1/sync")
        with Misbehaving(otherwise=redirect) as server:
            async with ENGINES[engine]() as mine:
                client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
                with pytest.raises(APIError) as caught:
                    await client.tenants.sync(1, mode="normal")
        assert target.seen == 0
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
        *ODD_ERRORS,
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
    assert len(str(caught.value)) < 2200


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["200", None, 200.0])
async def test_a_status_that_is_no_integer_is_an_error(status: Any) -> None:
    """A mock that returns a response without a proper status causes a `PandiumError`."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json={}))
    async with httpx.AsyncClient(transport=transport) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(PandiumError) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown


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
@pytest.mark.parametrize("response", [None, httpx.Response(401)])
async def test_a_status_error_of_another_response_is_the_hooks(response: Any) -> None:
    """If a hook raises a status error without our response, the error reaches the user."""
    error = httpx.HTTPStatusError("mine", request=None, response=response)  # type: ignore[arg-type]  # as hooks do

    async def fail(_: object) -> None:
        raise error

    async with httpx.AsyncClient(event_hooks={"request": [fail]}) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(httpx.HTTPStatusError) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value is error


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


@pytest.mark.anyio
@pytest.mark.parametrize("error", ODD_ERRORS, ids=repr)
@pytest.mark.parametrize("place", ["request", "response", "auth before", "auth after"])
async def test_an_odd_error_of_a_hook_is_the_users(place: str, error: Exception) -> None:
    """An exception that is frozen or false reaches the caller unchanged, too."""
    async with client_that_fails(place, error, []) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(type(error)) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value is error


# Invalid ports and hosts


@pytest.mark.anyio
@pytest.mark.parametrize("code", [200, 302])
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
    code: int, location: str, httpx_mock: HTTPXMock
) -> None:
    """An invalid log URL is a `DecodeError` that does not show the query string."""
    httpx_mock.add_response(status_code=code, headers={"Location": location})
    async with AsyncPandium(KEY, retry=Retry.never()) as client:
        with pytest.raises(PandiumError) as caught:
            await client.runs.log(1)
    assert "sig=1" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("location", ["http://x:99999/", "http://[::1/", "https://a:b/"])
@pytest.mark.parametrize("is_mine", [True, False])
async def test_an_invalid_redirect_is_a_decode_error(
    location: str,
    is_mine: bool,  # noqa: FBT001
) -> None:
    """A redirect to an invalid URL is a `DecodeError` after one request, with any client."""
    redirect = bad.status("302 Found", Location=location)
    with Misbehaving(otherwise=redirect) as server:
        async with over_httpx() as mine:
            options: dict[str, Any] = {"http_client": mine} if is_mine else {}
            async with AsyncPandium(KEY, base_url=server.url, retry=RETRY, **options) as client:
                with pytest.raises(DecodeError, match="redirects to an invalid URL") as caught:
                    await client.tenants.sync(1, mode="normal")
        assert server.arrived[SYNC] == 1
    assert caught.value.outcome_unknown


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


UPSTREAM_ERROR = b'{"detail": "{\\"status\\": 429, \\"data\\": {}}"}'


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of httpx in trio
@pytest.mark.parametrize("hook", [None, "raise_for_status", "read_body", "auth"])
@pytest.mark.parametrize("missing", [0, 1, 30, len(UPSTREAM_ERROR) - 1, len(UPSTREAM_ERROR)])
async def test_an_upstream_429_is_never_retried(hook: str | None, missing: int) -> None:
    """However much of an upstream's 429 can be read, the call is not repeated, and others go on."""
    line = "429 Too Many Requests"
    too_many = bad.status_and_close(line, UPSTREAM_ERROR, missing, retry_after="600")
    options = {"raise_for_status": {"event_hooks": {"response": [raise_for_status]}}, **READERS}
    options["read_body"] = READERS["hook"]
    with Misbehaving(too_many, bad.status("200 OK", b"[]")) as server:
        async with httpx.AsyncClient(**options.get(str(hook), {})) as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(ConnectorError) as caught:
                await client.connectors.call(
                    1, "crm", method="POST", target_url="https://a.example"
                )
            assert await client.tenants.list().to_list() == []
    assert caught.value.status_code == 429
    assert not caught.value.outcome_unknown
    assert len(caught.value.attempts) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", ["br", "gzip", "deflate, gzip", "gzip, gzip, gzip"])
async def test_an_upstream_429_that_cannot_be_decompressed_is_not_retried(encoding: str) -> None:
    """If the body of a connector call's 429 cannot be decompressed, the call is not repeated."""
    too_many = bad.status("429 Too Many Requests", UPSTREAM_ERROR, content_encoding=encoding)
    with Misbehaving(too_many) as server:
        async with AsyncPandium(KEY, base_url=server.url, retry=RETRY) as client:
            with pytest.raises(ConnectorError) as caught:
                await client.connectors.call(
                    1, "crm", method="POST", target_url="https://a.example"
                )
    assert caught.value.status_code == 429
    assert len(caught.value.attempts) == 1


# A hook or auth handler that reads the body


async def read_body(response: httpx.Response) -> None:
    await response.aread()


class ReadingAuth(httpx.Auth):
    requires_response_body = True

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]  # a generator is an iterator
        yield request


READERS: dict[str, dict[str, Any]] = {
    "hook": {"event_hooks": {"response": [read_body]}},
    "auth": {"auth": ReadingAuth()},
}
TIMEOUT = 20.0  # seconds, never reached
LOST_BODIES = {"reset": bad.reset_in_the_body(), "gzip": bad.lying_gzip()}


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of httpx in trio
@pytest.mark.parametrize("lost", LOST_BODIES)
@pytest.mark.parametrize("reader", READERS)
async def test_a_body_that_a_hook_cannot_read_is_a_lost_response(reader: str, lost: str) -> None:
    """If the connection fails while a hook reads the body, only an idempotent call is repeated."""
    ended = bad.status("200 OK", b'{"status": "Completed"}')
    with Misbehaving(LOST_BODIES[lost], LOST_BODIES[lost], ended) as server:
        async with httpx.AsyncClient(**READERS[reader]) as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(ConnectionLost) as caught:
                await client.tenants.sync(1, mode="normal")
            status = await client.runs.wait("t1", timeout=TIMEOUT, poll=POLLING)
        assert server.arrived[SYNC] == 1
    assert caught.value.outcome_unknown
    assert status.outcome is Outcome.SUCCEEDED


@pytest.mark.anyio
@pytest.mark.parametrize("reader", READERS)
async def test_a_body_that_a_hook_cannot_read_leaves_the_status(reader: str) -> None:
    """If the connection fails while a hook reads the body of an error, its status is kept."""
    with Misbehaving(bad.status_and_reset("422 No")) as server:
        async with httpx.AsyncClient(**READERS[reader]) as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(ValidationError) as caught:
                await client.tenants.sync(1, mode="normal")
    assert not caught.value.outcome_unknown


@pytest.mark.anyio
async def test_a_body_that_a_hook_reads_twice_is_the_users_error() -> None:
    """If a hook reads a stream that it has already read, the error is unchanged."""

    async def read_twice(response: httpx.Response) -> None:
        for _ in range(2):
            _ = [chunk async for chunk in response.aiter_bytes()]

    with Misbehaving() as server:
        async with httpx.AsyncClient(event_hooks={"response": [read_twice]}) as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(httpx.StreamConsumed):
                await client.tenants.sync(1, mode="normal")


@pytest.mark.anyio
async def test_a_body_that_a_hook_requests_itself_is_not_ours() -> None:
    """If the connection fails in the body of a hook's own request, the error is the user's."""
    with Misbehaving() as server, Misbehaving(bad.reset_in_the_body()) as other:

        async def read_another(_: object) -> None:
            async with httpx.AsyncClient() as third:
                await third.get(other.url)

        async with httpx.AsyncClient(event_hooks={"response": [read_another]}) as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(httpx.ReadError):
                await client.tenants.sync(1, mode="normal")
        assert server.arrived[SYNC] == 1


# User code that raises the library's own exceptions

OWN_ERRORS = [
    ConnectFailed("no connection"),
    RateLimited("429", status_code=429, retry_after=0.01),
    ServerError("503", status_code=503),
    DecodeError("unreadable"),
    ConfigurationError("PANDIUM_API_KEY is missing"),
    PandiumError("the client is closed"),
]
MALICIOUS_HOOKS = ["request", "response", "auth before", "auth after"]


class FailingAuth(httpx.Auth):
    def __init__(self, error: Exception, *, is_before: bool) -> None:
        self._error = error
        self._is_before = is_before

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]  # a generator is an iterator
        if not self._is_before:
            yield request
        raise self._error


def client_that_fails(place: str, error: Exception, sent: list[httpx.Request]) -> httpx.AsyncClient:
    """Return a client whose user code raises an error at the given place."""

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"trigger_id": "t"})

    async def fail_with(_: object) -> None:
        raise error

    options: dict[str, Any] = (
        {"event_hooks": {place: [fail_with]}}
        if place in {"request", "response"}
        else {"auth": FailingAuth(error, is_before=place == "auth before")}
    )
    return httpx.AsyncClient(transport=httpx.MockTransport(respond), **options)


@pytest.mark.anyio
@pytest.mark.parametrize("error", OWN_ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", MALICIOUS_HOOKS)
async def test_our_own_class_from_user_code_proves_nothing(
    place: str, error: PandiumError, caplog: pytest.LogCaptureFixture
) -> None:
    """A library error raised by user code is unchanged, is not retried and proves nothing."""
    caplog.set_level(logging.DEBUG, "pandium")
    sent: list[httpx.Request] = []
    error = copy.copy(error)
    async with client_that_fails(place, error, sent) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(type(error)) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value is error
    assert caught.value.outcome_unknown
    assert caught.value.method is None
    assert f"{type(error).__name__} in user code (attempt 1" in caplog.text
    assert len(sent) == (place in {"response", "auth after"})


async def build(client: AsyncPandium) -> object:
    return await client.builds.create(1, "v1")


async def wait_for_build(client: AsyncPandium) -> object:
    return await client.builds.wait(1, "v1", timeout=5.0, poll=POLLING)


async def wait_for_run(client: AsyncPandium) -> object:
    return await client.runs.wait("t", timeout=5.0, poll=POLLING)


async def wait_for_all_runs(client: AsyncPandium) -> object:
    [result] = await client.runs.wait_all(["t"], timeout=5.0, poll=POLLING)
    assert result.error is not None
    raise result.error


async def call_connector(client: AsyncPandium) -> object:
    async with httpx.AsyncClient(transport=client.connectors.transport(1, "crm")) as proxied:
        return await proxied.post("https://crm.example/contacts", json={})


MISSING = NotFound("mine", status_code=404)
UNEXPECTED = ValidationError("Extra inputs are not permitted", status_code=422)
EXPIRED = WaitTimeout("expired", trigger_id="another", last_status=None, polls=1)
UPSTREAM = ConnectorError("mine", status_code=500)


@pytest.mark.anyio
@pytest.mark.parametrize("error", [*OWN_ERRORS, MISSING, UNEXPECTED, EXPIRED, UPSTREAM], ids=repr)
@pytest.mark.parametrize(
    "call", [build, wait_for_build, wait_for_run, wait_for_all_runs, call_connector]
)
async def test_our_own_class_from_user_code_decides_nothing(
    call: Callable[[AsyncPandium], Awaitable[object]], error: PandiumError
) -> None:
    """No operation handles a library error of user code as if it described its own request."""
    sent: list[httpx.Request] = []
    error, message = copy.copy(error), str(error)
    async with client_that_fails("response", error, sent) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(type(error)) as caught:
            await call(client)
    assert caught.value is error
    assert str(error) == message
    assert len(sent) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("error", OWN_ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["send", "read", "close"])
async def test_our_own_class_from_a_transport_proves_nothing(
    place: str, error: PandiumError
) -> None:
    """If a transport raises an error of ours, the outcome is unknown: no retry of a POST."""
    sent: list[str] = []

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            if place == "read":
                raise error
            yield b'{"trigger_id": "t"}'

        async def aclose(self) -> None:
            raise error

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(request.method)
            if place == "send":
                raise error
            return httpx.Response(200, stream=Stream())

    async with httpx.AsyncClient(transport=Transport()) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(ConnectionLost) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert sent == ["POST"]


async def sync_with_a_hook(
    error: PandiumError, journal: Path, sent: list[httpx.Request]
) -> tuple[RunResult, Progress]:
    """Sync a tenant with a response hook that raises an error."""
    async with client_that_fails("response", error, sent) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        async with client.tenants.sync_all([1], mode="normal", journal=journal) as results:
            [result] = [result async for result in results]
    return result, results.progress


@pytest.mark.anyio
async def test_a_journal_keeps_a_claim_whose_hook_lies(tmp_path: Path) -> None:
    """If a hook raises `ConnectFailed`, `sync_all` reports an unknown outcome and stays at that."""
    sent: list[httpx.Request] = []
    for _ in range(2):
        error = ConnectFailed("no connection")
        result, progress = await sync_with_a_hook(error, tmp_path / "journal", sent)
        assert isinstance(result.error, PandiumError)
        assert result.error.outcome_unknown
        assert progress.unknown == 1
    assert len(sent) == 1


class CertainError(PandiumError):
    """A user's error that claims that nothing was sent."""

    @property
    def outcome_unknown(self) -> bool:  # type: ignore[override]  # as a user may write it
        return False


@pytest.mark.anyio
async def test_a_journal_keeps_a_claim_whose_hook_insists(tmp_path: Path) -> None:
    """The class of a hook's error cannot make `sync_all` forget a request that was sent."""
    sent: list[httpx.Request] = []
    for _ in range(2):
        result, _ = await sync_with_a_hook(CertainError("no"), tmp_path / "journal", sent)
        assert result.outcome is Outcome.UNKNOWN
    assert len(sent) == 1


@pytest.mark.anyio
async def test_the_error_of_a_hook_keeps_its_context() -> None:
    """The error of a hook keeps the exception that the hook was handling as its context."""

    async def fail_while_handling(_: object) -> None:
        try:
            _ = dict[str, int]()["first"]
        except KeyError:
            raise LookupError("second")  # noqa: B904 - the implicit context is what is tested

    handled = FileNotFoundError("of the caller")
    mine = httpx.AsyncClient(event_hooks={"request": [fail_while_handling]})
    client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
    async with mine:
        try:
            raise handled
        except FileNotFoundError:
            with pytest.raises(LookupError, match="second") as caught:
                await client.tenants.sync(1, mode="normal")
    assert isinstance(caught.value.__context__, KeyError)
    assert caught.value.__cause__ is None


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["request", "response"])
async def test_a_request_that_a_hook_sends_is_not_ours(kind: str) -> None:
    """An httpx error from a request that a hook sends itself is the user's error."""

    async def send_another(_: object) -> None:
        async with httpx.AsyncClient() as other:
            await other.get("http://127.0.0.1:9")

    with Misbehaving() as server:
        async with httpx.AsyncClient(event_hooks={kind: [send_another]}) as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(httpx.ConnectError):
                await client.tenants.sync(1, mode="normal")
        assert server.arrived[SYNC] == (kind == "response")


async def assert_raised_by_hook(hook: Callable[..., Any], text: str) -> None:
    """Send a sync once, and check that the hook's `HTTPStatusError` reaches the caller."""
    with Misbehaving() as server:
        async with httpx.AsyncClient(event_hooks={"response": [hook]}) as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=RETRY)
            with pytest.raises(httpx.HTTPStatusError, match=text):
                await client.tenants.sync(1, mode="normal")
        assert server.arrived[SYNC] == 1


@pytest.mark.anyio
@pytest.mark.parametrize("is_other_request", [False, True])
@pytest.mark.parametrize("status", [200, 404, 429, 503])
async def test_a_response_that_a_hook_creates_is_not_the_servers(
    status: int,
    is_other_request: bool,  # noqa: FBT001
) -> None:
    """An `HTTPStatusError` counts as a response only if the server sent that response."""

    async def invent(response: httpx.Response) -> None:
        request = httpx.Request("GET", "http://x") if is_other_request else response.request
        invented = httpx.Response(status, request=request)
        raise httpx.HTTPStatusError("invented", request=request, response=invented)

    await assert_raised_by_hook(invent, "invented")


@pytest.mark.anyio
async def test_a_success_that_a_hook_rejects_is_the_users_error() -> None:
    """If a hook raises `HTTPStatusError` for a successful response, the error is unchanged."""

    async def reject(response: httpx.Response) -> None:
        raise httpx.HTTPStatusError("no", request=response.request, response=response)

    await assert_raised_by_hook(reject, "no")


@pytest.mark.anyio
async def test_a_client_closed_during_a_request_leaves_its_outcome_unknown() -> None:
    """If a client is closed while a POST waits for its response, the outcome is unknown."""
    caught: list[PandiumError] = []

    async def sync(client: AsyncPandium) -> None:
        with pytest.raises(TransportError) as error:
            await client.tenants.sync(1, mode="normal")
        caught.append(error.value)

    with Misbehaving(bad.stall_before_the_answer()) as server:
        client = AsyncPandium(KEY, base_url=server.url, retry=RETRY)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sync, client)
            await server.until(lambda: bool(server.requests))
            await client.aclose()
        assert server.arrived[SYNC] == 1
    assert caught[0].outcome_unknown


# Requests that are refused by the caller


@pytest.mark.anyio
async def test_a_request_can_be_refused_once_there_is_a_connection() -> None:
    """The function that allows an attempt is called again before anything is sent."""
    calls = 0

    def allow_once() -> None:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise LookupError("the lease has expired")

    spec = RequestSpec("POST", *SYNC[1:], SYNC[1], record=SendRecord(allow_once))
    with Misbehaving() as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            for _ in range(3):
                with pytest.raises(LookupError, match="has expired"):
                    await client._transport.request(spec, lambda response: response)
            await client.tenants.sync(1, mode="normal")
        assert server.accepted > 1
        assert server.arrived[SYNC] == 1


# Transports that send some requests without trace events


class Fallback(httpx.AsyncHTTPTransport):
    """A transport that, if httpx cannot connect, sends the request in another way."""

    def __init__(self, url: str, error: Exception | None) -> None:
        super().__init__()
        self._url = url
        self._error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectError as first:
            async with httpx.AsyncClient() as other:
                await other.post(f"{self._url}{request.url.path}")
                if self._error is None:
                    await anyio.sleep_forever()
                raise self._error or first from first


class FallbackClient(httpx.AsyncClient):
    """A client that, if it cannot connect, sends the request in another way."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._other = url

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            return await super().send(request, **options)
        except httpx.ConnectError:
            async with httpx.AsyncClient() as other:
                await other.post(f"{self._other}{request.url.path}")
            raise


class Slotted:
    """A transport without a base class and without a dictionary of attributes."""

    __slots__ = ("_inner",)

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()

    async def __aenter__(self) -> None:
        await self._inner.__aenter__()

    async def __aexit__(self, *exc_info: object) -> None:
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)


@pytest.mark.anyio
async def test_a_transport_may_be_of_any_class() -> None:
    """What a transport of an unknown class reports is not relied on, and no error of ours."""
    async with httpx.AsyncClient(transport=Slotted()) as mine:  # type: ignore[arg-type]  # accepted
        options: dict[str, Any] = {"base_url": "http://127.0.0.1:9", "retry": RETRY}
        client = AsyncPandium(KEY, http_client=mine, **options)
        with pytest.raises(TransportError) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown


def replace_method(owner: Any, name: str, url: str) -> None:
    """Replace a method of one object so that a request that fails is also sent in another way."""
    method = getattr(owner, name)

    async def send(request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            response: httpx.Response = await method(request, **options)
        except httpx.ConnectError:
            async with httpx.AsyncClient() as other:
                await other.post(f"{url}{request.url.path}")
            raise
        return response

    setattr(owner, name, send)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind",
    ["first error", "another error", "timeout", "client", "client's method", "transport's method"],
)
async def test_a_fallback_after_a_failed_connection_is_not_repeated(kind: str) -> None:
    """If a connection fails and user code then sends the request elsewhere, it is not retried."""
    with Misbehaving() as server:
        if kind == "client":
            mine: httpx.AsyncClient = FallbackClient(server.url)
        elif kind == "client's method":
            mine = httpx.AsyncClient()
            replace_method(mine, "send", server.url)
        elif kind == "transport's method":
            transport = httpx.AsyncHTTPTransport()
            replace_method(transport, "handle_async_request", server.url)
            mine = httpx.AsyncClient(transport=transport)
        else:
            errors = {"first error": httpx.ConnectError("x"), "another error": OSError("lost")}
            mine = httpx.AsyncClient(transport=Fallback(server.url, errors.get(kind)))
        options: dict[str, Any] = {"base_url": "http://127.0.0.1:9", "retry": RETRY}
        async with mine:
            seconds = 3.0 if kind == "timeout" else 30.0
            client = AsyncPandium(KEY, http_client=mine, timeout=seconds, **options)
            with pytest.raises(TransportError) as caught:
                await client.tenants.sync(1, mode="normal")
        assert server.arrived[SYNC] == 1
    assert caught.value.outcome_unknown


# Exceptions that are malformed


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot be shown")


def own_cause() -> Exception:
    first, second = ValueError("first"), ValueError("")
    first.__cause__, second.__cause__ = second, first
    return first


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error", [own_cause(), UnprintableError()], ids=["own cause", "unprintable"]
)
async def test_a_malformed_exception_becomes_a_pandium_error(error: Exception) -> None:
    """An exception that is its own cause, or that cannot be shown, becomes a `TransportError`."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(ConnectionLost, match=r"first|UnprintableError"):
            await client.tenants.sync(1, mode="normal")


# User code that ends tasks and iterations

TENANTS = [{"id": number, "name": "acme"} for number in range(20)]


class Exit(BaseException):
    """An exception that is not an Exception, such as SystemExit."""


def listing_client(error: BaseException, failing: int) -> httpx.AsyncClient:
    """Return a client that lists tenants until its hook raises an error."""
    requests = itertools.count(1)

    def respond(request: httpx.Request) -> httpx.Response:
        skip, limit = (int(request.url.params[name]) for name in ("skip", "limit"))
        return httpx.Response(200, json=TENANTS[skip : skip + limit])

    async def hook(_: httpx.Request) -> None:
        if next(requests) >= failing:
            raise error

    transport = httpx.MockTransport(respond)
    return httpx.AsyncClient(transport=transport, event_hooks={"request": [hook]})


@pytest.mark.anyio
@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("cls", [StopAsyncIteration, StopIteration, LookupError])
async def test_an_error_of_a_hook_never_ends_a_listing_silently(
    cls: type[Exception], failing: int
) -> None:
    """If a hook raises an error, even a StopAsyncIteration, a listing raises an error."""
    expected = LookupError if cls is LookupError else RuntimeError
    async with listing_client(cls(), failing) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        listing = client.tenants.list(page_size=3)
        with pytest.raises(expected):
            await listing.to_list()
        with pytest.raises(expected):
            async with listing.stream() as tenants:
                async for _ in tenants:
                    pass


@pytest.mark.anyio
async def test_an_exit_in_a_listing_is_not_wrapped() -> None:
    """An exit that a hook raises during concurrent requests reaches the caller without a group."""
    async with listing_client(Exit(), 3) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(Exit):
            await client.tenants.list(page_size=3).to_list()


@pytest.mark.anyio
@pytest.mark.parametrize("failing", [1, 2, 3])
async def test_a_cancellation_of_another_task_is_an_error(failing: int) -> None:
    """If a hook raises the CancelledError of another task, the call raises a RuntimeError."""
    async with listing_client(asyncio.CancelledError(), failing) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(RuntimeError, match="http_client raised CancelledError"):
            await client.tenants.list(page_size=3).to_list()


@pytest.mark.anyio
async def test_a_cancellation_of_another_task_in_a_transport_is_an_unknown_outcome() -> None:
    """If a transport raises the CancelledError of another task, the response is lost."""
    requests: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request.method)
        raise asyncio.CancelledError

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(ConnectionLost) as caught:
            await client.tenants.sync(1, mode="normal")
        assert caught.value.outcome_unknown
        with pytest.raises(ConnectionLost):
            await client.runs.status("1")
    assert requests == ["POST", *["GET"] * RETRY.attempts]


@pytest.mark.anyio
async def test_a_cancellation_of_another_task_in_a_body_is_an_unknown_outcome() -> None:
    """If a response body raises the CancelledError of another task, the response is lost."""

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            raise asyncio.CancelledError

    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Stream())

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        with pytest.raises(ConnectionLost) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown


@pytest.mark.asyncio
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("behavior", [bad.stall_before_the_answer(), bad.stall_in_the_body()])
async def test_a_time_limit_never_cancels_the_task_of_the_caller(
    engine: str, behavior: Behavior
) -> None:
    """With any `http_client`, an elapsed time limit is an error or ends the caller's own scope."""
    with Misbehaving(otherwise=behavior) as server:
        async with ENGINES[engine]() as mine:
            client = AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=Retry.never())
            with pytest.raises(RequestTimeout):
                await client.with_options(timeout=0.1).runs.status("t-1")
            with anyio.move_on_after(0.1) as scope:
                await client.runs.status("t-1")
            assert scope.cancelled_caught


@pytest.mark.asyncio
async def test_a_cancellation_of_the_current_task_is_not_converted() -> None:
    """If the current task is canceled during a request of a user's client, it ends as canceled."""
    entered = asyncio.Event()

    async def hook(_: httpx.Request) -> None:
        entered.set()
        await anyio.sleep_forever()

    async with httpx.AsyncClient(event_hooks={"request": [hook]}) as mine:
        client = AsyncPandium(KEY, base_url="http://localhost", http_client=mine, retry=RETRY)
        task = asyncio.ensure_future(client.tenants.metadata(1))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
