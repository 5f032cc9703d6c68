"""What figures need of many runs together: mean curves by epoch, confusions over repetitions."""

from dataclasses import dataclass
from itertools import zip_longest
from math import isfinite, nan
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from plotting.reporting.compare import Group

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class MeanCurve:
    """Mean and standard deviation (0 of a single run) of a curve, by epoch."""

    mean: list[float]
    deviation: list[float]


def mean_curve(group: Group, set_name: str, kind: str) -> MeanCurve | None:
    """Average a curve (task_loss, feature_loss, acc) over the repetitions and their folds.

    Runs that stopped early are missing from later epochs; epochs that fewer than half of the runs
    reached are left out. Without a task loss the loss is taken. None: some run has no such curve.
    """
    folds = [fold for result in group.results for fold in result.folds]
    # Without a similarity term the loss is the task's.
    kinds = [
        "loss" if kind == "task_loss" and not fold.has("task_loss") else kind for fold in folds
    ]
    if not all(fold.has(own) for fold, own in zip(folds, kinds, strict=True)):
        return None
    curves = [fold.curve(set_name, own) for fold, own in zip(folds, kinds, strict=True)]
    epochs = []
    for values in zip_longest(*curves):
        reached = [value for value in values if value is not None]
        if 2 * len(reached) < len(curves):
            break
        epochs.append([value for value in reached if isfinite(value)])
    return MeanCurve(
        [fmean(values) if values else nan for values in epochs],
        [stdev(values) if len(values) > 1 else 0.0 for values in epochs],
    )


def confusion_of(group: Group) -> "npt.NDArray[np.float64] | None":
    """Add up the confusion on the test set over all runs and folds.

    Returns:
        percent of the true class, (true classes, predicted classes); a class without examples is
        a row of NaN. None: some run has no confusion matrix, or they differ in size.
    """
    import numpy as np

    matrices = [fold.test_confusion for result in group.results for fold in result.folds]
    sizes = {len(matrix) if matrix else 0 for matrix in matrices}
    if len(sizes) > 1 or 0 in sizes:
        return None
    total = np.sum(np.array(matrices, dtype=float), axis=0)
    with np.errstate(invalid="ignore"):
        percent: npt.NDArray[np.float64] = 100 * total / total.sum(axis=1, keepdims=True)
    return percent
