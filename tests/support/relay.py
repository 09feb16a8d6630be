"""
Forward connections: the process that `support.namespaces.Namespace` starts.

Arguments: where to listen, and where to connect. Each is the path of a Unix socket or a port on
loopback. Network namespaces share Unix sockets, so two of these processes connect a namespace to a
server outside it, whatever happens to its network.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

LISTEN, CONNECT = sys.argv[1:]


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if CONNECT.isdigit():
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", int(CONNECT))
    else:
        other_reader, other_writer = await asyncio.open_unix_connection(CONNECT)
    await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))


async def main() -> None:
    if LISTEN.isdigit():
        server = await asyncio.start_server(forward, "127.0.0.1", int(LISTEN))
    else:
        server = await asyncio.start_unix_server(forward, LISTEN)
    print("listening", flush=True)  # noqa: T201 - the parent process waits for it
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
