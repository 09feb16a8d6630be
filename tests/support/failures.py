"""Request failures, created without sending a request."""

from pandium.errors import APIError


def error_response(
    status: int, retry_after: float | None = None, cls: type[APIError] = APIError
) -> APIError:
    """Return the error for a response with the given status."""
    return cls(str(status), status_code=status, retry_after=retry_after)
