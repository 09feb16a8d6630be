"""A client with the user's own `http_client` for HTTP/2, and a server that speaks it."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from h2.errors import ErrorCodes

from pandium import AsyncPandium, ConnectionLost, Outcome, Polling, RateLimited, Retry
from support.servers import InThread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.anyio

KEY = "a-key-of-the-http2-tests"
FAST = Polling(first=0, minimum=0.01, maximum=0.01, rate=1000)


@attrs.frozen
class Call:
    """A request on a stream of a connection."""

    connection: h2.connection.H2Connection
    stream: int
    path: str

    def answer(self, status: int, body: bytes, *, length: int | None = None) -> None:
        size = str(len(body) if length is None else length)
        headers = [(":status", str(status)), ("content-length", size)]
        self.connection.send_headers(self.stream, headers)
        self.connection.send_data(self.stream, body, end_stream=length is None)

    def trigger(self) -> None:
        self.answer(200, json.dumps({"trigger_id": self.path.split("/")[3]}).encode())

    def reset(self, code: ErrorCodes) -> None:
        self.connection.reset_stream(self.stream, code)

    def cut(self) -> None:
        self.answer(200, b'{"trigger_id": "1', length=100)
        self.reset(ErrorCodes.INTERNAL_ERROR)

    def go_away(self) -> None:
        """End the connection, and state that only earlier requests were processed."""
        self.connection.close_connection(last_stream_id=self.stream - 2)


class Server(InThread):
    """A server that answers each POST by the next behavior, and each GET with a finished run."""

    def __init__(self) -> None:
        super().__init__()
        self.behaviors: Iterator[Callable[[Call], object]] = iter(())
        self.posts: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        config = h2.config.H2Configuration(client_side=False)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(1 << 16):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self._respond(connection, event)
            writer.write(connection.data_to_send())
            await writer.drain()
            if connection.state_machine.state is h2.connection.ConnectionState.CLOSED:
                return

    def _respond(
        self, connection: h2.connection.H2Connection, event: h2.events.RequestReceived
    ) -> None:
        headers = dict(event.headers or [])
        call = Call(connection, event.stream_id or 0, headers[b":path"].decode())
        if headers[b":method"] == b"GET":
            call.answer(200, b'{"status": "Succeeded"}')
            return
        self.posts[call.path] += 1
        behave = next(self.behaviors, Call.trigger)
        behave(call)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncPandium]:
    async with httpx.AsyncClient(http1=False, http2=True) as mine:
        retry = Retry(initial=0, maximum=0)
        async with AsyncPandium(KEY, base_url=server.url, http_client=mine, retry=retry) as client:
            yield client


@pytest.mark.parametrize(
    "behave",
    [
        Call.cut,
        lambda call: call.reset(ErrorCodes.INTERNAL_ERROR),
        lambda call: call.reset(ErrorCodes.REFUSED_STREAM),
        lambda call: call.connection.close_connection(),
    ],
    ids=["cut", "reset", "refused", "closed"],
)
async def test_a_lost_response_over_http2_is_an_unknown_outcome(
    server: Server, client: AsyncPandium, behave: Callable[[Call], object]
) -> None:
    """A sync whose stream or connection ends early may have been executed, and is sent once."""
    server.behaviors = iter([behave])
    with pytest.raises(ConnectionLost) as caught:
        await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert server.posts.total() == 1


async def test_a_request_that_the_server_did_not_process_is_sent_again(
    server: Server, client: AsyncPandium
) -> None:
    """After a GOAWAY frame that excludes a request, the pool sends the request once more."""
    server.behaviors = iter([Call.trigger, Call.go_away])
    await client.tenants.sync(1, mode="normal")
    assert (await client.tenants.sync(2, mode="normal")).trigger_id == "2"
    assert sorted(server.posts.values()) == [1, 2]
    assert server.accepted == 2


async def test_the_status_decides_over_http2(server: Server, client: AsyncPandium) -> None:
    """A 429 whose body is cut is still a 429, and the request is retried."""

    def reject(call: Call) -> None:
        call.answer(429, b"{", length=100)
        call.reset(ErrorCodes.INTERNAL_ERROR)

    server.behaviors = iter([reject])
    assert (await client.tenants.sync(1, mode="normal")).trigger_id == "1"
    server.behaviors = iter([reject] * 10)
    with pytest.raises(RateLimited) as caught:
        await client.tenants.sync(2, mode="normal")
    assert not caught.value.outcome_unknown


async def test_a_bulk_job_over_http2_syncs_each_tenant_once(
    server: Server, client: AsyncPandium
) -> None:
    """Many requests at a time share one connection, and each result is that of its tenant."""
    server.behaviors = iter([Call.trigger] * 7 + [Call.cut])
    async with client.tenants.sync_all(range(1, 51), mode="normal", poll=FAST) as results:
        found = [result async for result in results]
    assert server.accepted == 1
    assert set(server.posts.values()) == {1}
    assert sorted(one.tenant_id or 0 for one in found) == list(range(1, 51))
    assert Counter(one.outcome for one in found) == {Outcome.SUCCEEDED: 49, Outcome.UNKNOWN: 1}
    assert all(one.trigger_id in (None, str(one.tenant_id)) for one in found)


async def test_no_log_of_http2_shows_the_key(
    client: AsyncPandium, caplog: pytest.LogCaptureFixture
) -> None:
    """The DEBUG logs of the libraries that encode the headers do not contain the key."""
    caplog.set_level(logging.DEBUG)
    await client.tenants.sync(1, mode="normal")
    # The server in another thread logs its own use of the same libraries.
    records = [one for one in caplog.records if one.thread == threading.get_ident()]
    text = " ".join(record.getMessage() for record in records)
    assert {"httpcore.http2", "httpx", "pandium"} <= {record.name for record in records}
    assert KEY not in text
    assert "hpack" not in {record.name.partition(".")[0] for record in records}
