"""Learned mixin: the network decides for each example how much of the expert it is trained with.

Source: Clark, Yatskar, Zettlemoyer, "Don't take the easy way out: ensemble based methods for
avoiding known dataset biases", EMNLP 2019, section 3.2 (learned-mixin+H).
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.methods import Method, MethodInputs
from training.similarity.aggregations import pool
from training.similarity.taps import Taps, last_linear, unwrap

if TYPE_CHECKING:
    from training.data.batches import Batch


class LearnedMixin(Method):
    """The expert's log-probabilities times g(h) = softplus(w h + b) are added to the logits.

    h are the penultimate features. The gate alone could close, and leave the network the shortcut;
    the entropy of softmax(g log p) is therefore added to the loss. As in the product of experts,
    log p is what the expert knows beyond the prior of the classes, which the network learns itself.

    Args:
        expert: `(examples, classes)`, its log-probabilities less the prior's.
        beta: weight of the entropy; 0: the learned mixin without H.
        seed: of the gate's first weights.
    """

    def __init__(self, model: nn.Module, expert: Tensor, beta: float, seed: int) -> None:
        super().__init__()
        self.layer = last_linear(model)
        self.taps: Taps = Taps(model, (self.layer,), "input")
        weight = unwrap(model).get_parameter(f"{self.layer}.weight")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.gate = nn.Linear(weight.shape[1], 1)
        self.gate.to(weight.device)
        self.expert = expert
        self.beta = beta

    def adjust(self, outputs: Tensor, batch: "Batch") -> Tensor:
        """Add what the gate lets through of the expert."""
        features = pool(self.taps.take()[self.layer])
        expert = self.expert[batch.rows].to(outputs.device, non_blocking=True)
        self._mixed_in = functional.softplus(self.gate(features).float()) * expert
        return outputs + self._mixed_in

    def loss(self, _batch: "Batch", _outputs: Tensor, _progress: float) -> Tensor:
        """Return the weighted entropy of what was let through."""
        log_probabilities = self._mixed_in.log_softmax(1)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(1).mean()
        self.terms = {"mixin_entropy": entropy.detach()}
        return self.beta * entropy

    def parameters(self) -> list[nn.Parameter]:
        """Return the gate's."""
        return list(self.gate.parameters())


def build(inputs: MethodInputs) -> list[LearnedMixin]:
    """Build it from the expert of at_dataset, with at_beta as the weight of the entropy."""
    (beta,) = inputs.training.at_beta
    return [LearnedMixin(inputs.model, inputs.expert().beyond_prior, beta, inputs.seed)]
