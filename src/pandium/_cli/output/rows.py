"""Write records to standard output as a table, JSON, JSON Lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any, Protocol, get_args, get_origin, get_type_hints

import attrs

import pandium
from pandium._cli.output import records
from pandium._cli.output.table import MAX_PADDED_WIDTH, Table
from pandium._cli.output.terminal import escape_controls, terminal_width
from pandium._serialization.convert import replace_non_finite
from pandium.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

__all__ = [
    "RowWriter",
    "column_names",
    "create_writer",
    "validate_columns",
    "write_data",
    "write_json",
    "write_record",
    "write_text",
]

_ROW_TYPES = tuple(getattr(records, name) for name in records.__all__)
# JSON allows these characters unescaped. However, C1 controls and bidirectional marks affect
# terminals, and lone surrogates cannot be encoded.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_MAX_CELLS = 5_000_000  # of CSV: a small response can have many items without a common field
# An object that is nested more deeply, or whose path is longer, is a leaf. Otherwise, the output
# could be much longer than the response, because each leaf repeats the path.
_MAX_DEPTH = 100
_MAX_PATH = 200  # characters


class RowWriter(Protocol):
    """A writer for records that arrive in batches."""

    def write(self, records: Sequence[Any]) -> None:
        """Write a batch of records."""
        ...

    def close(self) -> None:
        """Write the end of the document, if the format has one. The stream stays open."""
        ...


def create_writer(
    kind: str, output_format: str, stream: TextIO, columns: Sequence[str] | None = None
) -> RowWriter:
    """
    Create a writer for records of one kind.

    :param kind: the class name of the records.
    :param output_format: ``table``, ``json``, ``jsonl`` or ``csv``.
    :param stream: the stream to write to.
    :param columns: the columns of CSV, all by default.
    :raises ValueError: if there is no such column.
    """
    validate_columns(kind, output_format, columns)
    if output_format == "table":
        _configure(stream)
        return Table(kind, stream, terminal_width(stream))
    _configure(stream, encoding="utf-8", newline="")
    if output_format == "csv":
        return _CsvWriter(columns or column_names(kind), stream)
    return _JsonLinesWriter(stream) if output_format == "jsonl" else _JsonArrayWriter(stream)


def write_record(
    record: object, output_format: str, stream: TextIO, columns: Sequence[str] | None = None
) -> None:
    """
    Write a single record.

    A table has one line per field, and JSON is an object instead of an array. The other formats
    are the same as for multiple records.
    """
    if output_format == "table":
        _configure(stream)
        _write_fields(list(_flatten(_to_dict(record))), stream)
    elif output_format == "json":
        write_json(_to_dict(record), stream)
    else:
        writer = create_writer(type(record).__name__, output_format, stream, columns)
        writer.write([record])
        writer.close()


def write_json(data: Any, stream: TextIO) -> None:
    """Write data as indented JSON. NaN and infinity become null."""
    _configure(stream, encoding="utf-8", newline="")
    data = replace_non_finite(data)
    stream.write(_escape_unsafe(json.dumps(data, indent=2, ensure_ascii=False)) + "\n")


def write_data(data: Any, output_format: str, stream: TextIO) -> None:
    """
    Write the data of a response, whose fields are not known in advance.

    JSON Lines and CSV have a line for each item of an array. A table has a line for each field. An
    item that is not an object is a field called ``value``.

    :raises DecodeError: if there are too many columns for CSV.
    """
    if output_format == "json":
        write_json(data, stream)
        return
    _configure(stream, encoding="utf-8", newline="")
    data = replace_non_finite(data)
    items = data if isinstance(data, list) else [data]
    if output_format == "jsonl":
        lines = (json.dumps(item, ensure_ascii=False) for item in items)
        stream.writelines(f"{_escape_unsafe(line)}\n" for line in lines)
    else:
        named = (item if isinstance(item, dict) else {"value": item} for item in items)
        rows = [list(_flatten(item)) for item in named]
        if output_format == "csv":
            _write_csv([dict(row) for row in rows], stream)
        else:
            _write_fields([field for row in rows for field in row], stream)


def _write_csv(rows: list[dict[str, str]], stream: TextIO) -> None:
    names = list(dict.fromkeys(name for fields in rows for name in fields))
    if len(rows) * len(names) > _MAX_CELLS:
        size = f"{len(rows)} rows of {len(names)} columns"
        raise DecodeError(f"the response is too large for CSV, with {size}: use --format jsonl")
    writer = csv.DictWriter(stream, names, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)


def _write_fields(fields: list[tuple[str, str]], stream: TextIO) -> None:
    width = min(max((len(name) for name, _ in fields), default=0), MAX_PADDED_WIDTH)
    stream.writelines(f"{name:<{width}}  {text}".rstrip() + "\n" for name, text in fields)


def write_text(text: str, stream: TextIO) -> None:
    """
    Write text, adding a final newline if it is missing.

    Control characters are escaped if the stream is a terminal.
    """
    _configure(stream, encoding="utf-8", newline="")
    text = escape_controls(text, keep="\n\t") if stream.isatty() else text
    stream.write(text if text.endswith("\n") else f"{text}\n")


def _configure(stream: TextIO, encoding: str | None = None, newline: str | None = None) -> None:
    # Machine-readable output is UTF-8 in every locale. A table keeps the locale's encoding and
    # escapes characters that the encoding does not support.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=encoding, newline=newline, errors="backslashreplace")


def _to_dict(record: Any) -> dict[str, Any]:
    return attrs.asdict(record) if isinstance(record, _ROW_TYPES) else pandium.to_dict(record)


def validate_columns(kind: str, output_format: str, columns: Sequence[str] | None) -> None:
    """
    Validate the columns of CSV.

    :param kind: the class name of the records.
    :param output_format: the output format, of which only ``csv`` has columns to choose.
    :param columns: the columns, or ``None`` for all.
    :raises ValueError: if there is no such column, or if the format is not CSV.
    """
    if columns is None:
        return
    if output_format != "csv":
        raise ValueError("--columns requires --format csv")
    known = column_names(kind)
    if unknown := [name for name in columns if name not in known]:
        raise ValueError(f"--columns: no column {unknown[0]!r}; there are {', '.join(known)}")


def _to_json(record: Any) -> str:
    if isinstance(record, _ROW_TYPES):
        data = attrs.asdict(record)
        return _escape_unsafe(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    return _escape_unsafe(pandium.to_json(record).decode())


def _escape_unsafe(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _flatten(
    data: dict[str, Any], prefix: str = "", max_depth: int = _MAX_DEPTH
) -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the text of each leaf in nested objects."""
    for name, value in data.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value and max_depth and len(path) <= _MAX_PATH:
            yield from _flatten(value, f"{path}.", max_depth - 1)
        else:
            yield escape_controls(path), escape_controls(_format_cell(value))


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _JsonLinesWriter:
    """A writer that writes one JSON object per line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, records: Sequence[Any]) -> None:
        self._stream.writelines(f"{_to_json(record)}\n" for record in records)

    def close(self) -> None:
        """Do nothing, because JSON Lines has no end marker."""


class _JsonArrayWriter:
    """
    A writer that writes one JSON array, with a line for each record.

    Each record ends with a newline, because the progress bar or a message may follow on the same
    terminal. The comma therefore goes at the beginning of the next line. If the output is
    interrupted, the array remains unclosed, so that a JSON parser rejects the incomplete document.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._prefix = "[\n"

    def write(self, records: Sequence[Any]) -> None:
        for record in records:
            self._stream.write(f"{self._prefix}{_to_json(record)}\n")
            self._prefix = ","

    def close(self) -> None:
        self._stream.write("]\n" if self._prefix == "," else "[]\n")


class _CsvWriter:
    """
    A writer for CSV with a header line.

    A nested record is flattened into columns such as ``status.auth.connected``. Objects without a
    fixed set of fields, and arrays, are encoded as JSON.
    """

    def __init__(self, columns: Sequence[str], stream: TextIO) -> None:
        self._columns = columns
        self._is_terminal = stream.isatty()
        self._plain = csv.writer(stream, lineterminator="\n")
        # Python 3.11 does not quote a lone carriage return, which parsers treat as the end of a
        # line.
        self._quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._plain.writerow(columns)

    def write(self, records: Sequence[Any]) -> None:
        for record in records:
            data = _to_dict(record)
            cells = [_format_cell(_find(data, column)) for column in self._columns]
            if self._is_terminal:
                cells = [escape_controls(cell, keep="\n") for cell in cells]
            writer = self._quoted if any("\r" in cell for cell in cells) else self._plain
            writer.writerow(cells)

    def close(self) -> None:
        """Do nothing, because CSV has no end marker."""


def column_names(kind: str) -> list[str]:
    """Return the names of the CSV columns for a kind of record, with those of nested records."""
    return list(_leaf_names(getattr(records, kind, None) or getattr(pandium.models, kind)))


def _leaf_names(model: type[Any], prefix: str = "") -> Iterator[str]:
    types = get_type_hints(model)
    for field in attrs.fields(model):
        options = (types[field.name], *get_args(types[field.name]))
        nested = next((one for one in options if isinstance(one, type) and attrs.has(one)), None)
        if nested is None or get_origin(types[field.name]) is list:
            yield prefix + field.name
        else:
            yield from _leaf_names(nested, f"{prefix}{field.name}.")


def _find(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data.get(name) if isinstance(data, dict) else None
    return data
