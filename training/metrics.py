"""Figures of a set of predictions, computed once over the whole set."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Task = Literal["classification", "regression"]

SET_METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("loss", "acc", "f1", "precision", "recall"),
    "regression": ("loss", "RMSE", "MAE"),
}


def classification_metrics(
    labels: "npt.NDArray[np.int64]", predictions: "npt.NDArray[np.int64]"
) -> dict[str, float]:
    """Accuracy, and F1, precision and recall as unweighted means over the classes that occur.

    A class that occurs in the labels or in the predictions alone counts with 0.

    Args:
        labels: the truth, (examples,).
        predictions: class numbers, (examples,).
    """
    import numpy as np

    num_classes = int(max(labels.max(), predictions.max())) + 1
    correct = np.bincount(labels[labels == predictions], minlength=num_classes)
    true = np.bincount(labels, minlength=num_classes)
    named = np.bincount(predictions, minlength=num_classes)
    occurring = true + named > 0
    correct, true, named = correct[occurring], true[occurring], named[occurring]
    return {
        "acc": float(np.mean(labels == predictions)),
        "f1": float(np.mean(2 * correct / (true + named))),
        "precision": float(np.mean(correct / np.maximum(named, 1))),
        "recall": float(np.mean(correct / np.maximum(true, 1))),
    }


def regression_metrics(
    targets: "npt.NDArray[np.float64]", predictions: "npt.NDArray[np.float64]"
) -> dict[str, float]:
    """Root mean squared error and mean absolute error, in the target's unit."""
    import numpy as np

    errors = predictions - targets
    return {
        "RMSE": float(np.sqrt(np.mean(np.square(errors)))),
        "MAE": float(np.mean(np.abs(errors))),
    }


def chance_level(labels: "Sequence[int] | npt.NDArray[np.int64]") -> float:
    """Accuracy of always naming the most frequent class."""
    import numpy as np

    counts = np.bincount(np.asarray(labels))
    return float(counts.max() / counts.sum())


def highest_chance_accuracy(chance: float, num_examples: int) -> float:
    """What a network that learnt nothing reaches on that many examples in 97.5 % of all cases."""
    return float(chance + 1.96 * math.sqrt(chance * (1 - chance) / max(1, num_examples)))
