"""Trainings that cannot learn or go wrong are named and stopped."""

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from config.errors import UserError
from training.data.batches import Batch, ExampleSet, Normalization
from training.engine.checks import (
    TrainingError,
    activation_norms,
    layer_gradients,
    refuse_divergence,
    refuse_vanished,
)
from training.engine.devices import build_accelerator
from training.engine.optimizers import build_optimizer
from training.engine.step import Learner
from training.methods.anti_transfer import AntiTransferLoss
from training.models.vgg import VGG16
from training.similarity.layer_loss import aggregate, layer_loss

if TYPE_CHECKING:
    from tests.conftest import Examples, Suite

CPU = torch.device("cpu")
GOOD = {"loss": 1.2, "task_loss": 1.0}


@pytest.mark.parametrize(
    ("first", "loss", "is_refused"),
    [(2.0, 1999.0, False), (2.0, 2001.0, True), (1e-6, 999.0, False), (None, 1e9, False)],
)
def test_a_loss_that_explodes(first: float | None, loss: float, is_refused: bool) -> None:
    metrics = {"loss": loss, "task_loss": loss}
    if not is_refused:
        refuse_divergence(metrics, GOOD, first, epoch=5)
        return
    with pytest.raises(TrainingError, match=r"exploded from 2 .* to 2e\+03 after epoch 6"):
        refuse_divergence(metrics, GOOD, first, epoch=5)


def test_activations_that_vanish() -> None:
    at_start = {"noisyspeech_layer3": 0.5, "noisyspeech_layer5": 0.5}
    refuse_vanished({"noisyspeech_layer3": 0.001, "noisyspeech_layer5": 7.0}, at_start)
    with pytest.raises(TrainingError, match=r"activations of noisyspeech_layer5 shrank to 0\.0008"):
        refuse_vanished({"noisyspeech_layer3": 0.5, "noisyspeech_layer5": 0.0004}, at_start)


def test_norms_are_root_mean_squares_of_the_first_examples() -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 2, 3))

    generator = np.random.default_rng(0)
    predictors = generator.standard_normal((11, 9, 7)).astype(np.float32)
    examples = ExampleSet(
        predictors, np.zeros(11, dtype=np.int64), np.arange(11), Normalization(0.5, 2.0), CPU
    )
    model = network().train()
    optimizer = build_optimizer("adam", model.parameters(), 1e-3, 0.0)
    accelerator = build_accelerator(CPU, "fp32", "none", Path("unused"))
    with AntiTransferLoss(model, network(), [1], name="noise") as penalty:
        learner = Learner(model, optimizer, [penalty], accelerator, "classification")
        found = activation_norms(learner, examples)
        assert penalty.taps.missing == [1]
    inputs = torch.from_numpy((predictors[:8] - 0.5) / 2.0)[:, None]
    expected = model[0](inputs).relu().detach().numpy()
    assert found == {"noise_layer1": pytest.approx(np.sqrt((expected.astype(float) ** 2).mean()))}
    assert model.training


def test_a_class_that_no_training_example_has_is_refused(suite: "Suite", bands: "Examples") -> None:
    bands.target[bands.target == 2] = 1
    suite.write_matrices(examples=bands)
    suite.write_experiment(1)
    with pytest.raises(UserError, match="training set has no example of 1 of 3 classes: class2"):
        suite.run(1)


def small(seed: int = 0, num_classes: int = 3) -> VGG16:
    torch.manual_seed(seed)
    return VGG16(num_classes, width=1 / 16)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 1, 32, 40, generator=torch.Generator().manual_seed(5))


def batch_of(inputs: Tensor) -> Batch:
    return Batch(inputs, torch.zeros(len(inputs)), torch.arange(len(inputs)))


def without_gradient(model: nn.Module, penalty: AntiTransferLoss, inputs: Tensor) -> list[str]:
    return [
        each.name for each in layer_gradients(model, penalty, batch_of(inputs)) if not each.arrives
    ]


def num_hooks(*models: nn.Module) -> int:
    modules = [module for model in models for module in model.modules()]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def test_every_penalised_layer_gets_a_gradient(inputs: Tensor) -> None:
    model, frozen = small(0).train(), small(1)
    penalty = AntiTransferLoss(model, frozen, range(1, 14))
    assert without_gradient(model, penalty, inputs) == []
    assert [g.name for g in layer_gradients(model, penalty, batch_of(inputs))] == [
        f"frozen_layer{layer}" for layer in range(1, 14)
    ]
    assert not penalty.taps.is_open
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert penalty.terms == {}
    assert num_hooks(model, frozen) == 0


def test_gradient_norms(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)
    (found,) = layer_gradients(
        model,
        AntiTransferLoss(model, frozen, [3], beta=3),
        batch_of(inputs),
    )
    activation = model.features[:7](inputs)
    value = 3 * layer_loss(activation, aggregate(frozen.features[:7](inputs)))
    grads = torch.autograd.grad(value, [activation, *model.features[:7].parameters()])
    assert found.activation == pytest.approx(float(grads[0].norm()), rel=1e-4)
    expected = math.sqrt(sum(float(grad.square().sum()) for grad in grads[1:]))
    assert found.parameters == pytest.approx(expected, rel=1e-4)


def test_a_dead_or_saturated_layer_gets_no_gradient(inputs: Tensor) -> None:
    model, frozen = small(0), small(1)
    with torch.no_grad():
        model.get_parameter("features.10.bias").fill_(-1e6)
    penalty = AntiTransferLoss(model, frozen, [2, 5])
    assert without_gradient(model, penalty, inputs) == ["frozen_layer5"]
    penalty = AntiTransferLoss(model, frozen, [2], "sum", "mse_sigmoid")
    assert len(without_gradient(model, penalty, 1e3 * inputs)) == 1


def test_the_gradient_check_changes_no_running_statistics(inputs: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
    frozen = copy.deepcopy(model)
    with torch.no_grad():
        frozen[0].weight.mul_(-1)  # type: ignore[operator]
    before = copy.deepcopy(model.state_dict())
    penalty = AntiTransferLoss(model, frozen, [1])
    assert without_gradient(model, penalty, inputs) == []
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert model.training
