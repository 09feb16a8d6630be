"""The configuration of a client: precedence, validation, and a key that is never shown."""

import copy
import inspect
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import pandium
from pandium import AsyncPandium, ConfigurationError, Pandium, PandiumError
from pandium._config import Config, Secret, resolve

PRODUCTION = "https://api.pandium.io"
SANDBOX = "https://api.sandbox.pandium.com"
KEY = "k3y-0f-th3-t3st"
LIBRARY = str(Path(pandium.__file__).parent)
VARIABLES = ("PANDIUM_API_KEY", "PANDIUM_ENV", "PANDIUM_BASE_URL")

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=80)
BAD_CHARACTERS = ["\r", "\n", "\t", "\0", "\x1b", "\x7f", "\x85", "é", "鍵", "\u200b", "\ud800"]


def resolve_with(api_key: Any, environment: Any, base_url: Any) -> Config:
    return resolve(Secret(api_key), environment, base_url)


def error_for(
    api_key: Any = KEY, environment: Any = None, base_url: Any = None
) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        resolve_with(api_key, environment, base_url)
    return caught.value


def base_url_for(environment: str | None = None, base_url: str | None = None) -> str:
    return resolve_with(KEY, environment, base_url).base_url


# Precedence


def test_production_is_the_default() -> None:
    """Without arguments or variables, requests go to the production host."""
    assert base_url_for() == PRODUCTION


@pytest.mark.parametrize(("name", "host"), [("production", PRODUCTION), ("sandbox", SANDBOX)])
def test_an_environment_selects_its_host(
    name: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each environment selects the vendor's host, both as an argument and as a variable."""
    assert base_url_for(environment=name) == host
    monkeypatch.setenv("PANDIUM_ENV", name)
    assert base_url_for() == host


def test_the_key_argument_overrides_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """``api_key`` overrides ``PANDIUM_API_KEY``, which is used if there is no argument."""
    monkeypatch.setenv("PANDIUM_API_KEY", "key-from-the-variable")
    assert revealed_key(KEY) == KEY
    assert revealed_key(None) == "key-from-the-variable"


def test_an_empty_key_argument_does_not_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty ``api_key`` is an error, even if the variable contains a key."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    assert str(error_for("")) == "api_key must not be empty"


def test_the_environment_argument_overrides_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """``environment`` overrides both ``PANDIUM_ENV`` and ``PANDIUM_BASE_URL``."""
    monkeypatch.setenv("PANDIUM_ENV", "production")
    assert base_url_for(environment="sandbox") == SANDBOX
    monkeypatch.setenv("PANDIUM_BASE_URL", "https://variable.example")
    assert base_url_for(environment="sandbox") == SANDBOX


def test_the_base_url_argument_overrides_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """``base_url`` overrides ``environment`` and all variables."""
    monkeypatch.setenv("PANDIUM_ENV", "sandbox")
    monkeypatch.setenv("PANDIUM_BASE_URL", "https://variable.example")
    assert base_url_for(base_url="https://argument.example") == "https://argument.example"
    assert base_url_for("sandbox", "https://argument.example") == "https://argument.example"


def test_the_base_url_variable_overrides_the_environment_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``PANDIUM_BASE_URL`` overrides ``PANDIUM_ENV``."""
    monkeypatch.setenv("PANDIUM_ENV", "sandbox")
    monkeypatch.setenv("PANDIUM_BASE_URL", " https://variable.example\n")
    assert base_url_for() == "https://variable.example"


@pytest.mark.parametrize("blank", ["", " ", "\n", " \t\r\n "])
def test_a_blank_variable_counts_as_unset(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that contains only white space counts as unset."""
    for name in VARIABLES:
        monkeypatch.setenv(name, blank)
    assert base_url_for() == PRODUCTION
    assert str(error_for(None)) == "no API key: pass api_key or set PANDIUM_API_KEY"


def test_no_variable_has_to_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing variable is treated like an empty one."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert base_url_for() == PRODUCTION
    assert str(error_for(None)) == "no API key: pass api_key or set PANDIUM_API_KEY"


def test_a_client_can_be_configured_by_variables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without arguments is configured from the variables."""
    monkeypatch.setenv("PANDIUM_API_KEY", f"{KEY}\n")
    monkeypatch.setenv("PANDIUM_ENV", "sandbox\n")
    assert repr(AsyncPandium()) == f"AsyncPandium(base_url={SANDBOX!r})"
    monkeypatch.setenv("PANDIUM_BASE_URL", "http://127.0.0.1:8080/")
    assert repr(AsyncPandium()) == "AsyncPandium(base_url='http://127.0.0.1:8080')"


# Keys


def revealed_key(argument: str | None) -> str:
    """Return the key of a configuration in plain text."""
    key = resolve_with(argument, None, None).api_key
    assert isinstance(key, Secret)
    return key.reveal()


@given(key=KEYS, before=st.text(" \t\r\n\x0b\x0c"), after=st.text(" \t\r\n\x0b\x0c"))
def test_white_space_around_a_key_is_stripped(key: str, before: str, after: str) -> None:
    """White space around a key is stripped, regardless of its source."""
    assert revealed_key(before + key + after) == key
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PANDIUM_API_KEY", before + key + after)
        assert revealed_key(None) == key


@pytest.mark.parametrize("key", ["", " ", "\n", "\t \r\n"])
def test_an_empty_key_is_rejected(key: str) -> None:
    """A key that contains only white space is rejected, and the error names the argument."""
    assert str(error_for(key)) == "api_key must not be empty"


@pytest.mark.parametrize("key", [5, b"key-in-bytes", ["key"], Secret(KEY)])
def test_a_key_that_is_not_a_string_is_rejected(key: object) -> None:
    """A key of another type is rejected. The error names the type, not the key."""
    assert str(error_for(key)) == f"api_key must be a string, not {type(key).__name__}"


@pytest.mark.parametrize("character", BAD_CHARACTERS)
def test_a_key_with_unsendable_characters_is_rejected(character: str) -> None:
    """A key that contains control or non-ASCII characters is rejected."""
    text = "api_key must contain only printable ASCII characters"
    assert str(error_for(f"{KEY[:4]}{character}{KEY[4:]}")) == text


@pytest.mark.parametrize("key", ["pässword", "a\x1bb", "a\tb"])
def test_an_invalid_key_in_the_variable_is_rejected_by_its_name(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error for an invalid key in the variable names the variable."""
    monkeypatch.setenv("PANDIUM_API_KEY", key)
    assert str(error_for(None)) == "PANDIUM_API_KEY must contain only printable ASCII characters"


@given(key=KEYS, bad=st.sampled_from(BAD_CHARACTERS))
def test_an_error_never_shows_an_invalid_key(key: str, bad: str) -> None:
    """No text, repr, attribute or chained exception of a key error contains the key."""
    error = error_for(key[:4] + bad + key[4:])
    assert (error.__cause__, error.__context__) == (None, None)
    text = "api_key must contain only printable ASCII characters"
    assert (str(error), repr(error)) == (text, f"ConfigurationError({text!r})")
    assert (error.args, error.__dict__) == ((text,), {})


def texts_with(key: str) -> list[str]:
    config = resolve_with(key, None, None)
    client = AsyncPandium(key)
    values = [config.api_key, config, client, client.tenants, client.runs, client.connectors]
    return [text for value in values for text in (repr(value), str(value), f"{value}")]


@given(key=KEYS)
@example(key="%s{0}'\"\\")
def test_a_key_is_in_no_repr(key: str) -> None:
    """The repr of a secret, configuration, client or resource does not depend on the key."""
    assert texts_with(key) == texts_with(KEY)
    assert KEY not in "".join(texts_with(KEY))


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (KEY + "\x00", {}),
        (KEY, {"base_url": "ftp://example.com"}),
        (KEY, {"base_url": "https://[v1.x]"}),
        (KEY, {"base_url": "https://xn--.example"}),
        (KEY, {"environment": "staging"}),
        (KEY, {"timeout": 0}),
    ],
)
def test_no_frame_of_the_library_shows_the_key(key: str, options: dict[str, Any]) -> None:
    """A traceback with local variables does not show the key in the library's frames."""
    try:
        AsyncPandium(key, **options)
    except ConfigurationError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in shown.stack if frame.filename != __file__]
    assert frames
    assert all(KEY not in text for frame in frames for text in (frame.locals or {}).values())


@pytest.mark.parametrize("cls", [AsyncPandium, Pandium])
def test_the_arguments_of_each_frame_can_be_shown(cls: type[AsyncPandium | Pandium]) -> None:
    """Crash reporters that show the arguments of each frame work, and do not show the key."""
    with pytest.raises(ConfigurationError) as caught:
        cls(KEY, timeout=-1)
    for frame, _ in list(traceback.walk_tb(caught.value.__traceback__))[1:]:
        assert KEY not in inspect.formatargvalues(*inspect.getargvalues(frame))


def call_at_depth(depth: int, function: Callable[[], object]) -> None:
    """Call a function at a given stack depth."""
    if depth:
        call_at_depth(depth - 1, function)
    else:
        function()


def leaks_in(error: BaseException) -> Iterator[str]:
    """Yield each local variable that shows the key in the library's frames."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(LIBRARY):
            for name, value in [*frame.f_locals.items()]:
                with suppress(Exception):  # an object that is not yet complete has no repr
                    if KEY in repr(value):
                        yield f"{frame.f_code.co_filename}:{line}: {name}"


@pytest.mark.skipif(
    sys.gettrace() is not None, reason="a tracer's own frames reach the recursion limit first"
)
@pytest.mark.parametrize(
    "function",
    [lambda: AsyncPandium(KEY), AsyncPandium, lambda: Secret(KEY).redact([KEY, f"%20{KEY}"])],
    ids=["argument", "variable", "redact"],
)
def test_no_frame_shows_the_key_if_the_stack_is_exhausted(
    function: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the recursion limit is reached, no library frame contains the key."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    available = sys.getrecursionlimit() - len(inspect.stack(0))
    caught = []
    for free in range(2, 40):
        try:
            call_at_depth(available - free, function)
        except Exception as error:  # noqa: BLE001 - other code may catch a RecursionError
            caught.append(error)
    assert caught
    assert [leak for error in caught for leak in leaks_in(error)] == []


def test_a_secret_cannot_be_pickled_or_copied() -> None:
    """A secret cannot be pickled or copied, alone or within a configuration."""
    config = resolve_with(KEY, None, None)
    values: list[Any] = [config.api_key, config]
    for value in values:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="an API key cannot be pickled"):
                pickle.dumps(value, protocol)
        with pytest.raises(TypeError, match="an API key cannot be pickled"):
            copy.deepcopy(value)


def test_a_secret_has_no_instance_dictionary() -> None:
    """A secret has slots, so ``vars()`` does not show the key."""
    assert not hasattr(Secret(KEY), "__dict__")


def test_a_configuration_is_frozen() -> None:
    """A configuration cannot be changed."""
    config: Any = resolve_with(KEY, None, None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.base_url = SANDBOX
    assert isinstance(config, Config)


@given(key=KEYS, text=st.text(max_size=20))
@example(key="aaaaaaaa", text="a" * 15)
def test_a_key_is_redacted_in_any_data(key: str, text: str) -> None:
    """Redacted data does not contain the key, in names or values, at any depth."""
    assume("*" not in key)
    with_key = f"{text}{key}{key}{text}"
    redact = Secret(key).redact
    data = {with_key: [with_key, {"a": with_key}], "n": [None, True, 5, 1.5]}
    redacted = redact(data)
    assert all(key not in text for text in strings_in(redacted))
    assert redacted["n"] == data["n"]


def strings_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings_in(part)]
    if isinstance(value, list):
        return [text for item in value for text in strings_in(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(("key", "redacted"), [("1234567", "1234567"), ("12345678", "***")])
def test_a_key_of_fewer_than_eight_characters_is_not_redacted(key: str, redacted: str) -> None:
    """A short key is not redacted, because that would remove ordinary words."""
    assert Secret(key).redact([key]) == [redacted]


# Base URLs


@pytest.mark.parametrize("environment", ["", "Sandbox", "staging", "sandbox\n", 5, ["sandbox"], {}])
def test_an_unknown_environment_is_rejected(environment: object) -> None:
    """An unknown environment is rejected even if ``base_url`` overrides it."""
    text = f"environment must be 'production' or 'sandbox', not {environment!r}"
    assert error_for(environment=environment).args == (text,)
    assert error_for(environment=environment, base_url="https://h.example").args == (text,)


def test_an_unknown_environment_in_the_variable_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error for an unknown ``PANDIUM_ENV`` names the variable."""
    monkeypatch.setenv("PANDIUM_ENV", "staging")
    assert str(error_for()) == "PANDIUM_ENV must be 'production' or 'sandbox', not 'staging'"


@pytest.mark.parametrize(
    ("given_url", "base_url"),
    [
        ("https://h.example", "https://h.example"),
        (" https://h.example/ \n", "https://h.example"),
        ("https://h.example///", "https://h.example"),
        ("https://h.example/pandium/", "https://h.example/pandium"),
        ("https://h.example:8443", "https://h.example:8443"),
        ("https://127.0.0.1", "https://127.0.0.1"),
        ("https://[2001:db8::1]:1", "https://[2001:db8::1]:1"),
        ("HTTPS://h.example", "https://h.example"),
        ("http://localhost", "http://localhost"),
        ("http://LOCALHOST:8080/", "http://LOCALHOST:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.255.255.254", "http://127.255.255.254"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[0:0:0:0:0:0:0:1]"),
    ],
)
def test_trailing_slashes_of_a_base_url_are_removed(given_url: str, base_url: str) -> None:
    """Trailing slashes and white space are removed from an https or loopback URL."""
    assert base_url_for(base_url=given_url) == base_url


@pytest.mark.parametrize(
    "host",
    [
        "h.example",
        "128.0.0.1",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::2]",
        "[2001:db8::1]",
        "localhost.example",
        "notlocalhost",
        "127.0.0.1.example",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "localhost.",
    ],
)
def test_http_is_allowed_for_loopback_only(host: str) -> None:
    """Plain http is rejected for other hosts, even if they look like loopback."""
    text = str(error_for(base_url=f"http://{host}:8080/x"))
    assert text.startswith("base_url must be https: the API key would be sent unencrypted to ")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "must be an http or https URL with a host"),
        ("h.example", "must be an http or https URL with a host"),
        ("//h.example", "must be an http or https URL with a host"),
        ("ftp://h.example", "must be an http or https URL with a host"),
        ("file:///etc/passwd", "must be an http or https URL with a host"),
        ("wss://h.example", "must be an http or https URL with a host"),
        ("https:", "must be an http or https URL with a host"),
        ("https://", "must be an http or https URL with a host"),
        ("https:///path", "must be an http or https URL with a host"),
        ("https://:443", "must be an http or https URL with a host"),
        ("https://h.example:port", "is not a valid URL: "),
        ("https://h.example:65536", "is not a valid URL: "),
        ("https://h.example:-1", "is not a valid URL: "),
        ("https://[::1", "is not a valid URL: "),
        ("https://user@h.example", "must not contain a user name or password"),
        ("https://user:word@h.example", "must not contain a user name or password"),
        ("https://:word@h.example", "must not contain a user name or password"),
        ("https://@h.example", "must not contain a user name or password"),
        ("http://localhost@h.example", "must not contain a user name or password"),
        ("https://h.example?a=1", "must not contain a query or a fragment"),
        ("https://h.example/#a", "must not contain a query or a fragment"),
        ("https://h.example/a b", "must contain only printable ASCII characters"),
        ("https://h.example\\@other.example", "must not contain a user name or password"),
        ("https://h.example\\other.example", "must contain only printable ASCII characters"),
        ("https://h.example/é", "must contain only printable ASCII characters"),
        ("https://h.example/\x00", "must contain only printable ASCII characters"),
        ("https://hé.example", "must contain only printable ASCII characters"),
    ],
)
def test_an_invalid_base_url_is_rejected(
    url: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base URL that is invalid or ambiguous is rejected by the argument or variable name."""
    assert str(error_for(base_url=url)).startswith(f"base_url {text}")
    if url and "\x00" not in url:
        monkeypatch.setenv("PANDIUM_BASE_URL", url)
        assert str(error_for()).startswith(f"PANDIUM_BASE_URL {text}")


@pytest.mark.parametrize(
    "url",
    [
        "https://user:{}@h.example",
        "https://user:{}/12345@h.example",
        "http://{}/12345@h.example",
        "https://user:a[{}]b@h.example",
        "https://user:{}?@h.example",
        "https://user:{}\uff20h.example",
        "https://user:{}\uff0f@h.example",
        "user:{}@h.example",
    ],
)
def test_an_invalid_base_url_does_not_show_its_password(url: str) -> None:
    """No error of a base URL contains a part of its password, whatever the password contains."""
    assert "secret" not in repr(error_for(base_url=url.format("secret"))).lower()


@pytest.mark.parametrize("url", [5, b"https://h.example", httpx.URL("https://h.example")])
def test_a_base_url_that_is_not_a_string_is_rejected(url: object) -> None:
    """A base URL of another type is rejected. The error names the type."""
    assert str(error_for(base_url=url)) == f"base_url must be a string, not {type(url).__name__}"


@pytest.mark.parametrize(
    "url",
    [
        "https://h.example?",
        "https://h.example/#",
        "https://h.example/?#",
        "https://h.exa\nmple",
        "https://h.example/a\r\nb",
        "https://h.exa\tmple",
        "\x00https://h.example",
    ],
)
def test_an_accepted_base_url_has_no_delimiters_or_control_characters(url: str) -> None:
    """A base URL never contains an empty query or fragment, or a control character."""
    try:
        base_url = base_url_for(base_url=url)
    except ConfigurationError:
        return
    assert not set(base_url) & set("?#\r\n\t\0")


WORDS = r"https:// http:// localhost 127.0.0.1 [::1] h.example :80 @ / // \ ? # %00 .. : é [ ] a"
URL_PARTS = st.sampled_from([*WORDS.split(), *" \n\t\0"])


@given(url=st.lists(URL_PARTS, max_size=6).map(lambda rest: "".join(["https://", *rest])))
@example(url="http://localhost:8080/base")
def test_requests_go_to_the_host_that_was_validated(url: str) -> None:
    """For every accepted base URL, httpx connects to the validated host."""
    try:
        base_url = base_url_for(base_url=url)
    except ConfigurationError as error:
        assert KEY not in str(error)  # noqa: PT017 - most of these URLs are rejected
        return
    try:
        sent_to = httpx.URL(f"{base_url}/v2/tenants")
    except httpx.InvalidURL:
        return
    assert sent_to.path.endswith("/v2/tenants")
    assert (sent_to.query, sent_to.fragment, sent_to.userinfo) == (b"", "", b"")
    assert sent_to.host == urlsplit(base_url).hostname


def test_an_error_about_another_argument_does_not_show_the_key() -> None:
    """An error about another argument does not contain a valid key."""
    for error in (
        error_for(environment="x"),
        error_for(base_url="x"),
        error_for(base_url="http://x"),
    ):
        assert KEY not in f"{error!s}{error!r}{error.__dict__}{error.args}"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_connections", 0),
        ("max_connections", True),
        ("timeout", 0),
        ("retry", None),
    ],
)
def test_a_client_rejects_other_arguments_by_name(argument: str, value: Any) -> None:
    """An invalid argument raises a ConfigurationError that names the argument."""
    options: dict[str, Any] = {argument: value}
    with pytest.raises(ConfigurationError, match=argument) as caught:
        AsyncPandium(KEY, **options)
    assert KEY not in repr(caught.value)


def test_environment_variables_are_not_changed() -> None:
    """Resolving a configuration does not change the environment variables."""
    before = dict(os.environ)
    resolve_with(KEY, "sandbox", None)
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "http_client", [httpx.MockTransport(lambda _: httpx.Response(200)), "https://a"]
)
def test_http_client_must_be_an_httpx_client(http_client: Any) -> None:
    """A value of another type is rejected by the constructor, not by the first request."""
    with pytest.raises(ConfigurationError, match="http_client must be an httpx"):
        AsyncPandium("key", http_client=http_client)


@pytest.mark.anyio
async def test_http_client_must_be_open() -> None:
    """A closed ``http_client`` is rejected, and one that is closed later is named in the error."""
    http_client = httpx.AsyncClient()
    client = AsyncPandium("key", http_client=http_client)
    await http_client.aclose()
    with pytest.raises(PandiumError, match="the http_client is closed"):
        await client.tenants.metadata(1)
    with pytest.raises(ConfigurationError, match="http_client is closed"):
        AsyncPandium("key", http_client=http_client)


@pytest.mark.anyio
async def test_an_http_client_closed_while_a_request_waits_is_named() -> None:
    """If the ``http_client`` is closed before a request is sent, this is a known outcome."""
    http_client = httpx.AsyncClient()

    async def read_key() -> str:
        await http_client.aclose()
        return "key"

    client = AsyncPandium(read_key, http_client=http_client)
    with pytest.raises(PandiumError, match="the http_client is closed") as caught:
        await client.tenants.sync(1, mode="normal")
    assert not caught.value.outcome_unknown
