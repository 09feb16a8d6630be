"""The control API's responses: JSON, and errors with their locations in the request."""

import base64
from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from itertools import pairwise
from typing import Any

from fastapi import Body, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pandium.emulator.api.json_responses import Responses
from pandium.emulator.state.encoding import encode
from pandium.emulator.state.errors import InvalidInput, Missing, Problem

# Browsers must not store a response, show it on another site, or run it as a script.
HEADERS = {
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


# The fields whose value is one of several models, distinguished by `type`.
UNIONS = frozenset({"fault", "change"})
MESSAGES = {
    "extra_forbidden": "there is no field {name!r}; see /_emulator/docs",
    "missing": "is missing",
    "union_tag_invalid": "must be one of {expected_tags}, not '{tag}'",
    "union_tag_not_found": "is missing",
}


class RequestError(BaseModel):
    """An error in a request."""

    place: str
    message: str


class RequestErrors(BaseModel):
    """All errors in a request."""

    errors: list[RequestError]


def describe_error(code: int, text: str) -> Responses:
    """Describe an error response for the OpenAPI document."""
    return {code: {"model": RequestErrors, "description": text}}


COMMON_ERRORS: Responses = {
    **describe_error(403, "The request comes from another website, or `Host` is a foreign name."),
    **describe_error(413, "The body is larger than 1 MiB, or 64 MiB for `PUT /state`."),
    **describe_error(415, "The content type is not JSON."),
    **describe_error(422, "The request is invalid."),
}


def control_response(value: object, status: int = 200) -> Response:
    """Return a value as a JSON response."""
    return Response(encode(value), status, HEADERS, media_type="application/json")


def example(**body: object) -> Any:
    """Declare a request body with an example for the documentation."""
    return Body(examples=[body])


def body_data(body: bytes) -> dict[str, str | None]:
    """Return a body as text, or in base 64 if it is not UTF-8."""
    try:
        return {"body": body.decode(), "body_base64": None}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode()}


def error_response(status: int, *errors: tuple[str, str]) -> Response:
    """Return a response that lists errors and their locations."""
    return control_response(
        {"errors": [{"place": place, "message": msg} for place, msg in errors]}, status
    )


async def on_missing(_request: Request, error: Exception) -> Response:
    """Return a 404 for a record that does not exist."""
    return error_response(404, ("path", str(error)))


async def on_http(_request: Request, error: HTTPException) -> Response:
    """Return an error raised by the framework in the control API's format."""
    if error.status_code == HTTPStatus.BAD_REQUEST:  # the body is not UTF-8 or is nested too deeply
        return error_response(422, ("body", "is not valid JSON, or is nested too deeply"))
    place = "body" if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else "path"
    response = error_response(error.status_code, (place, error.detail))
    response.headers.update(error.headers or {})
    return response


async def on_refused(_request: Request, error: InvalidInput) -> Response:
    """Return a 422 with all problems and their locations."""
    return error_response(422, *_places(error.problems))


async def on_invalid(_request: Request, error: RequestValidationError) -> Response:
    """Return a 422 with all validation errors and their locations."""
    return error_response(422, *_places(map(_problem, error.errors())))


def _problem(error: dict[str, Any]) -> Problem:
    if error["type"] == "json_invalid":
        return Problem(
            (), f"is not valid JSON: {error['ctx']['error']} at position {error['loc'][-1]}", None
        )
    kind, *_ = loc = error["loc"]
    # Inside a union, pydantic inserts the name of the member, which is not part of the JSON.
    place = [part for parent, part in pairwise(loc) if parent not in UNIONS]
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        place.append("type")
    message = _message(error, place)
    return Problem(tuple(place) if kind == "body" else (kind, *place), message, None)


def _message(error: dict[str, Any], place: list[str | int]) -> str:
    template = MESSAGES.get(error["type"], "{msg}")
    return template.format(
        name=place[-1] if place else "", msg=error["msg"], **error.get("ctx", {})
    )


def _places(problems: Iterable[Problem]) -> list[tuple[str, str]]:
    return [(one.place or "body", one.msg) for one in problems]


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Missing: on_missing,
    HTTPException: on_http,
    InvalidInput: on_refused,
    RequestValidationError: on_invalid,
}
