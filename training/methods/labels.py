"""True labels of examples: the values of a column of the matrices' index, as numbers."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from config.errors import UserError
from config.text import first_of

if TYPE_CHECKING:
    from preprocessing.pipeline.matrices import Matrices

UNKNOWN = -1
AT_DATASET = "[training_defaults] at_dataset"


def column_labels(
    matrices: "Matrices", rows: npt.NDArray[np.int64], column: str, place: str = AT_DATASET
) -> Tensor:
    """Number the values of a column that the training set has.

    Args:
        rows: of the training set.
        column: that the matrices' index has, such as noise_type.
        place: the setting that names it, for errors.

    Returns:
        `(examples of the matrices,)`, int64; UNKNOWN where it is empty or the training set has no
        such value.

    Raises:
        UserError: nothing in it could be learnt.
    """
    index = matrices.index
    values = index[column].astype(str).to_numpy()
    known = values[rows][values[rows] != ""]
    names, counts = np.unique(known, return_counts=True)
    if len(names) < 2 or counts.max() < 2:
        few = {0: "no value", 1: "one value only"}
        found = few.get(len(names), "another value for each example")
        without = index["clip"].to_numpy()[rows][values[rows] == ""].tolist()
        if without:
            found += f" (none for {len(without)} of {len(rows)} examples: {first_of(without, 3)})"
        raise UserError(
            f"{place} = {column}: the training set of "
            f"{matrices.name} has {found}, so there is nothing to learn from it"
        )
    numbers = {name: number for number, name in enumerate(names.tolist())}
    return torch.tensor([numbers.get(value, UNKNOWN) for value in values.tolist()])
