"""A raw server that follows a script, valid or invalid, and counts what it did."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from email.utils import format_datetime
from typing import TYPE_CHECKING, Self

import anyio.to_thread
import attrs

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

_PATIENCE = 10.0  # the time within which anything that a test waits for must happen, in seconds
_LONGEST_HEAD = 1 << 20


class InThread(ABC):
    """A server in a thread with its own event loop, for use by tests on any event loop."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, is_listening: bool = True) -> None:
        self._tls = tls
        self._changed = threading.Condition()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_listening = is_listening
        self.accepted = 0

    def __enter__(self) -> Self:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self._thread: threading.Thread | None = None
        if self._is_listening:
            self.listen()
        return self

    def listen(self) -> None:
        """Start to accept connections. Until then, they are refused."""
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(started)))
        self._thread.start()
        assert started.wait(_PATIENCE)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_PATIENCE)
            assert not self._thread.is_alive()
        self.socket.close()

    async def _main(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(
            self._accept, sock=self.socket, ssl=self._tls, backlog=1000, limit=_LONGEST_HEAD
        )
        started.set()
        await self._stop.wait()
        # Closing a server does not close connections that are still being accepted.
        self._loop.remove_reader(self.socket)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0)  # a task canceled before it starts does not close its connection
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        server.close()
        await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._changed:
            self._open.add(writer)
            self.accepted += 1
            self._changed.notify_all()
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client disconnected
        finally:
            writer.transport.abort()  # already closed by a behavior that ends gracefully
            with self._changed:
                self._open.discard(writer)
                self._changed.notify_all()

    @abstractmethod
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it is closed."""

    @property
    def open(self) -> int:
        """The number of open connections."""
        with self._changed:
            return len(self._open)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        if not condition():
            await anyio.to_thread.run_sync(self.wait_until, condition)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, in a test that is not async."""
        with self._changed:
            assert self._changed.wait_for(condition, _PATIENCE)

    def hang_up(self) -> None:
        """Reset all connections."""
        for task in list(self._tasks):
            self._loop.call_soon_threadsafe(task.cancel)

    async def until_idle(self) -> None:
        """Wait until no connection is open."""
        await self.until(lambda: not self._open)


@attrs.frozen
class Request:
    """A request as it was received."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None  # None if the body was not read

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """Return the value of a header, or an empty string."""
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        assert len(values) <= 1
        return values[0] if values else None


def request_of(head: bytes) -> Request:
    """Read the request line and the headers."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    assert version == "HTTP/1.1"
    headers = tuple((name, value.strip()) for name, _, value in (x.partition(":") for x in lines))
    return Request(method, target, headers, None)


async def read_body(reader: asyncio.StreamReader, request: Request) -> Request:
    """Read the body of a request."""
    body = await reader.readexactly(int(request.header("content-length") or 0))
    return attrs.evolve(request, body=body)


@attrs.frozen
class Wire:
    """A connection during one request, on which a behavior responds."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: Request | None
    good: bytes  # the body of a successful response

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    async def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_gone(self) -> None:
        while await self.reader.read(1 << 16):
            pass

    async def read_rest(self) -> None:
        assert self.request is not None
        await read_body(self.reader, self.request)


@attrs.frozen
class Behavior:
    """
    The way to respond to one request.

    ``reads`` is the part of the request to read before ``play`` is called: ``nothing`` (as soon as
    the connection is accepted), ``part`` (a few bytes), ``head`` or ``all``. A request that was
    read completely counts as executed, unless ``is_refused`` is set. ``keeps`` leaves the
    connection open.
    """

    name: str
    play: Callable[[Wire], Awaitable[None]]
    reads: str = "all"
    is_refused: bool = False
    keeps: bool = False


def answer(body: bytes, status: str = "200 OK", headers: Mapping[str, str] | None = None) -> bytes:
    """Write a complete response."""
    lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode("latin-1") + body


def good_body(request: Request) -> bytes:
    """Return the body of a successful response to a request."""
    tail = request.path.rpartition("/")[2]
    if request.method == "PATCH" and tail != "metadata":
        return b'{"id": 7, "name": "acme"}'
    answers: dict[str, object] = {
        "status": {"status": "Running"},
        "metadata": {"tenant_id": 7, "data": {}},
        "sync": {"trigger_id": "t-1"},
        "call": {"data": {"ok": True}},
    }
    return json.dumps(answers.get(tail, {"detail": "done"})).encode()


# Behaviors. Each is created by a function whose arguments are its settings.


def _plain(
    name: str, make: Callable[[bytes], bytes], *, reads: str = "all", is_closing: bool = True
) -> Behavior:
    async def play(wire: Wire) -> None:
        await wire.send(make(wire.good))
        await (wire.close() if is_closing else wire.until_gone())

    return Behavior(name, play, reads)


def healthy() -> Behavior:
    async def play(wire: Wire) -> None:
        await wire.send(answer(wire.good))

    return Behavior("healthy", play, keeps=True)


def late(seconds: float) -> Behavior:
    async def play(wire: Wire) -> None:
        await asyncio.sleep(seconds)
        await wire.send(answer(wire.good))

    return Behavior("late", play, keeps=True)


def together(count: int) -> Behavior:
    """Respond to ``count`` requests once all of them have arrived."""
    barrier = asyncio.Barrier(count)

    async def play(wire: Wire) -> None:
        await barrier.wait()
        await wire.send(answer(wire.good))

    return Behavior(f"{count} together", play, keeps=True)


def body_in_pieces(seconds: float) -> Behavior:
    async def play(wire: Wire) -> None:
        whole = answer(wire.good)
        begin = len(whole) - len(wire.good)
        await wire.send(whole[: begin + 1])
        for end in (begin + 5, len(whole)):
            await asyncio.sleep(seconds / 2)
            await wire.send(whole[begin + 1 : end])
            begin = end - 1

    return Behavior("body in pieces", play, keeps=True)


def reset(reads: str) -> Behavior:
    return Behavior(f"reset having read {reads}", Wire.reset, reads)


def close(reads: str) -> Behavior:
    return Behavior(f"close having read {reads}", Wire.close, reads)


def half_a_status_line() -> Behavior:
    return _plain("half a status line", lambda _: b"HTTP/1.1 20")


def half_a_header() -> Behavior:
    return _plain("half a header", lambda _: b"HTTP/1.1 200 OK\r\nContent-Le")


def half_a_body() -> Behavior:
    return _plain("half a body", lambda good: answer(good)[: -len(good) // 2])


def reset_in_the_body() -> Behavior:
    async def play(wire: Wire) -> None:
        await wire.send(answer(wire.good)[: -len(wire.good) // 2])
        await wire.reset()

    return Behavior("reset in the body", play)


def length_too_long() -> Behavior:
    return _plain("content-length too long", lambda good: answer(good + b"x")[:-1])


def length_too_short() -> Behavior:
    async def play(wire: Wire) -> None:
        head, gap, body = answer(wire.good[:-3]).partition(b"\r\n\r\n")
        await wire.send(head + gap + body + wire.good[-3:])

    return Behavior("content-length too short", play, keeps=True)


def two_answers(second: bytes) -> Behavior:
    async def play(wire: Wire) -> None:
        await wire.send(answer(wire.good) + answer(second))

    return Behavior("two answers", play, keeps=True)


def length_below_zero() -> Behavior:
    return _plain(
        "content-length below 0",
        lambda good: b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n" + good,
    )


def garbage(data: bytes = b"\x16\x03\x01\x00\xff what is this?\r\n\r\n") -> Behavior:
    return _plain("garbage", lambda _: data)


def garbage_and_wait() -> Behavior:
    return _plain("garbage, and wait", lambda _: b"\0\r\n" * 9, is_closing=False)


def bad_chunk() -> Behavior:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return _plain("a chunk of no length", lambda good: head + b"xyz\r\n" + good)


def half_a_chunk() -> Behavior:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return _plain("half a chunk", lambda good: head + b"fff\r\n" + good)


def stall_in_the_handshake() -> Behavior:
    """Accept a connection, but do not respond to the TLS handshake."""
    return Behavior("stall in the handshake", Wire.until_gone, "nothing")


def stall_before_the_answer() -> Behavior:
    return _plain("stall before the answer", lambda _: b"", is_closing=False)


def stall_in_the_head() -> Behavior:
    return _plain("stall in the head", lambda _: b"HTTP/1.1 200 OK\r\nCont", is_closing=False)


def stall_in_the_body() -> Behavior:
    return _plain("stall in the body", lambda good: answer(good)[:-3], is_closing=False)


def status_and_stall(line: str) -> Behavior:
    return _plain("status and stall", lambda _: answer(b"x" * 99, line)[:-9], is_closing=False)


def status_and_reset(line: str) -> Behavior:
    async def play(wire: Wire) -> None:
        await wire.send(answer(b"x" * 99, line)[:-9])
        await wire.reset()

    return Behavior("status and reset", play)


def status_and_close(line: str, body: bytes, missing: int, **headers: str) -> Behavior:
    """Close the connection before the last bytes of the body, of which so many are missing."""

    async def play(wire: Wire) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        whole = answer(body, line, names)
        await wire.send(whole[: len(whole) - missing])

    return Behavior(f"status and close, {missing} bytes missing", play)


def reply(text: str) -> Behavior:
    return _plain(f"reply {text[:12]}", lambda _: text.encode())


def byte_by_byte(interval: float) -> Behavior:
    async def play(wire: Wire) -> None:
        for byte in answer(wire.good):
            await wire.send(bytes([byte]))
            await asyncio.sleep(interval)

    return Behavior(f"a byte each {interval} s", play, keeps=True)


def tiny_pieces() -> Behavior:
    return attrs.evolve(byte_by_byte(0), name="tiny pieces")


def lying_gzip() -> Behavior:
    headers = {"Content-Encoding": "gzip"}
    return _plain("gzip that is none", lambda good: answer(good, headers=headers))


def half_a_gzip() -> Behavior:
    headers = {"Content-Encoding": "gzip"}
    return _plain(
        "half a gzip", lambda good: answer(gzip.compress(good)[: len(good) // 2], headers=headers)
    )


def many_headers(count: int = 100_000) -> Behavior:
    headers = {f"X-{number}": "y" for number in range(count)}
    return _plain(f"{count} headers", lambda good: answer(good, headers=headers))


def status(line: str, body: bytes = b"{}", **headers: str) -> Behavior:
    """Respond with a status. The request counts as executed unless the status is 429."""

    async def play(wire: Wire) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        await wire.send(answer(body, line, names))

    name = " ".join([line, *headers.values()])
    return Behavior(name, play, is_refused=line.startswith("429"), keeps=True)


def http_date(when: datetime) -> str:
    return format_datetime(when, usegmt=True)


def close_after_the_answer() -> Behavior:
    return _plain("close after the answer", answer)


def old_http() -> Behavior:
    return _plain("HTTP/1.0 with no length", lambda good: b"HTTP/1.0 200 OK\r\n\r\n" + good)


def continue_first() -> Behavior:
    async def play(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + answer(wire.good))

    return Behavior("100 Continue first", play, keeps=True)


def continue_alone() -> Behavior:
    return _plain("100 Continue alone", lambda _: b"HTTP/1.1 100 Continue\r\n\r\n")


def switch_protocols() -> Behavior:
    line = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: upgrade\r\n\r\n"
    return _plain("another protocol", lambda _: line, is_closing=False)


def answer_before_the_body() -> Behavior:
    async def play(wire: Wire) -> None:
        await wire.send(answer(wire.good))
        await wire.read_rest()

    return Behavior("answer before the body", play, "head", keeps=True)


class Misbehaving(InThread):
    """
    Follow a script with one behavior per request, then respond successfully.

    ``requests`` contains the requests whose head was read. ``seen`` is the number of behaviors
    played, and therefore of attempts received. ``effects`` is the number of requests, for each
    method and path, that were received completely and not refused.
    """

    def __init__(
        self,
        *behaviors: Behavior,
        otherwise: Behavior | None = None,
        tls: ssl.SSLContext | None = None,
        is_listening: bool = True,
    ) -> None:
        super().__init__(tls, is_listening=is_listening)
        self._script = deque(behaviors)
        self._otherwise = otherwise or healthy()
        self._scheme = "http" if tls is None else "https"
        self.requests: list[Request] = []
        self.seen = 0
        self.effects: Counter[tuple[str, str]] = Counter()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def arrived(self) -> Counter[tuple[str, str]]:
        return Counter((request.method, request.path) for request in self.requests)

    def play(self, behaviors: Sequence[Behavior], otherwise: Behavior | None = None) -> None:
        """Replace the rest of the script."""
        with self._changed:
            self._script = deque(behaviors)
            self._otherwise = otherwise or healthy()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        blank = Wire(reader, writer, None, b"")
        if (self._script and self._script[0].reads == "nothing") or (
            not self._script and self._otherwise.reads == "nothing"
        ):
            await self._take().play(blank)
            return
        while first := await reader.read(1):
            behavior = self._take()
            if behavior.reads == "part":
                await reader.readexactly(10)
                await behavior.play(blank)
                return
            request = request_of(first + await reader.readuntil(b"\r\n\r\n"))
            if behavior.reads == "all":
                request = await read_body(reader, request)
            self._note(request, behavior)
            await behavior.play(Wire(reader, writer, request, good_body(request)))
            if not behavior.keeps:
                return

    def _take(self) -> Behavior:
        with self._changed:
            self.seen += 1
            self._changed.notify_all()
            return self._script.popleft() if self._script else self._otherwise

    def _note(self, request: Request, behavior: Behavior) -> None:
        with self._changed:
            self.requests.append(request)
            if request.body is not None and not behavior.is_refused:
                self.effects[request.method, request.path] += 1
            self._changed.notify_all()
