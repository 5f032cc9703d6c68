"""Folders of generated audio: a plan says how the files are made, a manifest that they all are.

A folder holds one plan's files only, so that clips made with other settings never mix in unseen.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from config.advice import again
from config.errors import UserError
from config.files import read_json, waited_for, write_json
from config.fingerprints import fingerprint_of
from config.listing import files_in
from config.log import logger
from config.settings import Settings
from config.text import display_path, printable
from preprocessing.pipeline.left_out import LEFT_OUT, LISTED
from preprocessing.pipeline.tables import read_rows

MANIFEST = "manifest.csv"
PLAN = "plan.json"
REQUESTED_KEYS = (
    "input_gsc_raw_folder",
    "input_noisyspeech_repo",
    "seed",
    "total_hours",
    "items_per_class",
    "snr_convention",
    "confounding",
)


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
        left_out = read_rows(path, LISTED) if path.exists() else []
        if any(is_usable(row["files"]) for row in left_out):
            return False
        files = {row["file"] for row in read_manifest(folder, "")}
    except UserError:
        return False  # what is missing or damaged is made anew
    if not files <= {path.name for path in files_in(folder, ".wav")}:
        return False
    logger.info(f"{display_path(folder)}: already there, unchanged")
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
        rows = read_rows(path)
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
