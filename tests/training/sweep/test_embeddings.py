"""Embeddings as frozen networks: what --check says of one that does not fit the data."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from config.errors import UserError
from training.sweep.input_cache import InputCache
from training.sweep.inputs import Missing, find_missing
from training.sweep.runs import Run, files_of

if TYPE_CHECKING:
    from tests.conftest import Suite

TRAINING = {
    "anti_transfer": True,
    "at_dataset": "embedding:room",
    "at_layer": 3,
    "at_aggregation": "pool",
    "at_distance": "cka_within_class",
}


def missing(suite: "Suite") -> list[Missing]:
    experiment = suite.experiment(1)
    runs = [Run(experiment, each, files_of(experiment, each)) for each in experiment.instances]
    return find_missing(runs, force=False, inputs=InputCache())


def test_what_does_not_fit_is_found_before_a_run(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_experiment(1, TRAINING)
    with pytest.raises(UserError, match="no extractor embedding:room"):
        missing(suite)
    with suite.config.open("a") as file:
        file.write("[embedding room]\nfile = room.npz\n")
    (problem,) = missing(suite)
    assert "[embedding room]" in problem.problem
    assert "No such file" in problem.problem
    clips = [f"clip{number:03}.wav" for number in range(60)]
    np.savez(suite.folder / "room.npz", clip=np.array(clips[1:]), vector=np.ones((59, 4)))
    (problem,) = missing(suite)
    assert "1 clip (clip000.wav) of tiny_spectrum_fast is without a vector" in problem.problem
    np.savez(suite.folder / "room.npz", clip=np.array(clips), vector=np.ones((60, 4)))
    assert missing(suite) == []
