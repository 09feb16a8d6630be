"""The transport: what it translates, bounds, warns of, logs and shows."""

from __future__ import annotations

import gc
import gzip
import logging
import socket
import sys
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import httpcore2
import httpx
import pytest
import respx
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pandium import (
    AsyncPandium,
    ConnectFailed,
    DecodeError,
    NotFound,
    RateLimited,
    RequestTimeout,
    Retry,
    ServerError,
    TransportError,
)
from pandium._http.pool import _HTTPCORE_ERRORS, _as_httpx_error, _Pool
from pandium._transport.telemetry import _instruments
from support import KEY
from support.servers import Misbehaving

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio

URL = "https://api.pandium.io"


def _all_below(cls: type[Exception]) -> list[type[Exception]]:
    return [cls, *(below for sub in cls.__subclasses__() for below in _all_below(sub))]


def test_every_error_of_the_pool_has_its_twin_in_httpx() -> None:
    """Each exception that httpcore2 exports is caught, and becomes httpx's of the same name."""
    exported = {
        value
        for name in httpcore2.__all__
        if isinstance(value := getattr(httpcore2, name), type) and issubclass(value, Exception)
    }
    # The pool itself answers that one, by taking another connection.
    exported.discard(httpcore2.ConnectionNotAvailable)
    assert exported == {below for cls in _HTTPCORE_ERRORS for below in _all_below(cls)}
    for cls in exported:
        translated = _as_httpx_error(cls("why"))
        assert type(translated).__name__ == cls.__name__
        assert isinstance(translated, httpx.TransportError)
        assert str(translated) == "why"


async def test_a_refused_connection_was_never_sent() -> None:
    """Where nothing listens, the error says that the request was not carried out, and why."""
    async with AsyncPandium(KEY, base_url="http://127.0.0.1:9", retry=Retry(initial=0)) as client:
        with pytest.raises(ConnectFailed) as caught:
            await client.tenants.sync(1, mode="normal")
    assert not caught.value.outcome_unknown
    assert len(caught.value.attempts) == 4
    assert isinstance(caught.value.__cause__, OSError)


async def _call(pool: _Pool, server: Misbehaving) -> None:
    url = f"{server.url}/v2/runs/triggers/t-1/status"
    answer = await pool.handle_async_request(httpcore2.Request("GET", url, headers=[("Host", "h")]))
    assert b"".join([part async for part in answer.stream])
    await answer.stream.aclose()


async def test_idle_connections_are_closed_when_their_time_is_over() -> None:
    """Of the connections that are not used again, those kept too long end with a call."""
    with Misbehaving() as server:
        pool = _Pool(3, keepalive=0.0)
        for accepted in (3, 6):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(_call, pool, server)
            assert server.accepted == accepted
            await server.until(lambda: server.open == 1)
        await pool.aclose()
        await server.until_idle()


async def until_open(server: Misbehaving, count: int) -> None:
    await server.until(lambda: server.open == count)


async def test_connections_to_all_hosts_are_bounded_together() -> None:
    """For another host an idle connection makes way, so that there are never more than places."""
    with Misbehaving() as api, Misbehaving() as storage:
        pool = _Pool(2)
        for busy, other in ((api, storage), (storage, api), (api, storage)):
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(_call, pool, busy)
            await until_open(other, 0)
            await until_open(busy, 2)
            await _call(pool, other)
            await until_open(busy, 1)
            await until_open(other, 1)
        await pool.aclose()
        await api.until_idle()
        await storage.until_idle()


async def test_respx_sees_requests_if_told_to_patch_httpx() -> None:
    """Users of respx mock with using="httpx", as the pool is not httpcore's."""
    async with respx.mock(using="httpx", base_url=URL) as router, AsyncPandium(KEY) as client:
        route = router.get("/v2/tenants/1/metadata").respond(json={"tenant_id": 1})
        assert (await client.tenants.metadata(1)).tenant_id == 1
    assert route.calls.last.request.headers["x-api-key"] == KEY


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip", "GZIP"])
async def test_compressed_answers_are_unpacked(httpx_mock: HTTPXMock, encoding: str) -> None:
    """The encoding that is asked for is read by each of its names, and deflate too."""
    pack = zlib.compress if encoding == "deflate" else gzip.compress
    httpx_mock.add_response(stream=_Body(pack(b'{"tenant_id":1}')), headers=_packed(encoding))
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


class _Body(httpx.AsyncByteStream):
    def __init__(self, content: bytes, piece: int = 1000) -> None:
        self._content = content
        self._piece = piece

    async def __aiter__(self) -> Any:
        for begin in range(0, len(self._content), self._piece):
            yield self._content[begin : begin + self._piece]


@pytest.mark.parametrize("piece", [1, 2, 7, 33, 1000])
@pytest.mark.parametrize("padding", [b"", b"\0" * 40])
async def test_several_packed_parts_in_a_row_are_one_body(
    httpx_mock: HTTPXMock, piece: int, padding: bytes
) -> None:
    """A gzip file of several members, padded or not, is read to its end, however it arrives."""
    packed = b"".join(gzip.compress(part) + padding for part in (b'{"tenant', b'_id":', b"1}"))
    httpx_mock.add_response(stream=_Body(packed, piece), headers=_packed("gzip"))
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


def _packed(encoding: str) -> dict[str, str]:
    return {"Content-Encoding": encoding}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not gzip at all", _packed("gzip")),
        (gzip.compress(b'{"tenant_id":1}', mtime=0)[:-9], _packed("gzip")),
        (b"{}", _packed("br")),
        (b" " * 5000 + b'{"tenant_id":1}', {}),
        (gzip.compress(b" " * 50_000_000, mtime=0), _packed("gzip")),
        (gzip.compress(b" " * 3_000, mtime=0) * 2, _packed("gzip")),
        (gzip.compress(b'{"tenant_id":1}', mtime=0) + b"and more", _packed("gzip")),
        ((gzip.compress(b'{"tenant_id":1}', mtime=0) * 2)[:-9], _packed("gzip")),
        (b"x" * 10_000_000, {}),
    ],
)
async def test_a_body_that_lies_or_is_too_large_is_an_error(
    httpx_mock: HTTPXMock, body: bytes, headers: dict[str, str]
) -> None:
    """A body that cannot be unpacked, or is too large, is a DecodeError, not asked for again."""
    httpx_mock.add_response(stream=_Body(body), headers=headers)
    async with AsyncPandium(KEY, max_response_bytes=4000) as client:
        with pytest.raises(DecodeError) as caught:
            await client.tenants.metadata(1)
    assert len(caught.value.attempts) == 1
    assert caught.value.outcome_unknown


async def test_a_mocked_body_is_bounded_too(httpx_mock: HTTPXMock) -> None:
    """What a mock has in memory already falls under the same bound."""
    httpx_mock.add_response(text=" " * 5000)
    async with AsyncPandium(KEY, max_response_bytes=4000) as client:
        with pytest.raises(DecodeError, match="4000 bytes"):
            await client.tenants.metadata(1)


async def test_places_are_given_in_order(emulator: Emulator) -> None:
    """What waits for a place gets it in the order of asking, however long that takes."""
    emulator.add_tenant()
    async with AsyncPandium(KEY, base_url=emulator.url, max_connections=1, timeout=5) as client:
        order: list[int] = []

        async def call(number: int) -> None:
            await client.tenants.metadata(1)
            order.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(call, number)
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
    assert order == sorted(order)


async def test_an_unclosed_client_says_where_it_was_made(httpx_mock: HTTPXMock) -> None:
    """A client that is lost without being closed gives a ResourceWarning with file and line."""
    httpx_mock.add_response(json={"tenant_id": 1})
    client, line = AsyncPandium(KEY), sys._getframe().f_lineno
    await client.tenants.metadata(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    texts = [str(warning.message) for warning in caught]
    assert f"unclosed AsyncPandium, created at {__file__}:{line}" in texts


def test_a_client_that_was_never_used_needs_no_closing() -> None:
    """Without a request there is nothing to close, and no warning."""
    client = AsyncPandium(KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del client
        gc.collect()


async def test_each_request_is_one_line_of_debug(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A request is logged with method, path, status, attempt and milliseconds, and no key."""
    with caplog.at_level(logging.DEBUG, logger="pandium"):
        async with AsyncPandium(KEY, base_url=emulator.url) as client:
            with pytest.raises(NotFound):
                await client.tenants.metadata(7)
    [line] = [record.getMessage() for record in caplog.records if record.name == "pandium"]
    assert line.startswith("GET /v2/tenants/7/metadata: 404 (attempt 1, ")
    assert KEY not in caplog.text


async def test_a_repetition_is_a_warning(
    httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture
) -> None:
    """What is sent again is logged with the reason."""
    httpx_mock.add_response(status_code=503)
    httpx_mock.add_response(json={"tenant_id": 1})
    async with AsyncPandium(KEY, retry=Retry(initial=0)) as client:
        await client.tenants.metadata(1)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "GET /v2/tenants/1/metadata: 503 Service Unavailable; retrying in 0.0 s (attempt 2)"
    ]


async def test_a_hold_that_is_too_long_is_an_error(httpx_mock: HTTPXMock) -> None:
    """While a 429 holds the client back for longer than the policy allows, nothing is sent."""
    httpx_mock.add_response(status_code=429, headers={"Retry-After": "3600"})
    async with AsyncPandium(KEY) as client:
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await client.tenants.metadata(1)
    assert caught.value.attempts == ()
    assert 3500 < (caught.value.retry_after or 0) <= 3600
    assert len(httpx_mock.get_requests()) == 1


async def test_a_handshake_that_hangs_was_never_sent() -> None:
    """A time limit that is over before the connection is made is a ConnectFailed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        async with AsyncPandium(KEY, base_url=url, timeout=0.1, retry=Retry.never()) as client:
            with pytest.raises(ConnectFailed, match=r"no connection within 0.1 s") as caught:
                await client.tenants.sync(1, mode="normal")
    assert not caught.value.outcome_unknown


async def test_an_answer_that_never_comes_may_have_been_asked_for() -> None:
    """A time limit that is over after the request was sent is a RequestTimeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with AsyncPandium(KEY, base_url=url, timeout=0.1) as client:
            with pytest.raises(
                RequestTimeout, match=r"no complete response within 0.1 s"
            ) as caught:
                await client.tenants.sync(1, mode="normal")
            with pytest.raises(RequestTimeout):
                view = client.with_options(timeout=httpx.Timeout(0.1))
                await view.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert len(caught.value.attempts) == 1


async def test_a_borrowed_client_has_no_more_in_flight_than_was_said(emulator: Emulator) -> None:
    """`max_connections` bounds the requests of a client of the user's, too."""
    emulator.add_tenant()
    running = most = 0

    async def enter(_: httpx.Request) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()

    async def leave(_: httpx.Response) -> None:
        nonlocal running
        running -= 1

    hooks: dict[str, Any] = {"request": [enter], "response": [leave]}
    async with (
        httpx.AsyncClient(event_hooks=hooks) as mine,
        AsyncPandium(KEY, base_url=emulator.url, max_connections=3, http_client=mine) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(20):
            tasks.start_soon(client.tenants.metadata, 1)
    assert (running, most) == (0, 3)


SPANS = InMemorySpanExporter()
READER = InMemoryMetricReader()


@pytest.fixture(scope="module", autouse=True)
def _telemetry() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([READER]))


async def test_a_call_is_one_span_with_its_attempts(httpx_mock: HTTPXMock) -> None:
    """OpenTelemetry sees a call as one span named by its template, each attempt as an event."""
    httpx_mock.add_response(status_code=503)
    httpx_mock.add_response(json={"tenant_id": 1})
    SPANS.clear()
    async with AsyncPandium(KEY, retry=Retry(initial=0)) as client:
        await client.tenants.metadata(1)
    [span] = SPANS.get_finished_spans()
    assert span.name == "GET /v2/tenants/{tenant_id}/metadata"
    assert span.kind is trace.SpanKind.CLIENT
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "url.template": "/v2/tenants/{tenant_id}/metadata",
        "server.address": "api.pandium.io",
        "server.port": 443,
        "http.response.status_code": 200,
    }
    assert [(event.attributes or {})["result"] for event in span.events] == ["503", "200"]
    data = READER.get_metrics_data()
    assert data is not None
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("http.client.request.duration", "s")


async def test_a_failed_call_is_a_failed_span(httpx_mock: HTTPXMock) -> None:
    """A span says how its call failed, without the traceback."""
    httpx_mock.add_exception(httpx.ReadError("gone"))
    httpx_mock.add_response(status_code=500)
    SPANS.clear()
    async with AsyncPandium(KEY, retry=Retry.never()) as client:
        with pytest.raises(TransportError):
            await client.tenants.sync(1, mode="normal")
        with pytest.raises(ServerError):
            await client.tenants.metadata(1)
    lost, refused = SPANS.get_finished_spans()
    assert (lost.attributes or {})["error.type"] == "ConnectionLost"
    assert "http.response.status_code" not in (lost.attributes or {})
    assert (refused.attributes or {})["http.response.status_code"] == 500
    assert not lost.status.is_ok
    assert [event.name for event in lost.events] == ["attempt"]


async def test_an_emulator_adds_nothing_to_what_is_traced(emulator: Emulator) -> None:
    """The spans and metrics of a program that is tested on an emulator are its own alone."""
    SPANS.clear()
    async with AsyncPandium(KEY, base_url=emulator.url) as client:
        await client.integrations.get(1)
        await client.request("GET", "/_emulator/clock")
    assert [span.kind for span in SPANS.get_finished_spans()] == [trace.SpanKind.CLIENT] * 2
    data = READER.get_metrics_data()
    assert data is not None
    scopes = [one.scope.name for one in data.resource_metrics[0].scope_metrics]
    assert scopes == ["pandium"]


async def test_without_opentelemetry_nothing_is_traced(
    httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OpenTelemetry is not installed a call works, and leaves no span."""
    httpx_mock.add_response(json={"tenant_id": 1})
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    _instruments.cache_clear()
    SPANS.clear()
    try:
        async with AsyncPandium(KEY) as client:
            assert (await client.tenants.metadata(1)).tenant_id == 1
    finally:
        _instruments.cache_clear()
    assert SPANS.get_finished_spans() == ()
