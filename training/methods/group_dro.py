"""GroupDRO: the groups of class and nuisance with the largest losses count the most.

Source: Sagawa, Koh, Hashimoto, Liang, "Distributionally robust neural networks for group shifts",
ICLR 2020, arXiv 1911.08731, algorithm 1.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.methods import MethodInputs
from training.methods.balanced_sampling import BalancedSampling
from training.methods.groups import balanced_weights, group_numbers

if TYPE_CHECKING:
    from training.data.batches import Batch


class GroupDRO(BalancedSampling):
    """Weighs each group's loss by q, which rises with it: q_g <- q_g exp(step * loss_g) / sum.

    As in algorithm 1 groups are drawn with equal probability, and q changes before the network
    does. An example's loss is multiplied by q times the number of groups, so that the network's
    step is of the usual size; loss_g is the mean over those of the batch that are in the group.

    Evaluation weighs all groups alike: q would measure every epoch with another measure.
    Of several processes each has its own q, of its part of the batches.

    Args:
        weights, rows: as for BalancedSampling.
        groups: (examples of the matrices,), from 0.
        step: of q, eta_q in the source, whose experiments have 0.01.

    Attributes:
        log_q: (groups,), float32 on the CPU; of a group that the training set lacks -inf.
    """

    def __init__(self, weights: Tensor, rows: Tensor, groups: Tensor, step: float) -> None:
        super().__init__(weights, rows)
        self.groups = groups
        self.step = step
        sizes = groups[rows].bincount(minlength=int(groups.max()) + 1)
        self.num_groups = int(sizes.count_nonzero())
        self.log_q = torch.zeros(len(sizes)).masked_fill(sizes == 0, -torch.inf).log_softmax(0)

    def weigh(self, losses: Tensor, batch: "Batch") -> Tensor:
        """Change q by a training batch's losses, and return them weighed."""
        if not torch.is_grad_enabled():
            return super().weigh(losses, batch)
        groups = self.groups[batch.rows]
        sizes = groups.bincount(minlength=len(self.log_q)).clamp(min=1)
        sums = torch.zeros_like(self.log_q).index_add(0, groups, losses.detach().float().cpu())
        self.log_q.copy_((self.log_q + self.step * sums / sizes).log_softmax(0))
        q = self.log_q.exp()
        return losses * (self.num_groups * q[groups]).to(losses.device)

    def state(self) -> list[Tensor]:
        """Return the logarithm of q."""
        return [self.log_q]

    def results(self, _progress: float) -> dict[str, float]:
        """Return how much of all weight the heaviest group had at the end of the training."""
        return {"largest_group_weight": float(self.log_q.exp().max())}


def build(inputs: MethodInputs) -> list[GroupDRO]:
    """Build it for the nuisance that at_dataset names, or its expert's guess."""
    groups = group_numbers(inputs)
    weights = balanced_weights(inputs, groups)
    rows = torch.from_numpy(inputs.sets["training"].rows)
    return [GroupDRO(weights, rows, groups, inputs.training.at_beta[0])]
