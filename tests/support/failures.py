"""Request failures, created without sending a request, and unusual exceptions of user code."""

from __future__ import annotations

import dataclasses

from pandium.errors import APIError, NotFound, PandiumError, ServerError


def error_response(
    status: int, retry_after: float | None = None, cls: type[APIError] = APIError
) -> APIError:
    """Return the error for a response with the given status."""
    return cls(str(status), status_code=status, retry_after=retry_after)


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """An error whose attributes cannot be set, not even its traceback."""

    code: int = 7


class EmptyError(Exception):
    """An error that is false, because it is a container without items."""

    def __len__(self) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class FrozenPandiumError(PandiumError):
    """The same with a base class of the library."""

    code: int = 7


class OwnAPIError(NotFound):
    """An error of the user that lacks most attributes of its base class."""

    def __init__(self) -> None:
        Exception.__init__(self, "own")


CIRCULAR: list[object] = []
CIRCULAR.append(CIRCULAR)

ODD_ERRORS: list[Exception] = [
    FrozenError(),
    EmptyError(),
    FrozenPandiumError(),
    OwnAPIError(),
    ServerError("own", status_code=503, body=CIRCULAR),
]
