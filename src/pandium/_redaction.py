"""Remove the API key and signed URLs from data, log records and tracebacks."""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextvars import Token

__all__ = ["RedactedLogs", "Redactor", "hide_frames"]

_REDACTED = "***"
_OMITTED = "..."


# Text: the key is searched for in the text as it is, and after each of several decodings.
#
# A regular expression with all spellings of each character of the key was rejected: a key of 1,000
# characters takes 140 ms to compile, and only nestings that were foreseen would match.

_PRINTABLE = range(0x20, 0x7F)
_MAX_DECODINGS = 8
# How much text one call examines, and how much more to complete a key that begins within that.
_MAX_CHARACTERS = 2**17
_MAX_SPELLING = 2**13

_Span: TypeAlias = tuple[int, int]


@cache
def _escape_pattern() -> re.Pattern[str]:
    """Return a pattern for one escaped character, such as ``%2F`` or ``&quot;``."""
    # Compiled late, because most programs never redact anything. No search takes more than linear
    # time, because each repetition is bounded or possessive.
    return re.compile(
        r"""
          \\\\*+ (?:                                # JSON, Python, JavaScript
              (?: x | u00 | u000000 ) (?P<backslash> [2-7][0-9a-f] )
            | u\{ 0{0,6} (?P<braces> [2-7][0-9a-f] ) \}
          )?                                      # or mere backslashes
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
    """A text with its escapes decoded, which knows where each character was."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts: Sequence[int] = range(len(text))
        self._ends: Sequence[int] = range(1, len(text) + 1)

    def find(self, spellings: Iterable[str]) -> Iterator[_Span]:
        """Yield where the spellings are in the original text."""
        folded = _fold(self.text)
        for spelling in spellings:
            end = 0
            while (start := folded.find(spelling, end)) >= 0:
                end = start + len(spelling)
                yield self._starts[start], self._ends[end - 1]

    def decode(self) -> bool:
        """Decode each escape once. Return whether there was one."""
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
    """Return the character that is meant, or ``None`` if the match is not an escape."""
    kind = match.lastgroup
    if kind is None:
        return ""
    if kind == "name":
        return _decode_entity(match[kind])
    code = int(match[kind], 10 if kind == "decimal" else 16)
    return chr(code) if code in _PRINTABLE else None


def _decode_entity(name: str) -> str | None:
    from html.entities import html5  # noqa: PLC0415 - as late as the pattern

    character = html5.get(f"{name};", "")
    return character if len(character) == 1 and ord(character) in _PRINTABLE else None


def _fold(text: str) -> str:
    """Return text of the same length without differences of case, or of spaces in a form."""
    # The lower case of U+0130 has two characters.
    return text.replace("\u0130", "i").lower().replace("+", " ")


def _decode_fully(text: str) -> str:
    decoded = _DecodedText(text)
    for _ in range(_MAX_DECODINGS):
        if not decoded.decode():
            break
    return decoded.text


class Redactor:
    """
    Replaces a key with ``***``, however it is spelled.

    The key is found in upper or lower case, and with any of its characters escaped as in JSON,
    Python, JavaScript, URLs, forms, HTML or XML, several times over and mixed.

    :param key: the key, in printable ASCII characters.
    :param shortest: the fewest characters of a key that is redacted. A shorter key would also be
        found in ordinary words.
    """

    __slots__ = ("_number", "_spellings")

    def __init__(self, key: str, shortest: int) -> None:
        # A key that itself contains escapes also matches text in which they are decoded.
        self._spellings = frozenset(
            _fold(text) for text in (key, _decode_fully(key)) if len(text) >= shortest
        )
        self._number = _parse_number(key) if self._spellings else None

    def redact(self, value: Any) -> Any:
        """
        Return JSON-like data without the key, in values, names and numbers.

        What is nested too deeply, or comes after too many values or characters, is omitted.
        """
        return _Walk(self).redact(value, _MAX_DEPTH) if self._spellings else value

    def redact_text(self, text: str, max_characters: int = _MAX_CHARACTERS) -> str:
        """Return text without the key. What comes after ``max_characters`` is omitted."""
        if not max_characters:
            return _OMITTED
        parts: list[str] = []
        done = 0
        for start, end in sorted(self._find(text[: max_characters + _MAX_SPELLING])):
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
        """Return whether a number is the key, or contains its digits."""
        if isinstance(number, int) and number.bit_length() > _MAX_BITS:
            return True  # Python refuses to convert it to text
        return number == self._number or any(
            spelling in _fold(str(number)) for spelling in self._spellings
        )

    def _find(self, text: str) -> Iterator[_Span]:
        decoded = _DecodedText(text)
        for _ in range(_MAX_DECODINGS):
            yield from decoded.find(self._spellings)
            if not decoded.decode():
                return


def _parse_number(text: str) -> float | None:
    # As a JSON number, a key of digits may lose its last zeros, or digits beyond a double's.
    try:
        return float(text)
    except ValueError:
        return None


# Data

_MAX_DEPTH = 100
_MAX_VALUES = 20_000
_MAX_BITS = 2_000  # 602 digits: any limit of Python for converting integers is at least 640


class _Walk:
    """One walk through data, which visits a limited number of values and characters."""

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


# Log records of the libraries below

# A filter applies to the records of its own logger, and not to those of the loggers below it.
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
# Set while a request of ours is sent: the function that removes the key from text.
_redact_current: ContextVar[Callable[[str], str] | None] = ContextVar(
    "_redact_current", default=None
)


class RedactedLogs:
    """
    Redact what httpx and httpcore log within a ``with`` block, and drop what hpack logs.

    Records of other users of these libraries are unchanged. If nothing is logged, the cost is that
    of setting and resetting a context variable.

    :param redact: removes the key from text.
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
        return False  # its lines contain headers in a binary encoding, which hides nothing
    record.msg, record.args = _remove_queries(redact(_format(record))), ()
    return True


def _format(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - an argument's own `__str__` or `__repr__` may fail
        return str(record.msg)


def _remove_queries(text: str) -> str:
    """
    Remove the queries of URLs, which end with a quoted string or at white space.

    Not only those of signed URLs, because any header of a response may be or contain one.
    """
    return _quoted_or_query_pattern().sub(_cut_query, text)


@cache
def _quoted_or_query_pattern() -> re.Pattern[str]:
    """Return a pattern for a quoted string as ``repr`` writes it, or for a query outside of one."""
    # A string may lack its end, so that no search fails there: the whole takes linear time.
    return re.compile(r"""'(?:[^'\\]|\\.)*+'?|"(?:[^"\\]|\\.)*+"?|\?\S+""", re.DOTALL)


def _cut_query(match: re.Match[str]) -> str:
    before, mark, _ = match[0].partition("?")
    return f"{before}?{_REDACTED}{before[:1]}" if mark else before


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_redact_record)


# Tracebacks

# The libraries whose functions have the request's head, or a response, in local variables.
_HIDDEN = frozenset(
    {"anyio", "asyncio", "h11", "h2", "hpack", "httpcore", "httpcore2", "pandium", "ssl", "trio"}
)


def hide_frames(error: BaseException, outer: BaseException | None = None) -> None:
    """
    Remove the frames from a caught error's traceback whose local variables may be secrets.

    Those are the head of the request, which has the key, and a response, which may echo it. A
    cancellation loses all frames below the caller. Any other error keeps those of the user's code.

    :param error: the error. Its causes and contexts are changed as well.
    :param outer: the exception that the caller of the library was handling. It is not changed.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = {id(outer)}
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        is_cancellation = not isinstance(current, Exception)
        current.__traceback__ = None if is_cancellation else _visible_frames(current.__traceback__)
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
