"""The control API's routes for the page: the first tenants, the latest runs and requests."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import control_response
from pandium.emulator.network.request_log import RequestLog
from pandium.emulator.runs.advancing import NEVER
from pandium.emulator.state.record_models import Run, Tenant

MAX_ROWS = 500
VERSION = version("pandium")

router: APIRouter = APIRouter(tags=["Overview"])


class Health(BaseModel):
    """The version of the emulator, and the time on its clock."""

    status: Literal["ok"]
    version: str
    time: datetime


class OverviewQuery(BaseModel):
    """The maximum numbers of rows, and a search term: a tenant's id or a part of its name."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    tenants: int = Query(100, ge=0, le=MAX_ROWS)
    runs: int = Query(50, ge=0, le=MAX_ROWS)
    requests: int = Query(50, ge=0, le=MAX_ROWS)
    name: str = ""


class RunSummary(BaseModel):
    """A run. Its state is `waiting` until the API lists it."""

    id: int
    tenant_id: int
    tenant: str
    mode: str
    phase: str
    state: Literal["waiting", "going", "succeeded", "failed"]
    triggers: int
    started: datetime | None
    ended: datetime | None


class TenantSummary(BaseModel):
    """A tenant and its last run."""

    id: int
    name: str
    integration: str
    archived: bool
    paused: bool
    connected: int
    connectors: int
    run: RunSummary | None


class RequestSummary(BaseModel):
    """A request. Requests are numbered from 1."""

    number: int
    method: str
    path: str
    query: str
    status: int


class OverviewCounts(BaseModel):
    """The numbers of records, runs by state, and requests. `matching` counts found tenants."""

    integrations: int
    releases: int
    tenants: int
    archived: int
    matching: int
    runs: int
    waiting: int
    going: int
    succeeded: int
    failed: int
    requests: int


class Overview(BaseModel):
    """The tenants in the order of their ids, and the runs and requests, newest first."""

    version: str
    time: datetime
    numbers: OverviewCounts
    tenants: list[TenantSummary]
    runs: list[RunSummary]
    requests: list[RequestSummary]


@router.get("/health", response_model=Health)
async def get_health(request: Request) -> Response:
    """Return the version and the time, to show that the emulator is running."""
    now = service_of(request).clock.wall()
    return control_response({"status": "ok", "version": VERSION, "time": now})


@router.get("/overview", response_model=Overview)
async def get_overview(request: Request, wanted: Annotated[OverviewQuery, Query()]) -> Response:
    """Return the rows of the page and the totals."""
    service = service_of(request)
    with service.lock:
        return control_response(_overview(service, wanted))


def _overview(service: Service, wanted: OverviewQuery) -> dict[str, Any]:
    store = service.store
    runs = service.runs.all()
    matching = [one for one in store.tenants.values() if _matches(one, wanted.name.lower())]
    numbers: dict[str, int] = {
        **Counter(waiting=0, going=0, succeeded=0, failed=0),
        **Counter(map(_state, runs)),
        "integrations": len(store.integrations),
        "releases": len(store.releases),
        "tenants": len(store.tenants),
        "archived": sum(one.archived for one in store.tenants.values()),
        "matching": len(matching),
        "runs": len(runs),
        "requests": service.requests.counts.total(),
    }
    appeared = sorted(filter(Run.has_appeared, runs), key=lambda run: run.started_date or NEVER)
    last = {run.tenant_id: run for run in appeared}
    return {
        "version": VERSION,
        "time": service.clock.wall(),
        "numbers": numbers,
        "tenants": [
            _tenant_row(one, last.get(one.id), service) for one in matching[: wanted.tenants]
        ],
        "runs": [run_summary(one, service) for one in islice(reversed(runs), wanted.runs)],
        "requests": list(islice(_request_rows(service.requests), wanted.requests)),
    }


def _matches(tenant: Tenant, name: str) -> bool:
    return name in tenant.name or name == str(tenant.id)


def _state(run: Run) -> str:
    if run.is_over():
        return "succeeded" if run.has_succeeded() else "failed"
    return "going" if run.has_appeared() else "waiting"


def run_summary(run: Run, service: Service) -> dict[str, Any]:
    """Return a run as a row of the page."""
    return {
        "id": run.id,
        "tenant_id": run.tenant_id,
        "tenant": service.store.tenants[run.tenant_id].name,
        "mode": run.mode,
        "phase": run.history[-1].phase if run.history else "",
        "state": _state(run),
        "triggers": len(run.triggers),
        "started": run.started_date,
        "ended": run.completed_date,
    }


def _tenant_row(tenant: Tenant, run: Run | None, service: Service) -> dict[str, Any]:
    connections = service.store.connections(tenant)
    return {
        "id": tenant.id,
        "name": tenant.name,
        "integration": service.store.integrations[tenant.integration_id].name,
        "archived": tenant.archived,
        "paused": tenant.paused,
        "connected": sum(connections.values()),
        "connectors": len(connections),
        "run": run and run_summary(run, service),
    }


def _request_rows(request_log: RequestLog) -> Iterator[dict[str, Any]]:
    number = request_log.counts.total()
    for one in reversed(request_log):
        yield {
            "number": number,
            "method": one.method,
            "path": one.path,
            "query": one.query,
            "status": one.status,
        }
        number -= 1
