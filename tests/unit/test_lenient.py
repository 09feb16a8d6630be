"""A DecodeError locates the invalid value and says what was expected."""

from typing import Any

import pytest

from pandium.models import Category, Tenant
from support.decoding import dump, dump_tenant, error_of
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
     "expected a date-time, got an integer"),
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
    """A DecodeError has the path to the invalid value, and says what was expected there."""
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


@pytest.mark.parametrize("text", ["", "now", "2026-02-30", "2026-01-02T25:00:00Z", "1767322800"])
def test_an_invalid_date_time_is_a_decode_error(text: str) -> None:
    """A string that is not a date-time is a DecodeError with its path."""
    message, path = error_of(dump_tenant(created_date=text), TENANTS)
    assert path == "[0].created_date"
    assert "expected a date-time, got another string" in message


def test_an_integer_that_no_double_can_hold_is_a_decode_error() -> None:
    """An integer that is too large for a double is a DecodeError in a float field."""
    payload = {"id": 1, "name": "n", "order_index": 10**400}
    _, path = error_of(dump(payload), Category)
    assert path == "order_index"
