"""The models match the vendor's schemas, and each status has the right outcome."""

import copy
import json
import pickle
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandium import models
from pandium._serialization import convert
from pandium.models import Outcome, TriggerStatus
from support.openapi import merge_documents, model_name_of, to_snake_case

ENUMS: list[type[StrEnum]] = [models.RunMode, models.IntegrationType, models.ReleaseChannel]
MODELS: list[type[Any]] = [
    cls for name in models.__all__ if attrs.has(cls := getattr(models, name))
]


DOCUMENT = merge_documents()
SCHEMAS = {
    model_name_of(name): schema for name, schema in DOCUMENT["components"]["schemas"].items()
}


def schema_of(cls: type[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = SCHEMAS[cls.__name__]
    return schema


def resolve_reference(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else SCHEMAS[model_name_of(reference.rpartition("/")[2])]


def is_nullable(schema: dict[str, Any]) -> bool:
    return {"type": "null"} in schema.get("anyOf", [])


def minimal_value(schema: dict[str, Any]) -> Any:
    """Return the smallest value that a schema allows."""
    schema = resolve_reference(schema)
    if "anyOf" in schema:
        return minimal_value(schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date-time":
        return "2026-01-02T03:04:05Z"
    if schema["type"] == "object":
        properties = schema.get("properties", {})
        return {name: minimal_value(properties[name]) for name in schema.get("required", [])}
    return {"array": [], "boolean": False, "integer": 7, "number": 1.5, "string": "text"}[
        schema["type"]
    ]


def expected_default(schema: dict[str, Any], annotation: Any) -> Any:
    """Return the default value that the schema documents, as a model if the field is a model."""
    default = schema.get("default")
    if isinstance(default, dict) and attrs.has(annotation):
        return annotation(**default)
    return default


def optional_fields() -> Iterator[Any]:
    for cls in MODELS:
        schema = schema_of(cls)
        for name, field in schema["properties"].items():
            if name not in schema.get("required", []):
                yield pytest.param(cls, name, field, id=f"{cls.__name__}.{name}")


OPTIONAL = list(optional_fields())


def outcome_of(text: str) -> Outcome:
    return TriggerStatus(text).outcome


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_has_exactly_the_fields_of_its_schema(cls: type[Any]) -> None:
    """A model has the fields of the vendor's schema, in snake_case, and no others."""
    assert {field.name for field in attrs.fields(cls)} == set(
        map(to_snake_case, schema_of(cls)["properties"])
    )


@pytest.mark.parametrize("cls", MODELS)
def test_a_field_is_required_exactly_if_the_schema_requires_it(cls: type[Any]) -> None:
    """A model has defaults for all fields that the schema does not require."""
    required = {field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING}
    assert required == set(map(to_snake_case, schema_of(cls).get("required", [])))


@pytest.mark.parametrize("cls", ENUMS)
def test_an_enum_has_exactly_the_values_of_its_schema(cls: type[StrEnum]) -> None:
    """An enum has all of the vendor's values, in the same order."""
    assert [member.value for member in cls] == schema_of(cls)["enum"]


@pytest.mark.parametrize(("cls", "name", "field"), OPTIONAL)
def test_an_absent_field_has_the_documented_default(
    cls: type[Any], name: str, field: dict[str, Any]
) -> None:
    """A missing optional field has the documented default, or ``None`` if there is none."""
    model = convert.decode(json.dumps(minimal_value(schema_of(cls))).encode(), cls)
    annotation = getattr(attrs.fields(cls), to_snake_case(name)).type
    assert getattr(model, to_snake_case(name)) == expected_default(field, annotation)


@pytest.mark.parametrize(("cls", "name", "field"), OPTIONAL)
def test_a_null_field_has_the_documented_default(
    cls: type[Any], name: str, field: dict[str, Any]
) -> None:
    """A null in an optional field has the same effect as a missing field."""
    payload = minimal_value(schema_of(cls))
    absent = convert.decode(json.dumps(payload).encode(), cls)
    assert convert.decode(json.dumps({**payload, name: None}).encode(), cls) == absent


@pytest.mark.parametrize(("cls", "name", "field"), OPTIONAL)
def test_a_present_field_is_kept(cls: type[Any], name: str, field: dict[str, Any]) -> None:
    """A present optional field is decoded, and encoded under its own name."""
    value = minimal_value(field)
    payload = {**minimal_value(schema_of(cls)), name: value}
    model = convert.decode(json.dumps(payload).encode(), cls)
    assert getattr(model, to_snake_case(name)) is not None
    if not isinstance(value, dict):
        assert convert.to_dict(model)[name] == value


@pytest.mark.parametrize("cls", MODELS)
def test_a_default_is_not_shared(cls: type[Any]) -> None:
    """Two models never share a default list or dictionary."""
    payload = json.dumps(minimal_value(schema_of(cls))).encode()
    first, second = convert.decode(payload, cls), convert.decode(payload, cls)
    for field in attrs.fields(cls):
        value = getattr(first, field.name)
        if isinstance(value, (list, dict)):
            assert value is not getattr(second, field.name)


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_is_frozen(cls: type[Any]) -> None:
    """No field of a model can be set or deleted."""
    model = convert.decode(json.dumps(minimal_value(schema_of(cls))).encode(), cls)
    name = attrs.fields(cls)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(model, name, None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(model, name)


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_has_slots(cls: type[Any]) -> None:
    """A model has no instance dictionary."""
    model = convert.decode(json.dumps(minimal_value(schema_of(cls))).encode(), cls)
    assert not hasattr(model, "__dict__")


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_pickles_and_copies(cls: type[Any]) -> None:
    """A pickled or copied model equals the original."""
    model = convert.decode(json.dumps(minimal_value(schema_of(cls))).encode(), cls)
    assert pickle.loads(pickle.dumps(model)) == model
    assert copy.deepcopy(model) == copy.copy(model) == model


def test_the_public_names_are_the_models_and_enums() -> None:
    """``__all__`` contains exactly the classes of the module."""
    classes = {
        name
        for name, value in vars(models).items()
        if isinstance(value, type) and value.__module__ == models.__name__
    }
    assert set(models.__all__) == classes
    assert [*map(str, models.__all__)] == sorted(models.__all__)


@pytest.mark.parametrize("cls", ENUMS)
@given(text=st.text())
def test_an_enum_keeps_an_unknown_value(cls: type[StrEnum], text: str) -> None:
    """An unknown value compares, hashes, prints and pickles like the string itself."""
    member = cls(text)
    assert isinstance(member, cls)
    assert member == text == member.value
    assert str(member) == f"{member}" == text
    assert hash(member) == hash(text)
    assert member == cls(text)
    assert {text} == {member}
    assert repr(text) in repr(member)
    assert cls.__name__ in repr(member)
    unpickled = pickle.loads(pickle.dumps(member))
    assert unpickled == member
    assert type(unpickled) is cls
    assert copy.deepcopy(member) == copy.copy(member) == member


@pytest.mark.parametrize("cls", ENUMS)
def test_an_unknown_value_is_not_registered(cls: type[StrEnum]) -> None:
    """Unknown values do not become members of the enum."""
    before = [*cls], dict(cls.__members__)
    for number in range(50):
        cls(f"value {number}")
    assert ([*cls], dict(cls.__members__)) == before


@pytest.mark.parametrize("cls", ENUMS)
@pytest.mark.parametrize("value", [None, 5, b"init", ["init"]])
def test_an_enum_rejects_values_that_are_not_strings(cls: type[StrEnum], value: Any) -> None:
    """A value that is not a string is not a member of an enum."""
    with pytest.raises(ValueError, match="is not a valid"):
        cls(value)


@pytest.mark.parametrize("cls", ENUMS)
def test_a_known_value_is_always_the_same_member(cls: type[StrEnum]) -> None:
    """A known value is the member itself, even after pickling."""
    for member in cls:
        assert cls(member.value) is member
        assert pickle.loads(pickle.dumps(member)) is member


@pytest.mark.parametrize(
    "text",
    [
        "Failed (Integration Issue)",
        "Failed (Refresh)",
        "Failed (Platform Issue)",
        "Failed (Timeout)",
        "Failed (Metadata Validation)",
        "Failed",
        "failed",
        " FAILED \n",
    ],
)
def test_a_failure_has_the_outcome_failed(text: str) -> None:
    """Each of the vendor's failure statuses has the outcome FAILED, in upper or lower case."""
    assert outcome_of(text) is Outcome.FAILED
    assert TriggerStatus(text).is_known


@pytest.mark.parametrize("text", ["Succeeded", "succeeded", "completed", "Completed", " COMPLETED"])
def test_a_success_has_the_outcome_succeeded(text: str) -> None:
    """Each success status has the outcome SUCCEEDED, in upper or lower case."""
    assert outcome_of(text) is Outcome.SUCCEEDED
    assert TriggerStatus(text).is_known


@pytest.mark.parametrize("text", ["Pending", "Running", "pending", "running ", "RUNNING"])
def test_an_unfinished_run_has_the_outcome_active(text: str) -> None:
    """Each status of an unfinished run has the outcome ACTIVE, and is known."""
    assert outcome_of(text) is Outcome.ACTIVE
    assert TriggerStatus(text).is_known


@pytest.mark.parametrize(
    "text", ["", "Paused", "Failedish", "Unfailed", "Not completed", "Succeeded?", "成功"]
)
def test_an_unknown_status_has_the_outcome_active(text: str) -> None:
    """An unknown status has the outcome ACTIVE and is not known."""
    assert outcome_of(text) is Outcome.ACTIVE
    assert not TriggerStatus(text).is_known


@given(text=st.text())
def test_any_status_is_kept_and_has_an_outcome(text: str) -> None:
    """Any text is preserved as a status, but ends a wait only if it is known."""
    status = TriggerStatus(text)
    assert status.status == text
    assert status.is_known or status.outcome is Outcome.ACTIVE


def test_date_times_are_annotated_as_such() -> None:
    """A field has the type ``datetime`` exactly if its schema has the format ``date-time``."""
    for cls in MODELS:
        for name, field in schema_of(cls)["properties"].items():
            formats = {option.get("format") for option in [field, *field.get("anyOf", [])]}
            annotation = str(getattr(attrs.fields(cls), to_snake_case(name)).type)
            assert ("datetime" in annotation) == ("date-time" in formats)
    assert attrs.fields(models.RunTrigger).created_date.type is datetime
