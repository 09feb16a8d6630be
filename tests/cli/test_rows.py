"""The four output formats print every field and cannot control a terminal."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pandium._cli.app import run
from pandium._cli.output.records import RunRow, TriggerRow
from pandium._cli.output.rows import create_writer, write_data, write_json, write_record, write_text
from pandium.errors import DecodeError
from pandium.models import Tenant, TenantMetadata
from support.cli import Terminal
from support.records import HOSTILE, make_integration

if TYPE_CHECKING:
    from pandium.emulator import Emulator


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize("output_format", ["json", "jsonl", "csv"])
def test_formats_for_programs_have_every_field(
    output_format: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON, JSON Lines and CSV contain the same records, with all fields under the API's names."""
    for name in ("a", "b", "c"):
        emulator.add_tenant(name, configs={"k": [1, None, 'q"']}, user_schedule="0 1 * * *")
    assert run(["tenants", "list", "--all", "--page-size", "2", "-f", output_format]) == 0
    rows = _parse_rows(capsys.readouterr().out, output_format)
    assert [(row["id"], row["name"], row["archived"]) for row in rows] == [
        (1, "a", False),
        (2, "b", False),
        (3, "c", False),
    ]
    assert {name.partition(".")[0] for name in rows[0]} == {
        field.name for field in Tenant.__attrs_attrs__
    }
    assert rows[0]["configs"] == {"k": [1, None, 'q"']}
    is_flat = output_format == "csv"
    status = rows[0]["status.auth.connectors" if is_flat else "status"]
    connectors = status if is_flat else status["auth"]["connectors"]
    assert connectors[0]["name"] == "crm"


def _parse_rows(text: str, output_format: str) -> list[dict[str, Any]]:
    if output_format == "json":
        rows: list[dict[str, Any]] = json.loads(text)
        return rows
    if output_format == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    reader = csv.DictReader(io.StringIO(text))
    return [{name: _parse_cell(cell) for name, cell in row.items()} for row in reader]


def _parse_cell(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize(
    ("output_format", "expected"),
    [("table", ""), ("json", "[]\n"), ("jsonl", ""), ("csv", "id,name,config_version,")],
)
def test_an_empty_listing_is_valid_in_each_format(
    output_format: str, expected: str, capsys: pytest.CaptureFixture[str], emulator: Emulator
) -> None:
    """An empty listing is an empty array, no line, or a header. A message informs the user."""
    empty = emulator.add_integration("empty", releases=0).id
    assert run(["releases", "list", str(empty), "-f", output_format]) == 0
    written = capsys.readouterr()
    assert written.out.startswith(expected)
    assert written.out.count("\n") == len(expected.splitlines())
    assert written.err == "pandium-api: nothing found\n"


def test_a_single_record_is_a_table_of_its_fields() -> None:
    """As a table, a single record has one line per field. Nested fields have dotted names."""
    out = io.StringIO()
    write_record(TenantMetadata(7, {"a": {"b": [1]}, "\x1b": "x\ny"}), "table", out)
    assert out.getvalue().splitlines() == [
        "tenant_id      7",
        "data.a.b       [1]",
        r"data.\x1b      x\ny",
        "created_date",
        "modified_date",
    ]


@pytest.mark.parametrize("output_format", ["json", "jsonl", "csv"])
def test_a_single_record_is_written_like_one_of_many(output_format: str) -> None:
    """A single record is one JSON object, one JSON line, or a CSV header and one line."""
    out = io.StringIO()
    write_record(TriggerRow(7, "3"), output_format, out)
    if output_format == "csv":
        assert out.getvalue() == "tenant_id,trigger_id\n7,3\n"
    else:
        assert json.loads(out.getvalue()) == {"tenant_id": 7, "trigger_id": "3"}
        assert (out.getvalue().count("\n") == 1) is (output_format == "jsonl")


cells = st.text() | st.sampled_from(["a\rb", "a\nb", 'a"b', "a,b", "=1+1", " a ", "", HOSTILE])


@given(st.lists(cells, min_size=1, max_size=3))
def test_csv_round_trips_any_text(texts: list[str]) -> None:
    """A CSV reader gets every text back unchanged, each in its own cell."""
    out = io.StringIO(newline="")
    writer = create_writer("RunRow", "csv", out)
    writer.write([RunRow(1, "2", text, text, None, 0, 0.5) for text in texts])
    writer.close()
    rows = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert [(row["outcome"], row["status"]) for row in rows] == [(text, text) for text in texts]
    assert [row["error"] for row in rows] == [""] * len(texts)


@given(st.text())
@example(HOSTILE)
def test_json_is_safe_and_round_trips_any_text(text: str) -> None:
    """JSON contains no control characters, can be encoded, and decodes to the same text."""
    for output_format in ("json", "jsonl"):
        out = io.StringIO()
        writer = create_writer("Integration", output_format, out)
        writer.write([make_integration(1, text)])
        writer.close()
        written = out.getvalue()
        written.encode()
        visible = written.replace("\n", "")
        assert not any("\x7f" <= char <= "\x9f" or char < " " for char in visible)
        decoded = json.loads(written)
        assert (decoded[0] if output_format == "json" else decoded)["name"] == text


@pytest.mark.parametrize(
    ("output_format", "expected"),
    [("json", "größe-שלום"), ("csv", "größe-שלום"), ("table", r"gr\xf6\xdfe-\u05e9")],
)
def test_formats_for_programs_are_utf_8_in_any_locale(output_format: str, expected: str) -> None:
    """JSON and CSV are UTF-8 in every locale. A table escapes what the locale cannot encode."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    writer = create_writer("Integration", output_format, out)
    writer.write([make_integration(1, "größe-שלום")])
    out.flush()
    assert expected in raw.getvalue().decode()


@pytest.mark.parametrize("output_format", ["table", "csv", "jsonl", "json"])
def test_no_format_writes_escape_sequences_of_the_server(output_format: str) -> None:
    """On a terminal, no format prints an escape sequence received from the server."""
    out = Terminal()
    writer = create_writer("Integration", output_format, out)
    writer.write([make_integration(1, HOSTILE)])
    writer.close()
    write_record(make_integration(1, HOSTILE), output_format, out)
    write_text(f"log\t{HOSTILE}\n", out)
    write_json({HOSTILE: HOSTILE}, out)
    text = out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert not set("\x1b\x07\x9b\r\u202e") & set(text)
    assert "red" in text


def test_text_in_a_pipe_is_unchanged() -> None:
    """In a file or pipe, text is unchanged except for a final newline."""
    out = io.StringIO()
    write_text("a\x1b[31mb\r\nc", out)
    assert out.getvalue() == "a\x1b[31mb\r\nc\n"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_become_null(value: float) -> None:
    """NaN and infinity are printed as null at any depth."""
    out = io.StringIO()
    write_json({"a": [value, {"b": value}], "c": 1.5}, out)
    assert json.loads(out.getvalue(), parse_constant=pytest.fail) == {
        "a": [None, {"b": None}],
        "c": 1.5,
    }


DATA = {
    "json": '{\n  "a": {\n    "b": "é"\n  },\n  "c": null\n}\n',
    "jsonl": '{"a": {"b": "é"}, "c": null}\n',
    "csv": '"a.b","c"\n"é",""\n',
    "table": "a.b  é\nc\n",
}


@pytest.mark.parametrize("output_format", DATA)
def test_data_without_known_fields_has_every_format(output_format: str) -> None:
    """An object is JSON, a line of JSON, a row of CSV, or a line for each field."""
    out = io.StringIO()
    write_data({"a": {"b": "é"}, "c": None}, output_format, out)
    assert out.getvalue() == DATA[output_format]


def test_an_array_has_a_line_for_each_item() -> None:
    """JSON Lines and CSV have a line for each item, with all fields that occur in any of them."""
    items = [{"a": 1}, {"b": math.nan}, 2, []]
    lines, rows = io.StringIO(), io.StringIO()
    write_data(items, "jsonl", lines)
    assert lines.getvalue() == '{"a": 1}\n{"b": null}\n2\n[]\n'
    write_data(items, "csv", rows)
    assert list(csv.DictReader(io.StringIO(rows.getvalue()))) == [
        {"a": "1", "b": "", "value": ""},
        {"a": "", "b": "", "value": ""},
        {"a": "", "b": "", "value": "2"},
        {"a": "", "b": "", "value": "[]"},
    ]
    empty = io.StringIO()
    write_data([], "table", empty)
    assert empty.getvalue() == ""


def test_an_object_that_is_nested_too_deeply_is_one_field() -> None:
    """An object beyond a depth is printed as JSON, so that any response can be printed."""
    data: dict[str, Any] = {"a": "end"}
    for _ in range(150):
        data = {"a": data}
    out = io.StringIO()
    write_data(data, "csv", out)
    [[name], [value]] = csv.reader(io.StringIO(out.getvalue()))
    assert name.count("a") == 101
    assert value.count("a") == 50
    assert json.loads(value)


def test_csv_with_too_many_cells_is_an_error() -> None:
    """A response whose items have no common field is an error as CSV if the table is too large."""
    items = [{f"field {number}": 1} for number in range(3000)]
    out = io.StringIO()
    with pytest.raises(DecodeError, match="with 3000 rows of 3000 columns: use --format jsonl"):
        write_data(items, "csv", out)
    assert out.getvalue() == ""


LONG = "k" * 100_000
LARGE: dict[str, dict[str, Any]] = {
    "a long path": {LONG: {f"a{number}": 0 for number in range(2_000)}},
    "a long name": {LONG: 0} | {f"a{number}": 0 for number in range(2_000)},
}


@pytest.mark.parametrize("output_format", ["table", "csv"])
@pytest.mark.parametrize("data", LARGE.values(), ids=LARGE)
def test_a_long_name_occurs_once_in_the_output(data: dict[str, Any], output_format: str) -> None:
    """A long name is neither repeated for each field in it nor the width of all lines."""
    response, record = io.StringIO(), io.StringIO()
    write_data(data, output_format, response)
    write_record(TenantMetadata(tenant_id=1, data=data), output_format, record)
    for out in (response, record):
        assert out.getvalue().count(LONG) == 1
        assert len(out.getvalue()) < 10 * len(json.dumps(data))


def test_a_long_cell_is_not_the_width_of_its_column() -> None:
    """In a pipe, a cell that is longer than any usual one shifts only its own line."""
    out = io.StringIO()
    names = [LONG, *("short",) * 10]
    records = [make_integration(number, name) for number, name in enumerate(names)]
    create_writer("Integration", "table", out).write(records)
    assert all(len(line) < 1_000 or LONG in line for line in out.getvalue().splitlines())
