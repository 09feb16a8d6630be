"""Responses mocked with pytest-httpx, including some that no real server would send."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from pandium import (
    APIError,
    AsyncPandium,
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
    """pytest-httpx intercepts the requests of a client that has its own connection pool."""
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
    """The environment and the base URL determine where requests go."""
    httpx_mock.add_response(url=f"{origin}/v2/runs/triggers/9/status", json={"status": "Running"})
    async with _client(**options) as client:
        assert await client.runs.status("9") == TriggerStatus("Running")


@pytest.mark.parametrize("trigger_id", ["../../tenants", "a/b", "a?b=c", "a#b", "é", "a b", "%2F"])
async def test_no_id_reaches_another_path(httpx_mock: HTTPXMock, trigger_id: str) -> None:
    """An id remains a single path segment, whatever characters it contains."""
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
async def test_an_invalid_response_is_a_decode_error_with_a_path(
    httpx_mock: HTTPXMock, content: bytes, path: str
) -> None:
    """A 200 response that is not a list of tenants is a DecodeError with the path of the error."""
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
async def test_a_proxy_response_without_data_is_an_error(
    httpx_mock: HTTPXMock, content: bytes
) -> None:
    """A connector proxy response without `data` is a DecodeError."""
    httpx_mock.add_response(content=content)
    async with _client() as client:
        with pytest.raises(DecodeError):
            await client.connectors.call(1, "crm", method="GET", target_url="https://a.example")


@pytest.mark.parametrize("data", [[1, 2], "text", None, {"a": 1}, 3])
async def test_upstream_data_is_returned_unchanged(httpx_mock: HTTPXMock, data: Any) -> None:
    """The data returned by an upstream may be any JSON value."""
    httpx_mock.add_response(json={"data": data})
    async with _client() as client:
        result = await client.connectors.xml(1, "crm", method="GET", target_url="https://a.example")
    assert result == data


async def test_only_pandiums_own_429_is_retried(httpx_mock: HTTPXMock) -> None:
    """A connector call is retried after a 429 from Pandium itself, but not from the upstream."""
    httpx_mock.add_response(status_code=429, json={"detail": "{'data': {'retry': 'later'}}"})
    async with _client(retry=Retry(initial=0)) as client:
        with pytest.raises(APIError) as caught:
            await client.connectors.call(1, "crm", method="GET", target_url="https://a.example")
    assert len(caught.value.attempts) == 1
    httpx_mock.add_response(status_code=429, json={"detail": "slow down"})
    httpx_mock.add_response(json={"data": 1})
    async with _client(retry=Retry(initial=0)) as client:
        data = await client.connectors.call(1, "crm", method="GET", target_url="https://a.example")
    assert data == 1


async def test_redirects_are_not_followed(httpx_mock: HTTPXMock) -> None:
    """A redirect is an error, because following it would send the API key to another host."""
    httpx_mock.add_response(status_code=307, headers={"Location": "https://evil.example/"})
    async with _client() as client:
        with pytest.raises(APIError) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.status_code == 307
    assert caught.value.headers["location"] == "https://evil.example/"
    assert len(httpx_mock.get_requests()) == 1


@pytest.mark.parametrize("location", ["", "/relative", "ftp://storage.example/log"])
async def test_a_log_response_without_a_url_is_an_error(
    httpx_mock: HTTPXMock, location: str
) -> None:
    """The response to a log request must redirect to an http or https URL."""
    httpx_mock.add_response(status_code=302, headers={"Location": location})
    async with _client() as client:
        with pytest.raises(DecodeError):
            await client.runs.log(1)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_rejected_signature_is_hidden_and_is_no_rejected_key(
    httpx_mock: HTTPXMock, status: int
) -> None:
    """A rejected download shows nothing signed, and is not called an error of the API key."""
    signed = "https://storage.example/log?signature=s3cr3t"
    httpx_mock.add_response(status_code=302, headers={"Location": signed})
    httpx_mock.add_response(url=signed, status_code=status, text="bad signature s3cr3t")
    async with _client() as client:
        with pytest.raises(APIError) as caught:
            await client.runs.log(1)
    assert type(caught.value) is APIError
    assert caught.value.url == "https://storage.example/log"
    assert "s3cr3t" not in repr(vars(caught.value)) + str(caught.value)
    request = httpx_mock.get_requests()[1]
    assert "X-API-KEY" not in request.headers


async def test_the_storage_host_receives_nothing_of_the_users_client() -> None:
    """A log download sends no headers, cookies or credentials of a user-supplied client."""
    signed = "https://storage.example/log?signature=s3cr3t"
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        # Compare the URL as text, as many mock transports do.
        if str(request.url) == signed:
            return httpx.Response(200, text="the log")
        return httpx.Response(302, headers={"Location": signed})

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(respond),
        headers={"Authorization": "Bearer t0ken", "X-Api-Key": KEY},
        auth=("user", "passw0rd"),
        cookies={"session": "c00kie"},
        params={"a": "1"},
    ) as own_client:
        assert await _client(http_client=own_client).runs.log(1) == "the log"
    assert requests[0].headers["cookie"] == "session=c00kie"
    assert set(requests[1].headers) == {"host", "user-agent", "accept-encoding"}


@pytest.mark.parametrize("has_own_client", [False, True])
async def test_no_logger_writes_a_signed_url(
    httpx_mock: HTTPXMock,
    caplog: pytest.LogCaptureFixture,
    has_own_client: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    """The query string of a signed URL is sent, but neither our logger nor httpx's writes it."""
    signed = "https://storage.example/log?signature=s3cr3t"
    httpx_mock.add_response(status_code=302, headers={"Location": signed})
    httpx_mock.add_response(url=signed, text="the log")
    async with httpx.AsyncClient() as own_client:
        with caplog.at_level(logging.DEBUG):
            async with _client(http_client=own_client if has_own_client else None) as client:
                assert await client.runs.log(1) == "the log"
    assert httpx_mock.get_requests()[1].url.raw_path == b"/log?signature=s3cr3t"
    lines = {record.getMessage() for record in caplog.records if record.name == "httpx"}
    assert any("https://storage.example/log?***" in line for line in lines) is has_own_client
    assert "GET /log: 200" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_a_failing_get_is_retried(httpx_mock: HTTPXMock) -> None:
    """A GET is retried after transient errors. The last error lists all attempts."""
    for _ in range(3):
        httpx_mock.add_response(status_code=503, text="<html>bad gateway</html>")
    async with _client(retry=Retry(attempts=3, initial=0)) as client:
        with pytest.raises(ServerError) as caught:
            await client.integrations.get(1)
    assert [attempt.result for attempt in caught.value.attempts] == ["503", "503", "503"]
    assert all(attempt.at.tzinfo is not None for attempt in caught.value.attempts)
    assert caught.value.body == "<html>bad gateway</html>"


async def test_a_metadata_update_is_retried(httpx_mock: HTTPXMock) -> None:
    """After a 503, a metadata update is retried, because it is idempotent. Others are not."""
    httpx_mock.add_response(status_code=503, is_reusable=True)
    async with _client(retry=Retry(attempts=3, initial=0)) as client:
        for update, attempts in (
            (client.tenants.update_metadata(7, {"a": 1}), 3),
            (client.request("PATCH", "/v2/tenants/7/metadata", json={"a": 1}), 3),
            (client.tenants.update(7, paused=True), 1),
        ):
            with pytest.raises(ServerError) as caught:
                await update
            assert len(caught.value.attempts) == attempts


async def test_a_post_is_not_retried_after_a_lost_response(httpx_mock: HTTPXMock) -> None:
    """A sync whose response is lost is not retried. Its error has `outcome_unknown` set."""
    httpx_mock.add_exception(httpx.ReadTimeout("no response"))
    httpx_mock.add_exception(httpx.RemoteProtocolError("gone"))
    async with _client(retry=Retry(initial=0)) as client:
        with pytest.raises(RequestTimeout) as timed_out:
            await client.tenants.sync(1, mode="normal")
        with pytest.raises(ConnectionLost) as lost:
            await client.tenants.sync(1, mode="normal")
    assert timed_out.value.outcome_unknown
    assert lost.value.outcome_unknown
    assert len(httpx_mock.get_requests()) == 2


@pytest.mark.parametrize(
    ("first", "last"),
    [(httpx.ReadError("gone"), httpx.ConnectError("down")), (503, 404), (500, 429), (408, 400)],
)
async def test_an_earlier_attempt_can_make_the_outcome_unknown(
    httpx_mock: HTTPXMock, first: Exception | int, last: Exception | int
) -> None:
    """The outcome is unknown if any attempt, not only the last one, may have been executed."""
    for result in (first, last):
        if isinstance(result, Exception):
            httpx_mock.add_exception(result)
        else:
            httpx_mock.add_response(status_code=result)
    async with _client(retry=Retry(attempts=2, initial=0)) as client:
        with pytest.raises(PandiumError) as caught:
            await client.tenants.archive(1)
    assert len(caught.value.attempts) == 2
    assert caught.value.outcome_unknown


async def test_the_outcome_is_known_if_no_attempt_was_carried_out(httpx_mock: HTTPXMock) -> None:
    """The outcome is known if no attempt can have been executed."""
    httpx_mock.add_response(status_code=429)
    httpx_mock.add_response(status_code=404)
    async with _client(retry=Retry(initial=0)) as client:
        with pytest.raises(NotFound) as caught:
            await client.tenants.archive(1)
    assert len(caught.value.attempts) == 2
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("has_own_client", [False, True])
@pytest.mark.parametrize(
    "location",
    ["javascript:1", "mailto:a@b", "https:foo", "about:blank", "http://xn--/", "//:x"],
)
async def test_a_redirect_to_an_invalid_url_is_a_decode_error(
    httpx_mock: HTTPXMock,
    location: str,
    has_own_client: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    """An invalid URL in `Location` is a DecodeError after one attempt, not an httpx error."""
    httpx_mock.add_response(status_code=302, headers={"Location": location})
    async with (
        httpx.AsyncClient() as own_client,
        _client(http_client=own_client if has_own_client else None) as client,
    ):
        with pytest.raises(DecodeError, match="redirects") as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.outcome_unknown
    assert [attempt.result for attempt in caught.value.attempts] == [
        f"DecodeError: {caught.value.args[0]}"
    ]


LOG = "https://storage.example/log?signature=x"


@pytest.mark.parametrize("location", [LOG, LOG.replace("https", "HTTPS")])
async def test_the_scheme_of_a_log_url_may_be_in_upper_case(
    httpx_mock: HTTPXMock, location: str
) -> None:
    """A URL's scheme may be in upper or lower case, so a log is downloaded either way."""
    httpx_mock.add_response(status_code=302, headers={"Location": location})
    httpx_mock.add_response(url=LOG, text="done")
    async with _client() as client:
        assert await client.runs.log(1) == "done"


async def test_a_rate_limit_of_the_storage_host_pauses_no_other_request(
    httpx_mock: HTTPXMock,
) -> None:
    """`Retry-After` from the storage host applies to downloads, not to the API."""
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


async def test_retry_after_pauses_the_whole_client(httpx_mock: HTTPXMock) -> None:
    """A 429 with `Retry-After` pauses all requests of the client and its views."""
    httpx_mock.add_response(status_code=429, headers={"Retry-After": "0.2"})
    httpx_mock.add_response(json={"status": "Running"})
    async with _client() as client:
        with pytest.raises(RateLimited) as caught:
            await client.runs.status("1")
        assert caught.value.retry_after == 0.2
        start = anyio.current_time()
        await client.with_options(timeout=5).runs.status("2")
        assert anyio.current_time() - start >= 0.15


async def test_no_error_of_httpx_is_chained(httpx_mock: HTTPXMock) -> None:
    """Errors have no httpx error as cause or context, which would contain the request and key."""
    httpx_mock.add_exception(httpx.ConnectTimeout("slow"))
    async with _client() as client:
        with pytest.raises(PandiumError) as caught:
            await client.runs.status("1")
    error: BaseException | None = caught.value
    while error is not None:
        assert not type(error).__module__.startswith(("httpx", "httpcore", "tenacity"))
        error = error.__cause__ or error.__context__


async def test_an_http_client_of_the_user_is_not_modified(httpx_mock: HTTPXMock) -> None:
    """A user-supplied client's headers are used. The client is neither modified nor closed."""
    httpx_mock.add_response(json=[TENANT])
    async with httpx.AsyncClient(headers={"X-Team": "blue"}, timeout=3) as own_client:
        async with AsyncPandium(KEY, http_client=own_client, timeout=httpx.Timeout(7)) as client:
            assert (await client.tenants.list().to_list())[0].name == "acme"
        assert not own_client.is_closed
        assert own_client.timeout == httpx.Timeout(3)
        assert "x-api-key" not in own_client.headers
    [request] = httpx_mock.get_requests()
    assert request.headers["X-Team"] == "blue"
    assert request.extensions["timeout"] == {"connect": 7, "read": 7, "write": 7, "pool": None}


class _SilentTransport(httpx.AsyncBaseTransport):
    """A transport that is not built on httpcore. It accepts requests and never responds."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await anyio.sleep_forever()
        raise AssertionError


async def test_a_request_of_a_foreign_transport_may_have_been_sent() -> None:
    """After a timeout, the outcome is unknown if the transport reports no progress."""
    silent = _SilentTransport()
    async with (
        httpx.AsyncClient(transport=silent) as own_client,
        _client(http_client=own_client, timeout=0.05, retry=Retry(initial=0)) as client,
    ):
        with pytest.raises(RequestTimeout) as caught:
            await client.tenants.sync(7, mode="normal")
    assert caught.value.outcome_unknown
    assert len(silent.requests) == 1


async def test_an_unknown_status_is_logged_once(
    httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown status is logged once per client, unless `classify` is passed."""
    for status in ("Mulling", "Succeeded", "Mulling", "Succeeded", "Mulling"):
        httpx_mock.add_response(json={"status": status})
    fast = Polling(first=0, minimum=0)
    async with _client() as client:
        await client.runs.wait("1", poll=fast)
        await client.runs.wait("2", poll=fast)
        await client.runs.wait("3", poll=fast, classify=lambda _: Outcome.SUCCEEDED)
    assert sum("'Mulling'" in message for message in caplog.messages) == 1


class RecordingClock(RealClock):
    """A clock that returns from each sleep immediately and records the duration."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_clients_use_the_clock_that_drives_when_they_are_created(
    httpx_mock: HTTPXMock,
) -> None:
    """Only clients created inside `driving` use its clock."""
    httpx_mock.add_response(status_code=503, is_reusable=True)
    clock, retry = RecordingClock(), Retry(attempts=2, initial=0.001)
    before = AsyncPandium(KEY, retry=retry)
    with use_clock(clock):
        inside = AsyncPandium(KEY, retry=retry)
    after = AsyncPandium(KEY, retry=retry)
    for client, sleeps in ((before, 0), (inside, 1), (after, 1)):
        async with client:
            with pytest.raises(ServerError):
                await client.runs.status("1")
        assert len(clock.slept) == sleeps


async def test_each_header_is_sent_once(httpx_mock: HTTPXMock) -> None:
    """Header names are case-insensitive, and request headers override the client's."""
    httpx_mock.add_response(json={})
    async with _client() as client:
        view = client.with_options(headers={"user-agent": "mine/1", "X-Trace": "1"})
        headers = {"accept": "text/csv", "x-trace": "2", "content-type": "application/x+json"}
        await view.request("POST", "/v2/x", json={"a": 1}, headers=headers)
    [request] = httpx_mock.get_requests()
    sent = [(name.decode().lower(), value.decode()) for name, value in request.headers.raw]
    expected = {"accept": "text/csv", "user-agent": "mine/1", "x-trace": "2"}
    expected |= {"content-type": "application/x+json", "x-api-key": KEY}
    assert len(sent) == len(dict(sent))
    assert expected.items() <= dict(sent).items()


async def test_an_empty_response_is_an_error_only_for_models(httpx_mock: HTTPXMock) -> None:
    """An empty response is None or an empty object, but a DecodeError if a model is expected."""
    for _ in range(4):
        httpx_mock.add_response(status_code=204)
    async with _client() as client:
        assert await client.request("DELETE", "/v2/x") is None
        assert await client.builds.create(1, "v1", mode="init") is None
        assert await client.tenants.archive(7) == {}
        with pytest.raises(DecodeError, match="empty"):
            await client.tenants.sync(7, mode="init")
