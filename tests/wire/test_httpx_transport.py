"""Synchronous clients of httpx and httpx2 that call an upstream through a tenant's connector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest

from pandium import BadRequest, Pandium
from pandium.emulator import UpstreamFailure
from support import KEY
from support.upstreams import HOST, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandium.emulator import Emulator

    AnyClient = httpx.Client | httpx2.Client


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    """Provide the library whose client uses the transport."""
    return request.param


@pytest.fixture
def pandium(emulator: Emulator) -> Iterator[Pandium]:
    with Pandium(KEY, base_url=emulator.url) as client:
        yield client


@pytest.fixture
def http(pandium: Pandium, upstream: Upstream, library: Any) -> Iterator[AnyClient]:
    transport = pandium.connectors.transport(1, "crm")
    with library.Client(transport=transport, base_url=HOST) as http_client:
        yield http_client


def test_a_request_reaches_the_upstream(http: AnyClient, upstream: Upstream) -> None:
    """The upstream receives the request, and the client its data."""
    upstream.data = {"contacts": [1]}
    response = http.post("/v1/contacts", json={"name": "Ann"}, params={"a": "b"})
    assert (response.status_code, response.json()) == (200, {"contacts": [1]})
    assert (upstream.last.url, upstream.last.body) == (f"{HOST}/v1/contacts", {"name": "Ann"})
    assert http.get("/v1/contacts").json() == {"contacts": [1]}


def test_a_streamed_body_is_read_in_the_callers_thread(http: AnyClient, upstream: Upstream) -> None:
    """A JSON body from a plain generator is forwarded completely."""

    def chunks() -> Iterator[bytes]:
        yield from (b'{"a', b'":', b"1}")

    http.post("/v1", content=chunks(), headers={"Content-Type": "application/json"})
    assert upstream.last.body == {"a": 1}


def test_a_body_that_is_rejected_is_not_read(
    http: AnyClient, upstream: Upstream, library: Any
) -> None:
    """An upload that the proxy cannot forward is rejected before it is read."""

    def chunks() -> Iterator[bytes]:
        raise AssertionError
        yield b""

    with pytest.raises(library.UnsupportedProtocol, match="a body of image/png"):
        http.post("/v1", content=chunks(), headers={"Content-Type": "image/png"})
    assert upstream.requests == []


def test_an_error_is_one_of_the_clients_library(
    http: AnyClient, pandium: Pandium, emulator: Emulator, library: Any
) -> None:
    """An upstream's error keeps its status, and one of Pandium is an error of the library."""
    emulator.connectors.register("crm", lambda _: UpstreamFailure(418, {"a": "b"}))
    response = http.get("/v1")
    assert (response.status_code, response.json()) == (418, {"a": "b"})
    missing = library.Client(transport=pandium.connectors.transport(99, "crm"))
    with missing, pytest.raises(library.ProxyError) as caught:
        missing.get(HOST)
    assert isinstance(caught.value.__cause__, BadRequest)


def test_an_invalid_id_is_rejected(pandium: Pandium) -> None:
    """A connector that cannot be part of a URL is rejected when the transport is created."""
    with pytest.raises(ValueError, match="connector"):
        pandium.connectors.transport(1, "")


def test_an_asynchronous_client_cannot_use_the_transport(
    pandium: Pandium, upstream: Upstream, library: Any
) -> None:
    """An asynchronous client gets a clear error, with and without its context manager."""
    transport = pandium.connectors.transport(1, "crm")

    async def enter() -> None:
        async with library.AsyncClient(transport=transport):
            pass

    async def send() -> None:
        await library.AsyncClient(transport=transport).get(HOST)

    for function in (enter, send):
        with pytest.raises(TypeError, match=r"an asynchronous client cannot use"):
            anyio.run(function)


def test_a_transport_is_not_a_client(pandium: Pandium) -> None:
    """A library that expects a client gets a clear error, as does a request of another library."""
    transport = pandium.connectors.transport(1, "crm")
    with pytest.raises(AttributeError, match="it is not a client"):
        _ = transport.timeout
    with pytest.raises(TypeError, match="of a client of httpx or httpx2"):
        transport.handle_request(object())
