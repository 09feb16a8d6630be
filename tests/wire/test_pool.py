"""The connection pool: its errors, its idle connections and the mocks that see its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpcore2
import httpx
import pytest
import respx

from pandium import AsyncPandium
from pandium._http.pool import _HTTPCORE_ERRORS, _as_httpx_error, _Pool, _PooledStream
from support import KEY
from support.instants import by_scope, by_task, every_instant
from support.servers import Misbehaving, reset, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

URL = "https://api.pandium.io"


def _subclasses(cls: type[Exception]) -> list[type[Exception]]:
    return [cls, *(below for child in cls.__subclasses__() for below in _subclasses(child))]


def test_each_error_of_httpcore_has_a_counterpart_in_httpx() -> None:
    """Each httpcore2 exception becomes the httpx exception of the same name."""
    exported = {
        value
        for name in httpcore2.__all__
        if isinstance(value := getattr(httpcore2, name), type) and issubclass(value, Exception)
    }
    # The pool handles this error by using another connection.
    exported.discard(httpcore2.ConnectionNotAvailable)
    assert exported == {below for cls in _HTTPCORE_ERRORS for below in _subclasses(cls)}
    for cls in exported:
        translated = _as_httpx_error(cls("why"))
        assert type(translated).__name__ == cls.__name__
        assert isinstance(translated, httpx.TransportError)
        assert str(translated) == "why"


async def _call(pool: _Pool, server: Misbehaving) -> None:
    url = f"{server.url}/v2/runs/triggers/t-1/status"
    response = await pool.handle_async_request(
        httpcore2.Request("GET", url, headers=[("Host", "h")])
    )
    assert b"".join([chunk async for chunk in response.stream])
    await response.stream.aclose()


async def test_idle_connections_are_closed_after_the_keepalive_time() -> None:
    """A call closes the connections that have been idle for longer than the keepalive time."""
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


@pytest.mark.parametrize(
    ("anyio_backend", "cut"), [("asyncio", by_scope), ("trio", by_scope), ("asyncio", by_task)]
)
async def test_a_canceled_close_of_a_client_closes_all_connections(cut: Any) -> None:
    """All connections are closed at whatever instant closing the client is canceled."""
    for instants in every_instant():
        with Misbehaving(otherwise=together(3)) as server:
            client = AsyncPandium(KEY, base_url=server.url)
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(client.runs.status, "t-1")
            with instants.watch():
                await cut(instants, client.aclose, lambda _: None)
            await client.aclose()
            await server.until_idle()


async def until_open(server: Misbehaving, count: int) -> None:
    await server.until(lambda: server.open == count)


async def test_the_limit_counts_connections_to_all_hosts() -> None:
    """If no connection is left for a host, an idle connection to another host is closed."""
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


@pytest.mark.parametrize("size", [0, 1 << 24], ids=["while reading", "while writing"])
async def test_a_reset_connection_is_an_error_of_httpx(size: int) -> None:
    """A connection that is reset while it is read or written raises an httpx error."""
    with Misbehaving(reset("head")) as server:
        pool = _Pool(1)
        headers = [("Host", "h"), ("Content-Length", str(size))]
        request = httpcore2.Request("POST", server.url, headers=headers, content=b"x" * size)
        with pytest.raises(httpx.TransportError):
            await pool.handle_async_request(request)
        await server.until_idle()


async def test_many_small_chunks_do_not_block_the_event_loop() -> None:
    """Other tasks run while a body is read whose chunks are all available at once."""
    turns = 0

    async def available() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"x"

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        await anyio.lowlevel.checkpoint()
        stream = _PooledStream(available(), anyio.lowlevel.checkpoint)
        assert len([chunk async for chunk in stream]) == 10_000
        tasks.cancel_scope.cancel()
    assert turns > 100


async def test_respx_mocks_requests_with_using_httpx() -> None:
    """Respx sees requests with `using="httpx"`. Its default patches httpcore, which is not used."""
    async with respx.mock(using="httpx", base_url=URL) as router, AsyncPandium(KEY) as client:
        route = router.get("/v2/tenants/1/metadata").respond(json={"tenant_id": 1})
        assert (await client.tenants.metadata(1)).tenant_id == 1
    assert route.calls.last.request.headers["x-api-key"] == KEY
