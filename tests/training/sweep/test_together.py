"""The manager under torchrun: two processes train each run, one of them decides and writes."""

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import training.sweep.schedule
from tests.training.sweep.clusters import CPU, MANAGER, runs_of
from training.results.loading import ResultReader

if TYPE_CHECKING:
    from tests.conftest import Suite


def together(suite: "Suite", *words: str) -> subprocess.CompletedProcess[str]:
    """The command of the README, on the CPU."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    return subprocess.run(
        [*torchrun, "2", str(MANAGER), *words, *suite.arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_runs_one_of_which_fails_and_one_starts_from_others(suite: "Suite") -> None:
    """A common failure does not stop the others."""
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, instances={"repeat": 2})
    at_input = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_tap": "input"}
    suite.write_experiment(2, {**at_input, "at_layer": 1})
    suite.write_experiment(
        3,
        {
            "at_pretraining": "experiment 1",
            "anti_transfer": True,
            "at_dataset": "noisyspeech",
            "at_layer": 5,
        },
    )
    ended = together(suite, "[1,2,3]", "-1")
    assert ended.returncode == 1, ended.stderr  # of torchrun; the manager's own is 1 as well
    assert ended.stdout.count("0 of 4 instances are finished, 4 to run") == 1
    assert len(re.findall(r"^failed: experiment 2 ", ended.stderr, re.MULTILINE)) == 2
    runs = runs_of(suite, results_folder=suite.folder / "alone")
    cluster = runs[0].instance.settings.cluster
    assert training.sweep.schedule.launch(runs, [CPU], cluster, False, ResultReader()) == 1
    for run, alone in zip(runs_of(suite), runs, strict=True):
        if run.experiment.id == 2:
            assert run.files.failure.exists()
            assert not run.files.json_path.exists()
            continue
        found, expected = (json.loads(each.files.json_path.read_text()) for each in (run, alone))
        assert found["0"].keys() == expected["0"].keys()
        assert found["0"]["test_examples"] == expected["0"]["test_examples"]
        # The first half epoch starts from the same weights, and batches differ in their order only.
        loss = expected["0"]["train_loss_hist"][0]
        assert found["0"]["train_loss_hist"][0] == pytest.approx(loss, rel=0.1)
        assert run.files.spreadsheet.exists()
    again = together(suite, "[1,3]", "-1")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("3 of 3 instances are finished, 0 to run") == 1


def test_what_cannot_be_launched_together_is_refused(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    for words, message in (
        (("[1]", "-1", "--launcher", "ray"), "[cluster] launcher = ray: runs that several"),
        (("[1]", "0,1,2"), "3 GPUs (0,1,2) for 2 processes"),
    ):
        ended = together(suite, *words)
        assert ended.returncode != 0
        assert f"error: {message}" in ended.stderr
        assert not suite.results.exists() or not list(suite.results.rglob("*.json"))
