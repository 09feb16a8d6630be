"""Invalid arguments are rejected by name before anything is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY
from urllib.parse import unquote

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandium import AsyncPandium, ConfigurationError, Polling, Retry, Trigger
from pandium._http.connections import validate_timeout
from pandium._validation import (
    encode_path_segment,
    validate_choice,
    validate_journal_path,
    validate_mapping,
    validate_whole_number,
)

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

pytestmark = pytest.mark.anyio

# Nothing listens on this port, so a request would raise ConnectFailed instead of ValueError.
UNUSED_URL = "http://127.0.0.1:9"
CALL: dict[str, Any] = {"method": "GET", "target_url": "https://example.com"}

Operation = Callable[[AsyncPandium], Awaitable[Any]]


async def _wrap(value: Any) -> Any:
    return value


# The first poll is so late that a test would not end if it were sent before the error.
LATE = Polling(first=1e6)
INVALID_CALLS: list[tuple[str, Operation]] = [
    ("mode", lambda c: c.tenants.sync(1, mode="full")),
    ("mode", lambda c: c.tenants.sync(1, mode="Normal")),
    ("mode", lambda c: c.integrations.sync(1, user_name="a", mode="webhook")),
    ("mode", lambda c: c.builds.create(1, "v1", mode="")),
    ("tag", lambda c: c.builds.create(1, " ", mode="init")),
    ("tag", lambda c: c.builds.create(1, 7, mode="init")),  # type: ignore[arg-type]
    ("branch", lambda c: c.builds.create(1, "v1", branch="")),
    ("tag", lambda c: c.builds.wait(1, "")),
    ("timeout", lambda c: c.builds.wait(1, "v1", timeout=-1)),
    ("poll", lambda c: c.builds.wait(1, "v1", poll=None)),  # type: ignore[arg-type]
    ("integration_id", lambda c: c.builds.wait(None, "v1", poll=LATE)),  # type: ignore[arg-type]
    ("integration_id", lambda c: c.builds.wait(-1, "v1", poll=LATE)),
    ("timeout", lambda c: c.runs.wait("1", timeout=10**400)),
    ("timeout", lambda c: _wrap(c.tenants.sync_all([1], mode="init", timeout=10**400))),
    ("sort_by", lambda c: _wrap(c.tenants.list(sort_by="name"))),
    ("sort_by", lambda c: _wrap(c.tenants.list(sort_by="name__asc"))),
    ("sort_by", lambda c: _wrap(c.integrations.list(sort_by="__ASC"))),
    ("sort_by", lambda c: _wrap(c.tenants.runs(1, sort_by="id DESC"))),
    ("name", lambda c: c.tenants.create("Acme", 1)),
    ("name", lambda c: c.tenants.create("-acme", 1)),
    ("name", lambda c: c.tenants.create("acme-", 1)),
    ("name", lambda c: c.tenants.create("", 1)),
    ("name", lambda c: c.tenants.create("acme\n", 1)),
    ("name", lambda c: c.tenants.create("ácme", 1)),
    ("name", lambda c: c.tenants.update(1, name="a b")),
    ("release_id", lambda c: c.tenants.create("a", 1, release_id=1, release_channel="Latest")),
    ("release_channel", lambda c: c.tenants.update(1, release_id=1, release_channel="Latest")),
    ("changes", lambda c: c.tenants.update(1)),
    ("release_id", lambda c: c.tenants.update(1, release_id=1, integration_release_id=2)),
    ("page_size", lambda c: _wrap(c.tenants.list(page_size=0))),
    ("page_size", lambda c: _wrap(c.tenants.list(page_size=501))),
    ("page_size", lambda c: _wrap(c.integrations.list(page_size=True))),
    ("limit", lambda c: _wrap(c.tenants.list(limit=-1))),
    ("skip", lambda c: _wrap(c.tenants.list(skip=-1))),
    ("prefetch", lambda c: _wrap(c.tenants.list(prefetch=0))),
    ("on_drift", lambda c: _wrap(c.tenants.list(on_drift="hope"))),  # type: ignore[arg-type]
    ("release_id", lambda c: c.releases.get(1, "latest")),  # type: ignore[arg-type]
    ("user_name", lambda c: c.integrations.sync(1, user_name="", mode="init")),
    ("user_name", lambda c: c.integrations.sync(1, user_name=None, mode="init")),  # type: ignore[arg-type]
    ("configs", lambda c: c.tenants.create("a", 1, configs=[1])),  # type: ignore[arg-type]
    ("path", lambda c: c.request("GET", "/v2/../../admin")),
    ("path", lambda c: c.request("GET", "/v2/%2E%2e/admin")),
    ("path", lambda c: c.request("GET", "/v2/./x")),
    ("path", lambda c: c.request("GET", "/v2/\ud800")),
    ("path", lambda c: c.request("GET", None)),  # type: ignore[arg-type]
    ("method", lambda c: c.request(None, "/v2/x")),  # type: ignore[arg-type]
    ("headers", lambda c: c.request("GET", "/v2/x", headers=[("A", "b")])),  # type: ignore[arg-type]
    ("headers", lambda c: c.request("GET", "/v2/x", headers={b"A": "b"})),  # type: ignore[dict-item]
    ("headers", lambda c: _wrap(c.with_options(headers=0))),  # type: ignore[arg-type]
    ("params", lambda c: c.request("GET", "/v2/x", params=[("a", 1)])),  # type: ignore[arg-type]
    ("params", lambda c: c.request("GET", "/v2/x", params={"a": b"b"})),
    ("params", lambda c: c.request("GET", "/v2/x", params={b"a": "b"})),  # type: ignore[dict-item]
    ("params", lambda c: c.request("GET", "/v2/x", params={None: "b"})),  # type: ignore[dict-item]
    ("params", lambda c: c.request("GET", "/v2/x", params={"\ud800": "b"})),
    ("params", lambda c: c.request("GET", "/v2/x", params={"a": [object()]})),  # type: ignore[list-item]
    ("params", lambda c: c.request("GET", "/v2/x", params={"a": "\ud800"})),
    ("integration_id", lambda c: c.tenants.list(integration_id=[]).first()),  # type: ignore[arg-type]
    ("user_name", lambda c: c.tenants.list(user_name="\ud800").first()),
    ("integration_id", lambda c: c.tenants.create("a", None)),  # type: ignore[arg-type]
    ("release_id", lambda c: c.tenants.create("a", 1, release_id="latest")),  # type: ignore[arg-type]
    ("integration_id", lambda c: c.builds.create(None, "v1", mode="init")),  # type: ignore[arg-type]
    ("payload", lambda c: c.tenants.sync(1, mode="init", payload=[1])),  # type: ignore[arg-type]
    ("payload", lambda c: c.tenants.sync(1, mode="init", payload={"a": {1, 2}})),
    ("payload", lambda c: c.tenants.sync(1, mode="init", payload={"a": float("nan")})),
    ("data", lambda c: c.tenants.update_metadata(1, {"a": object()})),
    ("configs", lambda c: c.tenants.create("a", 1, configs={"a": b"bytes"})),
    ("body", lambda c: c.connectors.call(1, "crm", **CALL, body={"a": object()})),
    ("headers", lambda c: c.connectors.call(1, "crm", **CALL, headers={"a": b"x"})),
    ("tenant_id", lambda c: c.tenants.metadata("")),  # type: ignore[arg-type]
    ("tenant_id", lambda c: c.tenants.metadata(None)),  # type: ignore[arg-type]
    ("tenant_id", lambda c: c.tenants.metadata(True)),
    ("tenant_id", lambda c: c.tenants.metadata(1.0)),  # type: ignore[arg-type]
    ("tenant_id", lambda c: c.tenants.metadata("..")),  # type: ignore[arg-type]
    ("tenant_id", lambda c: _wrap(c.tenants.runs(".."))),  # type: ignore[arg-type]
    ("connector", lambda c: c.connectors.call(1, ".", **CALL)),
    ("connector", lambda c: c.connectors.call(1, "\ud800", **CALL)),
    ("trigger", lambda c: c.runs.status("")),
    ("trigger", lambda c: c.runs.wait(True)),
    ("trigger", lambda c: c.runs.status(7.0)),  # type: ignore[arg-type]
    ("trigger", lambda c: c.runs.status(-7)),
    ("trigger", lambda c: c.runs.status(Trigger(""))),
    ("trigger", lambda c: c.runs.wait_all(["a", None])),  # type: ignore[list-item]
    ("trigger", lambda c: _wrap(c.runs.as_completed([""]))),
    ("trigger", lambda c: c.runs.wait(" ", poll=LATE)),
    ("trigger", lambda c: c.runs.wait(Trigger("\t"), poll=LATE)),
    ("trigger", lambda c: c.runs.wait("..", poll=LATE)),
    ("trigger", lambda c: c.runs.wait_all(["7", "8\n"], poll=LATE)),
    ("trigger", lambda c: c.runs.find("\ud800", tenant_id=1)),
    ("connector", lambda c: c.connectors.disconnect(1, " ")),
    ("integration_id", lambda c: _wrap(c.tenants.list(integration_id=""))),  # type: ignore[arg-type]
    ("integration_id", lambda c: _wrap(c.tenants.list(integration_id=True))),
    ("integration_id", lambda c: _wrap(c.tenants.list(integration_id=7.5))),  # type: ignore[arg-type]
    ("user_name", lambda c: _wrap(c.tenants.list(user_name=""))),
    ("archived", lambda c: _wrap(c.tenants.list(archived="no"))),  # type: ignore[arg-type]
    ("archived", lambda c: _wrap(c.integrations.list(archived="no"))),  # type: ignore[arg-type]
    ("path", lambda c: c.request("GET", "v2/tenants")),
    ("path", lambda c: c.request("GET", "//evil.example/v2")),
    ("path", lambda c: c.request("GET", "https://evil.example/v2")),
    ("path", lambda c: c.request("GET", "/v2/tenants?limit=1")),
    ("path", lambda c: c.request("GET", "/v2/ten\nants")),
    ("method", lambda c: c.request("GET\r\nX: 1", "/v2/tenants")),
    ("json", lambda c: c.request("POST", "/v2/tenants", json={"a": object()})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"X-Api-Key": "other"})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"Host": "evil.example"})),
    # The client does not decode every encoding, and the request would have been executed.
    ("headers", lambda c: _wrap(c.with_options(headers={"Accept-Encoding": "gzip, br"}))),
    ("headers", lambda c: c.request("GET", "/v2", headers={"X-A": "1\r\nX-B: 2"})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"X A": "1"})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"X-A": 1})),  # type: ignore[dict-item]
    ("headers", lambda c: _wrap(c.with_options(headers={"": "1"}))),
    ("timeout", lambda c: _wrap(c.with_options(timeout=-1))),
    ("retry", lambda c: _wrap(c.with_options(retry=3))),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("argument", "operation"), INVALID_CALLS)
async def test_an_invalid_argument_is_named(argument: str, operation: Operation) -> None:
    """An invalid argument is a ValueError that names it, and nothing is sent."""
    async with AsyncPandium("key", base_url=UNUSED_URL, retry=Retry.never()) as client:
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            await operation(client)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": float("nan")}),
        ("timeout", {"timeout": "30"}),
        ("timeout", {"timeout": True}),
        ("timeout", {"timeout": 10**400}),
        ("timeout", {"timeout": httpx.Timeout("30")}),  # type: ignore[arg-type]
        ("timeout", {"timeout": httpx.Timeout(30, read="30")}),  # type: ignore[arg-type]
        ("timeout", {"timeout": httpx.Timeout(30, write=-1)}),
        ("timeout", {"timeout": httpx.Timeout(30, connect=float("nan"))}),
        ("requests_per_second", {"requests_per_second": 10**400}),
        ("max_connections", {"max_connections": 0}),
        ("max_connections", {"max_connections": 1.5}),
        ("retry", {"retry": None}),
    ],
)
def test_an_invalid_option_of_the_client_is_named(argument: str, options: dict[str, Any]) -> None:
    """An invalid client option is a ConfigurationError that names it."""
    with pytest.raises(ConfigurationError, match=argument):
        AsyncPandium("key", base_url=UNUSED_URL, **options)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("first", {"first": -1}),
        ("factor", {"factor": float("nan")}),
        ("factor", {"factor": 10**400}),
        ("minimum", {"minimum": 10**400, "maximum": 10**400}),
        ("minimum", {"minimum": 20}),
        ("maximum", {"maximum": float("inf")}),
        ("jitter", {"jitter": 1}),
        ("rate", {"rate": 0}),
    ],
)
def test_an_invalid_polling_option_is_named(argument: str, options: dict[str, float]) -> None:
    """An invalid option of ``Polling`` is a ValueError that names it."""
    with pytest.raises(ValueError, match=argument):
        Polling(**options)


class _Text(str, Enum):  # noqa: UP042 - str() of a StrEnum would return the value
    MODE = "init"
    ID = "7"
    SORT = "name__ASC"
    NAME = "acme"


class _Number(int, Enum):
    ID = 7


@attrs.frozen
class _Index:
    """An integer type from another library, such as NumPy."""

    number: int

    def __index__(self) -> int:
        return self.number


TRIGGER = {"trigger_id": "t-1"}
EXPECTED_TARGETS: dict[str, tuple[Operation, object]] = {
    "/v2/tenants/7/sync?mode=init": (
        lambda c: c.tenants.sync(_Number.ID, mode=_Text.MODE),
        TRIGGER,
    ),
    "/v2/tenants/7": (lambda c: c.tenants.archive(_Index(7)), {}),  # type: ignore[arg-type]
    "/v2/tenants/8/connectors/acme/disconnect": (
        lambda c: c.connectors.disconnect(8, _Text.NAME),
        {},
    ),
    "/v2/runs/triggers/7/status": (lambda c: c.runs.status(_Text.ID), {"status": "Running"}),
    "/v2/tenants?integration_id=7&user_name=acme&sort_by=name__ASC&skip=0&limit=1": (
        lambda c: c.tenants.list(
            integration_id=_Number.ID, user_name=_Text.NAME, sort_by=_Text.SORT
        ).first(),
        [],
    ),
    "/v2/x?a=7&b=acme&b=7&c=true&d=1.5": (
        lambda c: c.request(
            "GET",
            "/v2/x",
            params={
                "a": _Number.ID,
                "b": (_Text.NAME, None, _Number.ID),
                "c": True,
                "d": 1.5,
                "e": None,
            },
        ),
        {},
    ),
}


@pytest.mark.parametrize("target", EXPECTED_TARGETS)
async def test_the_plain_value_of_an_argument_is_sent(target: str, httpx_mock: HTTPXMock) -> None:
    """Enum members and integers from other libraries are sent as plain values."""
    operation, response = EXPECTED_TARGETS[target]
    httpx_mock.add_response(json=response)
    async with AsyncPandium("key") as client:
        await operation(client)
    [request] = httpx_mock.get_requests()
    assert request.url.raw_path.decode() == target


@pytest.mark.parametrize("value", [_Number.ID, _Index(7), 7])
def test_a_whole_number_is_returned_as_an_int(value: object) -> None:
    """A whole number of any type is returned as a plain ``int``."""
    number = validate_whole_number("limit", value)
    assert (number, type(number)) == (7, int)


TRIGGERS = [Trigger("7"), "7", 7, _Number.ID, _Index(7), _Text.ID, Trigger(7)]  # type: ignore[arg-type]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
async def test_a_trigger_is_accepted_as_text_or_as_a_whole_number(
    trigger: Any, httpx_mock: HTTPXMock
) -> None:
    """Each method of `runs` accepts a trigger, or its id as text or as any whole number."""
    url = "https://api.pandium.io/v2/runs/triggers/7/status"
    httpx_mock.add_response(url=url, json={"status": "Succeeded"}, is_reusable=True)
    polling = Polling(first=0)
    async with AsyncPandium("key") as client:
        assert (await client.runs.status(trigger)).status == "Succeeded"
        assert (await client.runs.wait(trigger, poll=polling)).status == "Succeeded"
        [result] = await client.runs.wait_all([trigger], poll=polling)
        async with client.runs.as_completed([trigger], poll=polling) as results:
            assert [result async for result in results] == [attrs.evolve(result, elapsed=ANY)]
    assert (result.trigger_id, type(result.trigger_id)) == ("7", str)


@pytest.mark.parametrize(
    ("maximum", "bounds"), [(None, "of at least 1"), (500, "from 1 to 500")], ids=["open", "closed"]
)
def test_the_error_for_a_whole_number_states_the_bounds(maximum: int | None, bounds: str) -> None:
    """The error for a number out of bounds contains the argument, the bounds and the value."""
    with pytest.raises(ValueError, match=f"^page_size must be an integer {bounds}, not 0$"):
        validate_whole_number("page_size", 0, maximum=maximum)


def test_a_choice_is_returned_as_plain_text() -> None:
    """A string enum member that is a valid choice is returned as its plain value."""
    mode = validate_choice("mode", _Text.MODE, ("init", "normal"))
    assert (mode, type(mode)) == ("init", str)


def test_seconds_may_be_any_real_number() -> None:
    """A fraction is as good as a float, and so is a float of NumPy with any precision."""
    polling = Polling(minimum=Fraction(1, 2), maximum=Fraction(5))  # type: ignore[arg-type]
    assert (polling.minimum, polling.maximum) == (0.5, 5.0)
    assert type(polling.minimum) is float
    with pytest.raises(ValueError, match="minimum must be a non-negative number of seconds"):
        Polling(minimum=Fraction(10**400))  # type: ignore[arg-type]


def test_a_timeout_may_be_any_whole_number() -> None:
    """The time limit of a request may be an integer of another library."""
    assert validate_timeout(_Index(7)) == 7.0


def test_the_error_for_a_choice_lists_the_choices() -> None:
    """The error for an unknown choice contains the argument, all choices and the value."""
    with pytest.raises(ValueError, match=r"^on_drift must be 'a', 'b' or 'c', not 'd'$"):
        validate_choice("on_drift", "d", ("a", "b", "c"))


def test_a_mapping_is_copied() -> None:
    """Changing a caller's mapping later does not affect the request."""
    payload = {"since": "2026-01-01"}
    copy = validate_mapping("payload", payload)
    payload.clear()
    assert copy == {"since": "2026-01-01"}


@given(segment=st.text(min_size=1))
def test_a_path_segment_cannot_lead_to_another_path(segment: str) -> None:
    """An encoded segment has no delimiter, is not relative, and decodes to the same text."""
    try:
        encoded = encode_path_segment("connector", segment)
    except ValueError:
        assert not segment.strip() or segment in (".", "..") or not is_encodable(segment)
        return
    assert not set(encoded) & set("/?#\\ ")
    assert encoded not in (".", "..")
    assert unquote(encoded) == segment


def is_encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


URL = "postgresql://a:sekrit@b/c"


@pytest.mark.parametrize(
    "journal",
    [
        *(URL, URL.upper(), f"'{URL}'", f" {URL}", f"\n{URL}", f"\ufeff{URL}", f"jdbc:{URL}"),
        *("host=b password=sekrit", "'password = sekrit'", "a\npassword=sekrit"),
        *("PASSWORD=sekrit", "sslpassword=sekrit", "PGPASSWORD=sekrit"),
        *("postgresql:a:sekrit", "PostgreSQL:sekrit", "ann:sekrit@b/c"),
        *("ann:sekrit@b", "ann_:sek/rit@b", "'ann:sekrit@b'"),
        *(Path(URL), PureWindowsPath(URL), Path("postgresql://b/c?password=sekrit")),
        *(Path("postgresql:///c?user=a&password=sekrit"), Path("postgresql://a:sek/rit@b/c")),
    ],
)
def test_a_database_is_not_a_journal_s_path_and_its_password_is_not_shown(
    journal: str | PurePath,
) -> None:
    """A URL or connection string in place of a path is an error that does not contain it."""
    with pytest.raises(ValueError, match="not a URL or connection string") as caught:
        validate_journal_path(journal)
    assert "sekrit" not in str(caught.value).lower()


@pytest.mark.parametrize(
    "path",
    [
        *("a:b", "a@b", "C:/jobs@home.db", "C:/a@b/jobs.db", "thehost=1", "job 1/password"),
        *("/mnt/postgresql:16/jobs.db", "/jobs/12:30@home.db", "sync-postgres:1.db"),
    ],
)
def test_an_unusual_name_of_a_file_is_the_path_of_a_journal(path: str) -> None:
    """Only what looks like a URL or connection string is rejected."""
    assert validate_journal_path(path) == Path(path)
