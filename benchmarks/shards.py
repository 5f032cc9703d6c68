"""Seconds that random batches take from one file, and from shards of the same examples.

Cold figures include the opening of all files; a training opens them once.

python -m benchmarks.shards --shards 4 16 64 --cold
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.data_path import NORMALIZATION, drop_cached_pages, write_matrix
from benchmarks.measuring import interleaved, median_ratio, report
from preprocessing.pipeline.shards import Examples, Predictors, ShardedExamples
from training.data.batches import ExampleSet

ONE = "one file"


def divide(path: Path, num_shards: int) -> list[Path]:
    """Copy a matrix into files of equal length, or nearly so."""
    folder = path.with_suffix(f".{num_shards}")
    folder.mkdir()
    whole = np.load(path, mmap_mode="r")
    paths = [folder / f"{number:05}.npy" for number in range(num_shards)]
    for shard, rows in zip(paths, np.array_split(np.arange(len(whole)), num_shards), strict=True):
        np.save(shard, whole[rows[0] : rows[-1] + 1])
    return paths


def opened(paths: list[Path]) -> Predictors:
    """One memory map, or shards, as open_matrices gives them."""

    def open_shard(number: int) -> Examples:
        shard: Examples = np.lib.format.open_memmap(paths[number], mode="r")
        return shard

    if len(paths) == 1:
        return open_shard(0)
    shapes = [open_shard(number).shape for number in range(len(paths))]
    return ShardedExamples([shape[0] for shape in shapes], shapes[0][1:], open_shard)


def from_the_disk(paths: list[Path]) -> Predictors:
    """Opened anew, after what the system remembers of the files is gone."""
    for path in paths:
        drop_cached_pages(path)
    return opened(paths)


def read_batches(open_them: Callable[[], Predictors], batch_size: int, num_batches: int) -> None:
    """Some batches of an epoch in random order, as training/data/batches.py reads them."""
    predictors = open_them()
    rows = torch.randperm(len(predictors)).numpy()[: batch_size * num_batches]
    with mock.patch("training.data.batches.RESIDENT_SHARE", 0):
        target = np.zeros(len(predictors), dtype=np.int64)
        examples = ExampleSet(predictors, target, rows, NORMALIZATION, torch.device("cpu"))
    for _ in examples.batches(batch_size):
        pass


def measure(layouts: dict[str, list[Path]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each layout and state of the cache, medians over the repetitions."""
    rows = []
    # Cold first: what is mapped stays in memory.
    for cold in (True, False) if arguments.cold else (False,):
        subjects: dict[str, Callable[[], object]] = {}
        for name, paths in layouts.items():
            open_them = partial(from_the_disk, paths) if cold else cache(partial(opened, paths))
            subjects[name] = partial(
                read_batches, open_them, arguments.batch_size, arguments.batches
            )
        times = interleaved(subjects, arguments.repetitions)
        for name, found in times.items():
            milliseconds = 1000 * statistics.median(found) / arguments.batches
            ratio = median_ratio(times, name, ONE)
            state = "cold" if cold else "warm"
            rows.append({"layout": name, "cache": state, "ms/batch": milliseconds, "ratio": ratio})
    return rows


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--num-frames", type=int, default=126)
    parser.add_argument("--batch-size", type=int, default=30)
    parser.add_argument("--batches", type=int, default=40, help="of an epoch")
    parser.add_argument("--examples", type=int, default=2000, help="of the matrix")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--cold", action="store_true", help="measure reading from the disk as well")
    parser.add_argument("--folder", type=Path, help="where the matrix is written for the time")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = write_matrix(Path(folder), arguments.num_frames, arguments.examples)
        layouts = {ONE: [path]}
        for num_shards in arguments.shards:
            layouts[f"{num_shards} shards"] = divide(path, num_shards)
        rows = measure(layouts, arguments)
    report("shards", rows, arguments.write)


if __name__ == "__main__":
    main()
