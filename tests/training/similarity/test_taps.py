"""Tapped activations against running the network's modules by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from config.errors import UserError
from training.models.vgg import CONVOLUTION_INDICES, VGG16
from training.similarity.taps import Taps, activations_until

ALL = range(1, 14)


@pytest.fixture
def model() -> VGG16:
    torch.manual_seed(0)
    return VGG16(num_classes=3, width=1 / 32)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(2, 1, 32, 40, generator=torch.Generator().manual_seed(1))


def by_hand(model: VGG16, inputs: Tensor, end: int) -> Tensor:
    """What the first `end` modules of the convolutional part make of the inputs, without hooks."""
    copy = VGG16(num_classes=3, width=1 / 32)
    copy.load_state_dict(model.state_dict())
    activation: Tensor = copy.features[:end](inputs.clone())
    return activation


def num_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_output_of_every_convolution_is_taken_after_its_relu(model: VGG16, inputs: Tensor) -> None:
    with Taps(model, ALL) as outputs, Taps(model, ALL, tap="input") as entering:
        model(inputs)
        for layer, index in zip(ALL, CONVOLUTION_INDICES, strict=True):
            assert torch.equal(outputs[layer], by_hand(model, inputs, index + 2))
            assert torch.equal(entering[layer], by_hand(model, inputs, index))
        model(2 * inputs)  # each pass replaces the last
        assert torch.equal(outputs.take()[3], by_hand(model, 2 * inputs, 7))
        with pytest.raises(KeyError):
            outputs.take()


def test_tapping_changes_neither_outputs_nor_gradients(model: VGG16, inputs: Tensor) -> None:
    def outcome(layers: list[int | str], tap: Any) -> list[Tensor]:
        model.zero_grad()
        with Taps(model, layers, tap=tap):
            logits = model.eval()(inputs)
        logits.square().sum().backward()
        return [logits, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    plain = outcome([], "output")
    layers: list[int | str] = [1, 13, "features.5", "features.8"]
    for tap in ("output", "input"):
        for tapped, expected in zip(outcome(layers, tap), plain, strict=True):
            assert torch.equal(tapped, expected)


def test_a_named_convolution_is_kept_as_it_was_before_the_in_place_relu(
    model: VGG16, inputs: Tensor
) -> None:
    before = by_hand(model, inputs, 1)
    assert (before < 0).any()
    with Taps(model, ["features.0", "features.1"]) as outputs:
        model(inputs)
        assert torch.equal(outputs["features.0"], before)
        assert torch.equal(outputs["features.1"], before.clamp_min(0))
    with Taps(model, ["features.1"], "input") as entering:
        model(inputs)
        assert torch.equal(entering["features.1"], before)


def test_hooks_are_removed_after_an_exception(model: VGG16, inputs: Tensor) -> None:
    with pytest.raises(ZeroDivisionError), Taps(model, ALL) as taps:
        assert num_hooks(model) == 15
        model(inputs)
        raise ZeroDivisionError
    assert num_hooks(model) == 0
    assert taps.missing == list(ALL)
    with pytest.raises(RuntimeError), Taps(model, [13]):
        model(torch.randn(2, 5, 32, 32))
    assert num_hooks(model) == 0


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (14, "layer 14: no such convolution in this network; allowed: 1 to 13"),
        ("feature.28", "layer feature.28: no such module in this network; nearest: features.28"),
    ],
)
def test_unknown_layers_name_their_neighbours(model: VGG16, layer: int | str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Taps(model, [layer])
    assert num_hooks(model) == 0


@contextmanager
def calls_of(model: nn.Module) -> Iterator[list[str]]:
    """Names of the modules without children, in the order in which they run."""
    calls: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    yield calls
    for handle in handles:
        handle.remove()


def test_a_stopped_pass_runs_no_further_than_the_deepest_layer(
    model: VGG16, inputs: Tensor
) -> None:
    with calls_of(model) as calls:
        found = activations_until(model, inputs, [4, 2])
    assert calls == [f"features.{index}" for index in range(9)]
    assert torch.equal(found[4], by_hand(model, inputs, 9))
    assert torch.equal(found[2], by_hand(model, inputs, 4))
    assert num_hooks(model) == 0


@pytest.mark.parametrize(
    ("backend", "tap", "convolution"),
    [
        ("eager", "input", nn.Conv2d),
        ("aot_eager", "output", nn.Conv2d),
        ("aot_eager", "output", nn.Conv1d),
    ],
)
def test_compiled_networks_keep_their_taps(
    backend: str, tap: Any, convolution: type[nn.Conv1d | nn.Conv2d]
) -> None:
    torch._dynamo.reset()
    network = nn.Sequential(
        convolution(1, 3, 3), nn.ReLU(inplace=True), convolution(3, 2, 3), nn.ReLU(inplace=True)
    )
    shape = (2, 1, 9, 8)[: 3 if convolution is nn.Conv1d else 4]
    layers: list[int | str] = [1, 2, "2"]
    compiled: Any = torch.compile(network, backend=backend, fullgraph=True)
    with Taps(compiled, layers, tap) as taps:
        for seed in (1, 2):
            inputs = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
            compiled(inputs)
            found = taps.take()
            with Taps(network, layers, tap) as eager:
                network(inputs)
                assert all(torch.allclose(found[layer], eager[layer]) for layer in layers)
            assert found[2].requires_grad
    compiled(inputs)
    assert taps.missing == layers
    assert num_hooks(network) == 0
