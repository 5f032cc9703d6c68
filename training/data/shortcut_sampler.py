"""The shortcut sampler: it chooses the clips of each set so that the class follows a column.

With V values of the column in the training set and K classes there are G = min(V, K) groups:
value i in alphabetical order belongs to group i % G, and the own group of class k is k % G. At
strength s the share s + (1 - s) / G of a class's training and validation clips has a value of its
own group, and the others go through the other groups in turn. In the test set all groups of all
classes are alike. A set has as many clips at every strength, as far as possible the same ones.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from config.errors import UserError
from config.text import counted, first_of
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split

Numbers = npt.NDArray[np.int64]
# Of the order in which clips are chosen, the same for all strengths and seeds.
SEED = 0


class Shortcut(NamedTuple):
    """How strongly (0 to 1) the class follows a column of the index."""

    column: str
    strength: float


def shortcut_of(parameters: Mapping[str, Any]) -> Shortcut | None:
    """Return the shortcut that the parameters of a run ask for, if they do."""
    column = parameters.get("confounder")
    return Shortcut(column, parameters["confounder_strength"]) if column else None


def rows_of_sets(
    matrices: Matrices, split: Split[str], shortcut: Shortcut | None = None
) -> dict[str, Numbers]:
    """Return the row numbers of the training, validation and test examples.

    Raises:
        UserError: a set is empty, or has too few clips for the shortcut.
    """
    groups = {"training": split.train, "validation": split.validation, "test": split.test}
    rows = {name: matrices.rows_of(members, name == "training") for name, members in groups.items()}
    for name, numbers in rows.items():
        if len(numbers) == 0:
            raise UserError(f"{matrices.name}: the {name} set is empty")
    return _sample(matrices, rows, shortcut) if shortcut else rows


def own_values(matrices: Matrices, split: Split[str], column: str) -> dict[int, set[str]]:
    """Return the values of each class's own group, by the number of the class."""
    groups = _groups_of_values(matrices, matrices.rows_of(split.train, True), column)
    num_groups = max(groups.values()) + 1
    return {
        label: {value for value, group in groups.items() if group == label % num_groups}
        for label in range(len(matrices.classes))
    }


def _groups_of_values(matrices: Matrices, training: Numbers, column: str) -> dict[str, int]:
    """Number the group of each value that training examples have."""
    values = sorted(set(matrices.index[column].iloc[training]) - {""})
    num_groups = min(len(values), len(matrices.classes))
    if num_groups < 2:
        found = counted(len(values), "value")
        raise UserError(
            f"[training_defaults] confounder = {column}: the training set of {matrices.name} has "
            f"{found} of it; no class can follow fewer than 2"
        )
    return {value: number % num_groups for number, value in enumerate(values)}


def _sample(
    matrices: Matrices, rows: Mapping[str, Numbers], shortcut: Shortcut
) -> dict[str, Numbers]:
    """Choose among the rows of each set; altered copies go with their clip."""
    index, num_classes = matrices.index, len(matrices.classes)
    groups = _groups_of_values(matrices, rows["training"], shortcut.column)
    # -1: a value that no training example has.
    group_of = index[shortcut.column].map(groups).fillna(-1).to_numpy(dtype=np.int64)
    clips, labels = index["clip"].to_numpy(), index["label"].to_numpy(dtype=np.int64)
    generator = np.random.default_rng(SEED)
    sampled = {}
    for name, numbers in rows.items():
        _, first = np.unique(clips[numbers], return_index=True)
        order = generator.permutation(numbers[first])
        num_groups, numbers_of_groups = max(groups.values()) + 1, group_of[order]
        if (numbers_of_groups < 0).all():  # of unheard speakers none can mislead
            num_groups, numbers_of_groups = 1, np.zeros_like(numbers_of_groups)
        is_known = numbers_of_groups >= 0
        order = order[is_known]
        cells = labels[order] * num_groups + numbers_of_groups[is_known]
        found = np.bincount(cells, minlength=num_classes * num_groups)
        found = found.reshape(num_classes, num_groups)
        if not found.all():
            raise _missing(matrices, shortcut.column, name, groups, found)
        if name == "test" or num_groups == 1:
            wanted = np.full_like(found, found.min())
        else:
            wanted = cell_counts(found, shortcut.strength)
        members = [order[cells == cell][:count] for cell, count in enumerate(wanted.ravel())]
        sampled[name] = numbers[np.isin(clips[numbers], clips[np.concatenate(members)])]
    return sampled


def _missing(
    matrices: Matrices, column: str, name: str, groups: Mapping[str, int], found: Numbers
) -> UserError:
    """Return the error for a set that has no clip of some class and group."""
    label, group = np.argwhere(found == 0)[0].tolist()
    values = [value for value, number in groups.items() if number == group]
    what = f"{matrices.classes[label]} with {column} {first_of(values)}"
    return UserError(
        f"[training_defaults] confounder = {column}: the {name} set of {matrices.name} has 0 clips "
        f"of {what} (group {group}), but needs some of each; prepare more clips, or another split"
    )


def cell_counts(found: Numbers, strength: float) -> Numbers:
    """Return how many clips to take of each class (rows) and group (columns).

    There are as many of each class: the largest number which every strength can have.

    Args:
        found: how many there are, at least one of each.
    """
    num_classes, num_groups = found.shape
    own = np.arange(num_classes) % num_groups
    is_own = np.eye(num_groups, dtype=np.bool_)[own]
    total = next(
        number
        for number in range(found[is_own].min(), 0, -1)
        if -(-(number - round(number / num_groups)) // (num_groups - 1)) <= found[~is_own].min()
    )
    num_own = round(total * (strength + (1 - strength) / num_groups))
    each, more = divmod(total - num_own, num_groups - 1)
    # The groups after a class's own one, in turn, so that all groups are about equally frequent.
    place = (np.arange(num_groups) - own[:, None] - 1) % num_groups
    counts: Numbers = np.where(is_own, num_own, each + (place < more))
    return counts
