"""Groups of examples: pooled over folds, the worst of them, and who has the usual value."""

import numpy as np
import pandas as pd
import pytest

from config.fields import Task
from training.engine.evaluation import Evaluation
from training.engine.subsets import (
    alignment_of,
    metrics_by_value,
    pool_groups,
    usual_values,
    worst_value,
)

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2])
NOISES = np.array(["car", "car", "rain", "", "rain", "car", "", ""])


def test_the_usual_value_is_the_commonest_of_the_class_that_is_known() -> None:
    """Of car and rain, each once in class 1, the first in order; class 2 has none."""
    usual = usual_values(NOISES, LABELS)
    assert usual == {0: {"car"}, 1: {"car"}}
    kinds = alignment_of(NOISES, LABELS, usual).tolist()
    ends = ["aligned", "aligned", "conflicting", "", "conflicting", "aligned", "", ""]
    assert kinds == ends
    assert alignment_of(np.array(["car"]), np.array([2]), usual).tolist() == ["conflicting"]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_pooled_folds_are_one_set(task: Task) -> None:
    """As pandas computes it over all examples at once; not all folds have all values."""
    generator = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "fold": generator.integers(3, size=200),
            "value": generator.choice(["a", "b", "c", ""], 200, p=[0.6, 0.3, 0.02, 0.08]),
            "truth": generator.integers(4, size=200),
            "prediction": generator.integers(4, size=200),
        }
    )
    folds = []
    for _, part in table.groupby("fold"):
        outputs = np.eye(4)[part["prediction"]] if task == "classification" else part["prediction"]
        predictions, labels = part["prediction"].to_numpy(), part["truth"].to_numpy()
        evaluation = Evaluation(task, {}, np.arange(len(part)), labels, outputs)  # type: ignore[arg-type]
        vars(evaluation)["predictions"] = predictions
        folds.append(metrics_by_value(part["value"].to_numpy(dtype=np.str_), evaluation))
    pooled = pool_groups([*folds, {"d": {"examples": 0}}])
    known = table[table["value"] != ""]
    assert list(pooled) == sorted(known["value"].unique())
    for value, examples in known.groupby("value"):
        errors = examples["prediction"] - examples["truth"]
        expected = (
            {"acc": (errors == 0).mean()}
            if task == "classification"
            else {"RMSE": (errors**2).mean() ** 0.5, "MAE": errors.abs().mean()}
        )
        assert pooled[str(value)]["examples"] == len(examples)
        for metric, number in expected.items():
            assert pooled[str(value)][metric] == pytest.approx(number)


@pytest.mark.parametrize(
    ("sizes", "metric", "worst"),
    [
        ((10, 12, 9), "acc", "b"),
        ((9, 9, 9), "acc", "c"),
        ((10, 12, 9), "RMSE", "a"),
        ((9, 12, 9), "RMSE", "b"),
    ],
)
def test_a_group_of_few_is_the_worst_only_where_all_are_small(
    sizes: tuple[int, ...], metric: str, worst: str
) -> None:
    values = zip("abc", sizes, (0.9, 0.5, 0.1), strict=True)
    groups = {name: {"examples": size, metric: value} for name, size, value in values}
    assert worst_value(groups, metric) == worst
