"""Examples of one set as normalised batches on the device.

A set that fits lies on the device as a whole; a larger one stays in its memory map and is read a
batch at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

Predictors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

CHUNK_EXAMPLES = 512
RESIDENT_SHARE = 0.4


@dataclass(frozen=True)
class Normalization:
    """One mean and one standard deviation over all frames and bins of the training set."""

    mean: float
    std: float


@dataclass(frozen=True)
class Batch:
    """inputs: (batch, 1, frames, bins), normalised; labels: (batch,)."""

    inputs: Tensor
    labels: Tensor


def training_statistics(predictors: Predictors, rows: Rows) -> Normalization:
    """Mean and standard deviation over the given examples, in one pass over them.

    Args:
        predictors: (examples, frames, bins), a memory map for all that matters here.
        rows: row numbers of the training set.

    Raises:
        ValueError: all values are the same, so nothing can be normalised or learnt.
    """
    count, mean, squares = 0, 0.0, 0.0
    for first in range(0, len(rows), CHUNK_EXAMPLES):
        values = predictors[rows[first : first + CHUNK_EXAMPLES]].astype(np.float64)
        chunk_mean = float(values.mean())
        difference = chunk_mean - mean
        total = count + values.size
        squares += float(np.square(values - chunk_mean).sum())
        squares += difference**2 * count * values.size / total
        mean += difference * values.size / total
        count = total
    std = (squares / count) ** 0.5 if count else 0.0
    if not np.isfinite(std) or std == 0:
        raise ValueError("the training set's values are all the same, or not finite")
    return Normalization(mean, std)


class ExampleSet:
    """The examples of one set, in batches on a device.

    Args:
        predictors: (examples, frames, bins).
        target: labels, (examples,).
        rows: which of them belong to the set.
        normalization: of the training set.
        device: where batches are wanted.
        free_frames: zeros at the end of each example, (examples,); if given, training batches
            place each example at a random offset in them, drawn anew each time.
    """

    def __init__(
        self,
        predictors: Predictors,
        target: npt.NDArray[np.int64],
        rows: Rows,
        normalization: Normalization,
        device: torch.device,
        free_frames: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.normalization = normalization
        self.device = device
        self.labels = torch.from_numpy(target[rows]).to(device)
        self._predictors = predictors
        self._rows = rows
        self._free_frames = None if free_frames is None else torch.from_numpy(free_frames[rows])
        self._resident = self._load() if self._fits() else None

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All examples in their own order, as they are stored."""
        for numbers in torch.split(torch.arange(len(self)), batch_size):
            yield self._batch(numbers)

    def training_batches(
        self, batch_size: int, shuffle: bool, generator: torch.Generator
    ) -> Iterator[Batch]:
        """One epoch, in a new order if shuffled, at new offsets if examples have free frames."""
        order = torch.randperm(len(self), generator=generator) if shuffle else None
        numbers_of_all = torch.arange(len(self)) if order is None else order
        for numbers in torch.split(numbers_of_all, batch_size):
            batch = self._batch(numbers)
            if self._free_frames is not None:
                free = self._free_frames[numbers]
                draws = torch.rand(len(numbers), generator=generator)
                offsets = (draws * (free + 1)).long().clamp(max=free)
                batch = Batch(_shift(batch.inputs, offsets.to(self.device)), batch.labels)
            yield batch

    def _batch(self, numbers: Tensor) -> Batch:
        if self._resident is not None:
            numbers = numbers.to(self.device)
            return Batch(self._resident[numbers].unsqueeze(1), self.labels[numbers])
        values = self._read(self._rows[numbers.numpy()]).to(self.device)
        return Batch(values.unsqueeze(1), self.labels[numbers.to(self.device)])

    def _read(self, rows: Rows) -> Tensor:
        values = torch.from_numpy(np.array(self._predictors[rows]))
        return values.sub_(self.normalization.mean).div_(self.normalization.std)

    def _fits(self) -> bool:
        num_bytes = 4 * len(self._rows) * int(np.prod(self._predictors.shape[1:]))
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
        else:
            free = psutil.virtual_memory().available
        return num_bytes < RESIDENT_SHARE * free

    def _load(self) -> Tensor:
        shape = (len(self._rows), *self._predictors.shape[1:])
        resident = torch.empty(shape, dtype=torch.float32, device=self.device)
        for first in range(0, len(self._rows), CHUNK_EXAMPLES):
            chunk = self._rows[first : first + CHUNK_EXAMPLES]
            resident[first : first + len(chunk)] = self._read(chunk)
        return resident


def _shift(inputs: Tensor, offsets: Tensor) -> Tensor:
    """Move each example (1, frames, bins) later by its offset; its last frames come to the front.

    The frames that come to the front are those of the padding, as long as the offset does not
    exceed it.
    """
    num_frames = inputs.shape[2]
    positions = torch.arange(num_frames, device=inputs.device)
    sources = (positions[None, :] - offsets[:, None]) % num_frames
    return inputs.gather(2, sources[:, None, :, None].expand_as(inputs))
