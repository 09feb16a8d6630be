"""Listing, creating, updating and archiving tenants, and their metadata."""

import json
from typing import Any

import pytest

from pandium.emulator import Emulator
from support.emulating import LIMITS, Api, served

RELEASE, CHANNEL = "integration_release_id", "integration_release_channel"


def ids(api: Api, **query: Any) -> list[int]:
    return [one["id"] for one in api.json("/tenants", **query)]


def test_a_listing_is_cut_by_skip_and_limit() -> None:
    """Consecutive pages of any size contain all tenants in the order of their ids."""
    with served() as api:
        for _ in range(205):
            api.emulator.add_tenant()
        assert ids(api) == list(range(1, 101))
        assert ids(api, skip=200, limit=50) == [201, 202, 203, 204, 205]
        assert ids(api, skip=205) == []
        assert ids(api, limit=500) == list(range(1, 206))


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("limit=501", "limit"),
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("skip=-1", "skip"),
        ("sort_by=name", "sort_by"),
        ("sort_by=name__UP", "sort_by"),
        ("sort_by=shoe_size__ASC", "sort_by"),
        ("archived=maybe", "archived"),
        ("integration_id=x", "integration_id"),
    ],
)
def test_invalid_parameters_are_rejected_in_fastapi_s_format(query: str, place: str) -> None:
    """The location of the error is the parameter in the query."""
    with served() as api:
        assert api.refused("GET", f"/tenants?{query}") == [["query", place]]


def test_filters_narrow_a_listing() -> None:
    """`archived` selects only archived tenants. Filters of 0 and "" match all tenants."""
    with served() as api:
        api.emulator.add_integration()
        api.emulator.add_tenant(user_name="u")
        api.emulator.add_tenant(integration_id=2, user_name="u")
        api.emulator.add_tenant(integration_id=2)
        api.emulator.add_tenant(archived=True)
        assert ids(api) == ids(api, integration_id=0, user_name="") == [1, 2, 3]
        assert ids(api, integration_id=2) == [2, 3]
        assert ids(api, user_name="u") == [1, 2]
        assert ids(api, user_name="u", integration_id=2) == [2]
        assert ids(api, archived=True) == [4]


def test_sorting_is_stable() -> None:
    """Ties are ordered by id in either direction. Tenants without a value come last."""
    with served() as api:
        for paused, schedule in ((True, None), (False, "1 * * * *"), (True, "0 * * * *")):
            api.emulator.add_tenant(paused=paused, user_schedule=schedule)
        assert ids(api, sort_by="paused__ASC") == [2, 1, 3]
        assert ids(api, sort_by="paused__DESC") == [1, 3, 2]
        assert ids(api, sort_by="user_schedule__ASC") == [3, 2, 1]
        assert ids(api, sort_by="user_schedule__DESC") == [2, 3, 1]
        assert ids(api, sort_by="id__DESC") == [3, 2, 1]


def test_a_listing_shows_every_change() -> None:
    """A listing always shows the current state of each tenant."""
    with served() as api:
        for number in range(70):
            api.emulator.add_tenant(user_name=f"u{number}")
        for number in range(70):
            assert ids(api, user_name=f"u{number}") == [number + 1]
        api.emulator.archive_tenant(70)
        assert ids(api, user_name="u69") == []
        assert api.emulator.tenant(70).archived
        assert ids(api, user_name="u69", archived=True) == [70]
        with pytest.raises(LookupError):
            api.emulator.tenant(99)


def test_a_created_tenant_is_paused_and_unconnected() -> None:
    """The response is the record with the integration's defaults and schedule."""
    with served() as api:
        api.emulator.add_integration(schedule="0 4 * * *")
        body = {"name": "acme-1", "integration_id": 2, "configs": {"a": 1}}
        answer = api.http.post("/v2/tenants", json=body)
        assert answer.status_code == 200
        tenant = answer.json()
        assert api.json("/tenants") == [tenant]
        assert tenant | {"status": 0, "created_date": 0, "modified_date": 0} == {
            "id": 1,
            "name": "acme-1",
            "archived": False,
            "integration_id": 2,
            "configs": {"a": 1},
            "created_date": 0,
            "modified_date": 0,
            "paused": True,
            "user_schedule": None,
            "schedule": "0 4 * * *",
            "source": "api",
            "integration_release_id": None,
            "integration_release_channel": "Default",
            "status": 0,
        }
        disconnected = {"status": "disconnected", "last_change": None}
        assert tenant["status"] == {
            "last_run": {},
            "current_run": {},
            "last_successful_run": {},
            "dynamic_configs": {},
            "auth": {
                "connected": False,
                "connectors": [{"name": name, **disconnected} for name in ("crm", "shop")],
            },
        }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Acme"),
        ("name", "-acme"),
        ("name", "acme-"),
        ("name", "acme\n"),
        ("name", ""),
        ("name", None),
        ("integration_id", 9),
        ("user_schedule", "* * * *"),
        ("user_schedule", "60 * * * *"),
        ("user_schedule", "5-1 * * * *"),
        ("user_schedule", "*/0 * * * *"),
        ("user_schedule", "* * * fri *"),
        ("user_schedule", "* * 0 * *"),
        ("integration_release_id", 2),
        ("integration_release_id", 9),
        ("integration_release_channel", "Newest"),
        ("configs", {"batch": 0}),
    ],
)
def test_a_bad_tenant_is_refused_at_its_field(field: str, value: object) -> None:
    """The error for an invalid tenant or update names the field, and nothing is changed."""
    with served() as api:
        api.emulator.add_integration()
        api.emulator.add_release(1, config_schema=LIMITS, default=True)
        api.emulator.add_release(2)
        value = 2 if (field, value) == ("integration_release_id", 2) else value
        good = {"name": "acme", "integration_id": 1}
        [place] = api.refused("POST", "/tenants", json={**good, field: value})
        assert place[:2] == ["body", field]
        assert api.json("/tenants") == []
        if field != "integration_id":
            api.emulator.add_tenant("kept")
            [place] = api.refused("PATCH", "/tenants/1", json={"paused": True, field: value})
            assert place[:2] == ["body", field]
            assert not api.json("/tenants")[0]["paused"]


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "*/15 8-18 1,15 jan-MAR mon",
        "0 0 31 12 7",
        "5/10 0 * * sun-sat",
        "1-5/2 0 1 1 0",
    ],
)
def test_good_schedules_are_taken(schedule: str) -> None:
    """The five fields of a cron expression accept lists, ranges, steps and English names."""
    with served() as api:
        body = {"name": "acme", "integration_id": 1, "user_schedule": schedule}
        assert api.http.post("/v2/tenants", json=body).json()["schedule"] == schedule


def test_a_release_and_a_channel_exclude_each_other() -> None:
    """Specifying both is an error of the release. Specifying one replaces the other."""
    with served() as api:
        both = {"integration_release_id": 1, "integration_release_channel": "Latest"}
        body = {"name": "acme", "integration_id": 1, **both}
        place = [["body", "integration_release_id"]]
        assert api.refused("POST", "/tenants", json=body) == place
        api.emulator.add_tenant()
        assert api.refused("PATCH", "/tenants/1", json=both) == place
        for given, expected in (
            ({"integration_release_id": 1}, (1, None)),
            ({"integration_release_channel": "Latest"}, (None, "Latest")),
            ({"integration_release_channel": None}, (None, "Default")),
        ):
            tenant = api.http.patch("/v2/tenants/1", json=given).json()
            pair = (tenant["integration_release_id"], tenant["integration_release_channel"])
            assert pair == expected


def test_the_release_of_a_tenant_follows_its_choice() -> None:
    """A tenant runs a pinned release, the latest one, or the integration's default."""
    with served() as api:
        api.emulator.add_release(1)
        for choice in ({RELEASE: 1}, {CHANNEL: "Latest"}, {}):
            api.emulator.add_tenant(**choice)
        assert [api.json(f"/tenants/{n}/release")["id"] for n in (1, 2, 3)] == [1, 2, 1]
        api.missing("GET", "/tenants/9/release")
        bare = api.emulator.add_integration(releases=0)
        api.emulator.add_tenant(integration_id=bare.id)
        api.missing("GET", "/tenants/4/release")
        assert api.http.patch("/v2/tenants/4/metadata", json={"a": 1}).json()["data"] == {"a": 1}


def test_a_change_changes_what_is_given() -> None:
    """An update changes only its fields and the date. An empty one changes no field."""
    with served() as api:
        before = api.emulator.add_tenant("acme", paused=True, configs={"a": 1})
        api.clock.advance(10)
        change = {"name": "acme-2", "paused": False, "configs": {"b": 2}, "archived": True}
        tenant = api.http.patch("/v2/tenants/1", json={**change, "user_schedule": "0 1 * * *"})
        assert tenant.json().items() >= {**change, "schedule": "0 1 * * *"}.items()
        after = api.emulator.tenant(1)
        assert (after.modified_date - before.modified_date).total_seconds() == 10
        api.http.patch("/v2/tenants/1", json={"user_schedule": None, "archived": False})
        [shown] = api.json("/tenants")
        assert (shown["name"], shown["schedule"]) == ("acme-2", None)
        api.missing("PATCH", "/tenants/9", json={})
        assert api.http.patch("/v2/tenants/1", json={}).json()["name"] == "acme-2"


def test_deleting_archives() -> None:
    """A deleted tenant is listed as archived. Deleting it again has no effect."""
    with served() as api:
        api.emulator.add_tenant()
        for _ in range(2):
            answer = api.http.delete("/v2/tenants/1")
            assert (answer.status_code, answer.json()) == (200, {"id": 1, "archived": True})
        assert (ids(api), ids(api, archived=True)) == ([], [1])
        api.missing("DELETE", "/tenants/9")


def test_metadata_is_merged_at_the_top() -> None:
    """Each key replaces its entire value, other keys are kept, and the dates are updated."""
    with served() as api:
        api.emulator.add_tenant()
        empty = {"tenant_id": 1, "data": {}, "created_date": None, "modified_date": None}
        assert api.json("/tenants/1/metadata") == empty
        first = api.http.patch("/v2/tenants/1/metadata", json={"a": {"x": 1}, "b": 1}).json()
        assert first["created_date"] == first["modified_date"] != None  # noqa: E711 - a chain
        api.clock.advance(5)
        second = api.http.patch("/v2/tenants/1/metadata", json={"a": {"y": 2}}).json()
        assert second["data"] == {"a": {"y": 2}, "b": 1}
        assert second["created_date"] == first["created_date"] != second["modified_date"]
        assert api.json("/tenants/1/metadata") == second
        api.missing("GET", "/tenants/9/metadata")
        api.missing("PATCH", "/tenants/9/metadata", json={})


def test_metadata_that_does_not_fit_is_refused_whole() -> None:
    """Metadata must match the release's schema. The error has the location of the value."""
    schema = {"properties": {"a": {"properties": {"n": {"type": "integer"}}}}}
    with served() as api:
        api.emulator.add_integration(metadata_schema=schema)
        api.emulator.add_tenant(integration_id=2, metadata={"a": {"n": 1}})
        before = api.json("/tenants/1/metadata")
        places = api.refused("PATCH", "/tenants/1/metadata", json={"b": 1, "a": {"n": "x"}})
        assert places == [["body", "a", "n"]]
        assert api.refused("PATCH", "/tenants/1/metadata", json=[1]) == [["body"]]
        assert api.json("/tenants/1/metadata") == before


def test_any_json_is_returned_unchanged() -> None:
    """Numbers of more than 64 bits and lone surrogates are returned unchanged."""
    with served() as api:
        api.emulator.add_tenant()
        for text in ('{"a": 123456789012345678901234567890}', '{"a": "\\ud800"}'):
            answer = api.http.patch(
                "/v2/tenants/1/metadata",
                content=text,
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 200
            assert answer.json()["data"] == json.loads(text)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"name": "No"}, "name"),
        ({"name": 5}, "name"),
        ({"integration_id": 9}, "integration_id"),
        ({"paused": "yes"}, "paused"),
        ({"connected": ["mail"]}, "connected"),
        ({"connected": [1]}, "connected"),
        ({"user_schedule": "often"}, "user_schedule"),
        ({RELEASE: 9}, RELEASE),
        ({RELEASE: 1, CHANNEL: "Latest"}, RELEASE),
        ({CHANNEL: "Newest"}, CHANNEL),
        ({"configs": {"batch": 0}}, r"configs\.batch"),
        ({"metadata": {"batch": 0}}, r"metadata\.batch"),
    ],
)
def test_a_bad_tenant_by_hand_is_refused_by_name(arguments: dict[str, Any], place: str) -> None:
    """The error for an invalid argument starts with its name, and nothing is added."""
    api = Emulator()
    api.add_release(1, config_schema=LIMITS, metadata_schema=LIMITS, default=True)
    with pytest.raises(ValueError, match=f"^{place}"):
        api.add_tenant(**arguments)
    assert api.tenants == []


def test_a_tenant_may_be_connected_in_part() -> None:
    """`connected` is all, none, or some names. Only with all is the tenant connected."""
    with served() as api:
        for connected in (True, False, ["shop"]):
            api.emulator.add_tenant(connected=connected)
        auth = [one["status"]["auth"] for one in api.json("/tenants")]
        assert [one["connected"] for one in auth] == [True, False, False]
        assert [c["status"] for c in auth[2]["connectors"]] == ["disconnected", "connected"]
        assert auth[2]["connectors"][1]["last_change"] is not None
