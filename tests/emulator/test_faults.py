"""Faults between a client and the service."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import closing, suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pandium import AsyncPandium, ServerError, TransportError
from pandium.emulator import (
    Emulator,
    Garbage,
    Latency,
    ProxyPage,
    RateLimit,
    Reset,
    Stall,
    Status,
    Truncate,
)
from support.emulating import Api, served

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD: Any = "503"
SYNC = "/v2/tenants/1/sync?mode=normal"


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Faults are intentional, so the server logs no warnings."""
    yield
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.fixture
def api() -> Iterator[Api]:
    with served() as running:
        for _ in range(3):
            running.emulator.add_tenant()
        yield running


def statuses(api: Api, count: int, path: str = "/v2/tenants") -> list[int]:
    return [api.http.get(path).status_code for _ in range(count)]


def test_options_select_the_requests_of_a_fault(api: Api) -> None:
    """After `after` requests, each `every`-th request fails, at most `times` times."""
    faults = api.emulator.faults
    plan = faults.add("tenants.list", Status(503), after=2, every=2, times=2)
    assert statuses(api, 8) == [200, 200, 200, 503, 200, 503, 200, 200]
    assert plan.hits == 2
    assert statuses(api, 1, "/v2/integrations") == [200]


def test_a_fault_is_repeated_until_it_is_removed(api: Api) -> None:
    """Without `times`, a fault ends only with `remove` or `clear`."""
    faults = api.emulator.faults
    first = faults.add("tenants.list", Status(500))
    faults.add(None, Status(502))
    assert statuses(api, 2) == [500, 500]
    first.remove()
    first.remove()
    assert statuses(api, 2) == [502, 502]
    assert len(faults) == 1
    faults.clear()
    assert statuses(api, 1) == [200]
    assert (first.hits, len(faults)) == (2, 0)


def test_chance_is_the_same_with_the_same_seed(api: Api) -> None:
    """`probability` is the share of requests that fail, and a seed makes it repeatable."""
    runs = []
    for seed in (1, 1, 2):
        plan = api.emulator.faults.add("tenants.list", Status(503), probability=0.3, seed=seed)
        runs.append(statuses(api, 60))
        assert plan.hits == runs[-1].count(503)
        plan.remove()
    assert runs[0] == runs[1] != runs[2]
    assert 5 < runs[0].count(503) < 35


def test_faults_of_one_operation_come_one_after_the_other(api: Api) -> None:
    """The first fault that is due occurs, and later ones do not count the request."""
    api.emulator.faults.add("tenants.list", Status(503), times=2)
    api.emulator.faults.add("tenants.list", RateLimit(), after=1, times=1)
    assert statuses(api, 5) == [503, 503, 200, 429, 200]


@pytest.mark.parametrize(
    ("operation", "method", "path"),
    [
        ("tenants.sync", "POST", "/v2/tenants/{}/sync?mode=normal"),
        ("POST /v2/tenants/{tenant_id}/sync", "POST", "/v2/tenants/{}/sync?mode=normal"),
        ("post /v2/tenants/{tenant_id}/sync", "POST", "/v2/tenants/{}/sync?mode=normal"),
        ("tenants.metadata", "GET", "/v2/tenants/{}/metadata"),
        ("connectors.call", "POST", "/v2/tenants/{}/connectors/crm/call"),
        (
            "integrations.sync",
            "POST",
            "/v2/integrations/1/sync?mode=normal&user_name=user{}",
        ),
        (None, "PATCH", "/v2/tenants/{}"),
    ],
)
def test_a_fault_may_be_for_one_tenant(operation: str | None, method: str, path: str) -> None:
    """Requests for other or invalid tenants neither fail nor count."""
    with served() as api:
        for number in (1, 2):
            api.emulator.add_tenant(user_name=f"user{number}")
        plan = api.emulator.faults.add(operation, Status(503), tenant=2, after=1)
        body = {"method": "GET", "target_url": "/"}
        for tenant, is_hit in ((1, False), (2, False), (1, False), (2, True), ("x", False)):
            answer = api.http.request(method, path.format(tenant), json=body)
            assert (answer.status_code == 503) is is_hit, (tenant, answer.text)
        assert plan.hits == 1


def test_status_and_log_requests_belong_to_the_run_s_tenant(api: Api) -> None:
    """A trigger's status and a run's log belong to the tenant that was triggered."""
    first, second = api.sync(1), api.sync(2)
    api.clock.advance(10)
    for operation in ("runs.status", "runs.log"):
        api.emulator.faults.add(operation, Status(503), tenant=2)
    paths = [f"/v2/runs/triggers/{one}/status" for one in (first, second, "none")]
    paths += ["/v2/runs/1/log", "/v2/runs/2/log", "/v2/runs/x/log", "/v2/runs/9/log"]
    found = [api.http.get(path, follow_redirects=False).status_code for path in paths]
    assert found == [200, 503, 404, 302, 503, 422, 404]


def test_a_fault_needs_no_key_and_no_route() -> None:
    """A fault occurs without a valid key and for any path."""
    with served(api_key="right") as api:
        assert statuses(api, 1) == [403]
        api.emulator.faults.add(None, Status(502))
        assert statuses(api, 1) == statuses(api, 1, "/v2/nothing") == [502]
        assert statuses(api, 1, "/v2/openapi.json") == statuses(api, 1, "/v2/openapi.json") == [200]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599, 401])
def test_a_status_has_a_message(api: Api, status: int) -> None:
    """The body is a message in JSON unless one is specified."""
    api.emulator.faults.add("tenants.list", Status(status), times=1)
    answer = api.http.get("/v2/tenants")
    assert (answer.status_code, list(answer.json())) == (status, ["message"])
    fault = Status(status, body=b"<p>no", headers={"Content-Type": "text/html", "Retry-After": "1"})
    api.emulator.faults.add("tenants.list", fault)
    answer = api.http.get("/v2/tenants")
    assert (answer.status_code, answer.text) == (status, "<p>no")
    assert answer.headers.get_list("content-type") == ["text/html"]
    assert answer.headers["retry-after"] == "1"


def test_a_rate_limit_has_any_form_of_retry_after(api: Api) -> None:
    """It contains seconds, a date on the emulator's clock that is not too early, or is absent."""
    faults = api.emulator.faults
    for fault in (RateLimit(), RateLimit(7), RateLimit(7, as_date=True)):
        faults.add("tenants.list", fault, times=1)
    bare, seconds, date = (api.http.get("/v2/tenants") for _ in range(3))
    assert [one.status_code for one in (bare, seconds, date)] == [429] * 3
    assert "retry-after" not in bare.headers
    assert seconds.headers["retry-after"] == "7"
    due = parsedate_to_datetime(date.headers["retry-after"]) - api.clock.wall()
    assert timedelta(seconds=7) <= due <= timedelta(seconds=8)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Status(503), Status(503, after_work=True)),
        (Reset(), Reset(after_work=True)),
        (Garbage(), Garbage(after_work=True)),
        (RateLimit(), Stall()),
        (ProxyPage(), Truncate()),
    ],
)
def test_the_work_is_done_or_not(api: Api, before: Any, after: Any) -> None:
    """A fault before the work has no effect, and one after it exactly one. Both are recorded."""
    for fault, effects in ((before, 0), (after, 1)):
        api.emulator.faults.add("tenants.sync", fault, times=1)
        send(api, SYNC, b'{"a": 1}')
        assert api.emulator.effects["tenants.sync", 1] == effects
        last = api.emulator.requests[-1]
        assert (last.operation, last.tenant, last.fault) == ("tenants.sync", 1, repr(fault))
        assert (last.has_effect, last.body) == (bool(effects), b'{"a": 1}')
    assert api.sync() == "2"


def send(api: Api, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    with suppress(httpx.TransportError):
        api.http.post(path, content=body, headers=headers, timeout=0.5)


def raw(api: Api, path: str) -> bytes:
    """Return the data until the connection ends, even with a reset."""
    with closing(socket.create_connection(("127.0.0.1", api.emulator.port))) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-KEY: k\r\n\r\n".encode())
        parts = [sock.recv(65_536)]
        while parts[-1]:
            parts.append(sock.recv(65_536))
    return b"".join(parts)


def test_a_reset_is_one(api: Api) -> None:
    """The client receives a reset and no data, and the recorded status is 0."""
    for fault in (Reset(), Reset(after_work=True)):
        api.emulator.faults.add("tenants.list", fault, times=1)
        with pytest.raises(ConnectionResetError):
            raw(api, "/v2/tenants")
        assert api.emulator.requests[-1].status == 0
        assert api.emulator.counts["GET", "/v2/tenants", 0]
    assert statuses(api, 1) == [200]


def test_a_truncated_body_is_half_of_the_real_one(api: Api) -> None:
    """Content-Length is that of the whole body, and half of it arrives before the end."""
    whole = api.http.get("/v2/tenants").content
    api.emulator.faults.add("tenants.list", Truncate())
    head, _, body = raw(api, "/v2/tenants").partition(b"\r\n\r\n")
    assert f"content-length: {len(whole)}".encode() in head.lower().splitlines()
    assert body == whole[: len(whole) // 2]
    with pytest.raises(httpx.RemoteProtocolError):
        api.http.get("/v2/tenants")


def test_an_empty_body_is_cut_too(api: Api) -> None:
    """If the response has no body, one byte is announced and does not arrive."""
    trigger = api.sync()
    api.clock.advance(10)
    assert api.status(trigger)
    api.emulator.faults.add("runs.log", Truncate())
    head, _, body = raw(api, "/v2/runs/1/log").partition(b"\r\n\r\n")
    assert b"content-length: 1" in head.lower().splitlines()
    assert b"302" in head.splitlines()[0]
    assert body == b""


def test_a_stalled_body_lasts_until_the_client_leaves(api: Api) -> None:
    """Half of the body arrives, then nothing until the client leaves. Others are served."""
    whole = api.http.get("/v2/tenants").content
    api.emulator.faults.add("tenants.list", Stall(), times=1)
    got = b""
    with api.http.stream("GET", "/v2/tenants", timeout=0.3) as answer:
        assert answer.headers["content-length"] == str(len(whole))
        with pytest.raises(httpx.ReadTimeout):
            for chunk in answer.iter_raw():
                got += chunk
                assert statuses(api, 1) == [200]
    assert got == whole[: len(whole) // 2]


def test_garbage_and_pages_say_that_all_is_well(api: Api) -> None:
    """The status is 200 with invalid JSON, or with the HTML page of a proxy."""
    for fault in (Garbage(), Garbage(b"[1, 2"), ProxyPage()):
        api.emulator.faults.add("tenants.list", fault, times=1)
    answers = [api.http.get("/v2/tenants") for _ in range(3)]
    assert [one.status_code for one in answers] == [200] * 3
    for answer in answers:
        with pytest.raises(ValueError, match=r"."):
            answer.json()
    types = [one.headers["content-type"] for one in answers]
    assert types == ["application/json", "application/json", "text/html"]
    assert answers[1].content == b"[1, 2"


def test_latency_is_beside_other_faults(api: Api) -> None:
    """A delayed request gets its usual response, or the next fault that is due."""
    slow = api.emulator.faults.add("tenants.list", Latency(0.01))
    api.emulator.faults.add("tenants.list", Status(503), after=1)
    assert statuses(api, 2) == [200, 503]
    assert slow.hits == 2
    assert [one.fault[:7] for one in api.emulator.requests] == ["Latency", "Status("]


def test_latency_delays_no_other_request(api: Api) -> None:
    """While one client waits, another is served, and both are recorded in this order."""
    api.emulator.faults.add("tenants.list", Latency(0.5))
    slow = threading.Thread(target=statuses, args=(api, 1))
    plan = api.emulator.faults.add("integrations.list", Latency(0))
    slow.start()
    while slow.is_alive() and not plan.hits:
        statuses(api, 1, "/v2/integrations")
    slow.join()
    assert [one.operation for one in api.emulator.requests][-1] == "tenants.list"


def is_out(api: Api) -> bool:
    """Return whether requests fail, which is the same for all paths."""
    failed = []
    for path in ("/v2/tenants/1/metadata", "/v2/nothing"):
        try:
            answer = api.http.get(path)
            failed.append(answer.status_code == 503 or "<html>" in answer.text)
        except httpx.TransportError:
            failed.append(True)
    assert failed[0] is failed[1]
    return failed[0]


@pytest.mark.parametrize("fault", [None, Status(503), ProxyPage()])
def test_an_outage_lets_nothing_through_for_a_time(api: Api, fault: Any) -> None:
    """It precedes other faults, and ends by the emulator's clock or when it is removed."""
    api.emulator.faults.add(None, Status(500), times=1)
    outage = api.emulator.faults.outage(60, fault)
    assert is_out(api)
    api.clock.advance(59.9)
    assert is_out(api)
    api.clock.advance(0.1)
    assert statuses(api, 2) == [500, 200]
    assert outage.hits == 4
    endless = api.emulator.faults.outage(fault=fault)
    api.clock.advance(1e9)
    assert is_out(api)
    endless.remove()
    assert not is_out(api)


@pytest.mark.parametrize("fault", [Stall(), Latency(3600)])
def test_stopping_does_not_wait_for_what_waits_on_purpose(fault: Any) -> None:
    """A stalled body and an endless latency end with the emulator, immediately and silently."""
    errors: list[Exception] = []

    def get() -> None:
        try:
            httpx.get(f"{emulator.url}/v2/tenants", headers={"x-api-key": "k"}, timeout=None)
        except httpx.TransportError as error:
            errors.append(error)

    before = set(threading.enumerate())  # such as the server of pytest's fixtures
    with Emulator() as emulator:
        plan = emulator.faults.add(None, fault)
        callers = [threading.Thread(target=get) for _ in range(3)]
        for caller in callers:
            caller.start()
        while plan.hits < 3:
            pass
    for caller in callers:
        caller.join()
    assert len(errors) == 3
    assert set(threading.enumerate()) <= before


def test_a_request_in_several_chunks_is_read_completely(api: Api) -> None:
    """A body in several chunks is recorded, whether a fault or the API responds."""
    pieces = [b'{"name": "a', *[b"b" * 5000] * 30, b'", "integration_id": 1}']
    for fault in (Status(503), Latency(0)):
        api.emulator.faults.add("tenants.create", fault, times=1)
        headers = {"content-type": "application/json"}
        api.http.post("/v2/tenants", content=iter(pieces), headers=headers)
        assert api.emulator.requests[-1].body == b"".join(pieces)[:65_536]
    assert len(api.emulator.tenants[-1].name) == 150_001


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda faults: faults.add("tenants.lst", Status(503)), "operation"),
        (lambda faults: faults.add("GET /v2/tenant", Status(503)), "operation"),
        (lambda faults: faults.add(7, Status(503)), "operation"),
        (lambda faults: faults.add("tenants.list", 503), "fault"),
        (lambda faults: faults.add("tenants.list", Status), "fault"),
        (lambda faults: faults.add("tenants.list", Status(503), times=0), "times"),
        (lambda faults: faults.add("tenants.list", Status(503), times=True), "times"),
        (lambda faults: faults.add("tenants.list", Status(503), after=-1), "after"),
        (lambda faults: faults.add("tenants.list", Status(503), after=None), "after"),
        (lambda faults: faults.add("tenants.list", Status(503), every=0), "every"),
        (lambda faults: faults.add("tenants.list", Status(503), probability=0), "probability"),
        (lambda faults: faults.add("tenants.list", Status(503), probability=1.5), "probability"),
        (lambda faults: faults.add("tenants.list", Status(503), probability="1"), "probability"),
        (lambda faults: faults.add("tenants.sync", Status(503), tenant="7"), "tenant"),
        (lambda faults: faults.add("tenants.list", Status(503), tenant=7), "tenant"),
        (lambda faults: faults.outage(-1), "seconds"),
        (lambda faults: faults.outage(fault="503"), "fault"),
        (lambda _: Status(200), "status"),
        (lambda _: Status(600), "status"),
        (lambda _: Status(BAD), "status"),
        (lambda _: Status(503, headers={"a b": "c"}), "headers"),
        (lambda _: Status(503, headers={"a": "b\r\nc: d"}), "headers"),
        (lambda _: Latency(-1), "seconds"),
        (lambda _: Latency(float("inf")), "seconds"),
        (lambda _: RateLimit(BAD), "retry_after"),
        (lambda _: RateLimit(as_date=True), "retry_after"),
    ],
)
def test_a_bad_fault_is_refused_by_name(make: Any, place: str) -> None:
    """The error starts with the invalid argument, and no fault is added."""
    faults = Emulator().faults
    with pytest.raises(ValueError, match=f"^{place}: "):
        make(faults)
    assert not faults


def test_the_error_for_an_unknown_operation_lists_the_known_ones() -> None:
    """The error lists the operations that exist."""
    with pytest.raises(ValueError, match=r"'tenants\.lst'.* tenants\.list, tenants\.create, "):
        Emulator().faults.add("tenants.lst", Reset())


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [Status(503, after_work=True), Reset(after_work=True), Stall()])
async def test_a_sync_whose_answer_is_lost_is_not_sent_again(fault: Any) -> None:
    """The client reports an unknown outcome, and the emulator exactly one trigger."""
    async with Emulator() as api, AsyncPandium("k", base_url=api.url, timeout=0.5) as client:
        tenant = api.add_tenant()
        api.faults.add("tenants.sync", fault)
        with pytest.raises((TransportError, ServerError)) as caught:
            await client.tenants.sync(tenant.id, mode="normal")
        assert caught.value.outcome_unknown
        api.assert_triggered_once(tenant.id)


@pytest.mark.anyio
async def test_a_walk_outlives_passing_faults() -> None:
    """A listing is complete even if a quarter of its requests fail in different ways."""
    async with Emulator() as api, AsyncPandium("k", base_url=api.url) as client:
        ids = [api.add_tenant().id for _ in range(50)]
        faults: list[Any] = [Status(503), Reset(), Truncate(), RateLimit(0)]
        for seed, fault in enumerate(faults):
            api.faults.add("tenants.list", fault, probability=0.06, seed=seed)
        assert [one.id async for one in client.tenants.list(page_size=5)] == ids
        assert any(one.fault for one in api.requests)
