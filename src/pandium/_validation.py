"""
Validate arguments before anything is sent.

Each ``validate_*`` function returns the value, normalized to a plain type, or raises a
``ValueError`` that names the argument and shows the value.
"""

from __future__ import annotations

import operator
import os
import re
import sys
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from math import inf
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from pandium.models import Tenant, Trigger

if TYPE_CHECKING:
    from collections.abc import Callable

    import attrs

    from pandium.models import RunMode

__all__ = [
    "as_attrs_validator",
    "encode_path_segment",
    "tenant_id_of",
    "validate_auto_or_flag",
    "validate_callable",
    "validate_choice",
    "validate_factor",
    "validate_flag",
    "validate_fraction",
    "validate_headers",
    "validate_id",
    "validate_if_given",
    "validate_instance",
    "validate_iterable",
    "validate_journal_path",
    "validate_mapping",
    "validate_method",
    "validate_mode",
    "validate_number",
    "validate_params",
    "validate_path",
    "validate_query_value",
    "validate_rate",
    "validate_release_choice",
    "validate_seconds",
    "validate_sort_by",
    "validate_tag",
    "validate_tenant_id",
    "validate_tenant_name",
    "validate_text",
    "validate_trigger_id",
    "validate_whole_number",
]

T = TypeVar("T")

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_RESERVED_HEADERS = frozenset(
    {"x-api-key", "host", "content-length", "transfer-encoding", "accept-encoding"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token (RFC 9110, section 5.6.2)
# What a URL or libpq's other form of a connection string contains, also with quotes around it. In
# a path object, a URL has only one slash, or a backslash on Windows. A drive has only one letter.
# The last line finds connection strings and URLs without slashes, at the beginning of a word.
_CONNECTION_STRING = re.compile(
    r"://|[a-z0-9]{2}:[/\\].*[@?]|(?<![^\s'\"])"
    r"((PG)?(host|hostaddr|dbname|user|(ssl)?password)\s*=|postgres(ql)?:|[^\s'\"/\\:]{2,}:[^@]*@)",
    re.DOTALL | re.IGNORECASE,
)
_TENANT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_SORT_BY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*__(ASC|DESC)")
_MIN_RATE = 1e-9  # once in 30 years. The interval of a far lower rate would not be finite.
_LARGEST_ID = 2**63 - 1  # the largest integer that SQLite can store in a journal


def as_attrs_validator(
    validate: Callable[[str, object], object],
) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """
    Return an attrs validator that calls ``validate`` with the field's name and value.

    The field is set to the result of ``validate``. An attrs converter cannot replace this function,
    because it does not receive the field's name.
    """

    def validator(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        normalized = validate(attribute.name, value)
        if normalized is not value:
            object.__setattr__(instance, attribute.name, normalized)  # works for frozen classes

    return validator


def validate_if_given(
    validate: Callable[[str, object], T], argument: str, value: object
) -> T | None:
    """Call ``validate`` with an argument and its value, unless the value is ``None``."""
    return None if value is None else validate(argument, value)


# Numbers, flags and text


def validate_whole_number(
    argument: str, value: object, minimum: int = 1, maximum: int | None = None
) -> int:
    """Validate an integer within bounds. Accept NumPy integers but not booleans."""
    number = _as_whole_number(value)
    if number is None or number < minimum or (maximum is not None and number > maximum):
        bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{argument} must be an integer {bounds}, not {value!r}")
    return number


def validate_number(argument: str, value: object) -> float:
    """Validate an integer or a float that is not NaN."""
    number = _as_number(value)
    if number is None or number != number:  # noqa: PLR0124 - NaN is not equal to itself
        raise ValueError(f"{argument} must be a number, not {value!r}")
    return number


def validate_seconds(argument: str, value: object, *, allow_infinity: bool = False) -> float:
    """Validate a non-negative duration in seconds."""
    seconds = _as_number(value)
    if seconds is None or not seconds >= 0 or (seconds == inf and not allow_infinity):
        raise ValueError(f"{argument} must be a non-negative number of seconds, not {value!r}")
    return seconds


def validate_factor(argument: str, value: object) -> float:
    """Validate a finite, non-negative number."""
    factor = validate_number(argument, value)
    if not 0 <= factor < inf:
        raise ValueError(f"{argument} must be a finite, non-negative number, not {value!r}")
    return factor


def validate_fraction(argument: str, value: object) -> float:
    """Validate a number that is at least 0 and less than 1."""
    fraction = validate_number(argument, value)
    if not 0 <= fraction < 1:
        raise ValueError(f"{argument} must be at least 0 and less than 1, not {value!r}")
    return fraction


def validate_rate(argument: str, value: object) -> float:
    """Validate a number per second. Infinity means no limit."""
    rate = validate_number(argument, value)
    if rate < _MIN_RATE:
        raise ValueError(f"{argument} must be at least {_MIN_RATE}, not {value!r}")
    return rate


def _as_whole_number(value: object) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # raises TypeError
    except TypeError:
        return None


def _as_number(value: object) -> float | None:
    if isinstance(value, float):
        return value
    if isinstance(value, Real) and not isinstance(value, Integral):  # such as numpy.float32
        try:
            return float(value)
        except OverflowError:
            return None
    number = _as_whole_number(value)
    return number if number is not None and abs(number) <= sys.float_info.max else None


def validate_flag(argument: str, value: object) -> bool:
    """Validate a boolean."""
    if not isinstance(value, bool):
        raise ValueError(f"{argument} must be True or False, not {value!r}")
    return value


def validate_auto_or_flag(argument: str, value: object) -> bool | str:
    """Validate ``True``, ``False`` or ``"auto"``."""
    if isinstance(value, bool):
        return value
    if value != "auto":
        raise ValueError(f"{argument} must be True, False or 'auto', not {value!r}")
    return "auto"


def validate_text(argument: str, value: object) -> str:
    """Validate a string that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{argument} must be a non-empty string, not {value!r}")
    return value


def validate_choice(argument: str, value: object, choices: Sequence[str]) -> str:
    """Validate that a value is one of the given strings."""
    if not (isinstance(value, str) and value in choices):
        *most, last = map(repr, choices)
        raise ValueError(f"{argument} must be {', '.join(most)} or {last}, not {value!r}")
    return str.__str__(value)


# Containers and callables


def validate_mapping(argument: str, value: object) -> dict[str, Any]:
    """Validate a mapping and return a copy of it as a dictionary."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{argument} must be a mapping, not {type(value).__name__}")
    return dict(value)


def validate_iterable(argument: str, value: object) -> None:
    """Validate an iterable or async iterable other than a string."""
    if not isinstance(value, (Iterable, AsyncIterable)) or isinstance(value, (str, bytes)):
        kind = type(value).__name__
        raise ValueError(f"{argument} must be an iterable or async iterable, not {kind}")


def validate_callable(argument: str, value: object) -> None:
    """Validate a callable."""
    if not callable(value):
        raise ValueError(f"{argument} must be callable, not {value!r}")


def validate_instance(argument: str, value: object, cls: type) -> None:
    """Validate that a value is an instance of a class."""
    if not isinstance(value, cls):
        raise ValueError(f"{argument} must be a {cls.__name__}, not {value!r}")


# Request components


def validate_method(method: object) -> str:
    """Validate an HTTP method and return it in upper case."""
    upper = method.upper() if isinstance(method, str) else ""
    if upper not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(sorted(_METHODS))}, not {method!r}")
    return upper


def validate_path(path: object) -> str:
    """Validate a percent-encoded path, which must not lead outside the base URL."""
    if not isinstance(path, str):
        raise ValueError(f"path must be a string, not {type(path).__name__}")
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError(f"path must begin with one slash, not {path!r}")
    if set(path) & set("?#\\"):
        raise ValueError(f"path must not contain '?', '#' or '\\': {path!r}; use params")
    if not _is_encodable(path):
        raise ValueError(f"path must be valid Unicode, not {path!r}")
    if {".", ".."} & set(unquote(path).split("/")):
        raise ValueError(f"path must not contain '.' or '..' segments: {path!r}")
    return path


def encode_path_segment(argument: str, value: object) -> str:
    """
    Validate an id and percent-encode it, so that it cannot address another endpoint.

    A ``Tenant`` is accepted in place of a tenant's id.
    """
    text = str(validate_id(argument, tenant_id_of(value) if argument == "tenant_id" else value))
    # Percent-encoding does not change dots, and `.` and `..` would be relative path segments.
    if text in (".", ".."):
        raise ValueError(f"{argument} must be an id, not {text!r}")
    return quote(text, safe="")


def validate_id(argument: str, value: object) -> str | float:
    """Validate an id: text that is not blank, or an integer."""
    if isinstance(value, (bool, float)):
        raise ValueError(f"{argument} must be an id, not {type(value).__name__}")
    checked = validate_query_value(argument, value, "an id")
    if not str(checked).strip():
        raise ValueError(f"{argument} must be an id, not {checked!r}")
    return checked


def validate_query_value(
    argument: str, value: object, expected: str = "a string, a number or a boolean"
) -> str | float:
    """Validate the value of a query parameter. Convert an enum member to its value."""
    if isinstance(value, str):
        if not _is_encodable(value):
            raise ValueError(f"{argument} must be {expected}; {value!r} is not valid Unicode")
        return str.__str__(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    try:
        return operator.index(value)  # type: ignore[arg-type]  # raises TypeError
    except TypeError:
        raise ValueError(f"{argument} must be {expected}, not {type(value).__name__}") from None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def validate_params(params: object) -> dict[str, Any] | None:
    """Validate query parameters and omit ``None`` values."""
    if params is None:
        return None
    present = validate_mapping("params", params)
    for name in present:
        if not (isinstance(name, str) and _is_encodable(name)):
            raise ValueError(f"params must have strings of valid Unicode as names, not {name!r}")
    return {
        name: _validate_param(f"params[{name!r}]", value)
        for name, value in present.items()
        if value is not None
    } or None


def _validate_param(argument: str, value: object) -> object:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [validate_query_value(argument, item) for item in value if item is not None]
    return validate_query_value(argument, value)


def validate_headers(headers: object) -> dict[str, str]:
    """Validate additional headers, which must not override headers that the client sets."""
    if headers is None:
        return {}
    given = validate_mapping("headers", headers)
    for name, value in given.items():
        if not isinstance(name, str):
            raise ValueError(f"headers must have strings as names, not {name!r}")
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(f"headers must not contain {name}, which the client sets itself")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers must have valid names, not {name!r}")
        if not (isinstance(value, str) and value.isascii() and value.isprintable()):
            raise ValueError(
                f"headers must have printable ASCII values; the value of {name} is invalid"
            )
        if value != value.strip():
            raise ValueError(f"headers must not have spaces around the value of {name}")
    return given


# API-specific rules


def validate_mode(mode: RunMode | str) -> str:
    """Validate a run mode."""
    return validate_choice("mode", mode, ("init", "normal"))


def validate_sort_by(sort_by: object) -> str | None:
    """Validate the format of ``sort_by``. The field name is not checked."""
    if sort_by is None:
        return None
    if not (isinstance(sort_by, str) and _SORT_BY.fullmatch(sort_by)):
        raise ValueError(f"sort_by must be '<field>__ASC' or '<field>__DESC', not {sort_by!r}")
    return sort_by


def validate_tenant_name(name: object) -> str:
    """Validate a tenant name: lower-case letters and digits, with hyphens only between them."""
    if not (isinstance(name, str) and _TENANT_NAME.fullmatch(name)):
        raise ValueError(
            "name must be lower-case letters and digits, with hyphens only between them,"
            f" not {name!r}"
        )
    return name


def validate_tag(tag: object) -> str:
    """Validate the tag of a build."""
    text = validate_text("tag", tag)
    if text != text.strip():
        raise ValueError(f"tag must have no white space around it, not {text!r}")
    encode_path_segment("tag", text)
    return text


def validate_release_choice(release_id: object, release_channel: object) -> None:
    """Validate that a release is not selected by both id and channel."""
    if release_id is not None and release_channel is not None:
        raise ValueError("release_id and release_channel are mutually exclusive: pass one of them")


def validate_trigger_id(trigger: object) -> str:
    """Validate a ``Trigger`` or its id, as text or as an integer. Return the id as text."""
    value = trigger.trigger_id if isinstance(trigger, Trigger) else trigger
    if isinstance(value, str) and value.strip():
        # The API would respond as it does to a trigger that has no run yet.
        if value is trigger and value != value.strip():
            raise ValueError(f"trigger must be an id without white space around it, not {value!r}")
        encode_path_segment("trigger", value)
        return str.__str__(value)
    number = _as_whole_number(value)
    if number is None or number < 0:
        raise ValueError(
            f"trigger must be a Trigger or its id, as text or an integer, not {trigger!r}"
        )
    return str(number)


def validate_tenant_id(tenant: object) -> int:
    """Validate a ``Tenant`` or its id, and return the id."""
    tenant_id = _as_whole_number(tenant_id_of(tenant))
    if tenant_id is None:
        raise ValueError(f"tenants must contain ids or Tenants, not {tenant!r}")
    if abs(tenant_id) > _LARGEST_ID:
        raise ValueError(f"tenants must contain ids of at most 64 bits, not {tenant!r}")
    return tenant_id


def tenant_id_of(tenant: object) -> object:
    """Return the id of a ``Tenant``, or any other value unchanged."""
    return tenant.id if isinstance(tenant, Tenant) else tenant


def validate_journal_path(journal: object) -> Path | None:
    """Validate the path of a journal. ``None`` means no journal."""
    if journal is None:
        return None
    path = os.fspath(journal) if isinstance(journal, (str, os.PathLike)) else journal
    if not isinstance(path, str) or not path:
        raise ValueError(f"journal must be a file path or a PostgresJournal, not {journal!r}")
    if _CONNECTION_STRING.search(path):  # do not show it, because it may contain a password
        raise ValueError(
            "journal must be a file path, not a URL or connection string: for a database, use"
            " PostgresJournal"
        )
    return Path(path)
