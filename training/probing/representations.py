"""What the layers of a trained network hold for a set of examples, beside frozen networks' layers.

Full activations exist for one batch at a time only.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from config.settings import NUM_CONVOLUTIONS
from training.models.architecture import convolution_outputs
from training.probing.files import PENULTIMATE
from training.similarity.alignment import debiased_linear_cka
from training.similarity.gram import mean_absolute_cosine
from training.similarity.layer_loss import aggregate
from training.similarity.taps import Taps, last_linear

CONVOLUTIONS = tuple(str(number) for number in range(1, NUM_CONVOLUTIONS + 1))
LAYERS = (*CONVOLUTIONS, PENULTIMATE)
BATCH_BYTES = 256 * 2**20
MOST_EXAMPLES = 64


@dataclass(frozen=True)
class Comparison:
    """How alike a network's layer and a frozen network's are, over all examples.

    Attributes:
        linear_cka: debiased, of average-pooled activations.
        gram_cosine: as the anti-transfer loss measures it, before squaring: mean over examples and
            channels of the absolute cosine of rows of the Gram matrices; None of a linear layer.
    """

    linear_cka: float
    gram_cosine: float | None


@dataclass(frozen=True)
class LayerContent:
    """What one layer holds.

    Attributes:
        features: (examples, features), float32 on the CPU: after the ReLU, averaged over frames and
            bins; of the penultimate layer, what enters the last linear layer.
        activation_norm: root mean square over examples, channels, frames and bins.
        comparisons: with each frozen network.
    """

    features: Tensor
    activation_norm: float
    comparisons: dict[str, Comparison]


def batch_size_for(width: float, num_frames: int, num_bins: int) -> int:
    """So many examples that the activations of one network take about BATCH_BYTES."""
    values = sum(each.size for each in convolution_outputs(width, num_frames, num_bins))
    return max(1, min(MOST_EXAMPLES, BATCH_BYTES // (4 * values)))


def layer_contents(
    model: nn.Module, frozen: Mapping[str, nn.Module], batches: Iterable[Tensor]
) -> dict[str, LayerContent]:
    """Run networks once over some examples, in evaluation mode and without gradients.

    Args:
        model: with 13 convolutions and a linear layer; its mode is set to evaluation.
        frozen: networks of the same architecture by name; the same holds for them.
        batches: inputs (batch, channels, frames, bins) on the networks' device.

    Returns:
        The content of each of LAYERS, in that order.
    """
    own = {layer: _Sums() for layer in LAYERS}
    others = {name: {layer: _Sums() for layer in LAYERS} for name in frozen}
    for network in (model, *frozen.values()):
        network.eval()
    with torch.inference_mode():
        for inputs in batches:
            activations = _activations(model, inputs)
            for layer, activation in activations.items():
                own[layer].add(activation)
            for name, network in frozen.items():
                for layer, activation in _activations(network, inputs).items():
                    others[name][layer].add(activation, activations[layer])
        return {
            layer: LayerContent(
                own[layer].features,
                own[layer].root_mean_square,
                {name: _compare(own[layer], sums[layer]) for name, sums in others.items()},
            )
            for layer in LAYERS
        }


def _activations(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    convolutions = range(1, NUM_CONVOLUTIONS + 1)
    linear = last_linear(network)
    with Taps(network, convolutions) as outputs, Taps(network, [linear], tap="input") as inner:
        network(inputs)
        found = {str(number): activation for number, activation in outputs.take().items()}
        return {**found, PENULTIMATE: inner.take()[linear]}


class _Sums:
    """What is kept of a layer's activations, batch by batch."""

    def __init__(self) -> None:
        self._pooled: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._cosines: list[Tensor] = []
        self._num_values = 0

    def add(self, activation: Tensor, compared: Tensor | None = None) -> None:
        """Count a batch: (batch, channels, frames, bins) or (batch, features).

        Args:
            compared: the same layer of the network that this one is compared with.
        """
        pooled = activation.flatten(2).mean(2) if activation.ndim > 2 else activation
        self._pooled.append(pooled.float().cpu())
        self._squares.append(activation.double().square().sum().cpu())
        self._num_values += activation.numel()
        if compared is not None and activation.ndim == 4:
            cosine = mean_absolute_cosine(compared, aggregate(activation, "gram"))
            self._cosines.append(cosine.double().cpu() * len(activation))

    @property
    def features(self) -> Tensor:
        """(examples, features)"""
        return torch.cat(self._pooled)

    @property
    def root_mean_square(self) -> float:
        """Over all values of all examples."""
        return math.sqrt(float(torch.stack(self._squares).sum()) / self._num_values)

    @property
    def cosine(self) -> float | None:
        """Mean over the examples."""
        if not self._cosines:
            return None
        return float(torch.stack(self._cosines).sum() / len(self.features))


def _compare(current: _Sums, frozen: _Sums) -> Comparison:
    alignment = debiased_linear_cka(current.features.double(), frozen.features.double())
    return Comparison(float(alignment), frozen.cosine)
