"""The loss on small networks, its terms against float64 arithmetic in numpy."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.engine.checks import layer_gradients
from training.methods.anti_transfer import AntiTransferLoss
from training.models.vgg import VGG16
from training.similarity.aggregations import AGGREGATIONS, POOL
from training.similarity.alignment import debiased_linear_cka
from training.similarity.distances import DISTANCES, WITHIN_CLASS


def small(seed: int = 0, num_classes: int = 3) -> VGG16:
    torch.manual_seed(seed)
    return VGG16(num_classes, width=1 / 16)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 1, 32, 40, generator=torch.Generator().manual_seed(5))


def num_hooks(*models: nn.Module) -> int:
    modules = [module for model in models for module in model.modules()]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def test_the_frozen_network_is_frozen_and_the_model_is_left_alone(inputs: Tensor) -> None:
    model, frozen = small(0).train(), small(1).train()
    model.features[3].eval()
    modes = [module.training for module in model.modules()]
    with AntiTransferLoss(model, frozen, [13]) as penalty:
        model(inputs)
        assert not penalty.frozen_aggregates(inputs.clone().requires_grad_())[13].requires_grad
        penalty(inputs)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert num_hooks(model, frozen) == 0


@pytest.mark.parametrize("mode", [torch.inference_mode, partial(torch.autocast, "cpu")])
def test_aggregates_from_any_mode_train_every_aggregation_and_distance(
    inputs: Tensor, mode: Callable[[], AbstractContextManager[Any]]
) -> None:
    model, frozen = small(0).eval(), small(1)
    modes: list[bool] = []
    frozen.features[0].register_forward_hook(
        lambda *_: modes.append(torch.is_inference_mode_enabled())
    )
    for name, aggregation in AGGREGATIONS.items():
        for distance in DISTANCES:
            if aggregation.gives_features != (distance == WITHIN_CLASS):
                continue
            with AntiTransferLoss(model, frozen, [1, 2], name, distance) as penalty:
                with mode():
                    aggregates = penalty.frozen_aggregates(inputs.clone())
                assert not any(
                    values.is_inference() or values.requires_grad for values in aggregates.values()
                )
                model(inputs.requires_grad_())
                torch.autograd.backward(penalty.penalty(aggregates, torch.zeros(len(inputs))))
    assert modes
    assert all(modes)


def test_the_global_random_state_is_not_touched(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)
    before = torch.get_rng_state()
    penalty = AntiTransferLoss(model, frozen, [2, 7], "stochastic_pairwise")
    with penalty:
        for _ in range(3):
            model(inputs)
            penalty(inputs)
    model.train()
    layer_gradients(model, penalty, inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_pool_compares_with_the_penultimate_features_of_the_frozen_network(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)
    inputs = inputs.repeat(3, 1, 1, 1) + 0.1 * torch.randn(9, 1, 32, 40)
    classes = torch.tensor([0, 1, 2] * 3)
    with (
        AntiTransferLoss(model, frozen, [5, 7], POOL, WITHIN_CLASS, beta=2.0) as penalty,
        torch.no_grad(),
    ):
        model(inputs)
        found = penalty(inputs, classes)
        pooled = {}
        for layer, end in ((5, 12), (7, 16)):  # up to the ReLU after the convolution
            pooled[layer] = model.features[:end](inputs).mean((2, 3))
        features = frozen.avgpool(frozen.features(inputs)).flatten(1)
        penultimate = frozen.classifier[:6](features)
    expected = sum(2 * debiased_linear_cka(each, penultimate, classes) for each in pooled.values())
    torch.testing.assert_close(found, expected)
    assert set(penalty.terms) == {"frozen_layer5", "frozen_layer7"}
    assert penalty.frozen_label(5) == "classifier.6"
