"""Tables fit the terminal, and their columns are aligned."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import wcwidth
from hypothesis import given, settings
from hypothesis import strategies as st

from pandium._cli.output.table import Table
from pandium.emulator.network.faults import Status
from support.cli import Screen, api_variables, run_on_terminal
from support.records import make_integration

if TYPE_CHECKING:
    from pandium.emulator import Emulator

NAMES = [
    "plain",
    "rocket 🚀 日本語",
    "שָׁלוֹם עולם",
    "مرحبا 42",
    "👩‍💻 ❤️ 👍🏽 🇩🇪",
    "e\u0301\u0301",
]
LETTERS = list("aé 日🚀שع\u0301\u200d\ufe0f\x1b🇩👍🏽…—0")
names = st.text(st.sampled_from(LETTERS), max_size=60)


@settings(max_examples=200)
@given(st.lists(names, min_size=1, max_size=4), st.integers(12, 200))
def test_a_table_fits_its_terminal(texts: list[str], width: int) -> None:
    """No line is wider than the terminal, and each column begins at the same position."""
    out = io.StringIO()
    table = Table("Integration", out, width)
    table.write([make_integration(number, text) for number, text in enumerate(texts)])
    table.close()
    title, *lines = out.getvalue().splitlines()
    assert len(lines) == len(texts)
    for number, line in enumerate(lines):
        assert 0 <= wcwidth.wcswidth(line) <= width
        assert line.lstrip().startswith(str(number))
        if "TYPE" in title:
            position = wcwidth.wcswidth(line.partition("External")[0])
            assert position == title.index("TYPE")


def test_a_table_without_a_maximum_width_crops_nothing() -> None:
    """In a pipe, every cell is complete, even if it is wider than in the first batch."""
    out = io.StringIO()
    table = Table("Integration", out, None)
    table.write([make_integration(1, "short")])
    table.write([make_integration(2, "long" * 100)])
    table.write([])
    assert out.getvalue().splitlines()[2].count("long" * 100) == 2


def test_numbers_are_never_cropped() -> None:
    """An id that is wider than in the first batch is printed completely."""
    out = io.StringIO()
    table = Table("Integration", out, 30)
    table.write([make_integration(1, "a")])
    table.write([make_integration(123456789, "b" * 40)])
    line = out.getvalue().splitlines()[2]
    assert line.startswith("123456789")
    assert "…" in line


def find_column(screen: Screen, row: int, text: str) -> int:
    """Return the column of the screen at which a text begins."""
    cells = screen.cells[row]
    return next(x for x in range(len(cells)) if "".join(cells[x:]).startswith(text))


def find_title(screen: Screen) -> int:
    """Return the number of the row that contains the column titles."""
    return next(y for y, row in enumerate(screen.rows) if row.startswith(("ID", "TENANT")))


OMITTED = {
    80: ([], ["STATUS", "ERROR"]),
    60: (["POLLS"], ["SECONDS", "STATUS", "ERROR"]),
    40: (["SECONDS", "POLLS", "ERROR"], ["TENANT", "TRIGGER", "OUTCOME", "STATUS"]),
}


@pytest.mark.posix
@pytest.mark.parametrize("columns", OMITTED)
def test_a_reason_is_complete_at_every_width(columns: int, emulator: Emulator) -> None:
    """A narrow table omits the least important columns, and standard error has every reason."""
    message = " ".join(f"word{number}" for number in range(30))
    emulator.add_tenant("acme")
    emulator.faults.add("tenants.sync", Status(400, body=f'{{"message": "{message}"}}'.encode()))
    line = ["tenants", "sync", "1", "--wait"]
    code, screen = run_on_terminal(*line, columns=columns, environ=api_variables(emulator.url))
    assert code == 4
    text = "".join(row.ljust(columns) for row in screen.rows)
    assert message in text
    title = screen.rows[find_title(screen)]
    omitted, visible = OMITTED[columns]
    assert [name for name in omitted if name in title] == []
    assert [name for name in visible if name not in title] == []
    assert ("columns omitted to fit the terminal" in text) is bool(omitted)


@pytest.mark.posix
@pytest.mark.parametrize("columns", [30, 60, 80, 200])
def test_on_a_terminal_columns_are_aligned(columns: int, emulator: Emulator) -> None:
    """On terminals of any width, each record is one row and the columns are aligned."""
    for name in NAMES:
        emulator.add_integration(name, long_name=name * 3)
    code, screen = run_on_terminal(
        "integrations", "list", columns=columns, environ=api_variables(emulator.url)
    )
    top = find_title(screen)
    assert bool(top) is (columns < 80)  # the omitted columns are named above the table
    rows = screen.rows[top:]
    assert code == 0
    assert [row.split()[0] for row in rows[:8] if row] == ["ID", "1", "2", "3", "4", "5", "6", "7"]
    assert not any(rows[8:])
    positions = {find_column(screen, top + y, "External") for y in range(1, 8) if "TYPE" in rows[0]}
    assert len(positions) == (1 if "TYPE" in rows[0] else 0)
    assert ("TYPE" in rows[0]) is True
    assert ("rocket 🚀 日本語" * 3 in screen.text) is (columns == 200)
    assert "\x1b[1m" in screen.written


def test_a_left_to_right_mark_follows_right_to_left_text() -> None:
    """A Hebrew or Arabic cell cannot reverse the number in the next column."""
    out = io.StringIO()
    Table("Integration", out, None).write([make_integration(1, "שלום")])
    assert "שלום\u200e  שלום\u200e" in out.getvalue()
