"""A network's last linear layer: what enters it, and how another one takes its place."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from config.errors import UserError
from training.similarity.taps import last_linear, penultimate_features

if TYPE_CHECKING:
    from sklearn.preprocessing import StandardScaler

    from training.data.batches import ExampleSet

Values = npt.NDArray[np.float64]

BATCH_SIZE = 64
MAX_ITERATIONS = 1000
NEVER = -30.0  # the logit of a class that nothing was fitted to


def last_layer(network: nn.Module) -> nn.Linear:
    """Return a network's last linear layer, which has a bias.

    Raises:
        UserError: it has none.
    """
    layer = network.get_submodule(last_linear(network))
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise UserError(
            "[training_defaults] at_method: it fits the last linear layer and its bias anew, and "
            "this network has none; choose another network or another method"
        )
    return layer


def features_of(network: nn.Module, examples: "ExampleSet") -> Values:
    """Return what enters the last linear layer for each example of a set, (examples, features)."""
    inputs = (batch.inputs for batch in examples.batches(BATCH_SIZE))
    return penultimate_features(network, inputs).double().numpy()


def standardised_features(
    network: nn.Module, examples: "ExampleSet"
) -> "tuple[Values, StandardScaler]":
    """Return the features of a set, standardised by themselves, and what did it."""
    from sklearn.preprocessing import StandardScaler

    features = features_of(network, examples)
    scaler = StandardScaler().fit(features)
    return scaler.transform(features), scaler


def fit_classifier(
    features: Values,
    labels: npt.NDArray[np.int64],
    num_classes: int,
    strength: float = 1.0,
    weights: Values | None = None,
) -> tuple[Values, Values]:
    """Fit a multinomial logistic regression.

    Args:
        features: (examples, features), standardised.
        labels: (examples,).
        strength: the inverse of the squared penalty's weight.
        weights: of the examples, (examples,); None: all are 1.

    Returns:
        Weight (classes, features) and bias (classes,).
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not quite converged is near enough
        model.fit(features, labels, weights)
    weight, bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, NEVER)
    if len(model.classes_) == 2:  # scikit-learn has one row for both
        bias[model.classes_] = 0.0
        weight[model.classes_[1]], bias[model.classes_[1]] = model.coef_[0], model.intercept_[0]
    else:
        weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    return weight, bias


def replace_last_layer(
    layer: nn.Linear, weight: Values, bias: Values, scaler: "StandardScaler"
) -> None:
    """Give a layer weight and bias that were fitted to features which a scaler standardised."""
    folded = weight / scaler.scale_
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(folded))
        layer.bias.copy_(torch.from_numpy(bias - folded @ scaler.mean_))
