"""Starting and stopping the server, the API key, and the request log."""

import asyncio
import contextlib
import gc
import json
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import anyio
import httpx
import pytest

from pandium.emulator import Emulator, UpstreamFailure
from pandium.emulator.network.http_server import ServerThread, bind
from pandium.emulator.network.request_log import Request, RequestLog
from support.emulating import served

pytestmark = pytest.mark.filterwarnings("error")


# The server of pytest's fixtures runs until the session ends, if another test has used it.
OTHERS: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(threading.enumerate())


def emulator_threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name == "pandium-emulator"} - OTHERS


@pytest.mark.anyio
async def test_it_serves_on_every_event_loop() -> None:
    """`async with` works on asyncio and trio, and the socket is gone afterwards."""
    async with Emulator() as api, httpx.AsyncClient(base_url=api.url) as http:
        answer = await http.get("/v2/integrations", headers={"x-api-key": "k"})
        assert [one["id"] for one in answer.json()] == [1]
        assert api.url == f"http://127.0.0.1:{api.port}"
    with pytest.raises(OSError, match=r"."):
        await anyio.connect_tcp("127.0.0.1", api.port)
    assert not emulator_threads()


def test_stopping_does_not_wait_for_idle_connections() -> None:
    """An open keep-alive connection does not delay stopping, and the state remains readable."""
    with Emulator() as api, httpx.Client(base_url=api.url, timeout=60) as http:
        http.get("/v2/openapi.json")
        api.add_tenant("left")
        api.stop()
        api.stop()
        assert not emulator_threads()
        assert [one.name for one in api.tenants] == ["left"]
        assert api.counts["GET", "/v2/openapi.json", 200] == 1


def test_stopping_closes_what_is_on_its_way_in() -> None:
    """A client that connects at the moment of the shutdown leaves no socket open."""
    ports: list[int] = []
    opened = threading.Semaphore(0)

    def connect() -> None:
        while not ports or ports[-1]:
            with contextlib.suppress(OSError, IndexError):
                socket.create_connection(("127.0.0.1", ports[-1]), 1).close()
                opened.release()

    client = threading.Thread(target=connect)
    client.start()
    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always")
        for _ in range(60):
            with Emulator() as api:
                ports.append(api.port)
                assert opened.acquire(timeout=30)
        ports.append(0)
        client.join()
        gc.collect()
    assert [str(one.message) for one in left_open] == []


def test_it_can_be_started_again() -> None:
    """The state survives a restart, and starting a running emulator is an error."""
    api = Emulator()
    with pytest.raises(RuntimeError, match="not been started"):
        _ = api.url
    with api:
        api.add_tenant()
        with pytest.raises(RuntimeError, match="already running"):
            api.start()
    with api, httpx.Client(base_url=api.url, headers={"x-api-key": "k"}, timeout=60) as http:
        assert len(http.get("/v2/tenants").json()) == 1


def test_a_port_in_use_is_a_clear_error() -> None:
    """The error for a port in use names the port, and nothing is left running."""
    with Emulator() as first, pytest.raises(OSError, match=f"port {first.port} of 127.0.0.1"):
        Emulator(port=first.port).start()
    assert not emulator_threads()


def test_a_chosen_port_is_kept() -> None:
    """`port` is the port of the URL."""
    with contextlib.closing(bind(0)) as probe:
        port = probe.getsockname()[1]
    with Emulator(None, None, port) as api:
        assert api.port == port


def test_a_server_that_cannot_start_raises_the_reason() -> None:
    """An error that ends the server's thread before it is ready is raised to the caller."""
    closed = socket.socket()
    closed.close()
    with contextlib.closing(bind(0)) as left, ServerThread() as thread:
        with pytest.raises(OSError, match="descriptor"):
            thread.serve(Emulator, [closed, left])  # type: ignore[arg-type]  # never called
        assert left.fileno() == -1
    assert not emulator_threads()


def test_a_request_under_way_is_finished_before_the_end() -> None:
    """A handler that is almost done still responds before the connection is closed."""
    begun, go_on = threading.Event(), threading.Event()

    def handler(request: object) -> dict[str, int]:
        begun.set()
        go_on.wait()
        return {"a": 1}

    with Emulator() as api, httpx.Client(base_url=api.url, timeout=60) as http:
        api.connectors.register("crm", handler)
        api.add_tenant()
        answers: list[httpx.Response] = []
        caller = threading.Thread(target=lambda: answers.append(call(http)))
        caller.start()
        begun.wait()
        stopper = threading.Thread(target=api.stop)
        stopper.start()
        go_on.set()
        stopper.join()
        caller.join()
    assert answers[0].json() == {"data": {"a": 1}}


def test_a_request_that_never_ends_is_cut_off() -> None:
    """A handler that hangs cannot keep the emulator from stopping."""
    begun = threading.Event()
    errors: list[Exception] = []

    async def handler(request: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    with Emulator() as api, httpx.Client(base_url=api.url, timeout=60) as http:
        api.connectors.register("crm", handler)
        api.add_tenant()

        def hang() -> None:
            try:
                call(http)
            except httpx.TransportError as error:
                errors.append(error)

        caller = threading.Thread(target=hang)
        caller.start()
        begun.wait()
        api.stop()
        caller.join()
    assert errors
    assert not emulator_threads()


def call(http: httpx.Client) -> httpx.Response:
    body = {"method": "GET", "target_url": "https://x.example/"}
    key = {"x-api-key": "k"}
    return http.post("/v2/tenants/1/connectors/crm/call", json=body, headers=key)


@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_only_the_right_key_is_accepted(key: str | None) -> None:
    """The response to a missing or wrong key is a 403, on every path below /v2/."""
    with Emulator(api_key="right") as api, httpx.Client(base_url=api.url, timeout=60) as http:
        headers = {} if key is None else {"x-api-key": key}
        for path in ("/v2/tenants", "/v2/nothing"):
            answer = http.get(path, headers=headers)
            assert (answer.status_code, answer.json()) == (403, {"detail": "Not authorized"})
        assert http.get("/v2/tenants", headers={"X-Api-Key": "right"}).status_code == 200


def test_without_a_key_of_its_own_any_key_is_right() -> None:
    """A missing key is still rejected."""
    with Emulator() as api, httpx.Client(base_url=api.url, timeout=60) as http:
        assert http.get("/v2/tenants", headers={"x-api-key": "any"}).status_code == 200
        assert http.get("/v2/tenants").status_code == 403


def test_unknown_paths_and_methods_are_answered_by_the_framework() -> None:
    """A 404 and a 405 have FastAPI's own bodies."""
    with served() as api:
        answer = api.http.get("/v2/nothing")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
        answer = api.http.put("/v2/tenants")
        assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
        assert answer.headers["allow"] == "GET, POST"
        assert "GET" in api.http.post("/v2/openapi.json").headers["allow"]


def test_a_body_in_no_encoding_is_refused_as_any_other() -> None:
    """The response to bytes that are not text is the operation's 422, in either format."""
    with served() as api:
        headers = {"content-type": "application/json"}
        for path, key in (("tenants", "detail"), ("sourcecontrol/build?mode=init", "message")):
            answer = api.http.post(f"/v2/{path}", content=b"\xff", headers=headers)
            assert (answer.status_code, list(answer.json())) == (422, [key])


def test_requests_are_recorded_without_secrets() -> None:
    """A record contains the request, the route and the status, but not the key."""
    with served(api_key="k") as api:
        api.http.post("/v2/tenants?a=1", json={"name": "n", "integration_id": 1})
        api.http.get("/v2/nothing")
        first, last = api.emulator.requests
        assert (first.method, first.path, first.query) == ("POST", "/v2/tenants", "a=1")
        assert (first.status, json.loads(first.body)) == (
            200,
            {"name": "n", "integration_id": 1},
        )
        assert first.headers["x-api-key"] == "***"
        assert first.headers["user-agent"].startswith("python-httpx")
        assert (last.route, last.status) == ("*", 404)
        assert api.emulator.counts == {("POST", "/v2/tenants", 200): 1, ("GET", "*", 404): 1}
        assert api.emulator.requests[-1] is last
        assert api.emulator.requests[:1] == [first]
        assert repr(api.emulator.requests) == "<RequestLog of 2 requests>"
        api.emulator.requests.clear()
        assert not api.emulator.requests
        assert not api.emulator.counts


def test_the_record_is_bounded() -> None:
    """Old requests are dropped and long bodies are truncated. The counts include all requests."""
    request_log = RequestLog(kept=2)
    for number in range(3):
        request_log.add(Request("GET", f"/{number}", "", {}, 200, b"", "*"))
    assert [one.path for one in request_log] == ["/1", "/2"]
    assert request_log.counts["GET", "*", 200] == 3
    with served() as api:
        api.http.post("/v2/tenants", content=b"x" * 200_000)
        assert api.emulator.requests[0].body == b"x" * 65_536


def test_hundreds_of_clients_at_once_lose_nothing() -> None:
    """Tenants that are added while others are listed are all present in the end."""
    with served() as api:

        def add() -> None:
            for _ in range(50):
                api.emulator.add_tenant()

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            ids = [one["id"] for one in api.json("/tenants", limit=500)]
            assert ids == sorted(ids)
        assert len(api.json("/tenants", limit=500)) == 200


def test_a_failure_has_a_status_of_failures() -> None:
    """An upstream failure with a success status is rejected."""
    with pytest.raises(ValueError, match="status"):
        UpstreamFailure(200)


STARVED = """
import os, resource
from pathlib import Path
from pandium.emulator import Emulator
with Emulator():  # perform all deferred imports
    pass
used = max(map(int, os.listdir("/proc/self/fd")))
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, limit))  # room for the sockets, not the loop
try:
    Emulator().start()
except OSError as error:  # whose traceback keeps all local variables alive
    descriptors = Path("/proc/self/fd").iterdir()
    print("raised", error.strerror, sum(path.is_socket() for path in descriptors))
"""


@pytest.mark.posix
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_a_thread_that_cannot_start_is_an_error() -> None:
    """If the thread cannot create its event loop, `start` raises an error and closes the ports."""
    command = [sys.executable, "-c", STARVED]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout == "raised Too many open files 0\n"
