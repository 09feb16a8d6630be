"""Run blocking functions, such as name lookups, in daemon threads, which do not delay the end."""

from __future__ import annotations

import socket
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

__all__ = ["DaemonExecutor", "look_up_in_daemon_threads"]

T = TypeVar("T")


class DaemonExecutor(ThreadPoolExecutor):
    """
    An executor for an event loop that calls each function in a new daemon thread.

    A name lookup cannot be canceled. It takes up to 20 seconds if no name server responds. The end
    of an event loop and of the interpreter would wait for the threads of other executors. They also
    refuse work once the main thread has ended, although other threads may still be running.
    """

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function in a new thread."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # from now on, it cannot be canceled

        def run() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        Thread(target=run, name="pandium lookup", daemon=True).start()
        return future


def look_up_in_daemon_threads(loop: AbstractEventLoop) -> None:
    """Make an event loop look up names in daemon threads, but run everything else as before."""
    executor = DaemonExecutor()

    async def getaddrinfo(*args: Any, **options: Any) -> Any:
        look_up = partial(socket.getaddrinfo, *args, **options)
        try:
            found = loop.run_in_executor(executor, look_up)
        except RuntimeError:  # no thread can be started: block the loop rather than fail
            return look_up()
        return await found

    loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]  # its class depends on the policy
