"""The routes for builds, integrations and releases, as in the API reference."""

from fastapi import APIRouter, Request, Response

from pandium.emulator.api import schemas as s
from pandium.emulator.api.build_forms import DOCUMENTED_QUERY, CreateBuild, parse_build
from pandium.emulator.api.json_responses import (
    INVALID,
    MESSAGE,
    NOT_FOUND,
    Archived,
    IntegrationId,
    Limit,
    Mode,
    Payload,
    Skip,
    SortBy,
    json_response,
)
from pandium.emulator.api.service import record_effect, service_of
from pandium.emulator.api.views import integration_view, release_view
from pandium.emulator.state.errors import Missing

SORTABLE = ("id", "name", "long_name", "type", "created_date", "modified_date", "archived")

router: APIRouter = APIRouter(prefix="/v2")
integrations = "/integrations/{integration_id}"


@router.post(
    "/sourcecontrol/build", status_code=201, responses=MESSAGE, openapi_extra=DOCUMENTED_QUERY
)
async def create_build_v2(request: Request, body: CreateBuild) -> Response:
    """Start a build of an integration."""
    builds = service_of(request).builds
    build, mode = parse_build(builds.accepted, request.query_params, body)
    builds.start(build.integration_id, build.tag, build.branch)
    return json_response({**build.model_dump(), "branch": build.branch, "mode": mode}, 201)


@router.get(
    "/integrations", response_model=list[s.IntegrationView], responses={**NOT_FOUND, **INVALID}
)
async def get_many_integrations(
    request: Request,
    *,
    sort_by: SortBy = None,
    limit: Limit = 100,
    skip: Skip = 0,
    archived: Archived = False,
) -> Response:
    """List integrations."""
    service = service_of(request)
    part = service.window(skip, limit, sort_by, SORTABLE)
    with service.lock:
        rows = list(service.store.integrations.values())
        rows = [one for one in rows if one.archived is bool(archived)]
        shown = part.cut(part.order(rows, getattr))
        return json_response([integration_view(one, service.store) for one in shown])


@router.get(integrations, response_model=s.IntegrationView, responses={**NOT_FOUND, **INVALID})
async def get_one_integration(request: Request, integration_id: IntegrationId) -> Response:
    """Return an integration."""
    service = service_of(request)
    with service.lock:
        integration = service.store.integration(integration_id)
        return json_response(integration_view(integration, service.store))


@router.get(
    f"{integrations}/releases",
    response_model=list[s.ReleaseView],
    responses={**NOT_FOUND, **INVALID},
)
async def get_integration_releases(request: Request, integration_id: IntegrationId) -> Response:
    """List all releases of an integration."""
    service = service_of(request)
    with service.lock:
        return json_response(list(map(release_view, service.store.releases_of(integration_id))))


@router.get(
    f"{integrations}/releases/default",
    response_model=s.ReleaseView,
    responses={**NOT_FOUND, **INVALID},
)
async def get_default_integration_release(
    request: Request, integration_id: IntegrationId
) -> Response:
    """Return the default release, which tenants use unless they specify another one."""
    service = service_of(request)
    with service.lock:
        return json_response(release_view(service.store.default_release(integration_id)))


@router.get(
    f"{integrations}/releases/latest",
    response_model=s.ReleaseView,
    responses={**NOT_FOUND, **INVALID},
)
async def get_latest_release(request: Request, integration_id: str) -> Response:
    """Return the latest release. In the API reference, this integration id is a string."""
    if not integration_id.isdecimal():
        raise Missing(f"Integration {integration_id} not found")
    service = service_of(request)
    with service.lock:
        return json_response(release_view(service.store.latest_release(int(integration_id[:19]))))


@router.get(
    f"{integrations}/releases/{{release_id}}",
    response_model=s.ReleaseView,
    responses={**NOT_FOUND, **INVALID},
)
async def get_one_integration_release(
    request: Request, integration_id: IntegrationId, release_id: int
) -> Response:
    """Return a release."""
    service = service_of(request)
    with service.lock:
        return json_response(release_view(service.store.release(integration_id, release_id)))


@router.post(
    f"{integrations}/sync",
    status_code=202,
    response_model=s.Trigger,
    responses={**NOT_FOUND, **MESSAGE},
)
async def sync_by_integration_id(
    request: Request,
    integration_id: IntegrationId,
    mode: Mode,
    user_name: str,
    payload: Payload = None,
) -> Response:
    """Trigger a sync of a user's tenant."""
    service = service_of(request)
    with service.lock:
        tenant = service.store.tenant_of_user(integration_id, user_name)
        trigger = service.runs.trigger(tenant, mode=mode, source="api", payload=payload)
    record_effect(request, tenant.id)
    return json_response({"trigger_id": str(trigger.id)}, 202)
