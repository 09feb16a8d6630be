"""What the service objects to, before it has the form of an HTTP answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input, and the place where it stands."""

    loc: tuple[str | int, ...]
    msg: str
    value: Any
    kind: str = "value_error"

    @property
    def place(self) -> str:
        """The place as one would write it."""
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.loc)
        return place.removeprefix(".")

    def __str__(self) -> str:
        return f"{self.place}: {self.msg}"


class Refused(ValueError):  # noqa: N818 - a decision of the service, not a fault in it
    """An input that breaks a rule: 422 over HTTP, a ValueError in Python."""

    def __init__(self, problems: Iterable[Problem], where: str = "body") -> None:
        self.problems = tuple(problems)
        self.where = where
        super().__init__("; ".join(map(str, self.problems)))

    def under(self, *place: str | int) -> "Refused":
        """Return the same objections with a place in front of theirs."""
        return Refused(replace(one, loc=(*place, *one.loc)) for one in self.problems)


def refuse_if(*problems: Problem) -> None:
    """Raise Refused if there are problems."""
    if problems:
        raise Refused(problems)


class Missing(LookupError):  # noqa: N818 - an answer of the service, not a fault in it
    """Something that does not exist: 404 over HTTP."""


def validate(model: type[M], data: Mapping[str, Any]) -> M:
    """Validate data with a model, or raise Refused."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Refused(
            Problem(one["loc"], one["msg"], one["input"], one["type"]) for one in error.errors()
        ) from None
