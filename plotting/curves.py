"""What figures need of many runs together: mean curves by epoch, confusions over repetitions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from config.errors import UserError
from plotting.comparisons import Group
from plotting.result_files import read_history

FOLD_SETS = {"train": "train", "validation": "val"}


@dataclass(frozen=True)
class MeanCurve:
    """Mean and standard deviation (0 of a single run) of a curve, by epoch."""

    mean: list[float]
    deviation: list[float]


def mean_curve(group: Group, set_name: str, kind: str) -> MeanCurve | None:
    """A curve (task_loss, feature_loss, acc) over the repetitions and their folds.

    Runs that stopped early are missing from later epochs; epochs that fewer than half of the runs
    reached are left out. Without a task loss the loss is taken. None: some run has no such curve.
    """
    curves = []
    for run in group.runs:
        for number, fold in enumerate(run.folds):
            curve = _curve(
                fold, f"experiment {run.experiment}, result {run.number}: {number}", set_name, kind
            )
            if curve is None:
                return None
            curves.append(curve)
    columns: list[list[float]] = []
    for epoch in range(max(map(len, curves), default=0)):
        reached = [curve[epoch] for curve in curves if epoch < len(curve)]
        if 2 * len(reached) < len(curves):
            break
        columns.append([value for value in reached if math.isfinite(value)])
    return MeanCurve(
        [fmean(values) if values else math.nan for values in columns],
        [stdev(values) if len(values) > 1 else 0.0 for values in columns],
    )


def _curve(fold: Mapping[str, Any], place: str, set_name: str, kind: str) -> Sequence[float] | None:
    if not fold.get("train_loss_hist"):
        return None
    history = read_history(dict(fold), place)
    if kind == "task_loss" and not history.has(kind):
        # Without a similarity term the loss is the task's.
        kind = "loss"
    return history.curve(FOLD_SETS[set_name], kind) if history.has(kind) else None


def confusion_of(group: Group) -> list[list[float]] | None:
    """Confusion on the test set, all runs and folds together, in percent of the true class.

    A class without examples is a row of NaN. None: some run has no confusion matrix.

    Raises:
        UserError: a matrix is damaged, or they differ in size.
    """
    total: list[list[float]] = []
    for run in group.runs:
        for fold in run.folds:
            matrix = fold.get("test_confusion")
            if matrix is None:
                return None
            if not _is_square(matrix) or (total and len(matrix) != len(total)):
                raise UserError(
                    f"experiment {run.experiment}, result {run.number}: test_confusion: must be a "
                    "square matrix of counts; delete the file and run the instance again"
                )
            total = total or [[0.0] * len(matrix) for _ in matrix]
            for row, values in zip(total, matrix, strict=True):
                row[:] = [sum(pair) for pair in zip(row, values, strict=True)]
    if not total:
        return None
    return [[100 * value / sum(row) if sum(row) else math.nan for value in row] for row in total]


def _is_square(matrix: Any) -> bool:
    return (
        isinstance(matrix, list)
        and bool(matrix)
        and all(
            isinstance(row, list)
            and len(row) == len(matrix)
            and all(type(value) is int and 0 <= value < 2**40 for value in row)
            for row in matrix
        )
    )
