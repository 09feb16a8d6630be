"""The rules that the reference states for values."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pandium.emulator.runs.schedules import find_cron_error
from pandium.emulator.state.errors import Problem

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)


def name_problems(name: str) -> Iterator[Problem]:
    """Find what is wrong with the name of a tenant."""
    if not NAME.fullmatch(name):
        msg = "must be lowercase letters, digits and '-', which may neither begin nor end it"
        yield Problem(("name",), msg, name)


def cron_problems(place: str, schedule: str | None) -> Iterator[Problem]:
    """Find what is wrong with a schedule; None is the integration's own."""
    if schedule is not None and (error := find_cron_error(schedule)):
        yield Problem((place,), f"must be a cron string: {error}", schedule)


def schema_problems(place: str, schema: Mapping[str, Any] | None) -> Iterator[Problem]:
    """Find what is wrong with a JSON schema itself; references must lead to places inside."""
    if schema is not None:
        from pandium.emulator.state.json_schemas import find_schema_errors  # noqa: PLC0415 - few have a schema

        yield from find_schema_errors(place, schema)


def data_problems(
    data: Mapping[str, Any], schema: Mapping[str, Any] | None, *place: str
) -> Iterator[Problem]:
    """Find where data does not fit a JSON schema."""
    if schema is not None:
        from pandium.emulator.state.json_schemas import find_data_errors  # noqa: PLC0415 - as above

        yield from find_data_errors(data, schema, place)
