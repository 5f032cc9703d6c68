"""What frozen features tell of the target: an expert that sees nothing else.

Multinomial logistic regression (of a regression: ridge regression) on standardised features. The
training examples' predictions are out of fold, so that the expert is no surer of them than of
others.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from config.errors import UserError
from config.fields import Task
from config.files import written_aside
from preprocessing.pipeline.matrices import Matrices
from training.engine.metrics import decisions
from training.probing.probes import Features, grouped_folds

Rows = npt.NDArray[np.int64]
Folds = Sequence[tuple[Rows, Rows]]

# Inverse strengths of the squared penalty, from which the cross-validation chooses.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Wider features are replaced by so many of their principal components: ten times as fast.
MOST_FEATURES = 512
MAX_ITERATIONS = 300
# Standard errors of the mean gain over the prior, which knowing nothing seldom exceeds.
MOST_BY_LUCK = 2
SEED = 0
# Another number makes kept experts anew.
FITTING_VERSION = 1


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
        informed: whether the predictions out of fold are better than the prior alone, by more than
            luck would have it.
        shuffled: the score out of fold of one that was fitted to targets in random order.
    """

    task: Task
    predictions: Tensor
    prior: Tensor
    regularization: float
    grouped_by: str
    informed: bool
    shuffled: float

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

    def score(self, rows: Rows, targets: npt.NDArray[Any]) -> float:
        """Return the share of examples whose class it guesses; of a regression R^2.

        Args:
            targets: of all examples of the matrices.
        """
        return _score(self.predictions.numpy()[rows], targets[rows], self.task)

    def write(self, path: Path) -> None:
        """Keep it in a file, as NumPy arrays."""
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in vars(self).items()}
        with written_aside(path) as aside:
            np.savez(aside, **arrays)


def read_expert(path: Path) -> Expert | None:
    """Return the expert that a file holds; None: there is none, or it is damaged."""
    try:
        with np.load(path) as arrays:
            values: dict[str, Any] = {name: arrays[name] for name in Expert.__dataclass_fields__}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    for name, value in values.items():
        values[name] = torch.from_numpy(value) if value.ndim else value.item()
    return Expert(**values)


def held_out_folds(
    matrices: Matrices, rows: Rows, task: Task, nuisances: Sequence[str] = ()
) -> tuple[Folds, str]:
    """Divide a training set for predictions out of fold; return the column that is held out, too.

    That is the group, as in the split. Where a nuisance's values have a group each, so that of a
    group held out nothing could be known, it is the clip.

    Args:
        nuisances: columns of the index that what is known may follow.

    Raises:
        UserError: the training set has too few values of the column.
    """
    index = matrices.index.iloc[rows]
    groups_of_values = [
        index[index[name] != ""].groupby(name)["group"].nunique() for name in nuisances
    ]
    has_own_groups = any((each == 1).all() for each in groups_of_values)
    column = "clip" if has_own_groups and index["group"].nunique() > 1 else "group"
    targets = np.asarray(matrices.target)[rows]
    classes = targets if task == "classification" else np.zeros_like(rows)
    folds = grouped_folds(classes, index[column].to_numpy(dtype=np.str_), SEED)
    if folds is None:
        raise UserError(
            f"{matrices.name}: the training set has too few values of {column} to hold some out "
            "for each class, so nothing can be said of what frozen features tell; use a dataset "
            "with more of them"
        )
    return folds, column


def fit_expert(
    features: npt.NDArray[np.float32],
    matrices: Matrices,
    sets: Mapping[str, Rows],
    task: Task,
    nuisances: Sequence[str] = (),
) -> Expert:
    """Fit an expert on a training set, and let it predict the target of all sets.

    Args:
        features: (examples of the matrices, features).
        sets: rows of the training, validation and test set.
        nuisances: as of held_out_folds.

    Raises:
        UserError: the training set has too few groups to hold any out.
    """
    rows = sets["training"]
    folds, column = held_out_folds(matrices, rows, task, nuisances)
    targets = np.asarray(matrices.target)[rows]
    features = _standardised(features, rows)
    known = features[rows]
    if task == "classification":
        prior = np.log(np.bincount(targets, minlength=len(matrices.classes)) / len(targets))
    else:
        prior = np.array([targets.mean()])
    of_prior = np.broadcast_to(prior, (len(targets), len(prior)))
    best, found, quality = STRENGTHS[0], of_prior, -np.inf
    for strength in STRENGTHS:
        candidate = _out_of_fold(known, targets, folds, strength, task)
        candidate_quality = _qualities(candidate, targets, task).mean()
        if candidate_quality <= quality:
            break  # weaker penalties are slower, and worse still
        best, found, quality = strength, candidate, candidate_quality
    gains = _qualities(found, targets, task) - _qualities(of_prior, targets, task)
    others = np.concatenate([sets["validation"], sets["test"]])
    predictions = np.zeros((len(features), len(prior)), dtype=np.float32)
    predictions[others] = _predict(known, targets, features[others], best, task)
    predictions[rows] = found
    shuffled = np.random.default_rng(SEED).permutation(targets)
    control = _out_of_fold(known, shuffled, folds, best, task)
    return Expert(
        task,
        torch.from_numpy(predictions),
        torch.from_numpy(prior.astype(np.float32)),
        best,
        column,
        bool(gains.mean() > MOST_BY_LUCK * gains.std() / np.sqrt(len(gains))),
        _score(control, shuffled, task),
    )


def _standardised(features: npt.NDArray[np.float32], rows: Rows) -> npt.NDArray[np.float32]:
    """Standardise all examples by the training set, which sees no target.

    A squared penalty is the same for principal components as for what they are of.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features[rows])
    found: npt.NDArray[np.float32] = scaler.transform(features)
    if features.shape[1] > MOST_FEATURES:
        number = min(MOST_FEATURES, len(rows))
        components = PCA(number, svd_solver="randomized", iterated_power=2, random_state=SEED)
        found = components.fit(found[rows]).transform(found)
    return found


def _out_of_fold(
    features: Features, targets: npt.NDArray[Any], folds: Folds, strength: float, task: Task
) -> npt.NDArray[np.float64]:
    """Return each example's prediction by an expert that has not seen its group."""
    num_outputs = int(targets.max()) + 1 if task == "classification" else 1
    predictions = np.full((len(targets), num_outputs), -np.inf)
    for known, held_out in folds:
        # A rare class may be in no training side once targets are shuffled.
        outputs: Rows = np.unique(targets[known] if task == "classification" else np.zeros(1, int))
        predictions[np.ix_(held_out, outputs)] = _predict(
            features[known], targets[known], features[held_out], strength, task
        )
    return predictions


def _qualities(
    predictions: Features, targets: npt.NDArray[Any], task: Task
) -> npt.NDArray[np.float64]:
    """Return the log-likelihood, or the negative squared error, of each example."""
    if task == "classification":
        qualities = predictions[np.arange(len(targets)), targets]
    else:
        qualities = -np.square(predictions[:, 0] - targets)
    return np.asarray(qualities, dtype=np.float64)


def _score(predictions: Features, targets: npt.NDArray[Any], task: Task) -> float:
    """Return the accuracy, or R^2."""
    from sklearn.metrics import accuracy_score, r2_score

    score = accuracy_score if task == "classification" else r2_score
    return float(score(targets, decisions(task, predictions)))


def _predict(
    known: Features, targets: npt.NDArray[Any], unknown: Features, strength: float, task: Task
) -> npt.NDArray[np.float64]:
    """Return log-probabilities (unknown, classes), or values (unknown, 1)."""
    from sklearn.linear_model import LogisticRegression, Ridge

    unknown = unknown.astype(np.float64)  # in which no probability becomes 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not quite converged is near enough
        if task == "classification":
            model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(known, targets)
            return np.asarray(model.predict_log_proba(unknown))
        values = Ridge(alpha=1 / strength).fit(known, targets).predict(unknown)
    return np.asarray(values, dtype=np.float64)[:, None]
