"""The key shows nowhere and goes nowhere else; no id reaches another path."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import string
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import attrs
import httpx
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from pandium import AsyncPandium, Retry, errors
from support import servers as bad
from support.servers import Behaviour, Misbehaving, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

PATIENT = 20.0
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))
_MOST_DEPTH = 12

# Each key has a beginning that no text of ours has, as one that is a word of ours would be found.
_BEGIN, _DIGITS = "K~9x", "90718"
_MARK = st.text(string.ascii_letters + string.digits, min_size=1, max_size=9)
keys = st.one_of(
    st.text(_PRINTABLE, min_size=8, max_size=40).map(_BEGIN.__add__),
    st.tuples(st.just(_BEGIN), st.text(_PRINTABLE + " ", min_size=8, max_size=20), _MARK).map(
        "".join
    ),
    st.text(string.digits, min_size=12, max_size=20).map(_DIGITS.__add__),
)

# Texts that hold the key, as an answer of a server may.
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


def an_error(status: str, body: bytes, headers: dict[str, str]) -> Behaviour:
    async def play(wire: bad.Wire) -> None:
        await wire.send(answer(body, status, headers))

    return Behaviour("error", play, keeps=True)


def raw(data: bytes) -> Behaviour:
    return bad.garbage(data)


def rawly(make: Callable[[str], bytes]) -> Callable[[str], Behaviour]:
    return lambda key: raw(make(key))


# Answers below or beside HTTP that echo the key.
ECHOES: dict[str, Callable[[str], Behaviour]] = {
    "garbage": rawly(lambda key: f"X-API-KEY: {key}\r\n\r\n".encode()),
    "status line": rawly(lambda key: f"HTTP/1.1 {key}\r\n\r\n".encode()),
    "reason": rawly(lambda key: f"HTTP/1.1 400 {key}\r\nContent-Length: 2\r\n\r\n{{}}".encode()),
    "header line": rawly(lambda key: f"HTTP/1.1 200 OK\r\n{key}\r\n\r\n".encode()),
    "header name": rawly(lambda key: f"HTTP/1.1 200 OK\r\n({key}): 1\r\n\r\n".encode()),
    "length": rawly(lambda key: f"HTTP/1.1 200 OK\r\nContent-Length: {key}\r\n\r\n".encode()),
    "two lengths": rawly(
        lambda key: (
            f"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2{key}\r\n\r\n{key}".encode()
        )
    ),
    "encoding": rawly(lambda key: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {key}\r\n\r\n".encode()),
    "content encoding": lambda key: an_error("200 OK", b"{}", {"Content-Encoding": key}),
    "chunk": rawly(
        lambda key: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n".encode()
    ),
    "success of no use": lambda key: an_error("200 OK", json.dumps([key]).encode(), {}),
    "success of no type": lambda key: an_error(
        "200 OK", json.dumps({"status": [key]}).encode(), {}
    ),
    "success of no JSON": lambda key: an_error("200 OK", f"{{{key}".encode(), {}),
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
ANY_JSON = CALLS[-1]  # which takes whatever is JSON


@pytest.fixture(scope="module")
def server() -> Iterator[Misbehaving]:
    with Misbehaving() as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Misbehaving]:
    with Misbehaving() as running:
        yield running


class Records(logging.Handler):
    """All that is logged, as text and with what it was made of."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [self.format(record), repr(vars(record))]


@contextmanager
def recording() -> Iterator[Records]:
    log, records = logging.getLogger("pandium"), Records()
    level = log.level
    log.addHandler(records)
    log.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        log.removeHandler(records)
        log.setLevel(level)


def texts_of(thing: object, depth: int = 0) -> Iterator[str]:  # noqa: C901 - a case a type
    """Give all text that can be reached from an error by its attributes and its chain."""
    if depth > _MOST_DEPTH:
        return
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, (bytes, bytearray)):
        yield bytes(thing).decode("latin-1")
    elif isinstance(thing, dict):
        for name, value in thing.items():
            yield from texts_of(name, depth + 1)
            yield from texts_of(value, depth + 1)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for item in thing:
            yield from texts_of(item, depth + 1)
    elif isinstance(thing, BaseException):
        yield from (str(thing), repr(thing))
        chain = (thing.__cause__, thing.__context__)
        notes = getattr(thing, "__notes__", ())
        yield from texts_of([thing.args, vars(thing), notes, *chain], depth + 1)
    elif attrs.has(type(thing)):
        yield repr(thing)
        yield from texts_of(attrs.asdict(thing, recurse=False), depth + 1)  # type: ignore[arg-type]
    elif thing is not None:
        yield from (str(thing), repr(thing))
        yield from texts_of(getattr(thing, "__dict__", None), depth + 1)


def assert_hidden(key: str, error: BaseException, records: Records) -> None:
    shown = [*texts_of(error), *traceback.format_exception(error), *records.texts]
    shown.append(pickle.dumps(error).decode("latin-1"))
    shown += texts_of(pickle.loads(pickle.dumps(error)))
    for text in shown:
        assert key not in text


def failure_of(
    key: str, url: str, call: Callable[[AsyncPandium], Awaitable[object]], **options: Any
) -> tuple[errors.PandiumError, Records]:
    """Make a call that fails, with everything of the client shown on the way."""

    async def run() -> errors.PandiumError:
        async with AsyncPandium(
            key,
            base_url=url,
            **{"timeout": PATIENT, "retry": Retry(attempts=2, initial=0), **options},
        ) as client:
            view = client.with_options(headers={"X-Team": "blue"})
            listing = client.tenants.list(integration_id=1)
            nouns = [client.builds, client.connectors, client.integrations, client.releases]
            for thing in (client, view, listing, *nouns, client.runs, client.tenants):
                assert key not in repr(thing) + str(thing)
            with pytest.raises(errors.PandiumError) as caught:
                await call(client)
            return caught.value

    with recording() as records:
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
def test_an_error_that_echoes_the_key_hides_it(  # noqa: PLR0917 - named by hypothesis
    server: Misbehaving,
    key: str,
    status: str,
    body: str,
    call: Callable[[AsyncPandium], Awaitable[object]],
    header: str,
) -> None:
    """Whatever of the key an error answer echoes, in body or headers, nothing of ours shows it."""
    headers = {header: f"a {key}", "X-Other": key}
    server.play([], otherwise=an_error(status, BODIES[body](key), headers))
    error, records = failure_of(key, server.url, call)
    assert_hidden(key, error, records)


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
    """A connection that breaks, stalls, or speaks nonsense full of the key does not reveal it."""
    assume(not (echo.startswith("success of no") and call is ANY_JSON and "JSON" not in echo))
    server.play([], otherwise=ECHOES[echo](key))
    timeout = httpx.Timeout(PATIENT, read=0.02 if echo == "stall" else PATIENT)
    error, records = failure_of(key, server.url, call, timeout=timeout)
    assert_hidden(key, error, records)


@given(key=keys, call=st.sampled_from(CALLS))
@settings(quick, max_examples=20)
def test_no_failure_to_connect_shows_the_key(
    key: str, call: Callable[[AsyncPandium], Awaitable[object]]
) -> None:
    """Where nobody listens, what is raised and logged holds no key."""
    with Misbehaving(is_listening=False) as nobody:
        error, records = failure_of(key, nobody.url, call)
    assert type(error) is errors.ConnectFailed
    assert_hidden(key, error, records)


@given(key=keys)
@settings(quick, max_examples=20)
def test_errors_of_use_show_no_key(server: Misbehaving, key: str) -> None:
    """What a client that is closed, or of another event loop, raises holds no key either."""
    server.play([])
    client = AsyncPandium(key, base_url=server.url)

    async def use() -> None:
        await client.runs.status("t-1")
        await client.aclose()

    asyncio.run(use())
    with recording() as records, pytest.raises(errors.PandiumError) as caught:
        asyncio.run(client.runs.status("t-1"))
    assert_hidden(key, caught.value, records)


# Where the key goes.


@given(
    key=keys,
    code=st.sampled_from([301, 302, 303, 307, 308]),
    call=st.sampled_from(CALLS),
    suffix=st.sampled_from(["", "/", "/v2/tenants", "/log?signature=s3cr3t"]),
)
@quick
def test_the_key_goes_to_the_configured_origin_alone(  # noqa: PLR0917 - named by hypothesis
    server: Misbehaving,
    other: Misbehaving,
    key: str,
    code: int,
    call: Callable[[AsyncPandium], Awaitable[object]],
    suffix: str,
) -> None:
    """A redirect to another host brings it no request, or, for a stored log, one with no key."""
    cookie = {"Location": f"{other.url}{suffix}", "Set-Cookie": f"key={key}; Path=/"}
    server.play([an_error(f"{code} Moved", b"", cookie)])
    other.play([], otherwise=bad.status("403 Forbidden", f"who is {key}".encode()))
    before, came = len(server.requests), len(other.requests)
    error, records = failure_of(key, server.url, call)
    assert_hidden(key, error, records)
    assert [request.header("x-api-key") for request in server.requests[before:]] == [key]
    is_log = server.requests[-1].path == "/v2/runs/7/log"
    assert len(other.requests) - came == (1 if is_log else 0)
    for request in other.requests[came:]:
        assert not any(key in name + value for name, value in request.headers)
        assert request.header("x-api-key") is None
        assert key not in request.target


# Where an id goes.

ids = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.text("/.%?#&=\\;:@ \r\n\t2eEfF+~", min_size=1, max_size=12),
    st.sampled_from(
        ["../..", "..%2f", "%2e%2e", "a/../b", ".", "..", "...", "a\r\nX-Evil: 1", "a?b"]
    ),
)
PATHS: list[tuple[int, int, Callable[[AsyncPandium, str], Awaitable[object]]]] = [
    # How many segments, which of them is the id, and the call.
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
    """An id is one segment of the request line, and decodes to itself; else nothing is sent."""
    segments, position, call = path
    server.play([], otherwise=bad.status("404 Not Found"))
    before = len(server.requests)

    async def run() -> None:
        async with AsyncPandium("a-key-of-mine", base_url=server.url, timeout=PATIENT) as client:
            with pytest.raises((errors.NotFound, ValueError)):
                await call(client, id_)

    asyncio.run(run())
    sent = server.requests[before:]
    if id_ in (".", ".."):
        assert not sent
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
@settings(quick, max_examples=100)
def test_no_header_makes_another(server: Misbehaving, name: str, value: str) -> None:
    """A header of the user's arrives as it is or is refused; it adds no line and takes no key."""
    server.play([])
    before = len(server.requests)

    async def run() -> None:
        async with AsyncPandium("a-key-of-mine", base_url=server.url, timeout=PATIENT) as client:
            await client.with_options(headers={name: value}).runs.status("t-1")

    try:
        asyncio.run(run())
    except (ValueError, errors.PandiumError):
        assert len(server.requests) == before
        return
    request = server.requests[-1]
    assert request.header(name) == value.strip()
    assert request.header("x-api-key") == "a-key-of-mine"
    assert request.header("x-evil") is None


def test_the_search_for_secrets_finds_them() -> None:
    """What looks for the key in the tests above finds it wherever it may hide."""
    hidden = errors.APIError("x", status_code=400, body={"a": [{"secret": 1}]})
    hidden.__cause__ = OSError("caused by another")
    hidden.add_note("a note")
    found = " ".join(texts_of(hidden))
    for text in ("secret", "caused by another", "a note"):
        assert text in found
    with recording() as records:
        logging.getLogger("pandium").debug("of %s", "a debugger")
    assert any("of a debugger" in text for text in records.texts)
