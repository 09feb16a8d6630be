"""Write a table row by row, fitted to the terminal width."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from pandium._cli.output.columns import COLUMNS, Column
from pandium._cli.output.terminal import can_draw, escape_controls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["Table"]

_GAP = "  "
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
# Matches Hebrew, Arabic and other right-to-left scripts. Without a left-to-right mark after such a
# cell, a terminal would also reverse the numbers in the next column.
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_LEFT_TO_RIGHT_MARK = "\u200e"


class Table:
    """
    A table of one kind of record.

    The first batch of records determines the widths of the columns.

    :param kind: the class name of the records, a key of ``COLUMNS``.
    :param stream: the stream to write to.
    :param max_width: the maximum line width, or ``None`` for no limit. Wider lines are cropped.
    """

    def __init__(self, kind: str, stream: TextIO, max_width: int | None) -> None:
        self._columns: Sequence[Column] = COLUMNS[kind]
        self._stream = stream
        self._max_width = max_width
        self._widths: list[int] = []

    def write(self, records: Sequence[object]) -> None:
        """Write one line per record. The column titles precede the first record."""
        rows = [
            [_format_cell(column.value(record)) for column in self._columns] for record in records
        ]
        if rows and not self._widths:
            self._write_titles(rows)
        self._stream.writelines(f"{self._format_line(row)}\n" for row in rows)

    def close(self) -> None:
        """Do nothing, because a table has no footer."""

    def _write_titles(self, rows: list[list[str]]) -> None:
        titles = [column.title for column in self._columns]
        self._widths = _fit_widths(
            _natural_widths([titles, *rows], self._columns), self._columns, self._max_width
        )
        line = self._format_line(titles)
        self._stream.write(f"{_BOLD}{line}{_PLAIN}\n" if can_draw(self._stream) else f"{line}\n")

    def _format_line(self, row: list[str]) -> str:
        # If the last columns do not fit, there are fewer widths than columns.
        cells = zip(row, self._columns, self._widths, strict=False)
        return _GAP.join(self._pad(cell, column, width) for cell, column, width in cells).rstrip()

    def _pad(self, cell: str, column: Column, width: int) -> str:
        # A truncated id would be useless. A long id shifts the rest of the line instead.
        if self._max_width is not None and column.min_width is not None:
            cell = _crop(cell, width)
        padding = " " * (width - cell_len(cell))
        if _RIGHT_TO_LEFT.search(cell):
            cell += _LEFT_TO_RIGHT_MARK
        return padding + cell if column.is_number else cell + padding


def _format_cell(value: object) -> str:
    return "" if value is None else escape_controls(str(value))


def _crop(text: str, width: int) -> str:
    """Truncate text to a width in terminal cells, ending it with an ellipsis."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"


def _natural_widths(rows: list[list[str]], columns: Sequence[Column]) -> list[int]:
    """Return the width of each column's widest cell, or its initial width if that is greater."""
    by_column = zip(columns, zip(*rows, strict=True), strict=True)
    return [max(column.initial_width, *map(cell_len, cells)) for column, cells in by_column]


def _fit_widths(
    natural: Sequence[int], columns: Sequence[Column], max_width: int | None
) -> list[int]:
    """
    Return column widths that fit on one line.

    The widest column that may shrink is narrowed first. When no column can shrink further, the
    last columns are dropped.
    """
    widths = list(natural)
    if max_width is None:
        return widths
    for index, column in enumerate(columns):
        if column.min_width is not None:
            widths[index] = min(widths[index], max_width)
    while _line_width(widths) > max_width and len(widths) > 1:
        if shrinkable := _shrinkable_columns(widths, columns):
            widths[max(shrinkable, key=widths.__getitem__)] -= 1
        else:
            widths.pop()
    return widths


def _shrinkable_columns(widths: list[int], columns: Sequence[Column]) -> list[int]:
    return [
        index for index, width in enumerate(widths) if width > (columns[index].min_width or width)
    ]


def _line_width(widths: list[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)
