"""A corpus of the user's own: a [dataset NAME] section becomes a dataset like all others.

Its clips are the rows of a table, or the files of a folder that has a folder for each class. All
that is wrong with them is found, and named together, before the first clip is read.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from os.path import normpath
from pathlib import Path
from typing import Any

from config.declarations import DatasetDeclaration
from config.errors import UserError, refuse_all
from config.listing import files_in, folders_in
from config.log import logger
from config.settings import Settings
from config.text import counted, display_path, first_of
from preprocessing.pipeline.dataset import OWN_SPLIT, RANDOM_BY_CLIP, SETS, Clip, Dataset
from preprocessing.pipeline.matrices import INDEX_COLUMNS
from preprocessing.pipeline.recordings import (
    AUDIO_SUFFIXES,
    PATH,
    files_below,
    number_of,
    problems_of_stretch,
    stretch_name,
    stretch_of,
)
from preprocessing.pipeline.tables import Row, Table, read_table

CLASS = "class"  # the column that a folder's table has besides
LEAST_FOLDS = 3
# What the sets of a split are called elsewhere.
SET_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def declared_dataset(declared: DatasetDeclaration) -> Dataset:
    """Return what a section declares as a dataset; nothing is read yet."""
    split_type = f"by {declared.group}, at random" if declared.group else RANDOM_BY_CLIP
    sources = dict.fromkeys(filter(None, (declared.group, *declared.orthogonal)))
    return Dataset(
        name=declared.name,
        script="",
        task=declared.label or CLASS,
        sequence_length=declared.sequence_length,
        split_type=OWN_SPLIT if declared.split else split_type,
        list_clips=partial(_list_clips, declared),
        sources=tuple(map(_index_column, sources)),
        orthogonal_labels=tuple(map(_index_column, declared.orthogonal)),
        confounder=_index_column(declared.confounder),
        leave_out_silence=declared.leave_out_silence,
        shuffle_groups=True,
        is_regression=declared.task == "regression",
        declared=declared.decisive,
        licence=declared.licence,
    )


def _index_column(column: str) -> str:
    """Return what the index calls a column of the table, for it has a label of its own."""
    return f"manifest_{column}" if column in INDEX_COLUMNS else column


def _list_clips(declared: DatasetDeclaration, _settings: Settings) -> list[Clip]:
    """Return the clips of all rows.

    Raises:
        UserError: there is no such table or column, or rows cannot be used; names the first ones.
    """
    if declared.manifest is not None:
        table = read_table(declared.manifest, PATH)
    elif declared.folder is not None:
        table = _table_of_folder(declared.folder)
        declared = declared.model_copy(update={"label": CLASS})
    place = display_path(table.path)
    _require_columns(declared, table)
    refuse_all(place, [each for row in table.rows for each in _problems_of(row, declared)])
    sets, problems = _sets_of(declared, table)
    numbers = _class_numbers(declared, table)
    clips = [_clip(row, declared, table.folder, sets, numbers) for row in table.rows]
    if len({clip.label for clip in clips}) < 2:
        problems.append(f"{declared.label} is the same in all rows; there is nothing to learn")
    problems += _repeated(table, clips)
    problems += _groups_in_two_sets(declared, table, clips)
    problems += _overlapping(table, clips)
    refuse_all(place, problems)
    return clips


def _table_of_folder(folder: Path) -> Table:
    """Return path and class of every audio file below a folder's folders."""
    if not folder.is_dir():
        raise UserError(f"{display_path(folder)}: there is no such folder")
    rows: list[Row] = []
    others = [path.name for path in files_in(folder)]
    problems = []
    for class_folder in folders_in(folder):
        files = list(files_below(class_folder))
        audio = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
        others += [path.name for path in files if path.suffix.lower() not in AUDIO_SUFFIXES]
        if not audio:
            problems.append(f"{class_folder.name} holds no audio")
        for path in audio:
            name = path.relative_to(folder).as_posix()
            rows.append(Row(name, {PATH: name, CLASS: class_folder.name}))
    if others:
        logger.info(
            f"{display_path(folder)}: {counted(len(others), 'file')} in no class or with an "
            f"extension of no audio left out: {first_of(others)}"
        )
    if not rows:
        problems = ["holds no folder with audio; each of its folders is a class"]
    refuse_all(display_path(folder), problems)
    return Table(folder, folder, (PATH, CLASS), rows)


def _require_columns(declared: DatasetDeclaration, table: Table) -> None:
    """Make sure that the table has all columns that the section names, and the index room for them.

    Raises:
        UserError: names those that it has not, with their keys, or that the index cannot have.
    """
    keys = ("label", "group", "split", "confounder")
    named = [(key, getattr(declared, key)) for key in keys]
    named += [("orthogonal", column) for column in declared.orthogonal]
    missing = [f"{key} = {name}" for key, name in named if name and name not in table.columns]
    if missing:
        raise UserError(
            f"[dataset {declared.name}] {', '.join(missing)}: no such column in "
            f"{display_path(table.path)}; its columns: {', '.join(table.columns)}"
        )
    renamed = [name for name in table.columns if _index_column(name) != name]
    clashes = [f"rename {name}" for name in map(_index_column, renamed) if name in table.columns]
    refuse_all(display_path(table.path), clashes, "so is another column called in the index")


def _problems_of(row: Row, declared: DatasetDeclaration) -> Iterator[str]:
    """Yield what is wrong with a row by itself."""
    label = declared.label
    for column in filter(None, dict.fromkeys((label, declared.group, declared.split))):
        if column != PATH and not row.cells[column]:
            yield f"{row.place}: {column} is empty"
    yield from problems_of_stretch(row)
    if declared.task == "regression" and math.isnan(number_of(row.cells[label])):
        hint = "; decimals stand behind a point" if "," in row.cells[label] else ""
        yield f"{row.place}: {label} = {row.cells[label]} is no finite number{hint}"


def _class_numbers(declared: DatasetDeclaration, table: Table) -> dict[str, int]:
    """Return the number of each class, in the order of their names; none of a regression."""
    if declared.task == "regression":
        return {}
    names = sorted({row.cells[declared.label] for row in table.rows})
    return {name: number for number, name in enumerate(names)}


def _clip(
    row: Row,
    declared: DatasetDeclaration,
    folder: Path,
    sets: Mapping[str, str],
    numbers: Mapping[str, int],
) -> Clip:
    """Return a row's clip."""
    cells = row.cells
    name, label = stretch_name(row), cells[declared.label]
    start, duration = stretch_of(row)
    return Clip(
        path=Path(normpath(folder / cells[PATH])),
        name=name,
        label=numbers[label] if numbers else float(label),
        class_name=label if numbers else "",
        group=cells[declared.group] if declared.group else name,
        details={_index_column(column): cell for column, cell in cells.items()},
        start=start,
        duration=duration,
        fixed_set=sets[cells[declared.split]] if declared.split else None,
    )


def _sets_of(declared: DatasetDeclaration, table: Table) -> tuple[dict[str, str], list[str]]:
    """Return the set or the fold that each text of the split's column names, and what is wrong.

    If one of them is a set's name, all must be, and each set must be there; else all are folds.
    """
    if not declared.split:
        return {}, []
    rows = {row.cells[declared.split]: row for row in reversed(table.rows)}
    sets = {text: SET_NAMES.get(text.lower(), text) for text in rows}
    found = set(sets.values())
    if not found & set(SETS):
        few = f"{declared.split} has {counted(len(found), 'fold')}; {LEAST_FOLDS} are needed"
        return sets, [few] if len(found) < LEAST_FOLDS else []
    unknown = [
        f"{rows[text].place}: {declared.split} = {text} is none of {', '.join(SETS)}"
        for text, name in sets.items()
        if name not in SETS
    ]
    return sets, unknown + [
        f"no row has {declared.split} = {name}" for name in SETS if name not in found
    ]


def _repeated(table: Table, clips: Sequence[Clip]) -> Iterator[str]:
    """Yield the rows that name what an earlier one names."""
    seen: dict[Any, Row] = {}
    for row, clip in zip(table.rows, clips, strict=True):
        first = seen.setdefault((clip.path, clip.start, clip.duration), row)
        if first is not row:
            yield f"{row.place}: {clip.name} stands in {first.place}, too"


def _groups_in_two_sets(
    declared: DatasetDeclaration, table: Table, clips: Sequence[Clip]
) -> Iterator[str]:
    """Yield the groups that the split's column divides, each once."""
    seen: dict[str, tuple[str | None, str]] = {}
    divided: set[str] = set()
    for row, clip in zip(table.rows, clips, strict=True):
        name, place = seen.setdefault(clip.group, (clip.fixed_set, row.place))
        if name != clip.fixed_set and clip.group not in divided:
            divided.add(clip.group)
            group = f"{declared.group or 'clip'} {clip.group}"
            yield f"{row.place}: {group} is in {clip.fixed_set}, in {place} in {name}"


def _overlapping(table: Table, clips: Sequence[Clip]) -> Iterator[str]:
    """Yield rows that share some audio with another one, but may come into another set."""
    numbers = sorted(
        range(len(clips)), key=lambda number: (clips[number].path, clips[number].start)
    )
    last = None
    for number in numbers:
        clip = clips[number]
        if last is None or clips[last].path != clip.path:
            last = number
            continue
        together = (clip.fixed_set or clip.group) == (clips[last].fixed_set or clips[last].group)
        if clip.start < _end_of(clips[last]) and not together:
            place, other = table.rows[number].place, table.rows[last].place
            yield f"{place}: overlaps {other} of the same file, but is of another set or group"
        if _end_of(clip) > _end_of(clips[last]):
            last = number


def _end_of(clip: Clip) -> float:
    return math.inf if clip.duration is None else clip.start + clip.duration
