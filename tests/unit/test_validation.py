"""Bad input is refused by name before anything is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pandium import AsyncPandium, ConfigurationError, Polling, Retry

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

pytestmark = pytest.mark.anyio

# Nothing listens there: a request would end as ConnectFailed, not as ValueError.
NOWHERE = "http://127.0.0.1:9"
ASK: dict[str, Any] = {"method": "GET", "target_url": "https://example.com"}

Act = Callable[[AsyncPandium], Awaitable[Any]]


async def _now(value: Any) -> Any:
    return value


REFUSED: list[tuple[str, Act]] = [
    ("mode", lambda c: c.tenants.sync(1, mode="full")),
    ("mode", lambda c: c.tenants.sync(1, mode="Normal")),
    ("mode", lambda c: c.integrations.sync(1, user_name="a", mode="webhook")),
    ("mode", lambda c: c.builds.create(1, "v1", mode="")),
    ("build_tag", lambda c: c.builds.create(1, " ", mode="init")),
    ("build_tag", lambda c: c.builds.create(1, 7, mode="init")),  # type: ignore[arg-type]
    ("sort_by", lambda c: _now(c.tenants.list(sort_by="name"))),
    ("sort_by", lambda c: _now(c.tenants.list(sort_by="name__asc"))),
    ("sort_by", lambda c: _now(c.integrations.list(sort_by="__ASC"))),
    ("sort_by", lambda c: _now(c.tenants.runs(1, sort_by="id DESC"))),
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
    ("page_size", lambda c: _now(c.tenants.list(page_size=0))),
    ("page_size", lambda c: _now(c.tenants.list(page_size=501))),
    ("page_size", lambda c: _now(c.integrations.list(page_size=True))),
    ("limit", lambda c: _now(c.tenants.list(limit=-1))),
    ("skip", lambda c: _now(c.tenants.list(skip=-1))),
    ("prefetch", lambda c: _now(c.tenants.list(prefetch=0))),
    ("on_drift", lambda c: _now(c.tenants.list(on_drift="hope"))),  # type: ignore[arg-type]
    ("release_id", lambda c: c.releases.get(1, "latest")),  # type: ignore[arg-type]
    ("user_name", lambda c: c.integrations.sync(1, user_name="", mode="init")),
    ("user_name", lambda c: c.integrations.sync(1, user_name=None, mode="init")),  # type: ignore[arg-type]
    ("configs", lambda c: c.tenants.create("a", 1, configs=[1])),  # type: ignore[arg-type]
    ("path", lambda c: c.request("GET", "/v2/../../admin")),
    ("path", lambda c: c.request("GET", "/v2/%2E%2e/admin")),
    ("path", lambda c: c.request("GET", "/v2/./x")),
    ("path", lambda c: c.request("GET", None)),  # type: ignore[arg-type]
    ("method", lambda c: c.request(None, "/v2/x")),  # type: ignore[arg-type]
    ("headers", lambda c: c.request("GET", "/v2/x", headers=[("A", "b")])),  # type: ignore[arg-type]
    ("headers", lambda c: c.request("GET", "/v2/x", headers={b"A": "b"})),  # type: ignore[dict-item]
    ("headers", lambda c: _now(c.with_options(headers=0))),  # type: ignore[arg-type]
    ("params", lambda c: c.request("GET", "/v2/x", params=[("a", 1)])),  # type: ignore[arg-type]
    ("params", lambda c: c.request("GET", "/v2/x", params={"a": b"b"})),
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
    ("body", lambda c: c.connectors.call(1, "crm", **ASK, body={"a": object()})),
    ("headers", lambda c: c.connectors.call(1, "crm", **ASK, headers={"a": b"x"})),
    ("tenant_id", lambda c: c.tenants.metadata("")),  # type: ignore[arg-type]
    ("tenant_id", lambda c: c.tenants.metadata(None)),  # type: ignore[arg-type]
    ("tenant_id", lambda c: c.tenants.metadata(True)),
    ("tenant_id", lambda c: c.tenants.metadata(1.0)),  # type: ignore[arg-type]
    ("tenant_id", lambda c: c.tenants.metadata("..")),  # type: ignore[arg-type]
    ("tenant_id", lambda c: _now(c.tenants.runs(".."))),  # type: ignore[arg-type]
    ("connector", lambda c: c.connectors.call(1, ".", **ASK)),
    ("connector", lambda c: c.connectors.call(1, "\ud800", **ASK)),
    ("trigger", lambda c: c.runs.status("")),
    ("trigger", lambda c: c.runs.wait(7)),  # type: ignore[arg-type]
    ("trigger", lambda c: c.runs.wait_all(["a", None])),  # type: ignore[list-item]
    ("trigger", lambda c: _now(c.runs.as_completed([""]))),
    ("path", lambda c: c.request("GET", "v2/tenants")),
    ("path", lambda c: c.request("GET", "//evil.example/v2")),
    ("path", lambda c: c.request("GET", "https://evil.example/v2")),
    ("path", lambda c: c.request("GET", "/v2/tenants?limit=1")),
    ("path", lambda c: c.request("GET", "/v2/ten\nants")),
    ("method", lambda c: c.request("GET\r\nX: 1", "/v2/tenants")),
    ("json", lambda c: c.request("POST", "/v2/tenants", json={"a": object()})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"X-Api-Key": "other"})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"Host": "evil.example"})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"X-A": "1\r\nX-B: 2"})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"X A": "1"})),
    ("headers", lambda c: c.request("GET", "/v2", headers={"X-A": 1})),  # type: ignore[dict-item]
    ("headers", lambda c: _now(c.with_options(headers={"": "1"}))),
    ("timeout", lambda c: _now(c.with_options(timeout=-1))),
    ("retry", lambda c: _now(c.with_options(retry=3))),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("argument", "act"), REFUSED)
async def test_bad_arguments_are_named(argument: str, act: Act) -> None:
    """What breaks a documented rule is a ValueError that names the argument; nothing is sent."""
    async with AsyncPandium("key", base_url=NOWHERE, retry=Retry.never()) as client:
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            await act(client)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": float("nan")}),
        ("timeout", {"timeout": "30"}),
        ("timeout", {"timeout": True}),
        ("max_connections", {"max_connections": 0}),
        ("max_connections", {"max_connections": 1.5}),
        ("retry", {"retry": None}),
    ],
)
def test_bad_options_are_named(argument: str, options: dict[str, Any]) -> None:
    """A client that cannot work is not made."""
    with pytest.raises(ConfigurationError, match=argument):
        AsyncPandium("key", base_url=NOWHERE, **options)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("first", {"first": -1}),
        ("factor", {"factor": float("nan")}),
        ("minimum", {"minimum": 20}),
        ("maximum", {"maximum": float("inf")}),
        ("jitter", {"jitter": 1}),
        ("rate", {"rate": 0}),
    ],
)
def test_bad_polling_is_named(argument: str, options: dict[str, float]) -> None:
    """A schedule that cannot be kept is not made."""
    with pytest.raises(ValueError, match=argument):
        Polling(**options)


class _Word(str, Enum):  # noqa: UP042 - which str() does not read as its value
    MODE = "init"
    ID = "7"
    SORT = "name__ASC"
    NAME = "acme"


class _Number(int, Enum):
    ID = 7


@attrs.frozen
class _Index:
    """A whole number of another library, as numpy's are."""

    number: int

    def __index__(self) -> int:
        return self.number


TRIGGER = {"trigger_id": "t-1"}
SENT: dict[str, tuple[Act, object]] = {
    "/v2/tenants/7/sync?mode=init": (
        lambda c: c.tenants.sync(_Number.ID, mode=_Word.MODE),
        TRIGGER,
    ),
    "/v2/tenants/7": (lambda c: c.tenants.archive(_Index(7)), {}),  # type: ignore[arg-type]
    "/v2/tenants/8/connectors/acme/disconnect": (
        lambda c: c.connectors.disconnect(8, _Word.NAME),
        {},
    ),
    "/v2/runs/triggers/7/status": (lambda c: c.runs.status(_Word.ID), {"status": "Running"}),
    "/v2/tenants?integration_id=7&user_name=acme&sort_by=name__ASC&skip=0&limit=1": (
        lambda c: c.tenants.list(
            integration_id=_Number.ID, user_name=_Word.NAME, sort_by=_Word.SORT
        ).first(),
        [],
    ),
    "/v2/x?a=7&b=acme&b=7&c=true&d=1.5": (
        lambda c: c.request(
            "GET",
            "/v2/x",
            params={
                "a": _Number.ID,
                "b": (_Word.NAME, None, _Number.ID),
                "c": True,
                "d": 1.5,
                "e": None,
            },
        ),
        {},
    ),
}


@pytest.mark.parametrize("target", SENT)
async def test_of_an_enumeration_the_value_is_sent(target: str, httpx_mock: HTTPXMock) -> None:
    """What is sent is the value that was checked: no name of an enumeration, no repr."""
    act, answer = SENT[target]
    httpx_mock.add_response(json=answer)
    async with AsyncPandium("key") as client:
        await act(client)
    [request] = httpx_mock.get_requests()
    assert request.url.raw_path.decode() == target
