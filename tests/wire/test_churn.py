"""Calls canceled at every point and in every way leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpcore2
import pytest
import trio
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import current_token

from pandium import AsyncPandium, Retry, errors
from support import KEY
from support import servers as bad
from support.servers import Behavior, Misbehaving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Cut = Callable[[Callable[[], Awaitable[object]], float], Awaitable[None]]

pytestmark = pytest.mark.anyio

PATIENT = 20.0
SLOTS = 8
# Three times as many tasks as slots, so that most timeouts hit a waiting call.
AT_ONCE = 24
CALLS = 10_000 if os.environ.get("PANDIUM_LONG") else 240


def is_on_asyncio() -> bool:
    return isinstance(
        getattr(token := current_token(), "native_token", token), asyncio.AbstractEventLoop
    )


@asynccontextmanager
async def serving(*script: Behavior, **options: Any) -> AsyncIterator[Misbehaving]:
    """Run a server and assert that no connection or task is left afterwards."""
    before = asyncio.all_tasks() if is_on_asyncio() else set()
    with Misbehaving(*script, **options) as server:
        yield server
        await server.until_idle()
    assert (asyncio.all_tasks() if is_on_asyncio() else set()) == before


@asynccontextmanager
async def a_client(
    server: Misbehaving, max_connections: int, **options: Any
) -> AsyncIterator[AsyncPandium]:
    """Open a client and assert that no slot and no connection is lost afterwards."""
    async with AsyncPandium(
        KEY, base_url=server.url, timeout=PATIENT, max_connections=max_connections, **options
    ) as client:
        yield client
        await assert_nothing_is_lost(client, server, max_connections)


async def assert_nothing_is_lost(client: AsyncPandium, server: Misbehaving, slots: int) -> None:
    """Assert that as many calls as there are slots run at once, and no other connection is open."""
    server.play([bad.together(slots)] * slots)
    with anyio.fail_after(PATIENT):
        async with anyio.create_task_group() as group:
            for _ in range(slots):
                group.start_soon(assert_a_call_succeeds, client)
    await server.until(lambda: server.open == slots)
    assert count_connections(server) == slots


def count_connections(server: Misbehaving) -> int:
    """Return the number of connections to a server that are in memory, open or closed."""
    gc.collect()
    connections = [each for each in gc.get_objects() if type(each) is httpcore2.AsyncHTTPConnection]
    return sum(f":{server.port}'" in connection.info() for connection in connections)


async def assert_a_call_succeeds(client: AsyncPandium) -> None:
    assert (await client.runs.status("well")).status == "Running"


async def assert_twenty_calls_succeed(client: AsyncPandium, server: Misbehaving) -> None:
    """Assert that every slot and connection still works, concurrently and sequentially."""
    # Count only these calls, because a canceled one may still be on its way.
    sent = ("GET", "/v2/runs/triggers/well/status")
    before = server.arrived[sent]
    with anyio.fail_after(PATIENT):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(assert_a_call_succeeds, client)
        for _ in range(20):
            await assert_a_call_succeeds(client)
    assert server.arrived[sent] == before + 40


async def by_timeout(call: Callable[[], Awaitable[object]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await call()


async def by_wait_for(call: Callable[[], Awaitable[object]], seconds: float) -> None:
    await asyncio.wait_for(call(), seconds)


async def by_anyio(call: Callable[[], Awaitable[object]], seconds: float) -> None:
    with anyio.move_on_after(seconds) as scope:
        await call()
    if scope.cancelled_caught:
        raise TimeoutError


async def by_trio(call: Callable[[], Awaitable[object]], seconds: float) -> None:
    with trio.move_on_after(seconds) as scope:
        await call()
    if scope.cancelled_caught:
        raise TimeoutError


async def by_cancel(call: Callable[[], Awaitable[object]], seconds: float) -> None:
    # Cancel twice, as an impatient user would. The second one hits the cleanup of the first.
    task = asyncio.ensure_future(call())
    handles = [asyncio.get_running_loop().call_later(s, task.cancel) for s in (seconds, seconds)]
    try:
        await task
    except asyncio.CancelledError:
        raise TimeoutError from None
    finally:
        for handle in handles:
            handle.cancel()


WAYS = [
    pytest.param("asyncio", by_timeout, id="asyncio.timeout"),
    pytest.param("asyncio", by_wait_for, id="asyncio.wait_for"),
    pytest.param("asyncio", by_cancel, id="Task.cancel"),
    pytest.param("asyncio", by_anyio, id="anyio on asyncio"),
    pytest.param("trio", by_anyio, id="anyio on trio"),
    pytest.param("trio", by_trio, id="trio"),
]
BEHAVIORS: dict[str, Callable[[float], Behavior]] = {
    "late": bad.late,
    "in pieces": bad.body_in_pieces,
}


CALL_KINDS: list[Callable[[AsyncPandium], Awaitable[object]]] = [
    lambda client: client.runs.status("t-1"),
    lambda client: client.tenants.sync(7, mode="normal"),
    lambda client: client.tenants.update_metadata(7, {"a": "b" * 5000}),
]


@pytest.mark.parametrize("play", BEHAVIORS)
@pytest.mark.parametrize(("anyio_backend", "cut"), WAYS)
async def test_a_client_works_after_thousands_of_timeouts(cut: Cut, play: str) -> None:
    """After thousands of canceled calls, 20 of 20 calls succeed and nothing is left over."""
    rolls = random.Random(20_260_101)
    ends = {"done": 0, "cut": 0}

    async def worker(client: AsyncPandium, count: int) -> None:
        for number in range(count):
            seconds = rolls.uniform(0.0005, 0.02)
            call = CALL_KINDS[number % len(CALL_KINDS)]
            try:
                await cut(lambda call=call: call(client), seconds)  # type: ignore[misc]
                ends["done"] += 1
            except TimeoutError:
                ends["cut"] += 1

    async with (
        serving(otherwise=BEHAVIORS[play](0.004)) as server,
        a_client(server, max_connections=SLOTS, retry=Retry.never()) as client,
    ):
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(worker, client, CALLS // AT_ONCE)
        assert sum(ends.values()) == CALLS // AT_ONCE * AT_ONCE
        assert ends["cut"] > CALLS / 20
        await assert_nothing_is_lost(client, server, SLOTS)
        await assert_twenty_calls_succeed(client, server)


# Cancellation during each `await`


async def until_a_retry_delay() -> None:
    """Wait until the client has logged a retry and is sleeping before it."""
    said = anyio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.set()

    listener = Listener(logging.WARNING)
    logging.getLogger("pandium").addHandler(listener)
    try:
        with anyio.fail_after(PATIENT):
            await said.wait()
        await wait_all_tasks_blocked()
    finally:
        logging.getLogger("pandium").removeHandler(listener)


class CancellableCall:
    """A call that runs in the background until it is canceled."""

    def __init__(self, call: Callable[[], Awaitable[object]], *, is_native: bool) -> None:
        self._call = call
        self._is_native = is_native
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[Any] | None = None
        self._is_over = anyio.Event()

    async def run(self) -> None:
        try:
            if self._is_native:
                self._task = asyncio.ensure_future(self._call())
                await asyncio.gather(self._task, return_exceptions=True)
                assert self._task.cancelled()
            else:
                with self._scope:
                    await self._call()
                assert self._scope.cancelled_caught
        finally:
            self._is_over.set()

    async def cut(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._scope.cancel()
        with anyio.fail_after(PATIENT):
            await self._is_over.wait()


@asynccontextmanager
async def in_background(
    call: Callable[[], Awaitable[object]], *, is_native: bool
) -> AsyncIterator[CancellableCall]:
    async with anyio.create_task_group() as group:
        cutter = CancellableCall(call, is_native=is_native)
        group.start_soon(cutter.run)
        yield cutter


EACH_WAY = pytest.mark.parametrize(
    ("anyio_backend", "is_native"),
    [("asyncio", False), ("asyncio", True), ("trio", False)],
    ids=["scope on asyncio", "task on asyncio", "scope on trio"],
)


@EACH_WAY
async def test_canceled_while_waiting_for_a_slot(is_native: bool) -> None:  # noqa: FBT001
    """A call that is canceled in the queue is never sent, and the next one gets its slot."""
    async with (
        serving(bad.stall_before_the_answer()) as server,
        a_client(server, max_connections=1) as client,
    ):
        async with in_background(lambda: client.runs.status("a"), is_native=is_native) as first:
            await server.until(lambda: server.seen == 1)
            async with in_background(
                lambda: client.tenants.sync(7, mode="normal"), is_native=is_native
            ) as second:
                await wait_all_tasks_blocked()
                await second.cut()
            assert server.seen == 1
            async with anyio.create_task_group() as group:
                group.start_soon(assert_a_call_succeeds, client)
                await wait_all_tasks_blocked()
                await first.cut()
        await assert_twenty_calls_succeed(client, server)
        assert ("POST", "/v2/tenants/7/sync") not in server.arrived


@EACH_WAY
async def test_canceled_while_a_slot_is_handed_over(is_native: bool) -> None:  # noqa: FBT001
    """A call that is canceled as it gets its slot passes the slot on."""
    async with (
        serving(bad.stall_before_the_answer()) as server,
        a_client(server, max_connections=1) as client,
    ):
        async with in_background(lambda: client.runs.status("a"), is_native=is_native) as first:
            await server.until(lambda: server.seen == 1)
            async with in_background(
                lambda: client.runs.status("b"), is_native=is_native
            ) as second:
                await wait_all_tasks_blocked()
                async with anyio.create_task_group() as group:
                    group.start_soon(first.cut)
                    group.start_soon(second.cut)
        await assert_twenty_calls_succeed(client, server)


@EACH_WAY
async def test_canceled_while_connecting(is_native: bool) -> None:  # noqa: FBT001
    """A call that is canceled while connecting leaks neither a socket nor a slot."""
    async with serving(is_listening=False) as server:
        server.socket.listen(0)
        guests = [socket.socket() for _ in range(3)]
        for guest in guests:
            guest.setblocking(False)
            guest.connect_ex(server.socket.getsockname())
        async with a_client(server, max_connections=1) as client:
            async with in_background(
                lambda: client.tenants.sync(7, mode="normal"), is_native=is_native
            ) as call:
                await wait_all_tasks_blocked()
                await call.cut()
            for guest in guests:
                guest.close()
            server.listen()
            await assert_twenty_calls_succeed(client, server)
            assert ("POST", "/v2/tenants/7/sync") not in server.arrived


@EACH_WAY
@pytest.mark.parametrize(
    "behavior",
    [bad.stall_before_the_answer(), bad.stall_in_the_head(), bad.stall_in_the_body()],
    ids=lambda behavior: behavior.name,
)
async def test_canceled_while_reading(behavior: Behavior, is_native: bool) -> None:  # noqa: FBT001
    """A call that is canceled while reading closes its connection. The next one opens its own."""
    async with serving(behavior) as server:
        async with a_client(server, max_connections=1) as client:
            async with in_background(
                lambda: client.tenants.sync(7, mode="normal"), is_native=is_native
            ) as call:
                await server.until(lambda: server.seen == 1)
                await wait_all_tasks_blocked()
                await call.cut()
            await server.until_idle()
            await assert_twenty_calls_succeed(client, server)
        assert server.effects["POST", "/v2/tenants/7/sync"] == 1


@EACH_WAY
async def test_canceled_while_writing(is_native: bool) -> None:  # noqa: FBT001
    """A call that is canceled while writing is not executed and leaves nothing behind."""

    async def ignore(wire: bad.Wire) -> None:
        await asyncio.Event().wait()

    data = {"much": "x" * (1 << 24)}  # more than the socket buffers hold
    async with serving(Behavior("ignore", ignore, "head")) as server:
        async with a_client(server, max_connections=1) as client:
            async with in_background(
                lambda: client.tenants.update_metadata(7, data), is_native=is_native
            ) as call:
                await server.until(lambda: server.seen == 1)
                await wait_all_tasks_blocked()
                await call.cut()
            server.hang_up()
            await assert_twenty_calls_succeed(client, server)
        assert server.effects["PATCH", "/v2/tenants/7/metadata"] == 0


@EACH_WAY
async def test_canceled_between_two_attempts(is_native: bool) -> None:  # noqa: FBT001
    """A call that is canceled during the delay before a retry is not retried."""
    async with (
        serving(bad.status("503 Service Unavailable", Retry_After="30")) as server,
        a_client(server, max_connections=1) as client,
    ):
        async with in_background(lambda: client.runs.status("a"), is_native=is_native) as call:
            await until_a_retry_delay()
            await call.cut()
        assert server.seen == 1
        await assert_twenty_calls_succeed(client, server)


@EACH_WAY
async def test_canceled_while_rate_limited(is_native: bool) -> None:  # noqa: FBT001
    """A call that is canceled while rate limited is never sent. The rate limit stays in effect."""
    async with (
        serving(bad.status("429 Too Many Requests", Retry_After="0.8")) as server,
        a_client(server, max_connections=1) as client,
    ):
        async with in_background(lambda: client.runs.status("a"), is_native=is_native) as first:
            began = anyio.current_time()
            await until_a_retry_delay()
            async with in_background(
                lambda: client.tenants.sync(7, mode="normal"), is_native=is_native
            ) as second:
                await wait_all_tasks_blocked()
                await first.cut()
                await second.cut()
        assert server.seen == 1
        await assert_twenty_calls_succeed(client, server)
        assert anyio.current_time() - began >= 0.8
        assert ("POST", "/v2/tenants/7/sync") not in server.arrived


@EACH_WAY
async def test_canceled_before_it_starts(is_native: bool) -> None:  # noqa: FBT001
    """A call in a scope that is already canceled sends nothing and leaves nothing behind."""
    async with serving() as server, a_client(server, max_connections=1) as client:
        for _ in range(50):
            if is_native:
                task = asyncio.ensure_future(client.tenants.sync(7, mode="normal"))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert task.cancelled()
            else:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await client.tenants.sync(7, mode="normal")
                assert scope.cancelled_caught
        assert not server.effects
        await assert_twenty_calls_succeed(client, server)


async def test_closing_ends_waiting_calls_and_calls_in_flight() -> None:
    """Closing a client ends its calls with an error. Waiting calls are not sent."""
    async with serving(bad.stall_before_the_answer()) as server:
        client = AsyncPandium(KEY, base_url=server.url, max_connections=1)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(expect_an_error_on_closing, client)
            await server.until(lambda: server.seen == 1)
            await wait_all_tasks_blocked()
            await client.aclose()
        await server.until_idle()
        assert server.seen == 1


async def test_closing_discards_a_connection_being_made() -> None:
    """A connection that is established while the client closes is also closed."""
    async with serving(is_listening=False) as server:
        server.socket.listen(0)
        guests = [socket.socket() for _ in range(3)]
        for guest in guests:
            guest.setblocking(False)
            guest.connect_ex(server.socket.getsockname())
        client = AsyncPandium(KEY, base_url=server.url, timeout=PATIENT)
        async with anyio.create_task_group() as group:
            group.start_soon(assert_a_call_succeeds, client)
            await wait_all_tasks_blocked()
            await client.aclose()
            for guest in guests:
                guest.close()
            server.listen()
        await server.until_idle()


async def test_closing_ends_calls_that_are_rate_limited() -> None:
    """If a client is closed during a rate limit, the calls that wait for its end are not sent."""
    async with serving(bad.status("429 Too Many Requests", Retry_After="0.5")) as server:
        client = AsyncPandium(KEY, base_url=server.url, retry=Retry(attempts=1))
        with pytest.raises(errors.RateLimited):
            await client.runs.status("t-1")
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(expect_an_error_on_closing, client)
            await wait_all_tasks_blocked()
            await client.aclose()
        assert server.seen == 1


async def expect_an_error_on_closing(client: AsyncPandium) -> None:
    with pytest.raises(errors.PandiumError, match="the client is closed"):
        await client.runs.status("t-1")


async def test_a_failure_releases_its_slot() -> None:
    """A single slot still serves the next call after any number of failed calls."""
    async with serving() as server, a_client(server, max_connections=1) as client:
        view = client.with_options(retry=Retry.never())
        redirect = bad.status("302 Found", Location="https:invalid")
        failures = (bad.close("all"), bad.garbage(), bad.half_a_body(), bad.lying_gzip(), redirect)
        for behavior in failures:
            for _ in range(5):
                server.play([behavior])
                with pytest.raises(errors.PandiumError):
                    await view.runs.status("t-1")
        await server.until_idle()
        await assert_twenty_calls_succeed(client, server)


async def test_waiting_for_a_slot_is_in_order_and_without_a_timeout() -> None:
    """Calls get slots in order of arrival, and the wait does not count toward the timeout."""
    async with serving(otherwise=bad.late(0.2)) as server:
        async with a_client(server, max_connections=1, retry=Retry.never()) as client:
            hasty = client.with_options(timeout=1.5)
            async with anyio.create_task_group() as group:
                for number in range(10):
                    group.start_soon(hasty.runs.status, f"t-{number}")
            arrived = [request.path for request in server.requests]
        paths = [f"/v2/runs/triggers/t-{number}/status" for number in range(10)]
        # trio starts tasks in random order.
        assert (arrived if is_on_asyncio() else sorted(arrived)) == (
            paths if is_on_asyncio() else sorted(paths)
        )
