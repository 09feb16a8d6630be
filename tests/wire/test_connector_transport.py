"""httpx-based clients of other systems, whose requests go through a tenant's connector."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import httpx
import pytest
from notion_client import APIResponseError
from notion_client import AsyncClient as Notion
from notion_client.errors import RequestTimeoutError

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
from pandium.emulator import ConnectorRequest, UpstreamFailure
from support import KEY
from support.servers import Misbehaving, half_a_gzip, reset, stall_before_the_answer, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pandium.emulator import Emulator
    from support.servers import Behaviour

pytestmark = pytest.mark.anyio

HOST = "https://api.example.com"
ENVELOPE = '<?xml version="1.0" encoding="UTF-8"?>\n<a>é</a>'


@attrs.define
class Upstream:
    """The system behind the connector: what it was asked, and what it answers."""

    answer: Any = attrs.field(factory=dict)
    asked: list[ConnectorRequest] = attrs.field(factory=list)

    async def __call__(self, request: ConnectorRequest) -> Any:
        self.asked.append(request)
        return self.answer

    @property
    def last(self) -> ConnectorRequest:
        return self.asked[-1]


@pytest.fixture
def upstream(emulator: Emulator) -> Upstream:
    emulator.add_tenant("acme")
    answering = Upstream()
    emulator.connectors.register("crm", answering)
    return answering


@pytest.fixture
async def http(client: AsyncPandium, upstream: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    transport = client.connectors.transport(1, "crm")
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as opened:
        yield opened


# What arrives at the upstream.


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_request_arrives_as_it_was_made(
    http: httpx.AsyncClient, upstream: Upstream, method: str
) -> None:
    """Method, URL, query and headers of a request arrive at the upstream."""
    params = {"q": "a b+c&d=é", "empty": ""}
    await http.request(method, "/v1/a%2Fb/é", params=params, headers={"X-Version": "3"})
    asked = upstream.last
    assert (asked.tenant_id, asked.connector, asked.kind) == (1, "crm", "rest")
    assert (asked.method, asked.url) == (method, f"{HOST}/v1/a%2Fb/%C3%A9")
    assert asked.query_params == params
    assert dict(asked.headers or {})["x-version"] == "3"
    assert asked.body is None


@pytest.mark.parametrize("body", [{"a": [1, None, 0.5, {"é": "\u2028"}]}, {"n": 2**80}, {}])
async def test_a_json_object_is_carried(
    http: httpx.AsyncClient, upstream: Upstream, body: Any
) -> None:
    """A JSON object arrives as it is, an empty one too."""
    await http.post("/v1/things", json=body)
    assert upstream.last.body == body


async def test_a_body_that_comes_in_pieces_is_carried(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    """JSON that a generator gives is put together, and its own content type goes along."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"a', b'":', b"1}"):
            yield piece

    named = {"Content-Type": "application/vnd.api+json; charset=UTF-8"}
    await http.patch("/v1", content=pieces(), headers=named)
    assert upstream.last.body == {"a": 1}
    assert dict(upstream.last.headers or {})["content-type"] == named["Content-Type"]


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
async def test_xml_goes_by_the_operations_for_it(
    http: httpx.AsyncClient, upstream: Upstream, headers: dict[str, str], kind: str
) -> None:
    """A body of XML goes as text by the operation for XML, or for SOAP where it says that it is."""
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
async def test_what_has_no_body_says_by_its_accept(
    http: httpx.AsyncClient, upstream: Upstream, headers: dict[str, str], kind: str
) -> None:
    """A request without a body goes by the operation for XML where it asks for XML first."""
    await http.get("/v1", headers=headers)
    assert (upstream.last.kind, upstream.last.data) == (kind, None)


async def test_credentials_are_the_tenants(http: httpx.AsyncClient, upstream: Upstream) -> None:
    """A token that the upstream's client wants to be given never replaces the tenant's own."""
    with_user = HOST.replace("//", "//ada:secret@")
    await http.get(f"{with_user}/v1", headers={"Proxy-Authorization": "secret"})
    await http.get("/v1", headers={"Authorization": "Bearer secret"})
    assert "secret" not in repr(upstream.asked)
    assert KEY not in repr(upstream.asked)


async def test_only_headers_of_the_request_itself_are_carried(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    """What a connection has for headers stays here, and headers of one name become one list."""
    headers = [("Accept", "*/*"), ("X-Tag", "a"), ("X-Tag", "b"), ("User-Agent", "u/1")]
    await http.post("/v1", json={}, headers=headers)
    assert upstream.last.headers == {
        "accept": "*/*",
        "content-type": "application/json",
        "user-agent": "u/1",
        "x-tag": "a, b",
    }


# What cannot be carried.

JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "application/xml"}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "form": ("application/x-www-form-urlencoded", {"data": {"a": "b"}}),
    "file": ("multipart/form-data", {"files": {"f": b"x"}}),
    "bytes": ("no type", {"content": b"\x00"}),
    "text": ("text/plain", {"content": "a", "headers": {"Content-Type": "text/plain"}}),
    "packed": ("gzip", {"content": b"{}", "headers": {**JSON, "Content-Encoding": "gzip"}}),
    "array": ("object", {"json": [1]}),
    "null": ("object", {"content": b"null", "headers": JSON}),
    "no json": ("not JSON", {"content": b"{", "headers": JSON}),
    "deep json": ("not JSON", {"content": b'{"a":' * 10**6, "headers": JSON}),
    "infinity": ("cannot be written", {"content": b'{"a":1e999}', "headers": JSON}),
    "half a character": ("cannot be written", {"content": rb'{"a":"\ud800"}', "headers": JSON}),
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
    "odd parameter": ("not UTF-8", {"url": "/v1?a=%ff"}),
    "odd header": ("not ASCII: x-name", {"headers": {"X-Name": "é".encode()}}),
    "other host": ("Host", {"headers": {"Host": "other.example.com"}}),
    "websocket": ("upgrade", {"headers": {"Upgrade": "websocket"}}),
    "ftp": ("http://", {"url": "ftp://ada:secret@example.com"}),
    "HEAD": ("HEAD", {"method": "HEAD"}),
    "OPTIONS": ("OPTIONS", {"method": "OPTIONS"}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_carried_is_refused(
    http: httpx.AsyncClient, emulator: Emulator, name: str
) -> None:
    """What the proxy cannot carry is an error of httpx that names it; nothing is sent."""
    said, options = REFUSED[name]
    with pytest.raises(httpx.UnsupportedProtocol, match=said) as caught:
        await http.request(**{"method": "POST", "url": "/v1", **options})
    assert "secret" not in str(caught.value)
    assert not list(emulator.requests)


async def test_a_large_upload_is_refused_before_it_is_read(http: httpx.AsyncClient) -> None:
    """Of a body that cannot be carried nothing is read."""

    async def upload() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    with pytest.raises(httpx.UnsupportedProtocol, match="octet-stream"):
        await http.put("/v1", content=upload(), headers={"Content-Type": "octet-stream"})


async def test_a_body_that_is_not_announced_is_refused(client: AsyncPandium) -> None:
    """A body without a length is none to be lost on the way."""
    stream = httpx.Request("POST", HOST, content=b"a").stream
    request = httpx.Request("POST", HOST, stream=stream)
    with pytest.raises(httpx.UnsupportedProtocol, match="no type"):
        await client.connectors.transport(1, "crm").handle_async_request(request)


@pytest.mark.parametrize("connector", ["", "..", 7.5])
def test_a_wrong_connector_shows_at_once(connector: Any) -> None:
    """What cannot be a connector's name is refused before a client is made with it."""
    with pytest.raises(ValueError, match="connector must be an id"):
        AsyncPandium(KEY).connectors.transport(1, connector)


# What comes back.


@pytest.mark.parametrize(
    ("answer", "content_type", "content"),
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
    http: httpx.AsyncClient, upstream: Upstream, answer: Any, content_type: str, content: bytes
) -> None:
    """The upstream's data is the body of a response, by a content type that tells what it is."""
    upstream.answer = answer
    response = await http.get("/v1")
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["content-type"] == content_type
    assert set(response.headers) <= {"content-type", "content-length"}
    async with http.stream("GET", "/v1") as streamed:
        assert await streamed.aread() == content


@pytest.mark.parametrize(
    ("answer", "content_type"),
    [
        ("\ufeff<?xml version='1.0'?><a/>", "application/xml; charset=utf-8"),
        ("no such thing", "text/plain; charset=utf-8"),
        ({"a": {}}, "application/json"),
    ],
)
async def test_xml_comes_back_as_xml(
    http: httpx.AsyncClient, upstream: Upstream, answer: Any, content_type: str
) -> None:
    """Text that looks like XML is XML where it was asked for; what the proxy parsed is JSON."""
    upstream.answer = answer
    response = await http.post("/v1", content="<q/>", headers=XML)
    assert response.headers["content-type"] == content_type
    if isinstance(answer, str):
        assert response.text == answer


@pytest.mark.parametrize("code", [302, 401, 403, 404, 422, 429, 500, 503])
async def test_an_upstreams_error_is_its_answer(
    http: httpx.AsyncClient, upstream: Upstream, code: int
) -> None:
    """An error of the upstream comes back with its status and data, and is not repeated."""
    upstream.answer = UpstreamFailure(code, {"error": {"code": "E7"}})
    response = await http.get("/v1")
    assert (response.status_code, response.json()) == (code, {"error": {"code": "E7"}})
    with pytest.raises(httpx.HTTPStatusError):
        response.raise_for_status()
    assert len(upstream.asked) == 1


async def test_an_upstreams_error_page_is_text(http: httpx.AsyncClient, upstream: Upstream) -> None:
    """An error that is no JSON comes back as the text that it is."""
    upstream.answer = UpstreamFailure(502, "<html>")
    response = await http.get("/v1")
    assert (response.status_code, response.text) == (502, "<html>")


async def test_half_a_character_in_an_answer_is_marked(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    """What JSON can say and no text can hold comes back with a mark in its place."""
    upstream.answer = UpstreamFailure(500, "a\ud800b")
    assert (await http.get("/v1")).content == b"a?b"


# What goes wrong on the way.


@pytest.mark.parametrize(
    ("tenant", "connector", "key", "cause"),
    [
        (99, "crm", KEY, BadRequest),
        (1, "erp", KEY, BadRequest),
        (1, "crm", "a-wrong-key", AuthenticationError),
    ],
)
async def test_the_vendors_refusal_is_no_answer_of_the_upstream(  # noqa: PLR0917 - fixtures
    emulator: Emulator,
    upstream: Upstream,
    tenant: int,
    connector: str,
    key: str,
    cause: type[APIError],
) -> None:
    """What the vendor refuses is an error of the proxy, with the vendor's own as its cause."""
    async with AsyncPandium(key, base_url=emulator.url) as client:
        transport = client.connectors.transport(tenant, connector)
        async with httpx.AsyncClient(transport=transport) as http:
            with pytest.raises(httpx.ProxyError) as caught:
                await http.get(f"{HOST}/v1")
    assert type(caught.value.__cause__) is cause
    assert str(caught.value) == str(caught.value.__cause__)
    assert caught.value.request.url == f"{HOST}/v1"
    assert key not in repr(caught.value)
    assert not upstream.asked


FAILURES: dict[str, tuple[Behaviour, type[httpx.TransportError], type[PandiumError], bool]] = {
    "lost": (reset("all"), httpx.ReadError, ConnectionLost, True),
    "500": (status("500 Oops"), httpx.ReadError, ServerError, True),
    "302": (status("302 Found"), httpx.ReadError, APIError, True),
    "422": (status("422 Odd"), httpx.ProxyError, APIError, False),
    "429": (status("429 Slow", Retry_After="60"), httpx.ProxyError, RateLimited, False),
    "no data": (status("200 OK", b"{}"), httpx.ReadError, DecodeError, True),
    "unreadable": (half_a_gzip(), httpx.ReadError, DecodeError, True),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_errors_are_those_of_httpx(name: str) -> None:
    """Each failure is one of httpx's errors, by whether the request may have been carried out."""
    behaviour, error, cause, is_unknown = FAILURES[name]
    with Misbehaving(otherwise=behaviour) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            transport = client.connectors.transport(1, "crm")
            async with httpx.AsyncClient(transport=transport) as http:
                with pytest.raises(error) as caught:
                    await http.post(f"{HOST}/v1", json={})
    assert type(caught.value) is error
    assert isinstance(caught.value.__cause__, cause)
    assert caught.value.__cause__.outcome_unknown is is_unknown
    assert server.seen == 1, "what may have been carried out is not repeated"


async def test_what_was_never_sent_is_repeated() -> None:
    """Where nothing listens, it is tried again, and ends in httpx's own error."""
    retry = Retry(attempts=3, initial=0)
    async with AsyncPandium(KEY, base_url="http://127.0.0.1:9", retry=retry) as client:
        transport = client.connectors.transport(1, "crm")
        async with httpx.AsyncClient(transport=transport) as http:
            with pytest.raises(httpx.ConnectError) as caught:
                await http.post(f"{HOST}/v1", json={})
    assert isinstance(caught.value.__cause__, ConnectFailed)
    assert len(caught.value.__cause__.attempts) == 3


async def test_time_limits_are_those_of_the_httpx_client() -> None:
    """The time limit of the upstream's client ends a request, whatever the other's."""
    with Misbehaving(otherwise=stall_before_the_answer()) as server:
        async with AsyncPandium(KEY, base_url=server.url, timeout=3600) as client:
            transport = client.connectors.transport(1, "crm")
            async with httpx.AsyncClient(transport=transport, timeout=0.05) as http:
                with pytest.raises(httpx.ReadTimeout) as caught:
                    await http.get(f"{HOST}/v1")
    assert isinstance(caught.value.__cause__, RequestTimeout)


async def test_a_request_without_limits_has_those_of_the_client() -> None:
    """What is sent by the transport alone has the time limit of the client that made it."""
    with Misbehaving(otherwise=stall_before_the_answer()) as server:
        async with AsyncPandium(KEY, base_url=server.url, timeout=0.05) as client:
            transport = client.connectors.transport(1, "crm")
            with pytest.raises(httpx.ReadTimeout):
                await transport.handle_async_request(httpx.Request("GET", HOST))


async def test_a_cancelled_request_leaves_the_client_sound() -> None:
    """Cancellation ends a request at once, and gives its connection's place back."""
    answered = status("200 OK", b'{"data": {"a": 1}}')
    with Misbehaving(stall_before_the_answer(), otherwise=answered) as server:
        async with AsyncPandium(KEY, base_url=server.url, max_connections=1) as client:
            transport = client.connectors.transport(1, "crm")
            async with httpx.AsyncClient(transport=transport, timeout=None) as http:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(http.get, f"{HOST}/v1")
                    await server.until(lambda: server.seen == 1)
                    tasks.cancel_scope.cancel()
                assert (await http.get(f"{HOST}/v1")).json() == {"a": 1}
        await server.until_idle()


async def test_closing_the_transport_leaves_the_client_open(
    client: AsyncPandium, http: httpx.AsyncClient, upstream: Upstream
) -> None:
    """An httpx client that is closed closes neither the client nor what else goes through it."""
    transport = client.connectors.transport(1, "crm")
    async with transport, httpx.AsyncClient(transport=transport) as other:
        await other.get(f"{HOST}/v1")
    await transport.aclose()
    await http.get("/v1")
    assert await client.tenants.list().to_list()
    assert len(upstream.asked) == 2
    assert repr(transport) == "ConnectorTransport(tenant_id=1, connector='crm')"


async def test_a_closed_client_is_an_error_of_httpx(
    client: AsyncPandium, http: httpx.AsyncClient
) -> None:
    """Once the client is closed, its transports say so."""
    await client.aclose()
    with pytest.raises(httpx.ProxyError, match="the client is closed"):
        await http.get("/v1")


async def test_many_requests_share_the_clients_connections(
    http: httpx.AsyncClient, emulator: Emulator
) -> None:
    """Each of many requests at once gets its own answer."""
    emulator.connectors.register("crm", lambda request: {"url": request.url})
    answers: dict[int, str] = {}

    async def ask(number: int) -> None:
        answers[number] = (await http.get(f"/{number}")).json()["url"]

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, number)
    assert answers == {number: f"{HOST}/{number}" for number in range(50)}


async def test_options_of_a_view_are_kept(client: AsyncPandium, emulator: Emulator) -> None:
    """A transport of a view sends the view's headers to the vendor, and none to the upstream."""
    upstream = Upstream()
    emulator.add_tenant("acme")
    emulator.connectors.register("crm", upstream)
    view = client.with_options(headers={"X-Trace": "7"})
    async with httpx.AsyncClient(transport=view.connectors.transport(1, "crm")) as http:
        await http.get(f"{HOST}/v1")
    assert emulator.requests[-1].headers["x-trace"] == "7"
    assert "x-trace" not in dict(upstream.last.headers or {})


# A library that knows nothing of this one.


@pytest.fixture
async def notion(client: AsyncPandium, upstream: Upstream) -> AsyncIterator[Notion]:
    transport = client.connectors.transport(1, "crm")
    opened = Notion(
        auth="not the tenant's",
        client=httpx.AsyncClient(transport=transport),
        logger=logging.getLogger("tests"),
        timeout_ms=200,
    )
    yield opened
    await opened.aclose()


async def test_a_library_reads_and_writes_through_the_proxy(
    notion: Notion, upstream: Upstream
) -> None:
    """A client that is built on httpx works through the proxy unchanged."""
    upstream.answer = {"object": "page", "id": "7"}
    assert await notion.pages.create(parent={"page_id": "1"}, properties={}) == upstream.answer
    assert upstream.last.url == "https://api.notion.com/v1/pages"
    assert upstream.last.body == {"parent": {"page_id": "1"}, "properties": {}}
    assert "notion-version" in dict(upstream.last.headers or {})
    await notion.users.list(page_size=2)
    assert upstream.last.query_params == {"page_size": "2"}


async def test_a_librarys_own_errors_work(notion: Notion, upstream: Upstream) -> None:
    """The library reads an error of the upstream as its own."""
    upstream.answer = UpstreamFailure(404, {"code": "object_not_found", "message": "no page 7"})
    with pytest.raises(APIResponseError, match="no page 7") as caught:
        await notion.pages.retrieve("7")
    assert caught.value.code == "object_not_found"


async def test_a_librarys_own_time_limit_works() -> None:
    """The library knows the error of a request that takes too long."""
    with Misbehaving(otherwise=stall_before_the_answer()) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            http = httpx.AsyncClient(transport=client.connectors.transport(1, "crm"))
            notion = Notion(client=http, logger=logging.getLogger("tests"), timeout_ms=50)
            with pytest.raises(RequestTimeoutError):
                await notion.pages.retrieve("7")
            await notion.aclose()
