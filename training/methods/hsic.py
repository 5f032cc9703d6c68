"""Independence from what a frozen network knows, by the Hilbert-Schmidt criterion (HSIC).

The nearest relative of anti-transfer: away from the representation of a network that is biased by
design, in whatever way the two depend on each other.

Source: Bahng et al., "Learning de-biased representations with biased representations" (ReBias),
ICML 2020, arXiv 1910.02806, section 3, with biased features that stay as they are; HSIC_1 of Song
et al., "Feature selection via dependence maximization", JMLR 13 (2012), equation 5.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from training.methods import Method, MethodInputs
from training.similarity.aggregations import pool
from training.similarity.taps import Layer, Taps, last_linear

if TYPE_CHECKING:
    from training.data.batches import Batch

FEWEST_EXAMPLES = 4  # of which HSIC_1 is defined


class Independence(Method):
    """HSIC of a network's features and frozen ones within a batch, times beta.

    Args:
        frozen: `(examples, features)`.
        layers: whose outputs, averaged over frames and bins, are the features, each with a term of
            its own; none: what enters the last linear layer.
    """

    def __init__(
        self, model: nn.Module, frozen: Tensor, layers: tuple[Layer, ...], beta: float
    ) -> None:
        super().__init__()
        self.taps: Taps = (
            Taps(model, layers) if layers else Taps(model, last_linear(model), "input")
        )
        self.frozen = frozen
        self.beta = beta

    def loss(self, batch: "Batch", outputs: Tensor, _progress: float) -> Tensor | None:
        """Return the sum over the layers; None for a batch of too few examples."""
        activations = self.taps.take()
        if len(batch.rows) < FEWEST_EXAMPLES:
            return None
        frozen = rbf_kernel(self.frozen[batch.rows].to(outputs.device, non_blocking=True))
        kernels = [rbf_kernel(pool(activation)) for activation in activations.values()]
        dependence = torch.stack([unbiased_hsic(kernel, frozen) for kernel in kernels]).sum()
        self.terms = {"hsic": dependence.detach()}
        return self.beta * dependence


def rbf_kernel(features: Tensor) -> Tensor:
    """Return exp(-d^2 / (2 m^2)) of all pairs of `(examples, features)`, m their median distance.

    The scale of the features then makes no difference, and counts as a constant in the gradient.
    """
    with torch.autocast(features.device.type, enabled=False):
        distances = torch.cdist(features.float(), features.float())
        others = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
        median = distances.detach()[others].median().clamp(min=torch.finfo(distances.dtype).tiny)
        return (-(distances / median).square() / 2).exp()


def unbiased_hsic(first: Tensor, second: Tensor) -> Tensor:
    """Estimate HSIC from two kernels `(examples, examples)`; 0 on average for independent ones."""
    count = len(first)
    first, second = (each - each.diagonal().diag() for each in (first, second))
    sums, other_sums = first.sum(0), second.sum(0)
    products = (first * second).sum()
    totals = sums.sum() * other_sums.sum() / ((count - 1) * (count - 2))
    return (products + totals - 2 / (count - 2) * sums @ other_sums) / (count * (count - 3))


def build(inputs: MethodInputs) -> list[Independence]:
    """Build it for all that at_dataset names together, at at_layer if that is given."""
    layers = tuple(layer for group in inputs.training.at_layer for layer in group)
    (beta,) = inputs.training.at_beta
    return [Independence(inputs.model, inputs.knowledge(), layers, beta)]
