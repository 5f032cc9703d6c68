"""The manager as a user starts it, and whether two results folders hold the same."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import psutil

import experiments_manager
from config.experiments import load_experiments
from tests.conftest import Suite
from training.models.weights import load_weights
from training.sweep.input_cache import InputCache
from training.sweep.runs import Run, files_of
from training.sweep.schedule import run_sweep

MANAGER = Path(experiments_manager.__file__)
CPU = -1
# No test waits longer for a process.
PATIENCE = 240.0
LONG = {"num_epochs": 30, "early_stopping": False}
# Never over before it is interrupted, however busy the machine.
ENDLESS = {"num_epochs": 1_000_000, "early_stopping": False}


class Command:
    """A command that works in a suite's folder, with its output in a file."""

    def __init__(self, suite: Suite, *words: str, start: tuple[str, ...] = ()) -> None:
        self.log = suite.folder / f"log_{time.monotonic_ns()}.txt"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *start, str(MANAGER), *words, *suite.arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def done(self) -> list[str]:
        return done_in(self.text)

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def code(self) -> int:
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


def done_in(text: str) -> list[str]:
    """The runs that are said to be done, in that order."""
    return re.findall(r"^\d+/\d+ done, .* left.*: (experiment \d+ run \d+) ", text, re.M)


@contextmanager
def command(suite: Suite, *words: str, start: tuple[str, ...] = ()) -> Iterator[Command]:
    """A command at work, which does not outlive the block."""
    started = Command(suite, *words, start=start)
    try:
        yield started
    finally:
        started.kill()


def runs_of(suite: Suite, **overrides: Any) -> list[Run]:
    experiments = load_experiments(suite.experiments, [suite.config], overrides)
    return [
        Run(experiment, instance, files_of(experiment, instance))
        for experiment in experiments.values()
        for instance in experiment.instances
    ]


def run_here(runs: list[Run], overwrite: bool = False) -> int:
    """One run after the other, in this process."""
    cluster = runs[0].instance.settings.cluster
    return run_sweep(runs, [CPU], cluster, overwrite, InputCache())


def write_three(suite: Suite, **training: Any) -> None:
    """Two runs of experiment 1, and experiment 2, which starts from the better one."""
    suite.write_matrices()
    suite.write_experiment(1, training, {"repeat": 2})
    suite.write_experiment(2, {"at_pretraining": "experiment 1", **training})


def assert_as_run_in_order(suite: Suite) -> None:
    """Bit for bit: weights, metrics, histories; a spreadsheet row for each run; nothing else."""
    reference = runs_of(suite, results_folder=suite.folder / "in_order")
    assert run_here(reference) == 0
    rows: dict[Path, list[int]] = {}
    for run, other in zip(runs_of(suite), reference, strict=True):
        found, expected = (json.loads(each.files.json_path.read_text()) for each in (run, other))
        del found["provenance"], expected["provenance"]
        assert found == expected, run.title
        weights, same = (load_weights(each.files.model(0)) for each in (run, other))
        assert all(np.array_equal(weights[name], same[name]) for name in weights | same)
        rows.setdefault(run.files.spreadsheet, []).append(run.instance.number)
    for path, numbers in rows.items():
        sheet = openpyxl.load_workbook(path).worksheets[0]
        # Below them, means over repetitions have no number.
        found = [cell.value for cell in sheet["A"][4:] if isinstance(cell.value, int)]
        assert found == numbers
    assert not leftovers(suite)


def leftovers(suite: Suite) -> list[str]:
    """Files of runs that are not finished."""
    names = [path.name for path in suite.results.rglob("*")]
    return [name for name in names if "partial" in name or name == "unfinished"]


def states(suite: Suite) -> list[Path]:
    return list(suite.results.rglob("unfinished/state_*.pt"))
