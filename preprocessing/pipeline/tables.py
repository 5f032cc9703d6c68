"""CSV: the user's own tables as any program writes them, and rows as this one does."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from config.errors import UserError, refuse_all
from config.files import read_text, written_aside
from config.text import display_path

SEPARATORS = (",", ";", "\t")


class Row(NamedTuple):
    """A row's place in its table, for people, and its cells by column."""

    place: str
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """Cells are text without the spaces around them; NA, None and 007 are texts like others.

    folder: where its relative paths start.
    """

    path: Path
    folder: Path
    columns: tuple[str, ...]
    rows: list[Row]


def read_table(path: Path, column: str) -> Table:
    """Read a CSV file, UTF-8 or UTF-16, separated by commas, semicolons or tabs.

    Args:
        column: one that it must have; which of the separators it is follows from the header.

    Raises:
        UserError: there is no such file or column, or rows are damaged; names them.
    """
    text = read_text(path)
    if "\0" in text:
        raise UserError(f"{display_path(path)}: is no CSV file: it holds zeros; save it as UTF-8")
    headers = {mark: _header(text, mark) for mark in SEPARATORS}
    mark = next((mark for mark, header in headers.items() if column in header), None)
    if mark is None:
        found = max(map(", ".join, headers.values()), key=len) or "none"
        raise UserError(f"{display_path(path)}: has no column {column}; its columns: {found}")
    header = headers[mark]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{display_path(path)}: has the column {twice[0]} twice")
    rows, problems = [], []
    reader = _reader(text, mark)
    try:
        next(reader)
        for fields in reader:
            cells = [field.strip() for field in fields]
            if not any(cells):
                continue
            place = f"line {reader.line_num}"
            if len(cells) != len(header):
                problems.append(f"{place} has {len(cells)} cells, the header {len(header)}")
            rows.append(Row(place, dict(zip(header, cells, strict=False))))
    except csv.Error as error:
        raise UserError(f"{display_path(path)}: line {reader.line_num}: {error}") from None
    refuse_all(display_path(path), problems)
    if not rows:
        raise UserError(f"{display_path(path)}: has no rows below its header")
    return Table(path, path.parent, tuple(header), rows)


def _reader(text: str, mark: str) -> Any:
    """Return a reader of csv, which has no name for their type."""
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=True)


def _header(text: str, mark: str) -> list[str]:
    """Return the names of the columns, none where another separator is meant.

    A column without a name, as pandas writes its index, gets its number.
    """
    try:
        fields: list[str] = next(_reader(text, mark), [])
    except csv.Error:
        return []
    return [name.strip() or f"column {number}" for number, name in enumerate(fields, start=1)]


def write_rows(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(rows_text(rows, columns).encode())


def rows_text(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Return what write_rows would write."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_rows(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a CSV file that write_rows wrote.

    Raises:
        UserError: it is damaged, or lacks one of the columns.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{display_path(path)}: is no usable table: {error}") from None
    missing = set(columns) - set(reader.fieldnames or ())
    if missing:
        raise UserError(f"{display_path(path)}: has no column {', '.join(sorted(missing))}")
    return rows
