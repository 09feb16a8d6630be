"""A server in a thread of its own, on loopback sockets that are bound beforehand."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Self

import uvicorn
from starlette.types import ASGIApp

HOST = "127.0.0.1"
TICK = 1.0
GRACE = 1.0


def bind(port: int) -> socket.socket:
    """Bind a loopback port; 0 lets the system pick one."""
    # asyncio turns Nagle's delays off only for sockets whose protocol is named.
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


class Serving(uvicorn.Server):
    """A uvicorn server that sleeps until it is told to end, instead of looking every tenth."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app, lifespan="off", access_log=False, log_config=None, loop="asyncio", ws="none"
        )
        super().__init__(config)
        self.ready = threading.Event()

    def end(self) -> None:
        """End the server, from any thread."""
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._ending.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and let it be known."""
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Keep the Date header right until the end."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle, give the rest a moment, then cut it off."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if tasks := self.server_state.tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # now they have noticed, and nobody answers them any more
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in sockets or ():
            sock.close()


class ServerThread:
    """A thread with an event loop, in which any number of servers run."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pandium-emulator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._wait())

    async def _wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._ready.set()
        await self._ending.wait()

    def serve(self, app: ASGIApp, sockets: Sequence[socket.socket]) -> Callable[[], None]:
        """Accept connections, or raise what keeps the server from it; return what ends it."""
        server = Serving(app)
        done = asyncio.run_coroutine_threadsafe(_serve(server, sockets), self._loop)
        done.add_done_callback(lambda _: server.ready.set())
        server.ready.wait()
        if done.done():
            done.result()

        def stop() -> None:
            server.end()
            done.result()

        return stop


async def _serve(server: Serving, sockets: Sequence[socket.socket]) -> None:
    try:
        await server.serve(list(sockets))
    finally:
        for sock in sockets:
            sock.close()
