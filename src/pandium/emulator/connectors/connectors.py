"""Connector calls: who answers for the systems behind the proxy."""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from pandium.emulator.connectors.handlers import read_handler
from pandium.emulator.connectors.upstreams import (
    ConnectorRequest,
    Handler,
    Unsendable,
    UpstreamFailure,
    call,
)
from pandium.emulator.state.encoding import encode
from pandium.emulator.state.record_models import Tenant
from pandium.emulator.state.store import Store

log = logging.getLogger("pandium.emulator")


class Connectors:
    """The handlers of connectors."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str | None], Handler] = {}

    def register(self, connector: str, handler: Handler | ASGIApp, host: str | None = None) -> None:
        """
        Let `handler` answer for a connector, or for one host of it only.

        A handler is one of these:

        - A function of a `ConnectorRequest`. It returns what becomes JSON, or raises or returns
          `UpstreamFailure`. A coroutine function runs on the emulator's event loop, any other
          function in a daemon thread of its own: where it never returns, it is left behind when
          the emulator stops.
        - An ASGI 3 application, such as one of FastAPI or Starlette, known by its three
          arguments. It gets the request as the proxy would send it; `request.state.pandium` is
          the `ConnectorRequest`. JSON becomes data, any other answer one text; a status of 300
          and above is a failure. There are no lifespan events.

        :raises ValueError: names the argument that cannot be used.
        """
        if not isinstance(connector, str) or not connector:
            raise ValueError(f"connector: must be a name, not {connector!r}")
        if host is not None and (not isinstance(host, str) or _host(f"//{host}") != host.lower()):
            raise ValueError(f"host: must be the name of a host alone, not {host!r}")
        self._handlers[connector, host and host.lower()] = read_handler(handler)

    @property
    def handlers(self) -> Mapping[tuple[str, str | None], Handler]:
        """Who answers, by connector and host."""
        return dict(self._handlers)

    def clear(self) -> None:
        """Forget all handlers."""
        self._handlers.clear()

    def handler_of(self, tenant: Tenant, store: Store, connector: str, url: str) -> Handler | str:
        """Return the handler of a call, or why there is none."""
        states = store.connections(tenant)
        if connector not in states:
            return f"Tenant {tenant.id} has no connector {connector}"
        if not states[connector]:
            return f"Connector {connector} of tenant {tenant.id} is not connected"
        host = _host(url)
        for key in ((connector, host), (connector, None)):
            if key in self._handlers:
                return self._handlers[key]
        return f"No handler is registered for connector {connector}, host {host}"


async def call_handler(handler: Handler, request: ConnectorRequest) -> tuple[int, bytes]:
    """Return the status and the encoded body with which the proxy answers."""
    try:
        return _encode_result(await call(handler, request))
    except UpstreamFailure as failure:
        return _encode_result(failure)
    except Unsendable as error:
        return 400, encode({"detail": str(error)})
    except Exception as error:
        log.exception("the handler of connector %s failed", request.connector)
        reason = f"The handler of connector {request.connector} failed: {error!r}"
        return 500, encode({"detail": reason})


def _encode_result(result: Any) -> tuple[int, bytes]:
    if isinstance(result, UpstreamFailure):
        # The reference: a string of an object with the other system's body under "data".
        return result.status, encode({"detail": str({"data": result.data})})
    return 200, encode({"data": result})


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
