"""The loss on small networks: what it compares, what it refuses, what it leaves alone."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from config.errors import UserError
from training.data.batches import Batch
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
    layer_gradients(model, penalty, Batch(inputs, torch.zeros(4), torch.arange(4)))
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
    assert penalty.frozen_layers == {5: "classifier.6", 7: "classifier.6"}


def normalised(seed: int, channels: int = 6) -> nn.Sequential:
    """A network with running statistics, and layers called '0' to '7'."""
    torch.manual_seed(seed)
    first = nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.ReLU()
    second = nn.Conv2d(channels, 8, 3), nn.ReLU(inplace=True)
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


class Parent(nn.Module):
    """A module that holds both networks and the loss, as in Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.frozen = normalised(0), normalised(1)
        self.penalty = AntiTransferLoss(self.model, self.frozen, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        self.model(inputs)
        return self.penalty(inputs)


def optimised(parent: nn.Module) -> None:
    for parameter in parent.requires_grad_().parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(parent.parameters(), lr=0.1).step()


@torch.no_grad()
def initialised(parent: nn.Module) -> None:
    for parameter in parent.parameters():
        parameter.fill_(0.1)


def loaded(parent: nn.Module) -> None:
    parent.load_state_dict({key: values + 1 for key, values in parent.state_dict().items()})


@pytest.mark.parametrize(
    "act",
    [
        lambda parent: parent.train(),
        lambda parent: parent.apply(lambda module: setattr(module, "training", True)),
        lambda parent: parent.requires_grad_(),
        lambda parent: parent.zero_grad(),
        optimised,
        initialised,
        loaded,
        lambda parent: torch.optim.swa_utils.update_bn([torch.ones(3, 1, 32, 40)], parent.frozen),
    ],
)
def test_the_frozen_network_stays_as_it_was_whatever_a_parent_does(
    inputs: Tensor, act: Callable[[Parent], object]
) -> None:
    parent = Parent()
    expected = parent.penalty.frozen_aggregates(inputs)[1]
    act(parent)
    with parent.penalty:
        parent.train()
        for _ in range(2):
            torch.autograd.backward(parent(inputs))
    assert torch.equal(parent.penalty.frozen_aggregates(inputs)[1], expected)
    assert not any(module.training for module in parent.penalty.frozen.modules())
    assert not any(each.requires_grad for each in parent.penalty.frozen.parameters())


def test_a_parent_can_be_moved_copied_saved_and_compiled(inputs: Tensor) -> None:
    parent = Parent()
    expected = parent.penalty.frozen_aggregates(inputs)[1]
    again = copy.deepcopy(parent).double()
    assert torch.allclose(again.penalty.frozen_aggregates(inputs.double())[1].float(), expected)
    with again.penalty, parent.penalty:
        assert again(inputs.double()).requires_grad
        with pytest.raises(RuntimeError, match="made no forward pass"):
            parent.penalty(inputs)  # the copy's pass is not its own
        compiled: Any = torch.compile(parent.model, backend="eager")
        compiled(inputs)
        assert parent.penalty(inputs).requires_grad
    assert set(parent.state_dict()) == {
        f"{part}.{name}" for part in ("model", "frozen") for name in parent.model.state_dict()
    }


class Checkpointed(nn.Module):
    """Recomputes its activations in the backward pass."""

    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.inner, self.use_reentrant = normalised(0), use_reentrant

    def forward(self, inputs: Tensor) -> Any:
        return checkpoint(self.inner, inputs, use_reentrant=self.use_reentrant)


def under(mode: Callable[[], AbstractContextManager[Any]]) -> Callable[[nn.Module, Tensor], Any]:
    def run(model: nn.Module, inputs: Tensor) -> Any:
        with mode():
            return model(inputs)

    return run


def call(model: nn.Module, inputs: Tensor) -> Any:
    return model(inputs)


@pytest.mark.parametrize(
    ("model", "run", "cause"),
    [
        (lambda: normalised(0), under(torch.no_grad), "the forward pass ran without"),
        (lambda: Checkpointed(use_reentrant=True), call, "use_reentrant=False works"),
        (lambda: normalised(0).requires_grad_(requires_grad=False), call, "parameters before it"),
    ],
)
def test_a_penalty_that_would_train_nothing_is_refused_in_training_alone(
    inputs: Tensor, model: Callable[[], nn.Module], run: Callable[..., Any], cause: str
) -> None:
    inputs = inputs.requires_grad_(cause != "parameters before it")  # for the checkpoint
    network = model()
    with AntiTransferLoss(network, model(), [1, 2]) as penalty:
        run(network.train(), inputs)
        with pytest.raises(RuntimeError, match=f"layer1: its output has no gradient, .*{cause}"):
            penalty(inputs)
        run(network, inputs)
        with torch.no_grad():
            expected = penalty(inputs)
        run(network.eval(), inputs)
        assert penalty(inputs).shape == expected.shape == ()
    with AntiTransferLoss(network, model(), 1, beta=0) as penalty:
        run(network.train(), inputs)
        assert float(penalty(inputs)) == 0


def test_a_checkpoint_that_keeps_gradients_trains(inputs: Tensor) -> None:
    plain, saving = normalised(0), Checkpointed(use_reentrant=False)
    for model in (plain, saving):
        with AntiTransferLoss(model, normalised(1), [1, 2]) as penalty:
            torch.autograd.backward(model(inputs).sum() + penalty(inputs))
    for found, expected in zip(saving.parameters(), plain.parameters(), strict=True):
        assert found.grad is not None
        torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        (2, (2,)),
        ("2", ("2",)),
        (range(1, 3), (1, 2)),
        ([np.int64(2), "1"], (2, "1")),
        ("13", UserError),
        (5, UserError),
        ([], UserError),
        ([1, 1], UserError),
        ([1, "2"], UserError),  # the ReLU after the first convolution is one place
        (None, TypeError),
        (True, TypeError),
        (b"1", TypeError),
    ],
)
def test_layers_are_numbers_and_names_and_nothing_else(layers: Any, found: Any) -> None:
    if isinstance(found, tuple):
        assert AntiTransferLoss(normalised(0), normalised(1), layers).layers == found
        return
    with pytest.raises(found) as error:
        AntiTransferLoss(normalised(0), normalised(1), layers)
    assert "\n" not in str(error.value)
    assert "layer" in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_a_single_example(inputs: Tensor, dtype: torch.dtype) -> None:
    model, frozen, one = normalised(0).to(dtype), normalised(1).to(dtype), inputs[:1].to(dtype)
    with AntiTransferLoss(model, frozen, [1, 2], frozen_layers=[1, "3"]) as penalty:
        model(one)
        loss = penalty(one)
        torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert 0 < float(loss.detach()) <= 2
    gradient = next(model.parameters()).grad
    assert gradient is not None
    assert gradient.isfinite().all()


def test_other_layers_of_the_frozen_network(inputs: Tensor) -> None:
    model, frozen = normalised(0), normalised(1, channels=8)
    with AntiTransferLoss(model, frozen, [1, "3"], "mean", frozen_layers=["1", 1]) as penalty:
        expected = {1: frozen.eval()[:2](inputs), "3": frozen[:3](inputs)}
        for layer, activation in penalty.frozen_activations(inputs).items():
            assert torch.equal(activation, expected[layer])
    assert "at output of layer1 against frozen at 1" in repr(penalty)
    with pytest.raises(UserError, match="2 layers, but 1 frozen_layers; give one for each"):
        AntiTransferLoss(model, frozen, [1, 2], frozen_layers=2)
    with pytest.raises(UserError, match="frozen network noise: layer 9: no such convolution"):
        AntiTransferLoss(model, frozen, 1, frozen_layers=9, name="noise")
    with AntiTransferLoss(model, frozen, 1, name="noise") as penalty:
        model(inputs)
        with pytest.raises(UserError, match=r"noise_layer1: .* not needed by mean, sum, max"):
            penalty(inputs)
    with AntiTransferLoss(model, frozen, 1, POOL, WITHIN_CLASS, frozen_layers=1) as penalty:
        assert torch.equal(penalty.frozen_activations(inputs)[1], expected["3"])
        model(inputs)
        assert penalty(inputs, torch.zeros(3)).isfinite()
