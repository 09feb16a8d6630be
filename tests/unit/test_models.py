"""The models against the vendor's own schemas, and the meaning of status words."""

import copy
import json
import pickle
import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandium import models
from pandium._serialization import convert
from pandium.models import Outcome, TriggerStatus

DATA = Path(__file__).parents[1] / "data"

# Which schema a model is of; a name that is not listed is its own.
SCHEMA_OF = {
    "Integration": "external_api_v1__v2schemas__Integration",
    "Release": "external_api_v1__v2schemas__IntegrationRelease",
    "Tenant": "external_api_v1__v2schemas__Tenant",
    "TenantStatus": "external_api_v1__v2schemas__TenantStatus-Output",
    "ReleaseChannel": "IntegrationReleaseChannel",
    "RunMode": "V2RunMode",
}
ENUMS: list[type[StrEnum]] = [models.RunMode, models.IntegrationType, models.ReleaseChannel]
MODELS: list[type[Any]] = [
    cls for name in models.__all__ if attrs.has(cls := getattr(models, name))
]


def read_schemas() -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in ("openapi-later.json", "openapi.json"):
        merged |= json.loads((DATA / name).read_text())["components"]["schemas"]
    return merged


SCHEMAS = read_schemas()


def schema_of(cls: type[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = SCHEMAS[SCHEMA_OF.get(cls.__name__, cls.__name__)]
    return schema


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: f"_{found[0].lower()}", name)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return SCHEMAS[reference.rpartition("/")[2]] if reference else schema


def is_nullable(schema: dict[str, Any]) -> bool:
    return {"type": "null"} in schema.get("anyOf", [])


def sample(schema: dict[str, Any]) -> Any:
    """Make the least value that the schema allows."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return sample(schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date-time":
        return "2026-01-02T03:04:05Z"
    if schema["type"] == "object":
        properties = schema.get("properties", {})
        return {name: sample(properties[name]) for name in schema.get("required", [])}
    return {"array": [], "boolean": False, "integer": 7, "number": 1.5, "string": "word"}[
        schema["type"]
    ]


def expected_default(schema: dict[str, Any], annotation: Any) -> Any:
    """Give what the document says of a field that is not there, read by the model's own type."""
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


def outcome(word: str) -> Outcome:
    return TriggerStatus(word).outcome


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_has_exactly_the_fields_of_its_schema(cls: type[Any]) -> None:
    """A model has the fields of the vendor's schema in snake_case, and no others."""
    assert {field.name for field in attrs.fields(cls)} == set(
        map(snake, schema_of(cls)["properties"])
    )


@pytest.mark.parametrize("cls", MODELS)
def test_a_field_has_no_default_exactly_where_the_schema_requires_it(cls: type[Any]) -> None:
    """What the schema requires must be given to make a model, and nothing else."""
    needed = {field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING}
    assert needed == set(map(snake, schema_of(cls).get("required", [])))


@pytest.mark.parametrize("cls", ENUMS)
def test_an_enum_has_exactly_the_values_of_its_schema(cls: type[StrEnum]) -> None:
    """An enum lists the vendor's values in full."""
    assert [member.value for member in cls] == schema_of(cls)["enum"]


@pytest.mark.parametrize(("cls", "name", "field"), OPTIONAL)
def test_an_absent_field_has_the_documented_default(
    cls: type[Any], name: str, field: dict[str, Any]
) -> None:
    """An optional field that is absent has the vendor's default, or None where there is none."""
    model = convert.decode(json.dumps(sample(schema_of(cls))).encode(), cls)
    annotation = getattr(attrs.fields(cls), snake(name)).type
    assert getattr(model, snake(name)) == expected_default(field, annotation)


@pytest.mark.parametrize(("cls", "name", "field"), OPTIONAL)
def test_a_null_field_has_the_documented_default(
    cls: type[Any], name: str, field: dict[str, Any]
) -> None:
    """An optional field that is null is read as if it were absent."""
    payload = sample(schema_of(cls))
    absent = convert.decode(json.dumps(payload).encode(), cls)
    assert convert.decode(json.dumps({**payload, name: None}).encode(), cls) == absent


@pytest.mark.parametrize(("cls", "name", "field"), OPTIONAL)
def test_a_present_field_is_kept(cls: type[Any], name: str, field: dict[str, Any]) -> None:
    """An optional field that is present is read, and given back by its own name."""
    value = sample(field)
    payload = {**sample(schema_of(cls)), name: value}
    model = convert.decode(json.dumps(payload).encode(), cls)
    assert getattr(model, snake(name)) is not None
    if not isinstance(value, dict):
        assert convert.to_dict(model)[name] == value


@pytest.mark.parametrize("cls", MODELS)
def test_a_default_is_not_shared(cls: type[Any]) -> None:
    """Two values never hold the same list or object by default."""
    payload = json.dumps(sample(schema_of(cls))).encode()
    one, other = convert.decode(payload, cls), convert.decode(payload, cls)
    for field in attrs.fields(cls):
        value = getattr(one, field.name)
        if isinstance(value, (list, dict)):
            assert value is not getattr(other, field.name)


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_is_frozen(cls: type[Any]) -> None:
    """No field of a value can be set or deleted."""
    model = convert.decode(json.dumps(sample(schema_of(cls))).encode(), cls)
    name = attrs.fields(cls)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(model, name, None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(model, name)


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_is_slotted(cls: type[Any]) -> None:
    """A value has no dictionary of its own."""
    model = convert.decode(json.dumps(sample(schema_of(cls))).encode(), cls)
    assert not hasattr(model, "__dict__")


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_pickles_and_copies(cls: type[Any]) -> None:
    """A pickle and a copy of a value are equal to it."""
    model = convert.decode(json.dumps(sample(schema_of(cls))).encode(), cls)
    assert pickle.loads(pickle.dumps(model)) == model
    assert copy.deepcopy(model) == copy.copy(model) == model


def test_the_public_names_are_the_models_and_enums() -> None:
    """The module lists each of its classes, and no other name."""
    classes = {
        name
        for name, value in vars(models).items()
        if isinstance(value, type) and value.__module__ == models.__name__
    }
    assert set(models.__all__) == classes
    assert [*map(str, models.__all__)] == sorted(models.__all__)


@pytest.mark.parametrize("cls", ENUMS)
@given(word=st.text())
def test_an_enum_keeps_an_unknown_value(cls: type[StrEnum], word: str) -> None:
    """An unknown value equals, hashes, prints and pickles as the word that came."""
    member = cls(word)
    assert isinstance(member, cls)
    assert member == word == member.value
    assert str(member) == f"{member}" == word
    assert hash(member) == hash(word)
    assert member == cls(word)
    assert {word} == {member}
    assert repr(word) in repr(member)
    assert cls.__name__ in repr(member)
    again = pickle.loads(pickle.dumps(member))
    assert again == member
    assert type(again) is cls
    assert copy.deepcopy(member) == copy.copy(member) == member


@pytest.mark.parametrize("cls", ENUMS)
def test_an_unknown_value_does_not_pile_up(cls: type[StrEnum]) -> None:
    """Reading unknown values leaves the enum's list of members as it was."""
    before = [*cls], dict(cls.__members__)
    for number in range(50):
        cls(f"word {number}")
    assert ([*cls], dict(cls.__members__)) == before


@pytest.mark.parametrize("cls", ENUMS)
@pytest.mark.parametrize("value", [None, 5, b"init", ["init"]])
def test_an_enum_refuses_what_is_no_string(cls: type[StrEnum], value: Any) -> None:
    """A value that is no string is no member of an enum."""
    with pytest.raises(ValueError, match="is not a valid"):
        cls(value)


@pytest.mark.parametrize("cls", ENUMS)
def test_a_known_value_is_one_and_the_same_member(cls: type[StrEnum]) -> None:
    """A known value is the listed member itself, after a pickle too."""
    for member in cls:
        assert cls(member.value) is member
        assert pickle.loads(pickle.dumps(member)) is member


@pytest.mark.parametrize(
    "word",
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
def test_the_words_for_failure_are_read_as_failed(word: str) -> None:
    """Each of the vendor's words for a failed run means FAILED, in any case."""
    assert outcome(word) is Outcome.FAILED
    assert TriggerStatus(word).is_known


@pytest.mark.parametrize("word", ["Succeeded", "succeeded", "completed", "Completed", " COMPLETED"])
def test_the_words_for_success_are_read_as_succeeded(word: str) -> None:
    """Each word for a run that ended well means SUCCEEDED, in any case."""
    assert outcome(word) is Outcome.SUCCEEDED
    assert TriggerStatus(word).is_known


@pytest.mark.parametrize("word", ["Pending", "Running", "pending", "running ", "RUNNING"])
def test_the_words_for_a_run_that_goes_on_are_read_as_active(word: str) -> None:
    """Each word for a run that has not ended means ACTIVE, and is known."""
    assert outcome(word) is Outcome.ACTIVE
    assert TriggerStatus(word).is_known


@pytest.mark.parametrize(
    "word", ["", "Paused", "Failedish", "Unfailed", "Not completed", "Succeeded?", "成功"]
)
def test_an_unknown_word_is_read_as_active(word: str) -> None:
    """A word that nobody knows means ACTIVE, and says that it is unknown."""
    assert outcome(word) is Outcome.ACTIVE
    assert not TriggerStatus(word).is_known


@given(word=st.text())
def test_any_word_has_an_outcome_and_is_kept(word: str) -> None:
    """Whatever the word, it is kept as it came, and ends a wait only if it is known."""
    status = TriggerStatus(word)
    assert status.status == word
    assert status.is_known or status.outcome is Outcome.ACTIVE


def test_date_times_of_a_model_are_date_times() -> None:
    """A field whose schema says date-time is a datetime in its model."""
    for cls in MODELS:
        for name, field in schema_of(cls)["properties"].items():
            formats = {option.get("format") for option in [field, *field.get("anyOf", [])]}
            annotation = str(getattr(attrs.fields(cls), snake(name)).type)
            assert ("datetime" in annotation) == ("date-time" in formats)
    assert attrs.fields(models.RunTrigger).created_date.type is datetime
