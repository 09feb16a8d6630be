"""The control API's routes for the page limit, random schedules and paused integrations."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import control_response, describe_error, example
from pandium.emulator.runs.schedules import ScheduleDelay
from pandium.emulator.state.record_base import Record
from pandium.emulator.state.record_models import Integration

NO_INTEGRATION = describe_error(404, "There is no integration with this id.")

router: APIRouter = APIRouter(tags=["Settings"])


class Settings(Record):
    """The settings of the service. A `page_limit` of null is the documented maximum of 500."""

    page_limit: int | None = Field(default=None, ge=1)
    schedule_delay: ScheduleDelay = ScheduleDelay()


SettingsBody = Annotated[Settings, example(page_limit=50, schedule_delay={"within": 30})]


@router.get("/settings", response_model=Settings)
async def get_settings(request: Request) -> Response:
    """Return the page limit and the randomization of schedules."""
    return _settings_response(service_of(request))


@router.patch("/settings", response_model=Settings)
async def change_settings(request: Request, body: SettingsBody) -> Response:
    """Change the page limit, the randomization of schedules, or both."""
    service = service_of(request)
    if "page_limit" in body.model_fields_set:
        service.page_limit = body.page_limit
    if "schedule_delay" in body.model_fields_set:
        service.runs.randomize_schedules(**dict(body.schedule_delay))
    return _settings_response(service)


@router.post(
    "/integrations/{integration_id}/pause",
    response_model=Integration,
    responses=NO_INTEGRATION,
)
async def pause_integration(request: Request, integration_id: int) -> Response:
    """Pause an integration: schedules start no runs of its tenants. Syncs still start runs."""
    return _pause(service_of(request), integration_id, paused=True)


@router.post(
    "/integrations/{integration_id}/resume",
    response_model=Integration,
    responses=NO_INTEGRATION,
)
async def resume_integration(request: Request, integration_id: int) -> Response:
    """Resume a paused integration. Schedules continue with their next date."""
    return _pause(service_of(request), integration_id, paused=False)


def _pause(service: Service, integration_id: int, *, paused: bool) -> Response:
    with service.lock:
        return control_response(service.store.pause_integration(integration_id, paused=paused))


def _settings_response(service: Service) -> Response:
    delay = service.runs.schedule_delay
    return control_response({"page_limit": service.page_limit, "schedule_delay": delay})
