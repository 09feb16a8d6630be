"""Proxy and certificate settings, including values that are meant for other tools."""

from __future__ import annotations

import logging
import os
import ssl
from typing import TYPE_CHECKING

import certifi
import httpx
import pytest

from pandium import ConfigurationError
from pandium._http import environment
from pandium._http.environment import NoProxy, Proxies, create_ssl_context, find_proxy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("value", "url", "matches"),
    [
        ("", "http://api.example.com", False),
        ("*", "http://api.example.com", True),
        ("other, *", "http://api.example.com", True),
        ("example.com", "https://example.com", True),
        ("example.com", "https://api.example.com", True),
        ("example.com", "https://notexample.com", False),
        (".example.com", "https://api.example.com", True),
        ("*.example.com", "https://api.example.com", True),
        ("EXAMPLE.com", "https://api.Example.COM", True),
        ("example.com:8443", "https://example.com:8443", True),
        ("example.com:8443", "https://example.com", False),
        ("example.com:443", "https://example.com", True),
        ("example.com:80", "http://example.com", True),
        ("a b,example.com", "http://example.com", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.1.2.3/8", "http://10.9.9.9", True),
        ("127.0.0.1", "http://127.0.0.1:8080", True),
        ("::1", "http://[::1]:8080", True),
        ("::1/128", "http://[::1]", True),
        ("[::1]", "http://[::1]", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("[::1]:8080", "http://[::1]:9090", False),
        ("fe80::/10", "http://[fe80::1]", True),
        ("fd07:b51a:cc66:f0::/64", "http://[fd07:b51a:cc66:f0::9]", True),
        ("fe80::/10", "http://10.0.0.1", False),
        ("localhost", "http://localhost:8080", True),
        ("<local>", "http://api.example.com", False),
        ("10.0.0.0/99", "http://10.0.0.1", False),
        (".", "http://api.example.com", False),
        ("example.com", "https://example.com.", True),
        ("example.com.", "https://example.com", True),
        ("münchen.de", "https://api.xn--mnchen-3ya.de", True),
        ("xn--mnchen-3ya.de", "https://münchen.de", True),
        ("☃.☃..*,example.com", "https://example.com", True),
        ("*.fe80::1%é,example.com", "https://example.com", True),
        ("https://example.com/", "https://example.com", True),
        ("all://*.example.com", "https://api.example.com", True),
        ("*example.com", "https://notexample.com", True),
        ("10.1.*", "http://10.1.2.3", True),
        ("192.168.*.*:8080", "http://192.168.1.2:8080", True),
        ("192.168.*.*:8080", "http://192.168.1.2", False),
        ("*:8080", "http://api.example.com", False),
        ("*:8080", "http://api.example.com:8080", True),
        ("1", "http://10.0.0.1", False),
        ('"example.com,10.0.0.1"', "http://10.0.0.1", True),
        ("'example.com','10.0.0.1'", "http://example.com", True),
        ("https://example.com/v2/x", "https://example.com", True),
        ("http://10.0.0.1:8080/", "http://10.0.0.1:8080", True),
        ("::ffff:127.0.0.1", "http://127.0.0.1", True),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]", True),
        ("::ffff:10.0.0.0/104", "http://10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "http://11.1.2.3", False),
        ("::/0", "http://10.1.2.3", False),
        ("::/0", "http://[::ffff:127.0.0.1]", True),
        ("::ffff:0:0/90", "http://[::ffff:127.0.0.1]", True),
        ("example.com:" + "4" * 5000, "http://example.com", False),
    ],
)
def test_no_proxy_in_every_form(
    value: str,
    url: str,
    matches: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`NO_PROXY` accepts names, addresses, networks and ports. Other entries match nothing."""
    monkeypatch.setenv("NO_PROXY", value)
    assert NoProxy.from_environment().matches(httpx.URL(url)) is matches


def test_proxies_are_selected_by_scheme_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable sets the proxy for its scheme, with or without `http://`."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("ALL_PROXY", "socks5://user:secret@proxy.example")
    monkeypatch.setenv("NO_PROXY", "direct.example")
    proxies = Proxies.from_environment()
    https, other = (proxies.for_url(httpx.URL(f"{s}://api.example")) for s in ("https", "http"))
    assert https is not None
    assert other is not None
    assert https.url == "http://proxy.example:3128"
    assert other.url == "socks5://proxy.example"
    assert other.auth == ("user", "secret")
    assert proxies.for_url(httpx.URL("https://direct.example")) is None


@pytest.mark.parametrize(
    "value", ["http://user:12/secret@proxy:3128", "http://user:secret@user:12/?token=secret#secret"]
)
def test_a_misplaced_password_of_a_proxy_is_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For messages, a proxy consists of its scheme, host and port."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert find_proxy("https://api.example") == "http://user:12"


@pytest.mark.parametrize(
    "value", ["ftp://proxy", "http://", "http://proxy:99999", "http://[::1", "http://u:secret@:x"]
)
def test_an_invalid_proxy_is_named_without_its_url(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid proxy is a `ConfigurationError` that names the variable, but not its value."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    proxies = Proxies.from_environment()
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY is not a valid proxy URL$"):
        proxies.for_url(httpx.URL("https://api.example"))


@pytest.mark.parametrize(
    "variables",
    [
        {"https_proxy": "http://proxy.example:8080", "all_proxy": "socks://proxy.example:1080/"},
        {"https_proxy": "http://proxy.example:8080", "http_proxy": "gopher://proxy.example"},
        {"all_proxy": "socks://proxy.example:1080/", "no_proxy": "api.example"},
    ],
    ids=["all", "other scheme", "exception"],
)
def test_an_invalid_proxy_that_is_not_needed_is_ignored(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables for other programs do no harm, such as the `all_proxy` that GNOME sets."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = Proxies.from_environment().for_url(httpx.URL("https://api.example"))
    assert (None if proxy is None else proxy.url) == variables.get("https_proxy")


@pytest.fixture
def _fresh_context() -> None:
    environment._shared_ssl_context.cache_clear()


@pytest.mark.usefixtures("_fresh_context")
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SSL_CERT_FILE": certifi.where()},
        {"SSL_CERT_DIR": "."},
        {"SSL_CERT_FILE": certifi.where(), "SSL_CERT_DIR": ""},
    ],
)
def test_a_key_log_that_cannot_be_written_is_ignored(
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If `SSLKEYLOGFILE` is not writable, one warning is logged, and TLS is as secure."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    expected = httpx.create_ssl_context()
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "missing" / "keys.log"))
    with caplog.at_level(logging.WARNING, logger="pandium"):
        context = create_ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.verify_flags == expected.verify_flags
    assert context.cert_store_stats() == expected.cert_store_stats()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot write to SSLKEYLOGFILE; TLS keys are not logged"
    ]


@pytest.mark.posix
@pytest.mark.usefixtures("_fresh_context")
def test_a_key_log_that_nobody_reads_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If `SSLKEYLOGFILE` is a FIFO without a reader, the result is the same."""
    os.mkfifo(tmp_path / "keys")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with caplog.at_level(logging.WARNING, logger="pandium"):
        create_ssl_context()
    assert "cannot write to SSLKEYLOGFILE" in caplog.text


@pytest.mark.usefixtures("_fresh_context")
@pytest.mark.parametrize("key_log", [None, "keys.log"])
def test_certificates_that_cannot_be_read_are_named(
    key_log: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the certificates cannot be loaded, the error names their variables, not the key log."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    if key_log is not None:
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / key_log))
    with pytest.raises(ConfigurationError, match="cannot load certificates from SSL_CERT_FILE or"):
        create_ssl_context()


def test_one_context_serves_the_process() -> None:
    """Certificates are loaded once for each combination of the variables."""
    assert create_ssl_context() is create_ssl_context()
