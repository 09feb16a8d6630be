"""Write records to standard output in the format that was asked for."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any, Protocol

import attrs

import pandium
from pandium._cli.output import records
from pandium._cli.output.table import Table
from pandium._cli.output.terminal import visible, width_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["RowWriter", "create_writer", "write_json", "write_record", "write_text"]

_OWN = tuple(getattr(records, name) for name in records.__all__)
# Valid in JSON, but C1 controls and marks of direction act on terminals, and lone surrogates are
# in no encoding.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class RowWriter(Protocol):
    """What takes records as they come."""

    def write(self, records: Sequence[Any]) -> None:
        """Write some more of them."""
        ...

    def close(self) -> None:
        """Write what comes after the last."""
        ...


def create_writer(kind: str, form: str, stream: TextIO) -> RowWriter:
    """Choose what writes many records of a kind, in one of four formats."""
    if form == "table":
        _prepare(stream)
        return Table(kind, stream, width_of(stream))
    _prepare(stream, encoding="utf-8", newline="")
    if form == "csv":
        return _Csv(_fields_of(kind), stream)
    return _JsonLines(stream) if form == "jsonl" else _JsonArray(stream)


def write_record(record: object, form: str, stream: TextIO) -> None:
    """Write one record: a table of its fields, or as one of many."""
    if form == "table":
        _prepare(stream)
        fields = list(_flat(_data_of(record)))
        width = max(len(name) for name, _ in fields)
        stream.writelines(f"{name:<{width}}  {value}".rstrip() + "\n" for name, value in fields)
    elif form == "json":
        write_json(_data_of(record), stream)
    else:
        writer = create_writer(type(record).__name__, form, stream)
        writer.write([record])
        writer.close()


def write_json(data: Any, stream: TextIO) -> None:
    """Write JSON, indented."""
    _prepare(stream, encoding="utf-8", newline="")
    stream.write(_safe(json.dumps(data, indent=2, ensure_ascii=False)) + "\n")


def write_text(text: str, stream: TextIO) -> None:
    """Write text: as it is, or on a terminal without what would act on it."""
    _prepare(stream, encoding="utf-8", newline="")
    text = visible(text, keep="\n\t") if stream.isatty() else text
    stream.write(text if text.endswith("\n") else f"{text}\n")


def _prepare(stream: TextIO, encoding: str | None = None, newline: str | None = None) -> None:
    # What programs read is UTF-8, whatever the locale; what an encoding lacks becomes an escape.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=encoding, newline=newline, errors="backslashreplace")


def _data_of(record: Any) -> dict[str, Any]:
    return attrs.asdict(record) if isinstance(record, _OWN) else pandium.to_dict(record)


def _fields_of(kind: str) -> list[str]:
    model = getattr(records, kind, None) or getattr(pandium.models, kind)
    return [field.name for field in attrs.fields(model)]


def _json_of(record: Any) -> str:
    if isinstance(record, _OWN):
        return _safe(json.dumps(attrs.asdict(record), ensure_ascii=False, separators=(",", ":")))
    return _safe(pandium.to_json(record).decode())


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _flat(data: dict[str, Any], path: str = "") -> Any:
    """Give the leaves of nested objects with the way to each."""
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield visible(f"{path}{name}"), visible(_cell(value))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, records: Sequence[Any]) -> None:
        self._stream.writelines(f"{_json_of(one)}\n" for one in records)

    def close(self) -> None:
        """Do nothing: the last line is like the others."""


class _JsonArray:
    """
    One JSON array, with a line for each record; broken off, it is no JSON.

    Each line is whole at once, as a bar or a note may come next on the same terminal: so the comma
    stands at the beginning of the line that follows.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._before = "[\n"

    def write(self, records: Sequence[Any]) -> None:
        for one in records:
            self._stream.write(f"{self._before}{_json_of(one)}\n")
            self._before = ","

    def close(self) -> None:
        self._stream.write("]\n" if self._before == "," else "[]\n")


class _Csv:
    """Comma-separated values below a line of names; objects and arrays stand there as JSON."""

    def __init__(self, fields: list[str], stream: TextIO) -> None:
        self._is_terminal = stream.isatty()
        self._plain = csv.writer(stream, lineterminator="\n")
        # Python 3.11 puts no quotes around a lone carriage return, which readers take for an end.
        self._quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._plain.writerow(fields)

    def write(self, records: Sequence[Any]) -> None:
        for one in records:
            cells = [_cell(value) for value in _data_of(one).values()]
            if self._is_terminal:
                cells = [visible(cell, keep="\n") for cell in cells]
            writer = self._quoted if any("\r" in cell for cell in cells) else self._plain
            writer.writerow(cells)

    def close(self) -> None:
        """Do nothing: the last line is like the others."""
