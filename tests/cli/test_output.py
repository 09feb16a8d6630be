"""What is written: four formats, tables that fit, and nothing that acts on a terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import wcwidth
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandium._cli.app import run
from pandium._cli.output.records import RunRow, TriggerRow
from pandium._cli.output.rows import create_writer, write_json, write_record, write_text
from pandium._cli.output.table import Table
from pandium._cli.output.terminal import visible
from pandium.models import Integration, IntegrationType, Run, RunMode, Tenant, TenantMetadata
from support.cli import KEY, Screen, Terminal, of, run_child, run_on_terminal

if TYPE_CHECKING:
    from pandium.emulator import Emulator

HOSTILE = "\x1b[31mred\x07\x9b2J\u202egnp.exe\ud800\r\n"
NAMES = [
    "plain",
    "rocket 🚀 日本語",
    "שָׁלוֹם עולם",
    "مرحبا 42",
    "👩‍💻 ❤️ 👍🏽 🇩🇪",
    "e\u0301\u0301",
]


@pytest.fixture(autouse=True)
def _api(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    monkeypatch.setenv("PANDIUM_BASE_URL", emulator.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def integration(number: int, name: str) -> Integration:
    return Integration(number, name, name, IntegrationType.EXTERNAL)


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_formats_for_programs_hold_every_field_by_the_apis_names(
    form: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON, JSON lines and CSV give the same records, whole, under the names of the API."""
    for name in ("a", "b", "c"):
        emulator.add_tenant(name, configs={"k": [1, None, 'q"']}, user_schedule="0 1 * * *")
    assert run(["tenants", "list", "--all", "--page-size", "2", "-f", form]) == 0
    out = capsys.readouterr().out
    rows: list[dict[str, Any]]
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        rows = [{k: _parsed(v) for k, v in row.items()} for row in rows]
    else:
        rows = json.loads(out) if form == "json" else [json.loads(row) for row in out.splitlines()]
    assert [(row["id"], row["name"], row["archived"]) for row in rows] == [
        (1, "a", False),
        (2, "b", False),
        (3, "c", False),
    ]
    assert set(rows[0]) == {field.name for field in Tenant.__attrs_attrs__}
    assert rows[0]["configs"] == {"k": [1, None, 'q"']}
    assert rows[0]["status"]["auth"]["connectors"][0]["name"] == "crm"


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell


@pytest.mark.parametrize(
    ("form", "expected"),
    [("table", ""), ("json", "[]\n"), ("jsonl", ""), ("csv", "id,name,config_version,")],
)
def test_an_empty_listing_is_valid_in_each_format(
    form: str, expected: str, capsys: pytest.CaptureFixture[str], emulator: Emulator
) -> None:
    """Nothing found is an empty array, no line, or the line of names; standard error says so."""
    empty = emulator.add_integration("empty", releases=0).id
    assert run(["releases", "list", str(empty), "-f", form]) == 0
    written = capsys.readouterr()
    assert written.out.startswith(expected)
    assert written.out.count("\n") == len(expected.splitlines())
    assert written.err == "pandium-api: nothing found\n"


def test_a_listing_without_all_is_short_and_says_so(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--all` there are 100 records at most, and how to get at the others."""
    for number in range(103):
        emulator.add_tenant(f"t-{number}")
    assert run(["tenants", "list", "-f", "jsonl"]) == 0
    written = capsys.readouterr()
    assert len(written.out.splitlines()) == 100
    assert "--skip 100 goes on" in written.err
    assert run(["tenants", "list", "-f", "jsonl", "--skip", "100"]) == 0
    written = capsys.readouterr()
    assert (len(written.out.splitlines()), written.err) == (3, "")
    assert run(["tenants", "list", "-f", "jsonl", "--limit", "103"]) == 0
    assert capsys.readouterr().err == ""


def test_the_other_arguments_of_listings_arrive(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Page size, skip, width and what to do about drift are the listing's own."""
    for number in range(5):
        emulator.add_tenant(f"t-{number}")
    line = "tenants list --all --page-size 2 --skip 1 --prefetch 1 --on-drift ignore -f jsonl"
    assert run(line.split()) == 0
    sent = [one.query for one in emulator.requests]
    assert sent == ["skip=1&limit=2", "skip=3&limit=2", "skip=5&limit=2"]
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_one_record_is_a_table_of_its_fields() -> None:
    """A single record is a line for each field, nested ones by the way to them."""
    out = io.StringIO()
    write_record(TenantMetadata(7, {"a": {"b": [1]}, "\x1b": "x\ny"}), "table", out)
    assert out.getvalue().splitlines() == [
        "tenant_id      7",
        "data.a.b       [1]",
        r"data.\x1b      x\ny",
        "created_date",
        "modified_date",
    ]


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_one_record_is_like_one_of_many(form: str) -> None:
    """A single record is one object, one line, or one line under the names."""
    out = io.StringIO()
    write_record(TriggerRow(7, "3"), form, out)
    if form == "csv":
        assert out.getvalue() == "tenant_id,trigger_id\n7,3\n"
    else:
        assert json.loads(out.getvalue()) == {"tenant_id": 7, "trigger_id": "3"}
        assert (out.getvalue().count("\n") == 1) is (form == "jsonl")


cells = st.text() | st.sampled_from(["a\rb", "a\nb", 'a"b', "a,b", "=1+1", " a ", "", HOSTILE])


@given(st.lists(cells, min_size=1, max_size=3))
def test_csv_comes_back_as_it_was(texts: list[str]) -> None:
    """Whatever a text holds, a reader of CSV gets it back in its own cell."""
    out = io.StringIO(newline="")
    writer = create_writer("RunRow", "csv", out)
    writer.write([RunRow(1, "2", text, text, None, 0, 0.5) for text in texts])
    writer.close()
    found = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert [(row["outcome"], row["status"]) for row in found] == [(one, one) for one in texts]
    assert [row["error"] for row in found] == [""] * len(texts)


@given(st.text())
@example(HOSTILE)
def test_json_is_safe_and_comes_back_as_it_was(text: str) -> None:
    """JSON has no control character, can be encoded, and says what the record says."""
    for form in ("json", "jsonl"):
        out = io.StringIO()
        writer = create_writer("Integration", form, out)
        writer.write([integration(1, text)])
        writer.close()
        written = out.getvalue()
        written.encode()
        assert not any("\x7f" <= one <= "\x9f" or one < " " for one in written.replace("\n", ""))
        decoded = json.loads(written)
        assert (decoded[0] if form == "json" else decoded)["name"] == text


@pytest.mark.parametrize(
    ("form", "shown"),
    [("json", "größe-שלום"), ("csv", "größe-שלום"), ("table", r"gr\xf6\xdfe-\u05e9")],
)
def test_what_programs_read_is_utf_8_in_any_locale(form: str, shown: str) -> None:
    """JSON and CSV are UTF-8 whatever the encoding of standard output; a table shows escapes."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    writer = create_writer("Integration", form, out)
    writer.write([integration(1, "größe-שלום")])
    out.flush()
    assert shown in raw.getvalue().decode()


@given(st.text())
@example(HOSTILE)
@example("a\u00a0b\u3000c")
def test_visible_text_cannot_act(text: str) -> None:
    """What a terminal is shown has no control character, and no mark that turns the text."""
    shown = visible(text)
    assert shown.isprintable()
    assert wcwidth.wcswidth(shown) >= 0


def test_visible_text_shows_what_was_there() -> None:
    """What would act stands there as an escape; what has no sure width is left out."""
    assert visible(HOSTILE) == r"\x1b[31mred\x07\x9b2J\u202egnp.exe\ud800\r\n"
    assert visible("a\u00a0b\tc\nd", keep="\n\t") == "a b\tc\nd"
    assert visible("👩‍💻 ❤️ 👍🏽 🇩🇪") == "👩💻 ❤ 👍 DE"


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "json"])
def test_no_format_brings_escapes_to_a_terminal(form: str) -> None:
    """On a terminal no format shows an escape sequence that came from the server."""
    out = Terminal()
    writer = create_writer("Integration", form, out)
    writer.write([integration(1, HOSTILE)])
    writer.close()
    write_record(integration(1, HOSTILE), form, out)
    write_text(f"log\t{HOSTILE}\n", out)
    write_json({HOSTILE: HOSTILE}, out)
    text = out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert not set("\x1b\x07\x9b\r\u202e") & set(text)
    assert "red" in text


def test_text_in_a_pipe_is_as_it_was() -> None:
    """A log that goes into a file or a pipe keeps its bytes, and ends its last line."""
    out = io.StringIO()
    write_text("a\x1b[31mb\r\nc", out)
    assert out.getvalue() == "a\x1b[31mb\r\nc\n"


LETTERS = list("aé 日🚀שع\u0301\u200d\ufe0f\x1b🇩👍🏽…—0")
names = st.text(st.sampled_from(LETTERS), max_size=60)


@settings(max_examples=200)
@given(st.lists(names, min_size=1, max_size=4), st.integers(12, 200))
def test_a_table_fits_its_terminal(texts: list[str], width: int) -> None:
    """No line is wider than the terminal, and each column begins in the same place in each."""
    out = io.StringIO()
    table = Table("Integration", out, width)
    table.write([integration(number, text) for number, text in enumerate(texts)])
    table.close()
    title, *lines = out.getvalue().splitlines()
    assert len(lines) == len(texts)
    for number, line in enumerate(lines):
        assert 0 <= wcwidth.wcswidth(line) <= width
        assert line.lstrip().startswith(str(number))
        if "TYPE" in title:
            place = wcwidth.wcswidth(line.partition("External")[0])
            assert place == title.index("TYPE")


def test_a_table_without_a_limit_crops_nothing() -> None:
    """In a pipe every cell is whole, also those that are longer than the first ones."""
    out = io.StringIO()
    table = Table("Integration", out, None)
    table.write([integration(1, "short")])
    table.write([integration(2, "long" * 100)])
    table.write([])
    assert out.getvalue().splitlines()[2].count("long" * 100) == 2


def test_numbers_are_never_cropped() -> None:
    """An id that is longer than those of the first page stands there whole."""
    out = io.StringIO()
    table = Table("Integration", out, 30)
    table.write([integration(1, "a")])
    table.write([integration(123456789, "b" * 40)])
    line = out.getvalue().splitlines()[2]
    assert line.startswith("123456789")
    assert "…" in line


def column_of(screen: Screen, row: int, text: str) -> int:
    cells = screen.cells[row]
    return next(x for x in range(len(cells)) if "".join(cells[x:]).startswith(text))


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
def test_on_a_terminal_a_table_keeps_its_shape(columns: int, emulator: Emulator) -> None:
    """On narrow and wide terminals each record is one row, and columns stand below each other."""
    for name in NAMES:
        emulator.add_integration(name, long_name=name * 3)
    code, screen = run_on_terminal(
        "integrations", "list", columns=columns, environ=of(emulator.url)
    )
    rows = screen.rows
    assert code == 0
    assert [row.split()[0] for row in rows[:8] if row] == ["ID", "1", "2", "3", "4", "5", "6", "7"]
    assert not any(rows[8:])
    places = {column_of(screen, y, "External") for y in range(1, 8) if "TYPE" in rows[0]}
    assert len(places) == (1 if "TYPE" in rows[0] else 0)
    assert ("TYPE" in rows[0]) is (columns >= 60)
    assert ("rocket 🚀 日本語" * 3 in screen.text) is (columns == 200)
    assert "\x1b[1m" in screen.written


@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_plain_terminal_gets_no_codes(changes: dict[str, str], emulator: Emulator) -> None:
    """With `NO_COLOR`, or a terminal that is dumb, no escape sequence is written."""
    code, screen = run_on_terminal("integrations", "list", environ=of(emulator.url, **changes))
    assert code == 0
    assert "ID  NAME" in screen.written
    assert "\x1b" not in screen.written


def test_a_pipe_gets_no_codes(emulator: Emulator) -> None:
    """In a pipe there is no escape sequence, even where the environment forces colour."""
    emulator.add_integration("x" * 300)
    done = run_child(
        "integrations", "list", environ=of(emulator.url, FORCE_COLOR="1", COLUMNS="40")
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "x" * 300 in done.stdout


def test_a_run_is_a_line(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """A run shows its phase, its times to the minute, and its triggers; or what there is."""
    emulator.add_tenant("acme")
    emulator.runs.script(appears_after=0, phases=[("Failed (Timeout)", 0)])
    assert run(["tenants", "sync", "1"]) == 0
    assert run(["tenants", "runs", "1"]) == 0
    title, line = capsys.readouterr().out.splitlines()[-2:]
    assert title.split() == ["ID", "MODE", "PHASE", "STARTED", "COMPLETED", "TRIGGERS"]
    assert re.fullmatch(
        r"\s*1  normal  Failed \(Timeout\)  [\d-]{10} [\d:]{5}  [\d-]{10} [\d:]{5}  1", line
    )
    out = io.StringIO()
    Table("Run", out, None).write([Run(2, RunMode.INIT)])
    assert out.getvalue().splitlines()[1].split() == ["2", "init"]


def test_a_tenant_without_a_status_has_empty_cells() -> None:
    """What the API leaves out of a tenant is left out of its row."""
    out = io.StringIO()
    Table("Tenant", out, None).write([Tenant(1, "a", archived=True), Tenant(2, "b", paused=False)])
    assert [row.split() for row in out.getvalue().splitlines()[1:]] == [
        ["1", "a", "archived"],
        ["2", "b", "active"],
    ]


def test_a_left_to_right_mark_ends_what_is_written_from_right_to_left() -> None:
    """A Hebrew or Arabic cell cannot turn the number in the next column around."""
    out = io.StringIO()
    Table("Integration", out, None).write([integration(1, "שלום")])
    assert "שלום\u200e  שלום\u200e" in out.getvalue()
