"""YAML as far as JSON reaches, so that a file of either gives the same data."""

import json
from typing import Any

import yaml

TIMESTAMP = "tag:yaml.org,2002:timestamp"


class JsonLikeLoader(yaml.SafeLoader):
    """YAML's safe loader, for which a date is text as it is in JSON."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the class above has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def loads(text: str) -> Any:
    """
    Read YAML.

    :raises ValueError: names the line and what is wrong there, or what JSON does not have.
    """
    try:
        return json.loads(json.dumps(yaml.load(text, JsonLikeLoader)))  # noqa: S506 - it is a safe loader
    except TypeError as error:
        raise ValueError(f"JSON has no such thing: {error}") from None
    except yaml.YAMLError as error:
        raise ValueError(_reason(error)) from None


def _reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return str(error)


def dumps(data: Any) -> str:
    """Write YAML, in the order of the data."""
    return yaml.safe_dump(data, sort_keys=False)
