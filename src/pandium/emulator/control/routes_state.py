"""The control API's routes for the state, the scripts and the upstream systems."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from pandium.emulator.api.service import service_of
from pandium.emulator.connectors.fixed_responses import fixed_responses, set_fixed_response
from pandium.emulator.control.control_responses import (
    control_response,
    describe_error,
    error_response,
)
from pandium.emulator.state.adding import add_integration_with_releases, add_release, add_tenant
from pandium.emulator.state.records import AssignedScript, Integration, Release, Tenant, Upstream
from pandium.emulator.state.script_snapshots import scripts_data, set_script
from pandium.emulator.state.snapshots import State

router = APIRouter()


class SavedFile(BaseModel):
    """Where a state has been saved."""

    path: str


@router.get("/state", response_model=State)
async def get_state(request: Request) -> Response:
    """Return all that the emulator holds, as a file of a saved state has it."""
    return control_response(service_of(request).dump())


@router.put("/state", response_model=State)
async def replace_state(request: Request, body: dict[str, Any]) -> Response:
    """
    Hold what a seed or a saved state says, and nothing of what was.

    A bad one changes nothing.
    """
    service = service_of(request)
    service.load(body)
    return control_response(service.dump())


@router.post("/reset", response_model=State)
async def reset(request: Request) -> Response:
    """Hold what the seed of the start says, and nothing of what was."""
    service = service_of(request)
    service.load(service.seed)
    return control_response(service.dump())


@router.post(
    "/save",
    response_model=SavedFile,
    responses={
        **describe_error(409, "The emulator was started without a state file."),
        **describe_error(500, "The file cannot be written."),
    },
)
async def save_state(request: Request) -> Response:
    """Save all that the emulator holds in its state file."""
    service = service_of(request)
    if service.state_file is None:
        return error_response(409, ("path", "the emulator was started without --state FILE"))
    try:
        return control_response({"path": str(service.save())})
    except (OSError, ValueError) as error:
        return error_response(500, ("path", str(error)))


@router.post("/integrations", status_code=201, response_model=Integration)
async def create_integration(request: Request, body: Integration) -> Response:
    """Add an integration with some releases; the first of them is the default one."""
    service = service_of(request)
    with service.lock:
        return control_response(add_integration_with_releases(service.store, body), 201)


@router.post("/releases", status_code=201, response_model=Release)
async def create_release(request: Request, body: Release) -> Response:
    """Add a release; it is the latest one of its integration unless an older id is given."""
    service = service_of(request)
    with service.lock:
        return control_response(add_release(service.store, body), 201)


@router.post("/tenants", status_code=201, response_model=Tenant)
async def create_tenant(request: Request, body: Tenant) -> Response:
    """Add a tenant in any state."""
    service = service_of(request)
    with service.lock:
        return control_response(add_tenant(service.store, body), 201)


@router.delete(
    "/tenants/{tenant_id}",
    response_model=Tenant,
    responses=describe_error(404, "There is no such tenant."),
)
async def archive_tenant(request: Request, tenant_id: int) -> Response:
    """Archive a tenant, as somebody else might do it; once more changes nothing."""
    service = service_of(request)
    with service.lock:
        return control_response(service.store.archive(tenant_id))


@router.get("/scripts", response_model=list[AssignedScript])
async def get_scripts(request: Request) -> Response:
    """Return how runs go: those of all, of an integration, of a tenant."""
    return control_response(scripts_data(service_of(request).runs))


@router.put("/scripts", response_model=list[AssignedScript])
async def set_one_script(request: Request, body: AssignedScript) -> Response:
    """Say how runs go that are asked for from now on."""
    set_script(service_of(request).runs, body)
    return await get_scripts(request)


@router.get("/upstreams", response_model=list[Upstream])
async def get_upstreams(request: Request) -> Response:
    """Return what was said of the systems behind connectors."""
    return control_response(fixed_responses(service_of(request).connectors))


@router.put("/upstreams", response_model=list[Upstream])
async def set_upstream(request: Request, body: Upstream) -> Response:
    """Say what the system behind a connector answers, or the one on a host of it."""
    set_fixed_response(service_of(request).connectors, body)
    return await get_upstreams(request)
