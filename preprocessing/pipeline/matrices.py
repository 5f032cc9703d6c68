"""The one description of the files between preprocessing and training, <dataset>_<features>_...

predictors.npy  float32 (examples, frames, bins), readable as a memory map
target.npy      int64 (examples,)
index.csv       one row per example: clip, label, class_name, group, first_frame, augmented, ...
splits.json     groups of each set, per fold
left_out.csv    clips left out, with the reason
info.json       how the files were made; written last, so it marks them complete
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from config.errors import UserError
from config.settings import FEATURES_TYPES, display_path
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
OWN_SPLIT = "the corpus's own"


def part_path(folder: Path, name: str, part: str) -> Path:
    """Where one of the files of a set of matrices lies."""
    return folder / f"{name}_{part}.{PARTS[part]}"


def matrices_name(dataset: str, features_type: str) -> str:
    """The prefix of a dataset's files."""
    return f"{dataset}_{features_type}"


@dataclass(frozen=True)
class Matrices:
    """A dataset as written by preprocessing: examples stay on the disk until they are used."""

    folder: Path
    name: str
    info: dict[str, Any]
    predictors: npt.NDArray[np.float32]
    target: npt.NDArray[np.int64]

    @cached_property
    def index(self) -> "pandas.DataFrame":
        """One row per example."""
        import pandas

        return pandas.read_csv(
            part_path(self.folder, self.name, "index"),
            dtype={"clip": str, "group": str, "class_name": str},
            keep_default_na=False,
        )

    @cached_property
    def splits(self) -> dict[str, Any]:
        """The stored split: type, seed, order of the groups, fractions, folds."""
        return _read_json(part_path(self.folder, self.name, "splits"))

    @property
    def classes(self) -> list[str]:
        """Class names in label order."""
        return list(self.info["classes"])

    @property
    def fingerprint(self) -> str:
        """Changes whenever an example, a label or the split changes."""
        return str(self.info["fingerprint"])

    def folds(self, fractions: tuple[float, float, float], num_folds: int) -> list[Split[str]]:
        """The stored folds if they are what is asked for, else new ones from the stored order.

        Raises:
            UserError: the corpus brings its own split, which cannot be divided anew.
        """
        stored = self.splits
        if stored["fractions"] == list(fractions) and stored["num_folds"] == num_folds:
            return [Split(f["train"], f["validation"], f["test"]) for f in stored["folds"]]
        if stored["type"] == OWN_SPLIT:
            if num_folds == 1:
                return [Split(f["train"], f["validation"], f["test"]) for f in stored["folds"]]
            raise UserError(
                f"[training_defaults] num_folds = {num_folds}: {self.name} has a split of its own; "
                "only num_folds = 1 is possible"
            )
        return split_groups(stored["order"], fractions, num_folds)

    def rows_of(self, groups: list[str], with_augmented: bool) -> npt.NDArray[np.int64]:
        """Row numbers of the examples whose group is one of those given.

        Args:
            with_augmented: altered copies count too (training sets only).
        """
        chosen = self.index["group"].isin(groups).to_numpy()
        if not with_augmented:
            chosen = chosen & (self.index["augmented"] == 0).to_numpy()
        return np.flatnonzero(chosen)

    def contents_of(self, groups: Iterable[str]) -> set[str]:
        """Hashes of the audio of some groups' clips."""
        chosen = self.index["group"].isin(set(groups))
        return set(self.index.loc[chosen, "content"])


def read_info(folder: Path, name: str) -> dict[str, Any]:
    """How a dataset's matrices were made, without opening them.

    Raises:
        UserError: they are missing or incomplete.
    """
    path = part_path(folder, name, "info")
    if not path.exists():
        raise UserError(f"{display_path(folder)}: holds no complete matrices {name}")
    return _read_json(path)


def open_matrices(folder: str | Path, name: str) -> Matrices:
    """Open a dataset's matrices without reading the examples.

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
    target = _load_array(part_path(folder, name, "target"), np.int64, 1)
    if len(predictors) != len(target) or len(target) != info.get("num_examples"):
        raise UserError(
            f"{display_path(folder)}: {name} is inconsistent: {len(predictors)} examples, "
            f"{len(target)} targets, {info.get('num_examples')} announced; prepare it again"
        )
    return Matrices(folder, name, info, predictors, target)


def matrices_ready(folder: Path, name: str) -> bool:
    """Whether all files of a dataset are there and marked complete."""
    return all(part_path(folder, name, part).exists() for part in PARTS)


def _full_name(folder: Path, name: str) -> str:
    if part_path(folder, name, "info").exists():
        return name
    candidates = [matrices_name(name, features_type) for features_type in FEATURES_TYPES]
    found = [other for other in candidates if part_path(folder, other, "info").exists()]
    return found[0] if len(found) == 1 else name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{display_path(path)}: cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{display_path(path)}: is no description of matrices")
    return value


def _load_array(path: Path, dtype: type, dimensions: int) -> Any:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{display_path(path)}: is no usable matrix: {error}") from None
    if array.dtype != dtype or array.ndim != dimensions:
        raise UserError(
            f"{display_path(path)}: holds {array.dtype} in {array.ndim} dimensions, "
            f"not {np.dtype(dtype)} in {dimensions}"
        )
    return array


class MatrixWriter:
    """Append examples to an .npy file whose length is not known beforehand.

    NumPy pads the header so that the first axis can grow in place.
    """

    def __init__(self, path: Path, example_shape: tuple[int, ...], keep_examples: int = 0) -> None:
        """Start anew, or go on after the first keep_examples of an earlier run.

        Raises:
            ValueError: the file does not hold that many.
        """
        self.path = path
        self.example_shape = example_shape
        self.num_examples = keep_examples
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("rb+" if keep_examples else "wb+")
        if not keep_examples:
            self._write_header()
        self._data_start = self._header_length()
        end = self._data_start + keep_examples * 4 * int(np.prod(example_shape))
        if self._file.seek(0, os.SEEK_END) < end:
            self._file.close()
            raise ValueError(f"{path}: holds fewer than {keep_examples} examples")
        self._file.truncate(end)
        self._file.seek(end)

    def append(self, examples: npt.NDArray[np.float32]) -> None:
        """Add examples, shape (examples, *example_shape); on the disk before this returns."""
        if examples.shape[1:] != self.example_shape or examples.dtype != np.float32:
            raise ValueError(f"{examples.dtype} {examples.shape} does not fit {self.example_shape}")
        self._file.write(np.ascontiguousarray(examples).data)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.num_examples += len(examples)

    def finish(self) -> None:
        """Write the final length into the header and the file to the disk."""
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Leave the file as it is, for a restart."""
        self._file.close()

    def _write_header(self) -> None:
        self._file.seek(0)
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
            "fortran_order": False,
            "shape": (self.num_examples, *self.example_shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def _header_length(self) -> int:
        self._file.seek(0)
        np.lib.format.read_magic(self._file)
        np.lib.format.read_array_header_1_0(self._file)
        return self._file.tell()
