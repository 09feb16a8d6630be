"""
The control API and the page: an application of its own, beside the vendor's API.

It has its own OpenAPI document, asks for no key, and is in no record of requests.
"""

import functools
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from pandium.emulator.api.json_responses import UNTRACED
from pandium.emulator.control import (
    overview,
    routes_clock,
    routes_drift,
    routes_faults,
    routes_requests,
    routes_state,
)
from pandium.emulator.control.control_responses import COMMON_ERRORS, HANDLERS
from pandium.emulator.control.guard import PAGE, PREFIX, RequestGuard
from pandium.emulator.control.page import page

# What can be controlled: a module with a router is added here.
MODULES = (routes_state, routes_clock, routes_requests, routes_faults, routes_drift, overview)


@functools.cache
def control_application() -> ASGIApp:
    """Return the application, which has no state of its own."""
    app = FastAPI(
        title="Pandium emulator: control",
        description="For tests and people on the machine that the emulator runs on.",
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
    return RequestGuard(app)


def _name(route: APIRoute) -> str:
    return route.name
