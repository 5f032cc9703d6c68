"""Metrics of a set against values worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from training.engine.metrics import (
    classification_metrics,
    collapse,
    collapse_of_values,
    confusion,
    highest_chance_accuracy,
    mean_level,
    regression_metrics,
)


def test_three_classes_worked_by_hand() -> None:
    """Class 0: 2 of its 3 found, 2 of 2 named so; class 1: 1 of 2, 1 of 2; class 2 is not there.

    precision 1, 1/2, 0; recall 2/3, 1/2, 0; F1 = 2 p r / (p + r): 4/5, 1/2, 0. Only the unweighted
    average recall does not count class 2, which one example of class 1 is taken for.
    """
    labels = np.array([0, 0, 0, 1, 1])
    predictions = np.array([0, 1, 0, 1, 2])
    assert classification_metrics(labels, predictions) == {
        "acc": pytest.approx(3 / 5),
        "precision": pytest.approx(1.5 / 3),
        "recall": pytest.approx(7 / 18),
        "f1": pytest.approx(1.3 / 3),
        "uar": pytest.approx(7 / 12),
    }


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_classes_are_those_of_scikit_learn(seed: int) -> None:
    labels = np.random.default_rng(seed).choice([0, 2, 5], 40)
    predictions = np.random.default_rng(seed + 10).integers(0, 7, 40)
    found = classification_metrics(labels, predictions)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert found["uar"] == pytest.approx(balanced_accuracy_score(labels, predictions))
    assert found["f1"] == pytest.approx(f1_score(labels, predictions, average="macro"))


def test_regression_worked_by_hand() -> None:
    """Errors 3, -1, 0, 0: squares add up to 10, amounts to 4.

    Means 2 and 2.5, variances 3.5 and 4.25, covariance 2.75: concordance 5.5 / (7.75 + 0.5 ** 2).
    """
    targets, predictions = np.array([1.0, 2.0, 5.0, 0.0]), np.array([4.0, 1.0, 5.0, 0.0])
    assert regression_metrics(targets, predictions) == {
        "RMSE": pytest.approx(2.5**0.5),
        "MAE": pytest.approx(1.0),
        "CCC": pytest.approx(0.6875),
    }


def test_concordance_is_one_of_equal_values_and_zero_of_a_constant() -> None:
    targets = np.array([1.0, 2.0, 5.0])
    assert regression_metrics(targets, targets)["CCC"] == pytest.approx(1)
    assert regression_metrics(targets, -targets + 16 / 3)["CCC"] == pytest.approx(-1)
    # The mean of three times 0.1 is not 0.1.
    for constant in (np.full(3, 2.0), np.zeros(3), np.full(3, 0.1)):
        assert regression_metrics(targets, constant)["CCC"] == 0
        assert regression_metrics(constant, constant)["CCC"] == 0


def test_the_highest_accuracy_that_chance_gives() -> None:
    """A fair coin thrown 100 times: 50 heads with a standard deviation of 5, 97.5 % below 59.8."""
    assert highest_chance_accuracy(0.5, 100) == pytest.approx(0.598)
    assert highest_chance_accuracy(0.5, 10_000) == pytest.approx(0.5098)
    draws = np.random.default_rng(0).binomial(200, 0.2, size=20_000) / 200
    assert np.mean(draws <= highest_chance_accuracy(0.2, 200)) == pytest.approx(0.975, abs=0.01)


def test_confusion_by_hand() -> None:
    labels, predictions = np.array([0, 0, 1, 3]), np.array([0, 1, 1, 0])
    assert confusion(labels, predictions, 4) == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
    ]


def test_collapses() -> None:
    labels = np.arange(100) % 10
    assert "same class" in collapse(labels, np.full(100, 3))
    # 10 % is chance; 1.96 standard errors above it are 15.9 %.
    some = np.where(np.arange(100) < 15, labels, (labels + 1) % 10)
    said = collapse(labels, some)
    assert "15.0%, no better than chance: the most frequent class alone gives 10.0%" in said
    assert "guessing on 100 examples stays below 15.9% in 97.5% of cases" in said
    some = np.where(np.arange(100) < 16, labels, (labels + 1) % 10)
    assert collapse(labels, some) == ""
    assert collapse(np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64)) == ""


def test_values_collapse_onto_the_mean_of_the_training_set() -> None:
    """Errors of naming 2: -1, 1, 3, whose squares have the mean 11 / 3."""
    targets = np.array([1.0, 3.0, 5.0])
    assert mean_level(targets, 2.0) == pytest.approx((11 / 3) ** 0.5)
    said = collapse_of_values(targets, np.array([1.0, 3.0, 8.4]), 2.0)
    assert said == "its RMSE is 1.96, no better than that of the training mean (1.91)"
    assert collapse_of_values(targets, np.array([1.0, 3.0, 8.3]), 2.0) == ""
