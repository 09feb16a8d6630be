"""Chaos: the errors that users see when a server misbehaves, at the HTTP level and below."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest
from anyio.lowlevel import current_token

from pandium import AsyncPandium, Retry, errors
from support import KEY
from support import servers as bad
from support.servers import Behavior, Misbehaving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.anyio

# Long enough for any machine to connect or to respond.
PATIENT = 20.0
TWICE = Retry(attempts=2, initial=0)


@attrs.frozen
class Kind:
    """One operation for each kind of request that the retry rules distinguish."""

    method: str
    path: str
    call: Callable[[AsyncPandium], Awaitable[object]]
    is_idempotent: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.method, self.path


KINDS = {
    "GET status": Kind(
        "GET", "/v2/runs/triggers/t-1/status", lambda c: c.runs.status("t-1"), is_idempotent=True
    ),
    "DELETE tenant": Kind(
        "DELETE", "/v2/tenants/7", lambda c: c.tenants.archive(7), is_idempotent=True
    ),
    "PATCH metadata": Kind(
        "PATCH",
        "/v2/tenants/7/metadata",
        lambda c: c.tenants.update_metadata(7, {"a": 1}),
        is_idempotent=True,
    ),
    "POST sync": Kind(
        "POST",
        "/v2/tenants/7/sync",
        lambda c: c.tenants.sync(7, mode="normal", payload={"since": "2026-01-01"}),
        is_idempotent=False,
    ),
    "PATCH tenant": Kind(
        "PATCH", "/v2/tenants/7", lambda c: c.tenants.update(7, name="acme"), is_idempotent=False
    ),
    "connector call": Kind(
        "POST",
        "/v2/tenants/7/connectors/crm/call",
        lambda c: c.connectors.call(7, "crm", method="GET", target_url="https://a.example/"),
        is_idempotent=False,
    ),
}


@attrs.frozen
class Fate:
    """
    The expected result if every attempt meets with a behavior.

    ``again`` is the kind of requests that are retried: ``idempotent`` ones, ``all`` or ``none``.
    ``error`` is `None` if the call succeeds.
    """

    error: type[errors.PandiumError] | None
    again: str = "none"
    is_unknown: bool = True
    timeout: float | httpx.Timeout = PATIENT


GOOD = Fate(None)
LOST = Fate(errors.ConnectionLost, "idempotent")
# Limit only the time for reads, so that a loaded machine can still connect.
STALL = bad.stall_before_the_answer().name
STALLED = Fate(errors.RequestTimeout, "idempotent", timeout=httpx.Timeout(PATIENT, read=0.1))
TOO_SLOW = Fate(errors.RequestTimeout, "idempotent", timeout=0.2)
UNREADABLE = Fate(errors.DecodeError)
MOVED = Fate(errors.APIError)
WAITS = Fate(errors.RateLimited, "all", is_unknown=False)
FAILED = Fate(errors.ServerError, "idempotent")

# This is the same on every system, because a port without a listener refuses immediately.
ELSEWHERE = "http://127.0.0.2:9/v2/tenants/7"
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)

CASES: list[tuple[Behavior, Fate]] = [
    # The connection is lost.
    (bad.reset("part"), LOST),
    (bad.reset("all"), LOST),
    (bad.close("nothing"), LOST),
    (bad.close("part"), LOST),
    (bad.close("all"), LOST),
    (bad.half_a_status_line(), LOST),
    (bad.half_a_header(), LOST),
    (bad.half_a_body(), LOST),
    (bad.reset_in_the_body(), LOST),
    (bad.half_a_chunk(), LOST),
    (bad.continue_alone(), LOST),
    # The server does not speak HTTP.
    (bad.garbage(), LOST),
    (bad.garbage_and_wait(), LOST),
    (bad.bad_chunk(), LOST),
    (bad.length_below_zero(), LOST),
    (bad.length_too_long(), LOST),
    (bad.many_headers(), LOST),
    # The server is slow.
    (bad.stall_before_the_answer(), STALLED),
    (bad.stall_in_the_head(), STALLED),
    (bad.stall_in_the_body(), STALLED),
    (bad.byte_by_byte(0.05), TOO_SLOW),
    # The response cannot be decoded.
    (bad.length_too_short(), UNREADABLE),
    (bad.lying_gzip(), UNREADABLE),
    (bad.half_a_gzip(), UNREADABLE),
    # The response is an error.
    (bad.status("302 Found", Location="/v2/tenants"), MOVED),
    (bad.status("307 Temporary Redirect", Location="/elsewhere"), MOVED),
    (bad.status("307 Temporary Redirect", Location=ELSEWHERE), MOVED),
    (bad.status("308 Permanent Redirect", Location=""), MOVED),
    (bad.switch_protocols(), LOST),
    (bad.status("404 Not Found"), Fate(errors.NotFound, is_unknown=False)),
    (bad.status("408 Request Timeout"), Fate(errors.APIError, "idempotent")),
    (bad.status("429 Too Many Requests"), WAITS),
    (bad.status("429 Too Many Requests", Retry_After="0"), WAITS),
    (bad.status("429 Too Many Requests", Retry_After="0.02"), WAITS),
    (bad.status("429 Too Many Requests", Retry_After=bad.http_date(LONG_AGO)), WAITS),
    (bad.status("429 Too Many Requests", Retry_After="a while"), WAITS),
    (bad.status("429 Too Many Requests", Retry_After="-1"), WAITS),
    (bad.status("500 Internal Server Error", b"<html>oops</html>"), FAILED),
    (bad.status("502 Bad Gateway", b""), FAILED),
    (bad.status("503 Service Unavailable"), FAILED),
    (bad.status("503 Service Unavailable", Retry_After="0"), FAILED),
    (bad.status("501 Not Implemented"), Fate(errors.ServerError)),
    # The response is odd but valid.
    (bad.tiny_pieces(), GOOD),
    (bad.close_after_the_answer(), GOOD),
    (bad.old_http(), GOOD),
    (bad.continue_first(), GOOD),
    (bad.answer_before_the_body(), GOOD),
]
BY_NAME = {behavior.name: (behavior, fate) for behavior, fate in CASES}
assert len(BY_NAME) == len(CASES)

# Failures that may be over by the next attempt. One slow behavior is enough.
PASSING = [
    behavior.name
    for behavior, fate in CASES
    if fate.again != "none" and (fate.timeout == PATIENT or behavior.name == STALL)
]

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def tasks() -> set[Any]:
    """Return the tasks of asyncio's event loop. A trio loop does not end while a task is left."""
    loop = getattr(token := current_token(), "native_token", token)
    return asyncio.all_tasks() if isinstance(loop, asyncio.AbstractEventLoop) else set()


@asynccontextmanager
async def serving(*script: Behavior, **options: Any) -> AsyncIterator[Misbehaving]:
    """Run a server and assert that no connection or task is left afterwards."""
    before = tasks()
    with Misbehaving(*script, **options) as server:
        yield server
        await server.until_idle()
    assert tasks() == before


def a_client(server: Misbehaving, retry: Retry = TWICE, **options: Any) -> AsyncPandium:
    return AsyncPandium(KEY, base_url=server.url, retry=retry, timeout=PATIENT, **options)


async def failure_of(call: Awaitable[object]) -> errors.PandiumError | None:
    """Return the error that a call raises, or `None`."""
    try:
        await call
    except errors.PandiumError as error:
        return error
    return None


async def next_call_succeeds(client: AsyncPandium, kind: Kind, server: Misbehaving) -> None:
    """Assert that the client still works."""
    before = server.effects[kind.key]
    with anyio.fail_after(PATIENT):
        await kind.call(client)
        await client.runs.status("t-1")
    assert server.effects[kind.key] == before + (2 if kind.path.endswith("t-1/status") else 1)


@each_kind
@pytest.mark.parametrize("name", BY_NAME)
async def test_each_misbehavior_has_its_documented_result(kind: Kind, name: str) -> None:
    """Each failure raises its documented error after its attempts. No write is executed twice."""
    behavior, fate = BY_NAME[name]
    is_repeated = fate.again == "all" or (fate.again == "idempotent" and kind.is_idempotent)
    async with serving(otherwise=behavior) as server, a_client(server) as client:
        error = await failure_of(kind.call(client.with_options(timeout=fate.timeout)))
        assert type(error) is (fate.error or type(None))
        if error is not None:
            assert error.outcome_unknown is fate.is_unknown
            assert len(error.attempts) == (2 if is_repeated else 1)
            assert (error.method, error.url and httpx.URL(error.url).path) == kind.key
        times = 2 if is_repeated else 1
        await server.until(lambda: server.seen >= times)
        assert server.seen == times
        assert set(server.arrived) <= {kind.key}
        assert server.effects[kind.key] <= (server.seen if kind.is_idempotent else 1)
        server.play([])
        if not behavior.keeps:
            await server.until_idle()
        await next_call_succeeds(client, kind, server)


@each_kind
@pytest.mark.parametrize("name", PASSING)
async def test_a_transient_misbehavior_is_retried_where_safe(kind: Kind, name: str) -> None:
    """A failure that occurs once is retried if that is safe, and raised otherwise."""
    behavior, fate = BY_NAME[name]
    is_repeated = fate.again == "all" or kind.is_idempotent
    async with serving(behavior) as server, a_client(server, Retry(initial=0)) as client:
        # Do not use the short limit of the table above, which a good response may exceed.
        limit = httpx.Timeout(PATIENT, read=0.3) if fate is STALLED else PATIENT
        error = await failure_of(kind.call(client.with_options(timeout=limit)))
        assert (error is None) is is_repeated
        assert server.seen == (2 if is_repeated else 1)
        assert server.effects[kind.key] <= (2 if kind.is_idempotent else 1)


@each_kind
async def test_a_connection_that_is_reset_at_once(kind: Kind) -> None:
    """A reset before the request is a failed or lost connection, depending on what is observed."""
    async with serving(otherwise=bad.reset("nothing")) as server, a_client(server) as client:
        with pytest.raises(errors.TransportError) as caught:
            await kind.call(client)
        assert type(caught.value) in (errors.ConnectFailed, errors.ConnectionLost)
        # The first attempt may have failed in a different way than the last one.
        is_unsent = all("ConnectFailed" in one.result for one in caught.value.attempts)
        assert caught.value.outcome_unknown is not is_unsent
        assert kind.is_idempotent <= (len(caught.value.attempts) == 2)
        assert is_unsent <= (len(caught.value.attempts) == 2)
        await server.until(lambda: server.seen == len(caught.value.attempts))
        assert not server.effects
        server.play([])
        await next_call_succeeds(client, kind, server)


@each_kind
async def test_a_refused_connection_is_retried(kind: Kind) -> None:
    """If nothing listens, every kind of request is retried, because none was executed."""
    async with serving(is_listening=False) as server, a_client(server) as client:
        with pytest.raises(errors.ConnectFailed) as caught:
            await kind.call(client)
        assert not caught.value.outcome_unknown
        assert len(caught.value.attempts) == 2
        server.listen()
        assert server.accepted == 0
        await next_call_succeeds(client, kind, server)


def fill(listening: socket.socket) -> list[socket.socket]:
    """Fill the backlog of a socket, so that the next connection attempt hangs."""
    listening.listen(0)
    taken = []
    for _ in range(3):
        guest = socket.socket()
        guest.setblocking(False)
        guest.connect_ex(listening.getsockname())
        taken.append(guest)
    return taken


@pytest.mark.parametrize("kind", [KINDS["GET status"], KINDS["POST sync"]], ids=["GET", "POST"])
@pytest.mark.parametrize(
    "limit", [0.1, httpx.Timeout(PATIENT, connect=0.1)], ids=["in all", "to connect"]
)
async def test_a_connection_timeout_is_connect_failed(
    kind: Kind, limit: float | httpx.Timeout
) -> None:
    """A host that does not respond at all is a `ConnectFailed`. Every request retries it."""
    async with serving(is_listening=False) as server:
        guests = fill(server.socket)
        async with a_client(server) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await kind.call(client.with_options(timeout=limit))
            assert not caught.value.outcome_unknown
            assert len(caught.value.attempts) == 2
            for guest in guests:
                guest.close()
            server.listen()
            await next_call_succeeds(client, kind, server)
        assert set(server.arrived) == {kind.key, KINDS["GET status"].key}


@each_kind
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(kind: Kind, code: int) -> None:
    """Redirects are not followed, neither to the same host nor to another one."""
    async with serving() as other, serving() as server:
        for location in (f"{other.url}{kind.path}", f"{server.url}{kind.path}", kind.path):
            server.play([bad.status(f"{code} Moved", Location=location)])
            async with a_client(server) as client:
                before = server.seen
                with pytest.raises(errors.APIError) as caught:
                    await kind.call(client)
                assert caught.value.status_code == code
                assert caught.value.headers["location"] == location
                assert caught.value.outcome_unknown
                assert server.seen == before + 1
        assert other.accepted == 0


@each_kind
@pytest.mark.parametrize("form", ["seconds", "HTTP date"])
async def test_a_long_retry_after_is_raised_at_once(kind: Kind, form: str) -> None:
    """A `Retry-After` of an hour is raised immediately. The next call is not sent either."""
    then = datetime.now(UTC) + timedelta(hours=1)
    value = "3600" if form == "seconds" else bad.http_date(then)
    async with serving(bad.status("429 Too Many Requests", Retry_After=value)) as server:
        async with a_client(server) as client:
            with pytest.raises(errors.RateLimited) as caught:
                await kind.call(client)
            assert caught.value.retry_after == pytest.approx(3600, abs=5)
            assert not caught.value.outcome_unknown
            assert len(caught.value.attempts) == 1
            with pytest.raises(errors.RateLimited) as held:
                await client.runs.status("t-1")
            assert held.value.retry_after == pytest.approx(3600, abs=5)
            assert held.value.attempts == ()
        assert server.seen == 1
        assert not server.effects


@pytest.mark.parametrize("form", ["0.3", "HTTP date"])
@pytest.mark.parametrize("kind", [KINDS["GET status"], KINDS["POST sync"]], ids=["GET", "POST"])
async def test_a_retry_after_is_never_shortened(kind: Kind, form: str) -> None:
    """After a 429, no request is sent before the time that the server requested."""
    then = datetime.now(UTC) + timedelta(seconds=1.2)
    value = bad.http_date(then) if form == "HTTP date" else form
    async with serving(bad.status("429 Too Many Requests", Retry_After=value)) as server:
        async with a_client(server) as client:
            began = anyio.current_time()
            await kind.call(client)
            if form == "HTTP date":
                assert datetime.now(UTC) >= then.replace(microsecond=0)
            else:
                assert anyio.current_time() - began >= 0.3
        assert server.seen == 2
        assert server.effects[kind.key] == 1


async def test_calls_that_wait_for_a_slot_are_rate_limited_too() -> None:
    """A 429 with `Retry-After` also delays calls that were waiting for a slot."""
    results = []

    async def call(client: AsyncPandium) -> None:
        try:
            await client.runs.status("t-1")
        except errors.RateLimited as error:
            results.append(error.retry_after)

    behavior = bad.status("429 Too Many Requests", Retry_After="3600")
    async with serving(behavior) as server:
        async with (
            a_client(server, max_connections=1) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(5):
                group.start_soon(call, client)
        assert server.seen == 1
    assert len(results) == 5


@pytest.mark.parametrize("play", ["two answers", "length too short"])
async def test_stray_bytes_after_a_response_are_not_the_next_response(play: str) -> None:
    """Stray bytes after a response are never treated as the response to another request."""
    stolen = b'{"status": "Stolen"}'
    full = bad.two_answers(stolen) if play == "two answers" else bad.length_too_short()
    async with serving(full) as server, a_client(server, Retry.never()) as client:
        try:
            assert (await client.runs.status("t-1")).status == "Running"
        except errors.DecodeError:
            assert play == "length too short"
        assert (await client.runs.status("t-2")).status == "Running"
        trigger = await client.tenants.sync(7, mode="normal")
        assert trigger.trigger_id == "t-1"


@each_kind
async def test_a_connection_that_the_server_closed_is_not_reused(kind: Kind) -> None:
    """A connection that was closed while idle fails no call, not even one without retries."""
    async with (
        serving(otherwise=bad.close_after_the_answer()) as server,
        a_client(server, Retry.never()) as client,
    ):
        for number in range(1, 6):
            await kind.call(client)
            await server.until_idle()
            assert server.seen == server.accepted == server.effects[kind.key] == number


async def test_a_connection_is_reused() -> None:
    """Consecutive calls, including failed ones, share one connection."""
    script = [bad.status("404 Not Found"), bad.healthy(), bad.status("503 Service Unavailable")]
    async with serving(*script) as server:
        async with a_client(server) as client:
            with pytest.raises(errors.NotFound):
                await client.runs.status("t-1")
            for _ in range(5):
                await client.runs.status("t-1")
        assert (server.seen, server.accepted) == (7, 1)


async def test_max_connections_limits_the_connections() -> None:
    """The number of requests in flight never exceeds max_connections, and all of them succeed."""
    async with (
        serving(otherwise=bad.late(0.002)) as server,
        a_client(server, max_connections=3) as client,
    ):
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(client.runs.status, f"t-{number}")
        assert server.seen == len(server.arrived) == 60
        assert server.accepted <= 3


@pytest.mark.parametrize("play", ["stall in the head", "stall in the body"])
async def test_closing_ends_calls_in_flight_with_a_pandium_error(play: str) -> None:
    """Closing a client during a call ends the call with a `PandiumError`."""
    caught: list[errors.PandiumError] = []

    async def call(client: AsyncPandium, server: Misbehaving) -> None:
        try:
            await client.tenants.sync(7, mode="normal")
        except errors.PandiumError as error:
            caught.append(error)

    async with serving(otherwise=BY_NAME[play][0]) as server:
        client = a_client(server)
        with anyio.fail_after(PATIENT):
            async with anyio.create_task_group() as group:
                group.start_soon(call, client, server)
                await server.until(lambda: server.seen == 1)
                await client.aclose()
        assert [type(error) for error in caught] == [errors.ConnectionLost]
        assert caught[0].outcome_unknown
        assert server.effects[KINDS["POST sync"].key] == 1
        await server.until_idle()
        with pytest.raises(errors.PandiumError, match="closed"):
            await client.runs.status("t-1")


async def test_an_outage_costs_a_bounded_number_of_requests() -> None:
    """If every response is lost, the total number of requests is less than twice that of calls."""
    async with serving(otherwise=bad.close("all")) as server:
        async with a_client(server, Retry(initial=0)) as client:
            for _ in range(400):
                with pytest.raises(errors.ConnectionLost):
                    await client.runs.status("t-1")
        assert 400 < server.seen <= 400 + 100 + 40


def test_the_servers_own_good_responses_are_good() -> None:
    """The test server's good responses are JSON, and each one matches its request."""
    for kind in KINDS.values():
        assert json.loads(bad.good_body(bad.Request(kind.method, kind.path, (), b"")))
