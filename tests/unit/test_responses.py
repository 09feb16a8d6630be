"""Answers that are no success: which error each becomes, and what stands in it."""

import json
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


def read(
    status: int = 400,
    body: Any = b"",
    headers: dict[str, str] | None = None,
    *,
    is_proxied: bool = False,
    key: str = KEY,
) -> APIError:
    return error_from_response(
        status,
        headers or {},
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        is_proxied=is_proxied,
        redact=Secret(key).redact,
        now=NOW,
    )


def after(value: str, **headers: str) -> float | None:
    return parse_retry_after({"retry-after": value, **headers}, NOW)


def http_date(seconds: float, zone: timezone = UTC) -> str:
    stamp = NOW + timedelta(seconds=seconds)
    return format_datetime(stamp.astimezone(zone), usegmt=zone is UTC)


# The class of an error.


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
def test_an_answer_becomes_the_error_from_response_its_status(
    status: int, cls: type[APIError]
) -> None:
    """Each status has its class, and one without a class of its own is a plain APIError."""
    for is_proxied in (False, True):
        error = read(status, {"message": "no"}, is_proxied=is_proxied)
        assert type(error) is cls
        assert error.status_code == status


@pytest.mark.parametrize(
    ("status", "is_unknown"),
    [
        *[(status, True) for status in (302, 408, 500, 502, 503, 504, 599)],
        *[(status, False) for status in (400, 401, 403, 404, 409, 422, 429, 499)],
    ],
)
def test_a_refusal_was_not_carried_out(status: int, is_unknown: bool) -> None:  # noqa: FBT001
    """A 4xx was surely not carried out; a 408, 5xx or redirection may have been."""
    assert read(status).outcome_unknown is is_unknown


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, {"message": "no such\n tenant"}, "404 Not Found: no such tenant"),
        (404, b"", "404 Not Found"),
        (599, {"message": "odd"}, "599: odd"),
        (599, b"", "599"),
    ],
)
def test_the_text_is_status_phrase_and_message(status: int, body: Any, text: str) -> None:
    """The text is one line of the status, its phrase if it has one, and the API's sentence."""
    assert str(read(status, body)) == text


# The four bodies, and others.


def test_a_message_is_the_message() -> None:
    """The body {"message": …} gives its message, and no details."""
    error = read(422, {"message": "Tenant is paused"})
    assert (error.message, error.details) == ("Tenant is paused", ())
    assert error.body == {"message": "Tenant is paused"}


def test_a_list_of_details_is_read() -> None:
    """The body {"detail": [{loc, msg, type}]} gives details, and a message of all of them."""
    body = {
        "detail": [
            {"loc": ["query", "mode"], "msg": "no such mode", "type": "enum", "input": "x"},
            {"loc": ["body", "configs", 0], "msg": "too long", "type": "length", "ctx": {"n": 1}},
        ]
    }
    error = read(422, body)
    assert error.details == (
        ErrorDetail(("query", "mode"), "no such mode", "enum"),
        ErrorDetail(("body", "configs", 0), "too long", "length"),
    )
    assert error.message == "query.mode: no such mode; body.configs.0: too long"
    assert error.body == body


def test_a_detail_is_the_message() -> None:
    """The body {"detail": str} gives it as the message, and no details."""
    error = read(403, {"detail": "Not authorized"})
    assert (error.message, error.details) == ("Not authorized", ())


def test_a_page_of_a_gateway_is_its_text() -> None:
    """HTML is kept as text, and its beginning, without line breaks, is the message."""
    page = "<html>\n  <h1>502 Bad Gateway</h1>\n" + "x" * 1000
    error = read(502, page.encode())
    assert error.body == page
    assert error.message.startswith("<html> <h1>502 Bad Gateway</h1> xxx")
    assert len(error.message) == 200


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_nothing_is_no_message(content: bytes) -> None:
    """An answer without a body has an empty message, and no details."""
    error = read(503, content)
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
def test_another_body_is_read_as_far_as_it_can_be(
    body: Any, message: str, details: tuple[ErrorDetail, ...]
) -> None:
    """A body of no documented form is kept, and shown as it is where it says nothing."""
    error = read(400, body)
    assert (error.message, error.details, error.body) == (message, details, body)


def test_bytes_that_are_no_text_are_kept_as_far_as_they_are() -> None:
    """A body in no encoding becomes text with replacement characters."""
    assert read(500, b"caf\xe9 \xff").body == "caf\ufffd \ufffd"


def test_header_names_are_lower_case() -> None:
    """Headers are found by lower-case names, with their values as they came."""
    error = read(500, headers={"X-Request-ID": "AbC", "Retry-After": "7"})
    assert error.headers == {"x-request-id": "AbC", "retry-after": "7"}
    assert error.retry_after == 7


# Retry-After.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *[("0", 0), ("7", 7), (" 7 ", 7), ("007", 7), ("1.5", 1.5), ("0.25", 0.25), ("5.", 5)],
        *[("86400", 86400), ("29.384756088256836", 29.384756088256836), ("00000000012", 12)],
    ],
)
def test_seconds_are_read(value: str, seconds: float) -> None:
    """A number of seconds, whole or decimal, is taken as it is."""
    assert after(value) == seconds


def test_of_several_numbers_the_longest_wait_counts() -> None:
    """A Retry-After that was sent twice, by a server and a proxy, asks for the longer wait."""
    assert after("5, 60") == after("60,5.0") == 60


@pytest.mark.parametrize("value", ["9" * 11, "9" * 400, "9" * 400 + ".5"])
def test_any_number_of_digits_is_a_wait(value: str) -> None:
    """A number of seconds beyond all reason is a wait for centuries, not none and no infinity."""
    assert after(value) == 1e10


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_a_date_is_read_by_our_clock(zone: timezone) -> None:
    """An HTTP date without the answer's own Date means the time from now until then."""
    assert after(http_date(90, zone)) == 90


@pytest.mark.parametrize(("server_is_ahead", "seconds"), [(0, 90), (60, 90), (-60, 150)])
def test_a_date_is_read_by_the_longer_of_two_clocks(server_is_ahead: float, seconds: float) -> None:
    """With the answer's own Date the wait is the longer reading, so never too short."""
    assert after(http_date(90), date=http_date(server_is_ahead)) == seconds


@given(until=st.integers(-(10**6), 10**6), server=st.integers(-(10**6), 10**6) | st.none())
def test_a_date_is_never_a_shorter_wait_than_was_meant(until: int, server: int | None) -> None:
    """By our clock and by the server's alike, the wait ends no sooner than the date."""
    headers = {} if server is None else {"date": http_date(server)}
    found = after(http_date(until), **headers)
    assert found is not None
    assert found >= max(0, until)
    assert server is None or found >= until - server


def test_a_date_without_a_zone_is_utc() -> None:
    """A date that names no zone is read as UTC."""
    assert after("Fri, 02 Jan 2026 03:05:05") == 60
    assert after("Fri, 02 Jan 2026 03:05:05 -0000") == 60


@pytest.mark.parametrize("date", ["", "soon", "0", "Fri, 99 Jan 2026 03:05:05 GMT"])
def test_a_date_of_the_answer_that_is_none_is_ignored(date: str) -> None:
    """An unreadable Date leaves the reading by our clock."""
    assert after(http_date(90), date=date) == 90


@pytest.mark.parametrize("seconds", [-1, -3600, 0])
def test_a_date_of_the_past_is_no_wait(seconds: float) -> None:
    """A date that is over means zero, not less."""
    assert after(http_date(seconds)) == 0


@pytest.mark.parametrize(
    "value",
    [
        *["", " ", "soon", "-5", "+5", "5s", "1e3", ".5", "0x10", "nan", "inf", "5, x", "5,"],
        *["٣", "1_0", "Fri", "Fri, 32 Jan 2026 03:05:05 GMT", "Fri, 02 Jan 2026 25:05:05 GMT"],
    ],
)
def test_garbage_is_no_wait_of_the_server(value: str) -> None:
    """A Retry-After that is neither a number nor a date counts as none."""
    assert after(value) is None


def test_no_header_is_no_wait_of_the_server() -> None:
    """Without Retry-After there is none."""
    assert parse_retry_after({}, NOW) is None
    assert read(429).retry_after is None


@given(value=st.text(), date=st.text())
@example(value="Fri, 02 Jan 0001 00:00:00 +2359", date="Fri, 31 Dec 9999 23:59:59 -2359")
@example(value="Fri, 02 Jan 2026 00:00:00 +99999999999", date="Fri")
def test_any_header_is_a_wait_or_none(value: str, date: str) -> None:
    """Whatever stands in the headers, the wait is None or a number from zero."""
    seconds = after(value, date=date)
    assert seconds is None or seconds >= 0


# An upstream's answer through the proxy.


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("data", [{"error": "no"}, ["no"], "no", None, 0, True])
@pytest.mark.parametrize("written", [json.dumps, repr], ids=["JSON", "Python"])
def test_an_answer_of_the_upstream_is_told_by_its_body(
    status: int, data: Any, written: Any
) -> None:
    """A detail that holds "data", as JSON or as Python prints it, is the upstream's own."""
    error = read(status, {"detail": written({"data": data, "b": 1})}, is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert error.data == data
    assert error.status_code == status


@pytest.mark.parametrize(
    "body",
    [
        {"message": "no such tenant"},
        {"detail": "Not authorized"},
        {"detail": '{"error": "no data"}'},
        {"detail": '["data"]'},
        {"detail": '"data"'},
        {"detail": "data"},
        {"detail": ""},
        {"detail": {"data": 1}},
        {"detail": [{"data": 1}]},
        {"detail": "{'data': missing}"},
        {"detail": "{[]: 1}"},
        {"detail": "{{}}"},
        {"detail": "{'data': " + "-" * 10_000 + "1}"},
        {"detail": '{"data": ' + "[" * 20_000},
        {"detail": "\0\ud800"},
        {"data": 1},
        ["data"],
        b"<html>data</html>",
        b"",
    ],
    ids=lambda body: str(body)[:40],
)
@pytest.mark.parametrize("status", [400, 429, 502])
def test_another_answer_of_the_proxy_is_of_pandium(status: int, body: Any) -> None:
    """Without data in its detail an answer of the proxy is Pandium's own, by its status."""
    error = read(status, body, is_proxied=True)
    assert not isinstance(error, ConnectorError)
    assert type(error) is type(read(status))


def test_only_the_proxy_passes_on_an_upstream() -> None:
    """The same body from another operation is Pandium's own."""
    error = read(404, {"detail": '{"data": {}}'}, is_proxied=False)
    assert type(error) is errors.NotFound


# The key.


@pytest.mark.parametrize("key", [KEY, "12345678", "a\"b'c\\d/e<f>"])
def test_a_key_that_the_server_echoes_is_blotted_out(key: str) -> None:
    """The key is in no part of an error, whatever the server says."""
    said = f"the key {key} is wrong"
    page = f"<b>{key}</b>".encode()
    bodies = [
        {"message": said},
        {"detail": said, key: [key, {key: key}]},
        {"detail": [{"loc": [key], "msg": said, "type": key}]},
        {"detail": json.dumps({"data": {key: [said]}})},
        {"detail": repr({"data": {key: [said]}})},
        page,
    ]
    for body in bodies:
        error = read(400, body, {"X-Echo": said, key: "x"}, is_proxied=True, key=key)
        for text in (str(error), repr(error), error.message, *strings_below(vars(error))):
            assert key not in text
        assert error.headers["x-echo"] == "the key *** is wrong"


def test_a_key_behind_escapes_is_blotted_out() -> None:
    """A key that the upstream's text spells with escapes is not in the data either."""
    escaped = "".join(f"\\u{ord(character):04x}" for character in KEY)
    error = read(400, {"detail": f'{{"data": ["{escaped}"]}}'}, is_proxied=True)
    assert isinstance(error, ConnectorError)
    assert error.data == ["***"]


def test_a_short_key_leaves_texts_alone() -> None:
    """A key of less than eight characters is not looked for, as it could be any word."""
    assert read(400, {"message": "a tenant"}, {"X": "a"}, key="a").message == "a tenant"


def strings_below(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings_below(part)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in strings_below(item)]
    if isinstance(value, ErrorDetail):
        return strings_below([value.loc, value.msg, value.type])
    return [value] if isinstance(value, str) else []


# Whatever comes.

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
def test_any_answer_becomes_an_error(
    status: int,
    body: bytes,
    headers: dict[str, str],
    is_proxied: bool,  # noqa: FBT001
) -> None:
    """Whatever status, headers and bytes come, an APIError is made, and shown in one line."""
    error = read(status, body, headers, is_proxied=is_proxied)
    assert isinstance(error, APIError)
    assert error.status_code == status
    assert str(error).startswith(str(status))
    assert len(str(error).splitlines()) == 1
    assert set(error.headers) == {name.lower() for name in headers}


@pytest.mark.parametrize("depth", [100, 300, 450, 480, 500, 700, 900, 950, 980, 1000, 5000])
@pytest.mark.parametrize(
    "form", ["{}", '{{"detail": [{{"msg": {}}}]}}', '{{"detail": "{{\\"data\\": {}}}"}}']
)
def test_a_deep_answer_becomes_an_error(depth: int, form: str) -> None:
    """An answer nested to any depth is an APIError, as data or as text."""
    body = form.format("[" * depth + "]" * depth).encode()
    assert isinstance(read(400, body, is_proxied=True), APIError)
