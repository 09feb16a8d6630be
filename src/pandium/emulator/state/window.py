"""Select and sort part of a listing: `skip`, `limit` and `sort_by`."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pandium.emulator.state.errors import InvalidInput, Problem

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
SORT = re.compile(r"(\w+)__(ASC|DESC)")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Window:
    """The requested part of a listing, and its order."""

    skip: int
    limit: int
    field: str
    descending: bool

    def clamp(self, limit: int | None) -> "Window":
        """Return the window, limited to a maximum number of rows."""
        return self if limit is None else replace(self, limit=min(self.limit, limit))

    def order(self, rows: Sequence[T], value: Callable[[T, str], Any]) -> Sequence[T]:
        """Sort rows that are ordered by id. Rows without a value come last."""
        if self.field == "id" and not self.descending:
            return rows
        filled = [row for row in rows if value(row, self.field) is not None]
        empty = [row for row in rows if value(row, self.field) is None]
        filled.sort(key=lambda row: value(row, self.field), reverse=self.descending)
        return filled + empty

    def cut(self, rows: Sequence[T]) -> Sequence[T]:
        """Return the rows of this window."""
        return rows[self.skip : self.skip + self.limit]


def parse_window(
    skip: int | None, limit: int | None, sort_by: str | None, fields: Collection[str]
) -> Window:
    """Parse the parameters of a listing, or raise InvalidInput."""
    skip = 0 if skip is None else skip
    limit = DEFAULT_LIMIT if limit is None else limit
    match = SORT.fullmatch(sort_by or "id__ASC")
    problems = []
    if skip < 0:
        problems.append(_out_of_range("skip", "greater", 0, skip))
    if limit < 1:
        problems.append(_out_of_range("limit", "greater", 1, limit))
    if limit > MAX_LIMIT:
        problems.append(_out_of_range("limit", "less", MAX_LIMIT, limit))
    if match is None or match[1] not in fields:
        msg = f"must be {{field}}__ASC or {{field}}__DESC; fields: {', '.join(fields)}"
        problems.append(Problem(("sort_by",), msg, sort_by))
    if match is None or problems:
        raise InvalidInput(problems, where="query")
    return Window(skip, limit, match[1], match[2] == "DESC")


def _out_of_range(name: str, word: str, bound: int, value: int) -> Problem:
    msg = f"Input should be {word} than or equal to {bound}"
    return Problem((name,), msg, value, f"{word}_than_equal")
