"""Training from shards: the same batches, to the bit, as from one file, and no more memory."""

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from preprocessing.pipeline.layout import lay_out
from preprocessing.pipeline.matrices import open_matrices
from preprocessing.pipeline.shards import Predictors, ShardedExamples
from training.data.batches import ExampleSet, Normalization, training_statistics
from training.engine.folds import load_fold
from training.models.weights import load_weights

if TYPE_CHECKING:
    from tests.conftest import Suite

CPU = torch.device("cpu")
NAME = "tiny_spectrum_fast"
EXAMPLE_BYTES = 40 * 33 * 4
ROWS = np.random.default_rng(0).permutation(60)[:47].astype(np.int64)
Pair = tuple[npt.NDArray[np.float32], ShardedExamples]


def divide(suite: "Suite", num_examples: int) -> ShardedExamples:
    """Put a suite's matrices into shards of so many examples."""
    lay_out(suite.matrices, NAME, (num_examples * EXAMPLE_BYTES + 200) / 1e9)
    predictors = open_matrices(suite.matrices, NAME).predictors
    assert isinstance(predictors, ShardedExamples)
    return predictors


@pytest.fixture
def pair(suite: "Suite") -> Pair:
    """The same 60 examples in one file, and in shards of 7."""
    suite.write_matrices()
    whole = np.load(suite.matrices / f"{NAME}_predictors.npy", mmap_mode="r")
    shards = divide(suite, 7)
    assert len(list(suite.matrices.glob("*_predictors_*.npy"))) == 9
    return whole, shards


def set_of(predictors: Predictors, free_frames: npt.NDArray[np.int64] | None = None) -> ExampleSet:
    target = np.arange(60, dtype=np.int64)
    return ExampleSet(predictors, target, ROWS, Normalization(0.2, 0.7), CPU, free_frames)


def epochs(examples: ExampleSet) -> Iterator[torch.Tensor]:
    """Inputs and rows of two epochs in new orders, then in the stored one."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(2):
        for batch in examples.training_batches(5, True, generator):
            yield from (batch.inputs, batch.rows, batch.labels)
    for batch in examples.batches(8):
        yield batch.inputs


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("moved", [True, False])
def test_the_batches_are_the_same_to_the_bit(
    pair: Pair, resident: bool, moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not resident:
        monkeypatch.setattr("training.data.batches.RESIDENT_SHARE", 0)
    free = np.full(60, 5, dtype=np.int64) if moved else None
    sets = [set_of(predictors, free) for predictors in pair]
    assert [each.is_resident for each in sets] == [resident] * 2
    for one, other in zip(*map(epochs, sets), strict=True):
        assert torch.equal(one, other)


def test_the_statistics_are_the_same_to_the_bit(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.batches.CHUNK_BYTES", 10 * EXAMPLE_BYTES)
    one, other = (training_statistics(predictors, ROWS) for predictors in pair)
    assert one == other


def test_the_disk_is_asked_for_each_example_where_it_lies(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def note(file: int, place: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        asked.append(os.pread(file, length, place))

    monkeypatch.setattr("training.data.batches.RESIDENT_SHARE", 0)
    monkeypatch.setattr("training.data.batches.os.posix_fadvise", note)
    next(iter(set_of(pair[1]).batches(47)))
    expected = {pair[0][row].tobytes() for row in ROWS}
    assert len(asked) == len(ROWS)
    assert set(asked) == expected


def test_memory_does_not_grow_with_the_shards(suite: "Suite", tmp_path: Path) -> None:
    """24 MB in shards of 1 MB: what is held at a time is a few batches."""
    shape, count = (64, 64), 64
    for number in range(24):
        np.save(tmp_path / f"{number}.npy", np.ones((count, *shape), dtype=np.float32))
    predictors = ShardedExamples(
        [count] * 24, shape, lambda number: np.load(tmp_path / f"{number}.npy", mmap_mode="r")
    )
    rows = np.random.default_rng(1).permutation(24 * count)
    tracemalloc.start()
    try:
        for batch in np.split(rows, 64):
            predictors.take(batch)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_training_is_the_same_from_shards(
    suite: "Suite", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.batches.RESIDENT_SHARE", 0)
    suite.write_matrices()
    suite.write_experiment(1)
    suite.run(1)
    expected = load_weights(suite.files(1).model(0))
    before = open_matrices(suite.matrices, NAME)
    shards = divide(suite, 11)
    assert open_matrices(suite.matrices, NAME).fingerprint == before.fingerprint
    suite.files(1).model(0).unlink()
    read: list[int] = []
    original = ShardedExamples.take

    def take(self: ShardedExamples, *arguments: Any, **options: Any) -> Any:
        read.append(len(shards))
        return original(self, *arguments, **options)

    monkeypatch.setattr(ShardedExamples, "take", take)
    suite.run(1)
    assert read
    found = load_weights(suite.files(1).model(0))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_fold_is_another_when_one_of_its_shards_has_changed(suite: "Suite") -> None:
    suite.write_matrices()
    divide(suite, 20)
    fingerprints = []
    for _ in range(3):
        matrices = open_matrices(suite.matrices, NAME)
        (split,) = matrices.folds((0.7, 0.2, 0.1), 1)
        fingerprints.append(load_fold(matrices, split, CPU, random_offset=False).fingerprint)
        if len(fingerprints) == 2:
            os.utime(suite.matrices / f"{NAME}_predictors_00001.npy", ns=(5, 5))
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
