"""Folders of generated audio: a plan says how the files are made, a manifest that they all are.

A folder holds one plan's files only, so that clips made with other settings never mix in unseen.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import read_json, require_file, write_json, written_aside
from config.text import display_path, printable

MANIFEST = "manifest.csv"
PLAN = "plan.json"
LONGEST_ERROR = 400
NUMBER_COLUMNS = ("requested_snr", "true_snr", "gain")


def is_complete(folder: Path, plan: str) -> bool:
    """Whether the folder holds everything that this plan (a fingerprint) makes."""
    if _plan_in(folder) != plan:
        return False
    try:
        rows = read_manifest(folder, "")
    except UserError:
        return False
    present = {path.name for path in folder.glob("*.wav")}
    return all(row["file"] in present for row in rows)


def begin(folder: Path, plan: str, description: dict[str, Any]) -> None:
    """Claim a folder for a plan.

    Raises:
        UserError: it holds audio of another plan, or of no plan at all.
    """
    if _plan_in(folder) != plan and any(folder.glob("*.wav")):
        raise UserError(
            f"{display_path(folder)}: holds audio that was made with other settings or by another "
            "program; remove that folder, or name another one in [preprocessing]"
        )
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(folder / PLAN, {"plan": plan, **description})


def write_table(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, whole or not at all."""
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def read_manifest(folder: Path, command: str, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a folder's manifest.

    Args:
        command: what makes the manifest, for the error.
        columns: what every row must hold besides its file.

    Raises:
        UserError: there is none, or it is damaged; says which command makes it.
    """
    path = folder / MANIFEST
    if not path.exists():
        state = "is unfinished" if (folder / PLAN).exists() else "does not exist"
        raise UserError(f"{display_path(path)}: {state}; run {command}")
    try:
        rows = _rows_in(folder)
        for number, row in enumerate(rows, start=2):
            _check_row(row, number, columns)
    except (ValueError, csv.Error) as error:
        place = printable(f"{display_path(path)}: is damaged: {error}")[:LONGEST_ERROR]
        raise UserError(f"{place}; run {command}") from None
    return rows


def _check_row(row: dict[str, str], number: int, columns: Sequence[str]) -> None:
    for column in ("file", *columns):
        value = row.get(column)
        if not value:
            raise ValueError(f"line {number} has no {column}")
        if column in NUMBER_COLUMNS and not math.isfinite(float(value)):
            raise ValueError(f"line {number}: {column} is {value}")
    if Path(row["file"]).name != row["file"]:
        raise ValueError(f"line {number}: {row['file']} is no file of this folder")


def _rows_in(folder: Path) -> list[dict[str, str]]:
    require_file(folder / MANIFEST)
    with (folder / MANIFEST).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _plan_in(folder: Path) -> str | None:
    try:
        return str(read_json(folder / PLAN)["plan"])
    except (UserError, KeyError):
        return None
