"""The report as one HTML page that needs nothing else: no network, no other file.

Everything that comes from results and experiment files is data: jinja2 escapes it all, and the
page's own policy lets no script run but the page's.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.experiments import Experiment
from plotting.reporting.style import Picture
from plotting.reporting.table import Cell, Table, cell_text, sort_value
from plotting.reporting.tables import COLLAPSED

TEMPLATES = Path(__file__).resolve().parent / "templates"
# A screen has 96 pixels to the inch of CSS; figures are shown a little larger than printed.
PIXELS_PER_INCH = 96 * 1.15
WARNINGS = ("collapsed", "no control", "penalty pulls")


@dataclass(frozen=True)
class Part:
    """One comparison on the page; findings: sentences by their heading."""

    anchor: str
    title: str
    heading: str
    answer: str
    description: str
    findings: Mapping[str, Sequence[str]]
    experiments: Sequence[Experiment]
    tables: Sequence[Table]
    pictures: Sequence[Picture]


def page(
    title: str, subtitle: str, parts: Sequence[Part], problems: Sequence[str], folder: Path
) -> str:
    """Return the page's HTML.

    Args:
        folder: where the figures' PNG files are, which are put into the page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    text = environment.get_template("report.html").render(
        title=title,
        subtitle=subtitle,
        problems=problems,
        parts=parts,
        pixels_per_inch=PIXELS_PER_INCH,
        cell_text=cell_text,
        sort_value=sort_value,
        is_collapsed=is_collapsed,
        is_warning=is_warning,
        png=lambda figure: base64.b64encode((folder / f"{figure.name}.png").read_bytes()).decode(),
        # The two files of the project itself are the only text that is not escaped.
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    return f"{text.strip()}\n"


def is_collapsed(table: Table, row: Sequence[Cell]) -> bool:
    """Whether a row of a table says that runs collapsed."""
    cells = zip(row, table.columns, strict=True)
    return any(cell and column.name == COLLAPSED for cell, column in cells)


def is_warning(sentence: str) -> bool:
    """Whether a sentence is one that nobody should overlook."""
    return any(word in sentence.lower() for word in WARNINGS)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
