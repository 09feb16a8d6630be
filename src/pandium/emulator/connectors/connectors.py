"""The handlers of connector calls, which stand in for the systems behind the proxy."""

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

log: logging.Logger = logging.getLogger("pandium.emulator")


class Connectors:
    """The handlers of connectors."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str | None], Handler] = {}

    def register(self, connector: str, handler: Handler | ASGIApp, host: str | None = None) -> None:
        """
        Register a handler for a connector, or for one of its hosts.

        A handler is one of these:

        - A function receives a `ConnectorRequest`. It returns a value that can be encoded as JSON,
          or raises or returns an `UpstreamFailure`. A coroutine function runs in the emulator's
          event loop. Any other function runs in its own daemon thread, which is abandoned when the
          emulator stops.
        - An ASGI 3 application, such as a FastAPI application, receives the request that the proxy
          would send. `request.state.pandium` is the `ConnectorRequest`. A JSON response becomes
          data, and any other response a string. A status of 300 or above is a failure. There are no
          lifespan events.

        :param connector: the name of the connector.
        :param handler: a function or an ASGI application.
        :param host: the host, such as "crm.example.com". By default, the handler is used for all
            hosts without their own handler.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        if not isinstance(connector, str) or not connector:
            raise ValueError(f"connector: must be a name, not {connector!r}")
        if host is not None and (not isinstance(host, str) or _host(f"//{host}") != host.lower()):
            raise ValueError(f"host: must be a host name without port or path, not {host!r}")
        self._handlers[connector, host and host.lower()] = read_handler(handler)

    @property
    def handlers(self) -> Mapping[tuple[str, str | None], Handler]:
        """The handlers by connector and host."""
        return dict(self._handlers)

    def clear(self) -> None:
        """Remove all handlers."""
        self._handlers.clear()

    def handler_of(self, tenant: Tenant, store: Store, connector: str, url: str) -> Handler | str:
        """Return the handler for a call, or the reason why there is none."""
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
    """Return the status and the encoded body of the proxy's response."""
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
        # According to the API reference, `detail` is a stringified object with the body in "data".
        return result.status, encode({"detail": str({"data": result.data})})
    return 200, encode({"data": result})


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
