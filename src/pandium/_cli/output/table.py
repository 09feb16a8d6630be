"""Write a table row by row, fitted to the terminal width."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from pandium._cli.output.columns import COLUMNS, Column
from pandium._cli.output.terminal import can_draw, escape_controls, note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

__all__ = ["MAX_PADDED_WIDTH", "Table", "note_omitted"]

_GAP = "  "
# The maximum width to which cells are padded if there is no other limit. A longer cell shifts the
# rest of its line. Otherwise, one long name would multiply the size of the output.
MAX_PADDED_WIDTH = 200
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
# Matches Hebrew, Arabic and other right-to-left scripts. Without a left-to-right mark after such a
# cell, a terminal would also reverse the numbers in the next column.
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_LEFT_TO_RIGHT_MARK = "\u200e"


def note_omitted(titles: Sequence[str]) -> None:
    """Print a message with the columns that a table omits."""
    columns = ", ".join(titles)
    note(f"columns omitted to fit the terminal: {columns}; --format json and csv show everything")


class Table:
    """
    A table of one kind of record.

    The first batch of records determines the widths of the columns.

    :param kind: the class name of the records, a key of ``COLUMNS``.
    :param stream: the stream to write to.
    :param max_width: the maximum line width, or ``None`` for no limit. Wider cells are cropped, and
        the least important columns are omitted.
    :param on_omitted: a function that is called with the titles of the omitted columns, if any.
    """

    def __init__(
        self,
        kind: str,
        stream: TextIO,
        max_width: int | None,
        on_omitted: Callable[[Sequence[str]], object] = note_omitted,
    ) -> None:
        self._columns: Sequence[Column] = COLUMNS[kind]
        self._stream = stream
        self._max_width = max_width
        self._on_omitted = on_omitted
        self._widths: list[int] = []

    def write(self, records: Sequence[object]) -> None:
        """Write one line per record. The column titles precede the first record."""
        if records and not self._widths:
            self._write_titles(records)
        rows = map(self._format_cells, records)
        self._stream.writelines(f"{self._format_line(row)}\n" for row in rows)

    def close(self) -> None:
        """Do nothing, because a table has no footer."""

    def _format_cells(self, record: object) -> list[str]:
        return [_format_cell(column.value(record)) for column in self._columns]

    def _write_titles(self, records: Sequence[object]) -> None:
        titles = [column.title for column in self._columns]
        rows = [titles, *map(self._format_cells, records)]
        widths = _fit_widths(_natural_widths(rows, self._columns), self._columns, self._max_width)
        self._columns, self._widths = list(widths), list(widths.values())
        visible = [column.title for column in self._columns]
        if omitted := [title for title in titles if title not in visible]:
            self._on_omitted(omitted)
        line = self._format_line(visible)
        self._stream.write(f"{_BOLD}{line}{_PLAIN}\n" if can_draw(self._stream) else f"{line}\n")

    def _format_line(self, row: list[str]) -> str:
        cells = zip(row, self._columns, self._widths, strict=True)
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
) -> dict[Column, int]:
    """
    Return the columns that fit on one line, and their widths.

    The widest column that may shrink is narrowed first. If no column can shrink further, the least
    important column is omitted.
    """
    visible = dict(zip(columns, natural, strict=True))
    if max_width is None:
        return {column: min(width, MAX_PADDED_WIDTH) for column, width in visible.items()}
    while True:
        widths = _shrink(visible, max_width)
        if _line_width(widths) <= max_width or len(visible) == 1:
            return widths
        # Of columns with the same rank, the last one is omitted first.
        del visible[max(reversed(visible), key=lambda column: column.rank)]


def _shrink(natural: dict[Column, int], max_width: int) -> dict[Column, int]:
    widths = {
        column: width if column.min_width is None else min(width, max_width)
        for column, width in natural.items()
    }
    while _line_width(widths) > max_width and (shrinkable := _shrinkable_columns(widths)):
        widths[max(shrinkable, key=widths.__getitem__)] -= 1
    return widths


def _shrinkable_columns(widths: dict[Column, int]) -> list[Column]:
    return [column for column, width in widths.items() if width > (column.min_width or width)]


def _line_width(widths: dict[Column, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)
