"""LEACE: nothing linear that tells the nuisance is left in what the last layer reads.

Source: Belrose et al., "LEACE: Perfect linear concept erasure in closed form", NeurIPS 2023, arXiv
2306.03819, section 4: x -> x - W^+ P W (x - E[x]) where W whitens x and P projects orthogonally on
the columns of W Cov(x, nuisance); by its authors' package concept-erasure. As in their experiment
on fairness a new linear classifier is then fitted to the erased features: the old one weighs
directions that are gone. Both together are one linear layer, which takes the last one's place.

It removes whatever varies with the nuisance: where that follows the class, much of the class.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.methods import Method, MethodInputs
from training.methods.last_layer import (
    Values,
    fit_classifier,
    last_layer,
    replace_last_layer,
    standardised_features,
)

if TYPE_CHECKING:
    from training.data.batches import ExampleSet


class LinearErasure(Method):
    """Erases the nuisance from the penultimate features, and fits the last layer to the rest.

    Args:
        nuisance: (examples of the matrices,), UNKNOWN = -1 being one more value.
    """

    def __init__(self, nuisance: Tensor) -> None:
        super().__init__()
        self.nuisance = nuisance

    def finish(self, network: nn.Module, sets: "Mapping[str, ExampleSet]") -> None:
        """Replace weight and bias of the last layer."""
        training, layer = sets["training"], last_layer(network)
        features, scaler = standardised_features(network, training)
        projection = erasing_projection(features, self.nuisance[torch.from_numpy(training.rows)])
        labels = training.labels.cpu().numpy()
        weight, bias = fit_classifier(features @ projection.T, labels, layer.out_features)
        replace_last_layer(layer, weight @ projection, bias, scaler)


def erasing_projection(features: Values, nuisance: Tensor) -> Values:
    """Return the matrix (features, features) that leaves nothing linear of the nuisance.

    Args:
        features: (examples, features), their means 0.
        nuisance: (examples,), from -1.
    """
    from concept_erasure import LeaceEraser

    values = functional.one_hot(nuisance + 1).double()
    # As published: without what the package does besides against small samples.
    as_published = {"shrinkage": False, "constrain_cov_trace": False, "svd_tol": 1e-6}
    eraser = LeaceEraser.fit(torch.from_numpy(features), values, **as_published)
    return np.asarray(eraser.P)


def build(inputs: MethodInputs) -> list[LinearErasure]:
    """Build it for the nuisance that at_dataset names, or its expert's guess."""
    last_layer(inputs.model)
    return [LinearErasure(inputs.nuisance())]
