"""Run the handlers of connector calls in a thread or in the event loop."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any

ERROR_STATUS = range(300, 600)


@dataclass(frozen=True, slots=True)
class ConnectorRequest:
    """The request that the proxy would send to the upstream system."""

    tenant_id: int
    connector: str
    kind: str
    method: str
    url: str
    headers: Mapping[str, Any] | list[Any] | None = None
    query_params: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    data: str | None = None


class UpstreamFailure(Exception):  # noqa: N818 - a response of the upstream, not an error of the emulator
    """
    An error response from the upstream system, which a handler raises or returns.

    :param status: the status, 300 to 599.
    :param data: the body.
    """

    def __init__(self, status: int, data: Any = None) -> None:
        if status not in ERROR_STATUS:
            raise ValueError(f"status: must be 300 to 599, not {status!r}")
        super().__init__(status, data)
        self.status = status
        self.data = data


class Unsendable(Exception):  # noqa: N818 - the reason for a response of the proxy
    """A call that cannot be converted to an HTTP request."""


Handler = Callable[[ConnectorRequest], Any]


async def call(handler: Handler, request: ConnectorRequest) -> Any:
    """Call a handler in this event loop or, if it is a plain function, in a thread."""
    if inspect.iscoroutinefunction(handler):
        return await handler(request)
    result = await _in_thread(partial(handler, request))
    return await result if inspect.isawaitable(result) else result


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Run a function in a thread that can be abandoned, unlike a thread of an executor."""
    done: Future[Any] = Future()
    done.set_running_or_notify_cancel()  # the thread can set the result even if nobody waits for it

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            done.set_exception(error)

    Thread(target=run, name="pandium-emulator-handler", daemon=True).start()
    return await asyncio.wrap_future(done)
