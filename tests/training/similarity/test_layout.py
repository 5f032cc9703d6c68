"""The axes of tapped activations, of networks that are no 2-D convolutional ones, by hand."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from config.errors import UserError
from training.similarity.taps import Taps, activations_until

BATCH, FRAMES, FEATURES = 4, 11, 6


class Block(nn.Module):
    """A residual block of a time-delay network, with an operation in place at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(FEATURES, FEATURES, 3, padding=1)
        self.norm = nn.BatchNorm1d(FEATURES)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.relu(self.norm(self.conv(inputs)))
        return inputs + outputs


class Hidden(OrderedDict[str, Any]):
    """What models of the Hugging Face library return: a mapping that is read by attributes too."""


class Named(NamedTuple):
    """As of torchvision's networks with several outputs."""

    values: Tensor
    weights: Tensor


class Wrapped(nn.Module):
    """A layer whose output is within something."""

    def __init__(self, wrap: Callable[[Tensor], Any], *others: nn.Module) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, FEATURES)
        self.others = nn.ModuleList(others)
        self.wrap = wrap

    def forward(self, inputs: Tensor) -> Any:
        return self.wrap(self.linear(inputs))


class Network(nn.Module):
    """Takes (batch, frames, features), and gives one value for each example."""

    def __init__(self, layer: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.layer = layer
        self.before, self.after = before or (lambda inputs: inputs), after or (lambda out: out)
        self.last = nn.Linear(1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        values: Tensor = self.after(self.layer(self.before(inputs)))
        logits: Tensor = self.last(values.flatten(1).square().mean(1, keepdim=True))
        return logits


def encoder(batch_first: bool) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(FEATURES, 2, 12, dropout=0.0, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def transposed(values: Tensor) -> Tensor:
    return values.mT


def frames_first(values: Tensor) -> Tensor:
    return values.transpose(0, 1)


def time_delay() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(FEATURES, 5, 3),
        nn.BatchNorm1d(5),
        nn.ReLU(inplace=True),
        nn.Dropout(0.0),
        nn.Conv1d(5, 7, 3),
    )


def unchanged(values: Tensor) -> Tensor:
    return values


def first(values: Any) -> Tensor:
    tensor: Tensor = values[0]
    return tensor


# Network, module, and how its output becomes (batch, channels, frames).
Case = tuple[Callable[[], Network], str, Callable[[Any], Tensor]]
CASES: dict[str, Case] = {
    "convolution": (lambda: Network(time_delay(), transposed), "layer.4", unchanged),
    "block": (lambda: Network(nn.Sequential(Block(), Block()), transposed), "layer.0", unchanged),
    "transformer": (lambda: Network(encoder(batch_first=True)), "layer.layers.0", transposed),
    "inner norm": (lambda: Network(encoder(batch_first=True)), "layer.layers.1.norm1", transposed),
    "frames first": (
        lambda: Network(encoder(batch_first=False), frames_first, frames_first),
        "layer.layers.0",
        lambda out: out.permute(1, 2, 0),
    ),
    "LSTM": (
        lambda: Network(nn.LSTM(FEATURES, 3, bidirectional=True, batch_first=True), after=first),
        "layer",
        lambda out: first(out).mT,
    ),
    "named tuple": (
        lambda: Network(Wrapped(lambda each: Named(each, each)), after=lambda out: out.values),
        "layer",
        lambda out: out.values.mT,
    ),
    "mapping": (
        lambda: Network(
            Wrapped(lambda values: Hidden(last_hidden_state=values), nn.Conv1d(1, 1, 1)),
            after=lambda out: out["last_hidden_state"],
        ),
        "layer",
        lambda out: out["last_hidden_state"].mT,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_three_axes_become_batch_channels_frames_and_one_bin(case: str) -> None:
    make, layer, order = CASES[case]
    torch.manual_seed(0)
    network = make()
    inputs = torch.randn(BATCH, FRAMES, FEATURES)
    outputs: list[Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(
        lambda *call: outputs.append(order(call[2]).clone())
    )
    plain = network(inputs)
    hook.remove()
    plain.sum().backward()
    expected = outputs[0].unsqueeze(-1)
    gradients = {name: each.grad for name, each in network.named_parameters()}
    network.zero_grad()
    with Taps(network, layer) as taps:
        tapped = network(inputs)
        activation = taps[layer]
        assert torch.equal(activation, expected)
        # The network's output depends on the tapped tensor itself.
        (gradient,) = torch.autograd.grad(tapped.sum(), activation, retain_graph=True)
        assert gradient.abs().sum() > 0
        tapped.sum().backward()
    assert torch.equal(tapped, plain)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name])
    with torch.inference_mode():
        found = activations_until(network, inputs, layer)[layer]
    torch.testing.assert_close(found, expected)


def test_a_number_counts_convolutions_over_time_too() -> None:
    network, inputs = Network(time_delay(), transposed).eval(), torch.randn(BATCH, FRAMES, FEATURES)
    with Taps(network, [1, 2]) as taps:
        network(inputs)
        by_hand = time_delay().eval()
        by_hand.load_state_dict(network.layer.state_dict())
        assert torch.equal(taps[1][..., 0], by_hand[:3](inputs.mT))
        assert torch.equal(taps[2][..., 0], by_hand(inputs.mT))


class Mixed(nn.Module):
    """As in a Conformer: a convolution among linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(FEATURES, FEATURES, 3, padding=1)
        self.linear = nn.Linear(FEATURES, FEATURES)
        self.final_norm = nn.LayerNorm(FEATURES)

    def forward(self, inputs: Tensor) -> Tensor:
        values: Tensor = self.final_norm(self.linear(self.conv(inputs.mT).mT))
        return values


@pytest.mark.parametrize(
    ("network", "layer", "words"),
    [
        (lambda: Network(Mixed()), "layer", "do not say which axis has the channels"),
        (
            lambda: Network(encoder(batch_first=False), frames_first, frames_first),
            "layer.layers.0.norm1",
            r"is \(11, 4, 6\), and the batch of 4 examples was looked for on axis 0",
        ),
        (
            lambda: Network(Wrapped(lambda values: [values]), after=lambda out: out[0]),
            "layer",
            "its output is list, not one tensor",
        ),
    ],
)
def test_axes_that_are_not_clear_are_refused(
    network: Callable[[], Network], layer: str, words: str
) -> None:
    model = network()
    with Taps(model, layer), pytest.raises(UserError, match=words):
        model(torch.randn(BATCH, FRAMES, FEATURES))


def test_within_a_block_of_both_kinds_each_says_its_own() -> None:
    model, inputs = Network(Mixed()), torch.randn(BATCH, FRAMES, FEATURES)
    with Taps(model, ["layer.conv", "layer.final_norm"]) as taps:
        model(inputs)
        mixed: Any = model.layer
        convolved = mixed.conv(inputs.mT)
        assert torch.equal(taps["layer.conv"][..., 0], convolved)
        expected = mixed.final_norm(mixed.linear(convolved.mT)).mT
        assert torch.equal(taps["layer.final_norm"][..., 0], expected)


def test_the_input_of_a_layer_has_the_same_axes() -> None:
    model, inputs = Network(encoder(batch_first=True)), torch.randn(BATCH, FRAMES, FEATURES)
    with Taps(model, ["layer.layers.0", "layer.layers.1.linear1"], "input") as taps:
        model(inputs)
        assert torch.equal(taps["layer.layers.0"][..., 0], inputs.mT)
        assert taps["layer.layers.1.linear1"].shape == (BATCH, FEATURES, FRAMES, 1)
