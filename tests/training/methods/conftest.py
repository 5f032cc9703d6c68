"""Matrices with a nuisance."""

from typing import TYPE_CHECKING

import numpy as np
import pandas
import pytest

if TYPE_CHECKING:
    from tests.conftest import Suite


@pytest.fixture
def noisy(suite: "Suite") -> "Suite":
    """Matrices whose index says a noise type, which follows the class in half of the examples."""
    folder = suite.write_matrices()
    path = folder / "tiny_spectrum_fast_index.csv"
    table = pandas.read_csv(path)
    table["noise_type"] = np.where(table.index % 2, table["label"], table.index % 3)
    table["noise_type"] = "noise" + table["noise_type"].astype(str)
    table["nobody"] = ""
    table.to_csv(path, index=False)
    return suite
