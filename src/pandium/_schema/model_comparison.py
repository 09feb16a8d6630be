"""Compare the schemas of responses with the models."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, get_args, get_origin

import attrs

from pandium._serialization.convert import decode, to_dict
from pandium._serialization.fields import renamed_fields, strip_none
from pandium.errors import DecodeError
from pandium.models import Outcome, TriggerStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium._schema.document import Document, View

__all__ = ["SAMPLES", "Difference", "ModelComparison", "describe_kinds"]

_KINDS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    datetime: "date-time",
    dict: "object",
    list: "array",
}
SAMPLES: dict[str, Any] = {
    "boolean": True,
    "integer": 1,
    "number": 1.5,
    "string": "text",
    "date-time": "2026-01-01T00:00:00Z",
    "object": {},
    "array": [],
}
_NOT_DECODED = "a response that the client cannot read raises DecodeError"
_READ_ANYWAY = "the client reads it anyway"


@attrs.frozen
class Difference:
    """
    A difference between the service and the client.

    :ivar where: the operation, or the field of a model.
    :ivar difference: what differs.
    :ivar meaning: what it means for the user.
    """

    where: str
    difference: str
    meaning: str


def describe_kinds(kinds: frozenset[str]) -> str:
    """Return the names of JSON types as text."""
    return " or ".join(sorted(kinds)) or "any type"


@attrs.frozen
class ModelComparison:
    """
    The comparison of a document's schemas with the models.

    :ivar document: the document.
    :ivar add: a function that takes each difference that is found.
    """

    document: Document
    add: Callable[[Difference], None]
    _seen: set[type] = attrs.field(factory=set, init=False)

    def compare(self, where: str, view: View, annotation: Any) -> None:
        """
        Compare the schema of a value with the type that the client decodes it as.

        :param where: the operation or field.
        :param view: the schema.
        :param annotation: the type.
        """
        expected = strip_none(annotation)
        if expected is Any:
            return
        if not view.kinds:
            meaning = f"the client expects {_kind(expected)}"
            self.add(Difference(where, "the type is not documented", meaning))
        elif _kind(expected) not in view.kinds:
            self._add_kinds(where, view, expected)
        elif get_origin(expected) is list:
            self.compare(where, self.document.view(view.schema.get("items")), *get_args(expected))
        elif attrs.has(expected):
            self._compare_model(view, expected)
        elif get_origin(expected) is dict and view.properties:
            names = ", ".join(view.properties)
            self.add(Difference(where, f"its fields are {names}", "the client has a plain dict"))
        elif isinstance(expected, type) and issubclass(expected, StrEnum) and view.values:
            self._compare_values(where, view.values, frozenset(expected))

    def _add_kinds(self, where: str, view: View, expected: Any) -> None:
        shown = describe_kinds(view.kinds)
        text = f"the type is {shown}, the client has {_kind(expected)}"
        self.add(Difference(where, text, "every response raises DecodeError"))

    def _compare_values(self, where: str, values: frozenset[str], known: frozenset[str]) -> None:
        if new := sorted(values - known):
            text = f"the values {', '.join(new)} are unknown to the client"
            self.add(Difference(where, text, "the client keeps them as unknown values"))
        if gone := sorted(known - values):
            text = f"the values {', '.join(gone)} no longer exist"
            self.add(Difference(where, text, "the client never returns them"))

    def _compare_model(self, view: View, model: type) -> None:
        if model in self._seen:
            return
        self._seen.add(model)
        fields = {renamed_fields(model).get(one.name, one.name): one for one in attrs.fields(model)}
        for name in sorted(view.properties.keys() - fields.keys()):
            meaning = "the model ignores it; listing.raw() and client.request return it"
            text = "the client does not have this field"
            self.add(Difference(f"{model.__name__}.{name}", text, meaning))
        for name, field in fields.items():
            comparison = _FieldComparison(self, model, name, field)
            if name in view.properties:
                schema = view.properties[name]
                comparison.compare(self.document.view(schema), name in view.required)
            else:
                comparison.add_missing()


@attrs.frozen
class _FieldComparison:
    """The comparison of one field of a model with its schema."""

    models: ModelComparison
    model: type
    name: str
    field: attrs.Attribute[Any]

    def compare(self, view: View, is_required: bool) -> None:  # noqa: FBT001 - of the field
        """Compare the type, the default, and whether the field can be absent or null."""
        expected = strip_none(self.field.type)
        if expected is not Any and view.kinds != {_kind(expected)}:
            self._compare_kinds(view)
        else:
            self.models.compare(self._where, view, self.field.type)
        if expected is str and view.values:
            self._compare_texts(view.values)
        if view.pattern is not None:
            self._add(f"it matches {view.pattern}, the client has any text", _READ_ANYWAY)
        if is_required is self._is_optional:
            self._add_required(is_required)
        if view.is_nullable and not self._is_optional:
            self._add("it can be null", self._outcome_of(None))
        if not is_required and self._is_optional:
            self._compare_default(view)

    def add_missing(self) -> None:
        """Add that the service does not have the field."""
        text = "the service does not have this field"
        if self._is_optional:
            self._add(text, f"it is always {json.dumps(self._default())}")
        else:
            self._add(text, "every response raises DecodeError")

    @property
    def _where(self) -> str:
        return f"{self.model.__name__}.{self.name}"

    @property
    def _is_optional(self) -> bool:
        return self.field.default is not attrs.NOTHING

    def _add(self, difference: str, meaning: str) -> None:
        self.models.add(Difference(self._where, difference, meaning))

    def _compare_kinds(self, view: View) -> None:
        expected = _kind(strip_none(self.field.type))
        kinds = view.kinds or frozenset(SAMPLES)
        outcomes = {self._outcome_of(SAMPLES.get(kind)) for kind in kinds}
        text = f"the type is {describe_kinds(view.kinds)}, the client has {expected}"
        self._add(text, _NOT_DECODED if _NOT_DECODED in outcomes else _READ_ANYWAY)

    def _compare_texts(self, values: frozenset[str]) -> None:
        text = f"its values are {', '.join(sorted(values))}, the client has any text"
        meaning = _READ_ANYWAY
        if self.model is TriggerStatus:
            waiting = [v for v in sorted(values) if TriggerStatus(v).outcome is Outcome.ACTIVE]
            meaning = f"a wait goes on while the status is {' or '.join(waiting) or 'none of them'}"
        self._add(text, meaning)

    def _add_required(self, is_required: bool) -> None:  # noqa: FBT001 - of the field
        if is_required:
            self._add("it is always present", "the client reads responses without it, too")
        else:
            self._add("it can be absent", "a response without it raises DecodeError")

    def _compare_default(self, view: View) -> None:
        """Compare what an absent field means."""
        own = self._default()
        if "default" not in view.schema and own is None:
            return
        default = view.schema.get("default")
        if "default" not in view.schema:
            shown = "does not exist"
        elif default and isinstance(default, (list, dict)):
            shown = "is not empty"  # it may be large, and the client has no such default
        elif self._decode(default) == self._decode_absent():
            return
        else:
            shown = f"is {json.dumps(default)}"
        text = f"the default {shown}, the client has {json.dumps(own)}"
        self._add(text, f"a response without it is read as {json.dumps(own)}")

    def _default(self) -> Any:
        """Return the value of the field in a response without it, as JSON data."""
        return to_dict(self._decode_absent()).get(self.name)

    def _outcome_of(self, value: Any) -> str:
        """Return what the client does with a value of the field."""
        return _NOT_DECODED if self._decode(value) is None else _READ_ANYWAY

    def _decode(self, value: Any) -> Any:
        """Decode a response with a value of the field. Return ``None`` if that fails."""
        try:
            return _decode_data({**_sample_of(self.model), self.name: value}, self.model)
        except DecodeError:
            return None

    def _decode_absent(self) -> Any:
        return _decode_data(_sample_of(self.model), self.model)


def _kind(annotation: Any) -> str:
    """Return the JSON type that a type is decoded from."""
    if attrs.has(annotation):
        return "object"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return "string"
    return _KINDS[get_origin(annotation) or annotation]


def _decode_data(data: dict[str, Any], model: type) -> Any:
    return decode(json.dumps(data).encode(), model)


def _sample_of(model: type) -> dict[str, Any]:
    """Return the smallest response that the client decodes as a model."""
    return {
        renamed_fields(model).get(field.name, field.name): SAMPLES[_kind(field.type)]
        for field in attrs.fields(model)
        if field.default is attrs.NOTHING
    }
