"""Remove the API key and signed URLs from data, log records and tracebacks."""

from __future__ import annotations

import logging
import re
from bisect import bisect_left, bisect_right
from collections import deque
from contextvars import ContextVar
from functools import cache
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextvars import Token

__all__ = ["KeyPattern", "RedactedLogs", "Redactor", "hide_frames", "hide_url_secrets"]

_REDACTED = "***"
_OMITTED = "..."


# Text: search for the key in the original text and after each of several rounds of decoding.
#
# A regular expression with all spellings of each character was rejected. It takes 140 ms to compile
# for a key of 1,000 characters, and matches only the levels of nesting that it anticipates.

_PRINTABLE = range(0x20, 0x7F)
_MAX_DECODINGS = 8
# The maximum number of characters to examine per call, and the number of additional characters to
# read to complete a match that begins within that limit.
_MAX_CHARACTERS = 2**17
_MAX_SPELLING = 2**13

_Span: TypeAlias = tuple[int, int]


@cache
def _escape_pattern() -> re.Pattern[str]:
    """Return a pattern for one escaped character, such as ``%2F`` or ``&quot;``."""
    # Compile the pattern on first use, because most programs never redact anything. Matching takes
    # linear time, because every repetition is bounded or possessive.
    return re.compile(
        r"""
          \\\\*+ (?:                                # JSON, Python, JavaScript
              (?: x | u00 | u000000 ) (?P<backslash> [2-7][0-9a-f] )
            | u\{ 0{0,6} (?P<braces> [2-7][0-9a-f] ) \}
          )?                                      # or only backslashes
        | % (?:u00)? (?P<percent> [2-7][0-9a-f] )
        | & (?:                                   # HTML, XML
              \# x 0{0,8} (?P<hexadecimal> [2-7][0-9a-f] ) (?![0-9a-f]) ;?
            | \# 0{0,8} (?P<decimal> [1-9][0-9]{1,2} ) (?![0-9]) ;?
            | (?P<name> [a-z]{2,24} ) ;
          )
        """,
        re.VERBOSE | re.IGNORECASE,
    )


class _DecodedText:
    """A decoded text that maps each character to its position in the original text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._length = len(text)
        self._starts: Sequence[int] = range(len(text))
        self._ends: Sequence[int] = range(1, len(text) + 1)

    def find(self, spellings: Iterable[str]) -> Iterator[_Span]:
        """Yield the position of each match in the original text."""
        folded = _fold(self.text)
        for spelling in spellings:
            end = 0
            while (start := folded.find(spelling, end)) >= 0:
                end = start + len(spelling)
                yield self._starts[start], self._ends[end - 1]

    def decode_fully(self) -> Iterator[None]:
        """Decode all levels of escapes. Yield before the first one and after each."""
        yield
        for _ in range(_MAX_DECODINGS):
            if not self.decode():
                return
            yield

    def end_before(self, position: int) -> int:
        """Return the original end of the last character that ends at or before a position."""
        index = bisect_right(self._ends, position)
        return self._ends[index - 1] if index else 0

    def start_after(self, position: int) -> int:
        """Return the original start of the first character that starts at or after a position."""
        index = bisect_left(self._starts, position)
        return self._starts[index] if index < len(self._starts) else self._length

    def decode(self) -> bool:
        """Decode each escape once. Return whether any were found."""
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        done = 0
        for match in _escape_pattern().finditer(self.text):
            if (character := _decode_escape(match)) is None:
                continue
            start, end = match.span()
            parts += self.text[done:start], character
            starts += self._starts[done:start]
            ends += self._ends[done:start]
            if character:
                starts.append(self._starts[start])
                ends.append(self._ends[end - 1])
            done = end
        if not done:
            return False
        self.text = "".join([*parts, self.text[done:]])
        self._starts = [*starts, *self._starts[done:]]
        self._ends = [*ends, *self._ends[done:]]
        return True


def _decode_escape(match: re.Match[str]) -> str | None:
    """Return the decoded character, or ``None`` if the match is not an escape."""
    kind = match.lastgroup
    if kind is None:
        return ""
    if kind == "name":
        return _entities().get(match[kind])
    code = int(match[kind], 10 if kind == "decimal" else 16)
    return chr(code) if code in _PRINTABLE else None


@cache
def _entities() -> dict[str, str]:
    """Return the printable ASCII characters that have a name in HTML."""
    from html.entities import html5  # noqa: PLC0415 - imported on first use, like the pattern

    return {
        name.removesuffix(";"): character
        for name, character in html5.items()
        if len(character) == 1 and ord(character) in _PRINTABLE
    }


def _fold(text: str) -> str:
    """Normalize case and form-encoded spaces without changing the length of the text."""
    # Replace U+0130 first, because its lower-case form has two characters.
    return text.replace("\u0130", "i").lower().replace("+", " ")


def _decode_levels(text: str) -> Iterator[str]:
    """Yield a text, and the result of each further round of decoding."""
    # Without the positions of the characters, this takes a fraction of the time.
    yield text
    for _ in range(_MAX_DECODINGS):
        decoded = _escape_pattern().sub(_replace_escape, text)
        if len(decoded) == len(text):  # every escape is longer than its character
            return
        text = decoded
        yield text


def _replace_escape(match: re.Match[str]) -> str:
    character = _decode_escape(match)
    return match[0] if character is None else character


def _decode_fully(text: str) -> str:
    *_, decoded = _decode_levels(text)
    return decoded


class KeyPattern:
    """
    The spellings and the number that stand for an API key.

    :param key: the key, in printable ASCII characters.
    :param shortest: the minimum length of a key that is redacted. A shorter key might also match
        parts of ordinary words.
    """

    __slots__ = ("_begins_with_backslash", "_ends_with_backslash", "number", "spellings")

    def __init__(self, key: str, shortest: int) -> None:
        # If the key itself contains escapes or backslashes, decoding changes it. Also match its
        # decoded form, and the form in which only its backslashes have been removed.
        decoded = _DecodedText(key)
        deque(decoded.decode_fully(), maxlen=0)
        forms = (key, decoded.text, key.replace("\\", ""))
        self.spellings = frozenset(_fold(text) for text in forms if len(text) >= shortest)
        self.number = _parse_number(key) if self.spellings else None
        self._begins_with_backslash = decoded.start_after(0) > 0
        self._ends_with_backslash = decoded.end_before(len(key)) < len(key)

    def extend(self, decoded: _DecodedText, start: int, end: int) -> _Span:
        """Extend a match over the backslashes at an end of the key, which decoding removes."""
        if self._begins_with_backslash:
            start = decoded.end_before(start)
        if self._ends_with_backslash:
            end = decoded.start_after(end)
        return start, end


class Redactor:
    """
    A redactor that replaces API keys with ``***``, even if they are escaped.

    A key is matched in any case. Any of its characters may be escaped as in JSON, Python,
    JavaScript, URLs, forms, HTML or XML, in any combination and at several levels of nesting.
    A text is decoded once for all keys.
    """

    __slots__ = ("_keys", "_numbers", "_shortest", "_spellings")

    def __init__(self, keys: Iterable[KeyPattern]) -> None:
        self._keys = [key for key in keys if key.spellings]
        self._spellings = {spelling for key in self._keys for spelling in key.spellings}
        self._shortest = min(map(len, self._spellings), default=inf)
        self._numbers = {key.number for key in self._keys}

    def redact(self, value: Any) -> Any:
        """
        Redact the keys in the values, names and numbers of JSON-like data.

        Data that is nested too deeply or exceeds the size limits is omitted.
        """
        return _Walk(self).redact(value, _MAX_DEPTH)

    def redact_text(self, text: str, max_characters: int = _MAX_CHARACTERS) -> str:
        """Redact the keys in text, and omit everything after ``max_characters``."""
        if not max_characters:
            return _OMITTED
        parts: list[str] = []
        done = 0
        for start, end in self._find(text[: max_characters + _MAX_SPELLING]):
            if start >= max_characters:
                break
            if start >= done:
                parts += text[done:start], _REDACTED
            done = max(done, end)
        parts.append(text[done:max_characters])
        if len(text) > max(done, max_characters):
            parts.append(_OMITTED)
        return "".join(parts)

    def is_number(self, number: complex) -> bool:
        """Return whether a number is equal to a key or contains its digits."""
        if isinstance(number, int) and number.bit_length() > _MAX_BITS:
            return True  # Python limits the length of integers that it converts to text
        return number in self._numbers or self._contains_key(str(number))

    def _contains_key(self, text: str) -> bool:
        folded = _fold(text)
        return any(spelling in folded for spelling in self._spellings)

    def _find(self, text: str) -> list[_Span]:
        # Decoding never makes a text longer, so that a short one contains no key.
        if len(text) < self._shortest or not any(map(self._contains_key, _decode_levels(text))):
            return []
        return sorted(self._locate(text))

    def _locate(self, text: str) -> Iterator[_Span]:
        decoded = _DecodedText(text)
        spans: list[set[_Span]] = [set() for _ in self._keys]
        for _ in decoded.decode_fully():
            for key, found in zip(self._keys, spans, strict=True):
                found.update(decoded.find(key.spellings))
        for key, found in zip(self._keys, spans, strict=True):
            yield from (key.extend(decoded, start, end) for start, end in found)


def _parse_number(text: str) -> float | None:
    # The API may echo an all-digit key as a JSON number, without trailing zeros or with fewer
    # digits.
    try:
        return float(text)
    except ValueError:
        return None


# Data

_MAX_DEPTH = 100
_MAX_VALUES = 20_000
_MAX_BITS = 2_000  # 602 digits; Python's limit for converting integers is at least 640


class _Walk:
    """A traversal that redacts a limited number of values and characters."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._values = _MAX_VALUES
        self._characters = _MAX_CHARACTERS

    def redact(self, value: Any, depth: int) -> Any:
        self._values -= 1
        if isinstance(value, str):
            return self._redact_text(value)
        if isinstance(value, (bytes, bytearray)):
            return self._redact_text(value.decode("latin-1")).encode("latin-1")
        if isinstance(value, (int, float, complex)) and not isinstance(value, bool):
            return _REDACTED if self._redactor.is_number(value) else value
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            return self._redact_container(value, depth - 1) if depth else _OMITTED
        return value

    def _redact_container(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return dict(self._redact_pairs(value.items(), depth))
        items = self._redact_items(value, depth)
        return list(items) if isinstance(value, list) else tuple(items)

    def _redact_pairs(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> Iterator[Any]:
        for name, value in pairs:
            if self._values <= 0:
                yield _OMITTED, _OMITTED
                return
            yield self.redact(name, depth), self.redact(value, depth)

    def _redact_items(self, items: Iterable[Any], depth: int) -> Iterator[Any]:
        for item in items:
            if self._values <= 0:
                yield _OMITTED
                return
            yield self.redact(item, depth)

    def _redact_text(self, text: str) -> str:
        redacted = self._redactor.redact_text(text, self._characters)
        self._characters -= min(len(text), self._characters)
        return redacted


# Log records of HTTP libraries

# A filter applies only to its own logger and not to child loggers, so list every logger.
_LOGGERS = (
    "httpx",
    *(
        f"{library}.{module}"
        for library in ("httpcore2", "httpcore")
        for module in ("connection", "http11", "http2", "proxy", "socks")
    ),
    "hpack.hpack",
    "hpack.table",
)
_SOCKS_LOGIN = "setup_socks5_connection.started"
_CREDENTIALS = re.compile(r"(?<![\w/])//(?:[^/?#\s@]*+@)++")
# The function that removes the key from text. It is set while one of our requests is in progress.
_redact_current: ContextVar[Callable[[str], str] | None] = ContextVar(
    "_redact_current", default=None
)


class RedactedLogs:
    """
    A context manager that redacts httpx and httpcore log records, and drops those from hpack.

    Log records caused by other code that uses these libraries are not changed. If nothing is
    logged, the only cost is setting and resetting a context variable.

    :param redact: a function that removes the key from text.
    """

    __slots__ = ("_redact", "_token")

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._token: Token[Callable[[str], str] | None]

    def __enter__(self) -> None:
        self._token = _redact_current.set(self._redact)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _redact_current.reset(self._token)


def _redact_record(record: logging.LogRecord) -> bool:
    redact = _redact_current.get()
    if redact is None:
        return True
    if record.name.startswith("hpack."):
        return False  # it logs headers in a binary encoding, which cannot be redacted
    if _SOCKS_LOGIN in str(record.msg):
        return False  # it contains the password of the proxy
    record.msg, record.args = hide_url_secrets(redact(_format(record))), ()
    return True


def _format(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - `__str__` or `__repr__` of an argument may fail
        return str(record.msg)


def hide_url_secrets(text: str) -> str:
    """
    Remove query strings and credentials from URLs, which end at a closing quote or white space.

    This includes URLs that are not known to be signed, because any response header may contain a
    signed URL.
    """
    return _quoted_or_query_pattern().sub(_cut_query, _CREDENTIALS.sub(f"//{_REDACTED}@", text))


@cache
def _quoted_or_query_pattern() -> re.Pattern[str]:
    """
    Return a pattern for a string quoted by ``repr``, or for a query string outside one.

    A quote within a word or a path, as in "can't", begins no string. A quote that is followed by
    more of a URL ends none.
    """
    opening = r"(?:(?<![\w/])|(?<=^b)|(?<=[\s(\[{,=:]b))"
    ending = r"(?=[\s,)\]}:;.>]|$)"
    # The closing quote is optional, so that an attempt never fails and matching takes linear time.
    quoted = [
        rf"{opening}{quote}(?:[^{quote}\\]|\\.|{quote}(?!{ending}))*+{quote}?" for quote in "'\""
    ]
    return re.compile("|".join([*quoted, r"\?\S+"]), re.DOTALL)


def _cut_query(match: re.Match[str]) -> str:
    before, mark, _ = match[0].partition("?")
    return f"{before}?{_REDACTED}{before[:1]}" if mark else before


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_redact_record)


# Tracebacks

# The packages whose functions hold request headers or a response in local variables.
_HIDDEN = frozenset(
    {
        *("anyio", "asyncio", "ssl", "trio"),
        *("h11", "h2", "hpack", "httpcore", "httpcore2"),
        *("aiohttp", "httpx_aiohttp", "pyreqwest"),  # transports under the user's httpx client
        "pandium",
    }
)


def hide_frames(
    error: BaseException, outer: BaseException | None = None, *, keeps_user_code: bool = True
) -> None:
    """
    Remove frames from an error's traceback if their local variables may contain secrets.

    The secrets are in request headers, which contain the key, and in responses, which may echo it.
    The entire traceback of a cancellation is removed.

    :param error: the error to change, along with its causes and contexts.
    :param outer: the exception that the caller was already handling, which is left unchanged.
    :param keeps_user_code: whether to keep the frames of other packages and of user code. If not,
        the entire traceback is removed, because frames of an unknown transport may contain secrets.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = {id(outer)}
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        keeps = keeps_user_code and isinstance(current, Exception)
        visible = _visible_frames(current.__traceback__) if keeps else None
        # The attribute of a frozen dataclass cannot be set.
        BaseException.with_traceback(current, visible)
        pending += current.__cause__, current.__context__
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions


def _visible_frames(traceback: TracebackType | None) -> TracebackType | None:
    kept: list[TracebackType] = []
    while traceback is not None:
        if not _is_hidden(traceback):
            kept.append(traceback)
        traceback = traceback.tb_next
    result: TracebackType | None = None
    for frame in reversed(kept):
        result = TracebackType(result, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return result


def _is_hidden(traceback: TracebackType) -> bool:
    module = str(traceback.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in _HIDDEN
