"""Requests through real proxies, HTTP's and SOCKS's, and over TLS that holds from end to end."""

from __future__ import annotations

import re
import ssl
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

PATIENT = 5.0
TWICE = Retry(attempts=2, initial=0)
HOST = "api.pandium.test"  # a name that no resolver knows: only a proxy can lead there
USER = "team:p%40ss"
PLAIN_USER = "team:p@ss"


@attrs.frozen
class Authority:
    """A certificate authority that nobody trusts unless told to."""

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
def secure(authority: Authority, *script: bad.Behaviour) -> Iterator[Misbehaving]:
    with Misbehaving(*script, tls=authority.server_context()) as server:
        yield server


def a_client(url: str, **options: Any) -> AsyncPandium:
    return AsyncPandium(KEY, base_url=url, retry=TWICE, timeout=PATIENT, **options)


# The same way as plain httpx.


ROUTES = {
    # The scheme of the API's URL, the variables, and what of "http" and "socks" is used.
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
    "one of its own": (
        "https",
        {"ALL_PROXY": "socks5://{socks}", "HTTPS_PROXY": "http://{http}"},
        "http",
    ),
    "the other scheme's": ("https", {"HTTP_PROXY": "http://{http}"}, None),
    "NO_PROXY": ("https", {"HTTPS_PROXY": "http://{http}", "NO_PROXY": "127.0.0.1"}, None),
    "no_proxy": ("http", {"ALL_PROXY": "socks5://{socks}", "no_proxy": "127.0.0.1"}, None),
    "NO_PROXY, another": (
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
    ],
)
async def test_an_environment_that_cannot_be_used_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where proxies or certificates make no connection, the error names the variable; once."""
    monkeypatch.setenv(variable, value)
    async with AsyncPandium(KEY, base_url="https://127.0.0.1:9") as client:
        with pytest.raises(errors.ConfigurationError, match=variable) as caught:
            await client.tenants.sync(1, mode="normal")
    assert "secret" not in str(caught.value)
    assert not caught.value.outcome_unknown
    assert len(caught.value.attempts) == 1


@pytest.mark.parametrize("name", ROUTES)
async def test_the_environments_proxies_are_used_as_httpx_uses_them(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the proxy variables say, a request takes the way that one of plain httpx takes."""
    scheme, variables, used = ROUTES[name]
    with (
        HttpProxy() as http,
        Socks5Proxy() as socks,
        Misbehaving(tls=authority.server_context() if scheme == "https" else None) as server,
    ):
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value.format(http=http.address, socks=socks.address))
        async with a_client(server.url) as client:
            assert (await client.runs.status("t-1")).status == "Running"
            assert (await client.tenants.sync(7, mode="normal")).trigger_id == "t-1"
        ours = [list(http.targets), list(socks.targets)]
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENT) as plain:
            await plain.get("/v2/runs/triggers/t-1/status")
            await plain.post("/v2/tenants/7/sync", params={"mode": "normal"})
        theirs = [http.targets[len(ours[0]) :], socks.targets[len(ours[1]) :]]
        assert ours == theirs
        target = [f"127.0.0.1:{server.port}"]
        assert {"http": [target, []], "socks": [[], target], None: [[], []]}[used] == ours
        seen = [(request.method, request.target) for request in server.requests]
        assert seen[:2] == seen[2:]
        assert [request.method for request in http.requests][:1] == (
            [] if used != "http" else ["CONNECT"] if scheme == "https" else ["GET"]
        )


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_may_ask_for_a_password(
    kind: str, scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User and password of a proxy's URL reach the proxy, and nobody behind it."""
    tls = authority.server_context() if scheme == "https" else None
    make = HttpProxy if kind == "http" else Socks5Proxy
    with make(user=PLAIN_USER) as proxy, Misbehaving(tls=tls) as server:
        monkeypatch.setenv("ALL_PROXY", f"{kind}://{USER}@{proxy.address}")
        async with a_client(server.url) as client:
            assert (await client.runs.status("t-1")).status == "Running"
        assert proxy.targets == [f"127.0.0.1:{server.port}"]
        if scheme == "https":  # a forwarding proxy of plain HTTP would take the header off
            [request] = server.requests
            assert request.header("proxy-authorization") is None


# What a proxy sees, and what it cannot do.


@pytest.mark.parametrize("make", [HttpProxy, Socks5Proxy])
async def test_a_proxy_sees_nothing_of_a_request_over_tls(
    make: type[Proxy], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a tunnel the key, the path and the body arrive, and the proxy reads none of them."""
    with secure(authority) as server, make({HOST: server.port}) as proxy:
        scheme = "http" if make is HttpProxy else "socks5"
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{proxy.address}")
        async with a_client(f"https://{HOST}") as client:
            view = client.with_options(headers={"X-Team": "a-team-of-mine"})
            await view.tenants.sync(7, mode="normal", payload={"secret": "a-body-of-mine"})
        assert proxy.targets == [f"{HOST}:443"]
        [request] = server.requests
        assert request.header("x-api-key") == KEY
        assert request.header("x-team") == "a-team-of-mine"
        for text in (KEY, "X-API-KEY", "/v2/tenants", "a-team-of-mine", "a-body-of-mine"):
            assert text.lower().encode() not in bytes(proxy.seen).lower()
        for connect in proxy.requests:
            assert {name.lower() for name, _ in connect.headers} <= {"host", "accept"}


BROKEN: dict[str, Callable[[Authority], ssl.SSLContext]] = {
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


def words_of_ours() -> set[str]:
    """Give each name of a variable that the library reads, or that somebody might hope for."""
    sources = Path(pandium.__file__).parent.rglob("*.py")
    found = {name for path in sources for name in re.findall(r"PANDIUM_[A-Z_]+", path.read_text())}
    hoped = "VERIFY SSL_VERIFY VERIFY_SSL TLS_VERIFY NO_VERIFY INSECURE CA_BUNDLE CERT_FILE SSL"
    return (found | {f"PANDIUM_{word}" for word in hoped.split()}) - {
        "PANDIUM_API_KEY",
        "PANDIUM_BASE_URL",
        "PANDIUM_ENV",
    }


@pytest.mark.parametrize("way", ["direct", "http", "socks5"])
@pytest.mark.parametrize("fault", BROKEN)
async def test_a_wrong_certificate_is_never_taken(
    fault: str, way: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong certificate is a ConnectFailed on any way, and the place is free again after it."""
    make = Socks5Proxy if way == "socks5" else HttpProxy
    with Misbehaving(tls=BROKEN[fault](authority)) as server, make() as proxy:
        if way != "direct":
            monkeypatch.setenv("HTTPS_PROXY", f"{way}://{proxy.address}")
        async with a_client(server.url, max_connections=1) as client:
            for _ in range(3):
                with anyio.fail_after(PATIENT), pytest.raises(errors.ConnectFailed) as caught:
                    await client.tenants.sync(7, mode="normal")
                assert not caught.value.outcome_unknown
                assert len(caught.value.attempts) == 2
                assert_untrusted(caught.value)
        assert server.seen == 0
        await server.until_idle()
        await proxy.until_idle()


@pytest.mark.parametrize("value", ["0", "1", "false", "true", ""])
async def test_no_variable_of_ours_switches_verification_off(
    value: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever PANDIUM_* variables say, a wrong certificate is refused."""
    # In a place of its own, as what was made for another test may be kept.
    path = tmp_path / "ca.pem"
    authority.ca.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    for name in words_of_ours():
        monkeypatch.setenv(name, value)
    with Misbehaving(tls=BROKEN["an unknown authority"](authority)) as server:
        async with a_client(server.url) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.runs.status("t-1")
            assert_untrusted(caught.value)
        assert server.seen == 0


async def test_an_authority_must_be_named_to_be_trusted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SSL_CERT_FILE, even after it was set once, a private authority is not trusted."""
    with secure(authority) as server:
        async with a_client(server.url) as client:
            await client.runs.status("t-1")
        monkeypatch.delenv("SSL_CERT_FILE")
        async with a_client(server.url) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.runs.status("t-1")
            assert_untrusted(caught.value)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        async with a_client(server.url) as client:
            await client.runs.status("t-1")


async def test_the_clients_of_a_process_share_one_ssl_context(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many clients speak TLS, with a proxy and without, certificates are loaded once."""
    path = tmp_path / "ca.pem"  # a place that no other test has loaded from
    authority.ca.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    make, made = ssl.create_default_context, []

    def count(*args: Any, **options: Any) -> ssl.SSLContext:
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", count)
    with secure(authority) as server, HttpProxy() as proxy:
        for is_proxied in (False, False, True, True):
            if is_proxied:
                monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            async with a_client(server.url) as client:
                assert (await client.runs.status("t-1")).status == "Running"
        assert len(proxy.targets) == 2
    assert len(made) == 1


@pytest.mark.parametrize(
    "refusal",
    ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway", "302 Found"],
)
async def test_a_refused_connect_was_never_sent(
    refusal: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that refuses to connect is a ConnectFailed, which a POST repeats without harm."""
    with secure(authority) as server, HttpProxy(refusal=refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        async with a_client(server.url, max_connections=1) as client:
            with anyio.fail_after(PATIENT), pytest.raises(errors.ConnectFailed) as caught:
                await client.tenants.sync(7, mode="normal")
            assert not caught.value.outcome_unknown
            assert len(caught.value.attempts) == len(proxy.requests) == 2
            assert server.accepted == 0
            proxy.refusal = None
            with anyio.fail_after(PATIENT):
                await client.tenants.sync(7, mode="normal")
        assert server.effects["POST", "/v2/tenants/7/sync"] == 1
        assert KEY.encode() not in proxy.seen


async def test_a_socks_proxy_that_refuses_is_a_failed_connection(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SOCKS proxy that may not connect, or wants a password, is a ConnectFailed."""
    with secure(authority) as server, Socks5Proxy(is_refusing=True) as proxy:
        for user in (None, PLAIN_USER):
            proxy.user = user
            monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
            async with a_client(server.url, max_connections=1) as client:
                for _ in range(2):
                    with anyio.fail_after(PATIENT), pytest.raises(errors.ConnectFailed) as caught:
                        await client.tenants.sync(7, mode="normal")
                    assert len(caught.value.attempts) == 2
        assert server.accepted == 0
        await proxy.until_idle()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_is_not_there_is_a_failed_connection(
    scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody listens for the proxy nothing is sent, not even around it."""
    with secure(authority) as server, Misbehaving(is_listening=False) as nobody:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{nobody.port}")
        async with a_client(server.url) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.tenants.sync(7, mode="normal")
            assert len(caught.value.attempts) == 2
        assert server.accepted == 0


@pytest.mark.parametrize("silence", ["before", "behind"])
@pytest.mark.parametrize("by", ["timeout", "cancellation"])
async def test_a_silent_proxy_takes_no_place_for_good(
    by: str, silence: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls cut off during CONNECT, or in the handshake behind it, leave nothing behind them."""
    with secure(authority) as server, HttpProxy(silence=silence) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        async with a_client(server.url, max_connections=1) as client:
            for number in range(3):
                with anyio.fail_after(PATIENT), anyio.CancelScope() as scope:
                    if by == "timeout":
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
            with anyio.fail_after(PATIENT):
                assert (await client.runs.status("t-1")).status == "Running"
        assert server.seen == 1
        await proxy.until_idle()


@pytest.mark.parametrize("silence", ["before", "behind"])
async def test_a_tunnel_that_is_not_made_in_time_was_never_sent(
    silence: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that answers CONNECT too late, or not to the handshake, is a ConnectFailed."""
    with secure(authority) as server, HttpProxy(silence=silence) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        async with a_client(server.url) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.with_options(timeout=0.2).tenants.sync(7, mode="normal")
            assert not caught.value.outcome_unknown
        assert server.seen == 0
