"""Files of seeds and states: JSON or YAML to data and back."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

YAML = frozenset({".yaml", ".yml"})


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
        return _from_yaml(text) if path.suffix in YAML else json.loads(text)
    except RecursionError:
        raise ValueError(f"{name!r} is nested too deeply") from None
    except ValueError as error:
        kind = "YAML" if path.suffix in YAML else "JSON"
        reason = " ".join(str(error).split())
        raise ValueError(f"{name!r} is not {kind}: {reason}") from None


def _from_yaml(text: str) -> Any:
    from pandium.emulator.state import yaml_text  # noqa: PLC0415 - few files are YAML

    return yaml_text.loads(text)


def _to_yaml(data: Any) -> str:
    from pandium.emulator.state import yaml_text  # noqa: PLC0415 - as above

    return yaml_text.dumps(data)


def write_file(path: Path, data: Any) -> None:
    """
    Write JSON, or YAML if the file is to be named so; what stood there before stays until then.

    :raises OSError: the file cannot be written.
    """
    text = _to_yaml(data) if path.suffix in YAML else json.dumps(data, indent=2) + "\n"
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
