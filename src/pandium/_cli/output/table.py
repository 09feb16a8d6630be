"""Draw a table row by row, as the records come, to the width of the terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from pandium._cli.output.columns import COLUMNS, Column
from pandium._cli.output.terminal import can_draw, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["Table", "cropped", "fitted"]

_GAP = "  "
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
# Hebrew, Arabic and their like. A mark that is written from left to right, and has no width, keeps
# them from drawing the numbers of the next column into their own direction.
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_MARK = "\u200e"


class Table:
    """
    A table of one kind of record.

    The first records settle the widths. With a ``limit`` to the width of a line, what is longer
    is cropped; without one everything stands there whole.
    """

    def __init__(self, kind: str, stream: TextIO, limit: int | None) -> None:
        self._columns: Sequence[Column] = COLUMNS[kind]
        self._stream = stream
        self._limit = limit
        self._widths: list[int] = []

    def write(self, records: Sequence[object]) -> None:
        """Write one line a record, and the titles before the first."""
        rows = [[_cell(column.of(one)) for column in self._columns] for one in records]
        if rows and not self._widths:
            self._begin(rows)
        self._stream.writelines(f"{self._line(row)}\n" for row in rows)

    def close(self) -> None:
        """Do nothing: a table has no foot."""

    def _begin(self, rows: list[list[str]]) -> None:
        titles = [column.title for column in self._columns]
        widest = [max(map(cell_len, cells)) for cells in zip(titles, *rows, strict=True)]
        natural = [max(pair) for pair in zip(widest, (c.room for c in self._columns), strict=True)]
        self._widths = fitted(natural, self._columns, self._limit)
        line = self._line(titles)
        self._stream.write(f"{_BOLD}{line}{_PLAIN}\n" if can_draw(self._stream) else f"{line}\n")

    def _line(self, row: list[str]) -> str:
        shown = zip(row, self._columns, self._widths, strict=False)
        return _GAP.join(self._padded(*one) for one in shown).rstrip()

    def _padded(self, cell: str, column: Column, width: int) -> str:
        # A number is worth nothing in part: rather a line out of place.
        if self._limit is not None and column.least is not None:
            cell = cropped(cell, width)
        padding = " " * (width - cell_len(cell))
        if _RIGHT_TO_LEFT.search(cell):
            cell += _MARK
        return padding + cell if column.is_number else cell + padding


def _cell(value: object) -> str:
    return "" if value is None else visible(str(value))


def cropped(text: str, width: int) -> str:
    """Cut a text to so many columns of a terminal, and say so."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"


def fitted(natural: Sequence[int], columns: Sequence[Column], limit: int | None) -> list[int]:
    """Fit columns into a line: the widest that can shrink do so first, then the last ones go."""
    widths = list(natural)
    if limit is None:
        return widths
    for index, column in enumerate(columns):
        if column.least is not None:
            widths[index] = min(widths[index], limit)
    while _total(widths) > limit and len(widths) > 1:
        shrinkable = [i for i, width in enumerate(widths) if width > (columns[i].least or width)]
        if shrinkable:
            widths[max(shrinkable, key=widths.__getitem__)] -= 1
        else:
            widths.pop()
    return widths


def _total(widths: list[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)
