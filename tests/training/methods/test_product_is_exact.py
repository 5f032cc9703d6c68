"""The product of experts on data whose exact answer is known, as docs/method.md derives it.

Classes of unequal shares; the content x is Gaussian and the nuisance z one of three values, the two
independent given the class. In training z names the class of 90 % of the examples, in the test it
says nothing. A linear network on x and z can be exactly right.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import multivariate_normal
from torch.nn import functional

from preprocessing.pipeline.matrices import Matrices
from training.data.batches import Batch
from training.methods.product_of_experts import ProductOfExperts
from training.probing.expert import Expert, fit_expert

Values = npt.NDArray[np.float64]

PRIOR = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[1.2, 0.0], [-0.8, 1.0], [-0.8, -1.0]])  # of x, its variances are 1
OF_NUISANCE = np.where(np.eye(3, dtype=bool), 0.9, 0.05)  # p(z | y) in training, a row for each y
NUM_TRAINING, NUM = 4000, 6000
TEST = np.arange(NUM_TRAINING, NUM)


def draw() -> tuple[npt.NDArray[np.int64], Values, Values]:
    """Return classes, contents and one-hot nuisances."""
    generator = np.random.default_rng(0)
    classes = generator.choice(3, NUM, p=PRIOR)
    contents = MEANS[classes] + generator.standard_normal((NUM, 2))
    nuisances = np.array([generator.choice(3, p=OF_NUISANCE[each]) for each in classes])
    nuisances[TEST] = generator.integers(0, 3, len(TEST))
    return classes, contents, np.eye(3)[nuisances]


CLASSES, CONTENTS, NUISANCES = draw()
ROWS = {"training": np.arange(NUM_TRAINING), "validation": TEST[:0], "test": TEST}
DENSITIES = np.stack([multivariate_normal(mean).logpdf(CONTENTS) for mean in MEANS], axis=1)
# What Bayes' rule says of all examples: log p(y | x), log p(y | z) and log p(y).
OF_CONTENT = log_softmax(DENSITIES + np.log(PRIOR), axis=1)
OF_ALL_NUISANCES = log_softmax(np.log(NUISANCES @ OF_NUISANCE.T * PRIOR), axis=1)
OF_NOTHING = np.broadcast_to(np.log(PRIOR), (NUM, 3))
FROZEN = {
    "nuisance": NUISANCES,
    "content": CONTENTS,
    "both": np.hstack([CONTENTS, NUISANCES]),
}


def matrices(info: dict[str, Any], target: npt.NDArray[Any]) -> Matrices:
    """Return matrices of 50 groups, whose examples nobody looks at."""
    found = Matrices(Path(), "drawn", info, np.empty((NUM, 1), np.float32), target)
    vars(found)["index"] = pandas.DataFrame({"group": np.arange(NUM) % 50})
    return found


@cache
def expert_on(known: str) -> Expert:
    matrices = Matrices(
        Path(), "drawn", {"classes": ["a", "b", "c"]}, np.empty((NUM, 1), np.float32), CLASSES
    )
    vars(matrices)["index"] = pandas.DataFrame({"group": np.arange(NUM) % 50})
    return fit_expert(FROZEN[known].astype(np.float32), matrices, ROWS, "classification")


def trained_against(known: str, beta: float) -> tuple[Values, Values]:
    """Train a linear network with the product; return its log-probabilities and weights of z.

    The weights are (values of z, classes).
    """
    product = ProductOfExperts(beta * expert_on(known).beyond_prior)
    inputs = torch.from_numpy(np.hstack([CONTENTS, NUISANCES])).float()
    rows = torch.arange(NUM_TRAINING)
    batch = Batch(inputs[rows], torch.from_numpy(CLASSES)[rows], rows)
    network = torch.nn.Linear(5, 3)
    torch.nn.init.zeros_(network.weight)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = functional.cross_entropy(product.adjust(network(batch.inputs), batch), batch.labels)
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    log_probabilities = network(inputs).log_softmax(1).detach().numpy()
    return log_probabilities, network.weight.detach().numpy()[:, 2:].T


def accuracy(log_probabilities: Values) -> float:
    return float((log_probabilities.argmax(1)[TEST] == CLASSES[TEST]).mean())


def centred(weights: Values) -> Values:
    """Subtract the means of rows and columns, which change no log-odds between values of z."""
    found: Values = weights - weights.mean(0) - weights.mean(1, keepdims=True) + weights.mean()
    return found


@pytest.mark.parametrize(
    ("known", "left"),
    [("nuisance", OF_CONTENT), ("content", OF_ALL_NUISANCES), ("both", OF_NOTHING)],
)
def test_the_network_learns_what_the_expert_does_not_know(known: str, left: Values) -> None:
    """Against an expert on the content that is the nuisance, worth nothing in the test."""
    log_probabilities, _ = trained_against(known, beta=1.0)
    assert np.abs(np.exp(log_probabilities) - np.exp(left)).mean() < 0.02
    assert accuracy(log_probabilities) == pytest.approx(accuracy(left), abs=0.01)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_nuisance_keeps_what_beta_leaves_of_its_log_odds(beta: float) -> None:
    """They are (1 - beta) log p(z | y); 0 is the baseline, which the nuisance misleads."""
    log_probabilities, weights = trained_against("nuisance", beta)
    expected = (1 - beta) * centred(np.log(OF_NUISANCE).T)
    np.testing.assert_allclose(centred(weights), expected, atol=0.2)
    assert (accuracy(log_probabilities) < accuracy(OF_CONTENT) - 0.03) == (beta < 1)


def test_of_a_regression_the_nuisance_is_weighed_the_wrong_way_round() -> None:
    """A standard normal target, and two values with noise of variance 1 and 1/4 added to it.

    By hand: E[y | c, z] = (c + 4 z) / 6 and E[y | z] = 4 z / 5, and their difference is learnt.
    """
    generator = np.random.default_rng(0)
    target = generator.standard_normal(NUM).astype(np.float32)
    content, nuisance = target + [[1.0], [0.5]] * generator.standard_normal((2, NUM))
    features = nuisance[:, None].astype(np.float32)
    expert = fit_expert(features, matrices({}, target), ROWS, "regression")
    rows = torch.from_numpy(ROWS["training"])
    batch = Batch(torch.empty(0), torch.from_numpy(target)[rows], rows)
    added = ProductOfExperts(expert.beyond_prior).adjust(torch.zeros(NUM_TRAINING, 1), batch)
    inputs = np.stack([content, nuisance], axis=1)[ROWS["training"]]
    weights = np.linalg.lstsq(inputs, target[ROWS["training"]] - added[:, 0].numpy())[0]
    np.testing.assert_allclose(weights, [1 / 6, 4 / 6 - 4 / 5], atol=0.02)
