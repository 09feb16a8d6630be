"""`on_response`: what it receives, and what it cannot break."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import (
    AsyncPandium,
    ConfigurationError,
    NotFound,
    Polling,
    RateLimited,
    ResponseEvent,
    Retry,
    ServerError,
)
from support import KEY
from support.servers import Misbehaving, reset, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio

FAST = Polling(first=0, minimum=0.01, maximum=0.01, rate=1000)
STATUS = "/v2/runs/triggers/{trigger_id}/status"


def observed_client(
    server_url: str, on_response: Callable[[ResponseEvent], Any], **options: Any
) -> AsyncPandium:
    return AsyncPandium(KEY, base_url=server_url, on_response=on_response, **options)


async def test_every_response_is_an_event(emulator: Emulator) -> None:
    """Each response is passed with its request, status, headers and duration, errors included."""
    events: list[ResponseEvent] = []
    tenant = emulator.add_tenant()
    async with observed_client(emulator.url, events.append) as client:
        await client.tenants.metadata(tenant.id)
        with pytest.raises(NotFound):
            await client.with_options(timeout=5).runs.status("a/b")
    first, second = events
    assert (first.method, first.path) == ("GET", f"/v2/tenants/{tenant.id}/metadata")
    assert first.template == "/v2/tenants/{tenant_id}/metadata"
    assert (first.status_code, first.attempt) == (200, 1)
    assert first.headers["content-type"] == "application/json"
    assert all(name == name.lower() for name in first.headers)
    assert first.elapsed > 0
    assert (second.path, second.template) == ("/v2/runs/triggers/a%2Fb/status", STATUS)
    assert second.status_code == 404


async def test_every_attempt_with_a_response_is_an_event() -> None:
    """Each attempt is numbered. An attempt without a response is counted, but has no event."""
    events: list[ResponseEvent] = []
    busy = status("503 Service Unavailable", b"", X_RateLimit_Remaining="0")
    with Misbehaving(busy, reset("all"), busy) as server:
        async with observed_client(server.url, events.append, retry=Retry(initial=0)) as client:
            await client.runs.status("1")
    assert [(event.attempt, event.status_code) for event in events] == [
        (1, 503),
        (3, 503),
        (4, 200),
    ]
    assert events[0].headers["x-ratelimit-remaining"] == "0"


async def test_an_event_is_a_value() -> None:
    """The headers of an event are read-only, and an event can be pickled."""
    event = ResponseEvent("GET", "/", "/", 200, {"X-A": "b"}, 0.1, 1)
    with pytest.raises(TypeError):
        event.headers["x-a"] = "c"  # type: ignore[index]  # read-only
    assert dict(event.headers) == {"x-a": "b"}
    assert pickle.loads(pickle.dumps(event)) == event


async def test_no_secret_is_in_an_event(emulator: Emulator) -> None:
    """An event contains neither the key that a server echoes nor the signed URL of a log."""
    events: list[ResponseEvent] = []
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    tenant = emulator.add_tenant()
    async with observed_client(emulator.url, events.append) as client:
        await client.tenants.sync(tenant.id, mode="normal")
        url = await client.runs.log_url(1)
        assert await client.runs.log(1)
    assert [event.template for event in events[-2:]] == ["/v2/runs/{run_id}/log", "(log)"]
    assert events[-2].status_code == 302
    assert all(url.partition("?")[2] not in repr(event) for event in events)
    with Misbehaving(status("200 OK", b"{}", X_Echo=f"key={KEY}")) as server:
        async with observed_client(server.url, events.append) as client:
            await client.request("GET", "/v2/x")
    assert events[-1].headers["x-echo"] == "key=***"


@pytest.mark.parametrize(
    ("key", "echo"),
    [(KEY, KEY.upper()), ("a-%41-key-of-ours", "a-A-key-of-ours"), (KEY, f"{KEY}x")],
)
async def test_a_key_in_a_header_is_redacted_in_every_spelling(key: str, echo: str) -> None:
    """A key is found in a header value that is shorter than the key, and in other cases."""
    events: list[ResponseEvent] = []
    with Misbehaving(status("200 OK", b"{}", X_Echo=echo)) as server:
        client = AsyncPandium(key, base_url=server.url, on_response=events.append)
        async with client:
            await client.request("GET", "/v2/x")
    assert events[0].headers["x-echo"].rstrip("x") == "***"


async def test_a_function_that_raises_is_logged(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the function is logged with its traceback, and the request succeeds."""

    def fail(event: ResponseEvent) -> None:
        raise LookupError(f"no metric for {event.template}")

    async def fail_later(event: ResponseEvent) -> None:
        fail(event)

    emulator.add_tenant()
    for function in (fail, fail_later):
        caplog.clear()
        async with observed_client(emulator.url, function) as client:
            assert (await client.tenants.metadata(1)).tenant_id == 1
            with pytest.raises(NotFound):
                await client.tenants.metadata(99)
        records = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(records) == 2
        assert records[0].getMessage() == (
            "on_response failed for GET /v2/tenants/{tenant_id}/metadata; the request is not"
            " affected"
        )
        assert records[0].exc_info is not None
        assert isinstance(records[0].exc_info[1], LookupError)
        assert KEY not in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_function_cannot_cancel_the_request(
    is_async: bool,  # noqa: FBT001
    emulator: Emulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a function raises the CancelledError of another task, it is logged like any error."""

    def fail(_: ResponseEvent) -> None:
        raise asyncio.CancelledError

    async def fail_later(event: ResponseEvent) -> None:
        fail(event)

    emulator.add_tenant()
    async with observed_client(emulator.url, fail_later if is_async else fail) as client:
        assert (await client.tenants.sync(1, mode="normal")).trigger_id
    assert "on_response failed for POST" in caplog.text


async def test_a_slow_function_does_not_occupy_a_connection(emulator: Emulator) -> None:
    """While an async function waits, its connection serves other requests."""
    emulator.add_tenant()
    released, waiting = anyio.Event(), anyio.Event()

    async def wait_once(_: ResponseEvent) -> None:
        if not waiting.is_set():
            waiting.set()
            await released.wait()

    client = observed_client(emulator.url, wait_once, max_connections=1)
    async with client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.tenants.metadata, 1)
        await waiting.wait()
        assert (await client.tenants.metadata(1)).tenant_id == 1
        released.set()


async def test_a_call_can_be_canceled_while_the_function_waits(emulator: Emulator) -> None:
    """A cancellation ends the function and the call, and leaks nothing."""
    emulator.add_tenant()
    ended = []

    async def wait(_: ResponseEvent) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with observed_client(emulator.url, wait, max_connections=1) as client:
        for _ in range(3):
            with anyio.move_on_after(0.2) as scope:
                await client.tenants.metadata(1)
            assert scope.cancelled_caught
        assert len(ended) == 3
    assert len(emulator.requests) == 3


async def test_a_rate_limit_pauses_the_client_before_the_function_ends() -> None:
    """A 429 response pauses other requests immediately, even if the function is slow."""
    rejected, released = anyio.Event(), anyio.Event()

    async def wait(event: ResponseEvent) -> None:
        if event.status_code == 429:
            rejected.set()
            await released.wait()

    limited = status("429 Too Many Requests", b"", Retry_After="1000")
    with Misbehaving(limited) as server:
        client = observed_client(server.url, wait)
        async with client, anyio.create_task_group() as tasks:
            tasks.start_soon(ignore_limit, client)
            await rejected.wait()
            with pytest.raises(RateLimited, match="not sent"):
                await client.runs.status("2")
            released.set()
    assert server.seen == 1


async def ignore_limit(client: AsyncPandium) -> None:
    with pytest.raises(RateLimited):
        await client.runs.status("1")


async def test_polls_and_pages_are_events(emulator: Emulator) -> None:
    """The polls of a wait, the syncs of a bulk sync and the pages of a listing are events."""
    events: list[ResponseEvent] = []
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    for _ in range(3):
        emulator.add_tenant()
    async with observed_client(emulator.url, events.append) as client:
        syncs = client.tenants.sync_all(client.tenants.list(), mode="normal", poll=FAST)
        async with syncs as results:
            assert [result.error async for result in results] == [None] * 3
    assert len(events) == len(emulator.requests)
    assert {event.template for event in events} == {
        "/v2/tenants", "/v2/tenants/{tenant_id}/sync", STATUS
    }  # fmt: skip


def test_the_function_must_be_callable() -> None:
    """Anything else is a configuration error."""
    with pytest.raises(ConfigurationError, match="on_response must be callable"):
        AsyncPandium(KEY, on_response="print")  # type: ignore[arg-type]  # a wrong type


async def test_an_error_response_is_an_event_and_an_error() -> None:
    """The error of a request that is not retried is raised after its event."""
    events: list[ResponseEvent] = []
    with Misbehaving(otherwise=status("500 Internal Server Error")) as server:
        async with observed_client(server.url, events.append, retry=Retry.never()) as client:
            with pytest.raises(ServerError):
                await client.runs.status("1")
    assert [event.status_code for event in events] == [500]
