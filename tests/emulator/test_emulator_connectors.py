"""Connector calls."""

from typing import Any

import httpx
import pytest
from emulating import Api, served

from pandium.emulator import ConnectorRequest, Emulator, UpstreamFailure

URL = "https://Shop.example/orders"


def call(
    api: Api, kind: str = "call", *, tenant: int = 1, connector: str = "shop", **body: Any
) -> httpx.Response:
    body = {"method": "GET", "target_url": URL, **body}
    return api.http.post(f"/v2/tenants/{tenant}/connectors/{connector}/{kind}", json=body)


async def later(request: ConnectorRequest) -> list[str]:
    return [request.url]


class Instance:
    async def __call__(self, request: ConnectorRequest) -> str:
        return request.method


def test_a_handler_gets_what_was_sent() -> None:
    """All fields of the body arrive, REST with its body, SOAP and XML with their data."""
    seen: list[ConnectorRequest] = []

    def keep(request: ConnectorRequest) -> dict[str, int]:
        seen.append(request)
        return {"n": 1}

    with served() as api:
        api.emulator.add_tenant()
        api.emulator.connectors.register("shop", keep)
        shared: dict[str, Any] = {"headers": {"a": "b"}, "query_params": {"q": 1}, "method": "PUT"}
        for kind, extra in (("call", "body"), ("soap", "data"), ("xml", "data")):
            value: Any = {"x": 1} if extra == "body" else "<x/>"
            answer = call(api, kind, **shared, **{extra: value})
            assert (answer.status_code, answer.json()) == (200, {"data": {"n": 1}})
        call(api, headers=[["a", "b"]])
    rest, soap, xml, listed = seen
    expected = ConnectorRequest(1, "shop", "rest", "PUT", URL, {"a": "b"}, {"q": 1}, body={"x": 1})
    assert rest == expected
    assert (soap.kind, soap.data, soap.body) == ("soap", "<x/>", None)
    assert (xml.kind, xml.data) == ("xml", "<x/>")
    assert listed.headers == [["a", "b"]]


@pytest.mark.parametrize(
    ("handler", "data"), [(later, [URL]), (Instance(), "GET"), (lambda _: None, None)]
)
def test_a_handler_may_be_of_any_kind(handler: Any, data: object) -> None:
    """Functions, coroutine functions and objects that return awaitables all answer."""
    with served() as api:
        api.emulator.add_tenant()
        api.emulator.connectors.register("shop", handler)
        assert call(api).json() == {"data": data}


def test_a_handler_of_a_host_goes_first() -> None:
    """The host of the URL, in any case, chooses; the others go to the general handler."""
    with served() as api:
        api.emulator.add_tenant()
        api.emulator.connectors.register("shop", lambda _: "general")
        api.emulator.connectors.register("shop", lambda _: "special", host="SHOP.example")
        assert call(api).json() == {"data": "special"}
        for url in ("https://other.example/", "/orders", "https://[broken"):
            assert call(api, target_url=url).json() == {"data": "general"}


def raise_failure(request: ConnectorRequest) -> None:
    raise UpstreamFailure(404, {"error": "gone", "ok": False})


def return_failure(request: ConnectorRequest) -> UpstreamFailure:
    return UpstreamFailure(404, {"error": "gone", "ok": False})


@pytest.mark.parametrize("handler", [raise_failure, return_failure])
def test_an_upstream_s_failure_comes_as_text(handler: Any) -> None:
    """The status is the upstream's, the detail a string of an object with its body."""
    with served() as api:
        api.emulator.add_tenant()
        api.emulator.connectors.register("shop", handler)
        answer = call(api)
        assert answer.status_code == 404
        assert answer.json() == {"detail": "{'data': {'error': 'gone', 'ok': False}}"}


def test_what_the_proxy_cannot_do_is_a_400() -> None:
    """Unknown tenants, connectors and handlers, missing connections and fields say so."""
    with served() as api:
        api.emulator.add_tenant(connected=["shop"])
        api.emulator.connectors.register("crm", lambda _: None)
        api.emulator.connectors.register("mail", lambda _: None)
        for answer, word in (
            (call(api, tenant=9), "Tenant 9"),
            (call(api, connector="mail"), "no connector mail"),
            (call(api, connector="crm"), "not connected"),
            (call(api), "No handler"),
            (call(api, method=""), "required"),
            (call(api, target_url=""), "required"),
        ):
            assert answer.status_code == 400
            assert list(answer.json()) == ["detail"]
            assert word in answer.json()["detail"]
        url = "/tenants/1/connectors/shop/call"
        assert api.refused("POST", url, json={"body": 5}) == [["body", "body"]]


def test_a_broken_handler_is_a_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A test whose handler fails sees why."""
    with served() as api:
        api.emulator.add_tenant()
        for handler in (lambda _: 1 / 0, lambda _: object()):
            api.emulator.connectors.register("shop", handler)
            answer = call(api)
            assert answer.status_code == 500
            assert "The handler of connector shop" in answer.json()["detail"]
    assert "ZeroDivisionError" in caplog.text


def test_a_bad_registration_is_refused_by_name() -> None:
    """The error names the argument."""
    connectors = Emulator().connectors
    with pytest.raises(ValueError, match=r"^connector: "):
        connectors.register("", lambda _: None)
    with pytest.raises(ValueError, match=r"^handler: "):
        connectors.register("crm", 5)  # type: ignore[arg-type]  # bad on purpose


def test_disconnecting_cuts_one_connector() -> None:
    """The tenant shows it, and calls are refused from then on."""
    with served() as api:
        api.emulator.add_tenant()
        api.emulator.connectors.register("shop", lambda _: None)
        assert call(api).status_code == 200
        api.clock.advance(5)
        answer = api.http.patch("/v2/tenants/1/connectors/shop/disconnect")
        assert answer.status_code == 200
        auth = api.json("/tenants")[0]["status"]["auth"]
        assert not auth["connected"]
        assert [one["status"] for one in auth["connectors"]] == ["connected", "disconnected"]
        changes = [one["last_change"] for one in auth["connectors"]]
        assert changes[0] < changes[1]
        assert call(api).status_code == 400
        api.missing("PATCH", "/tenants/9/connectors/shop/disconnect")
        api.missing("PATCH", "/tenants/1/connectors/mail/disconnect")
