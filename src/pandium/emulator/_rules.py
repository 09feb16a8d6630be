"""The rules that the reference states for values."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from pandium.emulator._problems import Problem
from pandium.emulator._schedules import fault_of

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)


def name_problems(name: str) -> Iterator[Problem]:
    """Find what is wrong with the name of a tenant."""
    if not NAME.fullmatch(name):
        msg = "must be lowercase letters, digits and '-', which may neither begin nor end it"
        yield Problem(("name",), msg, name)


def cron_problems(place: str, schedule: str | None) -> Iterator[Problem]:
    """Find what is wrong with a schedule; None is the integration's own."""
    if schedule is not None and (fault := fault_of(schedule)):
        yield Problem((place,), f"must be a cron string: {fault}", schedule)


def schema_problems(place: str, schema: Mapping[str, Any] | None) -> Iterator[Problem]:
    """Find what is wrong with a JSON schema itself."""
    if schema is not None:
        try:
            validator_for(schema, default=Draft202012Validator).check_schema(dict(schema))
        except SchemaError as error:
            yield Problem((place, *error.path), f"is no JSON schema: {error.message}", schema)


def data_problems(
    data: Mapping[str, Any], schema: Mapping[str, Any] | None, *place: str
) -> Iterator[Problem]:
    """Find where data does not fit a JSON schema."""
    if schema is not None:
        for error in _validator(msgspec.json.encode(schema)).iter_errors(data):
            loc = (*place, *error.absolute_path)
            yield Problem(loc, error.message, error.instance, f"json_schema.{error.validator}")


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Validator:
    decoded = msgspec.json.decode(schema)
    return validator_for(decoded, default=Draft202012Validator)(decoded)
