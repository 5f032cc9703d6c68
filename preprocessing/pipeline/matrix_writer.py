"""Examples appended to .npy files whose length is not known beforehand: to one, or to shards.

A shard is full before the next one begins, so the files' lengths follow from their number alone.
"""

import io
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 128
GIGABYTE = 10**9
UNFINISHED = ".unfinished"


def shard_path(path: Path, number: int) -> Path:
    """a.npy -> a_00000.npy."""
    return path.with_name(f"{path.stem}_{number:05}{path.suffix}")


def shard_capacity(example_shape: tuple[int, ...], gigabytes: float) -> int:
    """Examples that a file of so many GB (10^9 bytes) holds, at least 1; 0 GB: 0, no limit."""
    if not gigabytes:
        return 0
    example_bytes = 4 * int(np.prod(example_shape))
    return max(1, (int(gigabytes * GIGABYTE) - HEADER_BYTES) // example_bytes)


def shard_lengths(num_examples: int, capacity: int) -> list[int]:
    """Examples of each shard; empty if they lie in one file, which is no shard."""
    if not capacity or num_examples <= capacity:
        return []
    firsts = range(0, num_examples, capacity)
    return [min(capacity, num_examples - first) for first in firsts]


def put_in_place(path: Path, lengths: Sequence[int]) -> None:
    """Give finished files their names, and remove those of another layout.

    Args:
        path: of the whole, were it one file.
        lengths: as of shard_lengths.
    """
    finals = [shard_path(path, number) for number in range(len(lengths))] or [path]
    for number, final in enumerate(finals):
        _unfinished_path(path, number).replace(final)
    for other in (path, *_shards_of(path)):
        if other not in finals:
            other.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what a run has left that nothing will continue."""
    for left in (_unfinished_path(path, 0), *_shards_of(path, UNFINISHED)):
        left.unlink(missing_ok=True)


def _unfinished_path(path: Path, number: int) -> Path:
    """The first file may turn out to be the only one."""
    final = shard_path(path, number) if number else path
    return final.with_name(final.name + UNFINISHED)


def _shards_of(path: Path, ending: str = "") -> Iterator[Path]:
    name = re.compile(re.escape(path.stem) + r"_[0-9]{5,}" + re.escape(path.suffix + ending))
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        if name.fullmatch(other.name):
            yield other


class ShardedWriter:
    """Append examples to unfinished files: to one, or to a new one each time that one is full.

    write() and sync() may be called by two threads.
    """

    def __init__(
        self,
        path: Path,
        example_shape: tuple[int, ...],
        capacity: int = 0,
        keep_examples: int = 0,
    ) -> None:
        """Start anew, or go on after the first keep_examples of an earlier run.

        Args:
            path: of the whole, were it one file; put_in_place gives it and its shards their names.
            capacity: examples of a shard; 0: one file for all.

        Raises:
            ValueError: the files do not hold that many.
            OSError: one of them is gone.
        """
        self._path = path
        self._shape = example_shape
        self._capacity = capacity
        self._lock = threading.Lock()
        self._full: list[MatrixWriter] = []
        self._number = max(0, keep_examples - 1) // capacity if capacity else 0
        for number in range(self._number):
            MatrixWriter(_unfinished_path(path, number), example_shape, capacity).finish()
        kept = keep_examples - self._number * capacity
        # A shard may have been finished right before the run that filled it was killed.
        self._current = MatrixWriter(
            _unfinished_path(path, self._number), example_shape, kept, capacity
        )
        for later in _shards_of(path, UNFINISHED):
            if later > _unfinished_path(path, self._number) or not self._number:
                later.unlink(missing_ok=True)

    @property
    def num_examples(self) -> int:
        """Examples in all files."""
        return self._number * self._capacity + self._current.num_examples

    def write(self, examples: npt.NDArray[np.float32]) -> None:
        """Add examples, shape (examples, *example_shape); they are on the disk after sync()."""
        while len(examples):
            if self._capacity and self._current.num_examples == self._capacity:
                self._begin_next()
            room = self._capacity - self._current.num_examples if self._capacity else len(examples)
            self._current.write(examples[:room])
            examples = examples[room:]

    def _begin_next(self) -> None:
        following = MatrixWriter(_unfinished_path(self._path, self._number + 1), self._shape)
        with self._lock:
            self._full.append(self._current)
            self._current = following
            self._number += 1

    def sync(self) -> None:
        """Wait for the disk; files that are full by now are finished."""
        self._finish_full().sync()

    def finish(self) -> None:
        """Write the final lengths into the headers, and all to the disk."""
        self._finish_full().finish()

    def _finish_full(self) -> "MatrixWriter":
        """The file that was written to at that moment; all before it are on the disk."""
        with self._lock:
            full, self._full = self._full, []
            current = self._current
        for writer in full:
            writer.finish()
        return current

    def close(self) -> None:
        """Leave the files as they are, for a restart."""
        for writer in (*self._full, self._current):
            writer.close()


class MatrixWriter:
    """Append examples to an .npy file whose length is not known beforehand.

    NumPy pads the header so that the first axis can grow in place.
    """

    def __init__(
        self,
        path: Path,
        example_shape: tuple[int, ...],
        keep_examples: int = 0,
        other_length: int = 0,
    ) -> None:
        """Start anew, or go on after the first keep_examples of an earlier run.

        Args:
            other_length: what the header may say, too.

        Raises:
            ValueError: the file does not hold that many.
        """
        self.path = path
        self.example_shape = example_shape
        self.num_examples = keep_examples
        path.parent.mkdir(parents=True, exist_ok=True)
        if keep_examples and path.is_symlink():
            raise ValueError(f"{path}: is a symbolic link")
        if not keep_examples:
            path.unlink(missing_ok=True)  # a link would be written through
        self._file: BinaryIO = path.open("rb+" if keep_examples else "xb+")
        try:
            self._start(keep_examples, other_length)
        except ValueError:
            self._file.close()
            raise

    def _start(self, keep_examples: int, other_length: int) -> None:
        start = len(self._header(0))
        if not keep_examples:
            self._file.write(self._header(0))
        # What an interrupted run leaves, and one that was killed after its last example.
        elif self._file.read(start) not in map(self._header, (0, keep_examples, other_length)):
            raise ValueError(f"{self.path}: holds no examples of shape {self.example_shape}")
        end = start + keep_examples * 4 * int(np.prod(self.example_shape))
        if self._file.seek(0, os.SEEK_END) < end:
            raise ValueError(f"{self.path}: holds fewer than {keep_examples} examples")
        self._file.truncate(end)
        self._file.seek(end)

    def append(self, examples: npt.NDArray[np.float32]) -> None:
        """Add examples, shape (examples, *example_shape); on the disk before this returns."""
        self.write(examples)
        self.sync()

    def write(self, examples: npt.NDArray[np.float32]) -> None:
        """Add examples; they are on the disk after sync()."""
        if examples.shape[1:] != self.example_shape or examples.dtype != np.float32:
            raise ValueError(f"{examples.dtype} {examples.shape} does not fit {self.example_shape}")
        self._file.write(np.ascontiguousarray(examples).data)
        self._file.flush()
        self.num_examples += len(examples)

    def sync(self) -> None:
        """Wait for the disk."""
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write the final length into the header and the file to the disk."""
        self._file.seek(0)
        self._file.write(self._header(self.num_examples))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Leave the file as it is, for a restart."""
        self._file.close()

    def _header(self, num_examples: int) -> bytes:
        """As long for any number of examples."""
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
            "fortran_order": False,
            "shape": (num_examples, *self.example_shape),
        }
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, header)
        return file.getvalue()
