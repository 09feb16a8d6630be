"""Answers that no server of ours would give, by pytest-httpx; and that users can mock so."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from pandium import (
    APIError,
    AsyncPandium,
    AuthenticationError,
    ConnectionLost,
    DecodeError,
    NotFound,
    Outcome,
    PandiumError,
    Polling,
    RateLimited,
    RequestTimeout,
    Retry,
    ServerError,
    Trigger,
    TriggerStatus,
)
from pandium._clock import RealClock, use_clock

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

pytestmark = pytest.mark.anyio

URL = "https://api.pandium.io"
KEY = "k-1234567890"
TENANT = {"id": 1, "name": "acme"}


def _client(**options: Any) -> AsyncPandium:
    return AsyncPandium(KEY, **{"retry": Retry.never(), **options})


async def test_pytest_httpx_sees_each_request(httpx_mock: HTTPXMock) -> None:
    """Users who mock with pytest-httpx see the requests of a client that made its own pool."""
    httpx_mock.add_response(url=f"{URL}/v2/tenants/7/sync?mode=init", json={"trigger_id": "9"})
    async with _client() as client:
        assert await client.tenants.sync(7, mode="init", payload={"a": "é"}) == Trigger("9")
    [request] = httpx_mock.get_requests()
    assert request.headers["X-API-KEY"] == KEY
    assert request.headers["Content-Type"] == "application/json"
    assert request.content == '{"a":"é"}'.encode()


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        ({}, "https://api.pandium.io"),
        ({"environment": "sandbox"}, "https://api.sandbox.pandium.com"),
        ({"base_url": "https://eu.example.com/gateway/"}, "https://eu.example.com/gateway"),
        ({"base_url": "http://localhost:8080"}, "http://localhost:8080"),
    ],
)
async def test_requests_go_to_the_configured_origin(
    httpx_mock: HTTPXMock, options: dict[str, str], origin: str
) -> None:
    """Environment and base URL settle where requests go."""
    httpx_mock.add_response(url=f"{origin}/v2/runs/triggers/9/status", json={"status": "Running"})
    async with _client(**options) as client:
        assert await client.runs.status("9") == TriggerStatus("Running")


@pytest.mark.parametrize("trigger_id", ["../../tenants", "a/b", "a?b=c", "a#b", "é", "a b", "%2F"])
async def test_no_id_reaches_another_path(httpx_mock: HTTPXMock, trigger_id: str) -> None:
    """An id is one segment of the path, whatever is in it."""
    httpx_mock.add_response(json={"status": "Running"})
    async with _client() as client:
        await client.runs.status(Trigger(trigger_id))
    [request] = httpx_mock.get_requests()
    path = request.url.raw_path.decode()
    assert path.startswith("/v2/runs/triggers/")
    assert path.endswith("/status")
    assert path.count("/") == 5
    assert "?" not in path


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (b"<html>welcome</html>", ""),
        (b"", ""),
        (b'[{"id":1,"name":"a"', ""),
        (b'{"detail":"ok"}', ""),
        (b"null", ""),
        (b'[{"id":1,"name":"a"},{"id":"2","name":"b"}]', "[1].id"),
        (b'[{"id":1,"name":"a","status":{"auth":7}}]', "[0].status.auth"),
        (b'[{"id":1}]', "[0].name"),
    ],
)
async def test_an_answer_that_cannot_be_read_says_where(
    httpx_mock: HTTPXMock, content: bytes, path: str
) -> None:
    """A success that is no listing of tenants is a DecodeError with the path to the fault."""
    httpx_mock.add_response(content=content)
    async with _client() as client:
        with pytest.raises(DecodeError) as caught:
            await client.tenants.list().to_list()
    error = caught.value
    assert (error.path, error.method, error.resume_skip) == (path, "GET", 0)
    assert error.url == f"{URL}/v2/tenants?skip=0&limit=500"
    assert [attempt.result for attempt in error.attempts] == ["200"]
    assert error.outcome_unknown


@pytest.mark.parametrize("content", [b"{}", b"[1]", b'"data"', b"null"])
async def test_an_answer_of_the_proxy_without_data_is_an_error(
    httpx_mock: HTTPXMock, content: bytes
) -> None:
    """Where the proxy's answer has no data, that is not taken for data."""
    httpx_mock.add_response(content=content)
    async with _client() as client:
        with pytest.raises(DecodeError):
            await client.connectors.call(1, "crm", method="GET", target_url="https://a.example")


@pytest.mark.parametrize("data", [[1, 2], "text", None, {"a": 1}, 3])
async def test_upstream_data_comes_as_it_is(httpx_mock: HTTPXMock, data: Any) -> None:
    """The data of an upstream may be any JSON."""
    httpx_mock.add_response(json={"data": data})
    async with _client() as client:
        answer = await client.connectors.xml(1, "crm", method="GET", target_url="https://a.example")
    assert answer == data


async def test_an_upstreams_429_is_not_repeated(httpx_mock: HTTPXMock) -> None:
    """A 429 of the upstream reaches the user; one of Pandium's own is waited out."""
    httpx_mock.add_response(status_code=429, json={"detail": "{'data': {'retry': 'later'}}"})
    async with _client(retry=Retry(initial=0)) as client:
        with pytest.raises(APIError) as caught:
            await client.connectors.call(1, "crm", method="GET", target_url="https://a.example")
    assert len(caught.value.attempts) == 1
    httpx_mock.add_response(status_code=429, json={"detail": "slow down"})
    httpx_mock.add_response(json={"data": 1})
    async with _client(retry=Retry(initial=0)) as client:
        answer = await client.connectors.call(
            1, "crm", method="GET", target_url="https://a.example"
        )
    assert answer == 1


async def test_redirects_are_not_followed(httpx_mock: HTTPXMock) -> None:
    """A redirection is an error, as to follow it would take the key along."""
    httpx_mock.add_response(status_code=307, headers={"Location": "https://evil.example/"})
    async with _client() as client:
        with pytest.raises(APIError) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.status_code == 307
    assert caught.value.headers["location"] == "https://evil.example/"
    assert len(httpx_mock.get_requests()) == 1


@pytest.mark.parametrize("location", ["", "/relative", "ftp://storage.example/log"])
async def test_a_log_without_a_url_is_an_error(httpx_mock: HTTPXMock, location: str) -> None:
    """The answer to a request for a log must lead to one."""
    httpx_mock.add_response(status_code=302, headers={"Location": location})
    async with _client() as client:
        with pytest.raises(DecodeError):
            await client.runs.log(1)


async def test_a_failure_of_the_storage_shows_no_signature(httpx_mock: HTTPXMock) -> None:
    """An error of the storage host carries neither the signed query nor what the host says."""
    signed = "https://storage.example/log?signature=s3cr3t"
    httpx_mock.add_response(status_code=302, headers={"Location": signed})
    httpx_mock.add_response(url=signed, status_code=403, text="bad signature s3cr3t")
    async with _client() as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.runs.log(1)
    assert caught.value.url == "https://storage.example/log"
    assert "s3cr3t" not in repr(vars(caught.value)) + str(caught.value)
    request = httpx_mock.get_requests()[1]
    assert "X-API-KEY" not in request.headers


async def test_the_storage_of_logs_sees_nothing_of_the_users_client() -> None:
    """It gets the signed URL as it is, and neither headers, cookies nor credentials."""
    signed = "https://storage.example/log?signature=s3cr3t"
    seen: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        # By the text of the URL, as many transports of tests go.
        if str(request.url) == signed:
            return httpx.Response(200, text="the log")
        return httpx.Response(302, headers={"Location": signed})

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(respond),
        headers={"Authorization": "Bearer t0ken", "X-Api-Key": KEY},
        auth=("user", "passw0rd"),
        cookies={"session": "c00kie"},
        params={"a": "1"},
    ) as mine:
        assert await _client(http_client=mine).runs.log(1) == "the log"
    assert seen[0].headers["cookie"] == "session=c00kie"
    assert set(seen[1].headers) == {"host", "user-agent", "accept-encoding"}


@pytest.mark.parametrize("is_borrowed", [False, True])
async def test_no_logger_writes_a_signed_url(
    httpx_mock: HTTPXMock,
    caplog: pytest.LogCaptureFixture,
    is_borrowed: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    """Neither our logger nor that of httpx writes the query of a log's URL, which still is sent."""
    signed = "https://storage.example/log?signature=s3cr3t"
    httpx_mock.add_response(status_code=302, headers={"Location": signed})
    httpx_mock.add_response(url=signed, text="the log")
    async with httpx.AsyncClient() as mine:
        with caplog.at_level(logging.DEBUG):
            async with _client(http_client=mine if is_borrowed else None) as client:
                assert await client.runs.log(1) == "the log"
    assert httpx_mock.get_requests()[1].url.raw_path == b"/log?signature=s3cr3t"
    assert "https://storage.example/log" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_a_failing_get_is_repeated(httpx_mock: HTTPXMock) -> None:
    """What may pass is repeated, and the error of the last attempt lists them all."""
    for _ in range(3):
        httpx_mock.add_response(status_code=503, text="<html>bad gateway</html>")
    async with _client(retry=Retry(attempts=3, initial=0)) as client:
        with pytest.raises(ServerError) as caught:
            await client.integrations.get(1)
    assert [attempt.result for attempt in caught.value.attempts] == ["503", "503", "503"]
    assert all(attempt.at.tzinfo is not None for attempt in caught.value.attempts)
    assert caught.value.body == "<html>bad gateway</html>"


async def test_a_lost_answer_to_a_post_is_not_repeated(httpx_mock: HTTPXMock) -> None:
    """A sync whose answer was lost is raised with its outcome unknown, not sent again."""
    httpx_mock.add_exception(httpx.ReadTimeout("no answer"))
    httpx_mock.add_exception(httpx.RemoteProtocolError("gone"))
    async with _client(retry=Retry(initial=0)) as client:
        with pytest.raises(RequestTimeout) as slow:
            await client.tenants.sync(1, mode="normal")
        with pytest.raises(ConnectionLost) as gone:
            await client.tenants.sync(1, mode="normal")
    assert slow.value.outcome_unknown
    assert gone.value.outcome_unknown
    assert len(httpx_mock.get_requests()) == 2


@pytest.mark.parametrize(
    ("first", "last"),
    [(httpx.ReadError("gone"), httpx.ConnectError("down")), (503, 404), (500, 429), (408, 400)],
)
async def test_what_an_earlier_attempt_may_have_done_is_not_forgotten(
    httpx_mock: HTTPXMock, first: Exception | int, last: Exception | int
) -> None:
    """The outcome is unknown if any attempt may have been carried out, however the last ended."""
    for one in (first, last):
        if isinstance(one, Exception):
            httpx_mock.add_exception(one)
        else:
            httpx_mock.add_response(status_code=one)
    async with _client(retry=Retry(attempts=2, initial=0)) as client:
        with pytest.raises(PandiumError) as caught:
            await client.tenants.archive(1)
    assert len(caught.value.attempts) == 2
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("first", [httpx.ConnectError("down"), 429])
async def test_what_no_attempt_can_have_done_is_known(
    httpx_mock: HTTPXMock, first: Exception | int
) -> None:
    """Attempts that surely were not carried out leave the outcome known."""
    if isinstance(first, Exception):
        httpx_mock.add_exception(first)
    else:
        httpx_mock.add_response(status_code=first)
    httpx_mock.add_response(status_code=404)
    async with _client(retry=Retry(initial=0)) as client:
        with pytest.raises(NotFound) as caught:
            await client.tenants.archive(1)
    assert len(caught.value.attempts) == 2
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    "location",
    ["javascript:1", "mailto:a@b", "https:foo", "about:blank", "http://xn--/", "//:x"],
)
async def test_a_redirection_to_no_url_is_an_answer_that_cannot_be_read(
    httpx_mock: HTTPXMock, location: str
) -> None:
    """Whatever `Location` says, the call ends as an error of ours, after one attempt."""
    httpx_mock.add_response(status_code=302, headers={"Location": location})
    async with _client() as client:
        with pytest.raises(DecodeError, match="redirects") as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert [one.result for one in caught.value.attempts] == [f"DecodeError: {caught.value.args[0]}"]


LOG = "https://storage.example/log?signature=x"


async def test_the_storage_of_logs_has_its_own_pause(httpx_mock: HTTPXMock) -> None:
    """`Retry-After` of the host that stores logs is obeyed, and holds no call of the API back."""
    httpx_mock.add_response(status_code=302, headers={"Location": LOG}, is_reusable=True)
    for status in (503, 429):
        headers = {"Retry-After": "3600", "X-Secret": "s"}
        httpx_mock.add_response(status_code=status, headers=headers, url=LOG)
    async with _client(retry=Retry(max_elapsed=60)) as client:
        for _ in range(2):
            with pytest.raises(APIError) as caught:
                await client.runs.log(1)
            assert caught.value.retry_after == 3600
            assert caught.value.headers == {"retry-after": "3600"}
            assert len(caught.value.attempts) == 1
        assert await client.runs.log_url(1) == LOG


async def test_retry_after_holds_back_the_whole_client(httpx_mock: HTTPXMock) -> None:
    """After a 429 with Retry-After no request of the client goes out until then."""
    httpx_mock.add_response(status_code=429, headers={"Retry-After": "0.2"})
    httpx_mock.add_response(json={"status": "Running"})
    async with _client() as client:
        with pytest.raises(RateLimited) as caught:
            await client.runs.status("1")
        assert caught.value.retry_after == 0.2
        clock = client._transport.clock
        began = clock.now()
        await client.with_options(timeout=5).runs.status("2")
        assert clock.now() - began >= 0.15


async def test_no_error_of_httpx_hangs_on_ours(httpx_mock: HTTPXMock) -> None:
    """An error has no cause or context of httpx, which would hold the request with the key."""
    httpx_mock.add_exception(httpx.ConnectTimeout("slow"))
    async with _client() as client:
        with pytest.raises(PandiumError) as caught:
            await client.runs.status("1")
    error: BaseException | None = caught.value
    while error is not None:
        assert not type(error).__module__.startswith(("httpx", "httpcore", "tenacity"))
        error = error.__cause__ or error.__context__


async def test_an_injected_client_is_used_as_it_is(httpx_mock: HTTPXMock) -> None:
    """A client of the user's keeps its headers, and is neither changed nor closed."""
    httpx_mock.add_response(json=[TENANT])
    async with httpx.AsyncClient(headers={"X-Team": "blue"}, timeout=3) as mine:
        async with AsyncPandium(KEY, http_client=mine, timeout=httpx.Timeout(7)) as client:
            assert (await client.tenants.list().to_list())[0].name == "acme"
        assert not mine.is_closed
        assert mine.timeout == httpx.Timeout(3)
        assert "x-api-key" not in mine.headers
    [request] = httpx_mock.get_requests()
    assert request.headers["X-Team"] == "blue"
    assert request.extensions["timeout"] == {"connect": 7, "read": 7, "write": 7, "pool": None}


class _Silent(httpx.AsyncBaseTransport):
    """A transport of the user's that is not httpcore's: it takes a request and never answers."""

    def __init__(self) -> None:
        self.taken: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.taken.append(request)
        await anyio.sleep_forever()
        raise AssertionError


async def test_what_a_foreign_transport_took_may_have_been_sent() -> None:
    """Where a transport tells nothing of its progress, a time-out leaves the outcome unknown."""
    silent = _Silent()
    async with (
        httpx.AsyncClient(transport=silent) as mine,
        _client(http_client=mine, timeout=0.05, retry=Retry(initial=0)) as client,
    ):
        with pytest.raises(RequestTimeout) as caught:
            await client.tenants.sync(7, mode="normal")
    assert caught.value.outcome_unknown
    assert len(silent.taken) == 1


async def test_an_unknown_word_is_logged_once(
    httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture
) -> None:
    """A status word that nobody knows is logged once a client, and not where it is classified."""
    for word in ("Mulling", "Succeeded", "Mulling", "Succeeded", "Mulling"):
        httpx_mock.add_response(json={"status": word})
    fast = Polling(first=0, minimum=0)
    async with _client() as client:
        await client.runs.wait("1", poll=fast)
        await client.runs.wait("2", poll=fast)
        await client.runs.wait("3", poll=fast, classify=lambda _: Outcome.SUCCEEDED)
    assert sum("'Mulling' is not known" in message for message in caplog.messages) == 1


class StoppedClock(RealClock):
    """Sleeps without any time, and says how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_a_driven_clock_is_that_of_the_clients_made_under_it(httpx_mock: HTTPXMock) -> None:
    """Clients made while a clock drives sleep by it; those made before and after do not."""
    httpx_mock.add_response(status_code=503, is_reusable=True)
    clock, retry = StoppedClock(), Retry(attempts=2, initial=0.001)
    before = AsyncPandium(KEY, retry=retry)
    with use_clock(clock):
        driven = AsyncPandium(KEY, retry=retry)
    after = AsyncPandium(KEY, retry=retry)
    for client, sleeps in ((before, 0), (driven, 1), (after, 1)):
        async with client:
            with pytest.raises(ServerError):
                await client.runs.status("1")
        assert len(clock.slept) == sleeps


async def test_each_header_is_sent_once(httpx_mock: HTTPXMock) -> None:
    """However its name is written, the header that is nearest to the request wins."""
    httpx_mock.add_response(json={})
    async with _client() as client:
        view = client.with_options(headers={"user-agent": "mine/1", "X-Trace": "1"})
        headers = {"accept": "text/csv", "x-trace": "2", "content-type": "application/x+json"}
        await view.request("POST", "/v2/x", json={"a": 1}, headers=headers)
    [request] = httpx_mock.get_requests()
    sent = [(name.decode().lower(), value.decode()) for name, value in request.headers.raw]
    wanted = {"accept": "text/csv", "user-agent": "mine/1", "x-trace": "2"}
    wanted |= {"content-type": "application/x+json", "x-api-key": KEY}
    assert len(sent) == len(dict(sent))
    assert wanted.items() <= dict(sent).items()


async def test_an_empty_answer_is_no_error_where_nothing_is_due(httpx_mock: HTTPXMock) -> None:
    """What was done without a word is `None`, or an empty object; a model cannot be empty."""
    for _ in range(4):
        httpx_mock.add_response(status_code=204)
    async with _client() as client:
        assert await client.request("DELETE", "/v2/x") is None
        assert await client.builds.create(1, "v1", mode="init") is None
        assert await client.tenants.archive(7) == {}
        with pytest.raises(DecodeError, match="empty"):
            await client.tenants.sync(7, mode="init")
