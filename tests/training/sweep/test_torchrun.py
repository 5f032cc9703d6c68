"""The manager under torchrun: two processes train each run, one of them decides and writes."""

import json

import pytest

from tests.conftest import Suite
from tests.training.sweep.commands import command, run_here, runs_of

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def test_runs_one_of_which_fails_and_one_starts_from_others(suite: Suite) -> None:
    """A common failure does not stop the others."""
    suite.write_matrices()
    suite.write_extractor()
    against_noise = {"anti_transfer": True, "at_dataset": "noisyspeech"}
    suite.write_experiment(1)
    suite.write_experiment(2, {**against_noise, "at_tap": "input", "at_layer": 1})
    suite.write_experiment(3, {**against_noise, "at_pretraining": "experiment 1", "at_layer": 5})
    with command(suite, "[1,2,3]", "-1", start=TORCHRUN) as together:
        assert together.code() == 1, together.text  # of torchrun; the manager's own is 1 as well
        assert together.text.count("0 of 3 instances are finished, 3 to run") == 1
        assert together.text.count("\nfailed: experiment 2 ") == 1
    runs = runs_of(suite, results_folder=suite.folder / "alone")
    assert run_here(runs) == 1
    for run, alone in zip(runs_of(suite), runs, strict=True):
        if run.experiment.id == 2:
            assert run.files.failure.exists()
            assert not run.files.json_path.exists()
            continue
        found, expected = (json.loads(each.files.json_path.read_text()) for each in (run, alone))
        assert " torch.distributed.run --standalone " in found["provenance"]["command"]
        assert found["0"]["test_examples"] == expected["0"]["test_examples"]
        # The first half epoch starts from the same weights, and batches differ in their order only.
        loss = expected["0"]["train_loss_hist"][0]
        assert found["0"]["train_loss_hist"][0] == pytest.approx(loss, rel=0.1)
        assert run.files.spreadsheet.exists()
