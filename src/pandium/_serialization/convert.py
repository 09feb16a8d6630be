"""Turn bytes into models and models into bytes; the one user of msgspec."""

from __future__ import annotations

import json
import operator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import attrs
import msgspec

from pandium import models
from pandium._validation import validate_mapping
from pandium.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium._serialization.lenient import Tolerant

__all__ = ["decode", "decode_json", "encode_json", "encode_json_object", "to_dict", "to_json"]

T = TypeVar("T")

# Fields whose name in the API is not the one that Python would give them.
_RENAMED: dict[type, dict[str, str]] = {
    models.Connector: {"is_global": "isGlobal"},
    models.RunStatus: {"start_time": "startTime", "completion_time": "completionTime"},
}
_EPOCH = datetime.fromtimestamp(0, UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MODELS: tuple[type, ...] = tuple(
    cls for name in models.__all__ if attrs.has(cls := getattr(models, name))
)


@cache
def _tolerant() -> Tolerant:
    # Here, since it brings cattrs, and what the API answers as a rule does without.
    from pandium._serialization.lenient import Tolerant  # noqa: PLC0415

    return Tolerant(_MODELS, _RENAMED)


def _decode_tolerantly(data: bytes, cls: Any) -> Any:
    return _tolerant().structure(decode_json(data), cls)


# The fast way: bytes straight into models. msgspec knows no renamed field and takes no null for a
# default, so what it refuses it is given again as plain data, in which both are amended.


def _api_name(cls: type, python: str) -> str:
    return _RENAMED.get(cls, {}).get(python, python)


def _inner(cls: Any) -> Any:
    """Give the `X` of `X | None`; anything else as it is."""
    parts = [part for part in get_args(cls) if part is not NoneType]
    return parts[0] if NoneType in get_args(cls) else cls


def _is_renamed(cls: Any) -> bool:
    cls = _inner(cls)
    if attrs.has(cls):
        return cls in _RENAMED or any(_is_renamed(field.type) for field in attrs.fields(cls))
    return any(_is_renamed(part) for part in get_args(cls))


def _zone_setter(cls: Any) -> Callable[[list[Any]], None] | None:
    """Make what gives UTC to the naive date-times below many `cls`; `None` if it can have none."""
    if get_origin(cls) is list:
        each = _zone_setter(*get_args(cls))
        return each and (lambda lists: each(list(chain.from_iterable(lists))))
    if not attrs.has(cls):
        return None
    fields = [(f.name, operator.attrgetter(f.name), _inner(f.type)) for f in attrs.fields(cls)]
    # A slot's own setter: a frozen class refuses every other way, and none is as fast.
    stamps = [(get, getattr(cls, name).__set__) for name, get, of in fields if of is datetime]
    below = [(get, setter) for _, get, of in fields if (setter := _zone_setter(of))]

    def set_zones(models: list[Any]) -> None:
        # Field by field over a whole page, which takes half the time of model by model.
        for get, put in stamps:
            for model, stamp in zip(models, map(get, models), strict=True):
                if stamp is not None and stamp.tzinfo is None:
                    # As `stamp.replace(tzinfo=UTC)`, which takes many times as long on Python 3.11.
                    put(model, _EPOCH + (stamp - _NAIVE_EPOCH))
        for get, setter in below:
            # What is false is null or empty, and has no date-time below it.
            setter(list(filter(None, map(get, models))))

    return set_zones if stamps or below else None


def _amender(cls: Any) -> Callable[[list[Any]], None] | None:
    """Make what amends the plain data of many `cls`; `None` if nothing of it can need it."""
    if get_origin(cls) is list:
        each = _amender(*get_args(cls))
        return each and (lambda lists: each(list(chain.from_iterable(_only(list, lists)))))
    if not attrs.has(cls):
        return None
    fields = {_api_name(cls, field.name): field for field in attrs.fields(cls)}
    defaulted = [name for name, of in fields.items() if of.default is not None]
    renamed = _RENAMED.get(cls, {})
    below = [(name, fix) for name, of in fields.items() if (fix := _amender(_inner(of.type)))]

    def amend(values: list[Any]) -> None:
        objects = _only(dict, values)
        _drop_nulls(objects, defaulted)
        for name, fix in below:
            fix([each[name] for each in objects if name in each])
        for python, api in renamed.items():
            _rename(objects, api, python)

    return amend if defaulted or below or renamed else None


def _only(kind: type, values: list[Any]) -> list[Any]:
    return [value for value in values if type(value) is kind]


def _drop_nulls(objects: list[dict[str, Any]], names: list[str]) -> None:
    for name in names:
        for each in objects:
            if name in each and each[name] is None:
                del each[name]


def _rename(objects: list[dict[str, Any]], api: str, python: str) -> None:
    for each in objects:
        each.pop(python, None)  # a name that means nothing in the API
        if api in each:
            each[python] = each.pop(api)


def _amended(cls: Any, amend: Callable[[list[Any]], None]) -> Callable[[bytes], Any]:
    def decode_amended(data: bytes) -> Any:
        value = msgspec.json.decode(data)
        amend([value])
        return msgspec.convert(value, cls)

    return decode_amended


@cache
def _decoder(cls: Any) -> Callable[[bytes], Any]:
    ways: list[Callable[[bytes], Any]] = []
    if not _is_renamed(cls):
        ways.append(msgspec.json.Decoder(cls).decode)
    if (amend := _amender(cls)) is not None:
        ways.append(_amended(cls, amend))
    set_zones = _zone_setter(cls)

    def decode_fast(data: bytes) -> Any:
        for way in ways:
            with suppress(*_UNREADABLE):
                value = way(data)
                if set_zones is not None:
                    set_zones([value])
                return value
        return _decode_tolerantly(data, cls)

    return decode_fast


# What the other modules call.


def decode(data: bytes, cls: type[T]) -> T:
    """
    Read JSON bytes as a model, or as a list of models.

    :raises DecodeError: with the path to what cannot be read.
    """
    decoder: Callable[[bytes], T] = _decoder(cls)  # type: ignore[arg-type]  # types are hashable
    return decoder(data)


def decode_json(data: bytes) -> Any:
    """
    Read JSON bytes as they are.

    :raises DecodeError: if they are no JSON.
    """
    with suppress(*_UNREADABLE):
        return msgspec.json.decode(data)
    return _decode_oddities(data)


def _decode_oddities(data: bytes) -> Any:
    # The standard library reads what msgspec does not: lone surrogates, numbers beyond a double.
    if not data.strip():
        raise DecodeError("the answer is empty where JSON is due")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        fault = str(error)
    raise DecodeError(f"the answer is not JSON: {fault}")


def encode_json(value: object, argument: str) -> bytes:
    """
    Write JSON bytes, strictly.

    :raises ValueError: if the value is no JSON; it names the argument.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{argument} cannot be written as JSON: {error}") from None


def encode_json_object(value: object, argument: str) -> bytes:
    """
    Encode a mapping as a JSON object.

    :raises ValueError: if the value is not a mapping or not JSON; it names the argument.
    """
    return encode_json(validate_mapping(argument, value), argument)


def to_dict(model: object) -> dict[str, Any]:
    """
    Give a model as JSON-ready data with the API's own names.

    Date-times become ISO 8601 strings, enums their values.

    :raises TypeError: if it is no model of this library.
    """
    return msgspec.to_builtins(_unstructure(model))  # type: ignore[no-any-return]  # of a model


def to_json(model: object) -> bytes:
    """
    Give a model as JSON bytes with the API's own names.

    :raises TypeError: if it is no model of this library.
    """
    data = _unstructure(model)
    try:
        return msgspec.json.encode(data)
    except (UnicodeEncodeError, RecursionError):  # lone surrogates, which JSON can escape
        return json.dumps(msgspec.to_builtins(data)).encode()


def _unstructure(model: object) -> Any:
    if type(model) not in _MODELS:
        raise TypeError(f"expected a model of pandium, got {type(model).__name__}")
    return _tolerant().unstructure(model)
