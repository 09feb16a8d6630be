"""What a client is made from: precedence, refusals, and a key that never shows."""

import copy
import os
import pickle
import traceback
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pandium import AsyncPandium, ConfigurationError, PandiumError
from pandium._config import Config, Secret, resolve

PRODUCTION = "https://api.pandium.io"
SANDBOX = "https://api.sandbox.pandium.com"
KEY = "k3y-0f-th3-t3st"
VARIABLES = ("PANDIUM_API_KEY", "PANDIUM_ENV", "PANDIUM_BASE_URL")

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=80)
BAD_CHARACTERS = ["\r", "\n", "\t", "\0", "\x1b", "\x7f", "\x85", "é", "鍵", "\u200b", "\ud800"]


def settle(api_key: Any, environment: Any, base_url: Any) -> Config:
    return resolve(Secret(api_key), environment, base_url)


def refusal(
    api_key: Any = KEY, environment: Any = None, base_url: Any = None
) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        settle(api_key, environment, base_url)
    return caught.value


def url_of(environment: str | None = None, base_url: str | None = None) -> str:
    return settle(KEY, environment, base_url).base_url


# Precedence.


def test_a_client_is_of_production_by_default() -> None:
    """Without argument and variable, requests go to the production host."""
    assert url_of() == PRODUCTION


@pytest.mark.parametrize(("name", "host"), [("production", PRODUCTION), ("sandbox", SANDBOX)])
def test_an_environment_has_its_host(name: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each environment means the vendor's host for it, as an argument and as a variable."""
    assert url_of(environment=name) == host
    monkeypatch.setenv("PANDIUM_ENV", name)
    assert url_of() == host


def test_the_key_argument_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument api_key is taken before PANDIUM_API_KEY, which is taken without it."""
    monkeypatch.setenv("PANDIUM_API_KEY", "of-the-variable")
    assert settle(KEY, None, None).api_key.reveal() == KEY
    assert settle(None, None, None).api_key.reveal() == "of-the-variable"


def test_an_empty_key_argument_does_not_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty argument is an error although the variable holds a key."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    assert str(refusal("")) == "api_key is empty"


def test_the_environment_argument_wins_over_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument environment is taken before PANDIUM_ENV, and before PANDIUM_BASE_URL."""
    monkeypatch.setenv("PANDIUM_ENV", "production")
    assert url_of(environment="sandbox") == SANDBOX
    monkeypatch.setenv("PANDIUM_BASE_URL", "https://variable.example")
    assert url_of(environment="sandbox") == SANDBOX


def test_the_base_url_argument_wins_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument base_url is taken before environment and all variables."""
    monkeypatch.setenv("PANDIUM_ENV", "sandbox")
    monkeypatch.setenv("PANDIUM_BASE_URL", "https://variable.example")
    assert url_of(base_url="https://argument.example") == "https://argument.example"
    assert url_of("sandbox", "https://argument.example") == "https://argument.example"


def test_the_base_url_variable_wins_over_the_environment_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PANDIUM_BASE_URL is taken before PANDIUM_ENV."""
    monkeypatch.setenv("PANDIUM_ENV", "sandbox")
    monkeypatch.setenv("PANDIUM_BASE_URL", " https://variable.example\n")
    assert url_of() == "https://variable.example"


@pytest.mark.parametrize("blank", ["", " ", "\n", " \t\r\n "])
def test_a_blank_variable_is_not_set(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of nothing but white space counts as one that is not set."""
    for name in VARIABLES:
        monkeypatch.setenv(name, blank)
    assert url_of() == PRODUCTION
    assert str(refusal(None)) == "no API key: pass api_key or set PANDIUM_API_KEY"


def test_no_variable_need_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing variable is like an empty one."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert url_of() == PRODUCTION
    assert str(refusal(None)) == "no API key: pass api_key or set PANDIUM_API_KEY"


def test_the_client_takes_all_three_from_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client can be made from variables alone."""
    monkeypatch.setenv("PANDIUM_API_KEY", f"{KEY}\n")
    monkeypatch.setenv("PANDIUM_ENV", "sandbox\n")
    assert repr(AsyncPandium()) == f"AsyncPandium(base_url={SANDBOX!r})"
    monkeypatch.setenv("PANDIUM_BASE_URL", "http://127.0.0.1:8080/")
    assert repr(AsyncPandium()) == "AsyncPandium(base_url='http://127.0.0.1:8080')"


# Keys.


@given(key=KEYS, before=st.text(" \t\r\n\x0b\x0c"), after=st.text(" \t\r\n\x0b\x0c"))
def test_white_space_around_a_key_is_dropped(key: str, before: str, after: str) -> None:
    """A key is what is left without the white space around it, wherever it comes from."""
    assert settle(before + key + after, None, None).api_key.reveal() == key
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PANDIUM_API_KEY", before + key + after)
        assert settle(None, None, None).api_key.reveal() == key


@pytest.mark.parametrize("key", ["", " ", "\n", "\t \r\n"])
def test_an_empty_key_is_refused(key: str) -> None:
    """A key of nothing but white space is refused by the name of its argument."""
    assert str(refusal(key)) == "api_key is empty"


@pytest.mark.parametrize("key", [5, b"key-in-bytes", ["key"], Secret(KEY)])
def test_a_key_that_is_no_string_is_refused(key: object) -> None:
    """A key of another type is refused, and the error names the type, not the key."""
    assert str(refusal(key)) == f"api_key must be a string, not {type(key).__name__}"


@pytest.mark.parametrize("character", BAD_CHARACTERS)
def test_a_key_that_no_header_can_carry_is_refused(character: str) -> None:
    """A key with control or non-ASCII characters inside is refused."""
    text = "api_key has a character that no header can carry"
    assert str(refusal(f"{KEY[:4]}{character}{KEY[4:]}")) == text


@pytest.mark.parametrize("key", ["pässword", "a\x1bb", "a\tb"])
def test_a_bad_key_of_the_variable_is_refused_by_its_name(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad key of the variable is refused by the variable's name."""
    monkeypatch.setenv("PANDIUM_API_KEY", key)
    assert str(refusal(None)) == "PANDIUM_API_KEY has a character that no header can carry"


@given(key=KEYS, bad=st.sampled_from(BAD_CHARACTERS))
def test_an_error_never_shows_a_bad_key(key: str, bad: str) -> None:
    """Neither the text, the repr nor the chain of an error about a key holds the key."""
    error = refusal(key[:4] + bad + key[4:])
    assert (error.__cause__, error.__context__) == (None, None)
    text = "api_key has a character that no header can carry"
    assert (str(error), repr(error)) == (text, f"ConfigurationError({text!r})")
    assert (error.args, error.__dict__) == ((text,), {})


def shown_with(key: str) -> list[str]:
    config = settle(key, None, None)
    client = AsyncPandium(key)
    values = [config.api_key, config, client, client.tenants, client.runs, client.connectors]
    return [text for value in values for text in (repr(value), str(value), f"{value}")]


@given(key=KEYS)
@example(key="%s{0}'\"\\")
def test_a_key_is_in_no_repr(key: str) -> None:
    """Secret, configuration, client and its parts are shown alike whatever the key."""
    assert shown_with(key) == shown_with(KEY)
    assert KEY not in "".join(shown_with(KEY))


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (KEY + "\x00", {}),
        (KEY, {"base_url": "ftp://example.com"}),
        (KEY, {"base_url": "https://[v1.x]"}),
        (KEY, {"environment": "staging"}),
        (KEY, {"timeout": 0}),
    ],
)
def test_no_frame_of_the_library_shows_the_key(key: str, options: dict[str, Any]) -> None:
    """A traceback with local variables shows the key in no frame of the library."""
    try:
        AsyncPandium(key, **options)
    except ConfigurationError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in shown.stack if frame.filename != __file__]
    assert frames
    assert all(KEY not in text for frame in frames for text in (frame.locals or {}).values())


def test_a_secret_cannot_be_pickled_or_copied() -> None:
    """No pickle or copy holds a key, alone or within a configuration."""
    config = settle(KEY, None, None)
    values: list[Any] = [config.api_key, config]
    for value in values:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="an API key cannot be pickled"):
                pickle.dumps(value, protocol)
        with pytest.raises(TypeError, match="an API key cannot be pickled"):
            copy.deepcopy(value)


def test_a_secret_has_no_dictionary() -> None:
    """A secret is slotted, so that vars() does not list it."""
    assert not hasattr(Secret(KEY), "__dict__")


def test_a_configuration_is_frozen() -> None:
    """A configuration cannot be changed once it is settled."""
    config: Any = settle(KEY, None, None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.base_url = SANDBOX
    assert isinstance(config, Config)


@given(key=KEYS, text=st.text(max_size=20))
@example(key="aaaaaaaa", text="a" * 15)
def test_a_key_is_blotted_out_of_any_data(key: str, text: str) -> None:
    """Redacted data holds the key nowhere, neither in names nor in values, however deep."""
    assume("*" not in key)
    said = f"{text}{key}{key}{text}"
    redact = Secret(key).redact
    data = {said: [said, {"a": said}], "n": [None, True, 5, 1.5]}
    redacted = redact(data)
    assert all(key not in text for text in strings_below(redacted))
    assert redacted["n"] == data["n"]


def strings_below(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings_below(part)]
    if isinstance(value, list):
        return [text for item in value for text in strings_below(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(("key", "redacted"), [("1234567", "1234567"), ("12345678", "***")])
def test_a_key_of_less_than_eight_characters_is_not_blotted_out(key: str, redacted: str) -> None:
    """A short key is left in texts, as it would blot out words."""
    assert Secret(key).redact([key]) == [redacted]


# Hosts.


@pytest.mark.parametrize("environment", ["", "Sandbox", "staging", "sandbox\n", 5, ["sandbox"], {}])
def test_an_unknown_environment_is_refused(environment: object) -> None:
    """An environment that is not known is refused by name, with base_url too."""
    text = f"environment must be production or sandbox, not {environment!r}"
    assert refusal(environment=environment).args == (text,)
    assert refusal(environment=environment, base_url="https://h.example").args == (text,)


def test_an_unknown_environment_of_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown PANDIUM_ENV is refused by the variable's name."""
    monkeypatch.setenv("PANDIUM_ENV", "staging")
    assert str(refusal()) == "PANDIUM_ENV must be production or sandbox, not 'staging'"


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
def test_a_base_url_is_taken_without_its_last_slash(given_url: str, base_url: str) -> None:
    """A URL by https, or http to loopback, is taken without the slashes at its end."""
    assert url_of(base_url=given_url) == base_url


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
def test_http_is_for_loopback_alone(host: str) -> None:
    """Plain http to any host but this machine is refused, however much it looks like it."""
    text = str(refusal(base_url=f"http://{host}:8080/x"))
    assert text.startswith("base_url must be https: a key would travel in the clear to ")


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
        ("https://h.example:port", "is no URL: "),
        ("https://h.example:65536", "is no URL: "),
        ("https://h.example:-1", "is no URL: "),
        ("https://[::1", "is no URL: "),
        ("https://user@h.example", "must not hold a user name or password"),
        ("https://user:word@h.example", "must not hold a user name or password"),
        ("https://:word@h.example", "must not hold a user name or password"),
        ("https://@h.example", "must not hold a user name or password"),
        ("http://localhost@h.example", "must not hold a user name or password"),
        ("https://h.example?a=1", "must not have a query or a fragment"),
        ("https://h.example/#a", "must not have a query or a fragment"),
        ("https://h.example/a b", "has a character that no URL can hold"),
        ("https://h.example\\@other.example", "must not hold a user name or password"),
        ("https://h.example\\other.example", "has a character that no URL can hold"),
        ("https://h.example/é", "has a character that no URL can hold"),
        ("https://h.example/\x00", "has a character that no URL can hold"),
        ("https://hé.example", "has a character that no URL can hold"),
    ],
)
def test_a_bad_base_url_is_refused(url: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base URL that could lead elsewhere is refused, by the name of argument or variable."""
    assert str(refusal(base_url=url)).startswith(f"base_url {text}")
    if url and "\x00" not in url:
        monkeypatch.setenv("PANDIUM_BASE_URL", url)
        assert str(refusal()).startswith(f"PANDIUM_BASE_URL {text}")


@pytest.mark.parametrize("url", [5, b"https://h.example", httpx.URL("https://h.example")])
def test_a_base_url_that_is_no_string_is_refused(url: object) -> None:
    """A base URL of another type is refused, and the error names the type."""
    assert str(refusal(base_url=url)) == f"base_url must be a string, not {type(url).__name__}"


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
def test_what_was_checked_of_a_base_url_is_what_is_used(url: str) -> None:
    """An empty query or fragment, or a control character, never gets into the base URL."""
    try:
        base_url = url_of(base_url=url)
    except ConfigurationError:
        return
    assert not set(base_url) & set("?#\r\n\t\0")


WORDS = r"https:// http:// localhost 127.0.0.1 [::1] h.example :80 @ / // \ ? # %00 .. : é [ ] a"
URL_PARTS = st.sampled_from([*WORDS.split(), *" \n\t\0"])


@given(url=st.lists(URL_PARTS, max_size=6).map(lambda rest: "".join(["https://", *rest])))
@example(url="http://localhost:8080/base")
def test_a_base_url_that_is_taken_means_the_same_host_to_the_http_client(url: str) -> None:
    """Whatever URL is taken, a request below it goes to the host that was checked."""
    try:
        base_url = url_of(base_url=url)
    except ConfigurationError as error:
        assert KEY not in str(error)  # noqa: PT017 - most of these are refused
        return
    try:
        sent_to = httpx.URL(f"{base_url}/v2/tenants")
    except httpx.InvalidURL:
        return
    assert sent_to.path.endswith("/v2/tenants")
    assert (sent_to.query, sent_to.fragment, sent_to.userinfo) == (b"", "", b"")
    assert sent_to.host == urlsplit(base_url).hostname


def test_an_error_about_the_host_does_not_show_the_key() -> None:
    """A good key is in no error about another argument."""
    for error in (refusal(environment="x"), refusal(base_url="x"), refusal(base_url="http://x")):
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
def test_a_client_refuses_other_arguments_by_name(argument: str, value: Any) -> None:
    """Every argument that cannot be used is a ConfigurationError that names it."""
    options: dict[str, Any] = {argument: value}
    with pytest.raises(ConfigurationError, match=argument) as caught:
        AsyncPandium(KEY, **options)
    assert KEY not in repr(caught.value)


def test_nothing_is_written_to_the_environment() -> None:
    """Settling a configuration leaves the variables as they were."""
    before = dict(os.environ)
    settle(KEY, "sandbox", None)
    assert dict(os.environ) == before


@pytest.mark.parametrize("made", [httpx.MockTransport(lambda _: httpx.Response(200)), "https://a"])
def test_only_a_client_of_httpx_is_borrowed(made: Any) -> None:
    """What is none is refused where it is given, not at the first request."""
    with pytest.raises(ConfigurationError, match="http_client must be an httpx"):
        AsyncPandium("key", http_client=made)


@pytest.mark.anyio
async def test_a_borrowed_client_must_be_open() -> None:
    """One that is closed is refused; one that is closed later is named by the error."""
    mine = httpx.AsyncClient()
    client = AsyncPandium("key", http_client=mine)
    await mine.aclose()
    with pytest.raises(PandiumError, match="the http_client is closed"):
        await client.tenants.metadata(1)
    with pytest.raises(ConfigurationError, match="http_client is closed"):
        AsyncPandium("key", http_client=mine)
