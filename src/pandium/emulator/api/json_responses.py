"""The parameters, responses and error handlers that the routes share."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pandium.emulator.api.schemas import ErrorMessage, HTTPValidationError, V2RunMode
from pandium.emulator.network.operations import methods_of
from pandium.emulator.state.encoding import encode
from pandium.emulator.state.errors import InvalidInput, Missing

IntegrationId = Annotated[int, Path()]
TenantId = Annotated[int, Path()]
Mode = Annotated[V2RunMode, Query()]
SortBy = Annotated[str | None, Query()]
Limit = Annotated[int | None, Query()]
Skip = Annotated[int | None, Query()]
Archived = Annotated[bool | None, Query()]
Payload = dict[str, Any] | None

Responses = dict[int | str, dict[str, Any]]
NOT_FOUND: Responses = {404: {"model": ErrorMessage, "description": "Not Found"}}
INVALID: Responses = {422: {"model": HTTPValidationError, "description": "Validation Error"}}
MESSAGE: Responses = {422: {"model": ErrorMessage, "description": "Unprocessable Content"}}

# Otherwise, newer versions of FastAPI would add spans to the traces of the program under test.
# Older versions ignore the argument.
UNTRACED: Any = dict.fromkeys(
    ("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False
)

# The API reference documents a plain message as the 422 body of these two operations.
WITH_MESSAGE = frozenset({"/v2/sourcecontrol/build", "/v2/integrations/{integration_id}/sync"})


def json_response(value: object, status: int = 200) -> Response:
    """Return a value as a JSON response."""
    return encoded_response(encode(value), status)


def encoded_response(body: bytes, status: int = 200) -> Response:
    """Return a JSON response whose body is already encoded."""
    return Response(body, status, media_type="application/json")


async def on_missing(_request: Request, error: Exception) -> Response:
    """Return a 404 in the API's own error format."""
    return json_response({"message": str(error)}, 404)


async def on_invalid(request: Request, error: Exception) -> Response:
    """Return a 422 in FastAPI's error format, or with a plain message where the API uses one."""
    return _validation_response(
        request,
        _refusal_details(error) if isinstance(error, InvalidInput) else _error_details(error),
    )


async def on_refused(request: Request, error: HTTPException) -> Response:
    """Return a response for an error raised by the framework."""
    if error.status_code == HTTPStatus.BAD_REQUEST:  # the encoding of the body is unknown
        problem = {"type": "json_invalid", "loc": ("body",), "msg": "JSON decode error"}
        return _validation_response(request, [{**problem, "input": None}])
    methods = methods_of(request.url.path)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and methods:
        # The framework includes only the methods of a single route.
        error.headers = {"allow": ", ".join(methods)}
    return await http_exception_handler(request, error)


def _validation_response(request: Request, errors: list[dict[str, Any]]) -> Response:
    if request.scope["route"].path in WITH_MESSAGE:
        texts = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in errors)
        return json_response({"message": "; ".join(texts)}, 422)
    return json_response({"detail": errors}, 422)


def _refusal_details(error: InvalidInput) -> list[dict[str, Any]]:
    return [
        {"type": one.kind, "loc": (error.where, *one.loc), "msg": one.msg, "input": one.value}
        for one in error.problems
    ]


def _error_details(error: Exception) -> list[dict[str, Any]]:
    # An invalid body is included as text.
    errors: list[dict[str, Any]] = jsonable_encoder(
        error.errors() if isinstance(error, RequestValidationError) else [],
        custom_encoder={bytes: lambda body: body.decode(errors="replace")},
    )
    return errors


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Missing: on_missing,
    InvalidInput: on_invalid,
    RequestValidationError: on_invalid,
    HTTPException: on_refused,
}
