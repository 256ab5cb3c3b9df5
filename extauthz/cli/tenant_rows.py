"""Tenants as lines of a file, CSV or JSON lines: read with the number of each line, written so that reading gives the same.

Both forms are UTF-8. CSV is that of RFC 4180, with a head; what stands in a cell is never changed, whatever a spreadsheet would
make of it. An empty cell means the default.
"""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Final

import orjson

from extauthz.config.problems import did_you_mean

FIELDS: Final = ("id", "name", "plan", "onboarding", "lifecycle", "billing_state", "created_at")
_THERE_ARE: Final = f"there are {', '.join(FIELDS)}"
_LONGEST_LINE: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"
_NOT_LINES: Final = (
    "begins as a JSON array or as an object over several lines; there must be one object per line (JSON lines):"
    " `jq -c '.[]' FILE` makes them of an array, `jq -c . FILE` of objects"
)
_LINE_END: Final = "\r\n"
"""What RFC 4180 wants; with it Python's writer also puts quotes around a cell that holds either of the two."""


class RowFormat(StrEnum):
    """How the file is written."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What begins at `line` (counted from 1). `fault` says why there are no `fields`; empty where there are some."""

    line: int
    fields: Mapping[str, object]
    fault: str = ""


class Unreadable(Exception):
    """From this `line` on nothing can be made of the file."""

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(fault)
        self.line = line
        self.fault = fault


def read_rows(file: IO[bytes], form: RowFormat) -> Iterator[Row]:
    """The rows in the order of the file, one at a time.

    Raises:
        Unreadable: the head is not one, quotes are not closed, or it is JSON but not in lines.
    """
    return _read_csv(file) if form is RowFormat.CSV else _read_json(file)


def guess_format(name: str, begin: bytes) -> RowFormat:
    """From the file's name, else from how it begins."""
    if name.lower().endswith((".jsonl", ".ndjson", ".json")):
        return RowFormat.JSONL
    if name.lower().endswith(".csv"):
        return RowFormat.CSV
    return RowFormat.JSONL if begin.removeprefix(_BOM).lstrip().startswith((b"{", b"[")) else RowFormat.CSV


def write_head(form: RowFormat) -> bytes:
    """What stands before the first row."""
    return write_rows([dict(zip(FIELDS, FIELDS, strict=True))], form) if form is RowFormat.CSV else b""


def write_rows(rows: Iterable[Mapping[str, object]], form: RowFormat) -> bytes:
    """The rows as lines; what a row lacks is left out (JSON) or empty (CSV)."""
    if form is RowFormat.JSONL:
        return b"".join(orjson.dumps({key: row[key] for key in FIELDS if key in row}) + b"\n" for row in rows)
    text = io.StringIO()
    csv.writer(text, lineterminator=_LINE_END).writerows([_cell(row.get(key)) for key in FIELDS] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return "" if value is None else value


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers, the mark of UTF-8 at the begin left out."""
    for number in itertools.count(1):
        line = file.readline(_LONGEST_LINE)
        if not line:
            return
        if len(line) == _LONGEST_LINE:
            raise Unreadable(number, "is longer than 1 MiB; is this a file of tenants?")
        yield number, line.removeprefix(_BOM) if number == 1 else line


# JSON lines


def _read_json(file: IO[bytes]) -> Iterator[Row]:
    begun = False
    for number, line in _lines(file):
        text = line.strip()
        if not begun and (text.startswith(b"[") or text == b"{"):
            raise Unreadable(number, _NOT_LINES)
        if text:
            begun = True
            yield _json_row(number, line)


def _json_row(number: int, line: bytes) -> Row:
    try:
        content: object = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Row(line=number, fields={}, fault=f"is not JSON: {error.msg}")
    if not isinstance(content, dict):
        return Row(line=number, fields={}, fault='is no JSON object such as {"id": "acme"}')
    return Row(line=number, fields=content, fault=unknown_fields(content))


def unknown_fields(names: Iterable[str]) -> str:
    """What is said of names that no tenant has; empty where all are known."""
    unknown = [name for name in names if name not in FIELDS]
    return "; ".join(f"unknown field {name!r}; {did_you_mean(name, FIELDS) or _THERE_ARE}" for name in unknown)


# CSV


class _Text:
    """The lines of a file as text, for the CSV reader; `number` is that of the last one given."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in _lines(self._file):
            self.number = number
            try:
                yield line.decode()
            except UnicodeDecodeError:
                raise Unreadable(number, "is not UTF-8; save the file as UTF-8") from None


def _read_csv(file: IO[bytes]) -> Iterator[Row]:
    records = _records(_Text(file))
    line, head = next(records, (1, []))
    _require_head(line, head)
    for line, cells in records:
        if len(cells) != len(head):
            fault = f"has {len(cells)} cells where the head has {len(head)}"
            yield Row(line=line, fields={}, fault=fault)
        else:
            fields = {name: cell for name, cell in zip(head, cells, strict=True) if cell}
            yield Row(line=line, fields=fields)


def _records(text: _Text) -> Iterator[tuple[int, Sequence[str]]]:
    """Each record with the line it begins at; empty lines are passed over."""
    reader = csv.reader(iter(text), strict=True)
    while True:
        begins = text.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise Unreadable(begins, _csv_fault(str(error))) from None
        if cells is None:
            return
        if cells:
            yield begins, cells


def _csv_fault(error: str) -> str:
    if "unexpected end" in error:
        return "a quote that is opened here is never closed"
    if "field limit" in error:
        return "a cell is too long; is a quote not closed?"
    if "new-line" in error:
        return "lines must end with LF or CR LF"
    return f"is no CSV: {error}"


def _require_head(line: int, head: Sequence[str]) -> None:
    if len(head) == 1 and any(mark in head[0] for mark in ";\t"):
        raise Unreadable(line, "columns must be separated by commas")
    fault = unknown_fields(head)
    if fault:
        raise Unreadable(line, fault.replace("field", "column"))
    twice = sorted({name for name in head if head.count(name) > 1})
    if twice:
        raise Unreadable(line, f"column {', '.join(twice)} is there more than once")
    if "id" not in head:
        raise Unreadable(line, f"the head must name the columns, id at least; {_THERE_ARE}")
