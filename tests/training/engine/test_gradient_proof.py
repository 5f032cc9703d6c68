"""The proof that each penalised layer can train the network, on a network of few channels."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from training.engine.gradient_proof import layer_gradients, layers_without_gradient
from training.methods.anti_transfer import AntiTransferLoss
from training.models.vgg import VGG16
from training.similarity.layer_loss import aggregate, layer_loss


def small(seed: int = 0, num_classes: int = 3) -> VGG16:
    torch.manual_seed(seed)
    return VGG16(num_classes, width=1 / 16)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 1, 32, 40, generator=torch.Generator().manual_seed(5))


def num_hooks(*models: nn.Module) -> int:
    modules = [module for model in models for module in model.modules()]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


@pytest.mark.parametrize("is_open", [True, False])
def test_every_penalised_layer_gets_a_gradient(inputs: Tensor, is_open: bool) -> None:
    model, frozen = small(0).train(), small(1)
    penalty = AntiTransferLoss(model, frozen, range(1, 14))
    if is_open:
        penalty.__enter__()
    assert layers_without_gradient(model, penalty, inputs) == []
    assert [g.name for g in layer_gradients(model, penalty, inputs)] == [
        f"frozen_layer{layer}" for layer in range(1, 14)
    ]
    assert penalty.taps.is_open is is_open
    penalty.__exit__(None, None, None)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert penalty.terms == {}
    assert num_hooks(model, frozen) == 0


def test_gradient_norms(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)
    (found,) = layer_gradients(model, AntiTransferLoss(model, frozen, [3], beta=3), inputs)
    activation = model.features[:7](inputs)
    value = 3 * layer_loss(activation, aggregate(frozen.features[:7](inputs)))
    grads = torch.autograd.grad(value, [activation, *model.features[:7].parameters()])
    assert found.activation == pytest.approx(float(grads[0].norm()), rel=1e-4)
    expected = math.sqrt(sum(float(grad.square().sum()) for grad in grads[1:]))
    assert found.parameters == pytest.approx(expected, rel=1e-4)


def test_the_gradient_check_does_not_shift_the_stochastic_blocks(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)

    def values(check: bool) -> list[float]:
        with AntiTransferLoss(model, frozen, [13], "stochastic_pairwise") as penalty:
            if check:
                layer_gradients(model, penalty, inputs)
            result = []
            for _ in range(6):
                model(inputs)
                result.append(float(penalty(inputs).detach()))
            return result

    assert values(check=True) == values(check=False)


def test_the_input_of_the_first_convolution_gets_no_gradient(inputs: Tensor) -> None:
    model, frozen = small(0), small(1)
    penalty = AntiTransferLoss(model, frozen, [1, 2], tap="input", name="release")
    (found,) = layers_without_gradient(model, penalty, inputs)
    assert (found.name, found.activation, found.parameters) == ("release_layer1", 0.0, 0.0)


def test_a_dead_or_saturated_layer_gets_no_gradient(inputs: Tensor) -> None:
    model, frozen = small(0), small(1)
    with torch.no_grad():
        model.get_parameter("features.10.bias").fill_(-1e6)
    penalty = AntiTransferLoss(model, frozen, [2, 5])
    assert [each.name for each in layers_without_gradient(model, penalty, inputs)] == [
        "frozen_layer5"
    ]
    penalty = AntiTransferLoss(model, frozen, [2], "sum", "mse_sigmoid")
    assert len(layers_without_gradient(model, penalty, 1e3 * inputs)) == 1


def test_the_gradient_check_changes_no_running_statistics(inputs: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
    frozen = copy.deepcopy(model)
    with torch.no_grad():
        frozen[0].weight.mul_(-1)  # type: ignore[operator]
    before = copy.deepcopy(model.state_dict())
    penalty = AntiTransferLoss(model, frozen, [1])
    assert layers_without_gradient(model, penalty, inputs) == []
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert model.training
