"""Balanced sampling: every group of class and nuisance is seen equally often.

Source: Idrissi, Arjovsky, Pezeshki, Lopez-Paz, "Simple data balancing achieves competitive
worst-group-accuracy", CLeaR 2022, arXiv 2110.14503, section 3 (RWG).
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.methods import Method, MethodInputs
from training.methods.groups import balanced_weights, group_numbers

if TYPE_CHECKING:
    from training.data.batches import Batch


class BalancedSampling(Method):
    """Draws the training examples with a probability of one over the size of their group.

    In evaluation the losses are weighed to the same end: a shortcut that most of the validation set
    has, too, is not to decide which epoch is best.

    Args:
        weights: (examples of the matrices,), of `balanced_weights`.
        rows: of the training set, (training examples,).
    """

    def __init__(self, weights: Tensor, rows: Tensor) -> None:
        super().__init__()
        self.weights = weights
        self.rows = rows

    def sampling(self) -> Tensor:
        """Return one over the size of each example's group, but for a factor."""
        return self.weights[self.rows]

    def weigh(self, losses: Tensor, batch: "Batch") -> Tensor:
        """Return losses whose mean over a set is that over its groups; in training as they are."""
        if torch.is_grad_enabled():
            return losses
        return losses * self.weights[batch.rows].to(losses.device)


def build(inputs: MethodInputs) -> list[BalancedSampling]:
    """Build the sampling by the nuisance that at_dataset names, or its expert's guess."""
    weights = balanced_weights(inputs, group_numbers(inputs))
    return [BalancedSampling(weights, torch.from_numpy(inputs.sets["training"].rows))]
