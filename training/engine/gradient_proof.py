"""Proof, before a training starts, that each penalised layer's term can train the network."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from training.methods.anti_transfer import AntiTransferLoss
from training.similarity.taps import unwrap


@dataclass(frozen=True)
class LayerGradient:
    """Euclidean norms of one layer's term differentiated by its activation and by the parameters.

    Attributes:
        name: the term's, such as noisyspeech_layer13.
        activation: 0 if the activation depends on nothing that is trained.
        parameters: over all of the model's parameters.
    """

    name: str
    activation: float
    parameters: float

    @property
    def arrives(self) -> bool:
        """Whether training can act on the term."""
        norms = (self.activation, self.parameters)
        return all(isfinite(norm) and norm > 0 for norm in norms)


def layers_without_gradient(
    model: nn.Module, penalty: AntiTransferLoss, inputs: Tensor, classes: Tensor | None = None
) -> list[LayerGradient]:
    """Penalised layers whose term trains nothing: its gradient is zero, or not finite.

    The first convolution with tap="input" is one: what enters it is the spectrum itself.

    Args:
        model: the network that the penalty was made for.
        penalty: open or not.
        inputs: one batch, `(batch, channels, frames, bins)`.
        classes: its labels, `(batch,)`, for a penalty that needs them.
    """
    gradients = layer_gradients(model, penalty, inputs, classes)
    return [gradient for gradient in gradients if not gradient.arrives]


def layer_gradients(
    model: nn.Module, penalty: AntiTransferLoss, inputs: Tensor, classes: Tensor | None = None
) -> list[LayerGradient]:
    """The norm of each penalised layer's gradient, on one batch in evaluation mode.

    Parameters' `.grad`, random states, running statistics, the model's mode and the penalty's terms
    are afterwards as before. The arguments are those of `layers_without_gradient`.
    """
    model = unwrap(model)
    parameters = [each for each in model.parameters() if each.requires_grad]
    modes = {module: module.training for module in model.modules()}
    state = penalty.generator.get_state()
    try:
        model.eval()
        with nullcontext() if penalty.taps.is_open else penalty, torch.enable_grad():
            model(inputs)
            activations = penalty.taps.take()
            terms = penalty.layer_losses(activations, penalty.frozen_aggregates(inputs), classes)
        return [
            LayerGradient(penalty.term_name(layer), *_norms(term, activations[layer], parameters))
            for layer, term in terms.items()
        ]
    finally:
        penalty.generator.set_state(state)
        for module, training in modes.items():
            module.training = training


def _norms(term: Tensor, activation: Tensor, parameters: Sequence[Tensor]) -> tuple[float, float]:
    if not (term.requires_grad and activation.requires_grad):
        return 0.0, 0.0
    first, *others = torch.autograd.grad(
        term, [activation, *parameters], retain_graph=True, allow_unused=True
    )
    return _norm([first]), _norm(others)


def _norm(gradients: Iterable[Tensor | None]) -> float:
    squares = (float(each.double().square().sum()) for each in gradients if each is not None)
    return float(sum(squares) ** 0.5)
