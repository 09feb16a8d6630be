"""The control API's routes for the state, the scripts and the upstream systems."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from pandium.emulator.api.service import service_of
from pandium.emulator.connectors.fixed_responses import fixed_responses, set_fixed_response
from pandium.emulator.control.control_responses import (
    control_response,
    describe_error,
    error_response,
)
from pandium.emulator.control.rule_models import refusing, require_record
from pandium.emulator.state import snapshot_models as models
from pandium.emulator.state.adding import add_integration, add_release
from pandium.emulator.state.arguments import (
    IntegrationArguments,
    ReleaseArguments,
    ScriptArguments,
    TenantArguments,
    UpstreamArguments,
)
from pandium.emulator.state.errors import Missing
from pandium.emulator.state.script_snapshots import scripts_data, set_script
from pandium.emulator.state.seeds import add_tenant_as_given

NO_SCRIPT = describe_error(404, "The tenant or the integration has no script.")

router = APIRouter(tags=["State"])


class ScriptSubject(BaseModel):
    """The tenant or the integration whose script is removed."""

    model_config = ConfigDict(extra="forbid")

    tenant: int | None = None
    integration: int | None = None


class SavedFile(BaseModel):
    """Where a state has been saved."""

    path: str


@router.get("/state", response_model=models.SavedState)
async def get_state(request: Request) -> Response:
    """Return all that the emulator holds, as a file of a saved state has it."""
    return control_response(service_of(request).dump())


@router.put("/state", response_model=models.SavedState)
async def replace_state(request: Request, body: dict[str, Any]) -> Response:
    """
    Hold what a seed or a saved state says, and nothing of what was.

    A bad one changes nothing.
    """
    service = service_of(request)
    service.load(body)
    return control_response(service.dump())


@router.post("/reset", response_model=models.SavedState)
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


@router.post("/integrations", status_code=201, response_model=models.IntegrationState)
async def create_integration(request: Request, body: IntegrationArguments) -> Response:
    """Add an integration with some releases; the first of them is the default one."""
    service = service_of(request)
    with service.lock:
        return control_response(add_integration(service.store, body), 201)


@router.post("/releases", status_code=201, response_model=models.ReleaseState)
async def create_release(request: Request, body: ReleaseArguments) -> Response:
    """Add a release; it is the latest one of its integration unless an older id is given."""
    service = service_of(request)
    with service.lock:
        return control_response(add_release(service.store, body), 201)


@router.post("/tenants", status_code=201, response_model=models.TenantState)
async def create_tenant(request: Request, body: TenantArguments) -> Response:
    """Add a tenant in any state."""
    service = service_of(request)
    with service.lock:
        return control_response(add_tenant_as_given(service.store, body), 201)


@router.delete(
    "/tenants/{tenant_id}",
    response_model=models.TenantState,
    responses=describe_error(404, "There is no such tenant."),
)
async def archive_tenant(request: Request, tenant_id: int) -> Response:
    """Archive a tenant, as somebody else might do it; once more changes nothing."""
    service = service_of(request)
    with service.lock:
        return control_response(service.store.archive(tenant_id))


@router.get("/scripts", response_model=list[ScriptArguments])
async def get_scripts(request: Request) -> Response:
    """Return how runs go: those of all, of an integration, of a tenant."""
    return control_response(scripts_data(service_of(request).runs))


@router.put("/scripts", response_model=list[ScriptArguments])
async def set_one_script(request: Request, body: ScriptArguments) -> Response:
    """Say how runs go that are asked for from now on."""
    service = service_of(request)
    with service.lock:
        require_record(service.store.tenants, body.tenant, "tenant")
        require_record(service.store.integrations, body.integration, "integration")
        set_script(service.runs, body)
    return await get_scripts(request)


@router.delete("/scripts", status_code=204, responses=NO_SCRIPT)
async def remove_scripts(request: Request, subject: Annotated[ScriptSubject, Query()]) -> Response:
    """
    Remove the script of a tenant or an integration, or all scripts if neither is given.

    Runs that exist keep their script. New runs proceed as they do by default.
    """
    runs = service_of(request).runs
    given = subject.model_dump(exclude_none=True)
    if not given:
        runs.clear_scripts()
        return Response(status_code=204)
    try:
        with refusing("query"):
            runs.remove_script(**given)
    except LookupError as error:
        raise Missing(str(error)) from None
    return Response(status_code=204)


@router.get("/upstreams", response_model=list[UpstreamArguments])
async def get_upstreams(request: Request) -> Response:
    """Return what was said of the systems behind connectors."""
    return control_response([dict(one) for one in fixed_responses(service_of(request).connectors)])


@router.put("/upstreams", response_model=list[UpstreamArguments])
async def set_upstream(request: Request, body: UpstreamArguments) -> Response:
    """Say what the system behind a connector answers, or the one on a host of it."""
    set_fixed_response(service_of(request).connectors, body)
    return await get_upstreams(request)
