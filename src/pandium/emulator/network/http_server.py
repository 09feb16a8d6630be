"""A server in its own thread, on loopback sockets that are already bound."""

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
# If the server closes an idle connection just as a client sends a request on it, the client cannot
# know whether the request was executed. The timeout is therefore longer than any test.
KEEP_ALIVE = 300
CONNECTION = "pandium.emulator.connection"
# With these options, closing a socket sends a reset. The fields are shorter on Windows.
NO_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


def bind(port: int) -> socket.socket:
    """Bind a loopback port. With 0, the operating system chooses a free port."""
    # asyncio disables Nagle's algorithm only for sockets that specify the protocol.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"port {port} of {HOST} cannot be used: {error.strerror}"
        ) from None
    return sock


# The number of event loop iterations until uvicorn knows about an accepted connection.
TURNS_OF_ACCEPT = 2

# The tasks that deliberately wait, and their connections.
IdleTasks = dict[asyncio.Task[Any], Sequence[asyncio.Transport]]


class Connection:
    """
    The connection of a request, for faults below HTTP.

    It is looked up by its addresses among uvicorn's open connections, because ASGI does not provide
    the transport. If the client has disconnected, there are no transports.
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
        """Allow the server to cancel this block immediately when it shuts down."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())  # requests always run in tasks
        self._idle[task] = self._transports
        try:
            yield
        finally:
            del self._idle[task]


class LoopbackServer(uvicorn.Server):
    """
    A uvicorn server that sleeps until it is stopped. uvicorn itself polls ten times per second.

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
            date_header=False,  # the date must come from the emulator's clock
        )
        super().__init__(config)
        self.ready: threading.Event = threading.Event()
        self._idle: IdleTasks = {}

    async def _serve_one(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CONNECTION] = partial(self._connection, scope["client"], scope["server"])
        await self._app(scope, receive, send)

    def _connection(self, *ends: tuple[str, int]) -> Connection:
        transports = [one.transport for one in self.server_state.connections]
        found = [one for one in transports if _ends(one) == ends]
        return Connection(found, self._idle)

    def end(self) -> None:
        """Shut the server down. Can be called from any thread."""
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._ending.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and signal that the server is ready."""
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Run the periodic work of uvicorn until the server ends."""
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
        # Closing a server does not close a connection that asyncio is still accepting. Therefore,
        # stop accepting first, and run the event loop until the server knows about it.
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
        await asyncio.sleep(0)  # the tasks notice the abort and no longer respond
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
    """A task in the event loop of the servers, which runs until `end` is called."""

    async def run(self) -> None: ...  # noqa: D102 - described above

    def end(self) -> None: ...  # noqa: D102 - described above


class ServerThread:
    """
    A thread with an event loop, in which any number of servers run.

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
        """Run a worker alongside the servers, and return a function that stops it."""
        done = asyncio.run_coroutine_threadsafe(worker.run(), self._loop)

        def stop() -> None:
            self._loop.call_soon_threadsafe(worker.end)
            self._wait_for(done)

        return stop

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the event loop. This method is thread-safe."""
        self._loop.call_soon_threadsafe(function)

    def serve(self, app: ASGIApp, sockets: Sequence[socket.socket]) -> Callable[[], None]:
        """Start a server and return a function that stops it, or raise the server's error."""
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
        # These are still open if a handler blocked the event loop until it was stopped.
        _abort(one.transport for one in server.server_state.connections)
        for sock in sockets:
            sock.close()
