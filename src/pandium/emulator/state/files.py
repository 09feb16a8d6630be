"""Files of seeds and saved states, in JSON or YAML."""

import json
import os
import secrets
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

YAML = frozenset({".yaml", ".yml"})
TIMESTAMP = "tag:yaml.org,2002:timestamp"


def read_file(path: Path) -> Any:
    """
    Return the data in a JSON or YAML file. The suffix of a YAML file is `.yaml` or `.yml`.

    :raises ValueError: if the file cannot be read. The message names the file and, if possible, the
        line.
    """
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {name!r}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is not UTF-8: byte {error.start} cannot be decoded") from None
    try:
        return _parse_yaml(text) if path.suffix in YAML else json.loads(text)
    except RecursionError:
        raise ValueError(f"{name!r} is nested too deeply") from None
    except ValueError as error:
        kind = "YAML" if path.suffix in YAML else "JSON"
        reason = " ".join(str(error).split())
        raise ValueError(f"{name!r} is not {kind}: {reason}") from None


def write_file(path: Path, data: Any) -> None:
    """
    Write data to a JSON or YAML file, which is replaced atomically and keeps its permissions.

    :raises OSError: if the file cannot be written. The previous file is kept.
    """
    text = _to_yaml(data) if path.suffix in YAML else json.dumps(data, indent=2) + "\n"
    target = path.resolve()  # a symbolic link is kept
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("x", encoding="ascii") as file:
            with suppress(FileNotFoundError):
                draft.chmod(stat.S_IMODE(target.stat().st_mode))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def _to_yaml(data: Any) -> str:
    import yaml  # noqa: PLC0415 - few files are YAML

    return yaml.safe_dump(data, sort_keys=False)


def _parse_yaml(text: str) -> Any:
    """Parse YAML, and reject values that JSON cannot represent."""
    import yaml  # noqa: PLC0415 - as above

    try:
        return json.loads(json.dumps(yaml.load(text, _loader())))  # noqa: S506 - a safe loader
    except TypeError as error:
        raise ValueError(f"it contains a value that JSON cannot represent: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


@cache
def _loader() -> "type[yaml.SafeLoader]":
    """Return YAML's safe loader, but with dates as strings, as in JSON."""
    import yaml  # noqa: PLC0415 - as above

    resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != TIMESTAMP]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return type("JsonLikeLoader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": resolvers})
