"""Request failures, created without sending a request, and unusual exceptions of user code."""

from __future__ import annotations

import dataclasses

from pandium.errors import APIError


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


ODD_ERRORS = [FrozenError(), EmptyError()]
