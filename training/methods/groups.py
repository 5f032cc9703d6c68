"""Groups of examples that share class and nuisance, and weights by which all groups count alike."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from training.methods import MethodInputs


def group_numbers(inputs: "MethodInputs") -> Tensor:
    """Number the groups, from 0 without gaps; an unknown nuisance is one more value of it.

    Returns:
        `(examples of the matrices,)`, int64.
    """
    pairs = np.stack([inputs.matrices.target, inputs.nuisance().numpy()])
    _, numbers = np.unique(pairs, axis=1, return_inverse=True)
    return torch.from_numpy(numbers)


def balanced_weights(inputs: "MethodInputs", groups: Tensor) -> Tensor:
    """Weigh examples so that within each set every group counts the same.

    Returns:
        `(examples of the matrices,)`, float32: their mean over a set is 1, and that of a set's
        weighed losses is the mean over its groups of each group's mean loss.
    """
    weights = torch.ones(len(groups))
    for examples in inputs.sets.values():
        of_set = groups[examples.rows]
        sizes = of_set.bincount()
        weights[examples.rows] = len(of_set) / (sizes.count_nonzero() * sizes[of_set])
    return weights
