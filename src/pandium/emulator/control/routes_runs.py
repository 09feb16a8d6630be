"""The control API's route for one run, with its triggers and its log."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.api.views import run_log
from pandium.emulator.control.control_responses import control_response, describe_error
from pandium.emulator.control.overview import RunSummary, run_summary
from pandium.emulator.state.errors import Missing
from pandium.emulator.state.record_models import Run, RunTrigger

router: APIRouter = APIRouter(tags=["Overview"])


class RunDetails(BaseModel):
    """A run with its triggers and its log."""

    run: RunSummary
    triggers: list[RunTrigger]
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


def _find(service: Service, run_id: int) -> Run:
    for run in service.runs.all():
        if run.id == run_id:
            return run
    raise Missing(f"there is no run {run_id}")


def _details(run: Run, service: Service) -> dict[str, Any]:
    return {
        "run": run_summary(run, service),
        "triggers": run.triggers,
        "log": run_log(run),
    }
