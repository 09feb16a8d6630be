"""Faults and outages over HTTP."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pandium.emulator import Latency, RateLimit, Reset, Status
from support.control import Control, controlled

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED: dict[str, Any] = {"integrations": [{}], "tenants": [{}, {}]}
EVERY_REQUEST = {"operation": None, "tenant": None, "after": 0, "every": 1, "times": None}
AT_RANDOM = {"probability": 1.0, "seed": 0}


@pytest.fixture(scope="module")
def shared() -> Iterator[Control]:
    with controlled(SEED) as running:
        yield running


@pytest.fixture
def control(shared: Control) -> Control:
    shared.emulator.reset()
    return shared


def add(control: Control, fault: dict[str, Any], **selection: Any) -> int:
    rule: dict[str, Any] = control("POST", "/faults", 201, json={"fault": fault, **selection})
    return int(rule["id"])


def statuses(control: Control, count: int, path: str = "/tenants") -> list[int]:
    return [control.api("GET", path).status_code for _ in range(count)]


def test_a_fault_is_added_shown_and_removed(control: Control) -> None:
    """The response has the id, all defaults and the number of hits, also once it is used up."""
    status = {"type": "status", "status": 503}
    shown = control("POST", "/faults", 201, json={"operation": "tenants.list", "fault": status})
    fault = {**status, "after_work": False, "body": None, "headers": {}}
    assert shown == {
        **EVERY_REQUEST,
        **AT_RANDOM,
        "operation": "tenants.list",
        "id": 1,
        "hits": 0,
        "ends_at": None,
        "fault": fault,
    }
    second = add(control, {"type": "rate_limit"}, operation="tenants.list", times=1)
    assert statuses(control, 2) == [503, 503]
    control("DELETE", "/faults/1", 204)
    assert statuses(control, 2) == [429, 200]
    assert control("GET", f"/faults/{second}")["hits"] == 1
    assert [one["id"] for one in control("GET", "/faults")] == [second]
    control("DELETE", "/faults", 204)
    assert control("GET", "/faults") == []
    for method in ("GET", "DELETE"):
        assert control.refused(method, "/faults/1", 404) == ["path"]


def test_requests_are_selected_as_in_python(control: Control) -> None:
    """A rule selects requests by operation or route, by tenant, by number, and at random."""
    status = {"type": "status", "status": 503}
    place = "GET /v2/tenants/{tenant_id}/metadata"
    selection = {"operation": place, "tenant": 2, "after": 1, "every": 2, "times": 2}
    fault = add(control, status, **selection)
    assert statuses(control, 3, "/tenants/1/metadata") == [200, 200, 200]
    expected = [200, 200, 503, 200, 503, 200, 200]
    assert statuses(control, 7, "/tenants/2/metadata") == expected
    shown = control("GET", f"/faults/{fault}")
    assert shown["operation"] == "tenants.metadata"
    assert {**shown, **selection, "operation": shown["operation"]} == shown
    add(control, status, operation="tenants.list", probability=0.5, seed=3)
    over_http = statuses(control, 30)
    control("DELETE", "/faults", 204)
    control.emulator.faults.add("tenants.list", Status(503), probability=0.5, seed=3)
    assert statuses(control, 30) == over_http
    assert {*over_http} == {200, 503}


@pytest.mark.parametrize("after_work", [False, True])
def test_a_lost_response_shows_in_the_effects(control: Control, *, after_work: bool) -> None:
    """A reset occurs before or after the request is executed, and the effects show which."""
    add(control, {"type": "reset", "after_work": after_work}, operation="tenants.sync")
    with pytest.raises(httpx.TransportError):
        control.api("POST", "/tenants/2/sync?mode=normal")
    expected = [{"operation": "tenants.sync", "tenant": 2, "count": 1}] if after_work else []
    assert control("GET", "/effects") == expected
    [shown] = control("GET", "/requests")["requests"]
    assert (shown["operation"], shown["tenant"], shown["status"]) == ("tenants.sync", 2, 0)
    assert shown["has_effect"] is after_work
    assert "Reset(" in shown["fault"]


@pytest.mark.parametrize("kind", ["stall", "truncate"])
def test_a_body_can_break_off(control: Control, kind: str) -> None:
    """Half of the body arrives, and the request is executed."""
    add(control, {"type": kind}, operation="tenants.sync")
    with pytest.raises(httpx.TransportError):
        control.api("POST", "/tenants/1/sync?mode=normal", timeout=0.3)
    assert control("GET", "/effects?operation=tenants.sync")[0]["count"] == 1


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "body"),
    [
        ({"type": "status", "status": 500, "body": "é"}, 500, "application/json", "é".encode()),
        (
            {"type": "status", "status": 500, "body": "", "headers": {"Content-Type": "text/x"}},
            500,
            "text/x",
            b"",
        ),
        ({"type": "garbage", "body_base64": "/wA="}, 200, "application/json", b"\xff\x00"),
        ({"type": "garbage"}, 200, "application/json", b'\x00\x9c{"id": 1, "na'),
        ({"type": "garbage", "after_work": True, "body": "x"}, 200, "application/json", b"x"),
        ({"type": "latency", "seconds": 0}, 200, "application/json", None),
    ],
)
def test_a_response_can_be_replaced(
    control: Control, fault: dict[str, Any], status: int, content_type: str, body: bytes | None
) -> None:
    """Status, headers and body are those of the fault, and the body may be binary."""
    add(control, fault, operation="tenants.list")
    response = control.api("GET", "/tenants")
    assert (response.status_code, response.headers["content-type"]) == (status, content_type)
    assert body in (None, response.content)
    [shown] = control("GET", "/faults")
    assert {**shown["fault"], **fault} == shown["fault"]


def test_a_rate_limit_and_a_proxy_have_their_own_responses(control: Control) -> None:
    """`Retry-After` is in seconds or a date, and a proxy's login page is HTML."""
    add(control, {"type": "rate_limit", "retry_after": 7}, operation="tenants.list", times=1)
    date = {"type": "rate_limit", "retry_after": 7, "as_date": True}
    add(control, date, operation="tenants.list", times=1)
    add(control, {"type": "proxy_page"}, operation="tenants.list", times=1)
    seconds, dated, page = (control.api("GET", "/tenants") for _ in range(3))
    assert (seconds.status_code, seconds.headers["retry-after"]) == (429, "7")
    assert dated.headers["retry-after"].endswith(" GMT")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html")


def test_an_outage_ends_by_the_clock_or_on_request(control: Control) -> None:
    """An outage precedes all faults, resets connections by default, and is removed like a fault."""
    add(control, {"type": "status", "status": 500})
    outage = control("POST", "/outages", 201, json={"seconds": 60})
    assert outage["fault"] == {"type": "reset", "after_work": False}
    assert datetime.fromisoformat(outage["ends_at"]) == control.emulator.clock.at(60)
    with pytest.raises(httpx.TransportError):
        control.api("GET", "/tenants")
    control.emulator.clock.advance(60)  # type: ignore[unused-coroutine]  # the tests' own clock
    assert statuses(control, 1) == [500]
    status = {"type": "status", "status": 503}
    outage = control("POST", "/outages", 201, json={"fault": status})
    assert outage["ends_at"] is None
    assert statuses(control, 2) == [503, 503]
    control("DELETE", f"/faults/{outage['id']}", 204)
    assert statuses(control, 1) == [500]


def test_faults_of_a_test_in_python_are_shown_too(control: Control) -> None:
    """Faults added in Python or over HTTP can be listed and removed. A reset removes all."""
    faults = control.emulator.faults
    added = [faults.add("tenants.list", fault) for fault in (Latency(0.0), RateLimit(3), Reset())]
    faults.add(None, Status(503, body=b"\xff")).remove()
    shown = [one["fault"] for one in control("GET", "/faults")]
    assert [one["type"] for one in shown] == ["latency", "rate_limit", "reset"]
    control("DELETE", f"/faults/{added[2].id}", 204)
    control("DELETE", f"/faults/{added[1].id}", 204)
    assert statuses(control, 1) == [200]
    assert added[0].hits == 1
    control("POST", "/reset")
    assert control("GET", "/faults") == []


def test_an_outage_that_ends_after_the_last_date_is_shown_without_an_end(control: Control) -> None:
    """A test in Python may use any number of seconds, but dates end with the year 9999."""
    for seconds in (1e12, 1e14, 1e300):
        control.emulator.faults.outage(seconds)
    assert [one["ends_at"] for one in control("GET", "/faults")] == [None, None, None]


def test_bytes_that_are_not_text_are_shown_in_base_64(control: Control) -> None:
    """A body that is set in Python may consist of any bytes."""
    control.emulator.faults.add(None, Status(503, body=b"\xff"))
    [shown] = control("GET", "/faults")
    assert base64.b64decode(shown["fault"]["body_base64"]) == b"\xff"


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("/faults", {}, {"fault": "is missing"}),
        ("/faults", {"fault": {"type": "stats"}}, {"fault.type": "must be one of 'latency', "}),
        ("/faults", {"fault": {}}, {"fault.type": "is missing"}),
        ("/faults", {"fault": "reset"}, {"fault": "Input should be a valid dictionary"}),
        (
            "/faults",
            {"fault": {"type": "status", "status": 302, "stats": 1}},
            {"fault.status": "greater than or equal to 400", "fault.stats": "no field 'stats'"},
        ),
        ("/faults", {"fault": {"type": "latency", "seconds": -1}}, {"fault.seconds": "greater"}),
        ("/faults", {"fault": {"type": "latency", "seconds": 1e999}}, {"fault.seconds": "finite"}),
        (
            "/faults",
            {"fault": {"type": "rate_limit", "as_date": True}},
            {"fault.retry_after": "must be specified"},
        ),
        (
            "/faults",
            {"fault": {"type": "status", "status": 503, "headers": {"a b": "c"}}},
            {"fault.headers": "cannot be sent"},
        ),
        (
            "/faults",
            {"fault": {"type": "garbage", "body_base64": "%"}},
            {"fault.body_base64": "must be base 64"},
        ),
        (
            "/faults",
            {"fault": {"type": "garbage", "body": "a", "body_base64": "YQ=="}},
            {"fault.body_base64": "specify body or body_base64, not both"},
        ),
        (
            "/faults",
            {"fault": {"type": "reset"}, "operation": "tenants.lst"},
            {"operation": "there is no 'tenants.lst'; use one of builds.create, "},
        ),
        (
            "/faults",
            {"fault": {"type": "reset"}, "tenant": 99},
            {"tenant": "there is no tenant 99"},
        ),
        (
            "/faults",
            {"fault": {"type": "reset"}, "tenant": 1, "operation": "tenants.list"},
            {"tenant": "requests of tenants.list are not for a single tenant"},
        ),
        (
            "/faults",
            {"fault": {"type": "reset"}, "times": 0, "every": 0, "after": -1, "probability": 0},
            {"times": "", "every": "", "after": "", "probability": ""},
        ),
        ("/outages", {"seconds": -1}, {"seconds": ""}),
        ("/outages", {"second": 1}, {"second": "there is no field 'second'"}),
        ("/outages", {"fault": {"type": "x"}}, {"fault.type": "must be one of"}),
        (
            "/outages",
            {"fault": {"type": "status", "status": 1}},
            {"fault.status": "greater than or equal to 400"},
        ),
    ],
)
def test_a_bad_fault_is_refused_and_changes_nothing(
    control: Control, path: str, body: dict[str, Any], errors: dict[str, str]
) -> None:
    """Each error states the location and the problem, and requests are not affected."""
    content = str(body).replace("'", '"').replace("True", "true").replace("inf", "1e999")
    headers = {"content-type": "application/json"}
    response = control.http.post(f"/_emulator{path}", content=content, headers=headers)
    assert response.status_code == 422, response.text
    found = {one["place"]: one["message"] for one in response.json()["errors"]}
    assert sorted(found) == sorted(errors)
    assert all(message in found[place] for place, message in errors.items())
    assert control("GET", "/faults") == []
    assert statuses(control, 1) == [200]


def test_effects_are_filtered_and_cleared(control: Control) -> None:
    """Effects are counted by operation and tenant, and cleared with the requests."""
    for tenant in (1, 2, 2):
        control.api("POST", f"/tenants/{tenant}/sync?mode=normal")
    control.api("PATCH", "/tenants/2/metadata", json={"a": 1})
    control.api("POST", "/tenants/9/sync?mode=normal")
    assert len(control("GET", "/effects")) == 3
    [only] = control("GET", "/effects", params={"operation": "tenants.sync", "tenant": 2})
    assert only == {"operation": "tenants.sync", "tenant": 2, "count": 2}
    place = "PATCH /v2/tenants/{tenant_id}/metadata"
    [only] = control("GET", "/effects", params={"operation": place})
    assert only["operation"] == "tenants.update_metadata"
    found = control("GET", "/requests", params={"has_effect": True, "tenant": 2, "limit": 1})
    assert (found["matching"], found["requests"][0]["operation"]) == (3, "tenants.update_metadata")
    assert control("GET", "/requests", params={"operation": "tenants.sync"})["matching"] == 4
    control("DELETE", "/requests", 204)
    assert control("GET", "/effects") == []


@pytest.mark.parametrize(
    ("query", "place"),
    [("tenant=99", "query.tenant"), ("operation=sync", "query.operation"), ("x=1", "query.x")],
)
def test_effects_of_what_does_not_exist_are_an_error(
    control: Control, query: str, place: str
) -> None:
    """A mistyped tenant or operation is not mistaken for one without effects."""
    assert control.refused("GET", f"/effects?{query}") == [place]
