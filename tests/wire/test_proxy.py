"""Requests through HTTP and SOCKS proxies, with end-to-end TLS."""

from __future__ import annotations

import base64
import logging
import os
import re
import ssl
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import httpx
import pytest
import trustme

import pandium
from pandium import AsyncPandium, Retry, errors
from support import KEY
from support import servers as bad
from support.proxies import HttpProxy, Proxy, Socks5Proxy
from support.servers import Misbehaving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.anyio

TIMEOUT = 30.0  # seconds, never reached
TWICE = Retry(attempts=2, initial=0)
HOST = "api.pandium.test"  # this name does not resolve, so only a proxy can connect to it
USER = "team:p%40ss"
DECODED_USER = "team:p@ss"


@attrs.frozen
class Authority:
    """A private certificate authority."""

    ca: trustme.CA
    path: Path

    def server_context(self, *names: str, **options: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or (HOST, "127.0.0.1")), **options).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(path))
    return Authority(ca, path)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))


@contextmanager
def tls_server(authority: Authority, *script: bad.Behavior) -> Iterator[Misbehaving]:
    with Misbehaving(*script, tls=authority.server_context()) as server:
        yield server


def create_client(url: str, **options: Any) -> AsyncPandium:
    return AsyncPandium(KEY, base_url=url, retry=TWICE, timeout=TIMEOUT, **options)


# Proxies from the environment

ROUTES = {
    # The scheme of the API's URL, the variables, and the proxy that must be used
    "HTTP_PROXY": ("http", {"HTTP_PROXY": "http://{http}"}, "http"),
    "http_proxy": ("http", {"http_proxy": "http://{http}"}, "http"),
    "HTTPS_PROXY": ("https", {"HTTPS_PROXY": "http://{http}"}, "http"),
    "https_proxy": ("https", {"https_proxy": "http://{http}"}, "http"),
    "ALL_PROXY, http": ("http", {"ALL_PROXY": "http://{http}"}, "http"),
    "ALL_PROXY, https": ("https", {"ALL_PROXY": "http://{http}"}, "http"),
    "no scheme": ("https", {"HTTPS_PROXY": "{http}"}, "http"),
    "socks5, http": ("http", {"ALL_PROXY": "socks5://{socks}"}, "socks"),
    "socks5, https": ("https", {"ALL_PROXY": "socks5://{socks}"}, "socks"),
    "socks5h": ("https", {"HTTPS_PROXY": "socks5h://{socks}"}, "socks"),
    "HTTPS_PROXY over ALL_PROXY": (
        "https",
        {"ALL_PROXY": "socks5://{socks}", "HTTPS_PROXY": "http://{http}"},
        "http",
    ),
    "variable of the other scheme": ("https", {"HTTP_PROXY": "http://{http}"}, None),
    "NO_PROXY": ("https", {"HTTPS_PROXY": "http://{http}", "NO_PROXY": "127.0.0.1"}, None),
    "no_proxy": ("http", {"ALL_PROXY": "socks5://{socks}", "no_proxy": "127.0.0.1"}, None),
    "NO_PROXY, another host": (
        "https",
        {"HTTPS_PROXY": "http://{http}", "NO_PROXY": "10.1.1.1"},
        "http",
    ),
    "NO_PROXY, all": ("http", {"HTTP_PROXY": "http://{http}", "NO_PROXY": "*"}, None),
    "none": ("https", {}, None),
}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "/nonexistent.pem"),
        ("SSL_CERT_FILE", __file__),
        ("HTTPS_PROXY", "ftp://user:secret@127.0.0.1"),
        ("ALL_PROXY", "://"),
        ("ALL_PROXY", "http://user:secret@[::1"),
        ("HTTPS_PROXY", "http://user:secret@127.0.0.1:0"),
        ("HTTPS_PROXY", "http://user:secret@127.0.0.1:-1"),
        ("HTTPS_PROXY", "socks5://user:secret@127.0.0.1:65536"),
    ],
)
async def test_an_invalid_variable_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid proxy or certificate variable raises an error that names it. It is not retried."""
    monkeypatch.setenv(variable, value)
    async with AsyncPandium(KEY, base_url="https://127.0.0.1:9") as client:
        with pytest.raises(errors.ConfigurationError, match=variable) as caught:
            await client.tenants.sync(1, mode="normal")
    assert "secret" not in str(caught.value)
    assert not caught.value.outcome_unknown
    assert len(caught.value.attempts) == 1


async def test_a_blank_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable that contains only white space counts as unset."""
    monkeypatch.setenv("HTTP_PROXY", " \t")
    with Misbehaving() as server:
        async with create_client(server.url) as client:
            assert (await client.runs.status("t-1")).status == "Running"


FIRST_REQUEST = """
import asyncio
from pandium import AsyncPandium, ConfigurationError

async def main():
    async with AsyncPandium("a-key", base_url="https://127.0.0.1:9") as client:
        try:
            await client.tenants.sync(1, mode="normal")
        except ConfigurationError as error:
            print(len(error.attempts), error)

asyncio.run(main())
"""


def test_an_invalid_variable_is_named_by_the_first_request_of_a_process() -> None:
    """The request raises the error, not the ``async with`` block that prepares the process."""
    process = subprocess.run(
        [sys.executable, "-c", FIRST_REQUEST],
        env=os.environ | {"SSL_CERT_FILE": "/nonexistent.pem"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.startswith("1 ")
    assert "SSL_CERT_FILE" in process.stdout


@pytest.mark.parametrize("name", ROUTES)
async def test_proxy_variables_work_as_in_httpx(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any proxy variables, a request takes the same route as with plain httpx."""
    scheme, variables, expected = ROUTES[name]
    with (
        HttpProxy() as http,
        Socks5Proxy() as socks,
        Misbehaving(tls=authority.server_context() if scheme == "https" else None) as server,
    ):
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value.format(http=http.address, socks=socks.address))
        async with create_client(server.url) as client:
            assert (await client.runs.status("t-1")).status == "Running"
            assert (await client.tenants.sync(7, mode="normal")).trigger_id == "t-1"
        ours = [list(http.targets), list(socks.targets)]
        async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT) as plain:
            await plain.get("/v2/runs/triggers/t-1/status")
            await plain.post("/v2/tenants/7/sync", params={"mode": "normal"})
        theirs = [http.targets[len(ours[0]) :], socks.targets[len(ours[1]) :]]
        assert ours == theirs
        target = [f"127.0.0.1:{server.port}"]
        assert {"http": [target, []], "socks": [[], target], None: [[], []]}[expected] == ours
        requests = [(request.method, request.target) for request in server.requests]
        assert requests[:2] == requests[2:]
        assert [request.method for request in http.requests][:1] == (
            [] if expected != "http" else ["CONNECT"] if scheme == "https" else ["GET"]
        )


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_receives_its_credentials(
    kind: str, scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credentials in a proxy URL reach the proxy, but not the API behind it."""
    tls = authority.server_context() if scheme == "https" else None
    proxy_class = HttpProxy if kind == "http" else Socks5Proxy
    with proxy_class(user=DECODED_USER) as proxy, Misbehaving(tls=tls) as server:
        monkeypatch.setenv("ALL_PROXY", f"{kind}://{USER}@{proxy.address}")
        async with create_client(server.url) as client:
            assert (await client.runs.status("t-1")).status == "Running"
        assert proxy.targets == [f"127.0.0.1:{server.port}"]
        if scheme == "https":  # over plain HTTP, a real proxy would remove the header
            [request] = server.requests
            assert request.header("proxy-authorization") is None


@pytest.mark.parametrize("is_ours", [True, False], ids=["own client", "user's client"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_the_password_of_a_proxy_is_not_logged(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, is_ours: bool
) -> None:
    """At level DEBUG, no log record contains the password in a proxy URL."""
    proxy_class = HttpProxy if kind == "http" else Socks5Proxy
    with proxy_class(user=DECODED_USER) as proxy, Misbehaving() as server:
        monkeypatch.setenv("ALL_PROXY", f"{kind}://{USER}@{proxy.address}")
        async with httpx.AsyncClient() as mine:
            client = create_client(server.url, http_client=None if is_ours else mine)
            with caplog.at_level(logging.DEBUG):
                assert (await client.runs.status("t-1")).status == "Running"
            await client.aclose()
        assert proxy.targets == [f"127.0.0.1:{server.port}"]
    assert any("connect_tcp" in record.getMessage() for record in caplog.records)
    encoded = base64.b64encode(DECODED_USER.encode()).decode()
    for record in caplog.records:
        assert "p@ss" not in f"{record.getMessage()} {vars(record)!r}"
        assert encoded not in record.getMessage()


# TLS through a proxy


@pytest.mark.parametrize("proxy_class", [HttpProxy, Socks5Proxy])
async def test_a_proxy_cannot_read_a_request_over_tls(
    proxy_class: type[Proxy], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS, the proxy cannot read the key, the path or the body that reach the API."""
    with tls_server(authority) as server, proxy_class({HOST: server.port}) as proxy:
        scheme = "http" if proxy_class is HttpProxy else "socks5"
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{proxy.address}")
        async with create_client(f"https://{HOST}") as client:
            view = client.with_options(headers={"X-Team": "a-team-name"})
            await view.tenants.sync(7, mode="normal", payload={"secret": "a-body-text"})
        assert proxy.targets == [f"{HOST}:443"]
        [request] = server.requests
        assert request.header("x-api-key") == KEY
        assert request.header("x-team") == "a-team-name"
        for text in (KEY, "X-API-KEY", "/v2/tenants", "a-team-name", "a-body-text"):
            assert text.lower().encode() not in bytes(proxy.received).lower()
        for connect in proxy.requests:
            assert {name.lower() for name, _ in connect.headers} <= {"host", "accept"}


INVALID: dict[str, Callable[[Authority], ssl.SSLContext]] = {
    "an unknown authority": lambda authority: Authority(
        trustme.CA(), authority.path
    ).server_context(),
    "another name": lambda authority: authority.server_context("other.pandium.test"),
    "expired": lambda authority: authority.server_context(
        not_before=datetime(2001, 1, 1, tzinfo=UTC), not_after=datetime(2002, 1, 1, tzinfo=UTC)
    ),
}


def assert_untrusted(error: BaseException) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)


def variables_of_the_library() -> set[str]:
    """Return all PANDIUM_* names in the sources, plus others that users might guess."""
    sources = Path(pandium.__file__).parent.rglob("*.py")
    known = {name for path in sources for name in re.findall(r"PANDIUM_[A-Z_]+", path.read_text())}
    guesses = "VERIFY SSL_VERIFY VERIFY_SSL TLS_VERIFY NO_VERIFY INSECURE CA_BUNDLE CERT_FILE SSL"
    return (known | {f"PANDIUM_{guess}" for guess in guesses.split()}) - {
        "PANDIUM_API_KEY",
        "PANDIUM_BASE_URL",
        "PANDIUM_ENV",
    }


@pytest.mark.parametrize("route", ["direct", "http", "socks5"])
@pytest.mark.parametrize("fault", INVALID)
async def test_an_invalid_certificate_is_never_accepted(
    fault: str, route: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid certificate is a ConnectFailed on every route, and the slot is released."""
    proxy_class = Socks5Proxy if route == "socks5" else HttpProxy
    with Misbehaving(tls=INVALID[fault](authority)) as server, proxy_class() as proxy:
        if route != "direct":
            monkeypatch.setenv("HTTPS_PROXY", f"{route}://{proxy.address}")
        async with create_client(server.url, max_connections=1) as client:
            for _ in range(3):
                with anyio.fail_after(TIMEOUT), pytest.raises(errors.ConnectFailed) as caught:
                    await client.tenants.sync(7, mode="normal")
                assert not caught.value.outcome_unknown
                assert len(caught.value.attempts) == 2
                assert_untrusted(caught.value)
        assert server.seen == 0
        await server.until_idle()
        await proxy.until_idle()


@pytest.mark.parametrize("value", ["0", "1", "false", "true", ""])
async def test_no_variable_disables_verification(
    value: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No value of any PANDIUM_* variable makes an invalid certificate acceptable."""
    # Use a separate path, because contexts are cached by path.
    path = tmp_path / "ca.pem"
    authority.ca.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    for name in variables_of_the_library():
        monkeypatch.setenv(name, value)
    with Misbehaving(tls=INVALID["an unknown authority"](authority)) as server:
        async with create_client(server.url) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.runs.status("t-1")
            assert_untrusted(caught.value)
        assert server.seen == 0


async def test_a_private_authority_must_be_configured(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private authority is trusted only while SSL_CERT_FILE names it."""
    with tls_server(authority) as server:
        async with create_client(server.url) as client:
            await client.runs.status("t-1")
        monkeypatch.delenv("SSL_CERT_FILE")
        async with create_client(server.url) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.runs.status("t-1")
            assert_untrusted(caught.value)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        async with create_client(server.url) as client:
            await client.runs.status("t-1")


async def test_the_clients_of_a_process_share_one_ssl_context(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificates are loaded once for all clients, with or without a proxy."""
    path = tmp_path / "ca.pem"  # contexts are cached by path
    authority.ca.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    create, contexts = ssl.create_default_context, []

    def count(*args: Any, **options: Any) -> ssl.SSLContext:
        contexts.append(create(*args, **options))
        return contexts[-1]

    monkeypatch.setattr(ssl, "create_default_context", count)
    with tls_server(authority) as server, HttpProxy() as proxy:
        for is_proxied in (False, False, True, True):
            if is_proxied:
                monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            async with create_client(server.url) as client:
                assert (await client.runs.status("t-1")).status == "Running"
        assert len(proxy.targets) == 2
    assert len(contexts) == 1


@pytest.mark.parametrize(
    "refusal",
    ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway", "302 Found"],
)
async def test_a_refused_connect_was_never_sent(
    refusal: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused CONNECT is a ConnectFailed, and even a POST is retried."""
    with tls_server(authority) as server, HttpProxy(refusal=refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        async with create_client(server.url, max_connections=1) as client:
            with anyio.fail_after(TIMEOUT), pytest.raises(errors.ConnectFailed) as caught:
                await client.tenants.sync(7, mode="normal")
            assert not caught.value.outcome_unknown
            assert len(caught.value.attempts) == len(proxy.requests) == 2
            assert server.accepted == 0
            proxy.refusal = None
            with anyio.fail_after(TIMEOUT):
                await client.tenants.sync(7, mode="normal")
        assert server.effects["POST", "/v2/tenants/7/sync"] == 1
        assert KEY.encode() not in proxy.received


async def test_a_refusal_by_a_socks_proxy_is_a_failed_connection(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SOCKS proxy that refuses to connect or requires a password is a ConnectFailed."""
    with tls_server(authority) as server, Socks5Proxy(is_refusing=True) as proxy:
        for user in (None, DECODED_USER):
            proxy.user = user
            monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
            async with create_client(server.url, max_connections=1) as client:
                for _ in range(2):
                    with anyio.fail_after(TIMEOUT), pytest.raises(errors.ConnectFailed) as caught:
                        await client.tenants.sync(7, mode="normal")
                    assert len(caught.value.attempts) == 2
        assert server.accepted == 0
        await proxy.until_idle()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_an_unreachable_proxy_is_a_failed_connection(
    scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreachable proxy is a ConnectFailed that names it. The request does not bypass it."""
    with tls_server(authority) as server, Misbehaving(is_listening=False) as unreachable:
        address = f"127.0.0.1:{unreachable.port}"
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:secret@{address}/path")
        async with create_client(server.url) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.tenants.sync(7, mode="normal")
            assert len(caught.value.attempts) == 2
        assert server.accepted == 0
    assert str(caught.value).endswith(f"(through the proxy {scheme}://{address})")


@pytest.mark.parametrize("silence", ["before", "behind"])
@pytest.mark.parametrize("reason", ["timeout", "cancellation"])
async def test_a_silent_proxy_does_not_occupy_a_slot(
    reason: str, silence: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that ends during CONNECT or the TLS handshake releases its slot and connection."""
    with tls_server(authority) as server, HttpProxy(silence=silence) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        async with create_client(server.url, max_connections=1) as client:
            for number in range(3):
                with anyio.fail_after(TIMEOUT), anyio.CancelScope() as scope:
                    if reason == "timeout":
                        with pytest.raises(errors.TransportError):
                            view = client.with_options(timeout=0.2, retry=Retry.never())
                            await view.tenants.sync(7, mode="normal")
                    else:
                        async with anyio.create_task_group() as group:
                            group.start_soon(client.tenants.archive, 7)
                            await proxy.until(lambda n=number: len(proxy.targets) > n)  # type: ignore[misc]
                            await anyio.wait_all_tasks_blocked()
                            scope.cancel()
            proxy.silence = None
            with anyio.fail_after(TIMEOUT):
                assert (await client.runs.status("t-1")).status == "Running"
        assert server.seen == 1
        await proxy.until_idle()


@pytest.mark.parametrize("silence", ["before", "behind"])
async def test_a_tunnel_that_is_too_slow_was_never_sent(
    silence: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout during CONNECT or the TLS handshake is a ConnectFailed."""
    with tls_server(authority) as server, HttpProxy(silence=silence) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        async with create_client(server.url) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.with_options(timeout=0.2).tenants.sync(7, mode="normal")
            assert not caught.value.outcome_unknown
            assert str(caught.value).endswith(f"(through the proxy http://{proxy.address})")
        assert server.seen == 0
