"""Connector calls."""

import gc
import json
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from pandium import AsyncPandium, ConnectorError
from pandium.emulator import ConnectorRequest, Emulator, UpstreamFailure
from support.emulating import Api, served

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
    """A handler receives all fields: `body` of a REST call, `data` of a SOAP or XML call."""
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
    """Functions, coroutine functions and callable objects can all be handlers."""
    with served() as api:
        api.emulator.add_tenant()
        api.emulator.connectors.register("shop", handler)
        assert call(api).json() == {"data": data}


def test_a_handler_of_a_host_takes_precedence() -> None:
    """The host of the URL, in any case, selects the handler. Other hosts use the general one."""
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
def test_an_upstream_s_failure_becomes_text(handler: Any) -> None:
    """The status is the upstream's, and the detail is a stringified object with its body."""
    with served() as api:
        api.emulator.add_tenant()
        api.emulator.connectors.register("shop", handler)
        answer = call(api)
        assert answer.status_code == 404
        assert answer.json() == {"detail": "{'data': {'error': 'gone', 'ok': False}}"}


def test_what_the_proxy_cannot_do_is_a_400() -> None:
    """Unknown tenants, connectors and handlers, and missing connections and fields are reported."""
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
    """If a handler fails, the reason is logged."""
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
    bad: list[tuple[str, Any, Any, Any]] = [
        ("connector", "", int, None),
        ("connector", 5, int, None),
        ("handler", "crm", 5, None),
        ("handler", "crm", lambda: None, None),
        ("handler", "crm", lambda a, b: None, None),
        ("handler", "crm", FastAPI, None),
        ("host", "crm", int, 5),
        ("host", "crm", int, "https://shop.example/"),
        ("host", "crm", int, "shop.example:8080"),
        ("host", "crm", int, "[shop"),
    ]
    for place, connector, handler, host in bad:
        with pytest.raises(ValueError, match=f"^{place}: "):
            connectors.register(connector, handler, host)


def test_a_function_without_a_signature_is_a_handler() -> None:
    """Some functions written in C have no signature. They are accepted without validation."""
    with served() as api:
        api.emulator.add_tenant()
        api.emulator.connectors.register("shop", str)
        assert call(api).json()["data"].startswith("ConnectorRequest(tenant_id=1")


def test_disconnecting_cuts_one_connector() -> None:
    """The tenant is shown as disconnected, and further calls are rejected."""
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


web = FastAPI()


@web.api_route("/orders/{number}", methods=["GET", "PUT"])
async def order(request: Request, number: int) -> dict[str, Any]:
    """Return what was received, and for which tenant."""
    return {
        "number": number,
        "method": request.method,
        "host": request.url.netloc,
        "scheme": request.url.scheme,
        "query": request.query_params.multi_items(),
        "headers": {name: request.headers.getlist(name) for name in request.headers},
        "body": (await request.body()).decode(),
        "tenant": request.state.pandium.tenant_id,
    }


@web.get("/gone")
async def gone() -> None:
    raise HTTPException(410, {"reason": "it's gone"})


@web.get("/sync")
def in_a_thread() -> int:
    return threading.get_ident()


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Respond as the path specifies: /status/content-type."""
    _, status, kind = scope["path"].split("/", 2)
    headers = [(b"content-type", kind.encode())]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    for part in (b"<a>\xc3", b"\xa9</a>"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def with_app(api: Api, app: Any, host: str | None = None) -> None:
    if not api.emulator.tenants:
        api.emulator.add_tenant()
    api.emulator.connectors.register("shop", app, host)


def test_an_application_gets_what_was_sent() -> None:
    """An application receives the method, URL, query, headers and body as the proxy sends them."""
    with served() as api:
        with_app(api, web)
        answer = call(
            api,
            method="put",
            target_url="https://Shop.example:8443/orders/7?a=1&b=2",
            query_params={"b": [3, 4], "c": True, "d": "x y"},
            headers={"X-A": "b", "X-N": 5},
            body={"x": "é"},
        )
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        headers = data.pop("headers")
        assert data == {
            "number": 7,
            "method": "PUT",
            "host": "shop.example:8443",
            "scheme": "https",
            "query": [["a", "1"], ["b", "3"], ["b", "4"], ["c", "true"], ["d", "x y"]],
            "body": '{"x":"é"}',
            "tenant": 1,
        }
        assert headers["content-type"] == ["application/json"]
        assert (headers["x-a"], headers["x-n"]) == (["b"], ["5"])
        listed = call(api, target_url="/orders/7", headers=[["X-A", "b"], ["X-A", "c"]])
        data = listed.json()["data"]
        assert data["headers"]["x-a"] == ["b", "c"]
        assert (data["host"], data["body"]) == ("upstream", "")


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("soap", "text/xml; charset=utf-8"), ("xml", "application/xml; charset=utf-8")],
)
def test_an_application_gets_xml_as_it_is(kind: str, content_type: str) -> None:
    """SOAP and XML calls send their data unchanged, with a content type unless one is specified."""
    with served() as api:
        with_app(api, web)
        shared: Any = {"method": "PUT", "target_url": "https://s.example/orders/1", "data": "<é/>"}
        data = call(api, kind, **shared).json()["data"]
        assert data["body"] == "<é/>"
        assert data["headers"]["content-type"] == [content_type]
        data = call(api, kind, headers={"Content-Type": "x/y"}, **shared).json()["data"]
        assert data["headers"]["content-type"] == ["x/y"]


def test_an_application_s_response_becomes_data() -> None:
    """JSON of any type becomes data. Anything else, even invalid JSON, becomes text."""
    with served() as api:
        with_app(api, bare)
        for kind in ("text/xml", "application/json"):
            answer = call(api, target_url=f"https://s.example/200/{kind}")
            assert (answer.status_code, answer.json()) == (200, {"data": "<a>é</a>"})
        for value in ({"a": 1}, [1], "text", 5, None):
            with_app(api, Starlette(routes=[Route("/", lambda _, v=value: JSONResponse(v))]))
            assert call(api, target_url="https://s.example/").json() == {"data": value}


@pytest.mark.parametrize("status", [300, 302, 401, 404, 429, 500, 599])
def test_an_application_s_failure_becomes_text(status: int) -> None:
    """The status is the application's, and the detail is a stringified object with its body."""
    with served() as api:
        with_app(api, bare)
        answer = call(api, target_url=f"https://s.example/{status}/text/plain")
        assert answer.status_code == status
        assert answer.json() == {"detail": "{'data': '<a>é</a>'}"}


def test_an_application_may_serve_one_host() -> None:
    """A host with its own application uses it. All others use the general handler."""
    with served() as api:
        with_app(api, lambda _: "general")
        with_app(api, web, "Shop.example")
        assert call(api, target_url="https://other.example/sync").json() == {"data": "general"}
        data = call(api, target_url="https://SHOP.example/sync").json()["data"]
        assert data not in (None, "general", threading.get_ident())


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"target_url": "https://s.example/\n"}, "URL"),
        ({"target_url": "https://s.example:port/"}, "port"),
        ({"headers": [["a", "b"], ["c"]]}, "headers[1]"),
        ({"headers": ["a"]}, "headers[0]"),
        ({"headers": {"a": "\ud800"}}, "surrogate"),
    ],
)
def test_a_call_that_cannot_be_sent_is_a_400(body: dict[str, Any], word: str) -> None:
    """A call that is not a valid HTTP request is rejected by the proxy with the reason."""
    with served() as api:
        with_app(api, web)
        body = {"method": "GET", "target_url": URL, **body}
        headers = {"content-type": "application/json"}
        path = "/v2/tenants/1/connectors/shop/call"
        answer = api.http.post(path, content=json.dumps(body), headers=headers)
        assert answer.status_code == 400
        assert word in answer.json()["detail"]


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_broken_application_is_a_500_and_is_logged(
    *, is_silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """An application that raises or does not respond is reported like a failing handler."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        assert is_silent, "it broke"

    with served() as api:
        with_app(api, broken)
        answer = call(api)
        assert answer.status_code == 500
        assert "The handler of connector shop failed" in answer.json()["detail"]
    assert "AssertionError" in caplog.text


@pytest.mark.anyio
async def test_the_client_tells_an_upstream_s_failure_from_pandium_s() -> None:
    """A failure behind the proxy is a `ConnectorError` with the upstream system's data."""
    async with Emulator() as api, AsyncPandium("k", base_url=api.url) as client:
        api.add_tenant()
        api.connectors.register("shop", web)
        with pytest.raises(ConnectorError) as caught:
            await client.connectors.call(1, "shop", method="GET", target_url="https://s.e/gone")
        assert caught.value.status_code == 410
        assert caught.value.data == {"detail": {"reason": "it's gone"}}


HANGING = """
import sys, threading, httpx
from contextlib import suppress
from pandium.emulator import Emulator

begun = threading.Event()

def handler(request):
    begun.set()
    threading.Event().wait()

with Emulator() as api:
    api.add_tenant()
    api.connectors.register("crm", handler)
    body = {"method": "GET", "target_url": "/"}

    def ask():
        url = f"{api.url}/v2/tenants/1/connectors/crm/call"
        with suppress(httpx.TransportError):
            httpx.post(url, json=body, headers={"x-api-key": "k"}, timeout=None)

    threading.Thread(target=ask, daemon=True).start()
    begun.wait()
print("stopped")
"""


def test_a_function_that_never_returns_delays_nothing() -> None:
    """The emulator stops anyway, and the interpreter exits."""
    command = [sys.executable, "-W", "error", "-c", HANGING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("stopped\n", "")


@pytest.mark.parametrize("kind", ["coroutine", "application", "function"])
def test_what_blocks_does_not_keep_the_emulator_from_stopping(kind: str) -> None:
    """`stop` returns even if a call blocks a thread or the event loop."""
    begun, go_on = threading.Event(), threading.Event()
    app = FastAPI()

    @app.get("/")
    def wait() -> None:
        begun.set()
        go_on.wait()

    async def coroutine(request: object) -> None:
        wait()

    handlers: dict[str, Any] = {
        "coroutine": coroutine,
        "application": app,
        "function": lambda _: wait(),
    }
    others = set(threading.enumerate())  # the server of pytest's fixtures may be one
    with Emulator() as api:
        [thread] = set(threading.enumerate()) - others
        api.add_tenant()
        api.connectors.register("crm", handlers[kind])
        caller = threading.Thread(target=ignoring, args=(api.url,))
        caller.start()
        begun.wait()
    assert thread.is_alive() is (kind == "coroutine")
    go_on.set()
    caller.join()
    thread.join()
    for one in threading.enumerate():
        if one.name == "pandium-emulator-handler":
            one.join()
    gc.collect()  # this would warn about a socket that was left open


def ignoring(url: str) -> None:
    body = {"method": "GET", "target_url": "/"}
    with suppress(httpx.TransportError):
        httpx.post(f"{url}/v2/tenants/1/connectors/crm/call", json=body, headers={"x-api-key": "k"})
