"""HTTP and SOCKS5 proxies on loopback that record what clients send."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import struct
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from support.servers import InThread, Request, answer, request_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK_SIZE = 1 << 16


class Proxy(InThread):
    """
    The base class of both proxies.

    :ivar targets: the ``host:port`` of each connection that a client requested.
    :ivar requests: the requests to the proxy itself.
    :ivar received: all bytes that clients sent.
    """

    def __init__(self, routes: Mapping[str, int] | None = None, user: str | None = None) -> None:
        """
        Create a proxy.

        :param routes: ports on loopback by host name, for names that do not resolve.
        :param user: the required credentials, as ``name:password``.
        """
        super().__init__()
        self._routes = dict(routes or {})
        self.user = user
        self.targets: list[str] = []
        self.requests: list[Request] = []
        self.received = bytearray()

    def __enter__(self) -> Self:
        super().__enter__()
        self.address = f"127.0.0.1:{self.port}"
        return self

    async def read(self, reader: asyncio.StreamReader, count: int) -> bytes:
        data = await reader.readexactly(count)
        self.received += data
        return data

    def record_target(self, target: str) -> None:
        with self._changed:
            self.targets.append(target)
            self._changed.notify_all()

    async def connect(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.record_target(f"{host}:{port}")
        return await asyncio.open_connection("127.0.0.1", self._routes.get(host, port))

    async def relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """Relay data in both directions until one side closes."""

        async def relay_back() -> None:
            while data := await far_reader.read(_CHUNK_SIZE):
                writer.write(data)
                await writer.drain()
            writer.close()

        task = asyncio.ensure_future(relay_back())
        try:
            while data := await reader.read(_CHUNK_SIZE):
                self.received += data
                far_writer.write(data)
                await far_writer.drain()
        finally:
            far_writer.transport.abort()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class HttpProxy(Proxy):
    """
    An HTTP proxy that opens tunnels for CONNECT and forwards requests in absolute form.

    :ivar refusal: the status line with which to refuse every request, or ``None``.
    :ivar silence: when to stop responding: ``before`` or ``behind`` (after) the CONNECT response.
    """

    def __init__(
        self,
        routes: Mapping[str, int] | None = None,
        *,
        user: str | None = None,
        refusal: str | None = None,
        silence: str | None = None,
    ) -> None:
        super().__init__(routes, user)
        self.refusal = refusal
        self.silence = silence

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.received += head
        request = request_of(head)
        self.requests.append(request)
        refusal = self.refusal
        if self.user is not None:
            expected = "Basic " + base64.b64encode(self.user.encode()).decode()
            if request.header("proxy-authorization") != expected:
                refusal = "407 Proxy Authentication Required"
        if refusal is not None:
            writer.write(answer(b"no", refusal))
            await writer.drain()
            writer.close()
        elif request.method == "CONNECT":
            await self._tunnel(request, reader, writer)
        else:
            await self._forward(request, head, reader, writer)

    async def _tunnel(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, _, port = request.target.rpartition(":")
        if self.silence == "before":
            self.record_target(request.target)
            await self.read_to_end(reader)
            return
        far = await self.connect(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        if self.silence == "behind":
            far[1].transport.abort()
            await self.read_to_end(reader)
        else:
            await self.relay(reader, writer, *far)

    async def read_to_end(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_CHUNK_SIZE):
            self.received += data

    async def _forward(
        self,
        request: Request,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        parts = urlsplit(request.target)
        assert parts.scheme == "http"
        assert parts.hostname is not None
        far_reader, far_writer = await self.connect(parts.hostname, parts.port or 80)
        origin_form = parts._replace(scheme="", netloc="").geturl() or "/"
        first, _, rest = head.partition(b"\r\n")
        far_writer.write(first.replace(request.target.encode(), origin_form.encode(), 1))
        far_writer.write(b"\r\n" + rest)
        await self.relay(reader, writer, far_reader, far_writer)


class Socks5Proxy(Proxy):
    """A SOCKS5 proxy, with or without a user name and password."""

    def __init__(
        self,
        routes: Mapping[str, int] | None = None,
        *,
        user: str | None = None,
        is_refusing: bool = False,
    ) -> None:
        super().__init__(routes, user)
        self._is_refusing = is_refusing

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await self.read(reader, 2)
        assert version == 5
        methods = await self.read(reader, count)
        required = 0 if self.user is None else 2
        if required not in methods:
            writer.write(b"\x05\xff")
            await writer.drain()
            return
        writer.write(bytes([5, required]))
        if self.user is not None and not await self._authenticate(reader, writer):
            return
        _, _, _, kind = await self.read(reader, 4)
        if kind == 1:
            host = str(ipaddress.IPv4Address(await self.read(reader, 4)))
        else:
            assert kind == 3
            [length] = await self.read(reader, 1)
            host = (await self.read(reader, length)).decode()
        [port] = struct.unpack("!H", await self.read(reader, 2))
        if self._is_refusing:
            self.record_target(f"{host}:{port}")
            writer.write(b"\x05\x02\x00\x01\0\0\0\0\0\0")
            await writer.drain()
            writer.close()
            return
        far = await self.connect(host, port)
        writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")
        await self.relay(reader, writer, *far)

    async def _authenticate(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        _, length = await self.read(reader, 2)
        name = await self.read(reader, length)
        [length] = await self.read(reader, 1)
        password = await self.read(reader, length)
        is_valid = f"{name.decode()}:{password.decode()}" == self.user
        writer.write(b"\x01\x00" if is_valid else b"\x01\x01")
        await writer.drain()
        return is_valid
