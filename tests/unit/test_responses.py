"""Error responses: the exception that each one becomes, and its attributes."""

import json
import tracemalloc
import warnings
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandium import errors
from pandium._config import Secret
from pandium._transport.responses import error_from_response, parse_retry_after
from pandium.errors import APIError, ConnectorError, ErrorDetail

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = "k3y-0f-th3-t3st"


def parse(
    status: int = 400,
    body: Any = b"",
    headers: dict[str, str] | None = None,
    *,
    is_complete: bool = True,
    is_proxied: bool = False,
    key: str = KEY,
) -> APIError:
    return error_from_response(
        status,
        headers or {},
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        is_complete=is_complete,
        is_proxied=is_proxied,
        redact=Secret(key).redact,
        now=NOW,
    )


def retry_after(value: str, **headers: str) -> float | None:
    return parse_retry_after({"retry-after": value, **headers}, NOW)


def http_date(seconds: float, zone: timezone = UTC) -> str:
    stamp = NOW + timedelta(seconds=seconds)
    return format_datetime(stamp.astimezone(zone), usegmt=zone is UTC)


# Classes


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.BadRequest),
        (401, errors.AuthenticationError),
        (403, errors.AuthenticationError),
        (404, errors.NotFound),
        (422, errors.ValidationError),
        (429, errors.RateLimited),
        *[(status, errors.ServerError) for status in (500, 501, 502, 503, 504, 505, 520, 599)],
        *[(status, APIError) for status in (300, 302, 304, 402, 405, 408, 409, 410, 418, 451, 499)],
    ],
)
def test_the_status_decides_the_class(status: int, cls: type[APIError]) -> None:
    """Each status has its error class. A status without one is a plain `APIError`."""
    for is_proxied in (False, True):
        error = parse(status, {"message": "no"}, is_proxied=is_proxied)
        assert type(error) is cls
        assert error.status_code == status


@pytest.mark.parametrize(
    ("status", "is_unknown"),
    [
        *[(status, True) for status in (302, 408, 460, 499, 500, 502, 503, 504, 599)],
        *[(status, False) for status in (400, 401, 403, 404, 409, 422, 429, 498)],
    ],
)
def test_only_a_4xx_says_that_nothing_was_done(status: int, is_unknown: bool) -> None:  # noqa: FBT001
    """The outcome of a 4xx is known, but not of a 408, 460 or 499, a 5xx or a redirect."""
    assert parse(status).outcome_unknown is is_unknown


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, {"message": "no such\n tenant"}, "404 Not Found: no such tenant"),
        (404, b"", "404 Not Found"),
        (599, {"message": "odd"}, "599: odd"),
        (599, b"", "599"),
    ],
)
def test_the_text_is_the_status_its_phrase_and_the_message(
    status: int, body: Any, text: str
) -> None:
    """The text of an error is the status, its phrase if any, and the message."""
    assert str(parse(status, body)) == text


# Bodies


def test_a_message_body() -> None:
    """The body `{"message": …}` has a message and no details."""
    error = parse(422, {"message": "Tenant is paused"})
    assert (error.message, error.details) == ("Tenant is paused", ())
    assert error.body == {"message": "Tenant is paused"}


def test_a_details_body() -> None:
    """The body `{"detail": [{loc, msg, type}]}` has details, which form the message."""
    body = {
        "detail": [
            {"loc": ["query", "mode"], "msg": "no such mode", "type": "enum", "input": "x"},
            {"loc": ["body", "configs", 0], "msg": "too long", "type": "length", "ctx": {"n": 1}},
        ]
    }
    error = parse(422, body)
    assert error.details == (
        ErrorDetail(("query", "mode"), "no such mode", "enum"),
        ErrorDetail(("body", "configs", 0), "too long", "length"),
    )
    assert error.message == "query.mode: no such mode; body.configs.0: too long"
    assert error.body == body


def test_a_detail_body() -> None:
    """The body `{"detail": str}` has a message and no details."""
    error = parse(403, {"detail": "Not authorized"})
    assert (error.message, error.details) == ("Not authorized", ())


def test_an_html_body() -> None:
    """HTML is kept as text. The message is the beginning of the text, on one line."""
    page = "<html>\n  <h1>502 Bad Gateway</h1>\n" + "x" * 1000
    error = parse(502, page.encode())
    assert error.body == page
    assert error.message.startswith("<html> <h1>502 Bad Gateway</h1> xxx")
    assert len(error.message) == 200


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_an_empty_body(content: bytes) -> None:
    """A response without a body has an empty message and no details."""
    error = parse(503, content)
    assert (error.message, error.details, error.body) == ("", (), content.decode())
    assert str(error) == "503 Service Unavailable"


@pytest.mark.parametrize(
    ("body", "message", "details"),
    [
        ({"message": "first", "detail": "second"}, "first", ()),
        ({"message": None, "detail": "second"}, "second", ()),
        ({"detail": {"a": 1}}, '{"detail": {"a": 1}}', ()),
        ({"detail": []}, '{"detail": []}', ()),
        ({"detail": ["x", 5, None]}, '{"detail": ["x", 5, null]}', ()),
        ({"detail": [{}]}, ": ", (ErrorDetail((), "", ""),)),
        ({"detail": [{"loc": "body", "msg": 5}]}, ": 5", (ErrorDetail((), "5", ""),)),
        ({"detail": ["x", {"loc": ["a"], "msg": "m", "type": "t"}]}, "a: m",
         (ErrorDetail(("a",), "m", "t"),)),
        (["x"], '["x"]', ()),
        ("just text", "just text", ()),
        (None, "null", ()),
        ({}, "{}", ()),
    ],
)  # fmt: skip
def test_any_other_body(body: Any, message: str, details: tuple[ErrorDetail, ...]) -> None:
    """A body in an undocumented format is kept. Without a message, it is the message itself."""
    error = parse(400, body)
    assert (error.message, error.details, error.body) == (message, details, body)


def test_a_body_that_is_not_utf_8() -> None:
    """Invalid bytes become replacement characters."""
    assert parse(500, b"caf\xe9 \xff").body == "caf\ufffd \ufffd"


def test_header_names_are_lower_case() -> None:
    """Headers have lower-case names and unchanged values."""
    error = parse(500, headers={"X-Request-ID": "AbC", "Retry-After": "7"})
    assert error.headers == {"x-request-id": "AbC", "retry-after": "7"}
    assert error.retry_after == 7


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *[("0", 0), ("7", 7), (" 7 ", 7), ("007", 7), ("1.5", 1.5), ("0.25", 0.25), ("5.", 5)],
        *[("86400", 86400), ("29.384756088256836", 29.384756088256836), ("00000000012", 12)],
    ],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    """`Retry-After` may be an integer or a decimal number of seconds."""
    assert retry_after(value) == seconds


def test_of_several_retry_afters_the_longest_counts() -> None:
    """If a server and a proxy each send a `Retry-After`, the longer one is used."""
    assert retry_after("5, 60") == retry_after("60,5.0") == 60
    dates = f"{http_date(30)}, 7,{http_date(90)},soon, 5"
    assert retry_after(dates) == 90
    assert retry_after("Friday, 02-Jan-26 03:05:05 GMT, 5") == 60
    assert retry_after("5, x") == retry_after("5,") == 5


@pytest.mark.parametrize("value", ["9" * 11, "9" * 400, "9" * 400 + ".5"])
def test_a_huge_retry_after_is_finite(value: str) -> None:
    """An extremely large number of seconds is a delay of centuries, not zero or infinity."""
    assert retry_after(value) == 1e10


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_retry_after_as_a_date(zone: timezone) -> None:
    """Without a `Date` header, the delay is the time from now until the date."""
    assert retry_after(http_date(90, zone)) == 90


@pytest.mark.parametrize("offset", [0, 60, -60, 86400, -86400])
def test_a_date_counts_from_the_servers_own_clock(offset: float) -> None:
    """With a `Date` header, the delay is the difference of the dates, regardless of our clock."""
    assert retry_after(http_date(offset + 90), date=http_date(offset)) == 90


@given(until=st.integers(-(10**6), 10**6), server=st.integers(-(10**6), 10**6) | st.none())
def test_a_date_is_never_too_short_a_wait(until: int, server: int | None) -> None:
    """The delay ends at the date according to the server's clock, or ours if that is unknown."""
    headers = {} if server is None else {"date": http_date(server)}
    assert retry_after(http_date(until), **headers) == max(0, until - (server or 0))


def test_a_date_without_a_time_zone_is_utc() -> None:
    """A date that names no time zone is in UTC."""
    assert retry_after("Fri, 02 Jan 2026 03:05:05") == 60
    assert retry_after("Fri, 02 Jan 2026 03:05:05 -0000") == 60


@pytest.mark.parametrize("date", ["", "soon", "0", "Fri, 99 Jan 2026 03:05:05 GMT"])
def test_an_invalid_date_header_is_ignored(date: str) -> None:
    """With an invalid `Date` header, only our clock is used."""
    assert retry_after(http_date(90), date=date) == 90


@pytest.mark.parametrize("seconds", [-1, -3600, 0])
def test_a_date_in_the_past_is_zero_seconds(seconds: float) -> None:
    """A date in the past is a delay of zero seconds."""
    assert retry_after(http_date(seconds)) == 0


@pytest.mark.parametrize(
    "value",
    [
        *["", " ", "soon", "-5", "+5", "5s", "1e3", ".5", "0x10", "nan", "inf"],
        *["٣", "1_0", "Fri", "Fri, 32 Jan 2026 03:05:05 GMT", "Fri, 02 Jan 2026 25:05:05 GMT"],
    ],
)
def test_an_invalid_retry_after_is_none(value: str) -> None:
    """A `Retry-After` that is neither a number nor a date is ignored."""
    assert retry_after(value) is None


def test_a_missing_retry_after_is_none() -> None:
    """Without the header, there is no delay."""
    assert parse_retry_after({}, NOW) is None
    assert parse(429).retry_after is None


@given(value=st.text(), date=st.text())
@example(value="Fri, 02 Jan 0001 00:00:00 +2359", date="Fri, 31 Dec 9999 23:59:59 -2359")
@example(value="Fri, 02 Jan 2026 00:00:00 +99999999999", date="Fri")
def test_any_headers_are_a_wait_or_none(value: str, date: str) -> None:
    """Whatever the headers contain, the delay is None or non-negative."""
    seconds = retry_after(value, date=date)
    assert seconds is None or seconds >= 0


# Upstream errors, received through the proxy


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("data", [{"error": "no"}, ["no"], "no", None, 0, True])
@pytest.mark.parametrize("written", [json.dumps, repr], ids=["JSON", "Python"])
def test_the_body_identifies_an_upstream_error(status: int, data: Any, written: Any) -> None:
    """A detail that contains "data", as JSON or a Python literal, is an upstream's error."""
    error = parse(status, {"detail": written({"data": data, "b": 1})}, is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert error.data == data
    assert error.status_code == status


LITERALS = {
    "b'caf\\xc3\\xa9'": "café",
    "{1, 2}": [1, 2],
    "(1, (2,))": [1, [2]],
    "2j": "2j",
    "...": "Ellipsis",
    "{(1, 2): b'x', b'a': None, 3: 1.5}": {"(1, 2)": "x", "a": None, "3": 1.5},
}


@pytest.mark.parametrize("literal", LITERALS)
def test_an_upstream_error_is_json_data(literal: str) -> None:
    """A Python literal that JSON does not support is converted, so that it can be encoded."""
    error = parse(500, {"detail": f"{{'data': {literal}}}"}, is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert error.data == LITERALS[literal]
    json.dumps(error.data)


@pytest.mark.parametrize("status", [401, 429, 503])
@pytest.mark.parametrize(
    "detail",
    [
        "{'data': missing}",
        "{'data': nan}",
        "{'at': datetime.datetime(2026, 1, 1), 'data': 1}",
        "{'data': " + "-" * 10_000 + "1}",
        '{"data": ' + "[" * 20_000,
        repr({"data": "x" * 17_000}),
        repr({"message": "x" * 100_000, "data": 1}),
        json.dumps({"status": 429, "data": "x" * 140_000}),
        json.dumps({"data": "x" * 300_000}),
        repr({"data": "x" * 300_000}),
    ],
    ids=lambda detail: str(detail)[:25],
)
def test_an_upstream_error_that_cannot_be_parsed_is_text(status: int, detail: str) -> None:
    """A detail that contains "data" is an upstream's error, even if it is odd or too long."""
    error = parse(status, {"detail": detail}, is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert isinstance(error.data, str)
    assert "data" in error.data


@pytest.mark.parametrize("length", [13, 30, 60, -2])
def test_an_incomplete_upstream_error_is_text(length: int) -> None:
    """If the connection fails within an upstream's error, it does not become Pandium's."""
    detail = json.dumps({"message": "slow down", "status": 429, "data": {"limit": 5}})
    body = json.dumps({"detail": detail}).encode()[:length]
    error = parse(429, body, is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert error.data == body.decode()


def test_an_upstream_error_that_is_not_utf_8_is_text() -> None:
    """An upstream's error is recognized even if its body is not UTF-8, wherever its detail is."""
    body = json.dumps({"status": 429, "detail": json.dumps({"data": "?"})}).replace("?", "é")
    error = parse(429, body.encode("latin-1"), is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert error.data == body.replace("é", "\ufffd")


@pytest.mark.parametrize("length", range(0, 80, 5))
@pytest.mark.parametrize("text", ['{"detail": "slow down"}', '{"message": "too many requests"}'])
def test_an_incomplete_429_of_a_proxy_may_be_the_upstreams(text: str, length: int) -> None:
    """An upstream's 429 is never retried, so a 429 is Pandium's only if its body is complete."""
    body = text.encode()[:length]
    error = parse(429, body, is_proxied=True, is_complete=False)
    assert isinstance(error, ConnectorError)
    assert error.data == error.body
    assert type(parse(429, body, is_proxied=True)) is errors.RateLimited
    assert type(parse(429, body, is_complete=False)) is errors.RateLimited
    assert type(parse(503, body, is_proxied=True, is_complete=False)) is errors.ServerError


def test_the_detail_of_an_upstream_error_may_be_an_object() -> None:
    """An upstream's error is recognized even if its detail is an object, not text."""
    error = parse(429, {"detail": {"status": 429, "data": {"limit": 5}}}, is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert error.data == {"limit": 5}


def test_an_invalid_escape_is_kept_without_a_warning() -> None:
    """
    A backslash that is not part of an escape is kept, and causes no warning.

    The filters of warnings, which all threads share, are not changed even for a moment.
    """
    filters = []

    def redact(value: Any) -> Any:
        filters.append(list(warnings.filters))
        return value

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = list(warnings.filters)
        error = error_from_response(
            400,
            {},
            json.dumps({"detail": r"{'data': ['\d+', '\\d \'\x41\n', 'C:\Program']}"}).encode(),
            is_proxied=True,
            redact=redact,
            now=NOW,
        )
    assert isinstance(error, ConnectorError)
    assert error.data == [r"\d+", "\\d 'A\n", r"C:\Program"]
    assert all(seen == expected for seen in filters)


@pytest.mark.parametrize(
    "body",
    [
        {"message": "no such tenant"},
        {"detail": "Not authorized"},
        {"detail": '{"error": "no data"}'},
        {"detail": '{"error": {"data": 1}}'},
        {"detail": '["data"]'},
        {"detail": '"data"'},
        {"detail": "data"},
        {"detail": ""},
        {"detail": {"message": "slow down"}},
        {"detail": [{"data": 1}]},
        {"detail": "{[]: 1}"},
        {"detail": "{{}}"},
        {"detail": "\0\ud800"},
        {"data": 1},
        ["data"],
        b"<html>data</html>",
        b"",
    ],
    ids=lambda body: str(body)[:40],
)
@pytest.mark.parametrize("status", [400, 429, 502])
def test_any_other_proxy_error_is_pandiums(status: int, body: Any) -> None:
    """A proxy error without such a detail is Pandium's own, classified by its status."""
    error = parse(status, body, is_proxied=True)
    assert not isinstance(error, ConnectorError)
    assert type(error) is type(parse(status))


@pytest.mark.parametrize(
    "body",
    [
        {"message": "x" * 100_000},
        {"detail": "x" * 100_000},
        {"detail": [{"loc": ["a"], "msg": "x" * 90, "type": "t"}] * 1000},
        b"x" * 100_000,
    ],
    ids=["message", "detail", "details", "text"],
)
def test_the_text_of_an_error_is_short(body: Any) -> None:
    """A long message is kept in `message`, but shortened in the text of the exception."""
    error = parse(400, body)
    assert len(str(error)) < 2100
    if isinstance(body, dict):
        assert len(error.message) > 90_000
        assert str(error).endswith("x...")


def test_only_connector_calls_have_upstream_errors() -> None:
    """The same body in response to another operation is Pandium's own error."""
    error = parse(404, {"detail": '{"data": {}}'}, is_proxied=False)
    assert type(error) is errors.NotFound


# Redaction


@pytest.mark.parametrize("key", [KEY, "12345678", "a\"b'c\\d/e<f>"])
def test_a_key_that_the_server_echoes_is_redacted(key: str) -> None:
    """No part of an error contains the key, whatever the server sends."""
    echo = f"the key {key} is wrong"
    page = f"<b>{key}</b>".encode()
    bodies = [
        {"message": echo},
        {"detail": echo, key: [key, {key: key}]},
        {"detail": [{"loc": [key], "msg": echo, "type": key}]},
        {"detail": json.dumps({"data": {key: [echo]}})},
        {"detail": repr({"data": {key: [echo]}})},
        page,
    ]
    for body in bodies:
        error = parse(400, body, {"X-Echo": echo, key: "x"}, is_proxied=True, key=key)
        for text in (str(error), repr(error), error.message, *strings_below(vars(error))):
            assert key not in text
        assert error.headers["x-echo"] == "the key *** is wrong"


def test_an_escaped_key_is_redacted() -> None:
    """A key that is escaped in the upstream's text is redacted from the data."""
    escaped = "".join(f"\\u{ord(character):04x}" for character in KEY)
    error = parse(400, {"detail": f'{{"data": ["{escaped}"]}}'}, is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert error.data == ["***"]


def test_a_short_key_is_not_redacted() -> None:
    """A key with fewer than eight characters is not redacted, because it could be any word."""
    assert parse(400, {"message": "a tenant"}, {"X": "a"}, key="a").message == "a tenant"


@pytest.mark.parametrize("key", ["a", KEY])
@pytest.mark.parametrize("depth", [400, 900, 970])
def test_deeply_nested_data_of_an_upstream_is_limited_with_any_key(key: str, depth: int) -> None:
    """Data near the depth that Python's parsers support raises the error of its status."""
    data = f'{{"data": {"[" * depth}{"]" * depth}}}'
    error = parse(429, {"detail": data}, is_proxied=True, key=key)
    assert isinstance(error, ConnectorError)


def strings_below(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings_below(part)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in strings_below(item)]
    if isinstance(value, ErrorDetail):
        return strings_below([value.loc, value.msg, value.type])
    return [value] if isinstance(value, str) else []


# Arbitrary responses

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["message", "detail", "loc", "msg", "type", "data"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = (
    st.binary()
    | st.text().map(str.encode)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps({"detail": json.dumps(value)}).encode())
    | JSON.map(lambda value: json.dumps({"detail": repr(value)}).encode())
    | st.text("{}[](),:'\"\\ 1-+*#data\n").map(lambda text: json.dumps({"detail": text}).encode())
)


@settings(deadline=None)
@given(
    status=st.integers(300, 999),
    body=BODIES,
    headers=st.dictionaries(
        st.text() | st.sampled_from(["Retry-After", "Date"]), st.text(), max_size=3
    ),
    is_proxied=st.booleans(),
)
@example(status=500, body=b"[" * 100_000, headers={}, is_proxied=True)
@example(status=500, body=b"[" * 400 + b"]" * 400, headers={}, is_proxied=True)
@example(status=500, body=b"9" * 5000, headers={}, is_proxied=True)
@example(status=500, body=b'{"detail": "{[]: 1}"}', headers={}, is_proxied=True)
@example(status=500, body=b'{"detail": [{"loc": [[], {}]}]}', headers={}, is_proxied=True)
@example(status=500, body=b'"\\ud800"', headers={}, is_proxied=True)
@example(status=500, body="[1]".encode("utf-16"), headers={}, is_proxied=True)
def test_any_response_becomes_an_error(
    status: int,
    body: bytes,
    headers: dict[str, str],
    is_proxied: bool,  # noqa: FBT001
) -> None:
    """Any status, headers and bytes become an `APIError` with a one-line text."""
    error = parse(status, body, headers, is_proxied=is_proxied)
    assert isinstance(error, APIError)
    assert error.status_code == status
    assert str(error).startswith(str(status))
    assert len(str(error).splitlines()) == 1
    assert set(error.headers) == {name.lower() for name in headers}


@pytest.mark.parametrize("depth", [100, 300, 450, 480, 500, 700, 900, 950, 980, 1000, 5000])
@pytest.mark.parametrize(
    "form", ["{}", '{{"detail": [{{"msg": {}}}]}}', '{{"detail": "{{\\"data\\": {}}}"}}']
)
def test_a_deeply_nested_response_becomes_an_error(depth: int, form: str) -> None:
    """A response nested to any depth becomes an `APIError`."""
    body = form.format("[" * depth + "]" * depth).encode()
    assert isinstance(parse(400, body, is_proxied=True), APIError)


# Limits


def test_a_long_error_body_is_cut() -> None:
    """An error keeps only a limited part of a body of several megabytes."""
    for body in (b"x" * 10_000_000, b'{"message": "' + b"x" * 10_000_000 + b'"}'):
        error = parse(502, body)
        assert len(error.body) <= 256 * 1024
        assert len(error.message) <= 256 * 1024


def test_a_key_at_the_cut_of_a_long_body_is_redacted() -> None:
    """No part of the key is left where a long body is cut, in which each character has 4 bytes."""
    padding = "\U0001f600" * (256 * 1024 // 4)
    for length in (4, 9, 14):  # of the part of the key before the cut
        text = padding[:-4] + "-" * (16 - length) + KEY + padding
        assert KEY[:4] not in parse(502, text.encode()).body


@pytest.mark.parametrize("literal", ["[" + "1," * 5_000_000 + "]", "-" * 3_000_000 + "1"])
def test_a_long_literal_is_not_evaluated(literal: str) -> None:
    """Upstream text beyond a limit is not parsed as a Python literal."""
    tracemalloc.start()
    try:
        error = parse(400, {"detail": "{'data': " + literal + "}"}, is_proxied=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, ConnectorError)
    assert isinstance(error.data, str)
    assert peak < 100_000_000
