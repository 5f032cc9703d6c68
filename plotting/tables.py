"""Tables as data: printed as text, and written as CSV, LaTeX and Markdown by pandas."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from config.files import write_text, written_aside

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal[
    "text", "count", "number", "difference", "spread", "interval", "difference interval", "p"
]
Cell = str | float | tuple[float, ...] | None
# A spreadsheet takes a text that begins so for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
SMALLEST_P = 0.001


@dataclass(frozen=True)
class Column:
    """A heading, what the cells are, and how they are written.

    Attributes:
        kind: text; count: a whole number; number; difference: a number with its sign; spread: mean
            and standard deviation (or the mean alone); interval: its two limits; difference
            interval: both with their signs; p: a p-value.
        in_terminal: whether the terminal's table, which must be narrow, has it.
    """

    name: str
    kind: Kind = "text"
    digits: int = 1
    in_terminal: bool = True
    hint: str = ""

    @property
    def is_text(self) -> bool:
        return self.kind == "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells; None is a cell that has no value.

    Attributes:
        name: of its files.
        title: above it, in words.
        subtitle: what it is a table of: dataset, split, chance.
        notes: below it: what must be known to read it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    subtitle: str = ""

    @property
    def caption(self) -> str:
        """Title and subtitle."""
        return f"{self.title}. {self.subtitle}" if self.subtitle else self.title

    def texts(self) -> list[list[str]]:
        """All cells, written out."""
        return [
            [cell_text(cell, column) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]

    def without_empty_columns(self) -> "Table":
        """Columns that have a value in some row."""
        kept = [
            index
            for index in range(len(self.columns))
            if any(row[index] not in (None, "") for row in self.rows)
        ]
        return replace(
            self,
            columns=tuple(self.columns[index] for index in kept),
            rows=tuple(tuple(row[index] for index in kept) for row in self.rows),
        )


def cell_text(cell: Cell, column: Column) -> str:
    """A cell as people read it: '80.0 ± 10.0', '+2.5 to +7.5', '0.031'."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, tuple):
        write = signed if column.kind == "difference interval" else fixed
        mark = " ± " if column.kind == "spread" else " to "
        return mark.join(write(value, column.digits) for value in cell)
    if column.kind == "p":
        return p_text(cell)
    if column.kind == "difference":
        return signed(cell, column.digits)
    return fixed(cell, 0 if column.kind == "count" else column.digits)


def fixed(value: float, digits: int = 1) -> str:
    """Rounded, and never -0."""
    rounded = round(value, digits)
    return f"{rounded if rounded else 0.0:.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """With its sign, and never -0."""
    rounded = round(value, digits)
    return f"{rounded if rounded else 0.0:+.{digits}f}"


def p_text(p_value: float) -> str:
    """Two significant digits; '<0.001' below that, as nobody can count further."""
    if p_value < SMALLEST_P:
        return f"<{SMALLEST_P}"
    digits = max(2, 1 - math.floor(math.log10(p_value)))
    return f"{p_value:.{digits}f}"


def sort_value(cell: Cell) -> str:
    """What a browser sorts a cell by; empty cells come last."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    return repr(float(cell[0] if isinstance(cell, tuple) else cell))


def text_table(table: Table) -> str:
    """The columns of the terminal, aligned."""
    kept = [index for index, column in enumerate(table.columns) if column.in_terminal]
    header = [table.columns[index].name for index in kept]
    rows = [header, *([row[index] for index in kept] for row in table.texts())]
    widths = [max(len(row[index]) for row in rows) for index in range(len(kept))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def text_frame(table: Table) -> "pd.DataFrame":
    """The table as people read it."""
    import pandas as pd

    return pd.DataFrame(table.texts(), columns=[column.name for column in table.columns], dtype=str)


def number_frame(table: Table) -> "pd.DataFrame":
    """The table for computing: unrounded numbers, a column for each limit and deviation."""
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    for index, column in enumerate(table.columns):
        cells = [row[index] for row in table.rows]
        for name, part in _parts(column).items():
            columns[name] = [_number(cell, part) for cell in cells]
    return pd.DataFrame(columns)


def _parts(column: Column) -> Mapping[str, int]:
    if column.kind == "spread":
        return {column.name: 0, f"{column.name} sd": 1}
    if column.kind in ("interval", "difference interval"):
        return {f"{column.name} low": 0, f"{column.name} high": 1}
    return {column.name: 0}


def _number(cell: Cell, part: int) -> Any:
    if isinstance(cell, tuple):
        return cell[part] if part < len(cell) else None
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
    return cell if part == 0 else None


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write <name>.csv (numbers), <name>.tex and <name>.md (as shown); returns their paths."""
    csv, tex, markdown = (folder / f"{table.name}.{suffix}" for suffix in ("csv", "tex", "md"))
    with written_aside(csv) as aside:
        number_frame(table).to_csv(aside, index=False)
    write_text(tex, latex(table))
    write_text(markdown, markdown_text(table))
    return [csv, tex, markdown]


def latex(table: Table) -> str:
    """A table environment; its document needs \\usepackage{booktabs}."""
    shown = text_frame(table)
    alignment = "".join("l" if column.is_text else "r" for column in table.columns)
    text = shown.to_latex(
        index=False,
        escape=True,
        column_format=alignment,
        caption=latex_text(table.caption),
        label=f"tab:{table.name}",
        position="htbp",
    )
    notes = "".join(f"% {line}\n" for note in table.notes for line in note.splitlines())
    text = text.replace("±", r"$\pm$")
    return f"% Needs \\usepackage{{booktabs}}.\n{notes}{text}"


def latex_text(text: str) -> str:
    """A text whose every character stands for itself in LaTeX."""
    return "".join(LATEX_ESCAPES.get(mark, mark) for mark in text)


def markdown_text(table: Table) -> str:
    """A heading, the table, and its notes."""
    frame = text_frame(table).map(markdown_cell)
    frame.columns = [markdown_cell(str(name)) for name in frame.columns]
    alignment = ["left" if column.is_text else "right" for column in table.columns]
    body = frame.to_markdown(index=False, disable_numparse=True, colalign=alignment)
    notes = "".join(f"\n{markdown_cell(note)}\n" for note in table.notes)
    return f"### {markdown_cell(table.caption)}\n\n{body}\n{notes}"


def markdown_cell(text: str) -> str:
    """A text that no Markdown reader takes for a mark-up, a link or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def file_name(*words: Any) -> str:
    """A name for files, of letters, digits and underscores."""
    return "_".join(re.sub(r"[^A-Za-z0-9]+", "_", str(word)).strip("_") for word in words if word)
