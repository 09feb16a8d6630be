"""Unusual but readable values are accepted, and a DecodeError locates the others."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pandium import DecodeError
from pandium._serialization.convert import decode
from pandium.models import Category, Release, Tenant, Trigger
from support.decoding import dump, dump_tenant, error_of, value_of
from support.payloads import INTEGRATIONS, RUNS, TENANTS

INVALID: list[tuple[Any, Any, str, str]] = [
    (TENANTS, [{"id": 1, "name": "n"}] * 3 + [{"id": 1, "name": "n", "status": {"auth": 5}}],
     "[3].status.auth", "expected an object, got an integer"),
    (TENANTS, [{"name": "n"}], "[0].id", "required field missing"),
    (TENANTS, [{"id": None, "name": "n"}], "[0].id", "expected an integer, got null"),
    (TENANTS, [{"id": "1", "name": "n"}], "[0].id", "expected an integer, got a string"),
    (TENANTS, [{"id": True, "name": "n"}], "[0].id", "expected an integer, got a boolean"),
    (TENANTS, [{"id": 1.5, "name": "n"}], "[0].id", "expected an integer, got a number"),
    (TENANTS, [{"id": 1, "name": 5}], "[0].name", "expected a string, got an integer"),
    (TENANTS, [{"id": 1, "name": "n", "paused": "false"}], "[0].paused",
     "expected a boolean, got a string"),
    (TENANTS, [{"id": 1, "name": "n", "configs": []}], "[0].configs",
     "expected an object, got an array"),
    (TENANTS, [{"id": 1, "name": "n", "created_date": 5}], "[0].created_date",
     "expected a datetime, got an integer"),
    (TENANTS, [{"id": 1, "name": "n", "integration_release_channel": 5}],
     "[0].integration_release_channel", "expected a string, got an integer"),
    (TENANTS, [{"id": 1, "name": "n", "status": {"auth": {"connectors": [{"name": "x"}]}}}],
     "[0].status.auth.connectors[0].status", "required field missing"),
    (TENANTS, [5], "[0]", "expected an object, got an integer"),
    (TENANTS, {}, "", "expected an array, got an object"),
    (TENANTS, None, "", "expected an array, got null"),
    (Tenant, [], "", "expected an object, got an array"),
    (Tenant, "x", "", "expected an object, got a string"),
    (INTEGRATIONS, [{"id": 1, "name": "n", "long_name": "l", "type": "External",
      "categories": [{"id": 1, "name": "n", "order_index": "first"}]}],
     "[0].categories[0].order_index", "expected a number, got a string"),
    (INTEGRATIONS, [{"id": 1, "name": "n", "long_name": "l", "type": "External", "tags": {}}],
     "[0].tags", "expected an array, got an object"),
    (RUNS, [{"id": 1, "mode": "init", "triggers": [7]}], "[0].triggers[0]",
     "expected an object, got an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "payload", "path", "text"), INVALID)
def test_a_decode_error_has_the_path_to_the_invalid_value(
    cls: Any, payload: Any, path: str, text: str
) -> None:
    """A DecodeError contains the path to the invalid value and what was expected."""
    location = f"{path}: " if path else ""
    assert error_of(dump(payload), cls) == (
        f"the response cannot be decoded: {location}{text}",
        path,
    )


def test_a_decode_error_counts_the_other_invalid_values() -> None:
    """With several invalid values, the error names the first and counts the others."""
    message, path = error_of(dump([{}, {"id": 1}]), TENANTS)
    assert path == "[0].id"
    assert message.endswith("[0].id: required field missing (and 2 more)")


@pytest.mark.parametrize("count", [20, 10_000])
def test_only_the_first_invalid_records_of_an_array_are_examined(count: int) -> None:
    """After 20 invalid records, the rest of an array is not examined, so an error is cheap."""
    message, path = error_of(dump([{}] * count), TENANTS)
    assert path == "[0].id"
    assert message.endswith("[0].id: required field missing (and at least 39 more)")


INVALID_DATE_TIMES = [
    *("now", "2026-02-30", "2026-01-02T25:00:00Z", "1767322800", "00", "0000"),
    *("10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "0000-00-01"),
    *("2026-01-02T24:01:00Z", "2026-01-02T24:00:00.1Z", "2026-02-30T24:00", "9999-12-31T24:00:00"),
    *("2026-01-02T23:60:60Z", "2026-01-02T23:59:61Z", "9999-12-31T23:59:60Z", "2026-01-02T60"),
    *("2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05 UTC", "\ud800", "0000-00-00T00:00:01"),
    *("1712123112345", "17121231123456.5"),  # Unix timestamps, not the year 1712
    *(" " * 50_000 + "x", "2" * 50_000, "2026-01-02T24:00:00." + "0" * 50_000 + "x"),
]


@pytest.mark.parametrize("text", INVALID_DATE_TIMES)
def test_an_invalid_date_time_is_a_decode_error(text: str) -> None:
    """A string that is not a datetime is a DecodeError with its path."""
    message, path = error_of(dump_tenant(created_date=text), TENANTS)
    assert path == "[0].created_date"
    assert "expected a datetime, got another string" in message


def test_an_integer_that_no_double_can_hold_is_a_decode_error() -> None:
    """An integer that is too large for a double is a DecodeError in a float field."""
    payload = {"id": 1, "name": "n", "order_index": 10**400}
    _, path = error_of(dump(payload), Category)
    assert path == "order_index"


# Unusual but readable values


PLUS_2 = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31 23:59:60.25z", datetime(2017, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)),
        ("2017-01-01T01:59:60+02:00", datetime(2017, 1, 1, 2, tzinfo=PLUS_2)),
        ("20161231T235960Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2026-01-01T24:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-12-31T24:00", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31T24:00:00.000+0200", datetime(2027, 1, 1, tzinfo=PLUS_2)),
        ("20260101T2400", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123_457, tzinfo=UTC)),
        (" 2026-01-02T03:04:05Z\n", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_an_odd_date_time_is_read(text: str, expected: datetime) -> None:
    """A leap second or 24:00 is read as the instant that follows."""
    created = value_of(dump_tenant(created_date=text), TENANTS)[0].created_date
    assert created == expected
    assert created.utcoffset() == expected.utcoffset()


NO_DATES = [
    *("", " ", "0000-00-00", "00000000", "0000-00-00T00:00", "0000-00-00T00:00:00"),
    *("0000-00-00 00:00:00", "0000-00-00T00:00:00.000Z", "0000-00-00t00:00:00+00:00"),
]


@pytest.mark.parametrize("text", NO_DATES)
def test_an_empty_date_or_one_of_zeros_is_none(text: str) -> None:
    """An optional datetime that is empty or consists of zeros is None, at any depth."""
    connector = {"name": "x", "status": "y", "last_change": text}
    payload = dump_tenant(
        created_date=text, name=text, status={"auth": {"connectors": [connector]}}
    )
    (tenant,) = value_of(payload, TENANTS)
    assert (tenant.created_date, tenant.name) == (None, text)
    assert tenant.status.auth.connectors[0].last_change is None


@pytest.mark.parametrize("text", NO_DATES)
def test_a_required_date_must_be_one(text: str) -> None:
    """A required datetime that is empty or consists of zeros is a DecodeError with its path."""
    trigger = {"id": 1, "created_date": text, "mode": "init", "source": "Cron"}
    _, path = error_of(dump([{"id": 1, "mode": "init", "triggers": [trigger]}]), RUNS)
    assert path == "[0].triggers[0].created_date"


@pytest.mark.parametrize(
    ("number", "expected"),
    [("7.0", 7), ("7e0", 7), ("-7.00", -7), ("0.0", 0), ("9007199254740991.0", 2**53 - 1)],
)
def test_a_whole_number_may_be_written_with_a_fraction(number: str, expected: int) -> None:
    """An integer field accepts a float without a fraction and returns an integer."""
    data = f'[{{"id": {number}, "name": "n", "integration_id": {number}}}]'.encode()
    (tenant,) = value_of(data, TENANTS)
    assert (tenant.id, tenant.integration_id) == (expected, expected)
    assert type(tenant.id) is int


@pytest.mark.parametrize(
    "number", ["7.5", "9007199254740992.0", "1e20", "1e400", "NaN", "-Infinity", "1" * 5_000]
)
def test_a_number_that_may_be_another_id_is_a_decode_error(number: str) -> None:
    """A fraction, or a float that may have lost digits, is not accepted as an integer."""
    data = f'[{{"id": 1, "name": "n"}}, {{"id": {number}, "name": "n"}}]'.encode()
    message, path = error_of(data, TENANTS)
    assert path == "[1].id"
    assert message.endswith("[1].id: expected an integer, got a number")


def test_a_trigger_is_read_from_a_response_that_is_not_strict_json() -> None:
    """A trigger id is not lost if the response contains ``NaN``, which is not JSON."""
    assert value_of(b'{"trigger_id": "t-1", "load": NaN}', Trigger) == Trigger("t-1")
    assert value_of(b'{"trigger_id": 9001, "load": NaN}', Trigger) == Trigger("9001")


def test_a_trigger_id_may_be_a_number() -> None:
    """A trigger id is text even if the API sends a number. Other text fields are strict."""
    assert value_of(dump({"trigger_id": 9001}), Trigger) == Trigger("9001")
    assert value_of(dump({"trigger_id": 9001.0}), Trigger) == Trigger("9001")
    for invalid in (True, 9001.5, None, ["9001"]):
        assert error_of(dump({"trigger_id": invalid}), Trigger)[1] == "trigger_id"
    payload = {"id": 1, "name": "n", "config_version": 5}
    assert error_of(dump(payload), Release)[1] == "config_version"


def test_one_odd_record_does_not_lose_its_page() -> None:
    """One unusual record does not affect the other records of the page."""
    tenant = {"id": 1, "name": "n", "created_date": "2026-01-02T03:04:05Z", "configs": {"a": [1.5]}}
    odd = {**tenant, "id": 2.0, "created_date": "2026-01-01T24:00:00", "modified_date": ""}
    page = value_of(dump([tenant] * 250 + [odd] + [tenant] * 249), TENANTS)
    assert page[:250] + page[251:] == value_of(dump([tenant] * 499), TENANTS)
    assert page[250].id == 2


@pytest.mark.parametrize("value", ["true", "null", "[]", "1.5"])
def test_a_trigger_id_is_text_or_an_integer(value: str) -> None:
    """A trigger id of any other type is an error that names the field."""
    data = f'{{"trigger_id": {value}}}'.encode()
    with pytest.raises(DecodeError, match="trigger_id"):
        decode(data, Trigger)
