"""The control API: its operations, its errors, and its protection against other websites."""

import base64
import http.client
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from pandium.emulator import Emulator, ManualClock
from support.control import OWN, Control, controlled


@pytest.fixture(scope="module")
def shared() -> Iterator[Control]:
    with controlled("demo") as control:
        yield control


@pytest.fixture
def control(shared: Control) -> Control:
    shared.emulator.reset()
    return shared


def test_the_document_has_every_operation_and_none_of_the_vendor_s(control: Control) -> None:
    """Each has a unique name and a description, and the vendor's document has none of them."""
    document = control.http.get(f"{OWN}/openapi.json").json()
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    assert all(one["description"] for one in operations)
    assert all(path.startswith(f"{OWN}/") for path in document["paths"])
    theirs = control.http.get("/v2/openapi.json").json()
    assert not [path for path in theirs["paths"] if "_emulator" in path]


def test_it_needs_no_key_and_is_in_no_record(control: Control) -> None:
    """The requests of a test to the control API do not count as requests of the tested program."""
    assert control("GET", "/health")["status"] == "ok"
    assert control.http.get("/").status_code == 200
    assert len(control.emulator.requests) == 0
    assert control.http.get("/v2/tenants").status_code == 403
    assert control("GET", "/requests")["matching"] == 1


def test_the_state_can_be_read_and_replaced(control: Control) -> None:
    """A state can be moved to another emulator, and a reset restores the initial state."""
    control("POST", "/tenants", 201, json={"name": "more"})
    state = control("GET", "/state")
    assert state["pandium_emulator_state"] == 2
    with controlled() as other:
        again = other("PUT", "/state", json=state)
        assert again["tenants"] == state["tenants"]
        assert [one.name for one in other.emulator.tenants][-1] == "more"
        assert len(other("POST", "/reset")["tenants"]) == 0
        assert len(other.emulator.integrations) == 1
    assert len(control("POST", "/reset")["tenants"]) == len(state["tenants"]) - 1
    assert control("PUT", "/state", json={"tenants": []})["integrations"] == []


def test_a_bad_state_is_refused_at_its_place_and_changes_nothing(control: Control) -> None:
    """This applies to seeds and saved states. The previous state remains."""
    state = control("GET", "/state")
    bad = {**state, "tenants": [*state["tenants"][:3], {**state["tenants"][3], "name": "No"}]}
    assert control.refused("PUT", "/state", json=bad) == ["tenants[3].name"]
    seed = {"integrations": [{}], "tenants": [{}, {"name": "No"}, {}]}
    assert control.refused("PUT", "/state", json=seed) == ["tenants[1].name"]
    assert control.refused("PUT", "/state", json={"tenant": []}) == ["tenant"]
    assert control("GET", "/state") == {**state, "saved_at": control("GET", "/state")["saved_at"]}


def test_records_are_added_and_archived(control: Control) -> None:
    """The response contains the new id, and the API lists the record."""
    integration = control("POST", "/integrations", 201, json={"name": "new", "connectors": ["x"]})
    key = integration["id"]
    assert integration["connectors"] == [{"name": "x", "is_global": False}]
    release = control("POST", "/releases", 201, json={"integration_id": key, "tag": "t"})
    assert release["integration_id"] == key
    given = {"name": "made", "integration_id": key, "metadata": {"a": "é"}, "connected": False}
    tenant = control("POST", "/tenants", 201, json=given)
    assert tenant["metadata"] == {"a": "é"}
    headers = {"x-api-key": "secret"}
    query = {"integration_id": key}
    [shown] = control.http.get("/v2/tenants", params=query, headers=headers).json()
    assert shown["name"] == "made"
    assert control("DELETE", f"/tenants/{tenant['id']}")["archived"] is True
    assert control("DELETE", f"/tenants/{tenant['id']}")["archived"] is True
    assert control.http.get("/v2/tenants", params=query, headers=headers).json() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "places"),
    [
        ("POST", "/tenants", {"name": "No"}, ["name"]),
        ("POST", "/tenants", {"nam": "x"}, ["nam"]),
        ("POST", "/tenants", None, ["body"]),
        ("POST", "/tenants", {"integration_release_id": 99}, ["integration_release_id"]),
        ("POST", "/tenants", {"id": 1}, ["id"]),
        ("POST", "/tenants", {"integration_id": 99}, ["integration_id"]),
        ("POST", "/tenants", {"connected": ["crm", "x"]}, ["connected"]),
        ("POST", "/tenants", [], ["body"]),
        ("POST", "/releases", {"integration_id": 99}, ["integration_id"]),
        ("POST", "/integrations", {"config_schema": {"type": 1}}, ["config_schema.type"]),
        ("POST", "/integrations", {"schedule": "daily"}, ["schedule"]),
        ("POST", "/integrations", {"connectors": [""]}, ["connectors[0].name"]),
        ("PUT", "/scripts", {"phases": [["a", -1], [1, 0]]}, ["phases[0][1]", "phases[1][0]"]),
        ("PUT", "/scripts", {"tenant": 1, "integration": 1}, ["integration"]),
        ("PUT", "/upstreams", {"connector": "", "status": 600}, ["connector", "status"]),
        ("PUT", "/state", [], ["body"]),
    ],
)
def test_what_cannot_be_used_is_refused_at_its_place(
    control: Control, method: str, path: str, body: Any, places: list[str]
) -> None:
    """The response is a 422 with one place for each error."""
    assert control.refused(method, path, json=body) == places


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"name": ', "is not valid JSON: Expecting value at position 9"),
        (b"\xff", "is not valid JSON, or is nested too deeply"),
        (b"[" * 100_000, "is not valid JSON, or is nested too deeply"),
    ],
)
def test_a_body_that_is_no_json_is_refused(control: Control, content: bytes, message: str) -> None:
    """The error contains the position in the body."""
    headers = {"content-type": "application/json"}
    answer = control.http.post(f"{OWN}/tenants", content=content, headers=headers)
    assert answer.status_code == 422
    assert answer.json() == {"errors": [{"place": "body", "message": message}]}


def test_paths_and_methods_that_there_are_not(control: Control) -> None:
    """A 404 and a 405 have the format of all errors."""
    for path in (OWN, f"{OWN}/", f"{OWN}/nothing"):
        answer = control.http.get(path)
        assert (answer.status_code, answer.json()["errors"][0]["place"]) == (404, "path")
    answer = control.http.put(f"{OWN}/tenants")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert control.refused("DELETE", "/tenants/999", 404) == ["path"]
    assert control.refused("DELETE", "/tenants/x") == ["path.tenant_id"]


def test_runs_follow_the_scripts_that_are_put(control: Control) -> None:
    """Scripts apply to all runs, an integration or a tenant, by time or by polls."""
    [usual] = control("GET", "/scripts")
    assert usual["phases"] == [["Running", 0.3], ["Succeeded", 0]]
    script = {"appears_after": {"polls": 1}, "phases": [["Queued", None]], "killed_after": None}
    [_, shown] = control("PUT", "/scripts", json={"tenant": 1, **script})
    assert shown == {"tenant": 1, "integration": None, **script}
    control("PUT", "/scripts", json={"tenant": 1, "appears_after": 5})
    assert len(control("PUT", "/scripts", json={"integration": 2, "appears_after": 5})) == 3
    control("PUT", "/scripts", json={"tenant": 1, **script})
    headers = {"x-api-key": "secret"}
    answer = control.http.post("/v2/tenants/1/sync?mode=init", headers=headers)
    path = f"/v2/runs/triggers/{answer.json()['trigger_id']}/status"
    assert control.http.get(path, headers=headers).status_code == 404
    assert control.http.get(path, headers=headers).json() == {"status": "Queued"}


def test_scripts_are_removed(control: Control) -> None:
    """A tenant's, an integration's, or all of them, including the default script."""
    usual = control("GET", "/scripts")
    subjects: list[dict[str, int]] = [{}, {"tenant": 1}, {"integration": 2}, {"tenant": 2}]
    for given in subjects:
        control("PUT", "/scripts", json={**given, "appears_after": 5})
    control("DELETE", "/scripts?tenant=1", 204)
    control("DELETE", "/scripts?integration=2", 204)
    left = [(one["tenant"], one["integration"]) for one in control("GET", "/scripts")]
    assert left == [(None, None), (2, None)]
    for subject in ("tenant=1", "integration=2", "tenant=99"):
        assert control.refused("DELETE", f"/scripts?{subject}", 404) == ["path"]
    assert control.refused("DELETE", "/scripts?tenants=1") == ["query.tenants"]
    control.refused("DELETE", "/scripts?tenant=2&integration=2")
    assert len(control("GET", "/scripts")) == 2
    control("DELETE", "/scripts", 204)
    assert control("GET", "/scripts") == usual


@pytest.mark.parametrize("subject", ["tenant", "integration"])
def test_a_script_for_what_does_not_exist_is_refused(control: Control, subject: str) -> None:
    """The error names the tenant or integration, and no script is added."""
    usual = control("GET", "/scripts")
    [error] = control("PUT", "/scripts", 422, json={subject: 99})["errors"]
    assert error == {"place": subject, "message": f"there is no {subject} 99"}
    assert control("GET", "/scripts") == usual


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "and is missing"),
        ({"content-type": "text/plain;charset=UTF-8"}, "not 'text/plain;charset=utf-8'"),
        (
            {"content-type": "application/x-www-form-urlencoded"},
            "not 'application/x-www-form-urlencoded'",
        ),
    ],
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_not_declared_as_json_is_refused(
    control: Control, headers: dict[str, str], said: str, *, is_chunked: bool
) -> None:
    """The error names the content type, because curl and fetch do not declare JSON by default."""
    content: Any = iter([b'{"name": "x"}']) if is_chunked else b'{"name": "x"}'
    before = len(control.emulator.tenants)
    answer = control.http.post(f"{OWN}/tenants", content=content, headers=headers)
    assert answer.status_code == 415
    [error] = answer.json()["errors"]
    assert error["place"] == "header.content-type"
    assert error["message"] == f"must be application/json, {said}"
    assert len(control.emulator.tenants) == before


@pytest.mark.parametrize("value", ["application/json; charset=utf-8", "Application/JSON"])
def test_a_body_may_be_declared_as_json_in_any_spelling(control: Control, value: str) -> None:
    """Parameters and uppercase are accepted, and a request without a body needs no type."""
    headers = {"content-type": value}
    control("POST", "/tenants", 201, content=b"{}", headers=headers)
    control("POST", "/reset")


def test_the_clock_can_be_advanced() -> None:
    """The clock jumps and changes its speed, and everything that was due has happened."""
    with Emulator() as emulator, httpx.Client(base_url=emulator.url, timeout=60) as http:
        control = Control(emulator, http)
        emulator.add_tenant()  # one without a schedule, whose runs would go first
        control("PUT", "/scripts", json={"appears_after": 400, "phases": [["Done", 400]]})
        answer = http.post("/v2/tenants/1/sync?mode=init", headers={"x-api-key": "k"})
        assert answer.status_code == 202
        before = datetime.fromisoformat(control("GET", "/clock")["time"])
        after = control("POST", "/clock/forward", json={"seconds": 500})
        passed = datetime.fromisoformat(after["time"]) - before
        assert timedelta(seconds=500) <= passed < timedelta(seconds=600)
        assert control("GET", "/overview")["runs"][-1]["state"] == "going"
        assert control("PUT", "/clock", json={"speed": 60})["speed"] == 60
        assert emulator.clock.speed == 60
        places = {"/clock": "speed", "/clock/forward": "seconds"}
        for path, place in places.items():
            method = "PUT" if path == "/clock" else "POST"
            assert control.refused(method, path, json={place: -1}) == [place]


def test_a_clock_that_a_test_drives_is_left_to_it() -> None:
    """Only the test can wake the tasks that sleep by its clock."""
    with (
        Emulator(clock=ManualClock()) as emulator,
        httpx.Client(base_url=emulator.url, timeout=60) as http,
    ):
        control = Control(emulator, http)
        assert control.refused("POST", "/clock/forward", 409, json={"seconds": 1}) == ["path"]


def test_upstream_systems_answer_as_was_said(control: Control) -> None:
    """Responses are set by connector and host. Handlers in Python remain and are not shown."""
    control.emulator.connectors.register("shop", lambda _: "code")
    said = {"connector": "crm", "host": None, "status": 200, "data": {"n": [1]}}
    broken = {"connector": "crm", "host": "broken.example", "status": 503, "data": "off"}
    assert control("PUT", "/upstreams", json=said) == [said]
    assert control("PUT", "/upstreams", json=broken) == [said, broken]
    assert control("GET", "/upstreams") == [said, broken]
    assert call(control, "crm", "https://any.example") == (200, {"data": {"n": [1]}})
    assert call(control, "crm", "https://broken.example") == (503, {"detail": "{'data': 'off'}"})
    assert call(control, "shop", "https://any.example") == (200, {"data": "code"})


def call(control: Control, connector: str, url: str) -> tuple[int, Any]:
    path = f"/v2/tenants/1/connectors/{connector}/call"
    body = {"method": "GET", "target_url": url}
    answer = control.http.post(path, json=body, headers={"x-api-key": "secret"})
    return answer.status_code, answer.json()


def test_requests_are_shown_by_what_they_are(control: Control) -> None:
    """Requests can be filtered, are listed oldest first, and do not contain the key."""
    headers = {"x-api-key": "secret"}
    for key in (1, 2, 3):
        control.http.post(f"/v2/tenants/{key}/sync?mode=init", headers=headers, json={"a": key})
    answer = control.http.post("/v2/tenants", headers=headers, content=b"\xff\x00")
    assert answer.status_code == 422
    shown = control("GET", "/requests")
    assert (shown["matching"], shown["total"], len(shown["requests"])) == (4, 4, 4)
    assert "secret" not in json.dumps(shown)
    assert shown["requests"][0]["body"] == '{"a":1}'
    assert base64.b64decode(shown["requests"][3]["body_base64"]) == b"\xff\x00"
    assert found(control, path="/v2/tenants/2/sync") == ["/v2/tenants/2/sync"]
    route = "/v2/tenants/{tenant_id}/sync"
    assert found(control, route=route, limit=2) == ["/v2/tenants/2/sync", "/v2/tenants/3/sync"]
    assert found(control, status=422) == ["/v2/tenants"]
    assert found(control, method="GET") == []
    assert found(control, limit=0) == []
    counts = control("GET", "/counts")
    assert {"method": "POST", "route": route, "status": 202, "count": 3} in counts
    control("DELETE", "/requests", 204)
    assert control("GET", "/counts") == control("GET", "/requests")["requests"] == []


def found(control: Control, **query: Any) -> list[str]:
    return [one["path"] for one in control("GET", "/requests", params=query)["requests"]]


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "methd=GET"])
def test_a_filter_that_there_is_not_is_refused(control: Control, query: str) -> None:
    """A mistyped filter does not return all requests."""
    assert control.refused("GET", f"/requests?{query}") == [f"query.{query.partition('=')[0]}"]


def test_the_state_is_saved_on_request(tmp_path: Path) -> None:
    """The state is written to the file of `--state`. Without it, the response is a 409."""
    path = tmp_path / "state.json"
    with controlled("demo", state_file=path) as control:
        assert control("POST", "/save") == {"path": str(path)}
        assert len(Emulator(path).tenants) == len(control.emulator.tenants)
        path.unlink()
        path.mkdir()
        assert control.refused("POST", "/save", 500) == ["path"]
    with controlled() as control:
        assert control.refused("POST", "/save", 409) == ["path"]


def test_an_overview_is_bounded_and_counts_all() -> None:
    """It contains the first matching tenants, the last runs and requests, and total counts."""
    seed = {"integrations": [{"schedule": None}], "tenants": [{"paused": True}] * 10_000}
    with controlled(seed) as control:
        headers = {"x-api-key": "secret"}
        control("PUT", "/scripts", json={"tenant": 2, "phases": [["Running", 60], ["Failed", 0]]})
        control("PUT", "/scripts", json={"tenant": 3, "appears_after": 60})
        for key in (1, 2, 3, 1):
            control.http.post(f"/v2/tenants/{key}/sync?mode=init", headers=headers)
        assert {one["state"] for one in control("GET", "/overview")["runs"]} == {"waiting"}
        control.emulator.clock.advance(2)  # type: ignore[unused-coroutine]  # the tests' own clock
        shown = control("GET", "/overview", params={"requests": 2})
        assert [one["id"] for one in shown["tenants"]] == list(range(1, 101))
        assert [(one["id"], one["tenant"], one["state"]) for one in shown["runs"]] == [
            (3, "tenant-3", "waiting"),
            (2, "tenant-2", "going"),
            (1, "tenant-1", "succeeded"),
        ]
        assert [one["number"] for one in shown["requests"]] == [4, 3]
        assert shown["numbers"]["tenants"] == shown["numbers"]["matching"] == 10_000
        assert shown["numbers"]["archived"] == 0
        assert [shown["numbers"][one] for one in ("runs", "going", "waiting")] == [3, 1, 1]
        assert shown["tenants"][0]["run"]["triggers"] == 2
        assert shown["tenants"][2]["run"] is None
        control.emulator.clock.advance(60)  # type: ignore[unused-coroutine]
        shown = control("GET", "/overview", params={"name": "tenant-777", "tenants": 5})
        assert [one["id"] for one in shown["tenants"]] == [777, 7770, 7771, 7772, 7773]
        assert shown["numbers"]["matching"] == 11
        control("DELETE", "/tenants/777")
        assert control("GET", "/overview")["numbers"]["archived"] == 1
        assert {one["state"] for one in shown["runs"]} == {"succeeded", "failed"}
        [only] = control("GET", "/overview", params={"name": "9999"})["tenants"]
        assert only["id"] == 9999
        assert control.refused("GET", "/overview?tenants=501") == ["query.tenants"]


@pytest.mark.parametrize("path", [f"{OWN}/state", f"{OWN}/openapi.json", "/"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.", "", "[::2]"],
)
def test_a_foreign_name_is_refused(control: Control, path: str, host: str) -> None:
    """DNS rebinding reaches neither the page nor the control API."""
    headers = {"host": host.format(port=control.emulator.port)}
    answer = control.http.get(path, headers=headers)
    assert answer.status_code == 403
    assert [one["place"] for one in answer.json()["errors"]] == ["header.host"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "[::1]:8080", "127.0.0.1"])
def test_this_machine_s_own_names_are_accepted(control: Control, host: str) -> None:
    """Any port is accepted, in case the port is forwarded."""
    assert control.http.get(f"{OWN}/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", "https://evil.example"),
        ("origin", "http://127.0.0.1:1"),
        ("origin", "https://127.0.0.1:{port}"),
        ("origin", "http://localhost:{port}"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ],
)
def test_another_site_is_refused(control: Control, name: str, value: str) -> None:
    """The request is not executed, and no response can be read by another site."""
    headers = {name: value.format(port=control.emulator.port)}
    before = len(control.emulator.tenants)
    for method, path in (("POST", "/tenants"), ("POST", "/reset"), ("GET", "/state")):
        assert control.refused(method, path, 403, headers=headers) == [f"header.{name}"]
    assert len(control.emulator.tenants) == before
    answer = control.http.options(f"{OWN}/tenants", headers=headers)
    assert answer.status_code == 403
    assert not [one for one in answer.headers if one.startswith("access-control")]
    assert control.http.get("/", headers=headers).status_code == 200


def test_the_page_s_own_requests_are_accepted(control: Control) -> None:
    """The page's own origin and URLs that the user opened are accepted."""
    own = {"origin": control.emulator.url, "sec-fetch-site": "same-origin"}
    for headers in (own, {"sec-fetch-site": "none"}):
        answer = control.http.get(f"{OWN}/health", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_second_host_is_refused(control: Control) -> None:
    """All `Host` headers are checked, whichever the framework would use."""
    connection = http.client.HTTPConnection("127.0.0.1", control.emulator.port, timeout=60)
    connection.putrequest("GET", f"{OWN}/state")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status in (400, 403)
    connection.close()


def test_bodies_are_bounded(control: Control) -> None:
    """Declared and actual sizes are limited, and a state may be larger than other bodies."""
    length = {"content-length": str(64 * 1024 * 1024 + 1)}
    connection = http.client.HTTPConnection("127.0.0.1", control.emulator.port, timeout=60)
    connection.request("PUT", f"{OWN}/state", headers=length)
    assert connection.getresponse().status == 413
    connection.close()
    chunks = [b'{"name": "', *[b"x" * 65_536] * 17, b'"}']
    headers = {"content-type": "application/json"}
    for path, expected in (("/tenants", 413), ("/state", 422)):
        method = "PUT" if path == "/state" else "POST"
        answer = control.http.request(method, f"{OWN}{path}", content=iter(chunks), headers=headers)
        assert answer.status_code == expected
    assert control.refused("POST", "/tenants", 413, content=b"x" * 1_048_577) == ["body"]


def test_only_loopback_is_listened_on(control: Control) -> None:
    """The emulator cannot be reached through any other address of this machine."""
    assert control.emulator.url.startswith("http://127.0.0.1:")
    url = f"http://127.0.0.2:{control.emulator.port}{OWN}/health"
    with pytest.raises(httpx.ConnectError):
        control.http.get(url)


def test_what_json_has_not_is_shown_all_the_same(control: Control) -> None:
    """A lone surrogate in a payload can be saved, returned and loaded."""
    content = b'{"name": "odd", "configs": {"a": "\\ud800"}}'
    headers = {"content-type": "application/json"}
    answer = control.http.post(f"{OWN}/tenants", content=content, headers=headers)
    assert answer.status_code == 201
    assert answer.json()["configs"] == {"a": "\ud800"}
    state = control.http.get(f"{OWN}/state").content
    assert control.http.put(f"{OWN}/state", content=state, headers=headers).status_code == 200
    assert control.emulator.tenants[-1].configs == {"a": "\ud800"}
