"""Assertions about the requests that an emulator received."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import pandium.emulator
from pandium.emulator import Emulator, Reset, Status
from pandium.emulator.network.operations import OPERATIONS
from pandium.emulator.network.request_log import Request, RequestLog
from support.emulating import Api, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(pandium.emulator.__file__).parent
KEY = "a-key-nobody-may-see"


@pytest.fixture
def api() -> Iterator[Api]:
    with served(api_key=KEY) as running:
        running.http.headers["x-api-key"] = KEY
        for number in (1, 2):
            running.emulator.add_tenant(user_name=f"user{number}")
        yield running


def failure(call: Callable[[], None]) -> str:
    """Return the message of a failed assertion. pytest shows none of the emulator's frames."""
    with pytest.raises(AssertionError) as caught:
        call()
    frames = [frame for frame, _ in traceback.walk_tb(caught.tb)]
    own = [one for one in frames if PACKAGE in Path(one.f_code.co_filename).parents]
    assert own
    assert all(one.f_locals.get("__tracebackhide__") for one in own)
    return str(caught.value)


def test_triggers_are_counted_for_each_tenant(api: Api) -> None:
    """Syncs by tenant and by integration both count. Rejected requests do not."""
    emulator = api.emulator
    emulator.assert_not_triggered()
    api.sync(1)
    emulator.assert_triggered(1)
    emulator.assert_triggered_once(1)
    emulator.assert_not_triggered(2)
    api.http.post("/v2/integrations/1/sync?mode=normal&user_name=user1")
    api.http.post("/v2/integrations/1/sync?mode=normal&user_name=nobody")
    api.http.post("/v2/tenants/1/sync?mode=wrong")
    emulator.assert_triggered(1, times=2)
    emulator.assert_not_triggered(2)
    assert emulator.effects == {("tenants.sync", 1): 1, ("integrations.sync", 1): 1}
    emulator.requests.clear()
    emulator.assert_not_triggered()


def test_a_trigger_counts_regardless_of_the_response(api: Api) -> None:
    """A sync that was executed counts, even if its response was lost. Others do not count."""
    for fault in (Status(503, after_work=True), Reset(after_work=True), Status(503), Reset()):
        api.emulator.faults.add("tenants.sync", fault, times=1)
        try:
            api.http.post("/v2/tenants/1/sync?mode=normal")
        except httpx.TransportError:
            assert isinstance(fault, Reset)
    api.emulator.assert_triggered(1, times=2)


def test_a_failure_shows_the_requests_that_it_is_about(api: Api) -> None:
    """The tenant's requests are shown in order with their responses and faults, without the key."""
    api.emulator.faults.add("tenants.sync", Status(503, after_work=True), times=1)
    api.http.post("/v2/tenants/1/sync?mode=normal", json={"secret": "payload"})
    api.sync(1)
    api.sync(2)
    text = failure(lambda: api.emulator.assert_triggered_once(1))
    first, *lines = text.splitlines()
    assert first == "triggers of tenant 1: 2, not 1"
    assert [line.partition(" by ")[0] for line in lines] == [
        "  POST /v2/tenants/1/sync?mode=normal -> 503",
        "  POST /v2/tenants/1/sync?mode=normal -> 202 (executed)",
    ]
    assert "by Status(status=503, after_work=True" in lines[0]
    assert KEY not in text
    assert "payload" not in text
    assert failure(api.emulator.assert_not_triggered).startswith("triggers of any tenant: 3, not 0")


def test_a_failure_without_requests_shows_the_last_ones(api: Api) -> None:
    """If the expected request is missing, the last requests are shown instead."""
    text = failure(lambda: api.emulator.assert_triggered(1))
    assert text == "triggers of tenant 1: 0, not 1 or more\nno request"
    for number in range(1, 9):
        api.http.get(f"/v2/integrations/{number}")
    lines = failure(lambda: api.emulator.assert_triggered(1)).splitlines()
    assert lines[1] == "no such request; the last requests:"
    assert [line[:27] for line in lines[2:]] == [
        f"  GET /v2/integrations/{number} ->" for number in range(4, 9)
    ]


def test_a_failure_is_short(api: Api) -> None:
    """Only the last of many requests are shown, and only the beginning of a long one."""
    for number in range(30):
        api.http.get(f"/v2/tenants?user_name={number}{'x' * 500}")
    lines = failure(lambda: api.emulator.assert_requested("tenants.list", times=1)).splitlines()
    assert lines[0] == "requests of tenants.list: 30, not 1"
    assert lines[1] == "  … and 10 earlier"
    assert len(lines) == 22
    assert all(len(line) < 140 for line in lines)
    assert lines[-1].endswith("x… -> 200")


def test_requests_are_counted_by_operation_tenant_and_status(api: Api) -> None:
    """Each of the three restricts the count. Without `times`, one request is enough."""
    emulator = api.emulator
    emulator.assert_requested("tenants.metadata", times=0)
    for tenant in (1, 1, 2, 9):
        api.http.get(f"/v2/tenants/{tenant}/metadata")
    emulator.assert_requested("tenants.metadata")
    emulator.assert_requested("GET /v2/tenants/{tenant_id}/metadata", times=4)
    emulator.assert_requested("tenants.metadata", times=2, tenant=1)
    emulator.assert_requested("tenants.metadata", times=3, status=200)
    emulator.assert_requested("tenants.metadata", times=1, tenant=9, status=404)
    text = failure(
        lambda: emulator.assert_requested("tenants.metadata", tenant=2, status=404, times=1)
    )
    assert text.splitlines() == [
        "requests of tenants.metadata for tenant 2 with status 404: 0, not 1",
        "  GET /v2/tenants/2/metadata -> 200",
    ]


def test_errors_are_distinguished_from_runs_that_have_not_started(api: Api) -> None:
    """A 404 for a trigger's status is not an error. Other failures and missing responses are."""
    api.status(api.sync(1))
    api.json("/tenants")
    api.emulator.assert_no_errors()
    api.http.get("/v2/tenants/9/metadata")
    api.emulator.faults.add("tenants.list", Reset())
    with pytest.raises(httpx.TransportError):
        api.http.get("/v2/tenants")
    assert failure(api.emulator.assert_no_errors).splitlines() == [
        "requests that failed: 2, not 0",
        "  GET /v2/tenants/9/metadata -> 404",
        "  GET /v2/tenants -> no response by Reset(after_work=False)",
    ]


def test_nothing_that_was_counted_is_forgotten() -> None:
    """The counts include requests that are no longer kept."""
    emulator = Emulator()
    for _ in range(10_050):
        request = Request("GET", "/v2/tenants", "", {}, 500, b"", "*", "tenants.list")
        emulator.requests.add(request)
    assert len(emulator.requests) == 10_000
    emulator.assert_requested("tenants.list", times=10_050)
    assert failure(emulator.assert_no_errors).startswith("requests that failed: 10050, not 0\n")


def test_what_was_done_to_a_tenant_is_counted(api: Api) -> None:
    """Each operation that changes something counts once for its tenant. Reads never count."""
    api.emulator.connectors.register("shop", lambda _: None)
    call = {"method": "GET", "target_url": "/"}
    for method, path, body in (
        ("POST", "/tenants", {"name": "n", "integration_id": 1}),
        ("PATCH", "/tenants/3", {"name": "m"}),
        ("PATCH", "/tenants/3/metadata", {"a": 1}),
        ("POST", "/tenants/1/connectors/shop/call", call),
        ("POST", "/tenants/1/connectors/shop/soap", call),
        ("POST", "/tenants/1/connectors/shop/xml", call),
        ("PATCH", "/tenants/1/connectors/shop/disconnect", None),
        ("POST", "/tenants/1/connectors/shop/call", call),
        ("DELETE", "/tenants/3", None),
        ("POST", "/tenants/3/sync?mode=normal", None),
        ("GET", "/tenants/3/metadata", None),
    ):
        api.http.request(method, f"/v2{path}", json=body)
    assert api.emulator.effects == {
        ("tenants.create", 3): 1,
        ("tenants.update", 3): 1,
        ("tenants.update_metadata", 3): 1,
        ("connectors.call", 1): 1,
        ("connectors.soap", 1): 1,
        ("connectors.xml", 1): 1,
        ("connectors.disconnect", 1): 1,
        ("tenants.archive", 3): 1,
    }


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (lambda api: api.assert_requested("tenants.lst"), "operation"),
        (lambda api: api.assert_requested("tenants.list", times=-1), "times"),
        (lambda api: api.assert_triggered_once("7"), "tenant"),
        (lambda api: api.assert_triggered(7, times="1"), "times"),
    ],
)
def test_a_bad_assertion_is_refused_by_name(call: Any, place: str) -> None:
    """A mistyped expectation is an error, not a failed assertion."""
    with pytest.raises(ValueError, match=f"^{place}: "):
        call(Emulator())


def test_the_operations_are_those_of_the_api() -> None:
    """Every operation has a name, and every name belongs to an operation."""
    with served() as api:
        paths = api.http.get("/v2/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert found == set(OPERATIONS.values())


def test_a_recorded_request_has_its_operation(api: Api) -> None:
    """Paths with a common prefix are distinguished, and other paths have no operation."""
    for path in ("latest", "default", "1"):
        api.http.get(f"/v2/integrations/1/releases/{path}")
    api.http.get("/v2/nothing")
    api.http.put("/v2/tenants")
    assert [one.operation for one in api.emulator.requests] == [
        "releases.latest",
        "releases.default",
        "releases.get",
        None,
        None,
    ]
    request_log = RequestLog()
    assert not request_log.effects
