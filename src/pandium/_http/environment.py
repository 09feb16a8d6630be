"""Read the proxy and certificate settings from the standard environment variables."""

from __future__ import annotations

import logging
import os
import ssl
import sys
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cache
from ipaddress import IPV4LENGTH, IPV6LENGTH, IPv4Network, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.request import getproxies

import httpx

from pandium.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv6Network

__all__ = ["NoProxy", "Proxies", "create_ssl_context", "find_proxy", "is_connectable", "origin_of"]

_log = logging.getLogger("pandium")
_LARGEST_PORT = 65535
_MAX_PORT_DIGITS = 9


class Proxies:
    """
    The proxies in `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`, and the exceptions in `NO_PROXY`.

    :param by_scheme: the proxy for each URL scheme, and for ``all``. ``None`` stands for an invalid
        one, which is no error unless it is needed: it may be meant for other programs.
    :param no_proxy: the hosts that are accessed without a proxy.
    """

    def __init__(self, by_scheme: Mapping[str, httpx.Proxy | None], no_proxy: NoProxy) -> None:
        self._by_scheme = by_scheme
        self._no_proxy = no_proxy

    @classmethod
    def from_environment(cls) -> Proxies:
        """Create an instance from the environment variables."""
        found = getproxies()
        by_scheme = {
            scheme: _parse_proxy(found[scheme])
            for scheme in ("http", "https", "all")
            if found.get(scheme, "").strip()
        }
        return cls(by_scheme, NoProxy.from_environment())

    def for_url(self, url: httpx.URL) -> httpx.Proxy | None:
        """
        Return the proxy through which to access a URL, or ``None``.

        :raises ConfigurationError: if the URL of the proxy is invalid. The message does not show
            it, because it may contain a password.
        """
        name = url.scheme if url.scheme in self._by_scheme else "all"
        if name not in self._by_scheme or self._no_proxy.matches(url):
            return None
        proxy = self._by_scheme[name]
        if proxy is None:
            raise ConfigurationError(f"{name.upper()}_PROXY is not a valid proxy URL")
        return proxy


def find_proxy(url: str) -> str | None:
    """
    Return the scheme, host and port of the proxy through which to access a URL.

    :raises ConfigurationError: if the URL of a proxy is invalid.
    """
    proxy = Proxies.from_environment().for_url(httpx.URL(url))
    return None if proxy is None else origin_of(proxy.url)


def origin_of(url: httpx.URL) -> str:
    """Return the scheme, host and port of a URL. The rest may contain a misplaced password."""
    return f"{url.scheme}://{url.netloc.decode()}"


def _parse_proxy(value: str) -> httpx.Proxy | None:
    value = value.strip()
    with suppress(ValueError, httpx.InvalidURL):
        parsed = httpx.Proxy(value if "://" in value else f"http://{value}")
        if is_connectable(parsed.url):
            return parsed
    return None


def is_connectable(url: httpx.URL) -> bool:
    """
    Return whether a URL has a host and a valid port.

    :raises ValueError: if the host is not a valid international domain name.
    """
    return bool(url.host) and (url.port is None or 0 < url.port <= _LARGEST_PORT)


class NoProxy:
    """
    The hosts in `NO_PROXY`, which are accessed without a proxy.

    An entry is a host name, an IPv4 or IPv6 address or network, or a pattern with ``*``, which
    matches any characters. A host name also matches its subdomains, with or without a leading ``.``
    or ``*.``. A host can be followed by a port, or be written as a URL. Any other entry is ignored,
    because it may be meant for another tool.
    """

    def __init__(self, value: str) -> None:
        self._is_everything = False
        self._domains: list[tuple[str, int | None]] = []
        self._networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        for entry in value.replace(",", " ").split():
            self._add(entry.lower())

    @classmethod
    def from_environment(cls) -> NoProxy:
        """Create an instance from the `NO_PROXY` environment variable."""
        return cls(getproxies().get("no", ""))

    def _add(self, entry: str) -> None:
        _, mark, rest = entry.strip("'\"").rpartition("://")
        # Without a scheme, a slash is part of a network.
        host, port = _split_port(rest.partition("/")[0] if mark else rest.rstrip("/"))
        if host == "*" and port is None:
            self._is_everything = True
            return
        try:
            self._networks.append((_unmap(ip_network(host, strict=False)), port))
        except ValueError:
            if domain := host.removeprefix("*.").removeprefix(".").removesuffix("."):
                self._domains.append((_to_ascii(domain), port))

    def matches(self, url: httpx.URL) -> bool:
        """Return whether requests to this URL bypass the proxy."""
        if self._is_everything:
            return True
        port = url.port or (443 if url.scheme == "https" else 80)
        return self._matches_host(url.raw_host.decode("ascii").lower().rstrip("."), port)

    def _matches_host(self, host: str, port: int) -> bool:
        domains = [domain for domain, wanted in self._domains if wanted in (None, port)]
        if any("*" in domain and fnmatchcase(host, domain) for domain in domains):
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return any(f".{host}".endswith(f".{domain}") for domain in domains)
        addresses = {address, getattr(address, "ipv4_mapped", None) or address}
        networks = [network for network, wanted in self._networks if wanted in (None, port)]
        return any(address in network for network in networks for address in addresses)


def _unmap(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network that an IPv6 network such as ``::ffff:10.0.0.0/104`` stands for."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    prefix = network.prefixlen - (IPV6LENGTH - IPV4LENGTH)
    return network if mapped is None or prefix < 0 else IPv4Network((mapped, prefix))


def _to_ascii(domain: str) -> str:
    """Encode an international domain name as httpx does."""
    if not domain.isascii():
        with suppress(httpx.InvalidURL, ValueError):  # the latter for the zone of an IPv6 address
            return httpx.URL(scheme="http", host=domain).raw_host.decode("ascii")
    return domain


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    else:
        host, port = entry, ""
    # Python limits the number of digits that it converts.
    return host, int(port[:_MAX_PORT_DIGITS]) if port.isascii() and port.isdigit() else None


# Opening a FIFO without a reader would block. Windows has no FIFOs.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
# What `ssl.create_default_context` sets
_DEFAULT_FLAGS = (
    ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    if sys.version_info >= (3, 13)
    else ssl.VerifyFlags(0)
)


@cache
def _shared_ssl_context(_file: str | None, _directory: str | None) -> ssl.SSLContext:
    # Python opens the key log file for every context and raises an error if that fails.
    if not _is_unwritable(os.environ.get("SSLKEYLOGFILE")):
        return httpx.create_ssl_context()
    _log.warning("cannot write to SSLKEYLOGFILE; TLS keys are not logged")
    return _create_without_key_log()


def create_ssl_context() -> ssl.SSLContext:
    """
    Return the process-wide TLS context, configured from `SSL_CERT_FILE` and `SSL_CERT_DIR`.

    The context is shared, because loading the certificates takes tens of milliseconds.

    :raises ConfigurationError: if the certificates cannot be loaded.
    """
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        return _shared_ssl_context(file, directory)
    except OSError as error:
        reason = f"cannot load certificates from SSL_CERT_FILE or SSL_CERT_DIR: {error}"
    raise ConfigurationError(reason)


def _is_unwritable(path: str | None) -> bool:
    if not path:
        return False
    try:
        os.close(os.open(path, _APPEND, 0o666))
    except OSError:
        return True
    return False


def _create_without_key_log() -> ssl.SSLContext:
    import certifi  # noqa: PLC0415 - a dependency of httpx that is rarely needed here

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= _DEFAULT_FLAGS
    # As in httpx, the directory is used only without a file.
    if file := os.environ.get("SSL_CERT_FILE"):
        context.load_verify_locations(cafile=file)
    elif directory := os.environ.get("SSL_CERT_DIR"):
        context.load_verify_locations(capath=directory)
    else:
        context.load_verify_locations(cafile=certifi.where())
    return context
