"""The control API's routes for the clock."""

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import (
    control_response,
    describe_error,
    error_response,
)
from pandium.emulator.state.rules import Record

# More would begin more runs by schedules than anybody can wait for.
YEAR = 366 * 86_400
MAX_SPEED = 1_000_000
MANUAL_CLOCK = describe_error(409, "The test that has made the emulator drives its clock.")

router = APIRouter()


class ClockView(BaseModel):
    """What time it is for the emulator, and how fast it goes."""

    time: datetime
    speed: float


class SpeedArguments(Record):
    """How many seconds are to go by in each second of every day."""

    speed: float = Field(gt=0, le=MAX_SPEED)


class ForwardArguments(Record):
    """How many seconds are to go by at once."""

    seconds: float = Field(ge=0, le=YEAR)


@router.get("/clock", response_model=ClockView)
async def get_clock(request: Request) -> Response:
    """Return the time."""
    return _clock_response(service_of(request))


@router.put("/clock", response_model=ClockView)
async def set_speed(request: Request, body: SpeedArguments) -> Response:
    """Let the time go faster or slower from now on."""
    service = service_of(request)
    service.clock.speed = body.speed
    return _clock_response(service)


@router.post("/clock/forward", response_model=ClockView, responses=MANUAL_CLOCK)
async def put_forward(request: Request, body: ForwardArguments) -> Response:
    """Let some time go by at once: runs end, and schedules begin what was due."""
    service = service_of(request)
    try:
        service.clock.put_forward(body.seconds)
    except RuntimeError as error:
        return error_response(409, ("path", str(error)))
    return _clock_response(service)


def _clock_response(service: Service) -> Response:
    return control_response({"time": service.clock.wall(), "speed": service.clock.speed})
