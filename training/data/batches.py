"""Examples of one set as normalised batches on the device.

A set that fits lies on the device as a whole; a larger one stays in its memory map, and a thread
reads its next batches while the network works on the current one.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from config.errors import UserError
from preprocessing.pipeline.matrices import Predictors
from training.data.device_memory import has_room

Rows = npt.NDArray[np.int64]
Job = TypeVar("Job")
Result = TypeVar("Result")

CHUNK_EXAMPLES = 512
CHUNK_BYTES = 32 * 2**20
BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Normalization:
    """One mean and one standard deviation over all frames and bins of the training set."""

    mean: float
    std: float


@dataclass(frozen=True)
class Batch:
    """Some examples of a set.

    inputs: (batch, 1, frames, bins), normalised; labels: (batch,), both on the device.
    rows: (batch,), int64 on the CPU, the examples' row numbers in the matrices.
    """

    inputs: Tensor
    labels: Tensor
    rows: Tensor


def training_statistics(
    predictors: Predictors, rows: Rows, num_frames: Rows | None = None
) -> Normalization:
    """Compute mean and standard deviation over the given examples, in one pass over them.

    Args:
        predictors: (examples, frames, bins), a memory map for all that matters here.
        rows: row numbers of the training set.
        num_frames: of each example before its padding, (examples,), which then does not count.

    Raises:
        UserError: all values are the same, so nothing can be normalised or learnt.
    """
    count, mean, squares = 0, 0.0, 0.0
    for chunk in _chunks(predictors, np.sort(rows)):
        _request(predictors, chunk)
        values = predictors[chunk].astype(np.float64)
        if num_frames is not None:
            frames = np.arange(predictors.shape[1])
            values = values[frames < num_frames[chunk][:, None]]  # (frames of all, bins)
        chunk_mean = float(values.mean())
        difference = chunk_mean - mean
        total = count + values.size
        values -= chunk_mean
        squares += float(np.square(values, out=values).sum())
        squares += difference**2 * count * values.size / total
        mean += difference * values.size / total
        count = total
    std = (squares / count) ** 0.5 if count else 0.0
    if not np.isfinite(std) or std == 0:
        raise UserError("the training set's values are all the same, or not finite")
    return Normalization(mean, std)


def _chunks(predictors: Predictors, rows: Rows) -> Iterator[Rows]:
    """Yield the rows in parts, none of which reads more than CHUNK_BYTES (or a single example)."""
    num_examples = CHUNK_BYTES // max(1, _num_bytes(predictors, 1))
    num_examples = min(max(1, num_examples), CHUNK_EXAMPLES)
    for first in range(0, len(rows), num_examples):
        yield rows[first : first + num_examples]


def _num_bytes(predictors: Predictors, num_examples: int) -> int:
    return num_examples * int(np.prod(predictors.shape[1:])) * predictors.itemsize


def _request(predictors: Predictors, rows: Rows) -> None:
    """Have the disk fetch all these rows at once, if it has to; else each page is waited for."""
    if not isinstance(predictors, np.memmap) or not hasattr(os, "posix_fadvise"):
        return
    file_name, start = predictors.filename, predictors.offset
    if file_name is None:
        return
    length = _num_bytes(predictors, 1)
    # It only hastens what follows: without the file the map is read all the same.
    with suppress(OSError), _descriptor_of(file_name) as file:
        for row in rows.tolist():
            place = start + row * length
            os.posix_fadvise(file, place, length, os.POSIX_FADV_WILLNEED)


@contextmanager
def _descriptor_of(file_name: str | os.PathLike[str]) -> Iterator[int]:
    """Open a file without Python's own buffers."""
    descriptor = os.open(file_name, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class ExampleSet:
    """The examples of one set, in batches on a device.

    Args:
        predictors: (examples, frames, bins).
        target: class numbers, or values for a regression, (examples,).
        rows: which of them belong to the set.
        normalization: of the training set.
        device: where batches are wanted.
        num_frames: of each example before its padding, (examples,); if given, padding is 0 after
            normalisation, which is the mean.
        random_offset: training batches place each example at a random offset in its padding, drawn
            anew each time.
    """

    def __init__(
        self,
        predictors: Predictors,
        target: npt.NDArray[Any],
        rows: Rows,
        normalization: Normalization,
        device: torch.device,
        num_frames: Rows | None = None,
        random_offset: bool = False,
    ) -> None:
        self.rows = rows
        self.normalization = normalization
        self.device = device
        self.labels = torch.from_numpy(target[rows]).to(device)
        self._predictors = predictors
        full = np.full(len(predictors), predictors.shape[1])
        self._num_frames = torch.tensor(full if num_frames is None else num_frames)
        self.is_random = random_offset
        fits = has_room(device, _num_bytes(predictors, len(rows)))
        self._resident = self._load() if fits else None

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, batch_size: int, rank: int = 0, num_processes: int = 1) -> Iterator[Batch]:
        """Yield all examples in their own order, as they are stored, or one process's shard."""
        order = shard(torch.arange(len(self)), rank, num_processes)
        yield from self._epoch(torch.split(order, batch_size // num_processes), None)

    def training_batches(
        self,
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator,
        rank: int = 0,
        num_processes: int = 1,
        none_alone: bool = False,
        weights: Tensor | None = None,
    ) -> Iterator[Batch]:
        """Yield one epoch, in a new order if shuffled, at new offsets if they are random.

        Args:
            batch_size: of all processes together.
            generator: in the same state in all processes, which then get shards of one order.
            none_alone: a last batch of one example is joined to the one before.
            weights: (examples,), by which as many examples are drawn, with replacement; None: each
                comes once.
        """
        order = torch.arange(len(self))
        if weights is not None:
            order = torch.multinomial(weights, len(self), replacement=True, generator=generator)
        elif shuffle:
            order = torch.randperm(len(self), generator=generator)
        shard_of_order = shard(order, rank, num_processes)
        batches = [*torch.split(shard_of_order, batch_size // num_processes)]
        if none_alone and len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [torch.cat(batches[-2:])]
        yield from self._epoch(batches, generator)

    def _epoch(
        self, indices_of_batches: Sequence[Tensor], generator: torch.Generator | None
    ) -> Iterator[Batch]:
        """Yield batches by their indices; offsets are drawn if there is a generator."""
        # The thread starts with the first read, and ends with this block, however it is left.
        with ThreadPoolExecutor(max_workers=1) as reader:
            all_inputs = self._inputs(indices_of_batches, reader)
            for indices, inputs in zip(indices_of_batches, all_inputs, strict=True):
                rows = torch.from_numpy(self.rows[indices.numpy()])
                batch = Batch(inputs.unsqueeze(1), self.labels[self._to_device(indices)], rows)
                if generator is not None and self.is_random:
                    offsets = _draw_offsets(inputs.shape[1] - self._num_frames[rows], generator)
                    batch = replace(batch, inputs=_shift(batch.inputs, self._to_device(offsets)))
                yield batch

    def _inputs(self, indices_of_batches: Sequence[Tensor], reader: Executor) -> Iterator[Tensor]:
        """Yield the inputs of each batch, (batch, frames, bins)."""
        if self._resident is not None:
            for indices in indices_of_batches:
                yield self._resident[self._to_device(indices)]
            return
        rows_of_batches = [self.rows[indices.numpy()] for indices in indices_of_batches]
        all_values = read_ahead(reader, self._read, rows_of_batches)
        for rows, values in zip(rows_of_batches, all_values, strict=True):
            yield self._normalise(self._to_device(values), rows)

    def _read(self, rows: Rows) -> Tensor:
        """Read examples as they are stored, into memory that a GPU can copy from on its own."""
        shape = (len(rows), *self._predictors.shape[1:])
        values = torch.empty(shape, dtype=torch.float32, pin_memory=self.device.type == "cuda")
        _request(self._predictors, rows)
        # With clip NumPy writes into the tensor; else it checks the rows and writes to a copy.
        np.take(self._predictors, rows, axis=0, out=values.numpy(), mode="clip")
        return values

    def _to_device(self, values: Tensor) -> Tensor:
        """Move values to the device, without waiting for what it computes at the moment."""
        if self.device.type != "cuda":
            return values.to(self.device)
        return values.pin_memory().to(self.device, non_blocking=True)

    def _normalise(self, values: Tensor, rows: Rows) -> Tensor:
        """Normalise examples (batch, frames, bins) in place; what is padding becomes 0."""
        values.sub_(self.normalization.mean).div_(self.normalization.std)
        num_frames = self._num_frames[rows]
        if (num_frames < values.shape[1]).any():
            frames = torch.arange(values.shape[1], device=values.device)
            is_padding = frames >= self._to_device(num_frames)[:, None]
            values.masked_fill_(is_padding[:, :, None], 0)
        return values

    def _load(self) -> Tensor:
        shape = (len(self.rows), *self._predictors.shape[1:])
        resident = torch.empty(shape, dtype=torch.float32, device=self.device)
        first = 0
        for chunk in _chunks(self._predictors, self.rows):
            part = resident[first : first + len(chunk)]
            part.copy_(self._read(chunk))
            self._normalise(part, chunk)
            first += len(chunk)
        return resident


def shard(order: Tensor, rank: int, num_processes: int) -> Tensor:
    """Return one process's indices of an order; the last ones repeat its first ones if need be.

    All processes get equally many, so that none waits for another's step in vain.
    """
    num_indices = -(-len(order) // num_processes) * num_processes
    return order[torch.arange(num_indices) % len(order)][rank::num_processes]


def read_ahead(
    reader: Executor, read: Callable[[Job], Result], jobs: Iterable[Job]
) -> Iterator[Result]:
    """Yield results in the order of the jobs; the next BATCHES_AHEAD are read meanwhile."""
    pending: deque[Future[Result]] = deque()
    for job in jobs:
        pending.append(reader.submit(read, job))
        if len(pending) > BATCHES_AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _draw_offsets(free_frames: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each example an offset from 0 to its free frames, all equally likely."""
    draws = torch.rand(len(free_frames), generator=generator)
    return (draws * (free_frames + 1)).long().clamp(max=free_frames)


def _shift(inputs: Tensor, offsets: Tensor) -> Tensor:
    """Move each example (1, frames, bins) later by its offset; its last frames come to the front.

    The frames that come to the front are those of the padding, as long as the offset does not
    exceed it.
    """
    num_frames = inputs.shape[2]
    positions = torch.arange(num_frames, device=inputs.device)
    sources = (positions[None, :] - offsets[:, None]) % num_frames
    return inputs.gather(2, sources[:, None, :, None].expand_as(inputs))
