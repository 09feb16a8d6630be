"""Integrations, releases, builds."""

import socket
from contextlib import closing
from typing import Any

import pytest

from pandium.emulator import Connector, Emulator
from support.emulating import served


def test_without_a_seed_there_is_one_integration_and_no_tenant() -> None:
    """The bare emulator has integration 1 with release 1, crm and shop, and no tenant."""
    with served() as api:
        [one] = api.json("/integrations")
        assert (one["id"], one["default_release_id"], one["type"]) == (1, 1, "External")
        assert [(c["name"], c["isGlobal"]) for c in one["connectors"]] == [
            ("crm", False),
            ("shop", False),
        ]
        assert api.json("/integrations/1") == one
        [release] = api.json("/integrations/1/releases")
        for name in ("1", "default", "latest"):
            assert api.json(f"/integrations/1/releases/{name}") == release
        assert api.json("/tenants") == []


def test_integrations_are_listed_in_parts() -> None:
    """`archived`, `sort_by`, `skip` and `limit` also apply to integrations."""
    with served() as api:
        for name in ("b", "c", "a"):
            api.emulator.add_integration(name, archived=name == "c")
        assert [one["id"] for one in api.json("/integrations")] == [1, 2, 4]
        assert [one["name"] for one in api.json("/integrations", archived=True)] == ["c"]
        rows = api.json("/integrations", sort_by="name__DESC", skip=1, limit=1)
        assert [one["name"] for one in rows] == ["b"]
        assert api.refused("GET", "/integrations?limit=501") == [["query", "limit"]]


@pytest.mark.parametrize(
    "path",
    [
        "/integrations/9",
        "/integrations/9/releases",
        "/integrations/9/releases/1",
        "/integrations/1/releases/9",
        "/integrations/2/releases/1",
        "/integrations/9/releases/default",
        "/integrations/9/releases/latest",
        "/integrations/x/releases/latest",
        "/integrations/3/releases/latest",
        "/integrations/3/releases/default",
    ],
)
def test_what_does_not_exist_is_answered_with_a_message(path: str) -> None:
    """Unknown integrations, and releases that belong to others, are a 404 with a message."""
    with served() as api:
        api.emulator.add_integration()
        api.emulator.add_integration(releases=0)
        api.missing("GET", path)


def test_default_and_latest_are_different_releases() -> None:
    """A new release is the latest one. It is the default only if it is marked as such."""
    with served() as api:
        second = api.emulator.add_release(1, name="two", tag="v2")
        assert api.json("/integrations/1/releases/latest")["id"] == second.id
        assert api.json("/integrations/1/releases/default")["id"] == 1
        third = api.emulator.add_release(1, default=True)
        assert api.json("/integrations/1/releases/default")["id"] == third.id
        moving = api.emulator.add_integration(default_release_channel="Latest", releases=2)
        last = api.json(f"/integrations/{moving.id}/releases")[-1]
        assert api.json(f"/integrations/{moving.id}/releases/default") == last


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"type": "Other"}, "type"),
        ({"releases": -1}, "releases"),
        ({"connectors": [{"name": ""}]}, "connectors"),
        ({"config_schema": {"type": "nothing"}}, "config_schema"),
        ({"metadata_schema": {"type": 1}}, "metadata_schema"),
        ({"schedule": "hourly"}, "schedule"),
        ({"default_release_channel": "Newest"}, "default_release_channel"),
    ],
)
def test_a_bad_integration_is_refused_by_name(arguments: dict[str, Any], place: str) -> None:
    """The error for an invalid argument starts with the argument's name."""
    with pytest.raises(ValueError, match=f"^{place}"):
        Emulator().add_integration(**arguments)


REFERENCES = [
    {"properties": {"batch": {"$ref": "#/$defs/none"}}},
    {"$defs": {"n": {"$ref": "other.json"}}, "properties": {"batch": {"$ref": "#/$defs/n"}}},
    {"$schema": "http://json-schema.org/draft-07/schema#", "allOf": [{"$ref": "file:///x"}]},
    {"$dynamicRef": "#none"},
]


@pytest.mark.parametrize("schema", REFERENCES)
def test_a_schema_may_refer_to_itself_alone(schema: dict[str, Any]) -> None:
    """A reference to another document, or to a missing location, is rejected by name."""
    add_integration: Any = Emulator().add_integration
    for place in ("config_schema", "metadata_schema"):
        with pytest.raises(
            ValueError, match=f"^{place}: refers to '.*', which is not in the schema"
        ):
            add_integration(**{place: schema})
    inner = {"$defs": {"n": {"type": "integer"}}, "properties": {"batch": {"$ref": "#/$defs/n"}}}
    api = Emulator()
    one = api.add_integration(config_schema=inner, connectors=[])
    api.add_tenant(integration_id=one.id, configs={"batch": 1})
    with pytest.raises(ValueError, match=r"^configs\.batch: "):
        api.add_tenant(integration_id=one.id, configs={"batch": "x"})


def test_no_schema_makes_the_emulator_fetch_anything() -> None:
    """A reference to a URL is never fetched, wherever it occurs."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        with pytest.raises(ValueError, match="refers to"):
            Emulator().add_integration(config_schema={"$ref": address})
        # A reference under an unknown keyword is not found until it is followed.
        hidden = {"$ref": "#/mine", "mine": {"$ref": address}}
        endless = {"$anchor": "me", "$ref": "#me"}
        for schema in (hidden, endless):
            api = Emulator()
            one = api.add_integration(metadata_schema=schema)
            with pytest.raises(ValueError, match=r"^metadata: cannot be validated"):
                api.add_tenant(integration_id=one.id, metadata={"a": 1})
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_bad_release_is_refused_by_name() -> None:
    """A release requires an existing integration and valid schemas."""
    api = Emulator()
    with pytest.raises(ValueError, match=r"^integration_id"):
        api.add_release(9)
    with pytest.raises(ValueError, match=r"^config_schema"):
        api.add_release(1, config_schema={"type": "nothing"})


def test_a_connector_may_be_global() -> None:
    """A connector is described by its name, or by its name and whether it is global."""
    with served() as api:
        api.emulator.add_integration(connectors=["crm", Connector(name="mail", is_global=True)])
        shown = api.json("/integrations/2")["connectors"]
        assert shown == [{"name": "crm", "isGlobal": False}, {"name": "mail", "isGlobal": True}]
        assert [one.id for one in api.emulator.integrations] == [1, 2]
