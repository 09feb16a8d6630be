"""Naive datetimes become UTC, nulls become defaults, and renamed fields get their Python names."""

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from pandium._serialization.repairs import build_json_repair, build_utc_repair
from pandium.models import Connector, RunStatus, Tag, Trigger
from support.decoding import dump, dump_tenant, error_of, models_in, timestamps_in, value_of
from support.payloads import INTEGRATIONS, RUNS, TENANTS


@pytest.mark.parametrize("build", [build_json_repair, build_utc_repair])
@pytest.mark.parametrize("cls", [Trigger, list[Trigger], Tag, int, list[str], dict[str, Any]])
def test_a_type_that_needs_no_repair_has_none(build: Any, cls: Any) -> None:
    """No repair is built for a type without renamed fields, defaults and datetimes."""
    assert build(cls) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901+00:00", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("2026-01-02T05:34:05+02:30", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-01T20:04:05-0700", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("20260102T030405Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("0001-01-01T00:00:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_date_time_is_aware(text: str, expected: datetime) -> None:
    """A datetime is timezone-aware. Without an offset, it is in UTC."""
    created = value_of(dump_tenant(created_date=text), TENANTS)[0].created_date
    assert created == expected
    assert created.utcoffset() is not None


def test_a_date_time_keeps_its_offset() -> None:
    """A datetime with an offset is not converted to UTC."""
    created = value_of(dump_tenant(created_date="2026-01-02T05:34:05+02:30"), TENANTS)[
        0
    ].created_date
    assert created.utcoffset() == timedelta(hours=2, minutes=30)


def test_a_nested_date_time_is_aware() -> None:
    """Naive datetimes become UTC at any depth and in each item of a list."""
    auth = {"connectors": [{"name": "x", "status": "y", "last_change": "2026-01-02T03:04:05"}] * 2}
    found = value_of(dump_tenant(status={"auth": auth}), TENANTS)
    assert list(timestamps_in(found)) == [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)] * 2


def test_each_date_time_of_a_page_is_repaired_by_itself() -> None:
    """Only naive datetimes become UTC, regardless of other datetimes on the page."""
    texts = [f"2026-01-02T03:04:05{zone}" for zone in ("Z", "", "+02:30", "")]
    connectors = [{"name": "x", "status": "y", "last_change": text} for text in [*texts, None]]
    statuses: list[Any] = [None, {}, {"auth": {}}, {"auth": {"connectors": []}}]
    statuses += [{"auth": {"connectors": connectors}}, None]
    page = [
        {"id": 1, "name": "n", "created_date": created, "modified_date": None, "status": status}
        for created in texts
        for status in statuses
    ]
    offsets = [timedelta(0), timedelta(0), timedelta(hours=2, minutes=30), timedelta(0)]
    found = value_of(dump(page), TENANTS)
    assert [tenant.created_date.utcoffset() for tenant in found[::6]] == offsets
    for tenant in found[4::6]:
        *changes, absent = [connector.last_change for connector in tenant.status.auth.connectors]
        assert [change.utcoffset() for change in changes] == offsets
        assert absent is None


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02"])
def test_free_text_that_looks_like_a_date_time_is_unchanged(text: str) -> None:
    """A string is decoded as a datetime only where the API documents one."""
    free = {"created_date": text, text: [text, {"last_change": text}]}
    status = {"last_run": free, "auth": {"connectors": [{"name": text, "status": text}]}}
    (tenant,) = value_of(
        dump_tenant(name=text, configs=free, user_schedule=text, source=text, status=status),
        TENANTS,
    )
    assert (tenant.name, tenant.user_schedule, tenant.source) == (text, text, text)
    assert (tenant.configs, tenant.status.last_run) == (free, free)
    assert [(c.name, c.status) for c in tenant.status.auth.connectors] == [(text, text)]


def test_escaped_characters_of_a_date_time_are_decoded() -> None:
    """The characters of field names and datetimes may be escaped."""
    data = rb'[{"id": 1, "name": "n", "created\u005fdate": "2026\u002d01-02T03:04:05"}]'
    assert list(timestamps_in(value_of(data, TENANTS))) == [
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ]


def test_a_null_is_treated_like_an_absent_field() -> None:
    """An optional field that is null gets its default, also in nested models and lists."""
    nulls = {"configs": None, "paused": None, "source": None, "created_date": None}
    auth = {"connected": None, "connectors": None}
    assert value_of(dump_tenant(**nulls, status=None), TENANTS) == value_of(dump_tenant(), TENANTS)
    assert value_of(dump_tenant(status={"auth": auth, "last_run": None}), TENANTS) == value_of(
        dump_tenant(status={}), TENANTS
    )
    run = {"id": 1, "mode": "init"}
    assert value_of(dump([{**run, "triggers": None}]), RUNS) == value_of(dump([run]), RUNS)


@pytest.mark.parametrize("fields", [{}, {"configs": None}], ids=["absent", "null"])
def test_models_share_no_mutable_values(fields: dict[str, None]) -> None:
    """Each model has its own lists and dictionaries, even for default values."""
    tenant = {"id": 1, "name": "n", **fields}
    page = [{**tenant, "status": {"auth": {}}}, {**tenant, "status": {}}] * 2
    parts = [
        value
        for model in models_in(value_of(dump(page), TENANTS))
        for field in attrs.fields(type(model))
        if isinstance(value := getattr(model, field.name), (dict, list))
    ]
    assert len({id(part) for part in parts}) == len(parts) == 4 * 6


def test_a_required_renamed_field_must_be_present() -> None:
    """A required renamed field must be present and not null."""
    payload = [{"id": 1, "name": "n", "long_name": "l", "type": "x", "connectors": [{"name": "c"}]}]
    _, path = error_of(dump(payload), INTEGRATIONS)
    assert path.startswith("[0].connectors[0].")
    payload[0]["connectors"] = [{"name": "c", "isGlobal": None}]
    _, path = error_of(dump(payload), INTEGRATIONS)
    assert path.startswith("[0].connectors[0].")


def test_a_renamed_field_is_decoded_by_its_api_name_only() -> None:
    """A field with the Python name of a renamed field is ignored as unknown."""
    run = {"id": 1, "mode": "init", "status": {"start_time": 5, "startTime": "then"}}
    assert value_of(dump([run]), RUNS)[0].status == RunStatus(start_time="then")
    run["status"] = {"start_time": "then"}
    assert value_of(dump([run]), RUNS)[0].status == RunStatus()
    _, path = error_of(dump({"name": "c", "is_global": True}), Connector)
    assert path.endswith("isGlobal")
