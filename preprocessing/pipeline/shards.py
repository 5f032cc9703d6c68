"""Examples that lie in several files, read as if they were one array.

Each file is a memory map that is opened when it is needed; a few are kept open. What is asked for
is read file by file, and within a file in the order of its rows.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Examples = npt.NDArray[np.float32]

OPEN_SHARDS = 512  # each holds a file handle, of which a process often may have 1024


class Part(NamedTuple):
    """Some of the rows asked for, all in one file.

    shard: (examples of the file, frames, bins).
    rows: numbers within the file, ascending.
    places: where they were in the request.
    """

    shard: Examples
    rows: Rows
    places: Rows


class ShardedExamples:
    """An array (examples, frames, bins), float32, of which only what is asked for is read.

    Args:
        lengths: examples of each shard.
        example_shape: (frames, bins).
        open_shard: the memory map of a shard, given its number; may be called again and again.
    """

    dtype = np.dtype(np.float32)
    itemsize = 4

    def __init__(
        self,
        lengths: Sequence[int],
        example_shape: tuple[int, ...],
        open_shard: Callable[[int], Examples],
    ) -> None:
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self.shape = (int(self._ends[-1]), *example_shape)
        self._open = lru_cache(maxsize=OPEN_SHARDS)(open_shard)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Examples:
        """One example, or the chosen ones; no others are read.

        Args:
            key: a row, a slice, or a list of rows; frames and bins, numbers or slices, may follow.

        Raises:
            IndexError: there is no such row, or the key is none of an array's first axis.
        """
        if isinstance(key, tuple):
            return self._part_of(*key)
        if isinstance(key, slice):
            return self.take(np.arange(*key.indices(len(self))))
        rows = np.asarray(key)
        if rows.dtype == np.bool_ and rows.shape == (len(self),):
            rows = np.flatnonzero(rows)
        if rows.ndim > 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(f"{key!r}: only a row, a slice and a list of rows can be chosen")
        taken = self.take(rows.reshape(-1).astype(np.int64))
        return taken if rows.ndim else taken[0]

    def _part_of(self, rows: Any, *frames_and_bins: int | slice) -> Examples:
        if not all(isinstance(each, int | slice) for each in frames_and_bins):
            raise IndexError(f"{frames_and_bins!r}: only numbers and slices of frames and bins")
        chosen = self[rows]
        every = (slice(None),) if chosen.ndim == self.ndim else ()
        return chosen[(*every, *frames_and_bins)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All examples in memory."""
        if copy is False:
            raise ValueError("shards cannot become one array without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def take(self, rows: Rows, out: Examples | None = None) -> Examples:
        """The examples of some rows in their order, (rows, frames, bins).

        Args:
            out: an array to fill.

        Raises:
            IndexError: there is no such row.
        """
        if out is None:
            out = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        for part in self.parts(rows):
            for place, row in zip(part.places.tolist(), part.rows.tolist(), strict=True):
                out[place] = part.shard[row]
        return out

    def parts(self, rows: Rows) -> Iterator[Part]:
        """The rows by the shard that holds them.

        Raises:
            IndexError: there is no such row.
        """
        rows = np.where(rows < 0, rows + len(self), rows)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(self):
            raise IndexError(f"rows are numbered from 0 to {len(self) - 1}")
        if not len(rows):
            return
        order = np.argsort(rows, kind="stable")
        shards = np.searchsorted(self._ends, rows[order], side="right")
        found, starts = np.unique(shards, return_index=True)
        for shard, places in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            first = int(self._ends[shard - 1]) if shard else 0
            yield Part(self._open(shard), rows[places] - first, places)


Predictors = Examples | ShardedExamples
