"""The models and their renamed fields: fields whose API name differs from their Python name."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

import attrs

from pandium import models

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MODELS", "RENAMED_FIELDS", "has_renamed_field", "renamed_fields", "strip_none"]

MODELS: tuple[type, ...] = tuple(
    cls for name in models.__all__ if attrs.has(cls := getattr(models, name))
)
# Maps each model's Python field names to their API names.
RENAMED_FIELDS: Mapping[type, Mapping[str, str]] = {
    models.Connector: {"is_global": "isGlobal"},
    models.RunStatus: {"start_time": "startTime", "completion_time": "completionTime"},
}


def renamed_fields(model: type) -> Mapping[str, str]:
    """Return a mapping from the Python names of a model's renamed fields to their API names."""
    return RENAMED_FIELDS.get(model, {})


def strip_none(annotation: Any) -> Any:
    """Return ``X`` for ``X | None``, and any other type unchanged."""
    arguments = get_args(annotation)
    if NoneType not in arguments:
        return annotation
    return next(argument for argument in arguments if argument is not NoneType)


def has_renamed_field(annotation: Any) -> bool:
    """Return whether a type has a renamed field, or contains a model that has one."""
    if attrs.has(annotation):
        nested = (field.type for field in attrs.fields(annotation))
        return annotation in RENAMED_FIELDS or any(map(has_renamed_field, nested))
    return any(map(has_renamed_field, get_args(annotation)))
