"""Seeds: names, mappings and files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pandium.emulator import Emulator
from support.emulating import Api, served

SEED: dict[str, Any] = {
    "integrations": [{"id": 7, "name": "orders", "connectors": ["shop"]}, {}],
    "releases": [{"id": 3, "integration_id": 7, "name": "one", "default": True}],
    "tenants": [
        {"id": 20, "name": "late", "integration_id": 7},
        {"id": 10, "name": "early", "integration_id": 8, "created_date": "2026-01-01T00:00:00Z"},
    ],
}


def check_seed(seed: Any) -> None:
    with served(seed) as api:
        assert [one["id"] for one in api.json("/integrations")] == [7, 8]
        assert [one["name"] for one in api.json("/integrations/7/releases")] == ["one"]
        assert len(api.json("/integrations/8/releases")) == 1
        early, late = api.json("/tenants")
        assert (early["name"], late["name"]) == ("early", "late")
        assert early["created_date"] == "2026-01-01T00:00:00Z"


def test_a_seed_may_be_a_mapping_or_a_file(tmp_path: Path) -> None:
    """A mapping and its JSON and YAML files lead to the same state, in the order of the ids."""
    check_seed(SEED)
    as_json, as_yaml = tmp_path / "seed.json", tmp_path / "seed.yaml"
    as_json.write_text(json.dumps(SEED))
    as_yaml.write_text("# YAML\n" + json.dumps(SEED))
    check_seed(as_json)
    check_seed(str(as_yaml))


def test_the_demo_has_tenants_in_all_states() -> None:
    """It has dozens of tenants: paused, archived, scheduled and partly connected ones."""
    emulator = Emulator("demo")
    assert len(emulator.integrations) >= 4
    assert len(emulator.tenants) >= 24
    for field in ("paused", "archived", "user_schedule"):
        assert len({getattr(one, field) for one in emulator.tenants}) == 2
    connected = {str(one.connected) for one in emulator.tenants}
    assert len(connected) >= 3
    again = Emulator("demo").tenants
    assert [one.name for one in again] == [one.name for one in emulator.tenants]


def test_what_a_seed_leaves_out_is_created() -> None:
    """A missing integration is created, and each missing field gets its default."""
    seed = {"tenants": [{"name": "x"}, {"integration_id": 3}], "releases": [{"integration_id": 4}]}
    emulator = Emulator(seed)
    assert [one.id for one in emulator.integrations] == [1, 3, 4]
    assert [(one.id, one.name) for one in emulator.tenants] == [(1, "x"), (2, "tenant-2")]
    assert Emulator({}).integrations == Emulator({"tenants": []}).integrations == []


def test_null_means_that_a_field_is_left_out() -> None:
    """Null and a missing field have the same effect, unless null is a value of the field."""
    with served() as api:
        fields = dict.fromkeys(("id", "name", "paused", "configs", "connected", "created_date"))
        api.emulator.load({"tenants": [fields, {}]})
        first, second = api.emulator.tenants
        assert first.model_copy(update={"id": 2, "name": "tenant-2"}) == second
        with pytest.raises(ValueError, match=r"^tenants\[0\]\.colour: "):
            Emulator({"tenants": [{"colour": None}]})


def test_a_record_was_last_modified_when_it_was_created() -> None:
    """A record that is added with a date of creation has the same date of modification."""
    date = datetime(2026, 1, 1, tzinfo=UTC)
    emulator = Emulator({"tenants": [{"created_date": "2026-01-01", "metadata": {"a": 1}}]})
    [tenant] = emulator.tenants
    assert tenant.created_date == tenant.modified_date == date
    assert tenant.metadata_created_date == tenant.metadata_modified_date == date
    assert emulator.add_tenant().created_date > date


def test_a_release_with_a_given_id_precedes_those_that_are_created() -> None:
    """The first releases of an integration get ids that the seed does not use."""
    seed = {"integrations": [{}, {"releases": 2}], "releases": [{"id": 2, "default": True}]}
    with served(seed) as api:
        assert [one["id"] for one in api.json("/integrations/1/releases")] == [2]
        assert [one["id"] for one in api.json("/integrations/2/releases")] == [3, 4]
        assert [one["default_release_id"] for one in api.json("/integrations")] == [2, 3]


@pytest.mark.parametrize(
    ("seed", "place"),
    [
        ([], "seed: "),
        ({"tenant": []}, "tenant: "),
        ({"tenants": {}}, "tenants: "),
        ({"tenants": [5]}, r"tenants\[0\]: "),
        ({"integrations": [{}], "tenants": [{}, {"name": "No"}]}, r"tenants\[1\]\.name: "),
        ({"integrations": [{}], "tenants": [{"colour": 1}]}, r"tenants\[0\]\.colour: "),
        ({"tenants": [{"integration_release_id": 9}]}, r"tenants\[0\]\.integration_release_id: "),
        ({"integrations": [], "tenants": [{}]}, r"tenants\[0\]\.integration_id: "),
        ({"integrations": [{"id": 1}, {"id": 1}]}, r"integrations\[1\]\.id: "),
        ({"integrations": [{"id": 0}]}, r"integrations\[0\]\.id: "),
        ({"releases": [{"integration_id": []}]}, r"releases\[0\]\.integration_id: "),
        ({"integrations": [{"releases": 10**12}]}, r"integrations\[0\]\.releases: "),
        (
            {"integrations": [], "releases": [{}]},
            r"releases\[0\]\.integration_id: no integration",
        ),
        ({"integrations": [{"connectors": [5]}]}, r"integrations\[0\]\.connectors\[0\]: "),
        ({"tenants": [{"connected": "crm"}]}, r"tenants\[0\]\.connected: must be true, false"),
        ({"tenants": [{"connected": ["x"]}]}, r"tenants\[0\]\.connected: .*no connector 'x'"),
        ({"scripts": [{"tenant": 1, "integration": 1}]}, r"scripts\[0\]\.integration: .*not both"),
        ({"scripts": [{"tenant": 0}]}, r"scripts\[0\]\.tenant: "),
        ({"scripts": [{}, {"tenant": 9}]}, r"scripts\[1\]\.tenant: there is no tenant 9"),
        ({"scripts": [{"integration": 9}]}, r"scripts\[0\]\.integration: .*no integration 9"),
        ({"scripts": [{}, {"phases": []}]}, r"scripts\[1\]\.phases: "),
        ({"scripts": [{"phases": [["a", -1]]}]}, r"scripts\[0\]\.phases\[0\]\[1\]: "),
        ({"scripts": [{"phases": [["a", True]]}]}, r"scripts\[0\]\.phases\[0\]\[1\]: "),
        ({"scripts": [{"phases": [["a", {"polls": -1}]]}]}, r"scripts\[0\]\.phases\[0\]\[1\]: "),
        ({"scripts": [{"phases": [[None, 1]]}]}, r"scripts\[0\]\.phases: must begin with a status"),
        ({"scripts": [{"appears_after": "1"}]}, r"scripts\[0\]\.appears_after: must be seconds"),
        ({"scripts": [{"killed_after": -1}]}, r"scripts\[0\]\.killed_after: "),
        ({"scripts": [{"phases": [["", 0]]}]}, r"scripts\[0\]\.phases\[0\]\[0\]: "),
        ({"upstreams": [{}]}, r"upstreams\[0\]\.connector: "),
        ({"upstreams": [{"connector": "crm", "status": 99}]}, r"upstreams\[0\]\.status: "),
        ({"upstreams": [{"connector": "a", "host": "x.example:443"}]}, r"upstreams\[0\]\.host: "),
        (
            {
                "integrations": [{}],
                "releases": [{"integration_id": 1, "config_schema": {"type": 1}}],
            },
            r"releases\[0\]\.config_schema\.type: ",
        ),
    ],
)
def test_a_bad_seed_is_refused_at_its_place(tmp_path: Path, seed: Any, place: str) -> None:
    """The error's location consists of the section, the index and the field."""
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(seed))
    with pytest.raises(ValueError, match=f"^{place}"):
        Emulator(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seed.json", b"{", "is not JSON: .*line 1 column 2"),
        ("seed.yml", b"a: [", "is not YAML: line 1, column 5"),
        ("seed.yaml", b"a: \0", "is not YAML: .*special characters"),
        (
            "seed.yaml",
            b"tenants: !!binary aGk=",
            "is not YAML: it contains a value that .*bytes",
        ),
        ("seed.yaml", b"tenants: &a [*a]", "is not YAML: Circular"),
        ("seed.json", b"[" * 100_000, "is nested too deeply"),
        ("seed.json", b"\xff", "is not UTF-8: byte 0"),
        ("absent.json", None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, text: bytes | None, message: str
) -> None:
    """The error contains the path, the reason and, if known, the line."""
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        Emulator(path)


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    """The error for a word that is neither a seed nor a file lists the valid seeds."""
    with pytest.raises(ValueError, match="there is no seed 'dmeo': specify 'demo' or the path"):
        Emulator("dmeo")


def test_yaml_is_read_as_json(tmp_path: Path) -> None:
    """Dates and keys are text, and a byte order mark is ignored."""
    path = tmp_path / "seed.yaml"
    path.write_bytes(
        b"\xef\xbb\xbfintegrations: [{config_schema: {properties: {since: {type: string}}}}]\n"
        b"tenants:\n"
        b"  - {configs: &same {since: 2026-01-01, 1: 2}, created_date: 2026-01-01 12:00:00+01:00}\n"
        b"  - {configs: *same, created_date: 2026-01-01}\n"
    )
    first, second = Emulator(path).tenants
    assert first.configs == second.configs == {"since": "2026-01-01", "1": 2}
    assert first.created_date == datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert second.created_date == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_seed_says_how_runs_and_upstream_systems_go() -> None:
    """A seed has scripts for tenants, integrations or all, and responses of upstream systems."""
    seed = {
        "integrations": [{}],
        "tenants": [{}, {}],
        "scripts": [
            {"integration": 1, "appears_after": 1e9},
            {
                "tenant": 2,
                "appears_after": {"polls": 1},
                "phases": [["Running", None]],
                "killed_after": None,
            },
            {"tenant": 1, "appears_after": 1, "phases": [["Queued", 2], [None, 0], ["Done", 0]]},
        ],
        "upstreams": [
            {"connector": "crm", "data": [1]},
            {"connector": "crm", "host": "Broken.example", "status": 503, "data": "off"},
        ],
    }
    with served(seed) as api:
        first, second = api.sync(1), api.sync(2)
        assert [api.status(one) for one in (first, second)] == [None, None]
        api.clock.advance(1)
        assert [api.status(one) for one in (first, second)] == ["Queued", "Running"]
        api.clock.advance(1e6)
        assert [api.status(one) for one in (first, second)] == ["Done", "Running"]
        assert call(api, "https://any.example/") == (200, {"data": [1]})
        assert call(api, "https://broken.example/") == (503, {"detail": "{'data': 'off'}"})


def call(api: Api, url: str) -> tuple[int, Any]:
    path = "/v2/tenants/1/connectors/crm/call"
    answer = api.http.post(path, json={"method": "GET", "target_url": url})
    return answer.status_code, answer.json()
