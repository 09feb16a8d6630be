"""The control API's route for one run, with its triggers and its log."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import control_response, describe_error
from pandium.emulator.control.overview import RunSummary, run_summary
from pandium.emulator.runs.emulated_run import EmulatedRun
from pandium.emulator.state.errors import Missing

router = APIRouter(tags=["Overview"])


class TriggerDetails(BaseModel):
    """A trigger of a run."""

    id: int
    created_date: datetime
    mode: str
    source: str = Field(description="Such as `api` or `Cron`.")
    payload: dict[str, Any]


class RunDetails(BaseModel):
    """A run with its triggers and its log."""

    run: RunSummary
    triggers: list[TriggerDetails]
    log: str = Field(description="The lines so far. Empty until the API shows the run.")


@router.get(
    "/runs/{run_id}",
    response_model=RunDetails,
    responses=describe_error(404, "There is no run with this id."),
)
async def get_run(request: Request, run_id: int) -> Response:
    """Return a run with its triggers and its log, even before the API shows it."""
    service = service_of(request)
    with service.lock:
        return control_response(_details(_find(service, run_id), service))


def _find(service: Service, run_id: int) -> EmulatedRun:
    for run in service.runs.all():
        if run.id == run_id:
            return run
    raise Missing(f"there is no run {run_id}")


def _details(run: EmulatedRun, service: Service) -> dict[str, Any]:
    lines = run.log(service.clock) if run.has_appeared() else ()
    return {
        "run": run_summary(run, service),
        "triggers": [one.view(service.clock) for one in run.triggers],
        "log": "".join(f"{line}\n" for line in lines),
    }
