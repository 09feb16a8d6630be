"""Files of seeds and states: JSON or YAML to data and back."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import yaml

YAML = frozenset({".yaml", ".yml"})
TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Loader(yaml.SafeLoader):
    """YAML's safe loader, for which a date is text as it is in JSON."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the class above has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_file(path: Path) -> Any:
    """
    Read JSON, or YAML if the file is named so.

    :raises ValueError: names the file, the line and what is wrong there.
    """
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {name!r}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is not UTF-8: byte {error.start} cannot be read") from None
    try:
        return _yaml(text) if path.suffix in YAML else json.loads(text)
    except RecursionError:
        raise ValueError(f"{name!r} is nested too deeply") from None
    except (ValueError, yaml.YAMLError) as error:
        kind = "YAML" if path.suffix in YAML else "JSON"
        raise ValueError(f"{name!r} is not {kind}: {_reason(error)}") from None


def _yaml(text: str) -> Any:
    """Read YAML as far as JSON reaches, so that both give the same data."""
    try:
        return json.loads(json.dumps(yaml.load(text, Loader)))  # noqa: S506 - it is a safe loader
    except TypeError as error:
        raise ValueError(f"JSON has no such thing: {error}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def write_file(path: Path, data: Any) -> None:
    """
    Write JSON, or YAML if the file is to be named so; what stood there before stays until then.

    :raises OSError: the file cannot be written.
    """
    if path.suffix in YAML:
        text = yaml.safe_dump(data, sort_keys=False)
    else:
        text = json.dumps(data, indent=2) + "\n"
    target = path.resolve()  # a link stays a link
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("x", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
