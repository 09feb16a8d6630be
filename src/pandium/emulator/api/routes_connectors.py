"""The routes for connector calls, and for disconnecting a tenant from a connector."""

from typing import Any

from fastapi import APIRouter, Request, Response

from pandium.emulator.api import schemas as s
from pandium.emulator.api.json_responses import (
    INVALID,
    Responses,
    TenantId,
    encoded_response,
    json_response,
)
from pandium.emulator.api.service import record_effect, service_of
from pandium.emulator.connectors.connectors import call_handler
from pandium.emulator.connectors.upstreams import ConnectorRequest

PROXY: Responses = {
    400: {"model": s.ProxyInternalError, "description": "Bad Request"},
    404: {"model": s.ProxyExternalError, "description": "Not Found"},
    **INVALID,
}

router: APIRouter = APIRouter(prefix="/v2/tenants/{tenant_id}/connectors/{connector_name}")


@router.post("/call", response_model=s.ProxyResponse, responses=PROXY)
async def proxy_connector_call_rest(
    request: Request, tenant_id: TenantId, connector_name: str, body: s.ProxyRestRequestBody
) -> Response:
    """Call a REST system."""
    return await _proxy(request, tenant_id, connector_name, "rest", body.model_dump())


@router.post("/soap", response_model=s.ProxyResponse, responses=PROXY)
async def proxy_connector_call_soap(
    request: Request, tenant_id: TenantId, connector_name: str, body: s.ProxyXmlRequestBody
) -> Response:
    """Call a SOAP system."""
    return await _proxy(request, tenant_id, connector_name, "soap", body.model_dump())


@router.post("/xml", response_model=s.ProxyResponse, responses=PROXY)
async def proxy_connector_call_xml(
    request: Request, tenant_id: TenantId, connector_name: str, body: s.ProxyXmlRequestBody
) -> Response:
    """Call an XML system."""
    return await _proxy(request, tenant_id, connector_name, "xml", body.model_dump())


@router.patch("/disconnect", responses=INVALID)
async def disconnect_tenant_connector(
    request: Request, tenant_id: TenantId, connector_name: str
) -> Response:
    """Disconnect a tenant from a connector."""
    service = service_of(request)
    with service.lock:
        service.store.disconnect(tenant_id, connector_name)
    record_effect(request, tenant_id)
    return json_response({"tenant_id": tenant_id, "connector": connector_name, "connected": False})


async def _proxy(
    request: Request, tenant_id: int, connector: str, kind: str, body: dict[str, Any]
) -> Response:
    url, method = body.pop("target_url"), body.pop("method")
    if not url or not method:
        return json_response({"detail": "target_url and method are required"}, 400)
    service = service_of(request)
    with service.lock:
        tenant = service.store.tenants.get(tenant_id)
    if tenant is None:
        return json_response({"detail": f"Tenant {tenant_id} not found"}, 400)
    handler = service.connectors.handler_of(tenant, service.store, connector, url)
    if isinstance(handler, str):
        return json_response({"detail": handler}, 400)
    call = ConnectorRequest(tenant_id, connector, kind, method, url, **body)
    record_effect(request, tenant_id)
    status, content = await call_handler(handler, call)
    return encoded_response(content, status)
