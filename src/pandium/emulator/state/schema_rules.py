"""The rules for JSON schemas, and for data that has to match them."""

from collections.abc import Iterator, Mapping
from typing import Any

from pandium.emulator.state.errors import Problem


def schema_problems(place: str, schema: Mapping[str, Any] | None) -> Iterator[Problem]:
    """Yield the errors in a JSON schema, which may refer only to itself."""
    if schema is not None:
        from pandium.emulator.state.json_schemas import find_schema_errors  # noqa: PLC0415 - most records have no schema

        yield from find_schema_errors(place, schema)


def data_problems(
    data: Mapping[str, Any], schema: Mapping[str, Any] | None, *place: str
) -> Iterator[Problem]:
    """Yield a problem for each mismatch between data and a JSON schema."""
    if schema is not None:
        from pandium.emulator.state.json_schemas import find_data_errors  # noqa: PLC0415 - as above

        yield from find_data_errors(data, schema, place)
