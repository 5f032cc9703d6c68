"""Deep feature reweighting: the last layer is fitted anew where no group outweighs another.

Source: Kirichenko, Izmailov, Wilson, "Last layer re-training is sufficient for robustness to
spurious correlations", ICLR 2023, arXiv 2204.02937 (DFR, trained on Tr, fitted on Val): the
network is trained as ever; then its last layer becomes a logistic regression on the standardised
features of a validation set in which all groups count alike, its strength chosen on half of it.

The source cuts all groups to the size of the smallest, and takes the mean over several such cuts.
Here groups are many and some have a single example, so all examples stay, weighed by one over the
size of their group. The penalty is squared, not absolute, which has no fast solver for many
classes; and the strength has the best mean, not worst, accuracy of the groups.

The result's figures of the validation set are those of data that the last layer was fitted to.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from training.methods import Method, MethodInputs
from training.methods.groups import balanced_weights, group_numbers
from training.methods.last_layer import (
    fit_classifier,
    last_layer,
    replace_last_layer,
    standardised_features,
)

if TYPE_CHECKING:
    from training.data.batches import ExampleSet

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


class LastLayerRetraining(Method):
    """Fits the last layer anew to the validation set.

    Args:
        weights: (examples of the matrices,), of `balanced_weights`.
        seed: of the halves that the strength is chosen with.
    """

    def __init__(self, weights: Tensor, seed: int) -> None:
        super().__init__()
        self.weights = weights.double().numpy()
        self.seed = seed

    def finish(self, network: nn.Module, sets: "Mapping[str, ExampleSet]") -> None:
        """Replace weight and bias of the last layer."""
        validation, layer = sets["validation"], last_layer(network)
        features, scaler = standardised_features(network, validation)
        labels = validation.labels.cpu().numpy()
        weights, num_classes = self.weights[validation.rows], layer.out_features
        order = np.random.default_rng(self.seed).permutation(len(labels))
        known, other = np.array_split(order, 2)

        def error(strength: float) -> float:
            """Return how many of one half a fit to the other gets wrong, weighed."""
            weight, bias = fit_classifier(
                features[known], labels[known], num_classes, strength, weights[known]
            )
            predictions = (features[other] @ weight.T + bias).argmax(axis=1)
            return float(weights[other] @ (predictions != labels[other]))

        best = min(STRENGTHS, key=error)
        weight, bias = fit_classifier(features, labels, num_classes, best, weights)
        replace_last_layer(layer, weight, bias, scaler)


def build(inputs: MethodInputs) -> list[LastLayerRetraining]:
    """Build it for the nuisance that at_dataset names, or its expert's guess."""
    last_layer(inputs.model)
    return [LastLayerRetraining(balanced_weights(inputs, group_numbers(inputs)), inputs.seed)]
