"""Batches: normalisation, random offsets, the order; in memory and read ahead from the disk."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch

from config.errors import UserError
from training.data.batches import (
    ExampleSet,
    Normalization,
    training_statistics,
)

if TYPE_CHECKING:
    from tests.conftest import Examples

CPU = torch.device("cpu")
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda", 0),
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    ),
]
UNCHANGED = Normalization(0.0, 1.0)


def numbered(num_examples: int, num_frames: int = 6, num_bins: int = 4) -> npt.NDArray[np.float32]:
    """Every value is another one; the integer part of an example's first value is its number."""
    size = num_examples * num_frames * num_bins
    values = np.arange(size, dtype=np.float32).reshape(num_examples, num_frames, num_bins)
    return values


def set_of(
    predictors: npt.NDArray[np.float32],
    rows: list[int] | None = None,
    normalization: Normalization = UNCHANGED,
    num_frames: list[int] | None = None,
    random_offset: bool = False,
) -> ExampleSet:
    return ExampleSet(
        predictors,
        np.arange(len(predictors), dtype=np.int64),
        np.array(rows if rows is not None else range(len(predictors)), dtype=np.int64),
        normalization,
        CPU,
        None if num_frames is None else np.array(num_frames, dtype=np.int64),
        random_offset,
    )


Pair = tuple[ExampleSet, ExampleSet]


def resident_and_mapped(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    predictors: npt.NDArray[np.float32],
    rows: list[int],
    device: torch.device = CPU,
    num_frames: npt.NDArray[np.int64] | None = None,
) -> Pair:
    """The same set on the device, and in a file's memory map."""
    np.save(path, predictors)
    target = np.arange(100, 100 + len(predictors), dtype=np.int64)
    members, moved = np.array(rows, dtype=np.int64), num_frames is not None
    common = (target, members, Normalization(0.2, 0.7), device, num_frames, moved)
    resident = ExampleSet(predictors, *common)
    with monkeypatch.context() as patch:
        patch.setattr("training.data.batches.has_room", lambda *_: False)
        mapped = ExampleSet(np.load(path, mmap_mode="r"), *common)
    assert resident._resident is not None and mapped._resident is None
    return resident, mapped


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ExampleSet:
    """A set of nine examples in a file."""
    path, rows = tmp_path / "a.npy", [*range(2, 11)]
    return resident_and_mapped(monkeypatch, path, numbered(12), rows)[1]


def epoch(
    examples: ExampleSet, batch_size: int, seed: int
) -> tuple[list[list[int]], npt.NDArray[np.float32]]:
    """Labels of each batch, and all inputs in the order of the labels."""
    generator = torch.Generator().manual_seed(seed)
    batches = list(examples.training_batches(batch_size, True, generator))
    inputs = torch.cat([batch.inputs for batch in batches])[:, 0]
    order = torch.cat([batch.labels for batch in batches]).argsort()
    return [batch.labels.tolist() for batch in batches], inputs[order].numpy()


@pytest.mark.parametrize("num_rows", [1, 512, 1300])
def test_statistics_are_numpys_over_the_training_rows(num_rows: int) -> None:
    generator = np.random.default_rng(num_rows)
    # Far from 0 and drifting, so that a mean over chunks of unequal size would show.
    scale = np.linspace(1, 5, 1500)[:, None, None]
    predictors = (30 + scale * generator.standard_normal((1500, 5, 3))).astype(np.float32)
    rows = generator.permutation(1500)[:num_rows].astype(np.int64)
    found = training_statistics(predictors, rows)
    chosen = predictors[rows].astype(np.float64)
    assert found.mean == pytest.approx(chosen.mean(), rel=1e-12)
    assert found.std == pytest.approx(chosen.std(), rel=1e-10)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("value", [0.25, np.nan, np.inf])
def test_statistics_of_a_set_that_cannot_be_normalised(value: float) -> None:
    predictors = np.full((4, 5, 3), value, dtype=np.float32)
    with pytest.raises(UserError, match="all the same, or not finite"):
        training_statistics(predictors, np.arange(4))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("moved", [False, True])
def test_examples_read_from_the_disk_are_those_that_lie_in_memory(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bands: "Examples",
    device: torch.device,
    moved: bool,
) -> None:
    rows = np.random.default_rng(0).permutation(60)[:33].tolist()
    num_frames = bands.num_frames if moved else None
    sets = resident_and_mapped(
        monkeypatch, tmp_path / "a.npy", bands.predictors, rows, device, num_frames
    )
    generators = [torch.Generator().manual_seed(4) for _ in sets]
    for _ in range(2):
        epochs = [
            each.training_batches(5, True, generator)
            for each, generator in zip(sets, generators, strict=True)
        ]
        for first, second in zip(*epochs, strict=True):
            assert first.inputs.device == second.inputs.device == first.labels.device
            assert torch.equal(first.inputs, second.inputs)
            assert torch.equal(first.labels, second.labels)
            assert torch.equal(first.rows, second.rows)
    states = [generator.get_state() for generator in generators]
    assert torch.equal(*states)


def open_files_and_threads() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_threads_and_files_are_gone_when_an_epoch_ends_early(mapped: ExampleSet) -> None:
    before = open_files_and_threads()
    for _ in range(20):
        next(mapped.batches(2))
    assert open_files_and_threads() == before


def test_an_epoch_holds_every_example_once_in_an_order_of_its_generator() -> None:
    examples = set_of(numbered(23))
    first, inputs = epoch(examples, 5, seed=1)
    assert [len(labels) for labels in first] == [5, 5, 5, 5, 3]
    order = [label for labels in first for label in labels]
    assert order != sorted(order) == list(range(23))
    np.testing.assert_array_equal(inputs, numbered(23))
    assert epoch(examples, 5, seed=1)[0] == first
    assert epoch(examples, 5, seed=2)[0] != first


def test_padding_counts_in_no_statistics_and_is_the_mean() -> None:
    """Of 1, 3 and 5, 5, 7, 3 without padding: mean 4, squared differences 9 1 1 1 9 1, over 6."""
    predictors = np.array(
        [[[1, 3], [0, 0], [0, 0]], [[9, 9], [9, 9], [9, 9]], [[5, 5], [7, 3], [0, 0]]], np.float32
    )
    num_frames = np.array([1, 3, 2])
    found = training_statistics(predictors, np.array([2, 0]), num_frames)
    assert (found.mean, found.std) == pytest.approx((4, (22 / 6) ** 0.5))
    examples = set_of(predictors, [2, 0], Normalization(4, 2), num_frames.tolist())
    (batch,) = examples.batches(2)
    assert batch.inputs[:, 0].tolist() == [
        [[0.5, 0.5], [1.5, -0.5], [0, 0]],
        [[-1.5, -0.5], [0, 0], [0, 0]],
    ]
    generator = torch.Generator()
    (batch,) = examples.training_batches(2, False, generator)
    assert batch.inputs[1, 0, 0].tolist() == [-1.5, -0.5], "it stands at the start"
    (batch,) = set_of(predictors, [2, 0], Normalization(4, 2)).batches(2)
    assert batch.inputs[1, 0, 1:].tolist() == [[-2, -2], [-2, -2]], "padding is as all else"


def test_random_offsets_stay_within_the_padding_and_lose_nothing() -> None:
    length, num_frames = 12, [12, 11, 9, 6, 1, 9]
    values = 3 + numbered(6, length)  # none of them is 0 after normalisation
    examples = set_of(values, None, Normalization(2.0, 4.0), num_frames, random_offset=True)
    seen: list[set[int]] = [set() for _ in num_frames]
    pairs: set[tuple[int, ...]] = set()  # offsets of two examples of one length in one batch
    for seed in range(100):
        _, inputs = epoch(examples, 6, seed)
        pairs.add(tuple(int(np.flatnonzero(inputs[n].any(axis=1))[0]) for n in (2, 5)))
        for number, frames in enumerate(num_frames):
            content = (values[number, :frames] - 2.0) / 4.0
            first = int(np.flatnonzero(inputs[number].any(axis=1))[0])
            np.testing.assert_array_equal(inputs[number, first : first + frames], content)
            assert not inputs[number, :first].any()
            assert not inputs[number, first + frames :].any()
            seen[number].add(first)
    assert seen == [set(range(length - frames + 1)) for frames in num_frames]
    assert any(first != second for first, second in pairs)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "sizes"),
    [(7, 3, [3, 4]), (8, 3, [3, 3, 2]), (6, 3, [3, 3]), (1, 3, [1]), (2, 1, [2])],
)
def test_no_example_is_alone_where_batches_are_normalised(
    num_examples: int, batch_size: int, sizes: list[int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    examples = set_of(numbered(num_examples))
    batches = [*examples.training_batches(batch_size, True, generator, none_alone=True)]
    assert [len(batch.rows) for batch in batches] == sizes
    rows = torch.cat([batch.rows for batch in batches])
    assert sorted(rows.tolist()) == list(range(num_examples))
