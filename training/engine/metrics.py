"""Metrics of a set of predictions, computed once over the whole set."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from config.fields import Task
from config.text import counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# In the order of the spreadsheet's columns; of the first ones the released code has the same.
SET_METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("loss", "acc", "f1", "precision", "recall", "uar"),
    "regression": ("loss", "RMSE", "MAE", "CCC"),
}
# One decision a clip: the mean of what the network gives for its examples.
CLIP_METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("clip_acc", "clip_uar", "clip_f1"),
    "regression": ("clip_RMSE", "clip_MAE", "clip_CCC"),
}


def prediction_metrics(
    task: Task, labels: "npt.NDArray[Any]", predictions: "npt.NDArray[Any]"
) -> dict[str, float]:
    """Compute the metrics of SET_METRICS but the loss.

    Args:
        labels: the truth, class numbers or values, (examples,).
        predictions: the same of the network, (examples,).
    """
    compute = classification_metrics if task == "classification" else regression_metrics
    return compute(labels, predictions)


def classification_metrics(
    labels: "npt.NDArray[np.int64]", predictions: "npt.NDArray[np.int64]"
) -> dict[str, float]:
    """Compute accuracy and plain means over classes of F1, precision and recall.

    The unweighted average recall (uar) counts the classes of the truth; F1, precision and recall
    also those that were only predicted, as in the released code.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, average=None, zero_division=0
    )
    return {
        "acc": float(accuracy_score(labels, predictions)),
        "f1": float(f1.mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "uar": float(recall[support > 0].mean()),
    }


def regression_metrics(
    targets: "npt.NDArray[np.float64]", predictions: "npt.NDArray[np.float64]"
) -> dict[str, float]:
    """Compute root mean squared and mean absolute error, and the concordance correlation (CCC).

    The errors are in the target's unit. The last is that of Lin (1989) with moments over n:
    1 only if every value is met, 0 for any constant prediction.
    """
    import numpy as np

    errors = predictions - targets
    covariance = np.mean((targets - targets.mean()) * (predictions - predictions.mean()))
    spread = targets.var() + predictions.var() + errors.mean() ** 2
    # Of two equal constants it would be 0 / 0, or what rounding makes of that.
    is_constant = np.ptp(predictions) == 0
    return {
        "RMSE": float(np.sqrt(np.mean(np.square(errors)))),
        "MAE": float(np.mean(np.abs(errors))),
        "CCC": 0.0 if is_constant else float(2 * covariance / spread),
    }


def decisions(task: Task, outputs: "npt.NDArray[Any]") -> "npt.NDArray[Any]":
    """Return the class or the value that a network names for each example, (examples,).

    Args:
        outputs: logits or probabilities, (examples, classes); of a regression (examples, 1).
    """
    import numpy as np

    return outputs.argmax(axis=1) if task == "classification" else outputs[:, 0].astype(np.float64)


def by_clip(
    clips: "npt.NDArray[np.int64]", labels: "npt.NDArray[Any]", outputs: "npt.NDArray[Any]"
) -> "tuple[npt.NDArray[Any], npt.NDArray[Any]]":
    """Return each clip's label, (clips,), and the mean of its examples' outputs, (clips, outputs).

    Args:
        clips: the number of each example's clip, (examples,); clips come back in this order.
        labels: the same of all examples of a clip, (examples,).
        outputs: probabilities, (examples, classes); of a regression (examples, 1).
    """
    import pandas as pd

    means = pd.DataFrame(outputs).groupby(clips).mean()
    return pd.Series(labels).groupby(clips).first().to_numpy(), means.to_numpy()


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
