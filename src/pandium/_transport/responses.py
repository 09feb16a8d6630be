"""Read the API's answers that are no success: which error, with what in it. No I/O."""

from __future__ import annotations

import ast
import json
import re
import warnings
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pandium.errors import (
    APIError,
    AuthenticationError,
    BadRequest,
    ConnectorError,
    ErrorDetail,
    NotFound,
    RateLimited,
    ServerError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["error_of", "parse_retry_after"]

_CLASSES: dict[int, type[APIError]] = {
    400: BadRequest,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFound,
    422: ValidationError,
    429: RateLimited,
}
# Statuses below 400 are redirections, which may come after the work was done.
_CERTAINLY_NOT_DONE = frozenset(range(400, 500)) - {408}
_LONGEST_TEXT = 200
_NUMBERS = re.compile(r"\d+(\.\d*)?(\s*,\s*\d+(\.\d*)?)*", re.ASCII)
_CENTURIES = 1e10  # seconds: else many digits would be an infinity


def error_of(  # noqa: PLR0913 - an answer is three things, and three say how to read it
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    is_proxied: bool,
    redact: Callable[[Any], Any],
    now: datetime,
) -> APIError:
    """Make the error for an answer that is no success."""
    body = _body_of(content, redact)
    data = _upstream_data(body, redact) if is_proxied else None
    message = _message_of(body)
    plain_headers = redact({name.lower(): value for name, value in headers.items()})
    cls = _class_of(status) if data is None else ConnectorError
    error = cls(
        f"{_phrase(status)}: {message}" if message else _phrase(status),
        status_code=status,
        message=message,
        details=_details_of(body),
        body=body,
        headers=plain_headers,
        retry_after=parse_retry_after(plain_headers, now),
    )
    if isinstance(error, ConnectorError):
        error.data = data["data"] if data is not None else None
    error.outcome_unknown = status not in _CERTAINLY_NOT_DONE
    return error


def _class_of(status: int) -> type[APIError]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerError
    return _CLASSES.get(status, APIError)


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _body_of(content: bytes, redact: Callable[[Any], Any]) -> Any:
    try:
        return redact(json.loads(content))
    except (ValueError, RecursionError):
        return redact(content.decode(errors="replace"))


def _message_of(body: Any) -> str:
    # 1. {"message": str}  2. {"detail": str}  3. {"detail": [{loc, msg, …}]}  4. anything else
    if isinstance(body, dict):
        for name in ("message", "detail"):
            if isinstance(body.get(name), str):
                return str(body[name])
    if details := _details_of(body):
        return "; ".join(f"{'.'.join(map(str, d.loc))}: {d.msg}" for d in details)
    text = body if isinstance(body, str) else json.dumps(body)
    return " ".join(text.split())[:_LONGEST_TEXT]


def _details_of(body: Any) -> tuple[ErrorDetail, ...]:
    items = body.get("detail") if isinstance(body, dict) else None
    if not isinstance(items, list):
        return ()
    return tuple(_detail_of(item) for item in items if isinstance(item, dict))


def _detail_of(item: dict[str, Any]) -> ErrorDetail:
    loc = item.get("loc")
    return ErrorDetail(
        loc=tuple(loc) if isinstance(loc, list) else (),
        msg=str(item.get("msg", "")),
        type=str(item.get("type", "")),
    )


def _upstream_data(body: Any, redact: Callable[[Any], Any]) -> dict[str, Any] | None:
    # The vendor: `detail` is a string-ified object with the upstream's answer under "data". Which
    # way it is string-ified is undocumented: JSON, or as Python prints it.
    detail = body.get("detail") if isinstance(body, dict) else None
    if not isinstance(detail, str):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings(action="ignore"):  # of odd escapes in what others wrote
                found = redact(read(detail))  # escapes may have hidden a key until now
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict) and "data" in found:
            return found
    return None


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Give the seconds that a ``Retry-After`` asks for, as a number or as an HTTP date."""
    value = headers.get("retry-after", "").strip()
    if _NUMBERS.fullmatch(value):  # several, where it was sent more than once
        return min(max(map(float, value.split(","))), _CENTURIES)
    until = _http_date(value)
    if until is None:
        return None
    # The later reading of two clocks, ours and the server's: never a shorter wait than was meant.
    clocks = [now, _http_date(headers.get("date", "")) or now]
    return max(0.0, *((until - clock).total_seconds() for clock in clocks))


def _http_date(value: str) -> datetime | None:
    try:
        stamp = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=UTC)
