"""What a linear classifier can read from features: its accuracy for a label, and two controls.

No group of examples (a speaker, a clip) is on both sides of a cross-validation.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from config.text import counted

Texts = npt.NDArray[np.str_]
Numbers = npt.NDArray[np.int64]
Features = npt.NDArray[Any]

NUM_FOLDS = 5
SEED = 0
# Inverse strength of the penalty, for standardised features divided by the root of their number: an
# example's mean squared length is 1 then, so that wide and narrow layers are penalised alike.
REGULARIZATION = 1.0
MAX_ITERATIONS = 1000
TOLERANCE = 1e-3
LEAST_EXAMPLES = 20
# Of the examples that a column could group by; with fewer the next column is asked.
LEAST_SHARE = 0.9
NUM_ATTEMPTS = 20


class NoProbeError(ValueError):
    """Why a label cannot be probed, in words."""


@dataclass(frozen=True)
class ProbePlan:
    """How a label is probed, the same for all layers.

    Attributes:
        rows: the examples that take part, (examples,).
        codes: their classes from 0, (examples,).
        shuffled_codes: the same in random order, for the control.
        classes: names of the classes.
        left_out_classes: those with fewer than two groups, whose examples take no part.
        grouped_by: the column whose values are on one side of each fold only.
        folds: (training, held out) positions within rows.
    """

    rows: Numbers
    codes: Numbers
    shuffled_codes: Numbers
    classes: tuple[str, ...]
    left_out_classes: tuple[str, ...]
    grouped_by: str
    folds: tuple[tuple[Numbers, Numbers], ...]

    @property
    def chance(self) -> float:
        """Share of the most frequent class."""
        return float(np.bincount(self.codes).max() / len(self.codes))


def plan_probe(
    values: Sequence[str], groupings: Mapping[str, Sequence[str]], seed: int = SEED
) -> ProbePlan:
    """Decide which examples, groups and folds a label's probe has.

    Args:
        values: the label of each example; "" where it is not known.
        groupings: columns to keep together, best first, never the label's own. The first is taken
            in which classes with two groups or more hold LEAST_SHARE of the examples.

    Raises:
        NoProbeError: too few examples or classes, or no column divides them.
    """
    labels = np.array(values, dtype=np.str_)
    known: Numbers = np.flatnonzero(labels != "")
    names, sizes = np.unique(labels[known], return_counts=True)
    if len(known) < LEAST_EXAMPLES:
        raise NoProbeError(
            f"the test set has {counted(len(known), 'example')} with it, "
            f"{LEAST_EXAMPLES} are needed"
        )
    if len(names) < 2:
        raise NoProbeError(f"all examples of the test set have the same value, {names[0]}")
    for column, members in groupings.items():
        groups = np.array(members, dtype=np.str_)
        if (groups == "").any():
            continue
        usable = [
            name for name in names if len(np.unique(groups[known][labels[known] == name])) >= 2
        ]
        taken = np.isin(names, usable)
        if len(usable) < 2 or sizes[taken].sum() < LEAST_SHARE * len(known):
            continue
        rows: Numbers = known[np.isin(labels[known], usable)]
        codes: Numbers = np.searchsorted(usable, labels[rows]).astype(np.int64)
        folds = grouped_folds(codes, groups[rows], seed)
        if folds is None:
            continue
        shuffled: Numbers = np.random.default_rng(seed).permutation(codes)
        left_out = tuple(str(name) for name in names[~taken])
        return ProbePlan(rows, codes, shuffled, tuple(map(str, usable)), left_out, column, folds)
    raise NoProbeError(
        f"{counted(len(names), 'value')} in {counted(len(known), 'example')} of the test set: too "
        f"few have it in two or more groups ({' or '.join(groupings)}), so none could be held out"
    )


def joined_recordings(values: Sequence[str]) -> list[str]:
    """Give one name to all values that have a recording in common, directly or through others.

    Args:
        values: names of recordings, several separated by ";"; "" where they are not known.
    """
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while first.setdefault(name, name) != name:
            name = first[name]
        return name

    for value in values:
        names = value.split(";")
        for name in names[1:]:
            first[root(name)] = root(names[0])
    return [root(value.split(";")[0]) for value in values]


def grouped_folds(
    codes: Numbers, groups: Texts, seed: int
) -> tuple[tuple[Numbers, Numbers], ...] | None:
    """Divide into folds in which every class is trained on; None if none were found."""
    from sklearn.model_selection import StratifiedGroupKFold

    num_classes = len(np.unique(codes))
    most = min(NUM_FOLDS, len(np.unique(groups)), int(np.bincount(codes).max()))
    for num_folds in range(most, 1, -1):
        for attempt in range(NUM_ATTEMPTS):
            splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed + attempt)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a class of fewer examples than folds
                folds = tuple(splitter.split(codes, codes, groups))
            if all(
                len(held_out) and len(np.unique(codes[training])) == num_classes
                for training, held_out in folds
            ):
                return folds
    return None


def probe_accuracy(features: Features, plan: ProbePlan, shuffled: bool = False) -> float:
    """Return the share of examples that a linear probe names rightly when their group is held out.

    Multinomial logistic regression with a squared penalty, on features standardised by the
    training side of each fold. The same arguments give the same figure.

    Args:
        features: (all examples, features), of which the plan's rows are taken.
        shuffled: the control: train on, and ask for, labels that belong to other examples.
    """
    chosen = np.asarray(features, dtype=np.float64)[plan.rows]
    codes = plan.shuffled_codes if shuffled else plan.codes
    num_right = 0
    for training, held_out in plan.folds:
        predicted = _predict(chosen[training], codes[training], chosen[held_out])
        num_right += int((predicted == codes[held_out]).sum())
    return num_right / len(codes)


def _predict(known: Features, codes: Numbers, unknown: Features) -> Numbers:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(known)
    num_varying = int(np.count_nonzero(np.ptp(known, axis=0)))
    length = float(np.sqrt(max(1, num_varying)))
    probe = LogisticRegression(C=REGULARIZATION, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not quite converged is near enough for an accuracy
        probe.fit(scaler.transform(known) / length, codes)
        predicted: Numbers = probe.predict(scaler.transform(unknown) / length)
    return predicted
