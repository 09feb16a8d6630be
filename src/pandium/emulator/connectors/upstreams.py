"""The systems behind the proxy: functions of a call, in a thread or on the event loop."""

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
    """What the proxy would send to the other system."""

    tenant_id: int
    connector: str
    kind: str
    method: str
    url: str
    headers: Mapping[str, Any] | list[Any] | None = None
    query_params: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    data: str | None = None


class UpstreamFailure(Exception):  # noqa: N818 - the other system's answer, not a fault of ours
    """The other system's failure: to be raised or returned by a handler."""

    def __init__(self, status: int, data: Any = None) -> None:
        if status not in ERROR_STATUS:
            raise ValueError(f"status: must be 300 to 599, not {status!r}")
        super().__init__(status, data)
        self.status = status
        self.data = data


class Unsendable(Exception):  # noqa: N818 - the proxy's objection to a call
    """A call that cannot be made into an HTTP request."""


Handler = Callable[[ConnectorRequest], Any]


async def call(handler: Handler, request: ConnectorRequest) -> Any:
    """Return what a handler returns: on this event loop, or for plain functions in a thread."""
    if inspect.iscoroutinefunction(handler):
        return await handler(request)
    result = await _in_thread(partial(handler, request))
    return await result if inspect.isawaitable(result) else result


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Wait for a thread that can be left behind, unlike those of an executor."""
    done: Future[Any] = Future()
    done.set_running_or_notify_cancel()  # whoever waits may leave, the thread still has its place

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            done.set_exception(error)

    Thread(target=run, name="pandium-emulator-handler", daemon=True).start()
    return await asyncio.wrap_future(done)
