"""The one description of the files between preprocessing and training, <dataset>_<features>_...

predictors.npy  float32 (examples, frames, bins), readable as a memory map
target.npy      int64 (examples,); of a regression float32
index.csv       one row per example: clip, label, class_name, group, first_frame, augmented, ...
splits.json     groups of each set, per fold
left_out.csv    clips left out, with the reason
info.json       how the files were made; written last, so it marks them complete
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, Field, ValidationInfo

from config.errors import UserError
from config.fields import Task
from config.files import read_json, require_fields
from config.settings import Settings
from config.text import display_path, nearest, shorten
from preprocessing.pipeline.dataset import OWN_FOLDS, OWN_SPLIT, SETS
from preprocessing.pipeline.features import FEATURES, noted_settings
from preprocessing.pipeline.splits import Split, split_groups

if TYPE_CHECKING:
    import pandas

PARTS = {
    "predictors": "npy",
    "target": "npy",
    "index": "csv",
    "splits": "json",
    "left_out": "csv",
    "info": "json",
}
# All other columns are text: a speaker 007 is not 7, and 1e999 not infinity.
INDEX_COLUMNS: dict[str, Any] = {
    "clip": str,
    "label": np.int64,
    "class_name": str,
    "group": str,
    "first_frame": np.int64,
    "num_frames": np.int64,
    "augmented": np.int64,
    "content": str,
}
# The length of examples is the dataset's own unless it is set; both backends agree.
NOT_OF_FEATURES = {"sequence_length", "features_backend"}

Predictors = npt.NDArray[np.float32]


def _classes_of_task(classes: list[str], info: ValidationInfo) -> list[str]:
    if not classes and not info.data.get("is_regression"):
        raise ValueError("must hold the names of the classes")
    return classes


class Info(BaseModel):
    """What info.json must hold for the matrices to be used."""

    num_examples: int
    is_regression: bool = False
    classes: Annotated[list[str], AfterValidator(_classes_of_task)]
    fingerprint: str
    split: str
    command: str = ""
    orthogonal_labels: list[str] = []
    feature_extraction: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    declared: dict[str, Any] = {}


class StoredFold(BaseModel):
    """Groups of each set."""

    train: list[str]
    validation: list[str]
    test: list[str]


class StoredSplits(BaseModel):
    """What splits.json must hold."""

    type: str
    fractions: Annotated[list[float], Field(min_length=3, max_length=3)]
    num_folds: Annotated[int, Field(ge=1)]
    order: list[str]
    folds: Annotated[list[StoredFold], Field(min_length=1)]


def part_path(folder: Path, name: str, part: str) -> Path:
    """Return where one of the files of a set of matrices lies."""
    return folder / f"{name}_{part}.{PARTS[part]}"


def matrices_name(dataset: str, features_type: str) -> str:
    """Return the prefix of a dataset's files."""
    return f"{dataset}_{features_type}"


@dataclass(frozen=True)
class Matrices:
    """A dataset as written by preprocessing: examples stay on the disk until they are used."""

    folder: Path
    name: str
    info: dict[str, Any]
    predictors: Predictors
    target: npt.NDArray[Any]

    @cached_property
    def index(self) -> "pandas.DataFrame":
        """One row per example; numbers are those of INDEX_COLUMNS, all else is text.

        Raises:
            UserError: the file is no table, or not that of these examples.
        """
        import pandas

        path = part_path(self.folder, self.name, "index")
        try:
            types = defaultdict(lambda: str, {**INDEX_COLUMNS, "label": self.target.dtype})
            table = pandas.read_csv(path, dtype=types, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise self._unfit("index", f"is no table: {error}") from None
        missing = [name for name in INDEX_COLUMNS if name not in table.columns]
        if missing:
            raise self._unfit("index", f"has no column {', '.join(missing)}")
        if not np.array_equal(table["label"], self.target):
            raise self._unfit("index", "its labels are not those of target.npy")
        return table

    @cached_property
    def splits(self) -> dict[str, Any]:
        """The stored split: type, seed, order of the groups, fractions, folds.

        Raises:
            UserError: it is none: something is missing, or a group is in two sets or in none.
        """
        path = part_path(self.folder, self.name, "splits")
        splits = read_json(path)
        require_fields(splits, StoredSplits, display_path(path))
        groups = sorted(set(splits["order"]))
        for number, fold in enumerate(splits["folds"]):
            members = sorted(group for name in SETS for group in fold[name])
            if members != groups:
                raise self._unfit("splits", f"folds.{number}: its sets do not divide the groups")
        if len(splits["folds"]) != splits["num_folds"]:
            raise self._unfit("splits", f"holds {len(splits['folds'])} folds, not num_folds")
        return splits

    @cached_property
    def _group_of_example(self) -> "pandas.Series":
        """The group of each example, after making sure that the split knows it and no other."""
        groups = self.index["group"]
        unknown = set(groups).symmetric_difference(self.splits["order"])
        if unknown:
            raise self._unfit(
                "splits", f"does not fit the index: {len(unknown)} groups, such as {min(unknown)}"
            )
        return groups

    def require_settings(self, dataset: str, settings: Settings) -> None:
        """Make sure that they were made with the settings of a training.

        Args:
            dataset: whose matrices they are.

        Raises:
            UserError: lists the settings that they were made with and the training has otherwise.
        """
        stored = self.feature_settings | self.info.get("preprocessing", {})
        stored |= {"sr_target": self.info["sample_rate"]} if "sample_rate" in self.info else {}
        stored |= self.info.get("declared", {})
        wanted = settings.feature_extraction.model_dump(mode="json", exclude=NOT_OF_FEATURES)
        wanted |= settings.preprocessing.model_dump(mode="json", include=set(stored))
        wanted |= settings.sampling.model_dump()
        if self.info.get("declared") and dataset in settings.datasets:
            wanted |= settings.datasets[dataset].decisive
        seconds = (
            settings.pretraining.sequence_length or settings.feature_extraction.sequence_length
        )
        if seconds and "seconds" in self.info:
            stored["sequence_length"], wanted["sequence_length"] = self.info["seconds"], seconds
        different = [
            f"{key} = {stored[key]}, this run has {value}"
            for key, value in wanted.items()
            if key in stored and stored[key] != value
        ]
        if different:
            made = f"{self.name} was made with {'; '.join(different)}"
            raise UserError(f"{display_path(self.folder)}: {made}")

    def require_column(self, column: str, place: str) -> None:
        """Make sure that the index has a column, without waiting for pandas.

        Args:
            place: what asks for it, for the error.

        Raises:
            UserError: it has not, or it is damaged.
        """
        with self._plain_index() as (header, _):
            if column not in header:
                raise UserError(
                    f"{place} = {column}: no column of the index of {self.name}; there are "
                    f"{', '.join(header)}{nearest(column, header)}"
                )

    def columns(self, *names: str) -> list[tuple[str, ...]]:
        """Return some columns of the index as text, without waiting for pandas.

        Raises:
            UserError: the index is damaged, or has not all of them.
        """
        with self._plain_index() as (header, rows):
            places = [header.index(name) for name in names]
            return [tuple(row[place] for place in places) for row in rows]

    @contextmanager
    def _plain_index(self) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
        """Open the index: its header, and the rows below it."""
        path = part_path(self.folder, self.name, "index")
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                yield next(rows, []), rows
        except (OSError, ValueError, IndexError, csv.Error) as error:
            raise self._unfit("index", f"is no usable table: {error}") from None

    def check_parts(self) -> None:
        """Make sure that index and split are those of these examples, without waiting for pandas.

        Raises:
            UserError: one of them is not, or is damaged.
        """
        rows = self.columns("label", "group")
        try:
            labels = np.array([label for label, _ in rows], dtype=self.target.dtype)
        except ValueError as error:
            raise self._unfit("index", f"is no usable table: {error}") from None
        if not np.array_equal(labels, self.target):
            raise self._unfit("index", "its labels are not those of target.npy")
        if {group for _, group in rows} != set(self.splits["order"]):
            raise self._unfit("splits", "does not have the groups of the index")

    def _unfit(self, part: str, problem: str) -> UserError:
        return _unfit(part_path(self.folder, self.name, part), problem)

    @property
    def classes(self) -> list[str]:
        """Class names in label order; none of a regression."""
        return list(self.info["classes"])

    @property
    def task(self) -> Task:
        """What its target is for; matrices of older versions have classes."""
        return "regression" if self.info.get("is_regression") else "classification"

    @property
    def orthogonal_labels(self) -> list[str]:
        """Columns of the index that the task does not need; none in matrices of older versions."""
        return list(self.info.get("orthogonal_labels", []))

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Settings of [feature_extraction] that they were made with; {} if they note none."""
        return noted_settings(self.info.get("feature_extraction", {}))

    @property
    def fingerprint(self) -> str:
        """Changes whenever an example, a label or the split changes."""
        return str(self.info["fingerprint"])

    @property
    def predictors_state(self) -> list[int]:
        """Size (bytes) and time of the predictors' file; one of them changes with it."""
        state = part_path(self.folder, self.name, "predictors").stat()
        return [state.st_size, state.st_mtime_ns]

    def folds(self, fractions: tuple[float, float, float], num_folds: int) -> list[Split[str]]:
        """Return the stored folds if they are what is asked for, else new ones in that order.

        Raises:
            UserError: the corpus brings its own split or folds, which cannot be divided anew.
        """
        stored = self.splits
        as_stored = stored["fractions"] == list(fractions) and stored["num_folds"] == num_folds
        is_own = stored["type"] in (OWN_SPLIT, OWN_FOLDS)
        if is_own and num_folds not in (1, stored["num_folds"]):
            own = "a split" if stored["type"] == OWN_SPLIT else f"{stored['num_folds']} folds"
            possible = " or ".join(map(str, dict.fromkeys((1, stored["num_folds"]))))
            raise UserError(
                f"[training_defaults] num_folds = {num_folds}: {self.name} has {own} of its own; "
                f"only num_folds = {possible} is possible"
            )
        if is_own or as_stored:
            return [Split(**fold) for fold in stored["folds"][:num_folds]]
        return split_groups(stored["order"], fractions, num_folds)

    def rows_of(self, groups: list[str], with_augmented: bool) -> npt.NDArray[np.int64]:
        """Return the row numbers of the examples whose group is one of those given.

        Args:
            with_augmented: altered copies count too (training sets only).
        """
        chosen = self._group_of_example.isin(groups).to_numpy()
        if not with_augmented:
            chosen = chosen & (self.index["augmented"] == 0).to_numpy()
        return np.flatnonzero(chosen)

    @cached_property
    def clip_numbers(self) -> npt.NDArray[np.int64]:
        """The number of each example's clip, (examples,); an altered copy is a clip of its own."""
        numbers = self.index.groupby(["clip", "augmented"], sort=False).ngroup()
        return np.asarray(numbers, dtype=np.int64)

    def contents_of(self, groups: Iterable[str]) -> set[str]:
        """Return hashes of the audio of some groups' clips."""
        chosen = self.index["group"].isin(set(groups))
        return set(self.index.loc[chosen, "content"])


def read_info(folder: Path, name: str) -> dict[str, Any]:
    """Read how a dataset's matrices were made, without opening them.

    Raises:
        UserError: they are missing or incomplete.
    """
    path = part_path(folder, name, "info")
    if not path.exists():
        raise UserError(f"{display_path(folder)}: holds no complete matrices {name}")
    info = read_json(path)
    require_fields(info, Info, display_path(path))
    return info


def find_task(folder: Path, dataset: str, features_type: str) -> tuple[Task, int] | None:
    """Return what a dataset's matrices are for, and the outputs that a network needs for it.

    None: they are missing or damaged.
    """
    try:
        info = read_info(folder, matrices_name(dataset, features_type))
    except UserError:
        return None
    return (
        ("regression", 1) if info.get("is_regression") else ("classification", len(info["classes"]))
    )


def open_matrices(folder: str | Path, name: str) -> Matrices:
    """Open a dataset's matrices without reading the examples.

    Index and split are read, and checked, when they are asked for. Any of the files may be a
    symbolic link: a large matrix is often kept on another disk, and only numbers are read.

    Args:
        folder: [preprocessing] output_folder.
        name: <dataset>_<features>; the dataset alone if there is only one kind of features.

    Raises:
        UserError: the matrices are missing, incomplete, or do not fit together.
    """
    folder = Path(folder)
    name = _full_name(folder, name)
    info = read_info(folder, name)
    predictors = _load_array(part_path(folder, name, "predictors"), np.float32, 3)
    target_type = np.float32 if info.get("is_regression") else np.int64
    target = _load_array(part_path(folder, name, "target"), target_type, 1)
    if not len(predictors) == len(target) == info["num_examples"]:
        problem = (
            f"is inconsistent: {len(predictors)} examples, {len(target)} targets, "
            f"{info['num_examples']} announced"
        )
        raise _unfit(folder / name, problem)
    return Matrices(folder, name, info, predictors, target)


def matrices_ready(folder: Path, name: str) -> bool:
    """Return whether all files of a dataset are there and marked complete."""
    return all(part_path(folder, name, part).exists() for part in PARTS)


def _full_name(folder: Path, name: str) -> str:
    if part_path(folder, name, "info").exists():
        return name
    candidates = [matrices_name(name, features_type) for features_type in FEATURES]
    found = [other for other in candidates if part_path(folder, other, "info").exists()]
    return found[0] if len(found) == 1 else name


def _load_array(path: Path, dtype: type, dimensions: int) -> Any:
    """Open a memory map; nothing but the header is read, and nothing in it is executed."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, SyntaxError, TypeError) as error:
        raise _unfit(path, f"is no usable matrix: {error}") from None
    if array.dtype != dtype or array.ndim != dimensions:
        found = f"holds {array.dtype} in {array.ndim} dimensions"
        raise _unfit(path, f"{found}, not {np.dtype(dtype)} in {dimensions}")
    return array


def _unfit(path: Path, problem: str) -> UserError:
    """Return the error for matrices that cannot be used."""
    return UserError(f"{display_path(path)}: {shorten(problem)}")
