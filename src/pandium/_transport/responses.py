"""Convert error responses into exceptions. Performs no I/O."""

from __future__ import annotations

import ast
import json
import re
from datetime import UTC, datetime
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

__all__ = ["error_from_response", "parse_retry_after", "shorten"]

_ERROR_CLASSES: dict[int, type[APIError]] = {
    400: BadRequest,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFound,
    422: ValidationError,
    429: RateLimited,
}
# A redirect (3xx) may be sent after the request was executed, and a 408 during its execution. A
# gateway sends 460 or 499 if a connection between two servers was closed during its execution.
_NOT_CARRIED_OUT = frozenset(range(400, 500)) - {408, 460, 499}
_MAX_MESSAGE_LENGTH = 200
_MAX_TEXT = 2000  # of a message in the text of an exception, which may be logged for each attempt
# Error bodies are untrusted, so they are read and searched only up to these sizes.
_MAX_BODY = 256 * 1024
_MAX_ENCODED = 4  # the length of a character in UTF-8, in bytes
_MAX_LITERAL = 16 * 1024
_MAX_HEADER = 1024
# A backslash, and the character after it if both are an escape in a Python literal.
_ESCAPE = re.compile(r"""\\(?P<valid>[\\'"abfnrtv0-7xuUN])?""")
# The beginning of a detail with an upstream's data, and of the detail in a body that is not JSON.
_UPSTREAM_DATA = re.compile(r"""\s*\{.*?['"]data['"]\s*:""", re.DOTALL)
_UPSTREAM_BODY = re.compile(r'"detail"\s*:\s*"\s*\{')
_NUMBER = re.compile(r"\d+(\.\d*)?", re.ASCII)
# A comma between two values, rather than the one after the weekday of a date.
_HEADER_COMMA = re.compile(r",(?!\s*\d{1,2}[\s-]+[A-Za-z])")
_MAX_RETRY_AFTER = 1e10  # seconds; a number with too many digits would become infinity


def error_from_response(  # noqa: PLR0913 - four describe the response, and four how to read it
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    is_complete: bool = True,
    is_proxied: bool,
    redact: Callable[[Any], Any],
    now: datetime,
    has_key: bool = True,
) -> APIError:
    """
    Return the error for an unsuccessful response.

    :param status: the HTTP status code.
    :param headers: the response headers.
    :param content: the response body.
    :param is_complete: whether the body was received completely.
    :param is_proxied: whether the response may be from a connector's upstream.
    :param redact: a function that removes the API key from text and JSON.
    :param now: the current time, which is needed if ``Retry-After`` is a date.
    :param has_key: whether the request contained the API key. If not, a rejection says nothing
        about the key.
    :returns: the error, without the request's method and URL.
    """
    body = _parse_body(content, redact)
    upstream = _parse_upstream_error(body, redact) if is_proxied else None
    is_unclear = is_proxied and not is_complete and status == HTTPStatus.TOO_MANY_REQUESTS
    if upstream is None and is_unclear:
        upstream = {"data": body}  # the rest of the body might show that it is the upstream's
    message = _message_from(body)
    plain_headers = redact({name.lower(): value for name, value in headers.items()})
    cls = _class_for(status) if upstream is None else ConnectorError
    if cls is AuthenticationError and not has_key:
        cls = APIError
    error = cls(
        f"{_phrase_for(status)}: {shorten(message, _MAX_TEXT)}" if message else _phrase_for(status),
        status_code=status,
        message=message,
        details=_details_from(body),
        body=body,
        headers=plain_headers,
        retry_after=parse_retry_after(plain_headers, now),
    )
    if isinstance(error, ConnectorError) and upstream is not None:
        error.data = upstream["data"]
    error.outcome_unknown = status not in _NOT_CARRIED_OUT
    return error


def shorten(text: str, length: int) -> str:
    """Return a text, of which at most so many characters are kept."""
    return text if len(text) <= length else f"{text[:length]}..."


def _class_for(status: int) -> type[APIError]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerError
    return _ERROR_CLASSES.get(status, APIError)


def _phrase_for(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _parse_body(content: bytes, redact: Callable[[Any], Any]) -> Any:
    if len(content) > _MAX_BODY:
        # Redact more than is kept, because a key that is cut in two is not found.
        text: str = redact(content[: _MAX_ENCODED * _MAX_BODY].decode(errors="replace"))
        return text[:_MAX_BODY]
    try:
        return redact(json.loads(content))
    except (ValueError, RecursionError):
        return redact(content.decode(errors="replace"))


def _message_from(body: Any) -> str:
    # The body has one of these forms:  1. {"message": str}  2. {"detail": str}
    # 3. {"detail": [{loc, msg, …}]}  4. any other
    if isinstance(body, dict):
        for name in ("message", "detail"):
            if isinstance(body.get(name), str):
                return str(body[name])
    if details := _details_from(body):
        return "; ".join(f"{'.'.join(map(str, d.loc))}: {d.msg}" for d in details)
    text = body if isinstance(body, str) else json.dumps(body)
    return " ".join(text.split())[:_MAX_MESSAGE_LENGTH]


def _details_from(body: Any) -> tuple[ErrorDetail, ...]:
    items = body.get("detail") if isinstance(body, dict) else None
    if not isinstance(items, list):
        return ()
    return tuple(_detail_from(item) for item in items if isinstance(item, dict))


def _detail_from(item: dict[str, Any]) -> ErrorDetail:
    loc = item.get("loc")
    return ErrorDetail(
        loc=tuple(loc) if isinstance(loc, list) else (),
        msg=str(item.get("msg", "")),
        type=str(item.get("type", "")),
    )


def _parse_upstream_error(body: Any, redact: Callable[[Any], Any]) -> dict[str, Any] | None:
    # The vendor documents `detail` as a "string-ified object" whose "data" is the upstream's
    # response, but does not specify whether it is JSON or a Python literal. If it cannot be parsed,
    # for example because it is too long or incomplete, the data is its text.
    if isinstance(body, str):
        return {"data": body} if _UPSTREAM_BODY.search(body) else None
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, dict) and "data" in detail:
        return {"data": detail["data"]}
    if not isinstance(detail, str):
        return None
    for parse in (json.loads, _parse_literal):
        try:
            parsed = redact(parse(detail))  # redact again, as escapes may have hidden the key
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(parsed, dict):
            return {"data": _as_json(parsed["data"])} if "data" in parsed else None
    return {"data": detail} if _UPSTREAM_DATA.match(detail) else None


def _as_json(value: Any) -> Any:
    """Convert a Python literal, whose depth has been limited, to a value that JSON supports."""
    if isinstance(value, dict):
        return {_as_text(name): _as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    is_json = value is None or isinstance(value, (str, int, float))
    return value if is_json else _as_text(value)


def _as_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _parse_literal(text: str) -> Any:
    # Python's parser needs hundreds of bytes of memory for each byte of a literal.
    if len(text) > _MAX_LITERAL:
        raise ValueError("the literal is too long")
    # An invalid escape causes a warning. `warnings.catch_warnings` is not thread-safe.
    return ast.literal_eval(_ESCAPE.sub(lambda match: match[0] if match["valid"] else r"\\", text))


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the delay in seconds from ``Retry-After``, which is a number or an HTTP date."""
    # Prefer the server's clock to the local one, which may be wrong.
    server_now = _parse_http_date(headers.get("date", "")) or now
    # httpx joins repeated headers with commas. Use the longest delay.
    values = _HEADER_COMMA.split(headers.get("retry-after", "")[:_MAX_HEADER])
    delays = (_parse_delay(value.strip(), server_now) for value in values)
    return max((delay for delay in delays if delay is not None), default=None)


def _parse_delay(value: str, now: datetime) -> float | None:
    if _NUMBER.fullmatch(value):
        return min(float(value), _MAX_RETRY_AFTER)
    until = _parse_http_date(value)
    return None if until is None else max(0.0, (until - now).total_seconds())


def _parse_http_date(value: str) -> datetime | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import, rarely needed

    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
