"""Decode JSON with the fast and the lenient converter and compare the results."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import attrs

from pandium._serialization.convert import decode, decode_json
from pandium._serialization.lenient import LenientConverter
from pandium.errors import DecodeError

LENIENT = LenientConverter()


def decode_leniently(data: bytes, cls: Any) -> Any:
    return LENIENT.structure(decode_json(data), cls)


def outcome_of(decoder: Callable[[bytes, Any], Any], data: bytes, cls: Any) -> tuple[str, Any]:
    """Return ``("value", value)``, or ``("error", (message, path))`` for a DecodeError."""
    try:
        value = decoder(data, cls)
    except DecodeError as error:
        return "error", (str(error), error.path)
    return "value", value


def decode_both_ways(data: bytes, cls: Any) -> tuple[str, Any]:
    """Decode with both converters and assert that the outcomes and their types are equal."""
    fast = outcome_of(decode, data, cls)
    lenient = outcome_of(decode_leniently, data, cls)
    assert fast == lenient
    # Compare the repr as well, because True equals 1, as do equal instants in different zones.
    assert repr(fast) == repr(lenient)
    return fast


def value_of(data: bytes, cls: Any) -> Any:
    """Decode with both converters and return the value."""
    kind, value = decode_both_ways(data, cls)
    assert kind == "value", value
    return value


def error_of(data: bytes, cls: Any) -> tuple[str, str]:
    """Decode with both converters and return the message and the path of the error."""
    kind, error = decode_both_ways(data, cls)
    assert kind == "error", error
    message, path = error
    return message, path


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def dump_tenant(**fields: Any) -> bytes:
    """Return a page with one tenant."""
    return dump([{"id": 1, "name": "n", **fields}])


def models_in(value: Any) -> Iterator[Any]:
    """Iterate over all models in a model or a list, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from models_in(item)
    elif attrs.has(type(value)):
        yield value
        for field in attrs.fields(type(value)):
            yield from models_in(getattr(value, field.name))


def timestamps_in(value: Any) -> Iterator[datetime]:
    """Iterate over all datetimes in a model or a list, at any depth."""
    for model in models_in(value):
        for field in attrs.fields(type(model)):
            if isinstance(timestamp := getattr(model, field.name), datetime):
                yield timestamp


def floats_in(value: Any) -> Iterator[float]:
    """Iterate over all floats in JSON data, at any depth."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from floats_in(item)
