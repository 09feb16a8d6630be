"""Convert any valid data into models with cattrs, and locate what is invalid."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import TYPE_CHECKING, Any, get_origin

import attrs
import msgspec
from cattrs import transform_error
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.msgspec import make_converter

from pandium import models
from pandium._serialization.fields import MODELS, RENAMED_FIELDS, renamed_fields, strip_none
from pandium.errors import DecodeError

if TYPE_CHECKING:
    from enum import Enum

__all__ = ["LenientConverter"]

Hook = Callable[..., Any]

_JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    NoneType: "null",
}


_MAX_EXACT = 2**53  # from here on, a double does not hold every integer
_NO_DATE = re.compile(
    r"(0000-?00-?00([T ]00:?00(:?00([.,]0+)?)?)?(Z|[+-]00:?00)?)?", re.ASCII | re.IGNORECASE
)
# ISO 8601 has 24:00 as the end of a day, and 60 as a leap second. As in POSIX time, either is the
# same instant as the one that follows.
_END_OF_DAY = re.compile(
    r"(?P<date>[\dW-]{7,10}[T ])24(?P<rest>(:?00){1,2}([.,]0+)?\s?(Z|[+-][\d:]+)?)",
    re.ASCII | re.IGNORECASE,
)
_LEAP_SECOND = re.compile(
    r"(?P<minute>[\dW-]{7,10}[T ]\d\d:?\d\d:?)60(?P<rest>([.,]\d+)?\s?(Z|[+-][\d:]+)?)",
    re.ASCII | re.IGNORECASE,
)


class LenientConverter:
    """A slow converter that accepts more than msgspec does and reports paths."""

    def __init__(self) -> None:
        self._converter = make_converter()
        self._register_plain_types()
        self._register_models()

    def structure(self, value: Any, cls: Any) -> Any:
        """
        Convert decoded JSON to a model or a list of models.

        :raises DecodeError: if that is not possible. Its ``path`` leads to the first invalid value.
        """
        try:
            return self._converter.structure(value, cls)
        except Exception as error:  # noqa: BLE001 - cattrs raises groups of what its hooks raise
            first, *others = transform_error(error, "", _describe)
        raise _decode_error(first, len(others))

    def unstructure(self, model: object) -> Any:
        """Convert a model to data that msgspec can encode, with the API's own names."""
        return self._converter.unstructure(model)

    def _register_plain_types(self) -> None:
        converter = self._converter
        for cls in (str, bool):
            converter.register_structure_hook(cls, _build_strict_hook(cls))
        for enum in (models.RunMode, models.IntegrationType, models.ReleaseChannel):
            # Without a hook of their own, these subclasses of str would use its hook.
            converter.register_structure_hook(enum, _structure_enum)
        converter.register_structure_hook(int, _structure_int)
        converter.register_structure_hook(float, _structure_float)
        converter.register_structure_hook(datetime, _structure_datetime)
        converter.register_structure_hook_func(_has_origin(dict), _build_strict_hook(dict))

    def _register_models(self) -> None:
        register_factory: Any = self._converter.register_structure_hook_factory
        register_factory(_has_origin(list), _build_list_hook)
        register_factory(lambda cls: cls in MODELS, _build_model_hook)
        for model in RENAMED_FIELDS:
            hook: Hook = make_dict_unstructure_fn(model, self._converter, **_overrides(model))
            self._converter.register_unstructure_hook(model, hook)


def _build_model_hook(cls: Any, converter: Any) -> Hook:
    structure = make_dict_structure_fn(cls, converter, **_overrides(cls))
    optional = {
        renamed_fields(cls).get(field.name, field.name): strip_none(field.type)
        for field in attrs.fields(cls)
        if field.default is not attrs.NOTHING
    }

    def structure_model(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise _unexpected("an object", value)
        # A null in an optional field means the default that the vendor documents.
        present: Any = {
            k: v for k, v in value.items() if k not in optional or not _is_null(v, optional[k])
        }
        return structure(present, cls)

    return structure_model


def _is_null(value: Any, cls: Any) -> bool:
    # Databases and languages without null dates have an empty text or a date of zeros instead.
    if cls is datetime and type(value) is str:
        return _NO_DATE.fullmatch(value.strip()) is not None
    return value is None


def _overrides(cls: type) -> Any:
    if cls is models.Trigger:
        return {"trigger_id": override(struct_hook=_structure_trigger_id)}
    return {name: override(rename=api_name) for name, api_name in renamed_fields(cls).items()}


def _build_list_hook(cls: Any, converter: Any) -> Hook:
    structure = list_structure_factory(cls, converter)

    def structure_list(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise _unexpected("an array", value)
        return structure(value, cls)

    return structure_list


def _build_strict_hook(cls: type) -> Hook:
    # Without coercion: the string "5" is not the number 5, and "false" is not False.
    def structure(value: Any, _: Any) -> Any:
        if type(value) is cls:
            return value
        raise _unexpected(_JSON_NAMES[cls], value)

    return structure


def _structure_int(value: Any, _: Any) -> int:
    # JavaScript and databases may write a whole number as 7.0. A larger one may have lost digits,
    # and would be the id of another record.
    if type(value) is float and value.is_integer() and abs(value) < _MAX_EXACT:
        return int(value)
    if type(value) is not int:
        raise _unexpected("an integer", value)
    return value


def _structure_trigger_id(value: Any, _: Any) -> str:
    # The id of the same trigger is a number in a run. An error here would lose a run that started.
    if type(value) is int:
        return str(value)
    if type(value) is not str:
        raise _unexpected("a string", value)
    return value


def _structure_float(value: Any, _: Any) -> float:
    if type(value) not in (float, int):
        raise _unexpected("a number", value)
    return float(value)


def _structure_enum(value: Any, cls: Any) -> Enum:
    if type(value) is not str:
        raise _unexpected("a string", value)
    return cls(value)  # type: ignore[no-any-return]  # cls is an Enum


def _structure_datetime(value: Any, _: Any) -> datetime:
    if type(value) is not str:
        raise _unexpected("a date-time", value)
    text, rest = _normalize_end(value.strip())
    try:
        timestamp = _parse_datetime(text) + rest
    except (ValueError, OverflowError):
        raise TypeError("expected a date-time, got another string") from None
    return timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=UTC)


def _parse_datetime(text: str) -> datetime:
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        # Accepts what RFC 3339 does not: no seconds, no time, the basic format.
        return datetime.fromisoformat(text)


def _normalize_end(text: str) -> tuple[str, timedelta]:
    """Return the date-time that ``datetime`` can express, and the time from it to the given one."""
    if (match := _END_OF_DAY.fullmatch(text)) is not None:
        return f"{match['date']}00{match['rest']}", timedelta(days=1)
    if (match := _LEAP_SECOND.fullmatch(text)) is not None:
        return f"{match['minute']}59{match['rest']}", timedelta(seconds=1)
    return text, timedelta()


def _has_origin(origin: type) -> Callable[[Any], bool]:
    return lambda cls: get_origin(cls) is origin


def _unexpected(expected: str, value: object) -> TypeError:
    return TypeError(f"expected {expected}, got {_JSON_NAMES[type(value)]}")


def _describe(error: BaseException, _: type | None) -> str:
    return "required field missing" if isinstance(error, KeyError) else str(error)


def _decode_error(first: str, other_count: int) -> DecodeError:
    """Return the error for the first invalid value, in cattrs' form ``text @ path``."""
    text, _, path = first.rpartition(" @ ")
    path = _with_api_names(path.removeprefix("."))
    location = f"{path}: " if path else ""
    more = f" (and {other_count} more)" if other_count else ""
    return DecodeError(f"the response cannot be decoded: {location}{text}{more}", path=path)


def _with_api_names(path: str) -> str:
    for names in RENAMED_FIELDS.values():
        for python_name, api_name in names.items():
            path = re.sub(rf"\b{python_name}\b", api_name, path)
    return path
