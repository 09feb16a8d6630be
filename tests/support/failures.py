"""Request failures, unusual exceptions of user code, and reports of exceptions."""

from __future__ import annotations

import dataclasses
import traceback
from datetime import UTC, datetime

import httpx

from pandium.errors import APIError, Attempt, NotFound, PandiumError, ServerError


def error_response(
    status: int, retry_after: float | None = None, cls: type[APIError] = APIError
) -> APIError:
    """Return the error for a response with the given status."""
    return cls(str(status), status_code=status, retry_after=retry_after)


def report_with_locals(error: BaseException) -> str:
    """Return the traceback below the test's own frame, with the local variables of each frame."""
    assert error.__traceback__ is not None
    below = error.__traceback__.tb_next
    report = traceback.TracebackException(type(error), error, below, capture_locals=True)
    return "".join(report.format())


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


class PropertyError(PandiumError):
    """An error whose attributes cannot be set, because they are properties."""

    outcome_unknown = property(lambda _: False)
    resume_skip = property(lambda _: 7)


class SecretiveError(Exception):
    """An error whose attributes cannot be read."""

    def __getattr__(self, name: str) -> object:
        raise ZeroDivisionError(name)


class OwnStatusError(httpx.HTTPStatusError):
    """An error of the user that lacks the attributes of its base class."""

    def __init__(self) -> None:
        Exception.__init__(self, "own")


class OwnAPIError(NotFound):
    """An error of the user that lacks most attributes of its base class."""

    def __init__(self) -> None:
        Exception.__init__(self, "own")


CIRCULAR: list[object] = []
CIRCULAR.append(CIRCULAR)

# An error of another call that the user's code changed
CHANGED = ServerError("changed", status_code=503, body={"tags": {"a", "b"}})
CHANGED.attempts = (Attempt(datetime.now(UTC), 0.1, "503"),)
CHANGED.message = None  # type: ignore[assignment]  # as above

ODD_ERRORS: list[Exception] = [
    FrozenError(),
    EmptyError(),
    FrozenPandiumError(),
    PropertyError("odd"),
    SecretiveError("odd"),
    OwnStatusError(),
    OwnAPIError(),
    ServerError("own", status_code=503, body=CIRCULAR),
    CHANGED,
]
