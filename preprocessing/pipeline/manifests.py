"""Folders of generated audio: a plan says how the files are made, a manifest that they all are.

A folder holds one plan's files only, so that clips made with other settings never mix in unseen.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.advice import again
from config.errors import UserError
from config.files import read_json, read_text, waited_for, write_json, written_aside
from config.listing import files_in
from config.settings import Settings
from config.text import display_path

MANIFEST = "manifest.csv"
PLAN = "plan.json"


@contextmanager
def written_by_one(folder: Path, settings: Settings) -> Iterator[None]:
    """Let this process write to the folder as soon as no other one does."""
    is_noisyspeech = folder == settings.preprocessing.generated_noisyspeech_folder
    key = "generated_noisyspeech_folder" if is_noisyspeech else "augmented_gsc_folder"
    with waited_for(folder / ".lock", display_path(folder), f"--set {key}=FOLDER"):
        yield


def is_complete(folder: Path, plan: str) -> bool:
    """Tell, and say, whether the folder holds everything that this plan (a fingerprint) makes."""
    if _plan_in(folder) != plan:
        return False
    try:
        files = {row["file"] for row in read_manifest(folder, "")}
    except UserError:
        return False  # what is missing or damaged is made anew
    if not files <= {path.name for path in files_in(folder, ".wav")}:
        return False
    print(f"{display_path(folder)}: already there, unchanged")
    return True


def begin(folder: Path, plan: str, description: dict[str, Any]) -> None:
    """Claim a folder for a plan.

    Raises:
        UserError: it holds audio of another plan, or of no plan at all.
    """
    if _plan_in(folder) != plan and files_in(folder, ".wav"):
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


def refuse_many_left_out(
    reasons: Sequence[str], total: int, what: str, path: Path, settings: Settings
) -> None:
    """Make sure that no more than max_skipped_fraction is left out.

    Args:
        reasons: of each that is.
        what: what is left out, and how, for the error.
        path: the list of them.

    Raises:
        UserError: it is more.
    """
    allowed = settings.preprocessing.max_skipped_fraction
    if len(reasons) > allowed * total:
        raise UserError(
            f"{len(reasons)} of {total} {what} ({reasons[0]}, ...), more than "
            f"max_skipped_fraction = {allowed:g} allows; see {display_path(path)}, mend the corpus "
            "or pass --set max_skipped_fraction=<fraction>"
        )


def read_manifest(folder: Path, command: str, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a folder's manifest.

    Args:
        command: what makes the manifest, for the error.
        columns: what the file must have besides the names of files; no row may lack one.

    Raises:
        UserError: there is none, or it is damaged; says which command makes it.
    """
    path, command = folder / MANIFEST, again(command)
    if not path.exists():
        state = "is unfinished" if (folder / PLAN).exists() else "does not exist"
        raise UserError(f"{display_path(path)}: {state}; run {command}")
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        rows = list(reader)
    except (UserError, csv.Error) as error:
        raise UserError(f"{error}; run {command}") from None
    for number, row in enumerate(rows, start=2):
        wanted = ("file", *columns, *(reader.fieldnames or ()))
        if missing := [column for column in wanted if not row.get(column)]:
            problem = f"is damaged: line {number} has no {missing[0]}"
            raise UserError(f"{display_path(path)}: {problem}; run {command}")
    return rows


def _plan_in(folder: Path) -> Any:
    try:
        return read_json(folder / PLAN).get("plan")
    except UserError:
        return None  # none, or a damaged one, is nobody's
