"""Who is wrong: metrics of the examples that share a value (a speaker, a noise type), and of those
that a confounder helps and misleads.

All arrays are of one length, a value for each example; "" is none.
"""

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from training.engine.metrics import regression_metrics

if TYPE_CHECKING:
    from preprocessing.pipeline.matrices import Matrices
    from training.engine.evaluation import Evaluation

Values = npt.NDArray[np.str_]
# By value: the number of its examples, and their metrics.
Groups = Mapping[str, Mapping[str, float]]

ALIGNED, CONFLICTING = "aligned", "conflicting"
# Of fewer, the worst is so by luck.
FEWEST_EXAMPLES = 10


def group_results(
    matrices: "Matrices",
    evaluations: "Mapping[str, Evaluation]",
    confounder: str,
    usual: Mapping[int, set[str]] | None = None,
) -> dict[str, Any]:
    """Return a fold's test_groups, and val_ and test_alignment if there is a confounder.

    Args:
        evaluations: of the three sets.
        confounder: a column of the index; "": there is none.
        usual: its values that are usual for each class; None: the commonest of the training set.
    """
    test, training = evaluations["test"], evaluations["training"]

    def values_of(label: str, evaluation: "Evaluation") -> Values:
        values: Values = matrices.index[label].to_numpy(dtype=np.str_)
        return values[evaluation.rows]

    labels = [label for label in matrices.orthogonal_labels if label in matrices.index.columns]
    found: dict[str, Any] = {
        "test_groups": {label: metrics_by_value(values_of(label, test), test) for label in labels}
    }
    if confounder:
        known = values_of(confounder, training)
        usual = usual or usual_values(known, training.labels)
        none: dict[str, Any] = {kind: {"examples": 0} for kind in (ALIGNED, CONFLICTING)}
        for prefix, evaluation in (("val", evaluations["validation"]), ("test", test)):
            values = values_of(confounder, evaluation)
            # What no training example has can neither help nor mislead.
            values = np.where(np.isin(values, known), values, "")
            alignment = metrics_by_value(alignment_of(values, evaluation.labels, usual), evaluation)
            found[f"{prefix}_alignment"] = {"label": confounder} | none | alignment
    return found


def metrics_by_value(values: Values, evaluation: "Evaluation") -> dict[str, dict[str, float]]:
    """Return the number of each value's examples, and their metrics."""
    names, numbers = np.unique(values, return_inverse=True)
    groups: dict[str, dict[str, float]] = {}
    for number, name in enumerate(names.tolist()):
        if name:
            members = np.flatnonzero(numbers == number)
            measure = regression_metrics if evaluation.task == "regression" else _accuracies
            metrics = measure(evaluation.labels[members], evaluation.predictions[members])
            groups[name] = {"examples": len(members), **metrics}
    return groups


def _accuracies(
    labels: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Return acc and uar; scikit-learn would take seconds for thousands of speakers."""
    right, counts = predictions == labels, np.bincount(labels)
    recalls = np.bincount(labels, right)[counts > 0] / counts[counts > 0]
    return {"acc": float(right.mean()), "uar": float(recalls.mean())}


def usual_values(values: Values, labels: npt.NDArray[np.int64]) -> dict[int, set[str]]:
    """Return the commonest value of each class; of equally common ones the first in order."""
    usual = {}
    for label in np.unique(labels).tolist():
        names, counts = np.unique(values[(labels == label) & (values != "")], return_counts=True)
        if len(names):
            usual[label] = {str(names[counts.argmax()])}
    return usual


def alignment_of(
    values: Values, labels: npt.NDArray[np.int64], usual: Mapping[int, set[str]]
) -> Values:
    """Return "aligned" for an example with a value that is usual for its class.

    "conflicting" for one with another value, "" for one without.
    """
    pairs = zip(values.tolist(), labels.tolist(), strict=True)
    is_usual = [value in usual.get(label, ()) for value, label in pairs]
    kinds = np.where(is_usual, ALIGNED, CONFLICTING)
    return np.where(values == "", "", kinds)


def pool_groups(folds: Iterable[Groups]) -> dict[str, dict[str, float]]:
    """Return the groups of all folds' test sets as those of one set; without examples, none.

    UAR and CCC, which do not follow from those of the folds, are means weighed by examples.
    """
    parts: dict[str, list[Mapping[str, float]]] = {}
    for groups in folds:
        for value, metrics in groups.items():
            if metrics["examples"]:
                parts.setdefault(value, []).append(metrics)
    return {value: _pooled(metrics) for value, metrics in sorted(parts.items())}


def _pooled(parts: list[Mapping[str, float]]) -> dict[str, float]:
    counts = [part["examples"] for part in parts]

    def mean(metric: str, power: int = 1) -> float:
        return float(np.average([part[metric] ** power for part in parts], weights=counts))

    return {
        metric: sqrt(mean(metric, 2)) if metric == "RMSE" else mean(metric) for metric in parts[0]
    } | {"examples": sum(counts)}


def worst_value(groups: Groups, metric: str) -> str:
    """Return the value with the worst metric among those with at least 10 examples.

    Among all, if none has so many.
    """
    large = {name: each for name, each in groups.items() if each["examples"] >= FEWEST_EXAMPLES}
    is_error = metric in ("RMSE", "MAE")
    return (max if is_error else min)(large or groups, key=lambda name: groups[name][metric])
