"""A fold that runs out of memory begins again with half the batch size."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from preprocessing.pipeline.matrices import open_matrices
from training.engine.checks import TrainingError
from training.engine.folds import is_out_of_memory, load_fold
from training.engine.step import training_step

if TYPE_CHECKING:
    from tests.conftest import Suite

CPU_ERROR = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
ERRORS = [torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError(), CPU_ERROR]


def fail_above(batch_size: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run out of memory in each step of a larger batch."""

    def limited(learner: Any, batch: Any) -> Any:
        if len(batch.labels) > batch_size:
            raise error
        return training_step(learner, batch)

    monkeypatch.setattr("training.engine.fit.training_step", limited)


def test_half_the_batch_size_is_the_same_run_as_if_it_were_asked_for(
    suite: "Suite",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 3})
    expected = suite.run(1, batch_size=5)["0"]
    weights = torch.load(suite.files(1).model(0), weights_only=True)
    fail_above(6, CPU_ERROR, monkeypatch)
    result = suite.run(1, batch_size=20)
    assert result["parameters"]["batch_size"] == 20
    assert result["0"] == {**expected, "batch_size_used": 5}
    assert json.loads(suite.files(1).json_path.read_text())["0"]["batch_size_used"] == 5
    again = torch.load(suite.files(1).model(0), weights_only=True)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    said = capsys.readouterr().out
    assert said.count("test: out of memory with batch_size = 20; begins again with 10\n") == 1
    assert said.count("test: out of memory with batch_size = 10; begins again with 5\n") == 1


def test_too_little_memory_for_one_example_is_an_error(
    suite: "Suite", monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    fail_above(0, CPU_ERROR, monkeypatch)
    with pytest.raises(TrainingError, match="even with batch_size = 1; a smaller width"):
        suite.run(1)
    fail_above(0, RuntimeError("shapes cannot be multiplied"), monkeypatch)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        suite.run(1)


def test_other_errors_are_not_of_memory() -> None:
    assert all(map(is_out_of_memory, ERRORS))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_another_split_or_file_is_another_fold(suite: "Suite") -> None:
    suite.write_matrices()

    def fingerprint(*fractions: float) -> str:
        matrices = open_matrices(suite.matrices, "tiny_spectrum_fast")
        (split,) = matrices.folds(fractions, 1)  # type: ignore[arg-type]
        return load_fold(matrices, split, torch.device("cpu")).fingerprint

    first = fingerprint(0.7, 0.2, 0.1)
    assert fingerprint(0.7, 0.2, 0.1) == first
    assert fingerprint(0.6, 0.2, 0.2) != first
    path = suite.matrices / "tiny_spectrum_fast_predictors.npy"
    values = np.load(path)
    values[3] *= 1.5
    np.save(path, values)
    assert fingerprint(0.7, 0.2, 0.1) != first
