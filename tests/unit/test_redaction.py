"""A key is redacted in every spelling, also in logs, and no traceback contains request headers."""

import html
import importlib
import json
import logging
import re
import string
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandium import _redaction
from pandium._config import KeyFunction, Secret
from pandium._redaction import KeyPattern, RedactedLogs, Redactor, hide_frames, hide_url_secrets

KEY = 'sekrit-key"0123456'

# Text


def escape_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def escape_each(form: str) -> Callable[[str], str]:
    return lambda text: "".join(form.format(ord(character)) for character in text)


ESCAPES: dict[str, Callable[[str], str]] = {
    "JSON": escape_json,
    "JSON with escaped slashes": lambda text: escape_json(text).replace("/", "\\/"),
    "JSON for HTML": lambda text: escape_json(text).replace("&", "\\u0026").replace("<", "\\u003c"),
    "JSON, each character": escape_each("\\u{:04X}"),
    "Python": lambda text: repr(text)[1:-1],
    "Python bytes": lambda text: repr(text.encode())[2:-1],
    "Python, each character": escape_each("\\x{:02x}"),
    "JavaScript, each character": escape_each("\\u{{{:x}}}"),
    "URL": lambda text: quote(text, safe=""),
    "URL in lower case": lambda text: re.sub("%..", lambda m: m[0].lower(), quote(text, safe="")),
    "URL, each character": escape_each("%{:02X}"),
    "JavaScript's escape()": escape_each("%u{:04X}"),
    "form": quote_plus,
    "HTML": html.escape,
    "HTML, decimal": escape_each("&#{};"),
    "HTML, padded": escape_each("&#00{};"),
    "HTML, hexadecimal": escape_each("&#x{:X};"),
    "upper case": str.upper,
    "lower case": str.lower,
}
# Text that resembles an escape is more frequent here than among all printable characters.
CHARACTERS = st.sampled_from(string.ascii_letters + string.digits + string.punctuation)


def is_periodic(key: str) -> bool:
    """Return whether a key may also be found a few characters before its place, as in 9999."""
    folded = _redaction._fold(key)
    return any(folded.startswith(folded[shift:]) for shift in range(1, len(key) // 2 + 1))


KEYS = st.text(CHARACTERS | st.sampled_from("\\%&\"'/+#;xu025"), min_size=8, max_size=40).filter(
    lambda key: len(_redaction._decode_fully(key)) >= 8 and not is_periodic(key)
)
BACKSLASHES = ("\\", "%5c", "%5C")  # as in the keys above
AROUND = st.sampled_from(
    [("", ""), ("bad key: ", "!"), ("<b>", "</b>"), ('{"a":"', '"}'), ("é", "鍵")]
)


# The same keys in every run, so that a failure is found at once or not at all.
@settings(derandomize=True, deadline=None)
@given(key=KEYS, chain=st.lists(st.sampled_from(sorted(ESCAPES)), max_size=4), around=AROUND)
@example(KEY, ["JSON"] * 4, ("", ""))
@example("back\\slash\\\\0123456", ["JSON"] * 3, ("", ""))
@example("solidus/0123456789", ["JSON with escaped slashes", "JSON"], ("", ""))
@example("quotes'\"'\"0123456", ["Python", "Python"], ("", ""))
@example("ampers&nd<0123456>", ["HTML"] * 4, ("", ""))
@example("ampers&nd<0123456>", ["HTML", "JSON for HTML", "URL"], ("", ""))
@example("percent%41%2541%25xyz", ["URL"] * 3, ("", ""))
@example("enti&amp;ty&#65;&lt0123", ["HTML"] * 2, ("", ""))
@example("unicode\\u0041\\x41012345", ["JSON"] * 2, ("", ""))
@example("plus+and space0123", ["form", "URL"], ("", ""))
@example("4142434445464748", ["URL, each character"], ("100%", ""))
@example('"0000000', ["JSON", "HTML, decimal"], ("", ""))
def test_a_key_is_redacted_in_every_spelling(
    key: str, chain: list[str], around: tuple[str, str]
) -> None:
    """A key is redacted at any level of escaping and in upper or lower case."""
    before, after = around
    spelled = key
    for name in chain:
        before, spelled, after = (ESCAPES[name](text) for text in (before, spelled, after))
    redacted = Secret(key).redact(before + spelled + after)
    # A backslash before the key may belong to the text, and so may one after a key that ends with
    # a backslash. Decoding removes both.
    decoded = [_redaction._decode_fully(text) for text in (before, redacted, after)]
    assert decoded[1] == f"{decoded[0]}***{decoded[2]}"
    assert redacted.startswith(before)
    assert redacted.endswith(after) or key.endswith(BACKSLASHES)


@settings(derandomize=True, deadline=None)
@given(
    key=KEYS.filter(lambda key: _redaction._decode_fully(key) == key.strip("\\")),
    choices=st.lists(st.sampled_from(sorted(ESCAPES)), min_size=42, max_size=42),
    is_between_backslashes=st.booleans(),
)
@example(key="RN&{2345", choices=["URL"] * 42, is_between_backslashes=True)
def test_a_key_is_redacted_if_each_character_is_escaped_differently(
    key: str,
    choices: list[str],
    is_between_backslashes: bool,  # noqa: FBT001
) -> None:
    """The characters of a key may be escaped in different ways."""
    if is_between_backslashes:
        key = f"\\{key}\\"
    spelled = "".join(
        ESCAPES[name](character) for name, character in zip(choices, key, strict=False)
    )
    assert Secret(key).redact(spelled).lstrip("\\") == "***"


@pytest.mark.parametrize(
    "spelled",
    [
        "\\key-0123456\\",
        "&#92;key-0123456&#92;",
        "&amp;#92;key-0123456&amp;#92;",
        "&amp;amp;#x5C;key-0123456&amp;amp;bsol;",
        "%5Ckey-0123456%255C",
        "\\u005ckey-0123456\\\\x5c",
        "\\key-0123456%5C",
        "%5Ckey-0123456\\",
    ],
)
def test_the_backslashes_of_a_key_are_redacted_with_it(spelled: str) -> None:
    """A backslash at the beginning or end of a key is redacted in every spelling."""
    assert Secret("\\key-0123456\\").redact(f"<{spelled}>") == "<***>"


def test_an_escape_in_a_key_may_be_broken_up() -> None:
    """A key that contains an escape is redacted if only a part of that escape is escaped."""
    assert Secret("a\\x41-0123456").redact("a\\&#120;41-0123456") == "***"


@given(text=st.text(st.characters(exclude_characters="*")), key=KEYS)
@example("C:\\new\\u0041%41&amp;&bogus;&#10;+%00%ff", KEY)
@example("İİİ ẞ \ud800", KEY)
def test_other_text_is_unchanged(text: str, key: str) -> None:
    """Text without the key is unchanged, even if it contains escapes."""
    decoded = _redaction._fold(_redaction._decode_fully(text))
    if _redaction._fold(_redaction._decode_fully(key)) not in decoded:
        assert Secret(key).redact(text) == text


def test_the_place_of_a_key_is_exact() -> None:
    """Only the key is replaced. The escapes around it remain unchanged."""
    text = f'\\u0130İ%20{{\\"a\\": \\"{escape_json(escape_json(KEY))}\\"}} &lt;{KEY}&gt;'
    assert Secret(KEY).redact(text) == '\\u0130İ%20{\\"a\\": \\"***\\"} &lt;***&gt;'


def repeats_in(parts: Any) -> Iterator[tuple[str, int, Any]]:
    """Yield the kind, the maximum and the contents of each repetition in a parsed pattern."""
    for part in parts if isinstance(parts, (list, tuple)) or hasattr(parts, "data") else ():
        if isinstance(part, tuple) and str(part[0]).endswith("REPEAT"):
            yield str(part[0]), part[1][1], part[1][2]
        yield from repeats_in(part)


def test_no_search_for_escapes_can_backtrack_without_bounds() -> None:
    """Each repetition in the pattern is possessive or bounded and contains no other repetition."""
    parser: Any = importlib.import_module("re._parser")  # not exposed by `re`
    pattern = _redaction._escape_pattern()
    repeats = list(repeats_in(parser.parse(pattern.pattern, pattern.flags)))
    assert len(repeats) > 5
    for kind, maximum, parts in repeats:
        assert kind == "POSSESSIVE_REPEAT" or maximum <= 24
        assert maximum == 1 or not list(repeats_in(parts))


HOSTILE = [
    *("\\", "%", "&", "+", "\\u", "\\u00", "\\u{0", "%u00", "&#", "&#0", "&#x0", "&amp", "&amp;"),
    *(
        "%25",
        "%2525",
        "%73",
        "&#115;",
        "\\u0073",
        "\\\\\\",
        "&" + "a" * 24,
        "s",
        "se",
        "sekrit-key",
    ),
    *('sekrit-key"', "sekrit-key\\", "sekrit-key%22", "&amp;amp;amp;", "\\u0026amp;", "0", "%\\&"),
]


class CountingPattern:
    """The pattern of escapes, which counts the characters and the matches that it examines."""

    def __init__(self) -> None:
        self.steps = 0
        self._pattern = _redaction._escape_pattern()

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        self.steps += len(text)
        for match in self._pattern.finditer(text):
            self.steps += 1
            yield match

    def sub(self, replace: Callable[[re.Match[str]], str], text: str) -> str:
        self.steps += len(text) + len(self._pattern.findall(text))
        return self._pattern.sub(replace, text)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> CountingPattern:
    pattern = CountingPattern()
    monkeypatch.setattr(_redaction, "_escape_pattern", lambda: pattern)
    return pattern


@pytest.mark.parametrize("part", HOSTILE)
@pytest.mark.parametrize("key", [KEY, "s" * 40])
def test_a_megabyte_of_hostile_text_takes_linear_steps(
    part: str, key: str, counting: CountingPattern
) -> None:
    """At most 8 levels of bounded text are examined in a megabyte that resembles the key."""
    secret = Secret(key)
    secret.redact("")  # this decodes the key
    counting.steps = 0
    redacted = secret.redact(part * (2**20 // len(part)))
    examined = _redaction._MAX_CHARACTERS + _redaction._MAX_SPELLING
    # Once to find out whether the text contains the key, and once more to locate it.
    assert counting.steps <= 2 * 2 * 8 * examined
    assert len(redacted) <= _redaction._MAX_CHARACTERS + len("...")
    assert redacted.endswith("...")


@pytest.mark.parametrize("text", [html.escape(KEY) * 100, "&lt;%2541\\u0041" * 100])
def test_a_text_is_decoded_once_for_all_keys(text: str, counting: CountingPattern) -> None:
    """The keys that a function returned earlier do not multiply the work of redaction."""
    one, many = KeyFunction(str), KeyFunction(str)
    secrets = [Secret(KEY), *(Secret(f"{KEY}-{i}") for i in range(50))]
    one.accept(secrets[0])
    for secret in secrets:
        many.accept(secret)
    steps = []
    for keys in (one, many):
        keys.redact("")  # this decodes the keys
        counting.steps = 0
        redacted = keys.redact(text)
        steps.append((counting.steps, redacted))
    assert steps[0] == steps[1]
    assert steps[0][0] >= len(text)


def test_all_keys_are_redacted_in_one_text() -> None:
    """Each of several keys is redacted, also if a key contains or overlaps another one."""
    keys = KeyFunction(str)
    secrets = [Secret(key) for key in ("abcdefgh", "efghijkl", "abcdefghijklmnop", "\\12345678")]
    for secret in secrets:
        keys.accept(secret)
    text = "<abcdefgh efghijkl abcdefghijkl ABCDEFGHIJKLMNOP %5c12345678 12345678 &#97;bcdefgh>"
    assert keys.redact(text) == "<*** *** *** *** *** *** ***>"
    assert keys.redact([12345678, 87654321]) == ["***", 87654321]


@pytest.mark.parametrize("offset", range(-40, 4))
@pytest.mark.parametrize("spelled", [KEY, escape_json(KEY), quote(quote(KEY))])
def test_a_key_across_the_end_of_what_is_examined_is_redacted(spelled: str, offset: int) -> None:
    """Text is cut after the search, so that no part of a key remains at the end."""
    redacted = Redactor([KeyPattern(KEY, 8)]).redact_text(
        "-" * (100 + offset) + spelled + "-" * 100, 100
    )
    assert "sekrit"[:1] not in redacted
    assert len(redacted) <= 100 + len("***...")


# Data


@pytest.mark.parametrize("key", ["12345678", "12345678.90", "123456789012345678901234", "9" * 40])
@pytest.mark.parametrize("form", ["{}", "-{}", "[{}]", '{{"a": {}}}', "1{}", "{}0"])
def test_a_key_of_digits_is_redacted_in_numbers(key: str, form: str) -> None:
    """A number that contains the digits of the key is redacted."""
    redacted = str(Secret(key).redact(json.loads(form.format(key))))
    assert "***" in redacted or "." in key
    assert key.rstrip("0") not in redacted or form in ("-{}", "1{}", "{}0")


def test_a_number_that_cannot_be_converted_to_text_is_redacted() -> None:
    """An integer with more digits than Python converts is redacted, in case it contains the key."""
    assert Secret("12345678").redact([10**5000, -(10**5000), 10**600 + 1]) == [
        "***",
        "***",
        10**600 + 1,
    ]


def test_a_key_is_redacted_in_each_type_of_data() -> None:
    """Names, tuples, sets and bytes, as in a Python literal, are redacted."""
    data = {KEY: (KEY, {KEY}), b"a": KEY.encode(), (KEY,): [True, None, 1, 1.5]}
    redacted = {"***": ("***", ("***",)), b"a": b"***", ("***",): [True, None, 1, 1.5]}
    assert Secret(KEY).redact(data) == redacted


def nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize("key", ["short", KEY])
def test_data_is_limited_even_if_the_key_is_too_short_to_be_redacted(key: str) -> None:
    """The limits on depth and size apply with any key."""
    redacted = Secret(key).redact([nested("x", 1_000), "y" * 2**20])
    assert len(json.dumps(redacted)) < 2 * _redaction._MAX_CHARACTERS


@pytest.mark.parametrize("depth", [49, 50, 51, 1_000, 100_000])
def test_data_of_any_depth_is_redacted(depth: int) -> None:
    """Data that is nested too deeply is omitted without an error."""
    redacted = Secret(KEY).redact(nested(KEY, depth))
    text = json.dumps(redacted)
    assert KEY not in text
    assert ("***" in text) is (depth <= 50)
    assert ("..." in text) is (depth > 50)


@pytest.mark.parametrize(
    "data",
    [
        ["x"] * 2**20,
        {str(i): i for i in range(2**20)},
        [["x"] * 2**10] * 2**10,
        ["x" * 2**12] * 2**10,
    ],
    ids=["list", "dict", "lists", "texts"],
)
def test_data_of_any_size_is_redacted_within_bounds(data: Any) -> None:
    """Data beyond the limits on values and characters is omitted."""
    redacted = json.dumps(Secret(KEY).redact(data))
    assert '"..."' in redacted
    assert len(redacted) < 2 * _redaction._MAX_CHARACTERS + 32 * _redaction._MAX_VALUES


class Failing(str):
    """A string that raises an error when it is examined."""

    __slots__ = ()

    def __getitem__(self, _: Any) -> Any:
        raise MemoryError("no memory")


def test_an_error_while_redacting_shows_nothing() -> None:
    """If redaction fails, no library frame has the key or the data in a local variable."""
    value = [Failing(KEY)]
    with pytest.raises(MemoryError) as caught:
        Secret(KEY).redact(value)
    assert_no_frame_has(KEY, caught.value)


def assert_no_frame_has(key: str, error: BaseException) -> None:
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in shown.stack if frame.filename != __file__]
    for frame in frames:
        assert not [name for name, text in (frame.locals or {}).items() if key in text], frame


# Log records


class Recorder(logging.Handler):
    """A handler that stores the message of each record."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def recorded(*names: str) -> Iterator[list[str]]:
    recorder = Recorder()
    loggers = [logging.getLogger(name) for name in names]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.addHandler(recorder)
        log.setLevel(logging.DEBUG)
    try:
        yield recorder.lines
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.removeHandler(recorder)
            log.setLevel(level)


HTTPCORE = "httpcore2.http11"
SIGNED = "https://storage.example/run.log?X-Amz-Signature=SIGNATURE"


@pytest.mark.parametrize(
    "location",
    [
        SIGNED,
        SIGNED + "&a=b'c",
        SIGNED.replace("?", "?filename=a b.log&"),
        SIGNED.replace("?", "?filename='a \"b\".log'&"),
        "/run.log?X-Amz-Signature=SIGNATURE",
        "?SIGNATURE",
        "https://storage.example/a\\b?c\\&SIGNATURE",
    ],
)
def test_no_signed_url_is_logged_whole(location: str) -> None:
    """The query of a URL in httpcore's log is redacted, whatever characters it contains."""
    headers = [(b"Location", location.encode()), (b"Content-Length", b"0")]
    with recorded(HTTPCORE) as lines, RedactedLogs(Secret(KEY).redact):
        line = f"receive_response_headers.complete return_value=(b'HTTP/1.1', 307, b'T', {headers})"
        logging.getLogger(HTTPCORE).debug(line)
    assert "SIGNATURE" not in lines[0]
    assert "?***" in lines[0]
    assert lines[0].endswith(", (b'Content-Length', b'0')])")


QUOTED = "https://storage.example/Bob's/b'/run.log?filename='run.log',a&b='c'&SIGNATURE"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"can't connect to {QUOTED}",
            "can't connect to https://storage.example/Bob's/b'/run.log?***",
        ),
        (f"GET {QUOTED} failed", "GET https://storage.example/Bob's/b'/run.log?*** failed"),
        (repr(QUOTED), "\"https://storage.example/Bob's/b'/run.log?***\""),
        (f"url={QUOTED!r}, more", "url=\"https://storage.example/Bob's/b'/run.log?***\", more"),
        (repr(f'{QUOTED}"'), "'https://storage.example/Bob\\'s/b\\'/run.log?***'"),
        ("isn't it? 'a?b c' [b'd? e']", "isn't it? 'a?***' [b'd?***']"),
    ],
)
def test_an_apostrophe_does_not_protect_a_query(text: str, expected: str) -> None:
    """Only the quotes around a whole URL delimit it."""
    assert hide_url_secrets(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ann:sekrit@storage.example/run.log", "https://***@storage.example/run.log"),
        (repr([(b"Location", b"https://ann:s@h/a?b")]), "[(b'Location', b'https://***@h/a?***')]"),
        ("https://ann@corp:p@ss@storage.example/", "https://***@storage.example/"),
        ('https://ann:s"e<c>r@storage.example/', "https://***@storage.example/"),
        ('{"u": "https://h", "email": "a@b"}', '{"u": "https://h", "email": "a@b"}'),
        ("https://storage.example/a@b", "https://storage.example/a@b"),
        ("https://storage.example/a//b@c", "https://storage.example/a//b@c"),
        ("ann@example.com, //ann:s@b", "ann@example.com, //***@b"),
        ("https://ann:it's@storage.example/", "https://***@storage.example/"),
    ],
)
def test_the_credentials_in_a_url_are_hidden(text: str, expected: str) -> None:
    """A URL that a server sends may contain a user name and a password."""
    assert hide_url_secrets(text) == expected


@pytest.mark.parametrize("name", [HTTPCORE, "httpcore.http2", "httpcore2.proxy", "httpx"])
def test_an_echoed_key_is_not_logged(name: str) -> None:
    """The key is redacted in messages and arguments logged by the underlying libraries."""
    with recorded(name) as lines, RedactedLogs(Secret(KEY).redact):
        logging.getLogger(name).info("%r and %s", KEY.encode(), KEY)
        logging.getLogger(name).info("headers=" + repr([(b"X-Echo", KEY.encode())]))  # noqa: G003 - as in httpcore
    assert lines == ["b'***' and ***", "headers=[(b'X-Echo', b'***')]"]


def test_the_log_of_others_is_unchanged() -> None:
    """Records from other users of httpcore and from other loggers are unchanged."""
    redact = Secret(KEY).redact
    with recorded(HTTPCORE, "another") as lines:
        with RedactedLogs(redact):
            logging.getLogger("another").debug("%s", SIGNED)
            with RedactedLogs(redact):
                pass
            logging.getLogger(HTTPCORE).debug("%s", SIGNED)
        logging.getLogger(HTTPCORE).debug("%s %s", SIGNED, KEY)
    assert lines == [SIGNED, f"{SIGNED.partition('?')[0]}?***", f"{SIGNED} {KEY}"]


def test_a_request_of_httpx_is_logged_without_its_query() -> None:
    """The httpx log line for a request contains neither the query nor an echoed key."""
    url = httpx.URL(SIGNED)
    with recorded("httpx") as lines, RedactedLogs(Secret(KEY).redact):
        logging.getLogger("httpx").info('HTTP Request: GET %s "%d %s"', url, 400, KEY)
    assert lines == ['HTTP Request: GET https://storage.example/run.log?*** "400 ***"']


def test_headers_of_http2_are_not_logged() -> None:
    """Records from hpack, which contain the headers in a binary encoding, are dropped."""
    with recorded("hpack.hpack", "hpack.table") as lines:
        with RedactedLogs(Secret(KEY).redact):
            logging.getLogger("hpack.hpack").debug("Adding %s", (b"x-api-key", b"..."))
            logging.getLogger("hpack.table").debug("Added %s", (b"x-api-key", b"..."))
        logging.getLogger("hpack.hpack").debug("Adding another's")
    assert lines == ["Adding another's"]


def test_a_record_that_cannot_be_formatted_is_redacted() -> None:
    """A message with the wrong arguments is logged without them."""
    with recorded(HTTPCORE) as lines, RedactedLogs(Secret(KEY).redact):
        logging.getLogger(HTTPCORE).debug(KEY + " %d", SIGNED)  # noqa: G003 - as httpcore does
    assert lines == ["*** %d"]


@pytest.mark.parametrize("part", ["'", '"', "\\'", "'\\", "?", "'?", "\"'"])
def test_a_megabyte_of_quotes_is_logged_in_linear_time(part: str) -> None:
    """No record makes the search for queries scan the same text repeatedly."""
    # One match consumes each quoted string, closed or not.
    text = part * (2**20 // len(part))
    matches = [match.span() for match in _redaction._quoted_or_query_pattern().finditer(text)]
    assert sum(end - start for start, end in matches) <= len(text)
    with recorded(HTTPCORE) as lines, RedactedLogs(Secret(KEY).redact):
        logging.getLogger(HTTPCORE).debug(text)
    assert len(lines[0]) <= 4 * _redaction._MAX_CHARACTERS


# Tracebacks


def call_in(module: str, function: Callable[[], object]) -> None:
    """Call a function from a frame of another module, with the key in a local variable."""
    source = "def run(function):\n    head = 'sekrit-key' + '\"0123456'\n    function()\n"
    namespace: dict[str, Any] = {"__name__": module}
    exec(source, namespace)
    namespace["run"](function)


def raise_it(error: BaseException) -> None:
    raise error


def raise_from(error: BaseException, cause: BaseException) -> None:
    try:
        call_in("anyio._backends", lambda: raise_it(cause))
    except BaseException as caught:
        raise error from caught


def frames_of(error: BaseException) -> list[str]:
    return [frame.tb_frame.f_globals["__name__"] for frame in walk(error)]


def walk(error: BaseException) -> Iterator[Any]:
    position = error.__traceback__
    while position is not None:
        yield position
        position = position.tb_next


def caught_by(raising: Callable[[], object], outer: BaseException | None = None) -> BaseException:
    """Return the error after a handler has removed frames from it."""

    def handle() -> None:
        try:
            raising()
        except BaseException as error:
            hide_frames(error, outer)
            raise

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - the test raises errors of many classes
        handle()
    return caught.value


@pytest.mark.parametrize(
    "module",
    ["httpcore2._async.http11", "h11", "anyio._core", "aiohttp.client", "pandium._http.body"],
)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError, OSError])
def test_frames_of_lower_libraries_are_hidden(module: str, kind: type[BaseException]) -> None:
    """No traceback contains frames of a library that handles the request headers."""
    error = caught_by(lambda: call_in(module, lambda: raise_it(kind())))
    assert module not in frames_of(error)
    assert_no_frame_has("sekrit-key", error)


def test_an_error_of_the_users_code_keeps_its_frames() -> None:
    """The frames of a user's hook remain in the traceback, with their line numbers."""
    error = caught_by(lambda: call_in("users.hooks", lambda: raise_it(ValueError())))
    names = frames_of(error)
    assert names.count("users.hooks") == 1
    assert list(walk(error))[-1].tb_frame.f_code.co_name == "raise_it"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)]
    assert raise_it.__code__.co_firstlineno + 1 == lines[-1]


def test_causes_contexts_and_groups_are_covered() -> None:
    """Frames are also removed from the causes, contexts and members of an error."""
    member, cause = OSError("a"), OSError("b")
    with suppress(OSError):
        call_in("trio", lambda: raise_it(member))
    error = caught_by(lambda: raise_from(ExceptionGroup("c", [member]), cause))
    assert "anyio._backends" not in frames_of(cause)
    assert "trio" not in frames_of(member)
    assert error.__cause__ is cause


def test_what_the_caller_is_handling_is_unchanged() -> None:
    """The exception that the caller was handling keeps its frames."""
    outer = ValueError()
    try:
        call_in("asyncio", lambda: raise_it(outer))
    except ValueError:
        error = caught_by(lambda: call_in("h11", lambda: raise_it(OSError())), sys.exception())
    assert error.__context__ is outer
    assert "asyncio" in frames_of(outer)


def test_a_key_that_is_escaped_itself_is_redacted() -> None:
    """A key that consists of more levels of escapes than are decoded is redacted."""
    spelled = f"%{'25' * 9}{KEY}"
    assert Secret(spelled).redact(f"a {spelled} b") == "a *** b"


@pytest.mark.parametrize("levels", range(10))
def test_eight_levels_of_escapes_are_decoded(levels: int) -> None:
    """A key is redacted in a text that was escaped up to eight times, and not more often."""
    text = KEY
    for _ in range(levels):
        text = quote(text, safe="")
    assert Secret(KEY).redact(text) == ("***" if levels <= 8 else text)


def test_text_with_more_levels_of_escapes_than_are_decoded_is_redacted_in_part() -> None:
    """Decoding stops after eight levels. Keys found up to that point are redacted."""
    deep = KEY
    for _ in range(12):
        deep = quote(deep, safe="")
    redacted = Secret(KEY).redact(f"{KEY} and {deep}")
    assert redacted.startswith("*** and ")
    with RedactedLogs(Secret(KEY).redact):
        logging.getLogger("httpx").info("HTTP Request: %s", f"https://x/?{deep}")
