"""Fast and lenient decoding agree, and decoding an encoded model returns an equal one."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandium._serialization.convert import (
    decode,
    decode_json,
    encode_json,
    replace_non_finite,
    to_dict,
    to_json,
)
from pandium.errors import DecodeError
from pandium.models import (
    Connector,
    Integration,
    IntegrationType,
    Run,
    Tenant,
    TenantMetadata,
    TriggerStatus,
)
from support.decoding import (
    decode_both_ways,
    dump,
    dump_tenant,
    error_of,
    floats_in,
    models_in,
    outcome_of,
    timestamps_in,
    value_of,
)
from support.payloads import ANYTHING, PAYLOADS, RUNS, TENANTS, nested


@settings(deadline=None)
@given(case=PAYLOADS)
def test_both_ways_of_decoding_agree(case: tuple[Any, Any]) -> None:
    """Both ways return the same value or the same DecodeError for every response."""
    cls, payload = case
    kind, value = decode_both_ways(dump(payload), cls)
    if kind == "value":
        assert all(timestamp.tzinfo is not None for timestamp in timestamps_in(value))


@settings(deadline=None)
@given(case=PAYLOADS)
def test_an_encoded_model_is_decoded_as_an_equal_one(case: tuple[Any, Any]) -> None:
    """Decoding the output of ``to_json`` or ``to_dict`` returns an equal model."""
    cls, payload = case
    kind, value = outcome_of(decode, dump(payload), cls)
    for model in models_in(value) if kind == "value" else ():
        assert json.loads(to_json(model), parse_constant=pytest.fail) == to_dict(model)
        # JSON has no infinity, so it is encoded as null.
        if not any(map(math.isinf, floats_in(attrs.asdict(model)))):
            assert decode(to_json(model), type(model)) == model
            assert decode(dump(to_dict(model)), type(model)) == model


@given(data=st.binary(max_size=40))
def test_any_bytes_give_a_value_or_a_decode_error(data: bytes) -> None:
    """Decoding arbitrary bytes returns a value or raises a DecodeError."""
    for cls in (TENANTS, Tenant, RUNS):
        outcome_of(decode, data, cls)


@pytest.mark.parametrize("data", [b"", b" \r\n\t"])
def test_an_empty_response_is_reported_as_empty(data: bytes) -> None:
    """The DecodeError for an empty or blank response says that it is empty."""
    assert error_of(data, TENANTS) == ("the response is empty, but JSON was expected", "")


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>Bad gateway</body></html>",
        b'[{"id": 1, "name": "n"}',
        b'[{"id": 1, "na',
        b'[{"id": 1, "name": "n"}] []',
        b'[{"id": 1, "name": "\xff"}]',
        b"[" * 100_000,
    ],
    ids=["html", "unclosed", "cut off", "two values", "not UTF-8", "too deep"],
)
def test_invalid_json_is_a_decode_error(data: bytes) -> None:
    """HTML, truncated JSON, invalid UTF-8 and endless nesting are DecodeErrors without a path."""
    message, path = error_of(data, TENANTS)
    assert path == ""
    assert message.startswith("the response is not valid JSON: ")
    with pytest.raises(DecodeError, match="the response is not valid JSON: "):
        decode_json(data)


def test_the_last_of_duplicate_fields_counts() -> None:
    """If a field occurs twice, the last value is used."""
    data = (
        b'[{"id": "x", "id": 1, "name": "n", "created_date": "2026-01-02", "created_date": null}]'
    )
    assert value_of(data, TENANTS) == [Tenant(1, "n")]


def test_a_deep_object_is_decoded() -> None:
    """An object with a hundred levels of nesting is decoded."""
    deep = nested(1, 50)
    assert value_of(dump_tenant(configs={"b": deep}), TENANTS)[0].configs == {"b": deep}


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**30])
def test_an_integer_of_more_than_64_bits_is_exact(number: int) -> None:
    """An integer of any size is decoded exactly, both in a field and in free-form data."""
    (tenant,) = value_of(dump([{"id": number, "name": "n", "configs": {"a": number}}]), TENANTS)
    assert (tenant.id, tenant.configs["a"]) == (number, number)


def test_a_lone_surrogate_is_decoded() -> None:
    """An escaped lone surrogate is kept, because JSON allows it."""
    assert value_of(dump_tenant(name="\ud800"), TENANTS)[0].name == "\ud800"
    assert decode_json(b'"\\ud800"') == "\ud800"


NON_FINITE = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 5_000]


@pytest.mark.parametrize("number", NON_FINITE)
def test_a_number_that_is_not_finite_is_a_float(number: str) -> None:
    """In free-form data, NaN, infinity and numbers too large for a double become floats."""
    (found,) = decode_json(f"[{number}]".encode())
    assert isinstance(found, float)
    assert not math.isfinite(found)


@pytest.mark.parametrize("number", NON_FINITE)
@pytest.mark.parametrize("name", ["a", "\\ud800"], ids=["text", "surrogate"])
def test_json_with_a_number_that_is_not_finite_is_valid(number: str, name: str) -> None:
    """``to_dict`` and ``to_json`` replace non-finite numbers with null at any depth."""
    data = f'{{"tenant_id": 1, "data": {{"{name}": [{{"b": {number}}}, 1.5]}}}}'.encode()
    metadata = value_of(data, TenantMetadata) if number != "NaN" else decode(data, TenantMetadata)
    expected = {json.loads(f'"{name}"'): [{"b": None}, 1.5]}
    assert to_dict(metadata)["data"] == expected
    assert json.loads(to_json(metadata), parse_constant=pytest.fail)["data"] == expected
    assert isinstance(next(floats_in(metadata.data)), float)  # the model is unchanged


def test_deep_data_of_a_model_is_encoded() -> None:
    """Free-form data is encoded at any depth that can be decoded, and is copied."""
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"a": deep}
    metadata = TenantMetadata(7, deep)
    copied = to_dict(metadata)["data"]
    assert to_json(metadata).count(b'"a"') == 900
    assert copied["a"] is not deep["a"]


def test_numbers_of_deep_data_are_replaced() -> None:
    """Numbers are replaced without recursion at any depth, and the input is unchanged."""
    deep: Any = math.nan
    for _ in range(50_000):
        deep = {"a": [deep]}
    replaced = replace_non_finite(deep)
    for _ in range(50_000):
        deep, replaced = deep["a"][0], replaced["a"][0]
    assert replaced is None
    assert math.isnan(deep)


@pytest.mark.parametrize("payload", [None, True, 5, 1.5, "x", [1], {"a": {"b": None}}])
def test_plain_json_is_decoded_unchanged(payload: Any) -> None:
    """JSON without a model is returned as plain data."""
    assert decode_json(dump(payload)) == payload


def test_a_model_is_encoded_with_the_names_of_the_api() -> None:
    """``to_dict`` and ``to_json`` use the API's names, ISO 8601 datetimes and enum values."""
    payload = {
        "id": 1,
        "mode": "a later one",
        "status": {"phase": "Running", "startTime": "then", "completionTime": None},
        "triggers": [
            {"id": 2, "created_date": "2026-01-02T03:04:05Z", "mode": "init", "source": "Cron",
             "payload": {"a": [1]}}
        ],
        "started_date": "2026-01-02T03:04:05.678901+02:00",
        "completed_date": None,
        "tenant_id": 3,
        "integration_id": None,
    }  # fmt: skip
    model = decode(dump(payload), Run)
    assert to_dict(model) == payload
    assert json.loads(to_json(model)) == payload
    assert isinstance(to_json(model), bytes)


def test_nested_models_are_encoded_with_the_names_of_the_api() -> None:
    """Nested models also use the API's names."""
    connector = Connector(name="c", is_global=True)
    integration = Integration(1, "n", "l", IntegrationType.EXTERNAL, connectors=[connector])
    assert to_dict(connector) == {"name": "c", "isGlobal": True}
    assert to_dict(integration)["connectors"] == [{"name": "c", "isGlobal": True}]


def test_enums_and_date_times_are_encoded_as_plain_strings() -> None:
    """``to_dict`` returns plain strings for datetimes and for known and unknown enum values."""
    encoded = to_dict(
        Integration(1, "n", "l", IntegrationType("new"), created_date=datetime.now(UTC))
    )
    assert (type(encoded["type"]), type(encoded["created_date"])) == (str, str)


class Moment(datetime):
    """A datetime of another library, such as pendulum or freezegun."""


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000006+02:00"])
def test_a_datetime_of_another_library_is_encoded_alike(text: str) -> None:
    """An instance of a subclass of datetime is encoded as the datetime itself would be."""
    for cls in (datetime, Moment):
        model = Integration(1, "n", "l", IntegrationType.EXTERNAL)
        model = attrs.evolve(model, created_date=cls.fromisoformat(text))
        assert to_dict(model)["created_date"] == text
        assert json.loads(to_json(model))["created_date"] == text


@pytest.mark.parametrize("encode", [to_dict, to_json])
def test_a_field_of_a_type_that_json_lacks_is_a_type_error(encode: Callable[..., object]) -> None:
    """The message names the type."""
    metadata = TenantMetadata(1, data={"a": object()})
    with pytest.raises(TypeError, match="object"):
        encode(metadata)


@pytest.mark.parametrize("value", [None, {"a": 1}, [TriggerStatus("x")], "x", Tenant])
def test_only_a_model_can_be_encoded(value: object) -> None:
    """Encoding anything other than a model raises a TypeError."""
    for encode in (to_dict, to_json):
        with pytest.raises(TypeError, match=r"expected a model from pandium\.models, not "):
            encode(value)


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        {"a": [math.inf]},
        object(),
        {"a": {1, 2}},
        {"a": b"x"},
        {("a", 1): 1},
        CIRCLE,
        "\ud800",
        {"a": ["\udfff"]},
        datetime.now(UTC),
    ],
    ids=["nan", "inf", "object", "set", "bytes", "key", "circle", "surrogate", "deep", "datetime"],
)
def test_a_value_that_is_not_json_is_rejected_by_argument_name(value: object) -> None:
    """A value that is not JSON-serializable is a ValueError that names the argument."""
    with pytest.raises(ValueError, match="payload cannot be encoded as JSON: ") as caught:
        encode_json(value, "payload")
    assert caught.value.__suppress_context__


def test_data_that_is_nested_too_deeply_is_rejected_by_argument_name() -> None:
    """Data that is nested too deeply is a ValueError that names the argument."""
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(ValueError, match="configs cannot be encoded as JSON: "):
        encode_json(deep, "configs")


@given(value=ANYTHING.filter(lambda value: not any(map(math.isinf, floats_in(value)))))
def test_json_is_encoded_compactly_and_exactly(value: Any) -> None:
    """JSON is encoded as UTF-8 without spaces, and is decoded as the same value."""
    encoded = encode_json(value, "payload")
    assert json.loads(encoded) == value
    assert encoded.decode() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_a_lone_surrogate_is_encoded_with_an_escape() -> None:
    """A lone surrogate, which UTF-8 cannot encode, is written as a JSON escape."""
    tenant = decode(b'{"id":1,"name":"\\ud800"}', Tenant)
    assert decode(to_json(tenant), Tenant) == tenant
