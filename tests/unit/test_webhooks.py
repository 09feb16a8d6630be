"""Parsing the vendor's notifications."""

from __future__ import annotations

import json
import pickle
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandium import DecodeError, webhooks
from support import KEY
from support.servers import Misbehaving

if TYPE_CHECKING:
    from pandium.emulator import Emulator

COMMON = {
    "environment": "sandbox",
    "account_id": 7,
    "account_name": "Acme",
    "timestamp": "2026-03-01T12:00:00Z",
}
INTEGRATION = {"integration_id": 42, "integration_name": "crm-sync"}
TENANT = {"tenant_id": 9, "tenant_name": "acme-eu"}
PARTNER = {"partner_id": 3, "partner_name": "Partner"}
RUN = {
    "run_id": 301,
    "run_status": "Failed (Timeout)",
    "admin_link": "https://a.example/301",
    "api_link": "https://b.example/301",
    "api_status_link": "https://c.example/301",
    "api_triggers_link": "https://d.example/301",
}
FIELDS: dict[type[webhooks.Event], dict[str, Any]] = {
    webhooks.IntegrationCreated: INTEGRATION,
    webhooks.TenantCreated: TENANT | INTEGRATION,
    webhooks.TenantArchived: TENANT | INTEGRATION,
    webhooks.PartnerIntegrationUpdated: INTEGRATION | PARTNER,
    webhooks.RunFailed: RUN | TENANT | INTEGRATION,
}
TYPES = [
    ("new_integration_created", webhooks.IntegrationCreated),
    ("new_tenant_created", webhooks.TenantCreated),
    ("tenant_created", webhooks.TenantCreated),
    ("tenant_archived", webhooks.TenantArchived),
    ("partner_integration_updated", webhooks.PartnerIntegrationUpdated),
    ("run_failed", webhooks.RunFailed),
]


@pytest.mark.parametrize(("event_type", "cls"), TYPES)
def test_each_notification_is_a_model(event_type: str, cls: type[webhooks.Event]) -> None:
    """Each of the vendor's notifications becomes its model, from bytes, text or a mapping."""
    body = {"event_type": event_type, **COMMON, **FIELDS[cls], "new_field": [1]}
    text = json.dumps(body)
    event = webhooks.parse(text.encode())
    assert type(event) is cls
    assert event.timestamp == datetime(2026, 3, 1, 12, tzinfo=UTC)
    expected = {"event_type": event_type, **COMMON, **FIELDS[cls], "timestamp": event.timestamp}
    assert attrs.asdict(event) == expected
    assert event == webhooks.parse(text) == webhooks.parse(body)
    assert event == webhooks.parse(bytearray(text.encode()))
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.event_type = "other"  # type: ignore[misc]  # frozen


@pytest.mark.parametrize(("event_type", "cls"), TYPES)
@pytest.mark.parametrize("is_null", [True, False])
def test_every_other_field_may_be_absent_or_null(
    event_type: str, cls: type[webhooks.Event], *, is_null: bool
) -> None:
    """A notification needs only its type. A field that is absent or null is None."""
    nulls = dict.fromkeys(COMMON | FIELDS[cls]) if is_null else {}
    event = webhooks.parse({"event_type": event_type, **nulls})
    assert type(event) is cls
    assert set(attrs.asdict(event).values()) == {event_type, None}


def test_a_time_without_an_offset_is_utc() -> None:
    """The timestamp is always aware."""
    event = webhooks.parse({"event_type": "run_failed", "timestamp": "2026-03-01T12:00:00.5"})
    assert event.timestamp == datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize("account_id", [7, {"an": "object"}])
def test_any_other_type_is_an_unknown_event_with_its_data(account_id: Any) -> None:
    """A new type is never an error. Its data is kept, even if the common fields have changed."""
    body = {"event_type": "tenant_renamed", **COMMON, "account_id": account_id, "to": {"a": 1}}
    event = webhooks.parse(json.dumps(body))
    assert isinstance(event, webhooks.UnknownEvent)
    assert (event.event_type, event.data) == ("tenant_renamed", body)
    assert event.account_name == ("Acme" if account_id == 7 else None)


@pytest.mark.parametrize("timestamp", ["", "0000-00-00", "0000-00-00T00:00:00Z", None])
def test_an_empty_or_zero_timestamp_is_none(timestamp: str | None) -> None:
    """An empty or zero timestamp stands for none, as in the API's records."""
    body = {"event_type": "run_failed", "run_id": 301, "timestamp": timestamp}
    assert webhooks.parse(body) == webhooks.RunFailed("run_failed", run_id=301)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", ""),
        (b"run failed", ""),
        (b"[]", ""),
        ("null", ""),
        (b"\xff", ""),
        ("\ud800", ""),
        ({}, "event_type"),
        (b'{"event_type": null}', "event_type"),
        (b'{"event_type": ["run_failed"]}', "event_type"),
        (b'{"event_type": "run_failed", "run_id": "x"}', "run_id"),
        (b'{"event_type": "run_failed", "timestamp": "yesterday"}', "timestamp"),
        ({"event_type": "tenant_archived", "tenant_name": 7}, "tenant_name"),
    ],
)
def test_anything_else_is_a_decode_error_with_its_path(body: Any, path: str) -> None:
    """A body that is not a notification is a DecodeError that locates the invalid value."""
    with pytest.raises(DecodeError) as caught:
        webhooks.parse(body)
    assert caught.value.path == path


def test_a_body_of_another_type_is_a_value_error() -> None:
    """The body must be bytes, text or a mapping of JSON values."""
    with pytest.raises(ValueError, match="body must be bytes, text or a mapping, not int"):
        webhooks.parse(7)  # type: ignore[arg-type]  # a wrong type
    with pytest.raises(ValueError, match="body cannot be encoded as JSON"):
        webhooks.parse({"event_type": object()})


@pytest.mark.parametrize(
    "body", [{"run_id": float("nan")}, {"run_status": "\ud800"}, {"other": float("inf")}]
)
def test_whatever_a_framework_decodes_is_accepted(body: dict[str, Any]) -> None:
    """A mapping with numbers or text that JSON lacks is handled in the same way as its bytes."""
    body["event_type"] = "tenant_archived"
    assert webhooks.parse(body) == webhooks.parse(json.dumps(body))


@given(body=st.binary(max_size=200) | st.text(max_size=200))
def test_no_body_is_an_unexpected_error(body: bytes | str) -> None:
    """Whatever a sender sends, the result is an event or a DecodeError."""
    with suppress(DecodeError):
        webhooks.parse(body)


def test_every_field_is_documented() -> None:
    """The docstring of each event documents the fields that it adds, in order."""
    for name in webhooks.__all__:
        cls = getattr(webhooks, name)
        if attrs.has(cls):
            own = [f.name for f in attrs.fields(cls) if not f.inherited]
            assert re.findall(r":ivar (\w+): \S", cls.__doc__ or "") == own


# What the emulator delivers


def test_what_the_emulator_delivers_can_be_parsed(emulator: Emulator) -> None:
    """Each notification that the emulator delivers becomes its event, with all of its fields."""
    emulator.runs.script(appears_after=0, phases=[("Failed (Timeout)", 0)])
    with Misbehaving() as receiver:
        emulator.webhooks.send_to(f"{receiver.url}/hook?secret=s")
        integration = emulator.add_integration("new")
        tenant = emulator.add_tenant("acme", integration_id=integration.id)
        url = f"{emulator.url}/v2/tenants/{tenant.id}/sync?mode=normal"
        httpx.post(url, headers={"X-API-KEY": KEY}).raise_for_status()
        emulator.archive_tenant(tenant.id)
        emulator.webhooks.partner_integration_updated(integration.id)
        emulator.webhooks.drain()
    bodies = [request.body or b"" for request in receiver.requests]
    events = [webhooks.parse(body) for body in bodies]
    assert {type(event) for event in events} == set(FIELDS)
    assert {event.account_name for event in events} == {"Emulator"}
    for event, body in zip(events, bodies, strict=True):
        assert attrs.asdict(event).keys() == json.loads(body).keys()
