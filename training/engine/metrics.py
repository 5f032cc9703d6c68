"""Metrics of a set of predictions, computed once over the whole set."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from config.text import counted

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
    """Compute accuracy, and F1, precision and recall as plain means over the classes that occur.

    Args:
        labels: the truth, (examples,).
        predictions: class numbers, (examples,).
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predictions, average="macro", zero_division=0
    )
    return {
        "acc": float(accuracy_score(labels, predictions)),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
    }


def regression_metrics(
    targets: "npt.NDArray[np.float64]", predictions: "npt.NDArray[np.float64]"
) -> dict[str, float]:
    """Compute root mean squared error and mean absolute error, in the target's unit."""
    import numpy as np

    errors = predictions - targets
    return {
        "RMSE": float(np.sqrt(np.mean(np.square(errors)))),
        "MAE": float(np.mean(np.abs(errors))),
    }


def chance_level(labels: "Sequence[int] | npt.NDArray[np.int64]") -> float:
    """Return the accuracy of always naming the most frequent class."""
    import numpy as np

    counts = np.bincount(np.asarray(labels))
    return float(counts.max() / counts.sum())


def mean_level(targets: "npt.NDArray[np.float64]", training_mean: float) -> float:
    """Return the root mean squared error of always naming the mean of the training set."""
    import numpy as np

    return regression_metrics(targets, np.full(len(targets), training_mean))["RMSE"]


def highest_chance_accuracy(chance: float, num_examples: int) -> float:
    """Return what guessing reaches on that many examples in 97.5 % of all cases."""
    spread = 1.96 * math.sqrt(chance * (1 - chance) / max(1, num_examples))
    return min(1.0, chance + spread)


def guessing_text(chance: float, num_examples: int) -> str:
    """Say what an accuracy is compared with that is called chance, though it may be above it."""
    limit = highest_chance_accuracy(chance, num_examples)
    return (
        f"guessing on {counted(num_examples, 'example')} stays below {limit:.1%} in 97.5% of cases"
    )


def confusion(
    labels: "npt.NDArray[np.int64]", predictions: "npt.NDArray[np.int64]", num_classes: int
) -> list[list[int]]:
    """Count how often each class (row) was called each (column), `(classes, classes)`."""
    from sklearn.metrics import confusion_matrix

    counts: list[list[int]] = confusion_matrix(
        labels, predictions, labels=range(num_classes)
    ).tolist()
    return counts


def collapse(labels: "npt.NDArray[np.int64]", predictions: "npt.NDArray[np.int64]") -> str:
    """Say how predictions show that nothing is left of what a network can do; or return ""."""
    import numpy as np

    chance = chance_level(labels)
    if len(np.unique(predictions)) == 1 and chance < 1:
        return "it gives every example the same class"
    accuracy = float(np.mean(labels == predictions))
    if chance < 1 and accuracy <= highest_chance_accuracy(chance, len(labels)):
        return (
            f"its accuracy is {accuracy:.1%}, no better than chance: the most frequent class alone "
            f"gives {chance:.1%}, and {guessing_text(chance, len(labels))}"
        )
    return ""


def collapse_of_values(
    targets: "npt.NDArray[np.float64]",
    predictions: "npt.NDArray[np.float64]",
    training_mean: float,
) -> str:
    """Say that predictions are no better than the mean of the training set; or return ""."""
    error = regression_metrics(targets, predictions)["RMSE"]
    level = mean_level(targets, training_mean)
    if error >= level:
        return f"its RMSE is {error:.3g}, no better than that of the training mean ({level:.3g})"
    return ""
