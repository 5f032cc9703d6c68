"""Recordings as a user names them: files, folders, and tables of which each row is a stretch."""

import math
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path

import numpy as np

from config.errors import UserError, refuse_all
from config.listing import files_in, folders_in
from config.log import logger
from config.text import counted, display_path, first_of
from preprocessing.pipeline.dataset import Clip
from preprocessing.pipeline.tables import Row, read_table

PATH, START, END = "path", "start", "end"
LARGEST_VALUE = float(np.finfo(np.float32).max)
# Those that must be converted first are among them: they are listed as left out, with the reason.
AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd"}
    | {".caf", ".w64", ".rf64", ".sph", ".voc", ".m4a", ".aac", ".wma", ".amr", ".webm", ".mp4"}
)


def clips_without_labels(path: Path) -> list[Clip]:
    """Return a recording, all recordings below a folder, or what the rows of a .csv file name.

    Raises:
        UserError: the folder holds none, or the table cannot be used; names what is wrong.
    """
    if path.is_dir():
        clips = [_unlabelled(each) for each in _audio_below(path)]
        if not clips:
            raise UserError(f"{display_path(path)}: holds no audio")
        return clips
    if path.suffix.lower() != ".csv":
        return [_unlabelled(path)]
    table = read_table(path, PATH)
    refuse_all(
        display_path(path), [each for row in table.rows for each in problems_of_stretch(row)]
    )
    return [
        _unlabelled(table.folder / row.cells[PATH], stretch_name(row), *stretch_of(row))
        for row in table.rows
    ]


def _unlabelled(
    path: Path, name: str = "", start: float = 0.0, duration: float | None = None
) -> Clip:
    return Clip(Path(normpath(path)), name or str(path), 0, "", "", {}, start, duration)


def _audio_below(folder: Path) -> list[Path]:
    """Return the recordings of a folder and its folders; print how many other files there are."""
    files = list(files_below(folder))
    others = [path.name for path in files if path.suffix.lower() not in AUDIO_SUFFIXES]
    if others:
        logger.warning(
            f"{display_path(folder)}: {counted(len(others), 'file')} with an extension of no audio "
            f"left out: {first_of(others)}"
        )
    return [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the user's files in a folder and in all folders below it."""
    yield from files_in(folder)
    for each in folders_in(folder):
        yield from files_below(each)


def stretch_name(row: Row) -> str:
    """Return what a row's clip is called: as its file, and what is cut out of that."""
    start, end = row.cells.get(START, ""), row.cells.get(END, "")
    return f"{row.cells[PATH]}#{start}-{end}" if start or end else row.cells[PATH]


def stretch_of(row: Row) -> tuple[float, float | None]:
    """Return where a row's clip starts and how long it is, in s; None: to the end of its file."""
    start, end = _seconds(row, START, 0.0), _seconds(row, END, math.inf)
    return start, None if math.isinf(end) else end - start


def problems_of_stretch(row: Row) -> Iterator[str]:
    """Yield what is wrong with path, start and end of a row."""
    if not row.cells[PATH]:
        yield f"{row.place}: {PATH} is empty"
    for column in (START, END):
        if math.isnan(_seconds(row, column, 0.0)):
            yield f"{row.place}: {column} = {row.cells[column]} is no number of seconds, 0 or more"
    if _seconds(row, END, math.inf) <= _seconds(row, START, 0.0):
        end, start = row.cells[END], row.cells.get(START) or "0"
        yield f"{row.place}: {END} = {end} is not after {START} = {start}"


def _seconds(row: Row, column: str, default: float) -> float:
    """Return a time of a row; the default where it has none, NaN where it is no time."""
    text = row.cells.get(column)
    if not text:
        return default
    value = number_of(text)
    return value if value >= 0 else math.nan


def number_of(text: str) -> float:
    """Return the number that a text is; NaN if it is none, or not finite in single precision."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if abs(value) <= LARGEST_VALUE else math.nan
