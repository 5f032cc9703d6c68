"""The rivals of anti-transfer against their formulas, each worked out another way."""

from itertools import permutations
from unittest.mock import MagicMock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.special import log_softmax
from scipy.stats import entropy
from torch import Tensor, nn
from torch.nn import functional

from training.data.batches import Batch
from training.methods import expert_weighting
from training.methods.expert_weighting import ExpertWeighting
from training.methods.hsic import Independence, rbf_kernel, unbiased_hsic
from training.methods.learned_mixin import LearnedMixin
from training.methods.spectral_decoupling import SpectralDecoupling

Kernel = npt.NDArray[np.float64]
NUM_CLASSES = 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 5, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, NUM_CLASSES),
    )


def batch(num_examples: int = 6) -> Batch:
    """Rows in another order than the matrices'."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.arange(num_examples).flip(0)
    inputs = torch.randn(num_examples, 1, 8, 8, generator=generator)
    return Batch(inputs, rows % NUM_CLASSES, rows)


def log_probabilities() -> Tensor:
    return torch.randn(6, NUM_CLASSES, generator=torch.Generator().manual_seed(2)).log_softmax(1)


def test_a_learned_mixin_lets_through_part_of_the_expert() -> None:
    """Each example by itself, in NumPy; with SciPy's entropy."""
    model, given, expert = network(), batch(), log_probabilities()
    with LearnedMixin(model, expert, beta=0.3, seed=4) as method:
        outputs = model(given.inputs)
        adjusted = method.adjust(outputs, given)
        penalty = method.loss(given, outputs, 0.0)
    features = model[:4](given.inputs).detach().numpy()
    weight, bias = (each.detach().numpy() for each in method.parameters())
    entropies = []
    for place, row in enumerate(given.rows.tolist()):
        gate = np.log1p(np.exp(weight[0] @ features[place] + bias[0]))
        expected = outputs[place].detach().numpy() + gate * expert[row].numpy()
        np.testing.assert_allclose(adjusted[place].detach(), expected, rtol=1e-5)
        entropies.append(entropy(np.exp(log_softmax(gate * expert[row].numpy()))))
    assert float(penalty.detach()) == pytest.approx(0.3 * np.mean(entropies), rel=1e-5)
    functional.cross_entropy(adjusted, given.labels).backward()  # type: ignore[no-untyped-call]
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in method.parameters())


def test_an_example_counts_by_what_the_expert_makes_of_its_class() -> None:
    """1 / 0.8, 1 / 0.5, the cap, and 1 / 0.25, over the mean of the first three."""
    true_class = torch.tensor([0.8, 0.5, 0.01, 0.25])
    expert = torch.stack([true_class, 1 - true_class], dim=1).log()
    classes, rows = torch.zeros(4, dtype=torch.int64), np.arange(3)
    weights = np.array([1.25, 2, 10, 4]) / (13.25 / 3)
    losses, given = torch.tensor([1.0, 2, 3, 4]), Batch(torch.empty(4), classes, torch.arange(4))
    found = ExpertWeighting(expert, classes, rows, beta=1.0).weigh(losses, given)
    np.testing.assert_allclose(found, losses.numpy() * weights, rtol=1e-6)
    for beta, informed in ((0.0, True), (1.0, False)):
        inputs = MagicMock()
        inputs.matrices.target, inputs.training.at_beta = classes.numpy(), (beta,)
        inputs.sets = {"training": MagicMock(rows=rows)}
        inputs.expert().predictions, inputs.expert().informed = expert, informed
        (unweighed,) = expert_weighting.build(inputs)
        torch.testing.assert_close(unweighed.weigh(losses, given), losses)


def test_spectral_decoupling_adds_half_the_mean_square() -> None:
    outputs = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    loss = SpectralDecoupling(0.5).loss(batch(2), outputs, 0.0)
    assert float(loss) == pytest.approx(0.5 / 2 * (1 + 4 + 9) / 4)


def u_statistic(first: Kernel, second: Kernel) -> float:
    """HSIC as Song et al. (2012) define it, equation 4, over all four different examples."""
    terms = [
        first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q])
        for i, j, q, r in permutations(range(len(first)), 4)
    ]
    return float(np.mean(terms))


def rbf(features: npt.NDArray[np.float32]) -> Kernel:
    distances = pdist(features)
    kernel: Kernel = np.exp(-squareform(distances**2) / (2 * np.median(distances) ** 2))
    return kernel


@pytest.mark.parametrize("layers", [(), (1,), (1, "0")])
def test_independence_is_the_published_hsic(layers: tuple[int | str, ...]) -> None:
    """Of six examples there are 15 distances, so that their median is one of them."""
    model, given = network(), batch()
    frozen = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    with Independence(model, frozen, layers, beta=2.0) as method:
        outputs = model(given.inputs)
        loss = method.loss(given, outputs, 0.0)
    activations = [model[: {(): 4, 1: 2, "0": 1}[each]](given.inputs) for each in layers or [()]]
    features = [each.detach().reshape(6, 5, -1).mean(2).numpy() for each in activations]
    other = rbf(frozen[given.rows].numpy())
    expected = sum(u_statistic(rbf(each), other) for each in features)
    assert loss is not None
    assert float(loss.detach()) == pytest.approx(2 * expected, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, [model.get_parameter("0.weight")])
    assert gradient.abs().sum() > 0


def test_hsic_tells_dependent_features_from_independent_ones() -> None:
    generator = torch.Generator().manual_seed(5)
    angle = torch.rand(300, 1, generator=generator) * 2 * torch.pi
    circle = rbf_kernel(torch.cat([angle.cos(), angle.sin()], 1))
    unrelated = rbf_kernel(torch.randn(300, 2, generator=generator))
    uncorrelated = rbf_kernel((2 * angle).cos())  # with either coordinate of the circle
    assert float(unbiased_hsic(circle, uncorrelated)) > 20 * abs(
        float(unbiased_hsic(circle, unrelated))
    )


def test_a_batch_too_small_for_hsic_adds_nothing() -> None:
    model, given = network(), batch(3)
    with Independence(model, torch.randn(6, 4), (), beta=1.0) as method:
        assert method.loss(given, model(given.inputs), 0.0) is None
