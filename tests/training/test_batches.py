"""Batches: normalisation by the training set, random offsets that lose nothing, the order."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch

from training.batches import ExampleSet, Normalization, training_statistics

if TYPE_CHECKING:
    from tests.conftest import Examples

CPU = torch.device("cpu")
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
    free_frames: list[int] | None = None,
) -> ExampleSet:
    return ExampleSet(
        predictors,
        np.arange(len(predictors), dtype=np.int64),
        np.array(rows if rows is not None else range(len(predictors)), dtype=np.int64),
        normalization,
        CPU,
        None if free_frames is None else np.array(free_frames, dtype=np.int64),
    )


def epoch(
    examples: ExampleSet, batch_size: int, seed: int, shuffle: bool = True
) -> tuple[list[list[int]], npt.NDArray[np.float32]]:
    """Labels of each batch, and all inputs in the order of the labels."""
    generator = torch.Generator().manual_seed(seed)
    batches = list(examples.training_batches(batch_size, shuffle, generator))
    inputs = torch.cat([batch.inputs for batch in batches])[:, 0]
    order = torch.cat([batch.labels for batch in batches]).argsort()
    return [batch.labels.tolist() for batch in batches], inputs[order].numpy()


@pytest.mark.parametrize("num_rows", [1, 511, 512, 513, 1300])
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
    with pytest.raises(ValueError, match="all the same, or not finite"):
        training_statistics(predictors, np.arange(4))


def test_all_sets_are_normalised_by_the_same_statistics(bands: "Examples") -> None:
    training, other = np.arange(40), np.arange(40, 60)
    normalization = training_statistics(bands.predictors, training)
    mean, std = bands.predictors[:40].mean(dtype=float), bands.predictors[:40].std(dtype=float)
    for rows in (training, other):
        examples = ExampleSet(bands.predictors, bands.target, rows, normalization, CPU)
        inputs = torch.cat([batch.inputs for batch in examples.batches(7)])
        expected = (bands.predictors[rows] - mean) / std
        assert inputs.shape == (len(rows), 1, 40, 33)
        assert inputs.dtype == torch.float32
        np.testing.assert_allclose(inputs[:, 0], expected, rtol=1e-4, atol=1e-5)
    training_inputs = (bands.predictors[:40] - normalization.mean) / normalization.std
    assert training_inputs.mean(dtype=float) == pytest.approx(0, abs=1e-5)
    assert training_inputs.std(dtype=float) == pytest.approx(1, abs=1e-5)


def test_batches_keep_the_stored_order_and_every_example() -> None:
    rows = [7, 2, 5, 0, 9]
    batches = list(set_of(numbered(10), rows).batches(2))
    assert [batch.labels.tolist() for batch in batches] == [[7, 2], [5, 0], [9]]
    inputs = torch.cat([batch.inputs for batch in batches])[:, 0]
    np.testing.assert_array_equal(inputs, numbered(10)[rows])


def test_examples_read_from_the_disk_are_those_that_lie_in_memory(
    monkeypatch: pytest.MonkeyPatch, bands: "Examples"
) -> None:
    normalization = Normalization(0.2, 0.7)
    rows = np.array([3, 50, 1, 44, 20])
    resident = ExampleSet(bands.predictors, bands.target, rows, normalization, CPU)
    monkeypatch.setattr("training.batches.RESIDENT_SHARE", 0)
    streamed = ExampleSet(bands.predictors, bands.target, rows, normalization, CPU)
    assert resident._resident is not None
    assert streamed._resident is None
    for seed in range(2):
        pairs = zip(
            resident.training_batches(2, True, torch.Generator().manual_seed(seed)),
            streamed.training_batches(2, True, torch.Generator().manual_seed(seed)),
            strict=True,
        )
        for first, second in pairs:
            assert torch.equal(first.inputs, second.inputs)
            assert torch.equal(first.labels, second.labels)


def test_a_set_leaves_the_matrices_as_they_are(bands: "Examples") -> None:
    before = bands.predictors.copy()
    examples = ExampleSet(
        bands.predictors, bands.target, np.arange(60), Normalization(5.0, 3.0), CPU
    )
    list(examples.batches(10))
    np.testing.assert_array_equal(bands.predictors, before)


def test_an_epoch_holds_every_example_once_in_an_order_of_its_generator() -> None:
    examples = set_of(numbered(23))
    first, inputs = epoch(examples, 5, seed=1)
    assert [len(labels) for labels in first] == [5, 5, 5, 5, 3]
    order = [label for labels in first for label in labels]
    assert order != sorted(order) == list(range(23))
    np.testing.assert_array_equal(inputs, numbered(23))
    assert epoch(examples, 5, seed=1)[0] == first
    assert epoch(examples, 5, seed=2)[0] != first


def test_epochs_of_one_generator_differ_in_their_order() -> None:
    examples, generator = set_of(numbered(23)), torch.Generator().manual_seed(3)
    orders = [
        [batch.labels.tolist() for batch in examples.training_batches(5, True, generator)]
        for _ in range(2)
    ]
    assert orders[0] != orders[1]


def test_without_shuffling_an_epoch_has_the_stored_order() -> None:
    labels, _ = epoch(set_of(numbered(11)), 4, seed=1, shuffle=False)
    assert labels == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_drawing_an_epoch_leaves_torchs_own_random_state_alone() -> None:
    state = torch.get_rng_state()
    epoch(set_of(numbered(11), free_frames=[2] * 11), 4, seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def padded(num_examples: int, num_frames: int, free: list[int]) -> npt.NDArray[np.float32]:
    """Examples without a zero in them, then as many frames of zeros as are free."""
    values = 1 + numbered(num_examples, num_frames)
    for number, frames in enumerate(free):
        values[number, num_frames - frames :] = 0
    return values


def test_random_offsets_stay_within_the_free_frames_and_lose_nothing() -> None:
    num_frames, free = 12, [0, 1, 3, 6, 11, 3]
    values = padded(6, num_frames, free)
    normalization = Normalization(2.0, 4.0)
    zero = (0 - 2.0) / 4.0
    examples = set_of(values, normalization=normalization, free_frames=free)
    seen: list[set[int]] = [set() for _ in free]
    for seed in range(200):
        _, inputs = epoch(examples, 4, seed)
        for number, frames in enumerate(free):
            content = (values[number, : num_frames - frames] - 2.0) / 4.0
            first = int(np.flatnonzero((inputs[number] != zero).any(axis=1))[0])
            last = first + num_frames - frames
            np.testing.assert_array_equal(inputs[number, first:last], content)
            assert (inputs[number, :first] == zero).all()
            assert (inputs[number, last:] == zero).all()
            seen[number].add(first)
    assert seen == [set(range(frames + 1)) for frames in free]


def test_offsets_are_drawn_anew_in_each_epoch_and_for_each_example() -> None:
    free = [8] * 20
    examples = set_of(padded(20, 12, free), free_frames=free)
    generator = torch.Generator().manual_seed(0)
    starts = []
    for _ in range(2):
        batches = list(examples.training_batches(20, False, generator))
        inputs = batches[0].inputs[:, 0]
        starts.append([int((example != 0).any(dim=1).nonzero()[0]) for example in inputs])
    assert starts[0] != starts[1]
    assert len(set(starts[0])) > 3


def test_only_training_batches_are_moved() -> None:
    free = [8] * 5
    values = padded(5, 12, free)
    batch = next(set_of(values, free_frames=free).batches(5))
    np.testing.assert_array_equal(batch.inputs[:, 0], values)


def test_free_frames_belong_to_the_rows_of_the_set() -> None:
    free = [0, 8, 0, 8]
    values = padded(4, 12, free)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        examples = set_of(values, rows=[2, 0], free_frames=free)
        batch = next(examples.training_batches(2, False, generator))
        np.testing.assert_array_equal(batch.inputs[:, 0], values[[2, 0]])
