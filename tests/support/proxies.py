"""Little proxies on loopback, of HTTP and of SOCKS5, that note what they see."""

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

_PIECE = 1 << 16


class Proxy(InThread):
    """
    What both kinds share.

    ``routes`` are the hosts that are asked for in place of those that a client names, so that a
    test can use names that exist nowhere; ``seen`` is all that came from clients, byte by byte.
    """

    def __init__(self, routes: Mapping[str, int] | None = None, user: str | None = None) -> None:
        super().__init__()
        self._routes = dict(routes or {})
        self.user = user
        self.targets: list[str] = []
        self.requests: list[Request] = []
        self.seen = bytearray()

    def __enter__(self) -> Self:
        super().__enter__()
        self.address = f"127.0.0.1:{self.port}"
        return self

    async def read(self, reader: asyncio.StreamReader, count: int) -> bytes:
        data = await reader.readexactly(count)
        self.seen += data
        return data

    def note(self, target: str) -> None:
        with self._changed:
            self.targets.append(target)
            self._changed.notify_all()

    async def dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.note(f"{host}:{port}")
        return await asyncio.open_connection("127.0.0.1", self._routes.get(host, port))

    async def pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        async def back() -> None:
            while data := await far_reader.read(_PIECE):
                writer.write(data)
                await writer.drain()
            writer.close()

        task = asyncio.ensure_future(back())
        try:
            while data := await reader.read(_PIECE):
                self.seen += data
                far_writer.write(data)
                await far_writer.drain()
        finally:
            far_writer.transport.abort()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class HttpProxy(Proxy):
    """Speaks CONNECT, and forwards what comes in absolute form."""

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
        self.seen += head
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
            self.note(request.target)
            await self.read_on(reader)
            return
        far = await self.dial(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        if self.silence == "behind":
            far[1].transport.abort()
            await self.read_on(reader)
        else:
            await self.pipe(reader, writer, *far)

    async def read_on(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_PIECE):
            self.seen += data

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
        far_reader, far_writer = await self.dial(parts.hostname, parts.port or 80)
        origin_form = parts._replace(scheme="", netloc="").geturl() or "/"
        first, _, rest = head.partition(b"\r\n")
        far_writer.write(first.replace(request.target.encode(), origin_form.encode(), 1))
        far_writer.write(b"\r\n" + rest)
        await self.pipe(reader, writer, far_reader, far_writer)


class Socks5Proxy(Proxy):
    """Speaks SOCKS5, with or without a user name and a password."""

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
        wanted = 0 if self.user is None else 2
        if wanted not in methods:
            writer.write(b"\x05\xff")
            await writer.drain()
            return
        writer.write(bytes([5, wanted]))
        if self.user is not None and not await self._may_pass(reader, writer):
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
            self.note(f"{host}:{port}")
            writer.write(b"\x05\x02\x00\x01\0\0\0\0\0\0")
            await writer.drain()
            writer.close()
            return
        far = await self.dial(host, port)
        writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")
        await self.pipe(reader, writer, *far)

    async def _may_pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, length = await self.read(reader, 2)
        name = await self.read(reader, length)
        [length] = await self.read(reader, 1)
        password = await self.read(reader, length)
        may_pass = f"{name.decode()}:{password.decode()}" == self.user
        writer.write(b"\x01\x00" if may_pass else b"\x01\x01")
        await writer.drain()
        return may_pass
