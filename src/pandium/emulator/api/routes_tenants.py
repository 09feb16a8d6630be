"""
The routes for tenants and runs, as in the API reference.

The reference does not describe the body of a tenant update or the response with a tenant's release.
The operations that list runs and read logs were added to the reference later.
"""

from typing import Any

from fastapi import APIRouter, Request, Response

from pandium.emulator.api import schemas as s
from pandium.emulator.api.json_responses import (
    INVALID,
    NOT_FOUND,
    Archived,
    Limit,
    Mode,
    Payload,
    Skip,
    SortBy,
    TenantId,
    encoded_response,
    json_response,
)
from pandium.emulator.api.service import record_effect, service_of
from pandium.emulator.api.views import metadata_view, release_view, run_view
from pandium.emulator.state.adding import create_tenant
from pandium.emulator.state.errors import Missing
from pandium.emulator.state.store import SORTABLE

SORTABLE_RUNS = ("id", "mode", "started_date", "completed_date")

router: APIRouter = APIRouter(prefix="/v2")
tenants = "/tenants/{tenant_id}"


@router.get("/tenants", response_model=list[s.TenantView], responses={**NOT_FOUND, **INVALID})
async def get_many_tenants(  # noqa: PLR0913 - the parameters of the operation
    request: Request,
    *,
    sort_by: SortBy = None,
    limit: Limit = 100,
    skip: Skip = 0,
    integration_id: int | None = 0,
    user_name: str | None = "",
    archived: Archived = False,
) -> Response:
    """List tenants."""
    service = service_of(request)
    part = service.window(skip, limit, sort_by or service.store.default_sort, SORTABLE)
    with service.lock:
        found = service.store.list_tenants(
            part,
            archived=bool(archived),
            integration_id=integration_id or 0,
            user_name=user_name or "",
        )
        return encoded_response(service.tenants.encode_all(found))


@router.post("/tenants", response_model=s.TenantView, responses=INVALID)
async def create_one(request: Request, body: s.CreateTenant) -> Response:
    """Create a tenant, which is paused and not connected."""
    service = service_of(request)
    with service.lock:
        tenant = create_tenant(service.store, body.model_dump())
        record_effect(request, tenant.id)
        return encoded_response(service.tenants.encode(tenant))


@router.patch(tenants, response_model=s.TenantView, responses={**NOT_FOUND, **INVALID})
async def patch_tenant(request: Request, tenant_id: TenantId, body: s.PatchTenant) -> Response:
    """Update a tenant."""
    service = service_of(request)
    changes = body.model_dump(exclude_unset=True)
    with service.lock:
        tenant = service.store.change_tenant(tenant_id, changes)
        record_effect(request, tenant_id)
        return encoded_response(service.tenants.encode(tenant))


@router.delete(tenants, response_model=dict[str, Any], responses={**NOT_FOUND, **INVALID})
async def delete_tenant(request: Request, tenant_id: TenantId) -> Response:
    """Archive a tenant. Idempotent."""
    service = service_of(request)
    with service.lock:
        service.store.archive(tenant_id)
    record_effect(request, tenant_id)
    return json_response({"id": tenant_id, "archived": True})


@router.get(
    f"{tenants}/release",
    response_model=s.ReleaseView,
    responses={**NOT_FOUND, **INVALID},
)
async def get_tenant_release(request: Request, tenant_id: TenantId) -> Response:
    """Return the release of a tenant."""
    service = service_of(request)
    with service.lock:
        return json_response(
            release_view(service.store.release_of(service.store.tenant(tenant_id)))
        )


@router.get(
    f"{tenants}/metadata", response_model=s.TenantMetadata, responses={**NOT_FOUND, **INVALID}
)
async def get_metadata(request: Request, tenant_id: TenantId) -> Response:
    """Return the metadata of a tenant."""
    service = service_of(request)
    with service.lock:
        return json_response(metadata_view(service.store.tenant(tenant_id)))


@router.patch(
    f"{tenants}/metadata", response_model=s.TenantMetadata, responses={**NOT_FOUND, **INVALID}
)
async def patch_metadata(request: Request, tenant_id: TenantId, data: dict[str, Any]) -> Response:
    """Merge an object into the metadata of a tenant."""
    service = service_of(request)
    with service.lock:
        tenant = service.store.patch_metadata(tenant_id, data)
    record_effect(request, tenant_id)
    return json_response(metadata_view(tenant))


@router.post(
    f"{tenants}/sync",
    status_code=202,
    response_model=s.Trigger,
    responses={**NOT_FOUND, **INVALID},
)
async def sync_by_tenant_id(
    request: Request, tenant_id: TenantId, mode: Mode, payload: Payload = None
) -> Response:
    """Trigger a sync."""
    service = service_of(request)
    with service.lock:
        tenant = service.store.tenant(tenant_id)
        if tenant.archived:
            raise Missing(f"Tenant {tenant_id} is archived")
        trigger = service.runs.trigger(tenant, mode=mode, source="api", payload=payload)
    record_effect(request, tenant_id)
    return json_response({"trigger_id": str(trigger.id)}, 202)


@router.get(f"{tenants}/runs", response_model=list[s.RunView], responses={**NOT_FOUND, **INVALID})
async def get_tenant_runs(
    request: Request,
    tenant_id: TenantId,
    sort_by: SortBy = None,
    limit: Limit = 100,
    skip: Skip = 0,
) -> Response:
    """List a tenant's runs, except those that have not appeared yet."""
    service = service_of(request)
    part = service.window(skip, limit, sort_by, SORTABLE_RUNS)
    with service.lock:
        rows = service.runs.of(service.store.tenant(tenant_id).id)
        shown = [run_view(one) for one in part.cut(part.order(rows, getattr))]
    return json_response(shown)


@router.get(
    "/runs/triggers/{trigger_id}/status",
    response_model=s.TriggerStatus,
    responses={**NOT_FOUND, **INVALID},
)
async def get_run_status_from_trigger(request: Request, trigger_id: str) -> Response:
    """Return the status of a trigger."""
    status = service_of(request).runs.status(trigger_id)
    if status is None:
        raise Missing(f"No run for trigger {trigger_id}")
    return json_response({"status": status})


@router.get("/runs/{run_id}/log", status_code=302, responses={**NOT_FOUND, **INVALID})
async def get_run_log(request: Request, run_id: int) -> Response:
    """Redirect to the log storage."""
    service = service_of(request)
    if service.runs.find(run_id) is None:
        raise Missing(f"Run {run_id} not found")
    return Response(status_code=302, headers={"location": service.log_url(run_id)})
