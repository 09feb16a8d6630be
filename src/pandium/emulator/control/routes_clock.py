"""The control API's routes for the clock."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import (
    control_response,
    describe_error,
    error_response,
    example,
)
from pandium.emulator.runs.clock import MAX_SPEED
from pandium.emulator.state.record_base import Record

# A longer jump would start too many scheduled runs.
YEAR = 366 * 86_400
MANUAL_CLOCK = describe_error(409, "The test that created the emulator controls its clock.")

router: APIRouter = APIRouter(tags=["Clock"])


class ClockView(BaseModel):
    """The time on the emulator's clock, and its speed relative to real time."""

    time: datetime
    speed: float


class SpeedArguments(Record):
    """The number of seconds that pass in one second of real time."""

    speed: float = Field(gt=0, le=MAX_SPEED)


class ForwardArguments(Record):
    """The number of seconds by which to advance the clock."""

    seconds: float = Field(ge=0, le=YEAR)


SpeedBody = Annotated[SpeedArguments, example(speed=60)]
ForwardBody = Annotated[ForwardArguments, example(seconds=700)]


@router.get("/clock", response_model=ClockView)
async def get_clock(request: Request) -> Response:
    """Return the time and the speed of the clock."""
    return _clock_response(service_of(request))


@router.put("/clock", response_model=ClockView)
async def set_speed(request: Request, body: SpeedBody) -> Response:
    """Set the speed of the clock. With 60, a minute passes in a second."""
    service = service_of(request)
    service.clock.speed = body.speed
    return _clock_response(service)


@router.post("/clock/forward", response_model=ClockView, responses=MANUAL_CLOCK)
async def put_forward(request: Request, body: ForwardBody) -> Response:
    """Advance the clock immediately. Runs proceed, and scheduled runs that are due start."""
    service = service_of(request)
    try:
        service.clock.put_forward(body.seconds)
    except RuntimeError as error:
        return error_response(409, ("path", str(error)))
    return _clock_response(service)


def _clock_response(service: Service) -> Response:
    return control_response({"time": service.clock.wall(), "speed": service.clock.speed})
