"""One table in all its forms: terminal, CSV, LaTeX, Markdown, and the cells of the HTML page."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from config.files import write_text, written_aside
from config.text import aligned, no_formula

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal[
    "text", "count", "number", "difference", "spread", "interval", "difference interval", "p"
]
# terminal: everywhere, also in the terminal's table, which must be narrow; page: on the page and in
# all files; csv: in the CSV file alone.
Place = Literal["terminal", "page", "csv"]
Cell = str | float | tuple[float, ...] | None
# What a column's numbers are called in the CSV file, for kinds that have two.
PARTS = {
    "spread": ("", " sd"),
    "interval": (" low", " high"),
    "difference interval": (" low", " high"),
}
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
SMALLEST_P = 0.001


@dataclass(frozen=True)
class Column:
    """A heading, and how its cells are read and written.

    Attributes:
        read: the cell of what a row stands for; None where there is none.
        kind: text; count: a whole number; number; difference: a number with its sign; spread: mean
            and standard deviation (or the mean alone); interval: its two limits; difference
            interval: both with their signs; p: a p-value.
        shown_in: where it is for people.
        hint: its unit, below the heading of the page's table.
    """

    name: str
    read: Callable[[Any], Cell]
    kind: Kind = "text"
    digits: int = 1
    shown_in: Place = "terminal"
    hint: str = ""

    @property
    def is_text(self) -> bool:
        """Whether it holds words, which stand on the left."""
        return self.kind == "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells; None is a cell that has no value.

    Attributes:
        name: of its files.
        title: above it, in words.
        notes: below it: what must be known to read it.
        subtitle: what it is a table of: dataset, split, chance.
        folded: whether the page shows it only on request.
        most_rows: that people read; the CSV file has them all.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    subtitle: str = ""
    folded: bool = False
    most_rows: int | None = None

    @property
    def readable(self) -> "Table":
        """Return what people read of it, without what stands in the CSV file alone."""
        kept = [i for i, column in enumerate(self.columns) if column.shown_in != "csv"]
        rows = self.rows[: self.most_rows]
        notes = self.notes
        if len(rows) < len(self.rows):
            notes += (f"{len(self.rows) - len(rows)} more rows stand in the CSV file.",)
        return replace(
            self,
            columns=tuple(self.columns[index] for index in kept),
            rows=tuple(tuple(row[index] for index in kept) for row in rows),
            notes=notes,
            most_rows=None,
        )

    @property
    def caption(self) -> str:
        """Return title and subtitle."""
        return f"{self.title}. {self.subtitle}" if self.subtitle else self.title

    def shown(self) -> "pd.DataFrame":
        """Return the table as people read it: texts."""
        import pandas as pd

        texts = [
            [cell_text(cell, column) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]
        return pd.DataFrame(texts, columns=[column.name for column in self.columns], dtype=str)

    def numbers(self) -> "pd.DataFrame":
        """Return the table for computing: unrounded, a column for each limit and deviation."""
        import pandas as pd

        return pd.DataFrame(
            {
                f"{column.name}{suffix}": [_number(row[index], part) for row in self.rows]
                for index, column in enumerate(self.columns)
                for part, suffix in enumerate(PARTS.get(column.kind, ("",)))
            }
        )

    def terminal(self) -> str:
        """Return the columns of the terminal, aligned, below a ruled heading."""
        kept = [column.name for column in self.columns if column.shown_in == "terminal"]
        header, *lines = aligned([kept, *self.shown()[kept].to_numpy().tolist()])
        return "\n".join([header, "-" * len(header), *lines])

    def latex(self) -> str:
        """Return a table environment; its document needs \\usepackage{booktabs}."""
        text = self.shown().to_latex(
            index=False,
            escape=True,
            column_format="".join("l" if column.is_text else "r" for column in self.columns),
            caption=latex_text(self.caption),
            label=f"tab:{self.name}",
            position="htbp",
        )
        notes = "".join(f"% {line}\n" for note in self.notes for line in note.splitlines())
        text = text.replace("±", r"$\pm$")
        return f"% Needs \\usepackage{{booktabs}}.\n{notes}{text}"

    def markdown(self) -> str:
        """Return a heading, the table, and its notes."""
        frame = self.shown().map(markdown_text).rename(columns=markdown_text)
        alignment = ["left" if column.is_text else "right" for column in self.columns]
        body = frame.to_markdown(index=False, disable_numparse=True, colalign=alignment)
        notes = "".join(f"\n{markdown_text(note)}\n" for note in self.notes)
        return f"### {markdown_text(self.caption)}\n\n{body}\n{notes}"

    def write(self, folder: Path) -> list[Path]:
        """Write <name>.csv (numbers), <name>.tex and <name>.md (as shown); return their paths."""
        csv, tex, markdown = (folder / f"{self.name}.{suffix}" for suffix in ("csv", "tex", "md"))
        with written_aside(csv) as aside:
            self.numbers().to_csv(aside, index=False)
        write_text(tex, self.readable.latex())
        write_text(markdown, self.readable.markdown())
        return [csv, tex, markdown]


def make_table(
    name: str,
    title: str,
    columns: Sequence[Column],
    items: Iterable[Any],
    notes: Iterable[str] = (),
    subtitle: str = "",
    folded: bool = False,
    most_rows: int | None = None,
) -> Table:
    """Make a table with a row for each item, without columns in which no row has anything."""
    rows = [[column.read(item) for column in columns] for item in items]
    kept = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in rows)]
    return Table(
        name,
        title,
        tuple(columns[index] for index in kept),
        tuple(tuple(row[index] for index in kept) for row in rows),
        tuple(notes),
        subtitle,
        folded,
        most_rows,
    )


def cell_text(cell: Cell, column: Column) -> str:
    """Return a cell as people read it: '80.0 ± 10.0', '+2.5 to +7.5', '0.031'."""
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


def sort_value(cell: Cell) -> str:
    """Return what a browser sorts a cell by; empty cells come last."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    return repr(float(cell[0] if isinstance(cell, tuple) else cell))


def _number(cell: Cell, part: int) -> Any:
    if isinstance(cell, tuple):
        return cell[part] if part < len(cell) else None
    if isinstance(cell, str):
        return no_formula(cell)
    return cell if part == 0 else None


def fixed(value: float, digits: int = 1) -> str:
    """Return a rounded number, and never -0."""
    rounded = round(value, digits)
    return f"{rounded if rounded else 0.0:.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """Return a rounded number with its sign, and never -0."""
    rounded = round(value, digits)
    return f"{rounded if rounded else 0.0:+.{digits}f}"


def p_text(p_value: float) -> str:
    """Return two significant digits; '<0.001' below that, as nobody can count further."""
    if p_value < SMALLEST_P:
        return f"<{SMALLEST_P}"
    digits = max(2, 1 - math.floor(math.log10(p_value)))
    return f"{p_value:.{digits}f}"


def latex_text(text: str) -> str:
    """Return a text whose every character stands for itself in LaTeX."""
    return "".join(LATEX_ESCAPES.get(mark, mark) for mark in text)


def markdown_text(text: str) -> str:
    """Return a text that no Markdown reader takes for a mark-up, a link or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def file_name(*words: Any) -> str:
    """Return a name for files, of letters, digits and underscores."""
    return "_".join(re.sub(r"[^A-Za-z0-9]+", "_", str(word)).strip("_") for word in words if word)
