"""Aggregations, distances and their fused forms against plain loops over numpy float64 arrays."""

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from config.errors import UserError
from config.settings import AGGREGATIONS as SETTINGS_AGGREGATIONS
from config.settings import POOL, WITHIN_CLASS, TrainingDefaults
from training.similarity.measures import (
    AGGREGATIONS,
    DISTANCES,
    FUSED_MEASURES,
    aggregate,
    similarity,
    weighted_distance,
    weighted_similarity,
)

Array = NDArray[np.float64]
ALIGNED = [name for name in SETTINGS_AGGREGATIONS if "pairwise" not in name and name != POOL]


def activations(shape: tuple[int, ...] = (3, 4, 5, 6), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two activations as a ReLU leaves them: about a third of the values are 0."""
    generator = torch.Generator().manual_seed(seed)
    current, frozen = torch.randn(2, *shape, generator=generator, dtype=torch.float64) + 0.4
    return current.relu(), frozen.relu()


def loop_gram(x: Array) -> Array:
    batch, channels, frames, bins = x.shape
    result = np.zeros((batch, channels, channels))
    for b in range(batch):
        for i in range(channels):
            for j in range(channels):
                total = 0.0
                for h in range(frames):
                    for w in range(bins):
                        total += x[b, i, h, w] * x[b, j, h, w]
                result[b, i, j] = total / (channels * frames * bins)
    return result


def loop_gram_batch(x: Array) -> Array:
    rows = [x[b, c].ravel() for b in range(x.shape[0]) for c in range(x.shape[1])]
    return np.array([[sum(first * second) / x.size for second in rows] for first in rows])


def loop_over_channels(x: Array, combine: Callable[[list[float]], float]) -> Array:
    batch, _, frames, bins = x.shape
    result = np.zeros((batch, 1, frames, bins))
    for b in range(batch):
        for h in range(frames):
            for w in range(bins):
                result[b, 0, h, w] = combine([float(value) for value in x[b, :, h, w]])
    return result


def loop_aggregate(x: Array, name: str) -> Array:
    if name == "gram":
        return loop_gram(x)
    if name == "gram_batch":
        return loop_gram_batch(x)
    if name == "none":
        return x
    exponent = float(name.removeprefix("mul_comp_")) if name.startswith("mul_comp_") else 1.0
    combine: dict[str, Callable[[list[float]], float]] = {
        "mean": lambda values: sum(values) / len(values),
        "sum": sum,
        "max": max,
    }
    product = lambda values: math.prod((value + 1e-10) ** exponent for value in values)  # noqa: E731
    return loop_over_channels(x, combine.get(name, product))


def loop_cosine(first: Array, second: Array) -> float:
    norms = math.sqrt(sum(first * first)) * math.sqrt(sum(second * second))
    return float(sum(first * second)) / norms if norms else 0.0


def loop_distance(pairs: list[tuple[Array, Array]], distance: str, beta: float = 1.0) -> float:
    """Of pairs of rows along the last axis."""
    if distance == "cos_squared":
        cosines = [abs(loop_cosine(first, second)) for first, second in pairs]
        return beta * (sum(cosines) / len(cosines)) ** 2
    squares = [(float(a) - float(b)) ** 2 for x, y in pairs for a, b in zip(x, y, strict=True)]
    error = sum(squares) / len(squares)
    if distance == "mse_sigmoid":
        return -beta / (1 + math.exp(-error))
    return 1 / (1 + math.exp(beta * error))


def aligned_rows(current: Array, frozen: Array) -> list[tuple[Array, Array]]:
    size = current.shape[-1]
    return list(zip(current.reshape(-1, size), frozen.reshape(-1, size), strict=True))


def rows_of_all_channel_pairs(current: Array, frozen: Array) -> list[tuple[Array, Array]]:
    batch, channels, frames, _ = current.shape
    return [
        (current[b, i, h], frozen[b, j, h])
        for b in range(batch)
        for i in range(channels)
        for j in range(channels)
        for h in range(frames)
    ]


def loop_similarity(current: Tensor, frozen: Tensor, aggregation: str, distance: str) -> float:
    first, second = current.numpy(), frozen.numpy()
    if aggregation == "pairwise":
        return loop_distance(rows_of_all_channel_pairs(first, second), distance)
    rows = aligned_rows(loop_aggregate(first, aggregation), loop_aggregate(second, aggregation))
    return loop_distance(rows, distance)


def test_tables_and_settings_name_the_same_things() -> None:
    assert tuple(AGGREGATIONS) == SETTINGS_AGGREGATIONS
    distances = get_args(TrainingDefaults.model_fields["at_distance"].annotation)
    assert (*DISTANCES, WITHIN_CLASS) == distances


@pytest.mark.parametrize("aggregation", ALIGNED)
def test_aggregations(aggregation: str) -> None:
    current, _ = activations()
    expected = loop_aggregate(current.numpy(), aggregation)
    np.testing.assert_allclose(aggregate(current, aggregation).numpy(), expected, rtol=1e-10)
    single = aggregate(current.float(), aggregation)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=2e-4, atol=1e-30)


@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("aggregation", [*ALIGNED, "pairwise"])
def test_similarity(aggregation: str, distance: str) -> None:
    current, frozen = activations(seed=1)
    expected = loop_similarity(current, frozen, aggregation, distance)
    result = similarity(current, frozen, aggregation, distance)
    assert result.shape == ()
    assert result.dtype == torch.float64
    assert float(result) == pytest.approx(expected, rel=1e-9)
    single = similarity(current.float(), frozen.float(), aggregation, distance)
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(expected, rel=1e-4)


def test_gram_of_two_channels_worked_by_hand() -> None:
    current = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    frozen = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    # grams times 4: [[5, 3], [3, 9]] and [[1, 0], [0, 1]]
    assert aggregate(current).tolist() == [[[1.25, 0.75], [0.75, 2.25]]]
    cosines = [5 / math.sqrt(34), 9 / math.sqrt(90)]
    assert float(similarity(current, frozen)) == pytest.approx((sum(cosines) / 2) ** 2)
    error = ((1.25 - 0.25) ** 2 + 2 * 0.75**2 + (2.25 - 0.25) ** 2) / 4
    result = similarity(current, frozen, distance="mse_sigmoid")
    assert float(result) == pytest.approx(-1 / (1 + math.exp(-error)))


def test_mul_comp_alone_is_the_exponent_001() -> None:
    current, frozen = activations()
    assert similarity(current, frozen, "mul_comp") == similarity(current, frozen, "mul_comp_0.01")


def test_negative_cosines_count_by_their_absolute_value() -> None:
    current, _ = activations()
    signs = torch.tensor([1, -1, -1, 1, -1]).reshape(5, 1)
    assert float(similarity(current, signs * current, "sum")) == pytest.approx(1)


def test_stochastic_pairwise_is_one_of_the_blocks_and_each_comes_up() -> None:
    current, frozen = activations((2, 6, 3, 4))
    blocks = {}
    for start in range(4):
        block = slice(start, start + 3)
        rows = rows_of_all_channel_pairs(current[:, block].numpy(), frozen[:, block].numpy())
        blocks[round(loop_distance(rows, "cos_squared"), 12)] = start
    generator = torch.Generator().manual_seed(0)
    found = [
        round(float(similarity(current, frozen, "stochastic_pairwise", generator=generator)), 12)
        for _ in range(60)
    ]
    assert set(found) == set(blocks)


def test_stochastic_pairwise_of_more_examples_than_channels_takes_one_channel() -> None:
    current, frozen = activations((5, 2, 3, 4))
    rows = [
        loop_distance(rows_of_all_channel_pairs(c.numpy(), f.numpy()), "mse_sigmoid")
        for c, f in ((current[:, i : i + 1], frozen[:, i : i + 1]) for i in range(2))
    ]
    result = similarity(current, frozen, "stochastic_pairwise", "mse_sigmoid")
    assert min(abs(float(result) - row) for row in rows) < 1e-12


def test_stochastic_pairwise_repeats_with_its_generator() -> None:
    current, frozen = activations((2, 16, 3, 4))
    runs = []
    for seed in (1, 1, 2):
        generator = torch.Generator().manual_seed(seed)
        args = (current, frozen, "stochastic_pairwise")
        runs.append([float(similarity(*args, generator=generator)) for _ in range(8)])
    assert runs[0] == runs[1] != runs[2]


def test_only_the_release_mixes_examples() -> None:
    current, frozen = activations()
    alone = [similarity(current[i : i + 1], frozen[i : i + 1]).sqrt() for i in range(3)]
    together = similarity(current, frozen).sqrt()
    assert float(together) == pytest.approx(float(sum(alone)) / 3)
    alone = [similarity(current[i : i + 1], frozen[i : i + 1], "gram_batch").sqrt() for i in (0, 1)]
    together = similarity(current[:2], frozen[:2], "gram_batch").sqrt()
    assert float(together) != pytest.approx(float(sum(alone)) / 2, rel=1e-3)


def test_a_dead_channel_has_cosine_0_and_a_finite_gradient() -> None:
    current, frozen = activations()
    current[0, 1] = 0
    current = current.float().requires_grad_()
    result = similarity(current, frozen.float())
    expected = loop_similarity(current.detach().double(), frozen, "gram", "cos_squared")
    assert float(result.detach()) == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(result, current)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 10


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
def test_shrinking_activations_does_not_lower_the_similarity(scale: float) -> None:
    current, frozen = (values.float() for values in activations())
    expected = similarity(current, frozen)
    assert torch.allclose(similarity(scale * current, frozen), expected, rtol=1e-4)


@pytest.mark.parametrize("aggregation", ["gram", "gram_batch", "none", "pairwise", "mul_comp_0.1"])
@pytest.mark.parametrize("distance", list(DISTANCES))
def test_gradients(aggregation: str, distance: str) -> None:
    generator = torch.Generator().manual_seed(3)
    current, frozen = torch.rand(2, 2, 3, 2, 3, generator=generator, dtype=torch.float64) + 0.1
    current.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: similarity(values, frozen, aggregation, distance), current
    )


def test_beta_multiplies_but_in_invorder_it_stands_inside() -> None:
    current, frozen = activations()
    grams = aggregate(current), aggregate(frozen)
    rows = aligned_rows(loop_gram(current.numpy()), loop_gram(frozen.numpy()))
    for distance in DISTANCES:
        term = weighted_distance(*grams, "gram", distance, beta=2.5)
        assert float(term) == pytest.approx(loop_distance(rows, distance, beta=2.5))


@pytest.mark.parametrize("aggregation", ["gram", "gram_batch", "none", "pairwise", "sum"])
def test_float32_under_autocast(aggregation: str) -> None:
    current, frozen = (values.bfloat16() for values in activations())
    with torch.autocast("cpu", torch.bfloat16):
        result = similarity(current, frozen, aggregation)
    assert result.dtype == torch.float32
    expected = loop_similarity(current.double(), frozen.double(), aggregation, "cos_squared")
    assert float(result) == pytest.approx(expected, rel=1e-5)


def test_fused_pairs_are_in_the_tables_and_the_published_one_is_fused() -> None:
    assert ("gram", "cos_squared") in FUSED_MEASURES
    for aggregation, distance in FUSED_MEASURES:
        assert aggregation in AGGREGATIONS
        assert distance in DISTANCES


@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("aggregation", [*ALIGNED, "pairwise", "stochastic_pairwise", "mul_comp"])
def test_from_an_activation_as_from_its_aggregate(aggregation: str, distance: str) -> None:
    current, frozen = activations(seed=2)
    current.requires_grad_()
    other = aggregate(frozen, aggregation)
    found, expected = (
        function(
            values, other, aggregation, distance, 2.5, generator=torch.Generator().manual_seed(7)
        )
        for function, values in (
            (weighted_similarity, current),
            (weighted_distance, aggregate(current, aggregation)),
        )
    )
    assert torch.allclose(found, expected, rtol=1e-12)
    (gradient,) = torch.autograd.grad(found, current)
    assert torch.allclose(gradient, torch.autograd.grad(expected, current)[0], rtol=1e-9)


@pytest.mark.parametrize("aggregation", ["gram", "mean", "none"])
def test_the_frozen_side_is_a_constant(aggregation: str) -> None:
    current, frozen = (values.requires_grad_() for values in activations())
    torch.autograd.backward(similarity(current, frozen, aggregation))
    assert current.grad is not None
    assert frozen.grad is None


def test_wrong_arguments_are_named() -> None:
    current, frozen = activations()
    with pytest.raises(ValueError, match=r"current \(3, 4, 5, 6\), frozen \(3, 4, 5, 5\)"):
        similarity(current, frozen[..., :5])
    with pytest.raises(ValueError, match=r"must be \(batch, channels, frames, bins\), not \(4,"):
        similarity(current[0], frozen[0])
    with pytest.raises(ValueError, match="'grams' is not one of gram, gram_batch"):
        similarity(current, frozen, "grams")
    with pytest.raises(ValueError, match="'cosine' is not one of cos_squared"):
        similarity(current, frozen, distance="cosine")
    with pytest.raises(ValueError, match="aggregates differ in shape"):
        weighted_distance(current, frozen[:2], "none", "cos_squared")
    with pytest.raises(ValueError, match="'grams' is not one of gram, gram_batch"):
        weighted_similarity(current, aggregate(frozen), "grams", "cos_squared")
    with pytest.raises(UserError, match=r"at_aggregation = mul_comp_0\.05: an activation is -1"):
        similarity(current - 1, frozen, "mul_comp_0.05")
