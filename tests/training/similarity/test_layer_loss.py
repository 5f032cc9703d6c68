"""The similarity term of a layer against plain loops over numpy float64 arrays."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from config.errors import UserError
from training.similarity.aggregations import AGGREGATIONS, aggregation
from training.similarity.distances import DISTANCES, Distance
from training.similarity.layer_loss import aggregate, layer_loss

Array = NDArray[np.float64]
PUBLISHED = ("cos_squared", "mse_sigmoid", "mse_sigmoid_invorder")
POWERS = ("mul_comp_0.001", "mul_comp_0.1")
ALIGNED = ("gram", "gram_batch", "mean", "sum", "max", "mul", "none", *POWERS)


def activations(shape: tuple[int, ...] = (3, 4, 5, 6), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two activations as a ReLU leaves them: about a third of the values are 0."""
    generator = torch.Generator().manual_seed(seed)
    current, frozen = torch.randn(2, *shape, generator=generator, dtype=torch.float64) + 0.4
    return current.relu(), frozen.relu()


def loop_gram(x: Array) -> Array:
    batch, channels = x.shape[:2]
    result = np.zeros((batch, channels, channels))
    for b in range(batch):
        for i in range(channels):
            for j in range(channels):
                result[b, i, j] = sum((x[b, i] * x[b, j]).ravel()) / x[b].size
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
    """Of pairs of rows."""
    if distance == "cos_squared":
        cosines = [abs(loop_cosine(first, second)) for first, second in pairs]
        return beta * (sum(cosines) / len(cosines)) ** 2
    squares = [(float(a) - float(b)) ** 2 for x, y in pairs for a, b in zip(x, y, strict=True)]
    error = sum(squares) / len(squares)
    if distance == "mse_sigmoid":
        return -beta / (1 + math.exp(-error))
    return 1 / (1 + math.exp(beta * error))


def aligned_rows(current: Array, frozen: Array) -> list[tuple[Array, Array]]:
    """Rows of Gram matrices; of maps, all frames and bins of an example's channel are one row."""
    size = current.shape[-1] if current.ndim < 4 else current.shape[-2] * current.shape[-1]
    return list(zip(current.reshape(-1, size), frozen.reshape(-1, size), strict=True))


def rows_of_all_channel_pairs(current: Array, frozen: Array) -> list[tuple[Array, Array]]:
    batch, channels = current.shape[:2]
    return [
        (current[b, i].ravel(), frozen[b, j].ravel())
        for b in range(batch)
        for i in range(channels)
        for j in range(frozen.shape[1])
    ]


def loop_loss(current: Tensor, frozen: Tensor, name: str, distance: str, beta: float) -> float:
    first, second = current.numpy(), frozen.numpy()
    if name == "pairwise":
        return loop_distance(rows_of_all_channel_pairs(first, second), distance, beta)
    rows = aligned_rows(loop_aggregate(first, name), loop_aggregate(second, name))
    return loop_distance(rows, distance, beta)


def compared(
    current: Tensor,
    frozen: Tensor,
    name: str = "gram",
    distance: str = "cos_squared",
    generator: torch.Generator | None = None,
) -> Tensor:
    """The term of two activations."""
    return layer_loss(current, aggregate(frozen, name), name, distance, generator=generator)


@pytest.mark.parametrize("distance", PUBLISHED)
@pytest.mark.parametrize("name", [*ALIGNED, "pairwise"])
def test_each_aggregation_with_each_distance(name: str, distance: str) -> None:
    current, frozen = activations(seed=1)
    for beta in (1.0, 2.5):
        expected = loop_loss(current, frozen, name, distance, beta)
        found = layer_loss(current, aggregate(frozen, name), name, distance, beta)
        assert found.dtype == torch.float64
        assert float(found) == pytest.approx(expected, rel=1e-9)
        single = layer_loss(current.float(), aggregate(frozen.float(), name), name, distance, beta)
        assert single.dtype == torch.float32
        assert float(single) == pytest.approx(expected, rel=1e-4)


def test_gram_of_two_channels_worked_by_hand() -> None:
    current = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    frozen = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    # grams times 4: [[5, 3], [3, 9]] and [[1, 0], [0, 1]]
    assert aggregate(current).tolist() == [[[1.25, 0.75], [0.75, 2.25]]]
    cosines = [5 / math.sqrt(34), 9 / math.sqrt(90)]
    assert float(compared(current, frozen)) == pytest.approx((sum(cosines) / 2) ** 2)
    error = ((1.25 - 0.25) ** 2 + 2 * 0.75**2 + (2.25 - 0.25) ** 2) / 4
    found = compared(current, frozen, "gram", "mse_sigmoid")
    assert float(found) == pytest.approx(-1 / (1 + math.exp(-error)))


def test_the_released_pairwise_cosine_worked_by_hand() -> None:
    """Channels (1, 2), (3, 0) with (0, 1), (1, 0): cosines 2 / sqrt(5), 1 / sqrt(5), 0 and 1."""
    current = torch.tensor([[[[1.0], [2.0]], [[3.0], [0.0]]]])
    frozen = torch.tensor([[[[0.0], [1.0]], [[1.0], [0.0]]]])
    expected = ((3 / math.sqrt(5) + 1) / 4) ** 2
    name = "pairwise_cos_squared"
    for names in (("none", name), ("pairwise", name), (name, "cos_squared"), (name, name)):
        assert float(compared(current, frozen, *names)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="is aggregation pairwise with distance cos_squared, not"):
        compared(current, frozen, "mean", name)


def test_released_names_of_powers() -> None:
    """Three channels at one place: (2 * 3 * 4) to the power."""
    activation = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64).view(1, 3, 1, 1)
    exponents = {"mul_comp": 0.001, "mul_comp001": 0.001, "mul_comp005": 0.005}
    exponents |= {"mul_comp01": 0.01, "mul_comp05": 0.05, "mul_comp1": 0.1}
    for name, exponent in exponents.items():
        assert float(aggregate(activation, name)) == pytest.approx(24**exponent, rel=1e-8)


def test_maps_are_compared_whole_worked_by_hand() -> None:
    """Frames (1, 2), (2, 0) of one channel with (2, 1), (0, 4): (2 + 2) / (3 sqrt(21)).

    Frame by frame it would be (4/5 + 0) / 2.
    """
    current = torch.tensor([[[[1.0, 2.0], [2.0, 0.0]]]])
    frozen = torch.tensor([[[[2.0, 1.0], [0.0, 4.0]]]])
    cosine = 4 / (3 * math.sqrt(21))
    for name in ("mean", "sum", "max", "none", "pairwise", "stochastic_pairwise"):
        assert float(compared(current, frozen, name)) == pytest.approx(cosine**2)
    # Of a product over one channel nothing but 1e-10 is added.
    assert float(compared(current, frozen, "mul")) == pytest.approx(cosine**2)
    powers = [
        [(value + 1e-10) ** 0.1 for value in values] for values in ([1, 2, 2, 0], [2, 1, 0, 4])
    ]
    cosine = loop_cosine(*map(np.array, powers))
    assert float(compared(current, frozen, "mul_comp_0.1")) == pytest.approx(cosine**2)


def test_stochastic_pairwise_is_one_of_the_blocks_and_each_comes_up() -> None:
    current, frozen = activations((2, 6, 3, 4))
    blocks = set()
    for start in range(4):  # 6 channels / 2 examples: blocks of 3
        block = slice(start, start + 3)
        rows = rows_of_all_channel_pairs(current[:, block].numpy(), frozen[:, block].numpy())
        blocks.add(round(loop_distance(rows, "cos_squared"), 12))
    runs: list[list[float]] = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        runs.append([])
        for _ in range(60):
            drawn = compared(current, frozen, "stochastic_pairwise", generator=generator)
            runs[-1].append(round(float(drawn), 12))
    assert set(runs[0]) == blocks
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("distance", PUBLISHED)
@pytest.mark.parametrize("name", ["gram", "gram_batch", "none", "pairwise", "mul_comp_0.1"])
def test_gradients_are_those_of_finite_differences(name: str, distance: str) -> None:
    generator = torch.Generator().manual_seed(3)
    current, frozen = torch.rand(2, 2, 3, 2, 3, generator=generator, dtype=torch.float64) + 0.1
    other = aggregate(frozen, name)
    assert torch.autograd.gradcheck(
        lambda values: layer_loss(values, other, name, distance), current.requires_grad_()
    )


@pytest.mark.parametrize("scale", [1e-12, 1e6])
@pytest.mark.parametrize("name", ["gram", "gram_batch"])
def test_shrinking_activations_does_not_lower_the_similarity(name: str, scale: float) -> None:
    current, frozen = (values.float() for values in activations())
    expected = compared(current, frozen, name)
    torch.testing.assert_close(compared(scale * current, frozen, name), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["gram", "pairwise", "sum"])
def test_under_autocast_it_is_computed_in_float32(name: str) -> None:
    current, frozen = (values.bfloat16() for values in activations())
    with torch.autocast("cpu", torch.bfloat16):
        found = compared(current, frozen, name)
    assert found.dtype == torch.float32
    expected = loop_loss(current.double(), frozen.double(), name, "cos_squared", 1.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def registered() -> Iterator[None]:
    """An aggregation and a distance from outside the project."""

    @aggregation("spread")
    def spread(activation: Tensor) -> Tensor:
        return activation.std(1, keepdim=True)

    DISTANCES["absolute_error"] = Distance(
        lambda current, frozen: (current - frozen).abs().mean(), lambda error, beta: -beta * error
    )
    yield
    del AGGREGATIONS["spread"], DISTANCES["absolute_error"]


def test_a_similarity_of_ones_own(registered: None) -> None:
    current, frozen = activations()
    found = compared(current, frozen, "spread", "absolute_error")
    first, second = (values.numpy().std(1, ddof=1) for values in (current, frozen))
    assert float(found) == pytest.approx(-np.abs(first - second).mean())
    assert float(compared(current, frozen, "spread", "cos_squared")) > 0
    with pytest.raises(ValueError, match="absolute_error does not compare across channels"):
        compared(current, frozen, "pairwise", "absolute_error")


def test_wrong_arguments_are_named() -> None:
    current, frozen = activations()
    for names in (("gram",), ("mean",), ("none", "mse_sigmoid")):
        with pytest.raises(UserError, match="given 3 examples, the frozen network 2; both must be"):
            compared(current, frozen[:2], *names)
    with pytest.raises(UserError, match=r"must be \(batch, channels, frames, bins\), not \(4,"):
        aggregate(current[0])
    with pytest.raises(ValueError, match="'grams' is not one of gram, gram_batch"):
        aggregate(frozen, "grams")
    with pytest.raises(ValueError, match="'cosine' is not one of cos_squared"):
        compared(current, frozen, "gram", "cosine")
    with pytest.raises(ValueError, match="pool and distance cka_within_class go together alone"):
        compared(current, frozen, "gram", "cka_within_class")
    with pytest.raises(ValueError, match="needs the classes"):
        compared(current, frozen, "pool", "cka_within_class")
    with pytest.raises(UserError, match=r"at_aggregation = mul_comp_0\.05: an activation is -1"):
        aggregate(current - 1, "mul_comp_0.05")


@pytest.mark.parametrize("distance", PUBLISHED)
@pytest.mark.parametrize("name", ["mean", "sum", "max", "mul", *POWERS, "pairwise"])
def test_layers_with_other_numbers_of_channels(name: str, distance: str) -> None:
    current, frozen = activations()[0], activations((3, 7, 5, 6), seed=1)[0]
    expected = loop_loss(current, frozen, name, distance, 1.0)
    assert float(compared(current, frozen, name, distance)) == pytest.approx(expected, rel=1e-9)
    shorter = activations((3, 4, 5, 2))[0]
    with pytest.raises(UserError, match="of frames and bins are not needed by gram, gram_batch, p"):
        compared(current, shorter, name, distance)


@pytest.mark.parametrize("distance", PUBLISHED)
@pytest.mark.parametrize("name", ["gram", "gram_batch", "none", "stochastic_pairwise"])
def test_those_that_need_equal_channels_name_those_that_do_not(name: str, distance: str) -> None:
    current, frozen = activations()[0], activations((3, 7, 5, 6), seed=1)[0]
    words = "equal numbers of channels are not needed by mean, sum, max, mul, .*pairwise, pool"
    with pytest.raises(UserError, match=words):
        compared(current, frozen, name, distance)
    if name.startswith("gram"):
        shorter = activations((3, 4, 5, 2))[0]
        expected = loop_loss(current, shorter, name, distance, 1.0)
        assert float(compared(current, shorter, name, distance)) == pytest.approx(expected)
