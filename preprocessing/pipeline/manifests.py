"""Folders of generated audio: a plan says how the files are made, a manifest that they all are.

A folder holds one plan's files only, so that clips made with other settings never mix in unseen.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from config.advice import again
from config.errors import UserError
from config.files import read_json, read_text, waited_for, write_json, written_aside
from config.fingerprints import fingerprint_of
from config.listing import files_in
from config.settings import Settings
from config.text import counted, display_path, plural, printable

MANIFEST = "manifest.csv"
PLAN = "plan.json"
LEFT_OUT = "left_out.csv"
LEFT_OUT_COLUMNS = ("files", "reason")
REQUESTED_KEYS = (
    "input_gsc_raw_folder",
    "input_noisyspeech_repo",
    "seed",
    "total_hours",
    "items_per_class",
    "snr_convention",
    "confounding",
)


class Unusable(NamedTuple):
    """What cannot be used of the things of one kind.

    what: one of them in words.
    reasons: (thing, reason) of each that cannot.
    total: all of that kind.
    """

    what: str
    reasons: Sequence[tuple[object, str]]
    total: int

    @property
    def by_reason(self) -> str:
        """How many there are for each reason."""
        kinds = Counter(reason.partition(":")[0] for _, reason in self.reasons)
        return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


class Plan(NamedTuple):
    """What a folder is to hold, as fingerprints.

    made: what is made, by the names of its sources.
    sources: sizes and times of these files, by which it is seen that one was replaced.
    """

    made: str
    sources: str


def plan_of(made: Any, sources: Iterable[Path]) -> Plan:
    """Return the plan of what can be expressed in JSON, made from some files."""
    states = []
    for path in set(sources):
        with suppress(OSError):
            found = path.stat()
            states.append((path.name, found.st_size, found.st_mtime_ns))
    return Plan(fingerprint_of(made), fingerprint_of(sorted(states)))


def make_once(
    folder: Path,
    plan: Plan,
    settings: Settings,
    is_usable: Callable[[str], bool],
    make: Callable[[], object],
) -> None:
    """Fill a folder, unless it holds everything that the plan makes, in one process at a time.

    Args:
        is_usable: whether what was left out, as its list calls it, can be used by now.
        make: fills the folder.

    Raises:
        UserError: the folder holds audio made with other settings, or by another program.
    """
    if _is_complete(folder, plan, is_usable):
        return
    is_noisyspeech = folder == settings.preprocessing.generated_noisyspeech_folder
    key = "generated_noisyspeech_folder" if is_noisyspeech else "augmented_gsc_folder"
    with waited_for(folder / ".lock", display_path(folder), f"--set {key}=FOLDER"):
        if not _is_complete(folder, plan, is_usable):
            _refuse_foreign_audio(folder, plan, settings)
            make()


def _is_complete(folder: Path, plan: Plan, is_usable: Callable[[str], bool]) -> bool:
    """Tell, and say, whether the folder holds everything that this plan makes."""
    noted = _noted(folder)
    # Folders of older versions do not note their sources.
    if (noted.get("plan"), noted.get("sources", plan.sources)) != plan:
        return False
    path = folder / LEFT_OUT
    try:
        left_out = read_table(path, LEFT_OUT_COLUMNS) if path.exists() else []
        if any(is_usable(row["files"]) for row in left_out):
            return False
        files = {row["file"] for row in read_manifest(folder, "")}
    except UserError:
        return False  # what is missing or damaged is made anew
    if not files <= {path.name for path in files_in(folder, ".wav")}:
        return False
    print(f"{display_path(folder)}: already there, unchanged")
    return True


def _refuse_foreign_audio(folder: Path, plan: Plan, settings: Settings) -> None:
    """Make sure that a folder holds no audio but of this plan, or of the same settings.

    With the same settings another plan comes from a corpus that has changed: a file was added,
    or mended.
    """
    noted = _noted(folder)
    is_ours = noted.get("plan") == plan.made or noted.get("request") == _request_of(settings)
    if not is_ours and files_in(folder, ".wav"):
        raise UserError(
            f"{display_path(folder)}: holds audio that was made with other settings or by another "
            "program; remove that folder, or name another one in [preprocessing]"
        )


def begin(folder: Path, plan: Plan, settings: Settings, description: dict[str, Any]) -> None:
    """Claim a folder for a plan, and remove the audio that its manifest lists."""
    with suppress(UserError):  # there is none, or it is damaged
        files = {row["file"] for row in read_manifest(folder, "")}
        for path in files_in(folder, ".wav"):
            if path.name in files:
                path.unlink()
    (folder / MANIFEST).unlink(missing_ok=True)
    noted = {"plan": plan.made, "sources": plan.sources, "request": _request_of(settings)}
    write_json(folder / PLAN, noted | description)


def _request_of(settings: Settings) -> str:
    """Hash the settings that decide what audio is made."""
    values = (printable(str(getattr(settings.preprocessing, key))) for key in REQUESTED_KEYS)
    fractions = settings.training_defaults.fractions
    return fingerprint_of([*values, settings.sampling.sr_target, fractions])


def write_table(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, whole or not at all."""
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a CSV file that write_table wrote.

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


def note_left_out(folder: Path, kinds: Sequence[Unusable], settings: Settings) -> str:
    """Write the list of what is left out; return it in words, as left_out_in_words.

    Raises:
        UserError: as refuse_many_left_out.
    """
    path = folder / LEFT_OUT
    rows = [{"files": name, "reason": reason} for kind in kinds for name, reason in kind.reasons]
    write_table(path, rows, LEFT_OUT_COLUMNS)
    for kind in kinds:
        refuse_many_left_out(kind, path, settings)
    return left_out_in_words(kinds, path)


def left_out_in_words(kinds: Sequence[Unusable], path: Path) -> str:
    """Return what is left out, counted by reason, and where it is listed; "" if nothing is."""
    parts = [
        f"{counted(len(kind.reasons), kind.what)} ({kind.by_reason})"
        for kind in kinds
        if kind.reasons
    ]
    return f"; left out: {', '.join(parts)}, listed in {display_path(path)}" if parts else ""


def refuse_many_left_out(unusable: Unusable, path: Path, settings: Settings) -> None:
    """Make sure that no more than max_skipped_fraction is left out.

    Args:
        path: the list of what is.

    Raises:
        UserError: it is more.
    """
    number, total = len(unusable.reasons), unusable.total
    allowed = settings.preprocessing.max_skipped_fraction
    if number > allowed * total:
        needed = math.ceil(1000 * number / total) / 1000
        raise UserError(
            f"{number} of {total} {plural(unusable.what)} cannot be used ({unusable.by_reason}), "
            f"more than max_skipped_fraction = {allowed:g} allows; see {display_path(path)}, mend "
            f"the corpus or pass --set max_skipped_fraction={needed:g}"
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
        rows = read_table(path)
    except UserError as error:
        raise UserError(f"{error}; run {command}") from None
    for number, row in enumerate(rows, start=2):
        wanted = ("file", *columns, *row)
        if missing := [column for column in wanted if not row.get(column)]:
            problem = f"is damaged: line {number} has no {missing[0]}"
            raise UserError(f"{display_path(path)}: {problem}; run {command}")
    return rows


def _noted(folder: Path) -> dict[str, Any]:
    """Return what the folder's plan says; no plan, or a damaged one, is nobody's."""
    try:
        return read_json(folder / PLAN)
    except UserError:
        return {}
