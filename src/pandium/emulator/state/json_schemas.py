"""Validation of JSON schemas, and of data with JSON schemas."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from pandium.emulator.state.errors import Problem

REFERENCES = ("$ref", "$dynamicRef")


def find_schema_errors(place: str, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the errors in a schema. References must point to locations within the schema."""
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(dict(schema))
    except SchemaError as error:
        yield Problem((place, *error.path), f"is not a valid JSON schema: {error.message}", schema)
        return
    for reference in _broken_references(schema):
        msg = f"refers to {reference!r}, which is not in the schema; references are never fetched"
        yield Problem((place,), msg, schema)


def _broken_references(schema: Mapping[str, Any]) -> Iterator[str]:
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().with_resource("", resource).resolver_with_root(resource)
    pending = [(resource, resolver)]
    for part, inside in pending:
        contents = part.contents if isinstance(part.contents, Mapping) else {}
        for reference in (contents.get(keyword, "") for keyword in REFERENCES):
            try:
                inside.lookup(reference)
            except Unresolvable:
                yield reference
        pending += [(one, inside.in_subresource(one)) for one in part.subresources()]


def find_data_errors(
    data: Mapping[str, Any], schema: Mapping[str, Any], place: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield a problem for each mismatch between data and a schema."""
    try:
        for error in _validator(msgspec.json.encode(schema)).iter_errors(data):
            loc = (*place, *error.absolute_path)
            yield Problem(loc, error.message, error.instance, f"json_schema.{error.validator}")
    except (Unresolvable, RecursionError) as error:
        msg = f"cannot be validated, because references in its schema cannot be resolved: {error}"
        yield Problem(place, msg, data)


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Validator:
    decoded = msgspec.json.decode(schema)
    validator = validator_for(decoded, default=Draft202012Validator)
    # Without a registry, the library would fetch references.
    return validator(decoded, registry=Registry())
