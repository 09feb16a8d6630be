"""Failures of a request, made without sending one."""

from pandium.errors import APIError


def error_response(
    status: int, retry_after: float | None = None, cls: type[APIError] = APIError
) -> APIError:
    """Return the error of a response with this status."""
    return cls(str(status), status_code=status, retry_after=retry_after)
