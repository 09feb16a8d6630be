"""The control API's answers: JSON, and errors that name the place."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pandium.emulator.api.json_responses import Responses
from pandium.emulator.state.encoding import encode
from pandium.emulator.state.errors import Missing, Problem, Refused

# What a browser is not to do with an answer: keep it, show it elsewhere, take it for a script.
HEADERS = {
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class RequestError(BaseModel):
    """One thing that is wrong with a request."""

    place: str
    message: str


class RequestErrors(BaseModel):
    """All that is wrong with a request."""

    errors: list[RequestError]


def describe_error(code: int, text: str) -> Responses:
    """Describe an answer that says what is wrong."""
    return {code: {"model": RequestErrors, "description": text}}


COMMON_ERRORS: Responses = {
    **describe_error(403, "The request comes from another site, or by a foreign name."),
    **describe_error(413, "The body is too long."),
    **describe_error(422, "Something in the request cannot be used."),
}


def control_response(value: object, status: int = 200) -> Response:
    """Return a value as a JSON response."""
    return Response(encode(value), status, HEADERS, media_type="application/json")


def error_response(status: int, *errors: tuple[str, str]) -> Response:
    """Return a response that lists errors and their places."""
    return control_response(
        {"errors": [{"place": place, "message": msg} for place, msg in errors]}, status
    )


async def on_missing(_request: Request, error: Exception) -> Response:
    """Answer that a record does not exist."""
    return error_response(404, ("path", str(error)))


async def on_http(_request: Request, error: HTTPException) -> Response:
    """Answer in our form where the framework objects."""
    place = "body" if error.status_code in (400, 413) else "path"
    response = error_response(error.status_code, (place, error.detail))
    response.headers.update(error.headers or {})
    return response


async def on_refused(_request: Request, error: Refused) -> Response:
    """Answer 422 with the places of all problems."""
    return error_response(422, *_places(error.problems))


async def on_invalid(_request: Request, error: RequestValidationError) -> Response:
    """Answer 422 with the places of all that has not the right form."""
    return error_response(422, *_places(map(_problem, error.errors())))


def _problem(error: dict[str, Any]) -> Problem:
    kind, *place = error["loc"]
    if error["type"] == "json_invalid":
        return Problem((), f"is no JSON: {error['ctx']['error']} at {place[0]}", None)
    return Problem(tuple(place) if kind == "body" else (kind, *place), error["msg"], None)


def _places(problems: Iterable[Problem]) -> list[tuple[str, str]]:
    return [(one.place or "body", one.msg) for one in problems]


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Missing: on_missing,
    HTTPException: on_http,
    Refused: on_refused,
    RequestValidationError: on_invalid,
}
