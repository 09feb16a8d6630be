"""The control API's routes for builds."""

from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import control_response, describe_error, example
from pandium.emulator.state.builds import Build, BuildForm, BuildScript
from pandium.emulator.state.errors import Missing
from pandium.emulator.state.record_base import Record

NO_SCRIPT = describe_error(404, "The tag has no script.")

router: APIRouter = APIRouter(prefix="/builds", tags=["Builds"])


class BuildsView(BaseModel):
    """The accepted form, the scripts, and the builds that have not finished."""

    accept: BuildForm
    scripts: list[BuildScript]
    pending: list[Build]


class BuildScriptSubject(BaseModel):
    """The tag whose script is removed."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    tag: str | None = None


class AcceptArguments(Record):
    """The only form of a build request to accept, or `any`."""

    form: BuildForm


AcceptBody = Annotated[AcceptArguments, example(form="tag")]
BuildScriptBody = Annotated[BuildScript, example(tag="v2", finishes_after=60)]


@router.get("", response_model=BuildsView)
async def get_builds(request: Request) -> Response:
    """Return the accepted form, the scripts, and the builds that have not finished."""
    return _builds_response(service_of(request))


@router.put("/accept", response_model=BuildsView)
async def accept_builds(request: Request, body: AcceptBody) -> Response:
    """Accept only one form of a build request, or any: `build_tag`, `tag` or `any`."""
    service = service_of(request)
    service.builds.accept(body.form)
    return _builds_response(service)


@router.put("/scripts", response_model=BuildsView)
async def set_build_script(request: Request, body: BuildScriptBody) -> Response:
    """Set the script for future builds of a tag, or of all tags without their own script."""
    service = service_of(request)
    service.builds.set_script(body)
    return _builds_response(service)


@router.delete("/scripts", status_code=204, responses=NO_SCRIPT)
async def remove_build_scripts(
    request: Request, subject: Annotated[BuildScriptSubject, Query()]
) -> Response:
    """
    Remove the script of a tag, or all scripts if no tag is specified.

    Existing builds keep their script.
    """
    builds = service_of(request).builds
    if subject.tag is None:
        builds.clear_scripts()
        return Response(status_code=204)
    try:
        builds.remove_script(subject.tag)
    except LookupError as error:
        raise Missing(str(error)) from None
    return Response(status_code=204)


def _builds_response(service: Service) -> Response:
    builds = service.builds
    return control_response(
        {
            "accept": builds.accepted,
            "scripts": [dict(one) for one in builds.scripts],
            "pending": [dict(one) for one in builds.pending],
        }
    )
