"""An HTTP server in a background thread, on loopback sockets that are already bound."""

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, Self, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
TICK = 1.0
GRACE = 1.0
MAX_STOP_SECONDS = 5.0
# If the server closed an idle connection just as a client reused it, the client could not know
# whether its request was executed. This is longer than any test, even on a busy machine.
KEEP_ALIVE = 300
CONNECTION = "pandium.emulator.connection"
# The value of SO_LINGER with which closing a socket resets the connection.
NO_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


def bind(port: int) -> socket.socket:
    """Bind a loopback port. With 0, the system assigns one."""
    # asyncio sets TCP_NODELAY only if the protocol is specified.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"cannot listen on port {port} of {HOST}: {error.strerror}"
        ) from None
    return sock


# The number of loop turns from accepting a connection to its entry in the server's list.
TURNS_OF_ACCEPT = 2

# The requests that wait on purpose, and the transports of their connections.
IdleTasks = dict[asyncio.Task[Any], Sequence[asyncio.Transport]]


class Connection:
    """
    The connection of a request, for faults below HTTP.

    ASGI does not expose the transport, and uvicorn's protocols differ. The connection is therefore
    looked up by its addresses among those that uvicorn has open. If the client has disconnected,
    there are no transports.
    """

    def __init__(self, transports: Sequence[asyncio.Transport], idle: IdleTasks) -> None:
        self._transports = transports
        self._idle = idle

    def reset(self) -> None:
        """Reset the connection."""
        for transport in self._transports:
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            transport.abort()

    def close(self) -> None:
        """Close the connection once all data has been sent."""
        for transport in self._transports:
            transport.close()

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """Return a context manager for waits that the server cancels immediately when it stops."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())  # a request has a task
        self._idle[task] = self._transports
        try:
            yield
        finally:
            del self._idle[task]


class LoopbackServer(uvicorn.Server):
    """
    A uvicorn server that waits for an event instead of checking ten times a second.

    The scope of each request contains a function that returns its `Connection`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        config = uvicorn.Config(
            self._serve_one,
            interface="asgi3",
            lifespan="off",
            access_log=False,
            log_config=None,
            loop="asyncio",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE,
            date_header=False,  # the emulator adds the date of its own clock
        )
        super().__init__(config)
        self.ready = threading.Event()
        self._idle: IdleTasks = {}

    async def _serve_one(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CONNECTION] = partial(self._connection, scope["client"], scope["server"])
        await self._app(scope, receive, send)

    def _connection(self, *ends: tuple[str, int]) -> Connection:
        transports = [one.transport for one in self.server_state.connections]
        found = [one for one in transports if _ends(one) == ends]
        return Connection(found, self._idle)

    def end(self) -> None:
        """Stop the server. Thread-safe."""
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._ending.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Run until the server is stopped."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close idle connections, wait briefly for the others, then abort them."""
        await self._stop_accepting()
        await self._abort_connections(
            [one for found in self._idle.values() for one in found], self._idle
        )
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if tasks := self.server_state.tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        await self._abort_connections(
            [one.transport for one in self.server_state.connections], tasks
        )
        for sock in sockets or ():
            sock.close()

    async def _stop_accepting(self) -> None:
        # When asyncio closes a server, it does not close connections that are being accepted. Stop
        # listening first, then run the loop until all of them are in the server's list.
        for server in self.servers:
            for sock in server.sockets:
                self._loop.remove_reader(sock.fileno())
        for _ in range(TURNS_OF_ACCEPT):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()

    async def _abort_connections(
        self, transports: Sequence[asyncio.Transport], tasks: Collection[asyncio.Task[Any]]
    ) -> None:
        _abort(transports)
        await asyncio.sleep(0)  # the protocols have noticed, and send no more responses
        tasks = list(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _abort(transports: Iterable[asyncio.Transport]) -> None:
    for transport in transports:
        transport.abort()


def _ends(transport: asyncio.Transport) -> tuple[object, object]:
    return transport.get_extra_info("peername"), transport.get_extra_info("sockname")


class BackgroundWorker(Protocol):
    """A task in the event loop of the servers that runs until it is told to end."""

    async def run(self) -> None: ...  # noqa: D102 - described above

    def end(self) -> None: ...  # noqa: D102 - described above


class ServerThread:
    """
    A thread with an event loop, in which any number of servers can run.

    If a user's handler blocks the event loop, the thread is abandoned after a few seconds.
    """

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop_timeout = MAX_STOP_SECONDS
        self._thread = threading.Thread(target=self._run, name="pandium-emulator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(self._stop_timeout)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._wait())
        except BaseException as error:  # noqa: BLE001 - raised where the thread is started
            self._failure = error
        finally:
            self._ready.set()

    async def _wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._ready.set()
        await self._ending.wait()

    def run(self, worker: BackgroundWorker) -> Callable[[], None]:
        """Run a worker beside the servers, and return a function that ends it."""
        done = asyncio.run_coroutine_threadsafe(worker.run(), self._loop)

        def stop() -> None:
            self._loop.call_soon_threadsafe(worker.end)
            self._wait_for(done)

        return stop

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the event loop. Thread-safe."""
        self._loop.call_soon_threadsafe(function)

    def serve(self, app: ASGIApp, sockets: Sequence[socket.socket]) -> Callable[[], None]:
        """Start a server, and return a function that stops it."""
        server = LoopbackServer(app)
        done = asyncio.run_coroutine_threadsafe(_serve(server, sockets), self._loop)
        done.add_done_callback(lambda _: server.ready.set())
        server.ready.wait()
        if done.done():
            done.result()

        def stop() -> None:
            server.end()
            self._wait_for(done)

        return stop

    def _wait_for(self, done: Future[None]) -> None:
        try:
            done.result(self._stop_timeout)
        except TimeoutError:
            self._stop_timeout = 0.0


async def _serve(server: LoopbackServer, sockets: Sequence[socket.socket]) -> None:
    try:
        await server.serve(list(sockets))
    finally:
        # These connections remain if the event loop ends first because a handler blocked it.
        _abort(one.transport for one in server.server_state.connections)
        for sock in sockets:
            sock.close()
