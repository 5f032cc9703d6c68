"""Seconds that a training waits for batches that it reads from a memory map, by way of reading.

python -m benchmarks.data_path --num-frames 126 501 --step 0.1 --cold
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.measuring import report
from training.data.batches import ExampleSet, Normalization

NUM_BINS = 129
NUM_WORKERS = 2
NORMALIZATION = Normalization(0.5, 0.3)
Rows = npt.NDArray[np.int64]
Epoch = Callable[[], Iterator[Tensor]]


def normalised(values: Tensor) -> Tensor:
    """In place, as training/data/batches.py does it."""
    return values.sub_(NORMALIZATION.mean).div_(NORMALIZATION.std)


class MappedRows(Dataset[Tensor]):
    """Batches of a matrix for worker processes, which open it by its name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, rows: Rows) -> Tensor:
        """Examples of these rows, (batch, frames, bins)."""
        return torch.from_numpy(np.load(self.path, mmap_mode="r")[rows])


@dataclass
class Ways:
    """Ways to read one epoch's batches, all in the same random order."""

    path: Path
    batch_size: int
    num_batches: int
    device: torch.device

    def rows_of_batches(self) -> list[Rows]:
        """A new order each time."""
        order = torch.randperm(len(np.load(self.path, mmap_mode="r"))).numpy()
        return [
            order[self.batch_size * number : self.batch_size * (number + 1)]
            for number in range(self.num_batches)
        ]

    def synchronous(self) -> Iterator[Tensor]:
        """In the training's own thread, batch by batch."""
        predictors = np.load(self.path, mmap_mode="r")
        for rows in self.rows_of_batches():
            yield normalised(torch.from_numpy(predictors[rows]).to(self.device))

    def one_thread(self) -> Iterator[Tensor]:
        """As training/data/batches.py does."""
        rows = np.concatenate(self.rows_of_batches())
        predictors = np.load(self.path, mmap_mode="r")
        with mock.patch("training.data.batches.RESIDENT_SHARE", 0):
            examples = ExampleSet(
                predictors, np.zeros(len(predictors), np.int64), rows, NORMALIZATION, self.device
            )
        return (batch.inputs for batch in examples.batches(self.batch_size))

    def workers(self, persistent: list[Any] | None = None) -> Iterator[Tensor]:
        """Worker processes of a DataLoader, started for each epoch or once.

        Args:
            persistent: holds the loader and its list of batches from one epoch to the next.
        """
        if persistent:
            loader, order = persistent
        else:
            order = []
            loader = DataLoader(
                MappedRows(self.path),
                batch_size=None,
                sampler=order,
                num_workers=NUM_WORKERS,
                pin_memory=self.device.type == "cuda",
                persistent_workers=persistent is not None,
                generator=torch.Generator(),
            )
        if persistent is not None:
            persistent[:] = [loader, order]
        order[:] = self.rows_of_batches()
        for values in loader:
            yield normalised(values.to(self.device, non_blocking=True))

    def all(self) -> dict[str, Epoch]:
        """Every way by its name."""
        return {
            "synchronous": self.synchronous,
            "one thread": self.one_thread,
            "new workers": self.workers,
            "lasting workers": partial(self.workers, []),
        }


def write_matrix(folder: Path, num_frames: int, num_examples: int) -> Path:
    """A matrix of noise on the disk."""
    path = folder / f"{num_frames}.npy"
    shape = (num_examples, num_frames, NUM_BINS)
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    generator = np.random.default_rng(0)
    for first in range(0, num_examples, 100):
        matrix[first : first + 100] = generator.random(matrix[first : first + 100].shape)
    matrix.flush()
    return path


def drop_cached_pages(path: Path) -> None:
    """Have the next reads of a file come from the disk; no process may have it mapped."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def computing(seconds: float) -> Callable[[], None]:
    """A step that keeps torch's threads busy for about as long."""
    matrix = torch.randn(768, 768)
    start = time.perf_counter()
    for _ in range(10):
        torch.mm(matrix, matrix)
    repetitions = max(1, round(seconds * 10 / (time.perf_counter() - start)))

    def step() -> None:
        for _ in range(repetitions):
            torch.mm(matrix, matrix)

    return step


def one_epoch(epoch: Epoch, step: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds until the first batch, median wait for a later one, and per batch with its step."""
    start = time.perf_counter()
    waits, asked = [], start
    for _inputs in epoch():
        waits.append(time.perf_counter() - asked)
        step()
        asked = time.perf_counter()
    total = asked - start
    return waits[0], statistics.median(waits[1:]), total / len(waits)


def measure(
    path: Path, arguments: argparse.Namespace, cold: bool, step_kind: str
) -> list[dict[str, Any]]:
    """One row for each way of reading, medians over the repetitions."""
    idle = partial(time.sleep, arguments.step)
    step = idle if step_kind == "waiting" else computing(arguments.step)
    ways = Ways(path, arguments.batch_size, arguments.batches, torch.device(arguments.device)).all()
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for round_number in range(1 + arguments.repetitions):
        for name, epoch in ways.items():
            if cold:
                drop_cached_pages(path)
            found = one_epoch(epoch, step)
            if round_number:
                figures[name].append(found)
    rows = []
    for name, found_of_way in figures.items():
        first, later, batch = (1000 * statistics.median(f) for f in zip(*found_of_way, strict=True))
        row = {"frames": path.stem, "cache": "cold" if cold else "warm", "step": step_kind}
        figures_of_row = {"first batch ms": first, "wait ms": later, "batch and step ms": batch}
        rows.append({**row, "way": name, **figures_of_row})
    return rows


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-frames", type=int, nargs="+", default=[126, 501])
    parser.add_argument("--batch-size", type=int, default=30)
    parser.add_argument("--batches", type=int, default=20, help="of an epoch")
    parser.add_argument("--examples", type=int, default=2000, help="of the matrix")
    parser.add_argument("--step", type=float, default=0.1, help="seconds of a training step")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cold", action="store_true", help="measure reading from the disk as well")
    parser.add_argument("--folder", type=Path, help="where the matrix is written for the time")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for num_frames in arguments.num_frames:
            path = write_matrix(Path(folder), num_frames, arguments.examples)
            for cold in (False, True) if arguments.cold else (False,):
                for step_kind in ("waiting", "computing"):
                    rows += measure(path, arguments, cold, step_kind)
    report("data_path", rows, arguments.write)


if __name__ == "__main__":
    main()
