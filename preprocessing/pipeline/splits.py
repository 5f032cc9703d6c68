"""Groups (clips, sessions, instruments) are divided into training, validation and test."""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from config.errors import UserError

Group = TypeVar("Group", bound=Hashable)


@dataclass(frozen=True)
class Split(Generic[Group]):
    """The groups of each set of one fold."""

    train: list[Group]
    validation: list[Group]
    test: list[Group]


def split_sizes(num_groups: int, fractions: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return how many groups train, validation and test get (method of the paper's release).

    Raises:
        UserError: there are too few groups for three sets.
    """
    num_train = round(fractions[0] * num_groups)
    num_validation = round(fractions[1] * num_groups)
    num_test = num_groups - num_train - num_validation
    if num_validation < 1 or num_test < 1:
        num_validation = math.ceil(round(fractions[1] * num_groups, 9))
        num_test = math.ceil(round(fractions[2] * num_groups, 9))
        num_train = num_groups - num_validation - num_test
    if min(num_train, num_validation, num_test) < 1:
        raise UserError(f"{num_groups} groups are too few for three sets; at least 3 are needed")
    return num_train, num_validation, num_test


def split_groups(
    groups: Iterable[Group],
    fractions: tuple[float, float, float] = (0.7, 0.2, 0.1),
    num_folds: int = 1,
) -> list[Split[Group]]:
    """Divide groups in their given order; fold i starts at group floor(i * n / k), circularly.

    Args:
        groups: repeated groups count once; shuffle them first for a random split.
        fractions: train, validation, test.
        num_folds: number of splits, at most the number of groups.

    Raises:
        UserError: too few groups for three sets or for that many folds.
    """
    unique = list(dict.fromkeys(groups))
    num_train, num_validation, _ = split_sizes(len(unique), fractions)
    if num_folds > len(unique):
        raise UserError(f"num_folds = {num_folds}: there are only {len(unique)} groups")
    folds = []
    for fold in range(num_folds):
        start = fold * len(unique) // num_folds
        turned = unique[start:] + unique[:start]
        folds.append(
            Split(
                train=turned[:num_train],
                validation=turned[num_train : num_train + num_validation],
                test=turned[num_train + num_validation :],
            )
        )
    return folds


def divide_by_folds(
    fold_of: Mapping[Group, str], validation_folds: Mapping[str, str]
) -> list[Split[Group]]:
    """Return a split for each fold: it is the test set, another one validation, the rest training.

    Args:
        fold_of: the fold of each group; folds follow each other by number, or by name.
        validation_folds: the fold that validates for a test fold, where that is not the next one.

    Raises:
        UserError: there are too few folds for three sets.
    """
    names = sorted(
        set(fold_of.values()), key=lambda name: (int(name) if name.isdecimal() else 0, name)
    )
    if len(names) < 3:
        raise UserError(f"{len(names)} folds are too few for three sets; at least 3 are needed")
    return [
        Split(
            train=[group for group, fold in fold_of.items() if fold not in (test, validation)],
            validation=[group for group, fold in fold_of.items() if fold == validation],
            test=[group for group, fold in fold_of.items() if fold == test],
        )
        for test, following in zip(names, [*names[1:], names[0]], strict=True)
        for validation in [validation_folds.get(test, following)]
    ]
