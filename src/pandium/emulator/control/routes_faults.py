"""The control API's routes for faults and outages."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import control_response, describe_error, example
from pandium.emulator.control.fault_models import FaultForm, fault_data
from pandium.emulator.control.routes_clock import YEAR
from pandium.emulator.control.selection_models import (
    RuleArguments,
    RuleState,
    find_rule,
    rule_data,
    value_errors_at,
)
from pandium.emulator.network.faults import Fault
from pandium.emulator.network.request_selection import RequestRule
from pandium.emulator.state.record_base import Record

NO_FAULT = describe_error(404, "There is no fault with this id.")

router: APIRouter = APIRouter(tags=["Faults"])


class FaultArguments(RuleArguments):
    """A fault, and the requests that it affects."""

    fault: FaultForm


class OutageArguments(Record):
    """An outage. Without `seconds`, it lasts until it is removed."""

    seconds: float | None = Field(
        None, ge=0, le=YEAR, description="The duration on the emulator's clock."
    )
    fault: FaultForm | None = Field(
        None, description="The fault for each request. By default, the connection is reset."
    )


class FaultState(FaultArguments, RuleState):
    """A fault and the number of times that it has occurred."""


FaultBody = Annotated[
    FaultArguments,
    example(operation="tenants.sync", times=1, fault={"type": "reset", "after_work": True}),
]
OutageBody = Annotated[
    OutageArguments, example(seconds=60, fault={"type": "status", "status": 503})
]


@router.get("/faults", response_model=list[FaultState])
async def get_faults(request: Request) -> Response:
    """Return all faults and outages that have not been removed, by id."""
    service = service_of(request)
    return control_response([_fault_data(rule, service) for rule in service.faults.rules()])


@router.post("/faults", status_code=201, response_model=FaultState)
async def add_fault(request: Request, body: FaultBody) -> Response:
    """
    Add a fault.

    Faults are evaluated in the order in which they were added, and the first one that applies to a
    request occurs. A `latency` occurs in addition to another fault.
    """
    service = service_of(request)
    with service.lock:
        selection = body.selection(service.store)
    with value_errors_at("fault"):
        fault = body.fault.build()
    with value_errors_at():
        rule = service.faults.add(fault=fault, **selection)
    return control_response(_fault_data(rule, service), 201)


@router.post("/outages", status_code=201, response_model=FaultState)
async def start_outage(request: Request, body: OutageBody) -> Response:
    """
    Make every request to the API fail.

    An outage takes precedence over faults. To end it, delete it as a fault.
    """
    service = service_of(request)
    with value_errors_at("fault"):
        fault = body.fault.build() if body.fault else None
    rule = service.faults.outage(body.seconds, fault)
    return control_response(_fault_data(rule, service), 201)


@router.delete("/faults", status_code=204)
async def remove_faults(request: Request) -> Response:
    """Remove all faults and outages."""
    service_of(request).faults.clear()
    return Response(status_code=204)


@router.get("/faults/{fault_id}", response_model=FaultState, responses=NO_FAULT)
async def get_fault(request: Request, fault_id: int) -> Response:
    """Return a fault or an outage, and the number of times that it has occurred."""
    service = service_of(request)
    return control_response(_fault_data(_find(service, fault_id), service))


@router.delete("/faults/{fault_id}", status_code=204, responses=NO_FAULT)
async def remove_fault(request: Request, fault_id: int) -> Response:
    """Remove a fault, or end an outage."""
    _find(service_of(request), fault_id).remove()
    return Response(status_code=204)


def _find(service: Service, fault_id: int) -> RequestRule[Fault]:
    return find_rule(service.faults.rules(), fault_id, "fault")


def _fault_data(rule: RequestRule[Fault], service: Service) -> dict[str, Any]:
    return {**rule_data(rule, service.clock), "fault": fault_data(rule.action)}
