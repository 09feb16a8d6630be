"""Errors of the service, before they become HTTP responses."""

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

# The maximum number of problems in an error message.
MAX_LISTED = 20
# pydantic's messages for invalid values start with this. They do not contain the value.
EXPECTATION = "Input should be"
# pydantic's messages for these do not mention the field.
MESSAGES = {"extra_forbidden": "there is no such field", "missing": "is required"}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error in an input, and its location."""

    loc: tuple[str | int, ...]
    msg: str
    value: Any
    kind: str = "value_error"

    @property
    def place(self) -> str:
        """The location as text, such as `tenants[0].name`."""
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.loc)
        return place.removeprefix(".")

    def __str__(self) -> str:
        return f"{self.place}: {self.msg}"


class InvalidInput(ValueError):  # noqa: N818 - it is a response, not a failure
    """An invalid input: 422 over HTTP, a ValueError in Python."""

    def __init__(self, problems: Iterable[Problem], where: str = "body") -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.where = where
        left = len(self.problems) - MAX_LISTED
        more = f"; and {left} more" if left > 0 else ""
        super().__init__("; ".join(map(str, self.problems[:MAX_LISTED])) + more)

    def under(self, *place: str | int) -> "InvalidInput":
        """Return the same problems, with a prefix for their locations."""
        return InvalidInput(replace(one, loc=(*place, *one.loc)) for one in self.problems)


def raise_if_any(*problems: Problem) -> None:
    """Raise InvalidInput if there are problems."""
    if problems:
        raise InvalidInput(problems)


class Missing(LookupError):  # noqa: N818 - it is a response, not a failure
    """A record that does not exist: 404 over HTTP, a LookupError in Python."""


def validate(model: type[M], data: Mapping[str, Any]) -> M:
    """Validate data with a model, or raise InvalidInput."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(map(_problem, error.errors())) from None


def _problem(error: ErrorDetails) -> Problem:
    msg = MESSAGES.get(error["type"], error["msg"])
    if msg.startswith(EXPECTATION):
        msg = f"must be{msg.removeprefix(EXPECTATION)}, not {reprlib.repr(error['input'])}"
    return Problem(error["loc"], msg, error["input"], error["type"])
