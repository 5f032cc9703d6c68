"""Spectral decoupling: logits stay small, so that one feature that suffices does not starve others.

It needs no frozen network and no label but the target's.

Source: Pezeshki et al., "Gradient starvation: a learning proclivity in neural networks", NeurIPS
2021, arXiv 2011.09468, section "Spectral decoupling": lambda / 2 times the squared logits.
"""

from typing import TYPE_CHECKING

from training.methods import Method, MethodInputs

if TYPE_CHECKING:
    from torch import Tensor

    from training.data.batches import Batch


class SpectralDecoupling(Method):
    """Half the mean square of the network's outputs, times beta, is added to the loss."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def loss(self, _batch: "Batch", outputs: "Tensor", _progress: float) -> "Tensor":
        """Return the penalty."""
        penalty = self.beta / 2 * outputs.square().mean()
        self.terms = {"spectral_decoupling": penalty.detach()}
        return penalty


def build(inputs: MethodInputs) -> list[SpectralDecoupling]:
    """Build it with the weight at_beta."""
    (beta,) = inputs.training.at_beta
    return [SpectralDecoupling(beta)]
