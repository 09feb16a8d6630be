"""The control API's routes for the request log."""

from dataclasses import fields
from itertools import islice
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Response
from fastapi import Request as HTTPRequest
from pydantic import BaseModel, ConfigDict, Field

from pandium.emulator.api.service import service_of
from pandium.emulator.control.control_responses import body_data, control_response
from pandium.emulator.control.selection_models import require_record, value_errors_at
from pandium.emulator.network.operations import parse_operation
from pandium.emulator.network.request_log import MAX_REQUESTS, Request

router: APIRouter = APIRouter(tags=["Requests"])


class RequestView(BaseModel):
    """
    A request to the API.

    Secret headers are redacted, and long bodies are truncated. A body that is not UTF-8 is in
    `body_base64`. The status is 0 if no response was sent.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    status: int
    body: str | None
    body_base64: str | None
    route: str
    operation: str | None = Field(description="A name, such as `tenants.list`.")
    tenant: int | None = Field(description="The tenant that the request was for.")
    has_effect: bool = Field(description="Whether the operation was executed for the tenant.")
    fault: str = Field(description="The fault that replaced the response, or an empty string.")


class RequestsView(BaseModel):
    """The latest matching requests, oldest first, and the numbers of matching and all requests."""

    requests: list[RequestView]
    matching: int
    total: int


class RequestCount(BaseModel):
    """The number of requests with a method, path template and status."""

    method: str
    route: str
    status: int
    count: int


class EffectCount(BaseModel):
    """The number of times that an operation was executed for a tenant."""

    operation: str
    tenant: int
    count: int


class EffectFilter(BaseModel):
    """The operation and the tenant to count. By default, all are counted."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    operation: str | None = None
    tenant: int | None = None


class RequestFilter(BaseModel):
    """The conditions for the returned requests, and their maximum number."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    method: str | None = None
    path: str | None = None
    route: str | None = None
    status: int | None = None
    operation: str | None = None
    tenant: int | None = None
    has_effect: bool | None = None
    limit: int = Query(100, ge=0, le=MAX_REQUESTS)


@router.get("/requests", response_model=RequestsView)
async def get_requests(request: HTTPRequest, wanted: Annotated[RequestFilter, Query()]) -> Response:
    """Return the latest requests to the API. The emulator keeps the last 10,000."""
    request_log = service_of(request).requests
    conditions = wanted.model_dump(exclude_none=True, exclude={"limit"})
    found = [one for one in request_log if _matches(one, conditions)]
    first = len(found) - min(len(found), wanted.limit)
    views = [request_data(one) for one in islice(found, first, None)]
    total = request_log.counts.total()
    return control_response({"requests": views, "matching": len(found), "total": total})


@router.delete("/requests", status_code=204)
async def clear_requests(request: HTTPRequest) -> Response:
    """Delete the recorded requests, and reset the counts of requests and effects."""
    service_of(request).requests.clear()
    return Response(status_code=204)


@router.get("/counts", response_model=list[RequestCount])
async def get_counts(request: HTTPRequest) -> Response:
    """Return the number of requests by method, path template and status."""
    names = ("method", "route", "status", "count")
    counts = service_of(request).requests.counts.items()
    return control_response(
        [dict(zip(names, (*kind, number), strict=True)) for kind, number in counts]
    )


@router.get("/effects", response_model=list[EffectCount])
async def get_effects(request: HTTPRequest, wanted: Annotated[EffectFilter, Query()]) -> Response:
    """
    Return the number of times that each operation was executed for a tenant.

    A sync whose response was lost is counted. A rejected request is not.
    """
    service = service_of(request)
    with service.lock:
        require_record(service.store.tenants, wanted.tenant, "tenant", "query")
    with value_errors_at("query"):
        operation = parse_operation(wanted.operation)
    return control_response(
        [
            {"operation": name, "tenant": tenant, "count": number}
            for (name, tenant), number in service.requests.effects.copy().items()
            if operation in (None, name) and wanted.tenant in (None, tenant)
        ]
    )


def _matches(request: Request, conditions: dict[str, Any]) -> bool:
    return all(getattr(request, name) == value for name, value in conditions.items())


def request_data(request: Request) -> dict[str, Any]:
    """Return a request as JSON-compatible data."""
    data = {one.name: getattr(request, one.name) for one in fields(request)}
    return data | body_data(request.body)
