"""One content in three formats: what is written agrees, and stays data."""

import csv
import re
from pathlib import Path

from plotting.reporting.table import (
    Cell,
    Column,
    Table,
    make_table,
)

EXPECTED = [
    ["baseline", "80.0 ± 10.0", "", "", "", "3"],
    ["against a_b", "62.5", "-17.5", "-20.0 to +2.5", "0.031", "1"],
    ['=HYPERLINK("x")', "1.0 ± 0.0", "+0.0", "+0.0 to +0.0", "<0.001", "2"],
]


def first(row: tuple[Cell, ...]) -> Cell:
    return row[0]


TABLE = make_table(
    "01_tiny",
    "Methods of 50_percent & more",
    (
        Column("method", first),
        Column("test %", lambda row: row[1], "spread"),
        Column("difference", lambda row: row[2], "difference"),
        Column("its 95 %", lambda row: row[3], "difference interval"),
        Column("p", lambda row: row[4], "p"),
        Column("runs", lambda row: row[5], "count", shown_in="page"),
        Column("empty", lambda _: ""),
    ),
    (
        ("baseline", (80.04, 10.0), None, None, None, 3),
        ("against a_b", (62.5,), -17.54, (-20.04, 2.46), 0.03125, 1),
        ('=HYPERLINK("x")', (1.0, 0.0), 0.0, (-0.04, 0.0), 0.0004, 2),
    ),
    ("A note with 5 % & <b>.",),
    "tiny (random)",
)


def test_cells_are_written_as_people_read_them() -> None:
    """Columns in which no row has anything are left out."""
    assert TABLE.shown().to_numpy().tolist() == EXPECTED


def test_csv_latex_and_markdown_agree(tmp_path: Path) -> None:
    """The same cells in LaTeX and Markdown; the same numbers, unrounded, in the CSV file."""
    paths = TABLE.write(tmp_path)
    assert [path.name for path in paths] == ["01_tiny.csv", "01_tiny.tex", "01_tiny.md"]
    markdown = paths[2].read_text().split("\n")
    cells = [
        [cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in markdown
        if line.startswith("|")
    ]
    assert cells[0] == [column.name for column in TABLE.columns]
    assert cells[2:] == EXPECTED
    body = paths[1].read_text().partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    rows = [line.removesuffix(r" \\") for line in body.strip().split("\n")]
    plain = [
        [cell.strip().replace("\\", "").replace("$pm$", "±") for cell in row.split(" & ")]
        for row in rows
    ]
    assert plain == EXPECTED
    with paths[0].open(newline="") as file:
        (_, second, third) = list(csv.DictReader(file))
    assert second["test %"] == "62.5"
    assert second["test % sd"] == ""
    assert (second["its 95 % low"], second["its 95 % high"]) == ("-20.04", "2.46")
    assert second["p"] == "0.03125"
    assert third["method"] == '\'=HYPERLINK("x")'


def test_latex_escapes_caption_cells_and_headings() -> None:
    text = TABLE.latex()
    assert r"\caption{Methods of 50\_percent \& more. tiny (random)}" in text
    assert r"against a\_b" in text
    assert r"test \%" in text
    assert "% A note with 5 % & <b>." in text
    hostile = Table("x", "\\input{/etc/passwd}$^~#", (Column("a", first),), ((r"\write18{x}",),))
    assert "\\input" not in hostile.latex()
    assert "\\write" not in hostile.latex()


def test_markdown_takes_nothing_for_markup() -> None:
    hostile = Table("x", "t", (Column("a", first),), (("<script>|[a](b)*_",),))
    (row,) = [line for line in hostile.markdown().split("\n") if "script" in line]
    assert row.strip("| ") == r"\<script\>\|\[a\](b)\*\_"
