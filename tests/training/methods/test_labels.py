"""Values of a column as numbers."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from config.errors import UserError
from preprocessing.pipeline.matrices import open_matrices
from training.methods.labels import UNKNOWN, column_labels

if TYPE_CHECKING:
    from tests.conftest import Suite


def test_column_labels_are_numbered_by_what_the_training_set_has(noisy: "Suite") -> None:
    matrices = open_matrices(noisy.matrices, "tiny")
    rows = np.flatnonzero(matrices.index["noise_type"].to_numpy() != "noise1")
    labels = column_labels(matrices, rows, "noise_type")
    expected = {"noise0": 0, "noise1": UNKNOWN, "noise2": 1}
    assert labels.tolist() == [expected[value] for value in matrices.index["noise_type"]]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("clip", "another value for each example"),
        ("nobody", "no value .none for 40 of 40 examples: clip"),
    ],
)
def test_a_label_that_cannot_be_learnt_is_named(noisy: "Suite", column: str, problem: str) -> None:
    matrices = open_matrices(noisy.matrices, "tiny")
    with pytest.raises(UserError, match=problem):
        column_labels(matrices, np.arange(40), column)
