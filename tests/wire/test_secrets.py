"""The API key is never shown or sent elsewhere, and an id never reaches another path."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import pickle
import string
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import anyio
import attrs
import httpx
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from pandium import AsyncPandium, Retry, errors
from support import servers as bad
from support.engines import ENGINES
from support.servers import Behavior, Misbehaving, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pandium import ResponseEvent

TIMEOUT = 20.0  # seconds, never reached
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))
_MAX_DEPTH = 12

# Each key starts with characters that no library text contains, to rule out false matches.
_PREFIX, _DIGITS = "K~9x", "90718"
_SUFFIX = st.text(string.ascii_letters + string.digits, min_size=1, max_size=9)
keys = st.one_of(
    st.text(_PRINTABLE, min_size=8, max_size=40).map(_PREFIX.__add__),
    st.tuples(st.just(_PREFIX), st.text(_PRINTABLE + " ", min_size=8, max_size=20), _SUFFIX).map(
        "".join
    ),
    st.text(string.digits, min_size=12, max_size=20).map(_DIGITS.__add__),
)

# Response bodies that contain the key
BODIES: dict[str, Callable[[str], bytes]] = {
    "message": lambda key: json.dumps({"message": f"bad key {key}!"}).encode(),
    "detail": lambda key: json.dumps({"detail": f"bad key {key}!"}).encode(),
    "details": lambda key: json.dumps(
        {"detail": [{"loc": ["header", key], "msg": f"no {key}", "type": key}]}
    ).encode(),
    "name": lambda key: json.dumps({key: {"nested": [key, {key: [key]}]}}).encode(),
    "upstream": lambda key: json.dumps({"detail": json.dumps({"data": {"sent": key}})}).encode(),
    "upstream, python": lambda key: json.dumps({"detail": str({"data": {"sent": key}})}).encode(),
    "escaped": lambda key: (
        b'{"message": "' + "".join(f"\\u{ord(c):04x}" for c in key).encode() + b'"}'
    ),
    "text": lambda key: f"<html>Hello {key}, who are you?</html>".encode(),
    "broken json": lambda key: f'{{"message": "{key}'.encode(),
    "string": lambda key: json.dumps(key).encode(),
    "number": lambda key: (key if key.isdigit() and key[0] != "0" else json.dumps(key)).encode(),
    "number within": lambda key: (
        f'{{"sent": {key if key.isdigit() and key[0] != "0" else json.dumps(key)}}}'.encode()
    ),
    "long": lambda key: b"x" * 195 + key.encode() + b"y" * 300,
    "binary": lambda key: b"\xff\xfe" + key.encode() + b"\x00",
}
STATUSES = ["400 Bad", "401 No", "404 No", "409 No", "422 No", "429 Wait", "500 Oops", "307 Move"]


def respond(status: str, body: bytes, headers: dict[str, str]) -> Behavior:
    async def play(wire: bad.Wire) -> None:
        await wire.send(answer(body, status, headers))

    return Behavior("respond", play, keeps=True)


def respond_raw(make: Callable[[str], bytes]) -> Callable[[str], Behavior]:
    return lambda key: bad.garbage(make(key))


# Invalid responses and broken connections, most of which echo the key
ECHOES: dict[str, Callable[[str], Behavior]] = {
    "garbage": respond_raw(lambda key: f"X-API-KEY: {key}\r\n\r\n".encode()),
    "status line": respond_raw(lambda key: f"HTTP/1.1 {key}\r\n\r\n".encode()),
    "reason": respond_raw(
        lambda key: f"HTTP/1.1 400 {key}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    ),
    "header line": respond_raw(lambda key: f"HTTP/1.1 200 OK\r\n{key}\r\n\r\n".encode()),
    "header name": respond_raw(lambda key: f"HTTP/1.1 200 OK\r\n({key}): 1\r\n\r\n".encode()),
    "length": respond_raw(lambda key: f"HTTP/1.1 200 OK\r\nContent-Length: {key}\r\n\r\n".encode()),
    "two lengths": respond_raw(
        lambda key: (
            f"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2{key}\r\n\r\n{key}".encode()
        )
    ),
    "encoding": respond_raw(
        lambda key: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {key}\r\n\r\n".encode()
    ),
    "content encoding": lambda key: respond("200 OK", b"{}", {"Content-Encoding": key}),
    "chunk": respond_raw(
        lambda key: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n".encode()
    ),
    "success of the wrong shape": lambda key: respond("200 OK", json.dumps([key]).encode(), {}),
    "success of the wrong type": lambda key: respond(
        "200 OK", json.dumps({"status": [key]}).encode(), {}
    ),
    "success that is not JSON": lambda key: respond("200 OK", f"{{{key}".encode(), {}),
    "lost": lambda key: bad.close("all"),
    "reset": lambda key: bad.reset("all"),
    "stall": lambda key: bad.stall_before_the_answer(),
}

CALLS: list[Callable[[AsyncPandium], Awaitable[object]]] = [
    lambda client: client.runs.status("t-1"),
    lambda client: client.tenants.sync(7, mode="normal"),
    lambda client: client.tenants.update_metadata(7, {"a": 1}),
    lambda client: client.connectors.call(7, "crm", method="GET", target_url="https://a.example/"),
    lambda client: client.tenants.list().to_list(),
    lambda client: client.runs.log(7),
    lambda client: client.request("GET", "/v2/other"),
]
ANY_JSON = CALLS[-1]  # accepts any JSON


@pytest.fixture(scope="module")
def server() -> Iterator[Misbehaving]:
    with Misbehaving() as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Misbehaving]:
    with Misbehaving() as running:
        yield running


class LogRecorder(logging.Handler):
    """A handler that stores each record as formatted text and with all of its attributes."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [self.format(record), repr(vars(record))]


@contextmanager
def recorded_logs() -> Iterator[LogRecorder]:
    log, records = logging.getLogger("pandium"), LogRecorder()
    level = log.level
    log.addHandler(records)
    log.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        log.removeHandler(records)
        log.setLevel(level)


def texts_of(value: object, depth: int = 0) -> Iterator[str]:  # noqa: C901 - one case for each type
    """Yield all text that is reachable from an error through its attributes and its chain."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, (bytes, bytearray)):
        yield bytes(value).decode("latin-1")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_of(key, depth + 1)
            yield from texts_of(item, depth + 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from texts_of(item, depth + 1)
    elif isinstance(value, BaseException):
        yield from (str(value), repr(value))
        chain = (value.__cause__, value.__context__)
        notes = getattr(value, "__notes__", ())
        yield from texts_of([value.args, vars(value), notes, *chain], depth + 1)
    elif attrs.has(type(value)):
        yield repr(value)
        yield from texts_of(attrs.asdict(value, recurse=False), depth + 1)  # type: ignore[arg-type]
    elif value is not None:
        yield from (str(value), repr(value))
        yield from texts_of(getattr(value, "__dict__", None), depth + 1)


def assert_hidden(key: str, error: BaseException, records: LogRecorder) -> None:
    texts = [*texts_of(error), *traceback.format_exception(error), *records.texts]
    texts.append(pickle.dumps(error).decode("latin-1"))
    texts += texts_of(pickle.loads(pickle.dumps(error)))
    for text in texts:
        assert key not in text


def failure_of(
    key: str, url: str, call: Callable[[AsyncPandium], Awaitable[object]], **options: Any
) -> tuple[errors.PandiumError, LogRecorder]:
    """Return the error and the logs of a failing call, and check the client's reprs."""

    async def run() -> errors.PandiumError:
        async with AsyncPandium(
            key,
            base_url=url,
            **{"timeout": TIMEOUT, "retry": Retry(attempts=2, initial=0), **options},
        ) as client:
            view = client.with_options(headers={"X-Team": "blue"})
            listing = client.tenants.list(integration_id=1)
            resources = [client.builds, client.connectors, client.integrations, client.releases]
            for value in (client, view, listing, *resources, client.runs, client.tenants):
                assert key not in repr(value) + str(value)
            with pytest.raises(errors.PandiumError) as caught:
                await call(client)
            return caught.value

    with recorded_logs() as records:
        return asyncio.run(run()), records


quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@given(
    key=keys,
    status=st.sampled_from(STATUSES),
    body=st.sampled_from(sorted(BODIES)),
    call=st.sampled_from(CALLS),
    header=st.sampled_from(["X-Echo", "Location", "Retry-After", "Content-Type", "Date", "Via"]),
)
@example(key="1234567890123", status="400 Bad", body="number", call=CALLS[0], header="X-Echo")
@example(key="1234567890123", status="400 Bad", body="number within", call=CALLS[0], header="Via")
@quick
def test_an_echoed_key_is_redacted(  # noqa: PLR0917 - hypothesis passes them by name
    server: Misbehaving,
    key: str,
    status: str,
    body: str,
    call: Callable[[AsyncPandium], Awaitable[object]],
    header: str,
) -> None:
    """If an error response echoes the key in its body or headers, no error or log shows it."""
    headers = {header: f"a {key}", "X-Other": key}
    server.play([], otherwise=respond(status, BODIES[body](key), headers))
    error, records = failure_of(key, server.url, call)
    assert_hidden(key, error, records)


# Parts of a log's URL that echo the key
LOG_URLS = [
    "http://{host}/logs/{key}/1",
    "http://{key}:pw@{host}/log",
    "http://u:{key}@{host}/log",
    "http://[:{key}@{host}/log",  # urllib.parse cannot parse this user name
]


@given(key=keys, log_url=st.sampled_from(LOG_URLS))
@quick
def test_a_log_url_that_echoes_the_key_is_redacted(
    server: Misbehaving, key: str, log_url: str
) -> None:
    """If the URL of a log contains the key, no error, event or log record shows it."""
    host = server.url.removeprefix("http://")
    location = log_url.format(host=host, key=quote(key, safe=""))
    server.play(
        [respond("302 Found", b"", {"Location": location})],
        otherwise=respond("400 Bad", b"", {}),
    )
    events: list[ResponseEvent] = []
    seen = server.seen
    error, records = failure_of(key, server.url, CALLS[5], on_response=events.append)
    shown = [error.url or "", str(error), *records.texts, *map(repr, events)]
    for spelling in (key, quote(key, safe="")):
        assert all(spelling not in text for text in shown)
    assert server.seen == seen + 2


@given(key=keys, echo=st.sampled_from(sorted(ECHOES)), call=st.sampled_from(CALLS))
@example(key="a-key-with-a-mark", echo="garbage", call=CALLS[0])
@example(key="a-key-with-a-mark", echo="status line", call=CALLS[1])
@example(key="a-key-with-a-mark", echo="length", call=CALLS[0])
@example(key="a-key-with-a-mark", echo="encoding", call=CALLS[0])
@example(key="a-key-with-a-mark", echo="chunk", call=CALLS[0])
@example(key="a-key-with-a-mark", echo="content encoding", call=CALLS[0])
@quick
def test_no_failure_below_http_shows_the_key(
    server: Misbehaving,
    key: str,
    echo: str,
    call: Callable[[AsyncPandium], Awaitable[object]],
) -> None:
    """No error for an invalid response, a lost connection or a stall shows the key."""
    assume(not (echo.startswith("success of the wrong") and call is ANY_JSON))
    server.play([], otherwise=ECHOES[echo](key))
    timeout = httpx.Timeout(TIMEOUT, read=0.02 if echo == "stall" else TIMEOUT)
    error, records = failure_of(key, server.url, call, timeout=timeout)
    assert_hidden(key, error, records)


CUT_ECHOES: dict[str, Callable[[int, str], Behavior]] = {
    "header line": lambda length, key: bad.garbage(
        f"HTTP/1.1 200 OK\r\n({'-' * length}{key}\r\n\r\n".encode()
    ),
    "content encoding": lambda length, key: respond(
        "200 OK", b"{}", {"Content-Encoding": "-" * length + key}
    ),
}


@pytest.mark.parametrize("echo", sorted(CUT_ECHOES))
def test_no_part_of_the_key_is_left_where_an_error_is_cut(server: Misbehaving, echo: str) -> None:
    """An error for an invalid response is redacted before it is cut, so that the key is found."""
    key, call = "0123456789" * 20, CALLS[0]
    for length in range(0, 4000, 150):
        server.play([], otherwise=CUT_ECHOES[echo](length, key))
        error, _ = failure_of(key, server.url, call, retry=Retry.never())
        assert key[:10] not in str(error)
        assert len(str(error)) < 2200
    assert str(error).endswith("...")


@given(key=keys, call=st.sampled_from(CALLS))
@settings(quick, max_examples=20)
def test_no_failure_to_connect_shows_the_key(
    key: str, call: Callable[[AsyncPandium], Awaitable[object]]
) -> None:
    """The error and the log of a refused connection do not show the key."""
    with Misbehaving(is_listening=False) as server:
        error, records = failure_of(key, server.url, call)
    assert type(error) is errors.ConnectFailed
    assert_hidden(key, error, records)


@given(key=keys)
@settings(quick, max_examples=20)
def test_errors_of_misuse_show_no_key(server: Misbehaving, key: str) -> None:
    """The error for a closed client or a second event loop does not show the key."""
    server.play([])
    client = AsyncPandium(key, base_url=server.url)

    async def use() -> None:
        await client.runs.status("t-1")
        await client.aclose()

    asyncio.run(use())
    with recorded_logs() as records, pytest.raises(errors.PandiumError) as caught:
        asyncio.run(client.runs.status("t-1"))
    assert_hidden(key, caught.value, records)


# Tracebacks

HEAD_KEY = "sekrit-key-0123456789"
SIGNATURE = "signature=0123456789abcdef"
HOOK_ERROR = ValueError("a hook's own")


def leaks_in(error: BaseException) -> Iterator[str]:
    """Yield each local variable that shows the key in the frames of an error and its chain."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        pending += current.__cause__, current.__context__
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions
        for frame, line in traceback.walk_tb(current.__traceback__):
            if frame.f_code.co_filename != __file__:
                place = f"{frame.f_code.co_filename}:{line}"
                yield from (
                    f"{place}: {name}"
                    for name, value in frame.f_locals.items()
                    if HEAD_KEY in shown(value)
                )


def shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a partly initialized object may raise anything
        return ""


async def fail(client: AsyncPandium, call: Callable[[AsyncPandium], Awaitable[object]]) -> None:
    """Make a call and check the traceback of its error or cancellation."""
    try:
        await call(client)
    except BaseException as error:
        assert list(leaks_in(error)) == []  # noqa: PT017 - cancellations are also caught
        raise


def echo(status: str) -> Behavior:
    body = json.dumps({"detail": HEAD_KEY}).encode()
    return respond(status, body, {"X-Echo": HEAD_KEY, "Location": f"/?{HEAD_KEY}"})


FAILURES: dict[str, Behavior] = {
    "error": echo("400 Bad"),
    "unavailable": echo("503 Wait"),
    "redirect": echo("307 Move"),
    "another shape": respond("200 OK", json.dumps([HEAD_KEY]).encode(), {}),
    "another type": respond("200 OK", json.dumps({"status": [HEAD_KEY]}).encode(), {}),
    "not JSON": respond("200 OK", f"{{{HEAD_KEY}".encode(), {"X-Echo": HEAD_KEY}),
    "header line": ECHOES["header line"](HEAD_KEY),
    "chunk": ECHOES["chunk"](HEAD_KEY),
    "encoding": respond("200 OK", HEAD_KEY.encode(), {"Content-Encoding": "gzip"}),
    "lost": bad.close("all"),
    "reset": bad.reset("all"),
    "reset at once": bad.reset("nothing"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["error", "redirect", "another shape"])
async def test_no_frame_shows_the_response_if_a_callback_is_canceled(name: str) -> None:
    """If a call is canceled in `on_response`, its frames do not show the response."""
    called = anyio.Event()

    async def on_response(_: ResponseEvent) -> None:
        called.set()
        await anyio.sleep_forever()

    with Misbehaving(otherwise=FAILURES[name]) as server:
        async with (
            AsyncPandium(HEAD_KEY, base_url=server.url, on_response=on_response) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(fail, client, lambda client: client.runs.status("t-1"))
            await called.wait()
            tasks.cancel_scope.cancel()


LONG = "a" * 70_000


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("failure", sorted(FAILURES))
def test_no_traceback_has_the_key_in_a_local_variable(
    server: Misbehaving, failure: str, backend: str
) -> None:
    """No frame of a failed call contains the key or a response that echoes it."""
    server.play([], otherwise=FAILURES[failure])

    async def run() -> None:
        client = AsyncPandium(HEAD_KEY, base_url=server.url, retry=Retry(attempts=2, initial=0))
        async with client:
            for call in CALLS:
                if not (call is ANY_JSON and failure.startswith("another")):
                    with suppress(errors.PandiumError):
                        await fail(client, call)

    anyio.run(run, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("failure", ["error", "redirect", "encoding", "lost", "reset at once"])
@pytest.mark.parametrize("path", ["log?signature=", "logs/"])
def test_no_traceback_has_a_signed_url_in_a_local_variable(
    server: Misbehaving, path: str, failure: str, backend: str
) -> None:
    """No frame of a failed download shows a secret in the query or the path of the log's URL."""
    signed = f"{server.url}/{path}{HEAD_KEY}"
    server.play([bad.status("302 Found", Location=signed)], otherwise=FAILURES[failure])

    async def run() -> None:
        options: dict[str, Any] = {"base_url": server.url, "retry": Retry(attempts=2, initial=0)}
        async with AsyncPandium(HEAD_KEY, **options) as client:
            with pytest.raises(errors.PandiumError) as caught:
                await fail(client, lambda client: client.runs.log(1))
        assert caught.value.url == f"{server.url}/{'logs/***' if path == 'logs/' else 'log'}"

    anyio.run(run, backend=backend)


@pytest.mark.anyio
async def test_an_unexpected_redirect_shows_no_signed_url() -> None:
    """If `client.request` is redirected, as for a log, no error or event shows the URL."""
    events: list[ResponseEvent] = []
    signed = f"http://storage.example/log?signature={HEAD_KEY}"
    redirect = respond("302 Found", f'<a href="{signed}">'.encode(), {"Location": signed})
    with Misbehaving(redirect) as server:
        async with AsyncPandium(
            "another-key-0123456789", base_url=server.url, on_response=events.append
        ) as client:
            with pytest.raises(errors.APIError) as caught:
                await client.request("GET", "/v2/runs/1/log")
    error = caught.value
    assert (error.status_code, error.message, len(events)) == (302, "", 1)
    assert all(HEAD_KEY not in repr(one) for one in [error, vars(error), events])


@pytest.mark.anyio
async def test_an_error_of_a_log_shows_no_location() -> None:
    """Whatever the status of the response to a request for a log, no signed URL is shown."""
    events: list[ResponseEvent] = []
    url = f"http://storage.example/log?signature={HEAD_KEY}"
    headers = {"Location": url, "Content-Location": url, "Link": f"<{url}>", "Refresh": f"0;{url}"}
    with Misbehaving(respond("404 Not Found", b"{}", headers)) as server:
        async with AsyncPandium(
            "another-key-0123456789", base_url=server.url, on_response=events.append
        ) as client:
            with pytest.raises(errors.NotFound) as caught:
                await client.runs.log(1)
    assert all(HEAD_KEY not in repr(one) for one in [vars(caught.value), events])


@pytest.mark.anyio
async def test_an_error_of_the_storage_host_shows_no_signed_url(
    server: Misbehaving, other: Misbehaving
) -> None:
    """Not even a header that says when to retry may repeat the signed URL."""
    signed = f"{other.url}/run.log?signature={HEAD_KEY}"
    server.play([bad.status("302 Found", Location=signed)])
    other.play([bad.status("403 No", Retry_After=signed)])
    async with AsyncPandium("another-key-0123456789", base_url=server.url) as client:
        with pytest.raises(errors.APIError) as caught:
            await client.runs.log(1)
    assert caught.value.headers["retry-after"].endswith("?***")
    assert HEAD_KEY not in repr(vars(caught.value))


class RequestsError(OSError):
    """An error of another library, which is an `OSError` and shows the URL."""


class UnimportableError(OSError):
    """An error of code that was compiled at runtime, whose constructor takes other arguments."""

    __module__ = "builtins"

    def __init__(self, url: httpx.URL, text: str) -> None:
        super().__init__(f"{text} to {url}")


def in_text(request: httpx.Request) -> OSError:
    return ConnectionError(f"no connection to {request.url} with {dict(request.headers)}")


def in_text_of_number(request: httpx.Request) -> OSError:
    return OSError(errno.ECONNRESET, f"{request.url} {request.headers.get('x-api-key')}")


def in_text_without_number(request: httpx.Request) -> OSError:
    return OSError(None, f"{request.url} {request.headers.get('x-api-key')}")


def in_object(request: httpx.Request) -> OSError:
    return ConnectionError(request.url, dict(request.headers))


def in_note(request: httpx.Request) -> OSError:
    error = ConnectionError("no connection")
    error.add_note(f"{request.url} {dict(request.headers)}")
    return error


def in_context(request: httpx.Request) -> OSError:
    error = ConnectionError("no connection")
    error.__context__ = ValueError(f"{request.url} {dict(request.headers)}")
    return error


def in_class_of_another_library(request: httpx.Request) -> OSError:
    return RequestsError(f"no connection to {request.url} with {dict(request.headers)}")


def in_class_without_module(request: httpx.Request) -> OSError:
    return UnimportableError(request.url, "no connection")


@pytest.mark.anyio
@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize(
    "create",
    [
        in_text,
        in_text_of_number,
        in_text_without_number,
        in_object,
        in_note,
        in_context,
        in_class_of_another_library,
        in_class_without_module,
    ],
)
async def test_the_cause_of_an_error_shows_no_secret(
    create: Callable[[httpx.Request], OSError], *, is_signed: bool
) -> None:
    """A cause repeats what an `OSError` says, without the key, a signed URL or what led to it."""

    def fail(request: httpx.Request) -> httpx.Response:
        if is_signed and request.url.path.endswith("/log"):
            return httpx.Response(302, headers={"Location": f"http://storage.example/?{SIGNATURE}"})
        raise create(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as mine:
        client = AsyncPandium(HEAD_KEY, http_client=mine, retry=Retry.never())
        with pytest.raises(errors.ConnectionLost) as caught:
            await client.runs.log(1)
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert HEAD_KEY not in shown
    assert SIGNATURE not in shown
    is_builtin = create not in (in_class_of_another_library, in_class_without_module)
    assert isinstance(caught.value.__cause__, OSError) is is_builtin


@pytest.mark.anyio
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("failure", ["not HTTP", "chunk"])
async def test_no_error_of_a_transport_shows_a_signed_url(
    server: Misbehaving, engine: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With any transport, an error of a log's download shows no query, in text, pickle or log."""
    signed = f"{server.url}/log?name=a%2Fb'c&signature=SIGNATURE"
    lost = bad.bad_chunk() if failure == "chunk" else bad.garbage()
    server.play([bad.status("302 Found", Location=signed)], otherwise=lost)
    caplog.set_level(logging.DEBUG, "pandium")
    async with ENGINES[engine]() as mine:
        options: dict[str, Any] = {"base_url": server.url, "retry": Retry(attempts=2, initial=0)}
        client = AsyncPandium(HEAD_KEY, http_client=mine, **options)
        with pytest.raises(errors.ConnectionLost) as caught:
            await client.runs.log(1)
    shown = f"{caught.value!r} {pickle.dumps(caught.value)!r} {caplog.text}"
    assert "SIGNATURE" not in shown
    assert len(caught.value.attempts) == 2


ECHOED = "sig/of+the+log=="


@pytest.mark.anyio
@pytest.mark.parametrize("mark", ["?", "#part?"])
@pytest.mark.parametrize("echoed", [ECHOED, quote(ECHOED, safe=""), ECHOED.replace("/", "\\/")])
@pytest.mark.parametrize(
    "reply",
    [
        "HTTP/1.1 403 {}\r\nRetry-After: {}\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: {}\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 307 X\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        "{}\r\n\r\n",
    ],
)
async def test_a_storage_host_may_echo_the_secrets_of_a_signed_url(
    reply: str, echoed: str, mark: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A secret of a signed URL is hidden, even outside a URL and if its characters are escaped."""
    caplog.set_level(logging.DEBUG)
    events: list[object] = []
    options: dict[str, Any] = {"retry": Retry.never(), "on_response": events.append}
    # An engine of an earlier test may still send a request to the shared server.
    with Misbehaving() as own:
        signed = f"{own.url}/log{mark}user=ann&signature={quote(ECHOED, safe='')}"
        echo = bad.reply(reply.format(echoed, echoed))
        own.play([bad.status("302 Found", Location=signed)], otherwise=echo)
        async with AsyncPandium(HEAD_KEY, base_url=own.url, **options) as client:
            with pytest.raises(errors.PandiumError) as caught:
                await client.runs.log(1)
    error = caught.value
    shown = f"{error!r} {pickle.dumps(error)!r} {vars(error)} {events} {caplog.text}"
    assert "/of" not in shown
    assert "%2Fof" not in shown
    assert str(error.url).endswith("/log")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_traceback_of_a_hook_has_a_signed_url_in_a_local_variable(backend: str) -> None:
    """If a hook raises an error during the download, our frames do not contain the query."""

    async def hook(response: httpx.Response) -> None:
        if response.url.path == "/log":
            raise HOOK_ERROR

    async def run(url: str) -> None:
        async with httpx.AsyncClient(event_hooks={"response": [hook]}) as mine:
            client = AsyncPandium("another-key-0123", base_url=url, http_client=mine)
            with pytest.raises(ValueError, match="a hook's own"):
                await fail(client, lambda client: client.runs.log(1))

    # An engine of an earlier test may still send a request to the shared server.
    with Misbehaving() as own:
        signed = f"{own.url}/log?signature={HEAD_KEY}"
        own.play([bad.status("302 Found", Location=signed)])
        anyio.run(run, own.url, backend=backend)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("is_signed", [False, True], ids=["key", "signed URL"])
def test_no_traceback_of_a_hook_shows_what_an_engine_was_sending(
    engine: str,
    is_signed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """If a hook sends a request again and this fails, no frame has the key or a signed URL."""

    async def run(url: str) -> None:
        async with ENGINES[engine]() as mine:

            async def again(response: httpx.Response) -> None:
                if response.status_code == 401:
                    await response.aread()
                    await mine.send(response.request)

            mine.event_hooks = {"response": [again]}
            key = "another-key-0123" if is_signed else HEAD_KEY
            client = AsyncPandium(key, base_url=url, http_client=mine, retry=Retry.never())
            with pytest.raises(httpx.HTTPError):
                await fail(client, CALLS[5] if is_signed else CALLS[0])

    with Misbehaving() as own:
        redirect = bad.status("302 Found", Location=f"{own.url}/log?signature={HEAD_KEY}")
        own.play([redirect] * is_signed + [bad.status("401 No")], otherwise=bad.close("all"))
        asyncio.run(run(own.url))


@pytest.mark.parametrize("failure", ["lost", "reset", "reset at once", "header line"])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_traceback_of_an_engine_has_the_key_in_a_local_variable(
    server: Misbehaving, engine: str, failure: str
) -> None:
    """No frame of a failed call contains the key, whatever transport the `http_client` uses."""
    server.play([], otherwise=FAILURES[failure])
    asyncio.run(fail_over(engine, server.url))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_traceback_of_an_engine_that_cannot_connect_has_the_key(engine: str) -> None:
    """No frame of a call that could not connect contains the key, as in the previous test."""
    with Misbehaving(is_listening=False) as absent:
        url = absent.url
    asyncio.run(fail_over(engine, url))


async def fail_over(engine: str, url: str) -> None:
    """Check the tracebacks of failing calls over an engine."""
    async with ENGINES[engine]() as mine:
        client = AsyncPandium(HEAD_KEY, base_url=url, http_client=mine, retry=Retry.never())
        for call in CALLS:
            with pytest.raises(errors.PandiumError):
                await fail(client, call)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_traceback_of_misuse_has_the_key_in_a_local_variable(backend: str) -> None:
    """No frame of a call that is rejected before it is sent contains the key."""
    with Misbehaving(is_listening=False) as absent:
        client = AsyncPandium(HEAD_KEY, base_url=absent.url, retry=Retry.never())
    calls: list[Callable[[AsyncPandium], Awaitable[object]]] = [
        lambda client: client.request("GET", f"/{LONG}"),
        lambda client: client.tenants.list(user_name=LONG).to_list(),
        lambda client: client.request("GET", "/", headers={"X-Bad": "a\nb"}),
        lambda client: client.tenants.sync(1, mode="normal", payload={"a": object()}),
    ]

    async def misuse() -> None:
        for call in calls:
            with pytest.raises(ValueError, match=r"cannot be (sent|encoded)|must|invalid"):
                await fail(client, call)
        with pytest.raises(errors.ConnectFailed):
            await fail(client, CALLS[0])

    async def use_elsewhere() -> None:
        with pytest.raises(errors.PandiumError, match="another event loop"):
            await fail(client, CALLS[0])
        await client.aclose()
        with pytest.raises(errors.PandiumError, match="closed"):
            await fail(client, CALLS[0])

    anyio.run(misuse, backend=backend)
    anyio.run(use_elsewhere, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_cancellation_has_the_key_in_a_local_variable(server: Misbehaving, backend: str) -> None:
    """Wherever a call is canceled, no frame of the cancellation contains the request head."""
    server.play([], otherwise=bad.stall_before_the_answer())

    async def run(checkpoints: int) -> None:
        client = AsyncPandium(HEAD_KEY, base_url=server.url)
        async with client, anyio.create_task_group() as tasks:
            tasks.start_soon(fail, client, CALLS[1])
            for _ in range(checkpoints):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await anyio.lowlevel.checkpoint()  # asyncio closes the socket in the next step

    for checkpoints in range(30):
        anyio.run(run, checkpoints, backend=backend)


# The head is larger than the socket buffers, so that sending it blocks.
BIG = {"X-Big": "b" * 20_000_000}


async def read_nothing(wire: bad.Wire) -> None:
    await asyncio.sleep(0.5)
    await wire.reset()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seconds", [0.2, 10.0], ids=["canceled", "reset"])
def test_no_failure_to_send_the_head_has_the_key_in_a_local_variable(
    server: Misbehaving, seconds: float, backend: str
) -> None:
    """If sending the head is canceled or fails, no frame contains the request head."""
    server.play([], otherwise=Behavior("read nothing", read_nothing, "nothing"))

    async def run() -> None:
        client = AsyncPandium(HEAD_KEY, base_url=server.url, retry=Retry.never())
        async with client:
            with anyio.move_on_after(seconds) as scope, suppress(errors.TransportError):
                await fail(client.with_options(headers=BIG), CALLS[1])
        assert scope.cancelled_caught is (seconds < 1)

    anyio.run(run, backend=backend)


def test_the_error_of_a_hook_is_unchanged(server: Misbehaving) -> None:
    """An error from a user's hook keeps its frames, and no other frame contains the key."""
    server.play([])

    async def hook(_: httpx.Response) -> None:
        await anyio.lowlevel.checkpoint()
        raise HOOK_ERROR

    async def run() -> None:
        async with httpx.AsyncClient(event_hooks={"response": [hook]}) as http_client:
            client = AsyncPandium(HEAD_KEY, base_url=server.url, http_client=http_client)
            await fail(client, CALLS[0])

    with pytest.raises(ValueError, match="a hook's own") as caught:
        asyncio.run(run())
    assert caught.value is HOOK_ERROR
    assert caught.traceback[-1].name == "hook"


def test_the_search_for_local_variables_finds_them() -> None:
    """`leaks_in` finds the key in the frames of other files and along the chain."""
    with pytest.raises(ValueError, match="Expecting") as failed:
        json.loads(HEAD_KEY)
    assert any("decoder.py" in leak for leak in leaks_in(failed.value))
    error = KeyError()
    error.__context__ = BaseExceptionGroup("", [failed.value])
    assert any("decoder.py" in leak for leak in leaks_in(error))


# Logs of the underlying libraries


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("is_ours", [True, False], ids=["own client", "user's client"])
def test_no_log_of_any_logger_shows_the_key_or_a_signed_url(
    server: Misbehaving,
    other: Misbehaving,
    caplog: pytest.LogCaptureFixture,
    backend: str,
    *,
    is_ours: bool,
) -> None:
    """At level DEBUG, no log record contains the key or the signature of a URL."""
    signed = f"{other.url}/run.log?file='a b'&X-Amz-Signature=SIGNATURE"
    server.play(
        [
            echo("400 Bad"),
            respond("307 Move", b"", {"Location": signed, "X-Echo": HEAD_KEY}),
            ECHOES["reason"](HEAD_KEY),
        ]
    )
    other.play([], otherwise=respond("403 No", b"SIGNATURE", {"Link": f"<{signed}>; rel=next"}))

    async def run() -> None:
        async with httpx.AsyncClient() as http_client:
            client = AsyncPandium(
                HEAD_KEY,
                base_url=server.url,
                retry=Retry.never(),
                http_client=None if is_ours else http_client,
            )
            for call in (CALLS[0], lambda client: client.runs.log(7), CALLS[0]):
                with pytest.raises(errors.PandiumError):
                    await call(client)
            await client.aclose()

    with caplog.at_level(logging.DEBUG):
        anyio.run(run, backend=backend)
    names = {record.name for record in caplog.records}
    assert {"pandium", "httpcore2.http11" if is_ours else "httpcore.http11"} <= names
    for record in caplog.records:
        text = f"{record.getMessage()} {vars(record)!r}"
        assert HEAD_KEY not in text
        assert "SIGNATURE" not in text


# The key


@given(
    key=keys,
    code=st.sampled_from([301, 302, 303, 307, 308]),
    call=st.sampled_from(CALLS),
    suffix=st.sampled_from(["", "/", "/v2/tenants", "/log?signature=s3cr3t"]),
)
@quick
def test_the_key_is_sent_only_to_the_configured_origin(  # noqa: PLR0917 - hypothesis passes them by name
    server: Misbehaving,
    other: Misbehaving,
    key: str,
    code: int,
    call: Callable[[AsyncPandium], Awaitable[object]],
    suffix: str,
) -> None:
    """Only log redirects are followed, and the download request does not contain the key."""
    cookie = {"Location": f"{other.url}{suffix}", "Set-Cookie": f"key={key}; Path=/"}
    server.play([respond(f"{code} Moved", b"", cookie)])
    other.play([], otherwise=bad.status("403 Forbidden", f"unknown key {key}".encode()))
    before, other_before = len(server.requests), len(other.requests)
    error, records = failure_of(key, server.url, call)
    assert_hidden(key, error, records)
    assert [request.header("x-api-key") for request in server.requests[before:]] == [key]
    is_log = server.requests[-1].path == "/v2/runs/7/log"
    assert len(other.requests) - other_before == (1 if is_log else 0)
    for request in other.requests[other_before:]:
        assert not any(key in name + value for name, value in request.headers)
        assert request.header("x-api-key") is None
        assert key not in request.target


# Ids and headers

ids = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.text("/.%?#&=\\;:@ \r\n\t2eEfF+~", min_size=1, max_size=12),
    st.sampled_from(
        ["../..", "..%2f", "%2e%2e", "a/../b", ".", "..", "...", "a\r\nX-Evil: 1", "a?b"]
    ),
)
PATHS: list[tuple[int, int, Callable[[AsyncPandium, str], Awaitable[object]]]] = [
    # The number of segments, the index of the id, and the call
    (5, 3, lambda client, id_: client.runs.status(id_)),
    (4, 2, lambda client, id_: client.tenants.sync(id_, mode="normal")),  # type: ignore[arg-type]
    (3, 2, lambda client, id_: client.tenants.archive(id_)),  # type: ignore[arg-type]
    (4, 2, lambda client, id_: client.tenants.metadata(id_)),  # type: ignore[arg-type]
    (5, 4, lambda client, id_: client.releases.get(1, id_)),  # type: ignore[arg-type]
    (
        6,
        4,
        lambda client, id_: client.connectors.call(7, id_, method="GET", target_url="https://a.b/"),
    ),
]


@given(id_=ids, path=st.sampled_from(PATHS))
@settings(quick, max_examples=200)
def test_no_id_reaches_another_path(
    server: Misbehaving,
    id_: str,
    path: tuple[int, int, Callable[[AsyncPandium, str], Awaitable[object]]],
) -> None:
    """An id is sent as exactly one encoded path segment or rejected before anything is sent."""
    segments, position, call = path
    server.play([], otherwise=bad.status("404 Not Found"))
    before = len(server.requests)

    async def run() -> None:
        async with AsyncPandium("a-key-of-a-user", base_url=server.url, timeout=TIMEOUT) as client:
            with pytest.raises((errors.NotFound, ValueError)):
                await call(client, id_)

    asyncio.run(run())
    sent = server.requests[before:]
    if id_ in (".", "..") or not id_.strip():
        assert not sent
        return
    if not sent:
        assert id_ != id_.strip()  # which no trigger's id may have
        return
    [request] = sent
    line, _, _ = request.target.partition("?")
    assert request.target.isascii()
    assert "#" not in request.target
    begin, *parts = line.split("/")
    assert begin == ""
    assert len(parts) == segments
    assert unquote(parts[position], errors="strict") == id_
    assert all(part.isalnum() for part in parts[:position] + parts[position + 1 :])
    assert request.header("x-evil") is None


@given(
    name=st.text(min_size=1, max_size=12),
    value=st.text(max_size=20),
)
@example(name="X-Team", value="blue\r\nX-Evil: 1")
@example(name="X-Team\r\nX-Evil", value="1")
@example(name="X-API-KEY", value="another")
@example(name="X-Team", value="blue ")
@example(name="X-Team", value=" blue")
@example(name="X(Team)", value="blue")
@settings(quick, max_examples=100)
def test_no_header_injects_another(server: Misbehaving, name: str, value: str) -> None:
    """
    A user's header is sent unchanged, or is rejected as an argument before anything is sent.

    It cannot add lines or replace the key.
    """
    server.play([])
    before = len(server.requests)

    async def run() -> None:
        async with AsyncPandium("a-key-of-a-user", base_url=server.url, timeout=TIMEOUT) as client:
            await client.with_options(headers={name: value}).runs.status("t-1")

    try:
        asyncio.run(run())
    except ValueError:
        assert len(server.requests) == before
        return
    request = server.requests[-1]
    assert request.header(name) == value
    assert request.header("x-api-key") == "a-key-of-a-user"
    assert request.header("x-evil") is None


def test_the_search_for_secrets_finds_them() -> None:
    """`texts_of` and `recorded_logs` find text anywhere in an error or record."""
    error = errors.APIError("x", status_code=400, body={"a": [{"secret": 1}]})
    error.__cause__ = OSError("caused by another")
    error.add_note("a note")
    found = " ".join(texts_of(error))
    for text in ("secret", "caused by another", "a note"):
        assert text in found
    with recorded_logs() as records:
        logging.getLogger("pandium").debug("of %s", "a debugger")
    assert any("of a debugger" in text for text in records.texts)
