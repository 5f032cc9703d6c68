"""The report as one HTML page that needs nothing else: no network, no other file.

Everything that comes from results and experiment files is data: jinja2 escapes it all, and the
page's own policy lets no script run but the page's.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plotting.report_tables import COLLAPSED
from plotting.sentences import LEGEND
from plotting.tables import Table, cell_text, sort_value

TEMPLATES = Path(__file__).resolve().parent / "templates"
# PNG files are written with 200 pixels an inch; a screen has 96 to the inch of CSS.
SCREEN_SHARE = 96 / 200 * 1.15
WARNINGS = ("collapsed", "no control")
LONG_CELL = 20


@dataclass(frozen=True)
class Picture:
    """A figure on the page: a name, words, and the PNG file that is put into the page."""

    name: str
    title: str
    alt: str
    file: Path


@dataclass(frozen=True)
class Part:
    """One comparison on the page.

    Attributes:
        findings: sentences by their heading.
        experiments: ID, description and question of each.
        folded: names of the tables that are folded up at first.
    """

    anchor: str
    heading: str
    description: str
    findings: Mapping[str, Sequence[str]]
    experiments: Sequence[Mapping[str, Any]]
    tables: Sequence[Table]
    folded: frozenset[str]
    pictures: Sequence[Picture]


def page(title: str, subtitle: str, parts: Sequence[Part], problems: Sequence[str]) -> str:
    """The page's HTML."""
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
        parts=[_part(each) for each in parts],
        legend=LEGEND,
        # The two files of the project itself are the only text that is not escaped.
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    return f"{text.strip()}\n"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _part(part: Part) -> dict[str, Any]:
    return {
        "anchor": part.anchor,
        "heading": part.heading,
        "description": part.description,
        "findings": [
            {
                "heading": heading,
                "sentences": [
                    {"text": text, "warn": any(word in text.lower() for word in WARNINGS)}
                    for text in sentences
                ],
            }
            for heading, sentences in part.findings.items()
            if sentences
        ],
        "experiments": part.experiments,
        "tables": [_table(each, each.name in part.folded) for each in part.tables],
        "figures": [_picture(each) for each in part.pictures],
    }


def _table(table: Table, folded: bool) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        cells: list[dict[str, Any]] = [
            {
                "column": column,
                "text": cell_text(cell, column),
                "sort": sort_value(cell),
                "is_long": isinstance(cell, str) and len(cell) > LONG_CELL,
            }
            for cell, column in zip(row, table.columns, strict=True)
        ]
        warn = any(cell["text"] and cell["column"].name == COLLAPSED for cell in cells)
        rows.append({"cells": cells, "warn": warn})
    return {
        "name": table.name,
        "title": table.title,
        "subtitle": table.subtitle,
        "columns": table.columns,
        "rows": rows,
        "notes": table.notes,
        "folded": folded,
    }


def _picture(picture: Picture) -> dict[str, Any]:
    content = picture.file.read_bytes()
    # Width and height stand at a fixed place in the header of a PNG file.
    width, height = (int.from_bytes(content[start : start + 4]) for start in (16, 20))
    return {
        "name": picture.name,
        "title": picture.title,
        "alt": picture.alt,
        "source": f"data:image/png;base64,{base64.b64encode(content).decode()}",
        "width": round(width * SCREEN_SHARE),
        "height": round(height * SCREEN_SHARE),
    }
