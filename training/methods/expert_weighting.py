"""Weighting by the expert: examples count the more, the less their class follows from the nuisance.

What the frozen network knows predicts the target; one over the probability of the true class is the
weight that makes class and nuisance independent among the weighted examples, if the expert is
right. Without a cap single examples would decide.

Source: Puli et al., "Out-of-distribution generalization in the presence of nuisance-induced
spurious correlations", ICLR 2022, arXiv 2107.00520, reweighting-NURD by p(y) / p(y | z); here
without p(y), so that the classes become equally large, too.
"""

from typing import TYPE_CHECKING

import torch

from training.methods import Method, MethodInputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from training.data.batches import Batch

CAP = 10.0


class ExpertWeighting(Method):
    """Task losses are weighed by 1 / p(true class)^beta, at most CAP, on average 1 in training.

    Args:
        log_probabilities: of the expert, `(examples, classes)`.
        classes: `(examples,)`, the true ones.
        rows: of the training set.
    """

    def __init__(
        self,
        log_probabilities: "Tensor",
        classes: "Tensor",
        rows: "npt.NDArray[np.int64]",
        beta: float,
    ) -> None:
        super().__init__()
        of_true_class = log_probabilities.gather(1, classes[:, None]).squeeze(1)
        weights = (-beta * of_true_class).exp().clamp(max=CAP)
        self.weights = weights / weights[torch.from_numpy(rows)].mean()

    def weigh(self, losses: "Tensor", batch: "Batch") -> "Tensor":
        """Return the losses times their weights, of whichever set they are."""
        return losses * self.weights[batch.rows].to(losses.device, non_blocking=True)


def build(inputs: MethodInputs) -> list[ExpertWeighting]:
    """Build it from the expert of at_dataset; all count the same if that knows nothing."""
    expert, (beta,) = inputs.expert(), inputs.training.at_beta
    classes = torch.tensor(inputs.matrices.target)
    rows = inputs.sets["training"].rows
    return [ExpertWeighting(expert.predictions * expert.informed, classes, rows, beta)]
