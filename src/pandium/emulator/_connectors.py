"""Connector calls: who answers for the systems behind the proxy."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pandium.emulator._problems import Problem, refuse_if
from pandium.emulator._records import Tenant
from pandium.emulator._views import encode

ERROR_STATUS = range(300, 600)

log = logging.getLogger("pandium.emulator")


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


Handler = Callable[[ConnectorRequest], Any]


class Connectors:
    """The handlers of connectors."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str | None], Handler] = {}

    def register(self, connector: str, handler: Handler, host: str | None = None) -> None:
        """
        Let `handler` answer for a connector, or for one host of it only.

        The handler takes a `ConnectorRequest` and returns what becomes JSON, or raises or
        returns `UpstreamFailure`; it may be a coroutine function. Others run in a thread.

        :raises ValueError: names the argument that cannot be used.
        """
        if not connector:
            raise ValueError("connector: must not be empty")
        refuse_if(*[Problem(("handler",), "must be callable", handler)] * (not callable(handler)))
        self._handlers[connector, host and host.lower()] = handler

    @property
    def handlers(self) -> Mapping[tuple[str, str | None], Handler]:
        """Who answers, by connector and host."""
        return dict(self._handlers)

    def clear(self) -> None:
        """Forget all handlers."""
        self._handlers.clear()

    def handler_of(self, tenant: Tenant, connector: str, url: str) -> Handler | str:
        """Return who answers, or why nobody can."""
        states = {one.name: one.connected for one in tenant.connections}
        if connector not in states:
            return f"Tenant {tenant.id} has no connector {connector}"
        if not states[connector]:
            return f"Connector {connector} of tenant {tenant.id} is not connected"
        host = _host(url)
        for key in ((connector, host), (connector, None)):
            if key in self._handlers:
                return self._handlers[key]
        return f"No handler is registered for connector {connector}, host {host}"


async def answer(handler: Handler, request: ConnectorRequest) -> tuple[int, bytes]:
    """Return the status and the encoded body with which the proxy answers."""
    try:
        return _read(await _call(handler, request))
    except UpstreamFailure as failure:
        return _read(failure)
    except Exception as error:
        log.exception("the handler of connector %s failed", request.connector)
        reason = f"The handler of connector {request.connector} failed: {error!r}"
        return 500, encode({"detail": reason})


def _read(result: Any) -> tuple[int, bytes]:
    if isinstance(result, UpstreamFailure):
        # The reference: a string of an object with the other system's body under "data".
        return result.status, encode({"detail": str({"data": result.data})})
    return 200, encode({"data": result})


async def _call(handler: Handler, request: ConnectorRequest) -> Any:
    if inspect.iscoroutinefunction(handler):
        return await handler(request)
    result = await asyncio.to_thread(handler, request)
    return await result if inspect.isawaitable(result) else result


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
