"""What frozen features tell of the target, on data whose answer is known."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from config.errors import UserError
from preprocessing.pipeline.matrices import Matrices
from training.probing.expert import Expert, fit_expert

NUM = 400
SETS = {
    "training": np.arange(0, 240),
    "validation": np.arange(240, 320),
    "test": np.arange(320, NUM),
}


def matrices(target: "np.ndarray", num_groups: int = 40) -> Matrices:
    groups = [f"speaker{number % num_groups}" for number in range(NUM)]
    found = Matrices(
        Path(), "drawn", {"classes": ["a", "b", "c"]}, np.zeros((NUM, 1, 1), np.float32), target
    )
    vars(found)["index"] = pandas.DataFrame({"group": groups})
    return found


def fit(features: "np.ndarray", target: "np.ndarray", num_groups: int = 40) -> Expert:
    return fit_expert(features, matrices(target, num_groups), SETS, "classification")


def test_it_recovers_the_probabilities_that_the_data_were_drawn_with() -> None:
    """A feature that names the class in 8 of 10 training examples, and says nothing in others."""
    generator = np.random.default_rng(0)
    target = generator.integers(0, 3, NUM)
    shown = np.where(generator.random(NUM) < 0.7, target, generator.integers(0, 3, NUM))
    shown[SETS["test"]] = generator.integers(0, 3, len(SETS["test"]))
    expert = fit(np.eye(3, dtype=np.float32)[shown], target)
    probabilities = expert.predictions.exp().numpy()[SETS["validation"]]
    expected = 0.1 + 0.7 * np.eye(3)[shown[SETS["validation"]]]
    np.testing.assert_allclose(probabilities, expected, atol=0.1)
    assert expert.informed
    assert expert.score(SETS["training"], target) == pytest.approx(0.8, abs=0.05)
    assert expert.score(SETS["test"], target) == pytest.approx(1 / 3, abs=0.12)


def test_training_examples_are_predicted_by_experts_that_have_not_seen_their_group() -> None:
    """With more features than examples, an expert that had seen them would know them all."""
    generator = np.random.default_rng(0)
    target = generator.integers(0, 3, NUM)
    expert = fit(generator.standard_normal((NUM, 500)).astype(np.float32), target)
    assert not expert.informed
    assert expert.score(SETS["training"], target) < 0.45
    assert torch.equal(expert.beyond_prior, torch.zeros(NUM, 3))


def test_the_prior_is_the_shares_of_the_classes() -> None:
    target = np.r_[np.zeros(120), np.ones(90), np.full(30, 2), np.zeros(160)].astype(np.int64)
    expert = fit(np.zeros((NUM, 1), np.float32), np.random.default_rng(0).permutation(target))
    counts = np.bincount(np.random.default_rng(0).permutation(target)[:240])
    np.testing.assert_allclose(expert.prior.exp(), counts / 240, rtol=1e-6)


def test_too_few_groups_are_refused_by_their_column() -> None:
    target = np.arange(NUM) % 3
    with pytest.raises(UserError, match="too few values of group"):
        fit(np.zeros((NUM, 1), np.float32), target, num_groups=1)


def test_of_a_regression_it_predicts_values() -> None:
    generator = np.random.default_rng(0)
    features = generator.standard_normal((NUM, 4)).astype(np.float32)
    target = (features @ [1.0, -2, 0, 3] + 5).astype(np.float32)
    expert = fit_expert(features, matrices(target), SETS, "regression")
    np.testing.assert_allclose(expert.predictions[:, 0], target, atol=0.1)
    assert float(expert.prior) == pytest.approx(target[:240].mean(), rel=1e-5)


def test_the_control_may_miss_rare_classes() -> None:
    """Of twenty classes with two examples some are in one fold alone, once they are shuffled."""
    target = np.zeros(NUM, dtype=np.int64)
    target[:40] = 1 + np.arange(40) % 20
    assert fit(np.zeros((NUM, 1), np.float32), target).shuffled == pytest.approx(200 / 240)
