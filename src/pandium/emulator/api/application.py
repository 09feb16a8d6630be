"""
The emulated API as an ASGI application.

All emulators of a process share the routes. Each one adds its own service to the scope of a
request.
"""

import asyncio
import contextlib
import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pandium.emulator.api import routes_connectors, routes_integrations, routes_tenants
from pandium.emulator.api.json_responses import HANDLERS, UNTRACED, json_response
from pandium.emulator.api.service import Service
from pandium.emulator.api.views import run_log
from pandium.emulator.network.drift import ChangeFailed
from pandium.emulator.network.exchange import BufferedResponse, Exchange
from pandium.emulator.network.operations import DOCUMENT
from pandium.emulator.state.encoding import encode


class RouteApplication(FastAPI):
    """The routes of the API, with an OpenAPI document that includes the authentication."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        document = super().openapi()
        scheme = {"type": "apiKey", "in": "header", "name": "x-api-key"}
        document["components"]["securitySchemes"] = {"apiKey": scheme}
        document["security"] = [{"apiKey": []}]
        return document


@functools.cache
def routes() -> FastAPI:
    """Return the routes of the API, which have no state."""
    app = RouteApplication(
        title="Pandium API",
        version="2",
        openapi_url=DOCUMENT,
        docs_url=None,
        redoc_url=None,
        exception_handlers=HANDLERS,
        telemetry=UNTRACED,
    )
    for module in (routes_integrations, routes_tenants, routes_connectors):
        # FastAPI.include_router would add a level that takes a quarter of the time of a response.
        app.router.routes.extend(module.router.routes)
    return app


class ApiApplication:
    """The API on one port, and the log storage on another."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes = routes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        service = self._service
        is_storage = scope["server"][1] == service.storage_port
        request_log = service.storage_requests if is_storage else service.requests
        app = log_response(service, scope) if is_storage else self._target(scope)
        exchange = Exchange(
            app,
            scope,
            receive,
            send,
            request_log=request_log,
            clock=service.clock,
            drift=service.drift,
        )
        # A request is canceled only when the server stops, which uvicorn would log as an error.
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await self._respond(exchange)
            finally:
                exchange.record()

    async def _respond(self, exchange: Exchange) -> None:
        service, operation = self._service, exchange.operation
        exchange.tenant = service.tenant_of(operation, exchange.parts, exchange.scope)
        if not _is_api(exchange.scope) or not (service.faults or service.drift):
            await exchange.forward()
            return
        try:
            service.drift.apply_before(operation, exchange.tenant)
            await service.faults.apply(exchange)
            if not exchange.is_recorded:
                await exchange.respond(await exchange.execute())
        except ChangeFailed as error:
            await exchange.respond(BufferedResponse(500, encode({"detail": str(error)})))

    def _target(self, scope: Scope) -> ASGIApp:
        if _is_api(scope) and not self._service.is_key(_key(scope)):
            return json_response({"detail": "Not authorized"}, 403)
        return self._routes


def _is_api(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith("/v2/") and path != DOCUMENT


def _key(scope: Mapping[str, Any]) -> str:
    values = (value for name, value in scope["headers"] if name == b"x-api-key")
    found: bytes = next(values, b"")
    return found.decode("latin-1").strip()


def log_response(service: Service, scope: Mapping[str, Any]) -> Response:
    """Return the log of a run from the log storage, if the URL is signed."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    expires, signature = (query.get(name, [""])[0] for name in ("expires", "signature"))
    _, _, run_id = scope["path"].rpartition("/logs/")
    run = service.runs.find(int(run_id)) if service.has_signed(run_id, expires, signature) else None
    if run is None:
        return Response("This address is not good, or not good any more.\n", 403)
    with service.lock:
        return Response(run_log(run), media_type="text/plain")
