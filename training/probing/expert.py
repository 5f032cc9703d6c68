"""What frozen features tell of the target: an expert that sees nothing else.

Multinomial logistic regression (of a regression: ridge regression) on standardised features. The
training examples' predictions are out of fold, so that the expert is no surer of them than of
others.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from config.errors import UserError
from config.fields import Task
from preprocessing.pipeline.matrices import Matrices
from training.probing.probes import grouped_folds

Rows = npt.NDArray[np.int64]
Features = npt.NDArray[np.float64]
Folds = Sequence[tuple[Rows, Rows]]

# Inverse strengths of the squared penalty that the cross-validation chooses from.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
MAX_ITERATIONS = 300
SEED = 0


@dataclass(frozen=True)
class Expert:
    """The predictions of the target from frozen features alone.

    Attributes:
        task: of the network that is trained.
        predictions: log-probabilities (examples of the matrices, classes), of a regression values
            (examples, 1); float32 on the CPU. Training rows are out of fold; rows in no set are 0.
        prior: log of the classes' shares in the training set, (classes,), of a regression its mean
            (1,).
        regularization: the inverse strength that was chosen.
        grouped_by: the column whose values were held out together.
        informed: whether the predictions out of fold are better than the prior alone.
    """

    task: Task
    predictions: Tensor
    prior: Tensor
    regularization: float
    grouped_by: str
    informed: bool

    @property
    def beyond_prior(self) -> Tensor:
        """What is known beyond the prior, (examples, classes); exactly 0 if that is nothing."""
        if not self.informed:
            return torch.zeros_like(self.predictions)
        return self.predictions - self.prior

    @property
    def guesses(self) -> Tensor:
        """The likeliest class of each example, (examples,), int64."""
        return self.predictions.argmax(dim=1)

    def accuracy(self, rows: Rows, labels: npt.NDArray[Any]) -> float:
        """Return the share of examples whose class it guesses."""
        return float((self.guesses.numpy()[rows] == labels[rows]).mean())


def fit_expert(
    features: npt.NDArray[np.float32], matrices: Matrices, sets: Mapping[str, Rows], task: Task
) -> Expert:
    """Fit an expert on a training set, and let it predict the target of all sets.

    Args:
        features: (examples of the matrices, features).
        sets: rows of the training, validation and test set.

    Raises:
        UserError: the training set has too few groups to hold any out.
    """
    rows, column = sets["training"], "group"
    targets = np.asarray(matrices.target)[rows]
    folds = grouped_folds(
        targets if task == "classification" else np.zeros(len(rows), dtype=np.int64),
        matrices.index[column].to_numpy(dtype=np.str_)[rows],
        SEED,
    )
    if folds is None:
        raise UserError(
            f"{matrices.name}: the training set has too few values of {column} to hold some out "
            "for each class, so nothing can be said of what frozen features tell; use a dataset "
            "with more of them"
        )
    known = features[rows].astype(np.float64)
    found = {
        strength: _out_of_fold(known, targets, folds, strength, task) for strength in STRENGTHS
    }
    best = max(found, key=lambda strength: _quality(found[strength], targets, task))
    if task == "classification":
        prior = np.log(np.bincount(targets, minlength=len(matrices.classes)) / len(targets))
    else:
        prior = np.array([targets.mean()])
    of_prior = np.broadcast_to(prior, (len(targets), len(prior)))
    predictions = np.zeros((len(features), len(prior)), dtype=np.float32)
    others = np.concatenate([sets["validation"], sets["test"]])
    predictions[others] = _predict(known, targets, features[others].astype(np.float64), best, task)
    predictions[rows] = found[best]
    return Expert(
        task,
        torch.from_numpy(predictions),
        torch.from_numpy(prior.astype(np.float32)),
        best,
        column,
        _quality(found[best], targets, task) > _quality(of_prior, targets, task),
    )


def _out_of_fold(
    features: Features, targets: npt.NDArray[Any], folds: Folds, strength: float, task: Task
) -> Features:
    """Return each example's prediction by an expert that has not seen its group."""
    parts = [
        (held_out, _predict(features[known], targets[known], features[held_out], strength, task))
        for known, held_out in folds
    ]
    predictions = np.empty((len(targets), parts[0][1].shape[1]))
    for held_out, values in parts:
        predictions[held_out] = values
    return predictions


def _quality(predictions: Features, targets: npt.NDArray[Any], task: Task) -> float:
    """Return the mean log-likelihood, or the negative mean squared error."""
    if task == "classification":
        return float(predictions[np.arange(len(targets)), targets].mean())
    return -float(np.square(predictions[:, 0] - targets).mean())


def _predict(
    known: Features, targets: npt.NDArray[Any], unknown: Features, strength: float, task: Task
) -> Features:
    """Return log-probabilities (unknown, classes), or values (unknown, 1)."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not quite converged is near enough
        if task == "classification":
            model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
            model.fit(scaler.transform(known), targets)
            found = model.predict_log_proba(scaler.transform(unknown))
        else:
            model = Ridge(alpha=1 / strength).fit(scaler.transform(known), targets)
            found = model.predict(scaler.transform(unknown))[:, None]
    return np.asarray(found, dtype=np.float64)
