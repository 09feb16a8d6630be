"""The control API's routes for drift."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import control_response, describe_error, example
from pandium.emulator.control.drift_models import (
    ChangeForm,
    ChangeState,
    build_change,
    change_data,
)
from pandium.emulator.control.selection_models import (
    RuleArguments,
    RuleState,
    find_rule,
    rule_data,
    value_errors_at,
)
from pandium.emulator.network.drift import Change, Drift
from pandium.emulator.network.request_selection import RequestRule

NO_CHANGE = describe_error(404, "There is no change with this id.")

router: APIRouter = APIRouter(tags=["Drift"])


class DriftArguments(RuleArguments):
    """A change, and the requests before or after which it is made."""

    timing: Literal["before", "after"] = Field(
        description="Before the request is executed, or after it and before its response is sent."
    )
    change: ChangeForm


class DriftState(RuleArguments, RuleState):
    """A change and the number of times that it has been made."""

    timing: Literal["before", "after"]
    change: ChangeState


DriftBody = Annotated[
    DriftArguments,
    example(
        timing="after", operation="tenants.list", every=2, change={"type": "archive", "count": 1}
    ),
]


@router.get("/drift", response_model=list[DriftState])
async def get_drift(request: Request) -> Response:
    """Return all changes that have not been removed."""
    service = service_of(request)
    return control_response([_drift_data(rule, service) for rule in _rules(service.drift)])


@router.post("/drift", status_code=201, response_model=DriftState)
async def add_drift(request: Request, body: DriftBody) -> Response:
    """Make a change before or after certain requests, as other users of the API would."""
    service = service_of(request)
    with service.lock:
        selection = body.selection(service.store)
    change = build_change(body.change, service)
    add = service.drift.before if body.timing == "before" else service.drift.after
    with value_errors_at():
        rule = add(change=change, **selection)
    return control_response(_drift_data(rule, service), 201)


@router.delete("/drift", status_code=204)
async def remove_drift(request: Request) -> Response:
    """Remove all changes. Their effects remain."""
    service_of(request).drift.clear()
    return Response(status_code=204)


@router.get("/drift/{change_id}", response_model=DriftState, responses=NO_CHANGE)
async def get_change(request: Request, change_id: int) -> Response:
    """Return a change and the number of times that it has been made."""
    service = service_of(request)
    rule = find_rule(_rules(service.drift), change_id, "change")
    return control_response(_drift_data(rule, service))


@router.delete("/drift/{change_id}", status_code=204, responses=NO_CHANGE)
async def remove_change(request: Request, change_id: int) -> Response:
    """Remove a change. Its effects remain."""
    find_rule(_rules(service_of(request).drift), change_id, "change").remove()
    return Response(status_code=204)


def _rules(drift: Drift) -> list[RequestRule[Change]]:
    return [*drift.rules("before"), *drift.rules("after")]


def _drift_data(rule: RequestRule[Change], service: Service) -> dict[str, Any]:
    state = rule_data(rule, service.clock)
    timing = "before" if rule in service.drift.rules("before") else "after"
    return {**state, "timing": timing, "change": change_data(rule.action)}
