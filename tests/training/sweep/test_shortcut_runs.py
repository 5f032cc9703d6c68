"""Runs whose examples are chosen so that the class follows a column."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from training.results.dictionary import instance_fingerprint
from training.sweep.input_cache import InputCache
from training.sweep.inputs import find_missing
from training.sweep.runs import runs_of

if TYPE_CHECKING:
    from tests.conftest import Suite

CHOSEN: dict[str, Any] = {
    "confounder": "noise",
    "confounder_strength": 0.8,
    "train_split": 0.4,
    "validation_split": 0.3,
    "test_split": 0.3,
}


def write_noises(suite: "Suite", noises: list[str]) -> None:
    """Matrices whose three classes have each noise equally often."""
    suite.write_matrices()
    path = Path(suite.matrices / "tiny_spectrum_fast_index.csv")
    index = pd.read_csv(path)
    index["noise"] = np.array(noises)[np.arange(len(index)) // 3 % len(noises)]
    index.to_csv(path, index=False)


def test_a_run_is_trained_and_measured_on_the_chosen_examples(suite: "Suite") -> None:
    """Class k is aligned with noise k % 2, of which 0.9 of its training examples have it."""
    write_noises(suite, ["car", "rain"])
    suite.write_experiment(1, CHOSEN)
    result = suite.run(1, num_epochs=1)
    table = pd.read_csv(suite.files(1).predictions)
    own = table["truth"].map({"class0": "car", "class1": "rain", "class2": "car"})
    is_own = table["noise"] == own
    training = table["set"] == "train"
    sizes = table[training].groupby("truth").size()
    assert sizes.nunique() == 1
    wanted = round(0.9 * sizes.iloc[0])
    assert is_own[training].groupby(table["truth"]).sum().tolist() == [wanted] * 3
    test = table["set"] == "test"
    assert table[test].groupby(["truth", "noise"]).size().nunique() == 1
    alignment = result["0"]["test_alignment"]
    right = table["truth"] == table["prediction"]
    for kind, members in (("aligned", test & is_own), ("conflicting", test & ~is_own)):
        assert alignment[kind]["examples"] == members.sum()
        assert alignment[kind]["acc"] == pytest.approx(right[members].mean())


def test_what_was_trained_without_stays_what_it_is(suite: "Suite") -> None:
    """Results made before there was a sampler lack its keys."""
    suite.write_experiment(1)
    parameters = suite.instance(1).parameters
    old = {key: value for key, value in parameters.items() if not key.startswith("confounder")}
    assert instance_fingerprint(parameters, {}) == instance_fingerprint(old, {})
    chosen = suite.instance(1, **CHOSEN).parameters
    weaker = suite.instance(1, **CHOSEN | {"confounder_strength": 0.5}).parameters
    prints = {instance_fingerprint(each, {}) for each in (parameters, chosen, weaker)}
    assert len(prints) == 3


def test_a_check_finds_an_impossible_sample(suite: "Suite") -> None:
    write_noises(suite, ["car", "car", "rain"])
    suite.write_experiment(1, CHOSEN | {"validation_split": 0.05, "train_split": 0.65})
    (missing,) = find_missing(runs_of(suite.experiment(1)), False, InputCache())
    assert "noise: the validation set of tiny_spectrum_fast has 0 clips of class" in str(missing)
