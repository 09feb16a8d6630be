"""A small, fast server for the benchmarks, which runs in a separate process."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS = b'{"status":"Running"}'
_ENDED = b'{"status":"Succeeded"}'
_PAGE = re.compile(rb"GET /v2/tenants\?(?=\S*\bskip=(\d+))(?=\S*\blimit=(\d+))")
_SYNC = re.compile(rb"POST /v2/tenants/(\d+)/sync[ ?]")
_ENDED_RUN = re.compile(rb"GET /v2/runs/triggers/ended-")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def _tenant(zone: str) -> dict[str, Any]:
    """Return a tenant with every documented field and `%d` in place of its number."""
    stamp = f"2026-01-02T03:04:05.678901{zone}"
    run = {"id": 71, "mode": "normal", "status": {"phase": "Succeeded", "startTime": stamp}}
    connectors = [
        {"name": name, "status": "connected", "last_change": stamp} for name in ("crm", "shop")
    ]
    return {
        "id": "%d",
        "name": "customer-%d",
        "archived": False,
        "integration_id": 42,
        "configs": {"region": "eu", "batch_size": 100, "notify": ["ops@example.com"]},
        "created_date": stamp,
        "modified_date": stamp,
        "paused": False,
        "user_schedule": None,
        "schedule": "0 * * * *",
        "source": "api",
        "integration_release_id": None,
        "integration_release_channel": "Latest",
        "status": {
            "last_run": run,
            "current_run": {},
            "last_successful_run": {},
            "dynamic_configs": {},
            "auth": {"connected": True, "connectors": connectors},
        },
    }


def tenants(first: int, count: int, zone: str = "Z") -> bytes:
    """Return a page of tenants, about 780 bytes each, with datetimes that end in `zone`."""
    row = json.dumps(_tenant(zone), separators=(",", ":")).replace('"%d"', "%d").encode()
    return b"[" + b",".join(row % (i, i) for i in range(first, first + count)) + b"]"


class Protocol(asyncio.Protocol):
    """
    A server for tenants, syncs, the status of a run, and the number of tenant requests so far.

    The run of a sync has succeeded as soon as it is polled. Any other run never ends.
    """

    requests = 0

    def __init__(self, delay: float, total: int) -> None:
        self.delay = delay
        self.total = total
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while (end := self.pending.find(b"\r\n\r\n")) >= 0:
            head = self.pending[:end]
            length = _LENGTH.search(head)
            end += 4 + (int(length[1]) if length else 0)
            if len(self.pending) < end:
                return
            self.pending = self.pending[end:]
            asyncio.get_running_loop().call_later(self.delay, self.respond, self.body_for(head))

    def body_for(self, head: bytes) -> bytes:
        if page := _PAGE.match(head):
            Protocol.requests += 1
            skip, limit = map(int, page.groups())
            return tenants(skip, max(0, min(limit, self.total - skip)))
        if sync := _SYNC.match(head):
            Protocol.requests += 1
            return b'{"trigger_id":"ended-%s"}' % sync[1]
        if _ENDED_RUN.match(head):
            return _ENDED
        return b"%d" % Protocol.requests if head.startswith(b"GET /requests ") else _STATUS

    def respond(self, body: bytes) -> None:
        if not self.transport.is_closing():
            head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
            self.transport.write(f"{head}{len(body)}\r\n\r\n".encode() + body)  # type: ignore[attr-defined]  # it is a WriteTransport


async def serve(delay: float, total: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(delay, total), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(delay: float, total: int = 0) -> Iterator[str]:
    """Run the server in another process and yield its URL."""
    command = [sys.executable, __file__, str(delay), str(total)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
