"""The control API's routes for the state, the scripts and the upstreams."""

from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from pandium.emulator.api.service import service_of
from pandium.emulator.connectors.fixed_responses import fixed_responses, set_fixed_response
from pandium.emulator.control.control_responses import (
    control_response,
    describe_error,
    error_response,
    example,
)
from pandium.emulator.control.selection_models import value_errors_at
from pandium.emulator.state.adding import add_integration_with_releases, add_release, add_tenant
from pandium.emulator.state.errors import Missing
from pandium.emulator.state.record_models import (
    Integration,
    Release,
    Tenant,
    Upstream,
)
from pandium.emulator.state.scripts import Script
from pandium.emulator.state.snapshots import EmulatorState

NO_SCRIPT = describe_error(404, "The tenant or the integration has no script.")

SeedBody = Annotated[
    dict[str, Any], example(integrations=[{}], tenants=[{"name": "acme"}, {"name": "umbrella"}])
]
IntegrationBody = Annotated[Integration, example(name="orders", connectors=["crm"])]
ReleaseBody = Annotated[Release, example(integration_id=1, tag="v2")]
TenantBody = Annotated[Tenant, example(name="acme", metadata={"cursor": 7})]
ScriptBody = Annotated[
    Script,
    example(tenant=1, appears_after={"polls": 2}, phases=[["Running", 5], ["Failed (Timeout)", 0]]),
]
UpstreamBody = Annotated[Upstream, example(connector="crm", status=503, data="the CRM is down")]

router: APIRouter = APIRouter(tags=["State"])


class ScriptSubject(BaseModel):
    """The tenant or the integration whose script is removed."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    tenant: int | None = None
    integration: int | None = None


class SavedFile(BaseModel):
    """The file that contains the saved state."""

    path: str


@router.get("/state", response_model=EmulatorState)
async def get_state(request: Request) -> Response:
    """Return the entire state, in the format of a saved state."""
    return control_response(service_of(request).dump())


@router.put("/state", response_model=EmulatorState)
async def replace_state(request: Request, body: SeedBody) -> Response:
    """
    Replace the entire state with a seed or a saved state.

    Faults, drift and the recorded requests are removed.
    """
    service = service_of(request)
    service.load(body)
    return control_response(service.dump())


@router.post("/reset", response_model=EmulatorState)
async def reset(request: Request) -> Response:
    """Restore the state with which the emulator started. Faults and drift are removed."""
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
    """Write the state to the file specified by `--state`."""
    service = service_of(request)
    if service.state_file is None:
        return error_response(409, ("path", "the emulator was started without --state FILE"))
    try:
        return control_response({"path": str(service.save())})
    except (OSError, ValueError) as error:
        return error_response(500, ("path", str(error)))


@router.post("/integrations", status_code=201, response_model=Integration)
async def create_integration(request: Request, body: IntegrationBody) -> Response:
    """Add an integration with releases. The first release is the default one."""
    service = service_of(request)
    with service.lock:
        return control_response(add_integration_with_releases(service.store, body), 201)


@router.post("/releases", status_code=201, response_model=Release)
async def create_release(request: Request, body: ReleaseBody) -> Response:
    """Add a release. The latest release of an integration is the one with the highest id."""
    service = service_of(request)
    with service.lock:
        return control_response(add_release(service.store, body), 201)


@router.post("/tenants", status_code=201, response_model=Tenant)
async def create_tenant(request: Request, body: TenantBody) -> Response:
    """Add a tenant."""
    service = service_of(request)
    with service.lock:
        return control_response(add_tenant(service.store, body), 201)


@router.delete(
    "/tenants/{tenant_id}",
    response_model=Tenant,
    responses=describe_error(404, "There is no tenant with this id."),
)
async def archive_tenant(request: Request, tenant_id: int) -> Response:
    """Archive a tenant, as another user of the API would. Idempotent."""
    service = service_of(request)
    with service.lock:
        return control_response(service.store.archive(tenant_id))


@router.get("/scripts", response_model=list[Script])
async def get_scripts(request: Request) -> Response:
    """Return the scripts: the default one, and those of integrations and tenants."""
    return control_response(service_of(request).runs.scripts)


@router.put("/scripts", response_model=list[Script])
async def set_one_script(request: Request, body: ScriptBody) -> Response:
    """Set the script for new runs of a tenant, of an integration, or of all others."""
    service = service_of(request)
    service.runs.set_script(body)
    return await get_scripts(request)


@router.delete("/scripts", status_code=204, responses=NO_SCRIPT)
async def remove_scripts(request: Request, subject: Annotated[ScriptSubject, Query()]) -> Response:
    """
    Remove the script of a tenant or an integration, or all scripts if neither is specified.

    Existing runs keep their script.
    """
    runs = service_of(request).runs
    given = subject.model_dump(exclude_none=True)
    if not given:
        runs.clear_scripts()
        return Response(status_code=204)
    try:
        with value_errors_at("query"):
            runs.remove_script(**given)
    except LookupError as error:
        raise Missing(str(error)) from None
    return Response(status_code=204)


@router.get("/upstreams", response_model=list[Upstream])
async def get_upstreams(request: Request) -> Response:
    """Return the fixed responses of upstreams."""
    return control_response(fixed_responses(service_of(request).connectors))


@router.put("/upstreams", response_model=list[Upstream])
async def set_upstream(request: Request, body: UpstreamBody) -> Response:
    """Set the response of the upstream behind a connector, or of one of its hosts."""
    set_fixed_response(service_of(request).connectors, body)
    return await get_upstreams(request)
