"""Debiased CKA against plain loops, and against what its definition promises on average."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.similarity.alignment import debiased_linear_cka

Array = NDArray[np.float64]


def drawn(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def centred(features: Tensor, classes: list[int]) -> Array:
    values = features.detach().double().numpy()
    means = {each: values[[c == each for c in classes]].mean(0) for each in set(classes)}
    return np.array([row - means[each] for row, each in zip(values, classes, strict=True)])


def excess(first: Array, second: Array, degrees: int) -> float:
    """||X'Y||^2 - tr(XX') tr(YY') / r, one pair of columns at a time."""
    total = sum(
        float(first[:, i] @ second[:, j]) ** 2
        for i in range(first.shape[1])
        for j in range(second.shape[1])
    )
    return total - float((first**2).sum() * (second**2).sum()) / degrees


def plain_cka(first: Tensor, second: Tensor, classes: list[int]) -> float:
    x, y = centred(first, classes), centred(second, classes)
    degrees = len(classes) - len(set(classes))
    norm = excess(x, x, degrees) * excess(y, y, degrees)
    return float(excess(x, y, degrees) / norm**0.5)


@pytest.mark.parametrize("shape", [(12, 3, 5), (6, 9, 4), (5, 20, 30)])
@pytest.mark.parametrize("classes", [None, [0, 1], [4, 4, 7]])
def test_it_is_the_plain_formula(shape: tuple[int, int, int], classes: list[int] | None) -> None:
    num_examples, *widths = shape
    first, second = (drawn(seed, num_examples, width) for seed, width in enumerate(widths))
    second = second + first.sum(1, keepdim=True) + 5
    labels = ((classes or [0]) * num_examples)[:num_examples]
    found = debiased_linear_cka(first, second, torch.tensor(labels) if classes else None)
    assert float(found) == pytest.approx(plain_cka(first, second, labels), rel=1e-9, abs=1e-12)
    half = debiased_linear_cka(first.bfloat16(), second.float(), torch.tensor(labels))
    assert half.dtype == torch.float32
    expected = plain_cka(first.bfloat16(), second.float(), labels)
    assert float(half) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e15])
def test_equal_and_rotated_and_scaled_features_have_one(scale: float) -> None:
    features = drawn(0, 30, 7, dtype=torch.float32) + 100
    rotation = torch.linalg.qr(drawn(1, 7, 7))[0].float()
    for other in (features, features @ rotation * scale, -3 * features):
        assert float(debiased_linear_cka(features, other)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("sizes", [[3] * 8, [2, 3, 4, 7, 8], [24]])
def test_independent_features_have_zero_on_average_however_small_the_classes(
    sizes: list[int],
) -> None:
    classes = [label for label, size in enumerate(sizes) for _ in range(size)]
    labels = torch.tensor(classes)
    debiased, biased = [], []
    for seed in range(200):
        first, second = drawn(2 * seed, 24, 40), drawn(2 * seed + 1, 24, 30)
        first = first + 3 * labels[:, None]
        second = second - 2 * labels[:, None].square()
        debiased.append(float(debiased_linear_cka(first, second, labels)))
        x, y = centred(first, classes), centred(second, classes)
        norm = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
        biased.append(np.linalg.norm(x.T @ y) ** 2 / norm)
    standard_error = np.std(debiased) / len(debiased) ** 0.5
    assert abs(np.mean(debiased)) < 3 * standard_error
    assert np.mean(biased) > 0.5
    assert min(debiased) < 0


@pytest.mark.parametrize("classes", [None, torch.arange(9) % 2, torch.arange(9)])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e30])
def test_constant_features_and_classes_of_one_have_zero_and_no_gradient(
    constant: float, classes: Tensor | None
) -> None:
    features = torch.full((9, 5), constant, requires_grad=True)
    other = drawn(0, 9, 5, dtype=torch.float32).requires_grad_()
    for pair in ((features, other), (other, features), (features, features)):
        value = debiased_linear_cka(*pair, classes)
        assert value.item() == 0
        for gradient in torch.autograd.grad(value, list(dict.fromkeys(pair))):
            assert not gradient.any()


@pytest.mark.parametrize("shape", [(7, 3, 4), (5, 6, 8)])
@pytest.mark.parametrize("classes", [None, [0, 1, 0, 1, 0, 0, 1]])
def test_its_gradient_is_that_of_finite_differences(
    shape: tuple[int, int, int], classes: list[int] | None
) -> None:
    num_examples, *widths = shape
    first, second = (
        drawn(seed, num_examples, width).requires_grad_() for seed, width in enumerate(widths)
    )
    labels = None if classes is None else torch.tensor(classes[:num_examples])
    function: Any = lambda x, y: debiased_linear_cka(x, y, labels)  # noqa: E731
    assert torch.autograd.gradcheck(function, (first, second))
