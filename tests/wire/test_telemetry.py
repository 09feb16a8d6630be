"""OpenTelemetry: a span and a duration for each call."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pandium import AsyncPandium, NotFound, ResponseEvent, Retry, ServerError, TransportError
from pandium._transport import telemetry
from pandium._transport.telemetry import load_instruments
from support import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio

SPANS = InMemorySpanExporter()
READER = InMemoryMetricReader()


@pytest.fixture(scope="module", autouse=True)
def _telemetry() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([READER]))


async def test_a_call_is_one_span_with_its_attempts(httpx_mock: HTTPXMock) -> None:
    """A call is one span, named after its path template, with an event for each attempt."""
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


async def test_a_download_is_a_span_of_the_storage_host(httpx_mock: HTTPXMock) -> None:
    """The span of a log's download names the host that was called, but no signed path."""
    signed = "https://storage.example:8443/run-1?signature=s3cr3t"
    httpx_mock.add_response(status_code=307, headers={"location": signed})
    httpx_mock.add_response(url=signed, text="done")
    SPANS.clear()
    async with AsyncPandium(KEY) as client:
        assert await client.runs.log(1) == "done"
    redirect, download = (dict(span.attributes or {}) for span in SPANS.get_finished_spans())
    assert (redirect["server.address"], redirect["server.port"]) == ("api.pandium.io", 443)
    assert (download["server.address"], download["server.port"]) == ("storage.example", 8443)
    assert all(part not in repr(download) for part in ("run-1", "s3cr3t"))


async def test_a_span_does_not_contain_the_key(httpx_mock: HTTPXMock) -> None:
    """If a path contains the API key, a span or a response event contains asterisks instead."""
    httpx_mock.add_response(status_code=404)
    SPANS.clear()
    events: list[ResponseEvent] = []
    async with AsyncPandium(KEY, on_response=events.append) as client:
        with pytest.raises(NotFound):
            await client.request("GET", f"/v2/keys/{KEY}")
    [span] = SPANS.get_finished_spans()
    assert span.name == "GET /v2/keys/***"
    assert KEY not in span.to_json() + repr(events)


async def test_a_failed_call_is_a_failed_span(httpx_mock: HTTPXMock) -> None:
    """The span of a failed call contains the type of the error, but no traceback."""
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


async def test_an_emulator_records_nothing(emulator: Emulator) -> None:
    """An emulator adds no spans or metrics to those of the program under test."""
    SPANS.clear()
    async with AsyncPandium(KEY, base_url=emulator.url) as client:
        await client.integrations.get(1)
        await client.request("GET", "/_emulator/clock")
    assert [span.kind for span in SPANS.get_finished_spans()] == [trace.SpanKind.CLIENT] * 2
    data = READER.get_metrics_data()
    assert data is not None
    scopes = [entry.scope.name for entry in data.resource_metrics[0].scope_metrics]
    assert scopes == ["pandium"]


async def test_calls_work_without_opentelemetry(
    httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without OpenTelemetry, calls work and record nothing."""
    httpx_mock.add_response(json={"tenant_id": 1})
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    load_instruments.cache_clear()
    SPANS.clear()
    try:
        async with AsyncPandium(KEY) as client:
            assert (await client.tenants.metadata(1)).tenant_id == 1
    finally:
        load_instruments.cache_clear()
    assert SPANS.get_finished_spans() == ()


CONFIGURED_LATE = """
import asyncio
import httpx
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pandium import AsyncPandium

async def main():
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"tenant_id": 1}))
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    async with httpx.AsyncClient(transport=transport) as http_client:
        client = AsyncPandium("a-key", http_client=http_client)
        await client.tenants.metadata(1)
        metrics.set_meter_provider(MeterProvider([reader]))
        await client.tenants.metadata(1)
        trace.set_tracer_provider(provider := TracerProvider())
        provider.add_span_processor(SimpleSpanProcessor(spans))
        await client.tenants.metadata(1)
    [metric] = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    print(len(spans.get_finished_spans()), metric.data.data_points[0].count)

asyncio.run(main())
"""


def test_calls_are_recorded_once_a_provider_is_configured() -> None:
    """A call is recorded if a provider for spans or for metrics was set before it."""
    process = subprocess.run(
        [sys.executable, "-c", CONFIGURED_LATE], capture_output=True, text=True, check=True
    )
    assert process.stdout == "1 2\n"


@pytest.fixture
def _fresh_instruments() -> Iterator[None]:
    load_instruments.cache_clear()
    telemetry._warn_of_providers.cache_clear()
    yield
    load_instruments.cache_clear()


@pytest.mark.usefixtures("_fresh_instruments")
async def test_calls_work_if_only_the_namespace_is_installed(
    httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another distribution may provide the namespace `opentelemetry` without the API."""
    httpx_mock.add_response(json={"tenant_id": 1})
    monkeypatch.delattr("opentelemetry.metrics")
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


@pytest.mark.usefixtures("_fresh_instruments")
async def test_calls_work_if_opentelemetry_is_a_stub(
    httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that another tool puts in place of OpenTelemetry does not break calls."""
    httpx_mock.add_response(json={"tenant_id": 1})
    monkeypatch.setitem(sys.modules, "opentelemetry", ModuleType("opentelemetry"))
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


@pytest.mark.usefixtures("_fresh_instruments")
async def test_a_provider_that_fails_is_logged_once(
    httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If OpenTelemetry cannot be initialized, calls work and one warning is logged."""

    def fail(*_: object) -> None:
        raise RuntimeError("no such provider")

    monkeypatch.setattr(trace, "get_tracer", fail)
    httpx_mock.add_response(json={"tenant_id": 1}, is_reusable=True)
    async with AsyncPandium(KEY) as client:
        for _ in range(2):
            await client.tenants.metadata(1)
    assert [record.levelname for record in caplog.records if record.name == "pandium"] == [
        "WARNING"
    ]


class UnnamedProvider(trace.NoOpTracerProvider):
    """A provider of which it cannot be said where it is defined."""

    __module__ = None  # type: ignore[assignment]


@pytest.mark.usefixtures("_fresh_instruments")
@pytest.mark.parametrize("provider", [None, UnnamedProvider()])
async def test_a_provider_that_cannot_be_loaded_later_is_logged_once(
    provider: object,
    httpx_mock: HTTPXMock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If OpenTelemetry fails after the first call, calls work and one warning is logged."""

    def load() -> object:
        if provider is None:
            raise StopIteration  # as if OTEL_PYTHON_TRACER_PROVIDER named a missing one
        return provider

    httpx_mock.add_response(json={"tenant_id": 1}, is_reusable=True)
    async with AsyncPandium(KEY) as client:
        await client.tenants.metadata(1)
        monkeypatch.setattr(trace, "get_tracer_provider", load)
        for _ in range(2):
            assert (await client.tenants.metadata(1)).tenant_id == 1
    assert [record.levelname for record in caplog.records if record.name == "pandium"] == [
        "WARNING"
    ]


class FailingProcessor(SpanProcessor):
    """A user-supplied span processor that raises an error."""

    def on_start(self, span: object, parent_context: object = None) -> None:
        raise RuntimeError("the exporter is down")


@pytest.mark.usefixtures("_fresh_instruments")
async def test_a_span_that_fails_does_not_fail_its_call(
    httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any exception from a span processor is logged, and the call succeeds."""
    provider = TracerProvider()
    provider.add_span_processor(FailingProcessor())
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    httpx_mock.add_response(json={"tenant_id": 1})
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1
    assert "OpenTelemetry failed" in caplog.text
