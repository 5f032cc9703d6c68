"""Gradient reversal against gradients worked out by hand, and as an instance of an experiment."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from training.data.batches import Batch
from training.methods.gradient_reversal import GradientReversal, reversal_weight
from training.methods.labels import UNKNOWN
from training.models.vgg import VGG16

if TYPE_CHECKING:
    from tests.conftest import Suite

ROWS = torch.arange(6)
DOMAINS = torch.tensor([0, 1, 2, 0, 1, 2])
CLASSES = torch.eye(2)[[0, 0, 1, 1, 0, 1]]


def network(seed: int = 0) -> VGG16:
    torch.manual_seed(seed)
    return VGG16(3, width=1 / 16).eval()


def inputs() -> Tensor:
    return torch.randn(6, 1, 32, 40, generator=torch.Generator().manual_seed(3))


def batch(rows: Tensor) -> Batch:
    return Batch(inputs()[rows], torch.zeros(len(rows)), rows)


def reversal(
    model: nn.Module,
    weight: float = 0.5,
    domains: Tensor = DOMAINS,
    targets: Tensor | None = None,
) -> GradientReversal:
    return GradientReversal(
        model, 3, torch.zeros(1, 1, 32, 32), domains, "noise_type", weight, 4, targets
    )


def test_the_schedule_is_the_published_one() -> None:
    assert reversal_weight(0) == 0
    assert reversal_weight(0.5) == pytest.approx(0.98661, abs=1e-5)  # 2 / (1 + e^-5) - 1
    assert reversal_weight(1) == pytest.approx(0.99991, abs=1e-5)


@pytest.mark.parametrize("targets", [None, CLASSES])
def test_the_adversary_learns_and_the_layer_gets_the_reverse_of_its_gradient(
    targets: Tensor | None,
) -> None:
    """The same loss without reversal, from the same head on the same activation."""
    model, weight, progress = network(), 0.5, 0.3
    with reversal(model, weight, targets=targets) as adversary:
        model(inputs())
        activation = adversary.taps[3]
        loss = adversary.loss(batch(ROWS), torch.empty(0), progress)
    found = torch.autograd.grad(loss, [activation, *adversary.head.parameters()])
    plain = activation.detach().requires_grad_()
    told = torch.zeros(6, 0) if targets is None else targets
    logits = adversary.head(torch.hstack([plain.mean((2, 3)), told]))
    expected_loss = nn.functional.cross_entropy(logits, DOMAINS)
    expected = torch.autograd.grad(expected_loss, [plain, *adversary.head.parameters()])
    torch.testing.assert_close(loss, expected_loss)
    factor = -weight * reversal_weight(progress)
    torch.testing.assert_close(found[0], factor * expected[0])
    for one, other in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(adversary.terms["noise_type_adversary"], expected_loss.detach())


def test_labels_that_training_does_not_have_do_not_count() -> None:
    model = network()
    domains = torch.tensor([0, 1, UNKNOWN, 0, UNKNOWN, 1])
    known = domains != UNKNOWN

    def loss_of(rows: Tensor) -> float:
        model(inputs()[rows])
        return float(adversary.loss(batch(rows), torch.empty(0), 1.0).detach())

    with reversal(model, domains=domains) as adversary:
        assert loss_of(ROWS[known]) == pytest.approx(loss_of(ROWS), rel=1e-5)
        assert loss_of(ROWS[~known]) == 0
        assert adversary.terms == {}


REVERSAL: dict[str, Any] = {"gradient_reversal_label": "noise_type", "gradient_reversal_layer": 13}


@pytest.mark.parametrize("conditional", [False, True])
def test_as_an_experiment(noisy: "Suite", conditional: bool) -> None:
    noisy.write_experiment(204, {**REVERSAL, "gradient_reversal_conditional": conditional})
    noisy.write_experiment(200)
    result, baseline = noisy.run(204), noisy.run(200)
    assert result["parameters"]["kind"] == "gradient_reversal"
    fold = result["0"]
    for set_name in ("train", "val"):
        history = fold[f"{set_name}_noise_type_adversary_loss_hist"]
        assert len(history) == len(fold["train_loss_hist"])
    # 2 / (1 + e^-5) - 1 after the first of two epochs, almost 1 after the second.
    assert fold["reversal_weight"] == pytest.approx(
        [0.98661, 0.99991][fold["best_epoch"]], abs=1e-5
    )
    # What is watched is the task alone: the adversary's loss is not the network's aim.
    assert fold["train_loss_hist"] == fold["train_task_loss_hist"]
    assert fold["train_loss_hist"] != baseline["0"]["train_loss_hist"]
