"""Gradient reversal: a layer is trained so that an adversary cannot read a label from it.

Source: Ganin et al., "Domain-adversarial training of neural networks", JMLR 17 (2016), 1-35; the
class-conditional form: Li et al., "Deep domain generalization via conditional invariant adversarial
networks", ECCV 2018, here one adversary that is told the class.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.methods import Method, MethodInputs
from training.methods.labels import UNKNOWN, column_labels
from training.similarity.taps import Layer, Taps, activations_until

if TYPE_CHECKING:
    from training.data.batches import Batch

HIDDEN_UNITS = 100  # of the adversary, as in the source's smaller networks
STEEPNESS = 10.0  # of the schedule, gamma in the source


class GradientReversal(Method):
    """An adversary that learns an orthogonal label, and whose gradient is reversed on its way back.

    The adversary reads a layer's activations, averaged over frames and bins: the target network's
    layers are of any size, and the published loss forgets where something is, too.

    Args:
        model: the network being trained.
        layer: the convolution, from 1, or module whose output is read.
        example: one input, by which the layer's channels are found.
        domains: `(rows,)`, the label of each row of the matrices, UNKNOWN where the training set
            has none like it; such examples do not count.
        name: of the label.
        weight: of the reversed gradient once the schedule has risen.
        seed: of the adversary's first weights.
        targets: what the adversary is told beside the activations, `(rows, features)`: then only
            what the layer says of the label beyond the target's value is taken from it.

    Attributes:
        head: the adversary, `(batch, channels and features of the target)` to `(batch, labels)`.
        terms: the adversary's own cross-entropy; empty if no label of the batch was known.

    Raises:
        UserError: the layer is unknown.
    """

    in_loss = False
    taps: Taps

    def __init__(
        self,
        model: nn.Module,
        layer: Layer,
        example: Tensor,
        domains: Tensor,
        name: str,
        weight: float,
        seed: int,
        targets: Tensor | None = None,
    ) -> None:
        self.taps = Taps(model, (layer,))
        self.layer = layer
        parameter = next(model.parameters())
        num_inputs = _num_channels(model, layer, example)
        num_inputs += targets.shape[1] if targets is not None else 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Sequential(
                nn.Linear(num_inputs, HIDDEN_UNITS),
                nn.ReLU(),
                nn.Linear(HIDDEN_UNITS, int(domains.max()) + 1),
            ).to(parameter.device)
        self.domains = domains
        self.name = name
        self.weight = weight
        self.targets = targets
        self.terms = {}

    def loss(self, batch: "Batch", _outputs: Tensor, progress: float) -> Tensor:
        """Compute the adversary's cross-entropy; 0 if no example's label is known.

        Its gradient trains the adversary; what arrives at the layer is reversed, and weighed by
        `reversal_weight`.
        """
        activation = self.taps.take()[self.layer]
        features = activation.flatten(2).float().mean(2)  # (B, C)
        read: Tensor = _Reversal.apply(  # type: ignore[no-untyped-call]
            features, self.weight * reversal_weight(progress)
        )
        if self.targets is not None:
            told = self.targets[batch.rows].to(read.device, non_blocking=True)
            read = torch.cat([read, told], dim=1)
        # Labels are looked up and counted on the CPU, where the rows are: no step waits for a GPU.
        domains = self.domains[batch.rows]
        num_known = int((domains != UNKNOWN).sum())
        logits = self.head(read).float()
        domains = domains.to(logits.device, non_blocking=True)
        total = functional.cross_entropy(logits, domains, ignore_index=UNKNOWN, reduction="sum")
        loss = total / max(1, num_known)
        # Without known labels there is no figure; 0 would look like a perfect adversary.
        self.terms = {f"{self.name}_adversary": loss.detach()} if num_known else {}
        return loss

    def parameters(self) -> list[nn.Parameter]:
        """Return the adversary's."""
        return list(self.head.parameters())

    def results(self, progress: float) -> dict[str, float]:
        """Return the reversed gradient's weight: an early best epoch had little of it."""
        return {"reversal_weight": self.weight * reversal_weight(progress)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight:g} * {self.name} at layer{self.layer})"


def build(inputs: MethodInputs) -> list[GradientReversal]:
    """Build the adversary of gradient_reversal_label."""
    training = inputs.training
    label, layer = training.gradient_reversal_label, training.gradient_reversal_layer
    assert label is not None and layer is not None  # the settings have both or none
    place = "[training_defaults] gradient_reversal_label"
    domains = column_labels(inputs.matrices, inputs.sets["training"].rows, label, place)
    weight = training.gradient_reversal_weight
    device = next(inputs.model.parameters()).device
    example = torch.zeros(1, 1, *inputs.matrices.predictors.shape[1:], device=device)
    targets = _targets(inputs) if training.gradient_reversal_conditional else None
    return [
        GradientReversal(inputs.model, layer, example, domains, label, weight, inputs.seed, targets)
    ]


def _targets(inputs: MethodInputs) -> Tensor:
    """Return each example's class as one-hot, of a regression its value; `(rows, features)`."""
    target = torch.tensor(inputs.matrices.target)
    is_classes = inputs.matrices.task == "classification"
    return (functional.one_hot(target) if is_classes else target[:, None]).float()


def _num_channels(model: nn.Module, layer: Layer, example: Tensor) -> int:
    """Return how many channels a layer gives; the model is left as it was."""
    modes = {module: module.training for module in model.modules()}
    with torch.no_grad():
        activation = activations_until(model.eval(), example, layer)[layer]
    for module, mode in modes.items():
        module.training = mode
    return activation.shape[1]


def reversal_weight(progress: float) -> float:
    """Rise from 0 to almost 1 over a training: 2 / (1 + exp(-10 progress)) - 1, section 5.2.2."""
    return 2 / (1 + math.exp(-STEEPNESS * progress)) - 1


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None
