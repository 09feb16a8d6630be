"""Check what the vendor documents as a rule before anything is sent."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING

from pandium._convert import encode_json
from pandium._transport import checked_mapping

if TYPE_CHECKING:
    from pandium.models import RunMode

__all__ = [
    "checked_count",
    "checked_flag",
    "checked_mode",
    "checked_name",
    "checked_release",
    "checked_sort",
    "checked_text",
    "object_json",
]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_SORT = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*__(ASC|DESC)")


def checked_count(argument: str, value: object) -> int:
    """Let whole numbers from 1 pass, of numpy too."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # it checks
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{argument} must be a whole number from 1, not {value!r}")
    return number


def checked_flag(argument: str, value: object) -> bool:
    """Let true and false pass."""
    if not isinstance(value, bool):
        raise ValueError(f"{argument} must be True or False, not {value!r}")
    return value


def checked_mode(mode: RunMode | str) -> str:
    """Let ``init`` and ``normal`` pass."""
    if mode not in ("init", "normal"):
        raise ValueError(f"mode must be 'init' or 'normal', not {mode!r}")
    return "init" if mode == "init" else "normal"  # and no enumeration of the user's


def checked_name(name: str) -> str:
    """Let a tenant's name pass: lower-case letters, digits and inner hyphens."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(
            f"name must be lower-case letters and digits, with '-' only between them, not {name!r}"
        )
    return name


def checked_text(argument: str, value: object) -> str:
    """Let text pass that says something."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{argument} must be a text that is not empty, not {value!r}")
    return value


def checked_release(release_id: object, release_channel: object) -> None:
    """Refuse a release by id and by channel together."""
    if release_id is not None and release_channel is not None:
        raise ValueError("release_id and release_channel exclude each other: pass one of them")


def checked_sort(sort_by: str | None) -> str | None:
    """Let ``{field}__ASC`` and ``{field}__DESC`` pass; which fields exist, the API knows."""
    if sort_by is not None and not (isinstance(sort_by, str) and _SORT.fullmatch(sort_by)):
        raise ValueError(f"sort_by must be '<field>__ASC' or '<field>__DESC', not {sort_by!r}")
    return sort_by


def object_json(value: object, argument: str) -> bytes:
    """Write a mapping as a JSON object."""
    return encode_json(checked_mapping(argument, value), argument)
