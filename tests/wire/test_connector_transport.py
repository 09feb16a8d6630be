"""Clients of httpx and httpx2 that call an upstream through a tenant's connector."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest

from pandium import (
    APIError,
    AsyncPandium,
    AuthenticationError,
    BadRequest,
    ConnectFailed,
    ConnectionLost,
    DecodeError,
    PandiumError,
    RateLimited,
    RequestTimeout,
    Retry,
    ServerError,
)
from pandium.emulator import UpstreamFailure
from support import KEY
from support.servers import Misbehaving, half_a_gzip, reset, stall_before_the_answer, status
from support.upstreams import HOST, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pandium.emulator import Emulator
    from support.servers import Behavior

    AnyClient = httpx.AsyncClient | httpx2.AsyncClient

pytestmark = pytest.mark.anyio

ENVELOPE = '<?xml version="1.0" encoding="UTF-8"?>\n<a>é</a>'


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    """Provide the library whose client uses the transport."""
    return request.param


@pytest.fixture
async def http(client: AsyncPandium, upstream: Upstream, library: Any) -> AsyncIterator[AnyClient]:
    transport = client.connectors.transport(1, "crm")
    async with library.AsyncClient(transport=transport, base_url=HOST) as http_client:
        yield http_client


# Requests that the upstream receives


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_request_reaches_the_upstream_unchanged(
    http: AnyClient, upstream: Upstream, method: str
) -> None:
    """The upstream receives the method, URL, query and headers of the request."""
    params = {"q": "a b+c&d=é", "empty": ""}
    await http.request(method, "/v1/a%2Fb/é", params=params, headers={"X-Version": "3"})
    request = upstream.last
    assert (request.tenant_id, request.connector, request.kind) == (1, "crm", "rest")
    assert (request.method, request.url) == (method, f"{HOST}/v1/a%2Fb/%C3%A9")
    assert request.query_params == params
    assert dict(request.headers or {})["x-version"] == "3"
    assert request.body is None


@pytest.mark.parametrize("body", [{"a": [1, None, 0.5, {"é": "\u2028"}]}, {"n": 2**80}, {}])
async def test_a_json_object_is_forwarded(http: AnyClient, upstream: Upstream, body: Any) -> None:
    """The upstream receives a JSON object unchanged, even an empty one."""
    await http.post("/v1/things", json=body)
    assert upstream.last.body == body


async def test_a_streamed_json_body_is_forwarded(http: AnyClient, upstream: Upstream) -> None:
    """A JSON body from a generator is forwarded completely, with its content type."""

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b'{"a', b'":', b"1}"):
            yield chunk

    headers = {"Content-Type": "application/vnd.api+json; charset=UTF-8"}
    await http.patch("/v1", content=chunks(), headers=headers)
    assert upstream.last.body == {"a": 1}
    assert dict(upstream.last.headers or {})["content-type"] == headers["Content-Type"]


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Content-Type": "application/xml"}, "xml"),
        ({"Content-Type": "text/xml; charset=utf-8"}, "xml"),
        ({"Content-Type": 'application/atom+xml; charset="utf-8"'}, "xml"),
        ({"Content-Type": "text/xml", "SOAPAction": '""'}, "soap"),
        ({"Content-Type": "application/soap+xml; action=a"}, "soap"),
    ],
)
async def test_an_xml_body_is_sent_by_the_xml_or_soap_operation(
    http: AnyClient, upstream: Upstream, headers: dict[str, str], kind: str
) -> None:
    """An XML body is sent by the XML operation, or by the SOAP operation if its headers say so."""
    await http.post("/v1", content=ENVELOPE.encode(), headers=headers)
    assert (upstream.last.kind, upstream.last.data, upstream.last.body) == (kind, ENVELOPE, None)


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Accept": "application/xml"}, "xml"),
        ({"Accept": "text/xml;q=0.9, */*"}, "xml"),
        ({"Accept": "application/xml", "Content-Type": "application/json"}, "rest"),
        ({"Accept": "text/html, application/xml"}, "rest"),
        ({}, "rest"),
    ],
)
async def test_accept_selects_the_operation_if_there_is_no_body(
    http: AnyClient, upstream: Upstream, headers: dict[str, str], kind: str
) -> None:
    """A request without a body is sent by the XML operation if `Accept` names XML first."""
    await http.get("/v1", headers=headers)
    assert (upstream.last.kind, upstream.last.data) == (kind, None)


async def test_credentials_of_the_request_are_dropped(http: AnyClient, upstream: Upstream) -> None:
    """Credentials in a request are replaced with those of the tenant."""
    url_with_credentials = HOST.replace("//", "//ada:secret@")
    await http.get(f"{url_with_credentials}/v1", headers={"Proxy-Authorization": "secret"})
    await http.get("/v1", headers={"Authorization": "Bearer secret"})
    assert "secret" not in repr(upstream.requests)
    assert KEY not in repr(upstream.requests)


async def test_connection_headers_are_dropped(http: AnyClient, upstream: Upstream) -> None:
    """Hop-by-hop headers are not forwarded. Repeated headers are joined with commas."""
    headers = [("Accept", "*/*"), ("X-Tag", "a"), ("X-Tag", "b"), ("User-Agent", "u/1")]
    await http.post("/v1", json={}, headers=headers)
    assert upstream.last.headers == {
        "accept": "*/*",
        "content-type": "application/json",
        "user-agent": "u/1",
        "x-tag": "a, b",
    }


# Requests that the proxy cannot forward

JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "application/xml"}
REJECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "form": ("application/x-www-form-urlencoded", {"data": {"a": "b"}}),
    "file": ("multipart/form-data", {"files": {"f": b"x"}}),
    "bytes": ("unspecified type", {"content": b"\x00"}),
    "text": ("text/plain", {"content": "a", "headers": {"Content-Type": "text/plain"}}),
    "compressed": ("gzip", {"content": b"{}", "headers": {**JSON, "Content-Encoding": "gzip"}}),
    "array": ("object", {"json": [1]}),
    "null": ("object", {"content": b"null", "headers": JSON}),
    "invalid json": ("not JSON", {"content": b"{", "headers": JSON}),
    "deep json": ("not JSON", {"content": b'{"a":' * 10**6, "headers": JSON}),
    "infinity": ("cannot be encoded", {"content": b'{"a":1e999}', "headers": JSON}),
    "lone surrogate": ("cannot be encoded", {"content": rb'{"a":"\ud800"}', "headers": JSON}),
    "latin-1": ("not UTF-8", {"content": b'{"a":"\xe9"}', "headers": JSON}),
    "named latin-1": (
        "latin-1",
        {"content": b"<a/>", "headers": {"Content-Type": "text/xml; charset=latin-1"}},
    ),
    "declared latin-1": (
        "ISO-8859-1",
        {"content": b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "headers": XML},
    ),
    "utf-16": ("not UTF-8", {"content": "<a/>".encode("utf-16"), "headers": XML}),
    "repeated parameter": ("repeated query", {"params": {"a": [1, 2]}}),
    "parameter not UTF-8": ("not UTF-8", {"url": "/v1?a=%ff"}),
    "header not ASCII": (
        "non-ASCII value in the header x-name",
        {"headers": {"X-Name": "é".encode()}},
    ),
    "other host": ("Host", {"headers": {"Host": "other.example.com"}}),
    "websocket": ("upgrade", {"headers": {"Upgrade": "websocket"}}),
    "ftp": ("http://", {"url": "ftp://ada:secret@example.com"}),
    "HEAD": ("HEAD", {"method": "HEAD"}),
    "OPTIONS": ("OPTIONS", {"method": "OPTIONS"}),
}


@pytest.mark.parametrize("name", REJECTED)
async def test_an_unsupported_request_is_rejected(
    library: Any, http: AnyClient, emulator: Emulator, name: str
) -> None:
    """A request that the proxy cannot forward raises UnsupportedProtocol. Nothing is sent."""
    reason, options = REJECTED[name]
    with pytest.raises(library.UnsupportedProtocol, match=reason) as caught:
        await http.request(**{"method": "POST", "url": "/v1", **options})
    assert "secret" not in str(caught.value)
    assert not list(emulator.requests)


async def test_an_unsupported_upload_is_rejected_unread(library: Any, http: AnyClient) -> None:
    """An unsupported body is rejected before any of it is read."""

    async def upload() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    with pytest.raises(library.UnsupportedProtocol, match="octet-stream"):
        await http.put("/v1", content=upload(), headers={"Content-Type": "octet-stream"})


async def test_a_body_without_a_length_is_not_lost(library: Any, client: AsyncPandium) -> None:
    """An unsupported body is rejected even if no header announces it."""
    stream = library.Request("POST", HOST, content=b"a").stream
    request = library.Request("POST", HOST, stream=stream)
    with pytest.raises(library.UnsupportedProtocol, match="unspecified type"):
        await client.connectors.transport(1, "crm").handle_async_request(request)


@pytest.mark.parametrize("connector", ["", "..", 7.5])
def test_an_invalid_connector_name_is_rejected_at_once(connector: Any) -> None:
    """An invalid connector name raises when the transport is created."""
    with pytest.raises(ValueError, match="connector must be an id"):
        AsyncPandium(KEY).connectors.transport(1, connector)


# Responses


@pytest.mark.parametrize(
    ("data", "content_type", "content"),
    [
        ({"a": "é"}, "application/json", b'{"a": "\\u00e9"}'),
        ([1, 0.5], "application/json", b"[1, 0.5]"),
        (None, "application/json", b"null"),
        ("é <b>", "text/plain; charset=utf-8", "é <b>".encode()),
        ("<a/>", "text/plain; charset=utf-8", b"<a/>"),
        ("", "text/plain; charset=utf-8", b""),
    ],
)
async def test_data_becomes_a_response(
    http: AnyClient, upstream: Upstream, data: Any, content_type: str, content: bytes
) -> None:
    """The upstream's data becomes a response body with a content type derived from it."""
    upstream.data = data
    response = await http.get("/v1")
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["content-type"] == content_type
    assert set(response.headers) <= {"content-type", "content-length"}
    async with http.stream("GET", "/v1") as streamed:
        assert await streamed.aread() == content


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        ("\ufeff<?xml version='1.0'?><a/>", "application/xml; charset=utf-8"),
        ("no such thing", "text/plain; charset=utf-8"),
        ({"a": {}}, "application/json"),
    ],
)
async def test_xml_is_returned_as_xml(
    http: AnyClient, upstream: Upstream, data: Any, content_type: str
) -> None:
    """Text that looks like XML is XML if XML was requested. Data that is not text is JSON."""
    upstream.data = data
    response = await http.post("/v1", content="<q/>", headers=XML)
    assert response.headers["content-type"] == content_type
    if isinstance(data, str):
        assert response.text == data


@pytest.mark.parametrize("code", [302, 401, 403, 404, 422, 429, 500, 503])
async def test_an_error_of_the_upstream_is_a_response(
    library: Any, http: AnyClient, upstream: Upstream, code: int
) -> None:
    """An upstream error is returned with its status and data and is not retried."""
    upstream.data = UpstreamFailure(code, {"error": {"code": "E7"}})
    response = await http.get("/v1")
    assert (response.status_code, response.json()) == (code, {"error": {"code": "E7"}})
    with pytest.raises(library.HTTPStatusError):
        response.raise_for_status()
    assert len(upstream.requests) == 1


async def test_an_error_page_of_the_upstream_is_text(http: AnyClient, upstream: Upstream) -> None:
    """An upstream error that is not JSON is returned as text."""
    upstream.data = UpstreamFailure(502, "<html>")
    response = await http.get("/v1")
    assert (response.status_code, response.text) == (502, "<html>")


async def test_a_lone_surrogate_is_replaced(http: AnyClient, upstream: Upstream) -> None:
    """A lone surrogate, which JSON allows and UTF-8 does not, becomes a question mark."""
    upstream.data = UpstreamFailure(500, "a\ud800b")
    assert (await http.get("/v1")).content == b"a?b"


# Failures along the way


@pytest.mark.parametrize(
    ("tenant", "connector", "key", "cause"),
    [
        (99, "crm", KEY, BadRequest),
        (1, "erp", KEY, BadRequest),
        (1, "crm", "a-wrong-key", AuthenticationError),
    ],
)
async def test_a_rejection_by_pandium_is_a_proxy_error(  # noqa: PLR0917 - fixtures
    library: Any,
    emulator: Emulator,
    upstream: Upstream,
    tenant: int,
    connector: str,
    key: str,
    cause: type[APIError],
) -> None:
    """A request that Pandium rejects raises ProxyError, with Pandium's error as its cause."""
    async with AsyncPandium(key, base_url=emulator.url) as client:
        transport = client.connectors.transport(tenant, connector)
        async with library.AsyncClient(transport=transport) as http:
            with pytest.raises(library.ProxyError) as caught:
                await http.get(f"{HOST}/v1")
    assert type(caught.value.__cause__) is cause
    assert str(caught.value) == str(caught.value.__cause__)
    assert caught.value.request.url == f"{HOST}/v1"
    assert key not in repr(caught.value)
    assert not upstream.requests


FAILURES: dict[str, tuple[Behavior, str, type[PandiumError], bool]] = {
    "lost": (reset("all"), "ReadError", ConnectionLost, True),
    "500": (status("500 Oops"), "ReadError", ServerError, True),
    "302": (status("302 Found"), "ReadError", APIError, True),
    "422": (status("422 Invalid"), "ProxyError", APIError, False),
    "429": (status("429 Slow", Retry_After="60"), "ProxyError", RateLimited, False),
    "no data": (status("200 OK", b"{}"), "ReadError", DecodeError, True),
    "unreadable": (half_a_gzip(), "ReadError", DecodeError, True),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failures_are_errors_of_httpx(library: Any, name: str) -> None:
    """The class of the httpx error shows whether the request may have been executed."""
    behavior, error, cause, is_unknown = FAILURES[name]
    with Misbehaving(otherwise=behavior) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            transport = client.connectors.transport(1, "crm")
            async with library.AsyncClient(transport=transport) as http:
                with pytest.raises(getattr(library, error)) as caught:
                    await http.post(f"{HOST}/v1", json={})
    assert type(caught.value) is getattr(library, error)
    assert isinstance(caught.value.__cause__, cause)
    assert caught.value.__cause__.outcome_unknown is is_unknown
    assert server.seen == 1, "a request that may have been carried out must not be retried"


async def test_a_request_that_was_never_sent_is_retried(library: Any) -> None:
    """A refused connection is retried, and then raises ConnectError."""
    retry = Retry(attempts=3, initial=0)
    async with AsyncPandium(KEY, base_url="http://127.0.0.1:9", retry=retry) as client:
        transport = client.connectors.transport(1, "crm")
        async with library.AsyncClient(transport=transport) as http:
            with pytest.raises(library.ConnectError) as caught:
                await http.post(f"{HOST}/v1", json={})
    assert isinstance(caught.value.__cause__, ConnectFailed)
    assert len(caught.value.__cause__.attempts) == 3


async def test_the_timeout_of_the_httpx_client_applies(library: Any) -> None:
    """The timeout of the httpx client overrides that of the Pandium client."""
    with Misbehaving(otherwise=stall_before_the_answer()) as server:
        async with AsyncPandium(KEY, base_url=server.url, timeout=3600) as client:
            transport = client.connectors.transport(1, "crm")
            async with library.AsyncClient(transport=transport, timeout=0.05) as http:
                with pytest.raises(library.ReadTimeout) as caught:
                    await http.get(f"{HOST}/v1")
    assert isinstance(caught.value.__cause__, RequestTimeout)


async def test_a_request_without_timeout_has_that_of_the_client(library: Any) -> None:
    """A request without a timeout uses the timeout of the Pandium client."""
    with Misbehaving(otherwise=stall_before_the_answer()) as server:
        async with AsyncPandium(KEY, base_url=server.url, timeout=0.05) as client:
            transport = client.connectors.transport(1, "crm")
            with pytest.raises(library.ReadTimeout):
                await transport.handle_async_request(library.Request("GET", HOST))


async def test_a_canceled_request_releases_its_connection(library: Any) -> None:
    """A canceled request ends immediately and frees its connection for the next one."""
    success = status("200 OK", b'{"data": {"a": 1}}')
    with Misbehaving(stall_before_the_answer(), otherwise=success) as server:
        async with AsyncPandium(KEY, base_url=server.url, max_connections=1) as client:
            transport = client.connectors.transport(1, "crm")
            async with library.AsyncClient(transport=transport, timeout=None) as http:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(http.get, f"{HOST}/v1")
                    await server.until(lambda: server.seen == 1)
                    tasks.cancel_scope.cancel()
                assert (await http.get(f"{HOST}/v1")).json() == {"a": 1}
        await server.until_idle()


async def test_closing_the_transport_leaves_the_client_open(
    library: Any, client: AsyncPandium, http: AnyClient, upstream: Upstream
) -> None:
    """Closing an httpx client or its transport does not close the Pandium client."""
    transport = client.connectors.transport(1, "crm")
    async with transport, library.AsyncClient(transport=transport) as other:
        await other.get(f"{HOST}/v1")
    await transport.aclose()
    await http.get("/v1")
    assert await client.tenants.list().to_list()
    assert len(upstream.requests) == 2
    assert repr(transport) == "ConnectorTransport(tenant_id=1, connector='crm')"


async def test_a_closed_client_raises_an_error_of_httpx(
    library: Any, client: AsyncPandium, http: AnyClient
) -> None:
    """After the Pandium client is closed, its transports raise ProxyError."""
    await client.aclose()
    with pytest.raises(library.ProxyError, match="the client is closed"):
        await http.get("/v1")


async def test_many_requests_share_the_clients_connections(
    http: AnyClient, emulator: Emulator
) -> None:
    """Each of many concurrent requests gets its own response."""
    emulator.connectors.register("crm", lambda request: {"url": request.url})
    urls: dict[int, str] = {}

    async def get(number: int) -> None:
        urls[number] = (await http.get(f"/{number}")).json()["url"]

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(get, number)
    assert urls == {number: f"{HOST}/{number}" for number in range(50)}


async def test_a_transport_keeps_the_options_of_a_view(
    library: Any, client: AsyncPandium, emulator: Emulator
) -> None:
    """A view's transport sends the view's headers to Pandium, but not to the upstream."""
    upstream = Upstream()
    emulator.add_tenant("acme")
    emulator.connectors.register("crm", upstream)
    view = client.with_options(headers={"X-Trace": "7"})
    async with library.AsyncClient(transport=view.connectors.transport(1, "crm")) as http:
        await http.get(f"{HOST}/v1")
    assert emulator.requests[-1].headers["x-trace"] == "7"
    assert "x-trace" not in dict(upstream.last.headers or {})


# Clients of other libraries


async def test_a_response_belongs_to_the_library_of_the_client(
    library: Any, http: AnyClient
) -> None:
    """A response and its stream are those of the client's library."""
    async with http.stream("GET", "/v1") as response:
        assert type(response) is library.Response
        assert isinstance(response.request, library.Request)
        assert b"".join([chunk async for chunk in response.aiter_bytes(1)]) == b"{}"
        with pytest.raises(library.StreamError):
            await anext(response.aiter_raw())


async def test_an_error_of_an_upload_is_raised_unchanged(http: AnyClient) -> None:
    """An error that the source of a request body raises reaches the caller unchanged."""

    async def upload() -> AsyncIterator[bytes]:
        yield b"{"
        raise ValueError("the file is gone")

    with pytest.raises(ValueError, match="the file is gone"):
        await http.post("/v1", content=upload(), headers=JSON)


def test_a_synchronous_client_gets_a_clear_error(library: Any, emulator: Emulator) -> None:
    """A synchronous client raises a TypeError that names the clients to use. Nothing is sent."""
    transport = AsyncPandium(KEY, base_url=emulator.url).connectors.transport(1, "crm")
    message = r"synchronous client .* httpx2\.AsyncClient"
    with pytest.raises(TypeError, match=message):
        library.Client(transport=transport).get(f"{HOST}/v1")
    with pytest.raises(TypeError, match=message):
        library.Client(transport=transport).__enter__()
    assert not list(emulator.requests)


@pytest.mark.parametrize("request_", ["GET /", None, object()])
async def test_a_request_of_another_library_is_a_clear_error(
    client: AsyncPandium, emulator: Emulator, request_: Any
) -> None:
    """A request that is not one of httpx or httpx2 raises a TypeError that names its type."""
    transport = client.connectors.transport(1, "crm")
    with pytest.raises(TypeError, match=rf"not an object of type .*{type(request_).__name__}"):
        await transport.handle_async_request(request_)
    assert not list(emulator.requests)


def test_a_transport_does_not_import_httpx2() -> None:
    """If httpx2 is not installed, a transport sends httpx requests and rejects all others."""
    program = """
import asyncio, sys
sys.modules["httpx2"] = None  # importing it raises ImportError
import httpx
from pandium import AsyncPandium

async def main():
    async with AsyncPandium("key", base_url="http://127.0.0.1:9") as client:
        transport = client.connectors.transport(1, "crm")
        for request in (httpx.Request("HEAD", "https://example.com"), object()):
            try:
                await transport.handle_async_request(request)
            except Exception as error:
                print(type(error).__name__)

asyncio.run(main())
"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert output.split() == ["UnsupportedProtocol", "TypeError"]
