"""The fused measure against one example at a time in float64, and the memory that it takes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import training.similarity.gram
from benchmarks.gram import LiveMemory
from training.similarity.gram import mean_absolute_cosine

Layout = Callable[[Tensor], Tensor]
FLOAT_BYTES = 4


def values(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, shift: float = 0.0
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) + shift).to(dtype)


def gram(activation: Tensor) -> Tensor:
    """Of each example, in float64, from its definition."""
    rows = activation.detach().double().flatten(2)
    products = (rows[:, :, None] * rows[:, None]).sum(-1)
    return products / activation[0].numel()


def naive(activation: Tensor, frozen_gram: Tensor) -> tuple[float, Tensor]:
    """The mean, and its gradient by autograd, in float64, one row of one example at a time."""
    activation = activation.detach().double().contiguous().requires_grad_()
    cosines = []
    for example, frozen in zip(activation, frozen_gram.double(), strict=True):
        rows = example.flatten(1)
        for channel in range(len(rows)):
            row = torch.stack([rows[channel] @ other for other in rows]) / example.numel()
            # A fixed scale keeps the squares of tiny rows above float64's smallest number.
            row = row / (row.detach().abs().max() or 1)
            other = frozen[channel] / (frozen[channel].abs().max() or 1)
            dead = not row.any() or not other.any()
            cosine = row.sum() * 0 if dead else row @ other / (row.norm() * other.norm())
            cosines.append(cosine.abs())
    mean = torch.stack(cosines).mean()
    (gradient,) = torch.autograd.grad(mean, activation)
    return mean.item(), gradient


def fused(activation: Tensor, frozen_gram: Tensor) -> tuple[Tensor, Tensor]:
    activation = activation.detach().requires_grad_()
    mean = mean_absolute_cosine(activation, frozen_gram)
    return mean.detach(), torch.autograd.grad(mean, activation)[0]


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal within a share of the largest expected value."""
    difference = (found.double() - expected.double()).abs().max()
    assert float(difference) <= tolerance * float(expected.abs().max())


def contiguous(activation: Tensor) -> Tensor:
    return activation.contiguous()


def channels_last(activation: Tensor) -> Tensor:
    return activation.contiguous(memory_format=torch.channels_last)


def frames_and_bins_swapped(activation: Tensor) -> Tensor:
    return activation.transpose(2, 3).contiguous().transpose(2, 3)


def every_second_bin(activation: Tensor) -> Tensor:
    return activation.repeat_interleave(2, 3)[..., ::2]


LAYOUTS = [contiguous, channels_last, frames_and_bins_swapped, every_second_bin]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("sign", ["any", "positive"])
def test_value_and_gradient_are_those_of_single_rows(layout: Layout, batch: int, sign: str) -> None:
    activation = values(batch, 6, 4, 5)
    if sign == "positive":
        activation = activation.relu()
        frozen = gram(values(batch, 6, 4, 5, seed=1).relu())
    else:
        frozen = values(batch, 6, 6, seed=1)  # no Gram matrix: half of the cosines are negative
    mean, gradient = naive(activation, frozen)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 5e-6)):
        given = layout(activation.to(dtype))
        found_mean, found_gradient = fused(given, frozen.to(dtype))
        assert found_mean.dtype == found_gradient.dtype == dtype
        assert found_mean.item() == pytest.approx(mean, rel=tolerance)
        assert_close(found_gradient, gradient, tolerance)
        with torch.no_grad():
            assert mean_absolute_cosine(given, frozen.to(dtype)).item() == found_mean.item()


def test_dead_channels() -> None:
    activation = values(3, 5, 3, 4, dtype=torch.float32).relu()
    other = values(3, 5, 3, 4, seed=1).relu()
    activation[0, 1] = 0
    activation[2] = 0
    other[1, 3] = 0
    frozen = gram(other)
    mean, gradient = naive(activation, frozen)
    found_mean, found_gradient = fused(activation, frozen.float())
    assert found_mean.item() == pytest.approx(mean, rel=1e-6)
    assert_close(found_gradient, gradient, 2e-6)
    assert not found_gradient[2].any()
    all_dead, no_gradient = fused(torch.zeros_like(activation), frozen.float())
    assert all_dead == 0
    assert not no_gradient.any()


@pytest.mark.parametrize("scale", [1e-17, 1e-6, 1e12])
def test_a_cosine_has_no_scale(scale: float) -> None:
    activation = values(3, 5, 3, 4, dtype=torch.float32).relu()
    other = values(3, 5, 3, 4, seed=1, dtype=torch.float32).relu()
    mean, gradient = naive(activation, gram(other))
    for first, second in ((scale, 1.0), (1.0, scale), (scale, scale)):
        frozen = gram(second * other).float()
        found_mean, found_gradient = fused(first * activation, frozen)
        assert found_mean.item() == pytest.approx(mean, rel=1e-5)
        assert_close(found_gradient * first, gradient, 1e-5)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(layout: Layout, dtype: torch.dtype) -> None:
    activation = layout(values(4, 8, 6, 7, dtype=dtype))
    frozen = gram(values(4, 8, 6, 7, seed=1)).float()
    mean, gradient = naive(activation, frozen)
    with torch.autocast("cpu", torch.bfloat16):
        found_mean, found_gradient = fused(activation, frozen)
    assert found_mean.dtype == torch.float32
    assert found_mean.item() == pytest.approx(mean, rel=1e-6)
    assert found_gradient.dtype == dtype
    assert_close(found_gradient, gradient, 2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("batch", [7, 28])
def test_temporary_memory_is_bounded_whatever_the_batch(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    activation = values(batch, 8, 5, 6, dtype=torch.bfloat16)
    frozen = gram(values(batch, 8, 5, 6, seed=1)).float()
    expected_mean, expected_gradient = fused(activation, frozen)
    three_examples = 3 * (2 * 8 * 8 + 2 * 8 * 5 * 6) * FLOAT_BYTES
    monkeypatch.setattr(training.similarity.gram, "MAX_TEMPORARY_BYTES", three_examples)
    activation.requires_grad_()
    with LiveMemory([activation, frozen], [8]) as live:
        mean = mean_absolute_cosine(activation, frozen)
    kept = activation.nbytes + 20 * batch * 8 * FLOAT_BYTES
    assert live.peak_bytes <= three_examples + kept
    assert live.peak_gram_bytes == 3 * 2 * 8 * 8 * FLOAT_BYTES
    assert torch.equal(torch.autograd.grad(mean, activation)[0], expected_gradient)
    assert mean.item() == pytest.approx(expected_mean.item(), rel=1e-6)
    monkeypatch.setattr(training.similarity.gram, "MAX_TEMPORARY_BYTES", 1)
    assert fused(activation, frozen)[0].item() == pytest.approx(expected_mean.item(), rel=1e-6)
