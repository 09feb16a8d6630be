"""
The application that serves the control API and the page.

It has its own OpenAPI document and requires no API key. Its requests are not recorded.
"""

import functools
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from pandium.emulator.api.json_responses import UNTRACED
from pandium.emulator.control import (
    overview,
    routes_builds,
    routes_clock,
    routes_drift,
    routes_faults,
    routes_requests,
    routes_runs,
    routes_settings,
    routes_state,
    routes_webhooks,
)
from pandium.emulator.control.control_responses import COMMON_ERRORS, HANDLERS
from pandium.emulator.control.docs_page import docs_page
from pandium.emulator.control.guard import PAGE, PREFIX, RequestGuard
from pandium.emulator.control.page import page

DOCS = f"{PREFIX}/docs"
# The modules of the routes, in the order of the documentation.
MODULES = (
    routes_state,
    routes_clock,
    routes_requests,
    routes_faults,
    routes_drift,
    routes_builds,
    routes_settings,
    routes_webhooks,
    overview,
    routes_runs,
)


@functools.cache
def control_application() -> ASGIApp:
    """Return the application. All emulators share it, because it is stateless."""
    return RequestGuard(control_routes())


@functools.cache
def control_routes() -> FastAPI:
    """Return the routes of the control API and the pages, without the request guard."""
    app = FastAPI(
        title="Pandium emulator: control API",
        description="Read and change the state of the emulator, and inject faults.",
        version=version("pandium"),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
        generate_unique_id_function=_name,
        telemetry=UNTRACED,
    )
    for module in MODULES:
        app.include_router(module.router, prefix=PREFIX, responses=COMMON_ERRORS)
    app.add_route(PAGE, page, include_in_schema=False)
    app.add_route(DOCS, docs_page, include_in_schema=False)
    return app


def _name(route: APIRoute) -> str:
    return route.name
