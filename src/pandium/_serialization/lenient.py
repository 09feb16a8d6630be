"""Convert any valid data into models with cattrs, and locate invalid values."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import attrs
import msgspec
from cattrs import transform_error
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.msgspec import make_converter

from pandium import models
from pandium._serialization.fields import RENAMED_FIELDS, renamed_fields, strip_none
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


# The number of invalid items after which the rest of an array is not examined. Each takes a hundred
# times as much time and memory as a valid one.
_MAX_INVALID = 20
_MAX_EXACT = 2**53  # doubles cannot represent every integer above this
_NO_DATE = re.compile(
    r"(0000-?00-?00([T ]00:?00(:?00([.,]0+)?)?)?(Z|[+-]00:?00)?)?", re.ASCII | re.IGNORECASE
)
# In ISO 8601, 24:00 is the end of a day, and second 60 is a leap second. As in POSIX time, each is
# treated as the start of the next day or minute.
_END_OF_DAY = re.compile(
    r"(?P<date>[\dW-]{7,10}[T ])24(?P<rest>(:?00){1,2}([.,]0+)?\s?(Z|[+-][\d:]+)?)",
    re.ASCII | re.IGNORECASE,
)
_LEAP_SECOND = re.compile(
    r"(?P<minute>[\dW-]{7,10}[T ]\d\d:?\d\d:?)60(?P<rest>([.,]\d+)?\s?(Z|[+-][\d:]+)?)",
    re.ASCII | re.IGNORECASE,
)
_UNIX_TIMESTAMP = re.compile(r"\d{9}", re.ASCII)


class LenientConverter:
    """A slower converter that accepts more input than msgspec and reports the path of an error."""

    def __init__(self) -> None:
        self._converter = make_converter()
        self._register_plain_types()
        self._register_models()

    def structure(self, value: Any, cls: Any) -> Any:
        """
        Convert decoded JSON to a model or a list of models.

        :raises DecodeError: if conversion fails. Its ``path`` locates the first invalid value.
        """
        try:
            return self._converter.structure(value, cls)
        except Exception as error:  # noqa: BLE001 - cattrs groups any errors from its hooks
            first, *others = transform_error(error, "", _describe)
        raise _decode_error(first, len(others))

    def unstructure(self, model: object) -> Any:
        """Convert a model to data that msgspec can encode, with the API's field names."""
        return self._converter.unstructure(model)

    def _register_plain_types(self) -> None:
        converter = self._converter
        for cls in (str, bool):
            converter.register_structure_hook(cls, _build_strict_hook(cls))
        for enum in (models.RunMode, models.IntegrationType, models.ReleaseChannel):
            # These enums are subclasses of str. Without this hook, they would use the hook for str.
            converter.register_structure_hook(enum, _structure_enum)
        converter.register_structure_hook(int, _structure_int)
        converter.register_structure_hook(float, _structure_float)
        converter.register_structure_hook(datetime, _structure_datetime)
        converter.register_structure_hook_func(_has_origin(dict), _build_strict_hook(dict))
        # The data of a free-form object needs no conversion, and may be deeply nested.
        converter.register_unstructure_hook_func(_has_origin(dict), lambda value: value)

    def _register_models(self) -> None:
        register_factory: Any = self._converter.register_structure_hook_factory
        register_factory(_has_origin(list), _build_list_hook)
        register_factory(attrs.has, _build_model_hook)
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
        # A null in an optional field stands for the documented default.
        present: Any = {
            k: v for k, v in value.items() if k not in optional or not _is_null(v, optional[k])
        }
        return structure(present, cls)

    return structure_model


def _is_null(value: Any, cls: Any) -> bool:
    # Systems without null dates use an empty string or an all-zero date instead.
    if cls is datetime and type(value) is str:
        return _NO_DATE.fullmatch(value.strip()) is not None
    return value is None


def _overrides(cls: type) -> Any:
    if cls is models.Trigger:
        return {"trigger_id": override(struct_hook=_structure_trigger_id)}
    return {name: override(rename=api_name) for name, api_name in renamed_fields(cls).items()}


def _build_list_hook(cls: Any, converter: Any) -> Hook:
    (item_cls,) = get_args(cls)
    structure = converter.get_structure_hook(item_cls)

    def structure_list(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise _unexpected("an array", value)
        items, errors = _structure_items(structure, value, item_cls)
        if errors:
            raise IterableValidationError("", errors, cls)  # pyright: ignore[reportCallIssue]  # typeshed's `__init__` takes two arguments
        return items

    return structure_list


def _structure_items(
    structure: Hook, values: list[Any], cls: Any
) -> tuple[list[Any], list[Exception]]:
    items: list[Any] = []
    errors: list[Exception] = []
    for index, value in enumerate(values):
        try:
            items.append(structure(value, cls))
        except Exception as error:  # noqa: BLE001 - cattrs groups any errors from its hooks
            error.add_note(IterableValidationNote("", index, cls))
            errors.append(error)
            if len(errors) == _MAX_INVALID:
                break
    return items, errors


def _build_strict_hook(cls: type) -> Hook:
    # Values are not coerced: the string "5" is not the number 5, and "false" is not False.
    def structure(value: Any, _: Any) -> Any:
        if type(value) is cls:
            return value
        raise _unexpected(_JSON_NAMES[cls], value)

    return structure


def _structure_int(value: Any, _: Any) -> int:
    # JavaScript and databases may write a whole number as 7.0. A number above the maximum may have
    # lost digits, so it could be another record's id.
    if type(value) is float and value.is_integer() and abs(value) < _MAX_EXACT:
        return int(value)
    if type(value) is not int:
        raise _unexpected("an integer", value)
    return value


def _structure_trigger_id(value: Any, _: Any) -> str:
    # Accept a number, because the API returns the trigger id of a run as a number. Raising an error
    # here would lose the trigger of a run that has already started.
    if type(value) is str:
        return value
    if type(value) in (int, float):
        return str(_structure_int(value, int))
    raise _unexpected("a string", value)


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
        raise _unexpected("a datetime", value)
    text, rest = _normalize_end(value.strip())
    try:
        timestamp = _parse_datetime(text) + rest
    except (ValueError, OverflowError):
        raise TypeError("expected a datetime, got another string") from None
    return timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=UTC)


def _parse_datetime(text: str) -> datetime:
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        # Unlike RFC 3339, fromisoformat() accepts missing seconds, a missing time, and the basic
        # format. It takes any character between date and time, even a digit of a Unix timestamp.
        if _UNIX_TIMESTAMP.match(text) is not None:
            raise ValueError("a Unix timestamp") from None
        return datetime.fromisoformat(text)


def _normalize_end(text: str) -> tuple[str, timedelta]:
    """Return text that ``datetime`` can parse, and the time to add to the parsed result."""
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
    """
    Return a ``DecodeError`` for the first invalid value.

    :param first: the error as described by cattrs, in the form ``text @ path``.
    :param other_count: the number of other errors.
    """
    text, _, path = first.rpartition(" @ ")
    path = _with_api_names(path.removeprefix("."))
    location = f"{path}: " if path else ""
    at_least = "at least " if other_count >= _MAX_INVALID - 1 else ""
    more = f" (and {at_least}{other_count} more)" if other_count else ""
    return DecodeError(f"the response cannot be decoded: {location}{text}{more}", path=path)


def _with_api_names(path: str) -> str:
    for names in RENAMED_FIELDS.values():
        for python_name, api_name in names.items():
            path = re.sub(rf"\b{python_name}\b", api_name, path)
    return path
