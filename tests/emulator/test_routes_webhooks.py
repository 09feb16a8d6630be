"""The control API's routes for notifications."""

from collections.abc import Iterator
from typing import Any

import pytest

from pandium.emulator.network.notifications import EVENT_TYPES
from support.control import Control, controlled
from support.servers import Misbehaving


@pytest.fixture
def control() -> Iterator[Control]:
    with controlled() as control:
        yield control


@pytest.fixture
def receiver() -> Iterator[Misbehaving]:
    with Misbehaving() as server:
        yield server


def create(control: Control, name: str) -> None:
    tenant = {"name": name, "integration_id": 1}
    assert control.api("POST", "/tenants", json=tenant).status_code == 200


def test_notifications_are_sent_and_shown(control: Control, receiver: Misbehaving) -> None:
    """The deliveries contain the bodies and statuses. The URL is shown without its query."""
    assert control("GET", "/webhooks") == {"url": None, "events": [], "deliveries": []}
    shown = control("PUT", "/webhooks", json={"url": f"{receiver.url}/hook?secret=s3"})
    assert shown["url"] == f"{receiver.url}/hook?***"
    assert shown["events"] == list(EVENT_TYPES)
    create(control, "acme")
    control.emulator.webhooks.drain()
    assert receiver.requests[0].target == "/hook?secret=s3"
    [delivery] = control("GET", "/webhooks")["deliveries"]
    assert (delivery["event_type"], delivery["status"]) == ("new_tenant_created", 200)
    assert (delivery["body"]["tenant_name"], delivery["error"]) == ("acme", None)


def test_events_can_be_chosen_and_switched_off(control: Control, receiver: Misbehaving) -> None:
    """Only the chosen types are sent, and none once the URL is removed."""
    control("PUT", "/webhooks", json={"url": receiver.url, "events": ["tenant_archived"]})
    create(control, "acme")
    control("DELETE", "/tenants/1")
    control("DELETE", "/webhooks", 204)
    create(control, "umbrella")
    control("DELETE", "/tenants/2")
    control.emulator.webhooks.drain()
    shown = control("GET", "/webhooks")
    assert [one["body"]["tenant_id"] for one in shown["deliveries"]] == [1]
    assert (shown["url"], shown["events"]) == (None, [])


def test_deliveries_can_be_removed(control: Control, receiver: Misbehaving) -> None:
    """The URL is kept."""
    control("PUT", "/webhooks", json={"url": receiver.url})
    create(control, "acme")
    control.emulator.webhooks.drain()
    control("DELETE", "/webhooks/deliveries", 204)
    shown = control("GET", "/webhooks")
    assert (shown["url"], shown["deliveries"]) == (receiver.url, [])


def test_a_partner_s_update_is_sent_on_demand(control: Control, receiver: Misbehaving) -> None:
    """The notification names the partner. An unknown integration is a 404."""
    control("PUT", "/webhooks", json={"url": receiver.url})
    path = "/webhooks/partner-integration-updated"
    control("POST", path, 204, json={"integration_id": 1, "partner_name": "Ann's"})
    control.emulator.webhooks.drain()
    [delivery] = control("GET", "/webhooks")["deliveries"]
    assert (delivery["body"]["partner_id"], delivery["body"]["partner_name"]) == (1, "Ann's")
    assert control.refused("POST", path, 404, json={"integration_id": 9}) == ["path"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "url"),
        ({"url": "ftp://localhost/"}, "url"),
        ({"url": "http://localhost/", "events": ["run_faild"]}, "events[0]"),
        ({"url": "http://localhost/", "timeout": -1}, "timeout"),
        ({"url": "http://localhost/", "secret": "x"}, "secret"),
    ],
)
def test_what_is_invalid_is_refused_by_its_place(
    control: Control, body: dict[str, Any], place: str
) -> None:
    """The errors name the field, and nothing is sent anywhere."""
    assert control.refused("PUT", "/webhooks", json=body) == [place]
    assert control("GET", "/webhooks")["url"] is None
