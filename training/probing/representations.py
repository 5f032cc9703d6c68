"""What the layers of a trained network hold for a set of examples, beside frozen networks' layers.

Full activations exist for one batch at a time only.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.probing.files import PENULTIMATE
from training.similarity.aggregations import pool
from training.similarity.alignment import debiased_linear_cka
from training.similarity.gram import mean_absolute_cosine
from training.similarity.layer_loss import aggregate
from training.similarity.taps import Layer, Taps, convolutions, last_linear

BATCH_BYTES = 256 * 2**20
MOST_EXAMPLES = 64


@dataclass(frozen=True)
class Comparison:
    """How alike a network's layer and a frozen network's are, over all examples.

    Attributes:
        linear_cka: debiased, of average-pooled activations.
        gram_cosine: as the anti-transfer loss measures it, before squaring: mean over examples and
            channels of the absolute cosine of rows of the Gram matrices; None of a linear layer,
            and of layers with other numbers of channels.
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


def layers_of(network: nn.Module, named: Iterable[str] = ()) -> list[Layer]:
    """Return a network's convolutions by their numbers, and further modules by their names."""
    return [*range(1, len(convolutions(network)) + 1), *named]


def batch_size_for(network: nn.Module, example: Tensor, layers: Sequence[Layer]) -> int:
    """Choose so many examples that their activations take about BATCH_BYTES.

    Args:
        example: one, (1, channels, frames, bins), on the network's device.
    """
    with torch.inference_mode():
        activations = _activations(network.eval(), example, layers)
    values = sum(each.numel() for layer, each in activations.items() if layer != PENULTIMATE)
    return max(1, min(MOST_EXAMPLES, BATCH_BYTES // (4 * max(1, values))))


def layer_contents(
    model: nn.Module,
    frozen: Mapping[str, nn.Module | Tensor],
    batches: Iterable[Tensor],
    layers: Sequence[Layer],
) -> dict[str, LayerContent]:
    """Run networks once over some examples, in evaluation mode and without gradients.

    Args:
        model: its mode is set to evaluation.
        frozen: networks by name, for which the same holds. One whose modules have other names is
            compared at PENULTIMATE alone. Or features of all examples, (examples, features), which
            every layer is compared with.
        batches: inputs (batch, channels, frames, bins) on the networks' device.
        layers: of the model.

    Returns:
        The content of each layer, and of PENULTIMATE if there is a linear layer, in that order.
    """
    own: dict[str, _Sums] = defaultdict(_Sums)
    features = {name: each for name, each in frozen.items() if isinstance(each, Tensor)}
    networks = {name: each for name, each in frozen.items() if isinstance(each, nn.Module)}
    others: dict[str, dict[str, _Sums]] = {name: defaultdict(_Sums) for name in networks}
    for network in (model, *networks.values()):
        network.eval()
    shared = {
        name: layers if _module_names(network) == _module_names(model) else ()
        for name, network in networks.items()
    }
    with torch.inference_mode():
        for inputs in batches:
            activations = _activations(model, inputs, layers)
            for layer, activation in activations.items():
                own[layer].add(activation)
            for name, network in networks.items():
                theirs = _activations(network, inputs, shared[name])
                for layer in theirs.keys() & activations.keys():
                    others[name][layer].add(theirs[layer], activations[layer])
        return {
            layer: LayerContent(
                sums.features,
                sums.root_mean_square,
                {
                    name: _compare(sums, of_frozen[layer].features, of_frozen[layer].cosine)
                    for name, of_frozen in others.items()
                    if layer in of_frozen
                }
                | {name: _compare(sums, each) for name, each in features.items()},
            )
            for layer, sums in own.items()
        }


def _module_names(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_modules()]


def _activations(network: nn.Module, inputs: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    last = [name for name in [last_linear(network)] if name]
    with Taps(network, layers) as outputs, Taps(network, last, tap="input") as inner:
        network(inputs)
        taken = [*outputs.take().items(), *((PENULTIMATE, each) for each in inner.take().values())]
        return {str(layer): activation for layer, activation in taken}


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
        self._pooled.append(pool(activation).float().cpu())
        self._squares.append(activation.double().square().sum().cpu())
        self._num_values += activation.numel()
        if (
            compared is not None
            and activation.ndim == compared.ndim == 4
            and activation.shape[1] == compared.shape[1]
        ):
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


def _compare(current: _Sums, features: Tensor, gram_cosine: float | None = None) -> Comparison:
    alignment = debiased_linear_cka(current.features.double(), features.double())
    return Comparison(float(alignment), gram_cosine)
