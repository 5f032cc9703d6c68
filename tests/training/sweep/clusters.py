"""Ray clusters whose nodes are processes of this machine, the manager at work, and its results."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openpyxl
import psutil

import experiments_manager
import training.sweep.schedule
from config.experiments import load_experiments
from training.models.weights import load_weights
from training.results.loading import ResultReader
from training.sweep.runs import Run, files_of

if TYPE_CHECKING:
    from tests.conftest import Suite

MANAGER = Path(experiments_manager.__file__)
PATIENCE = 300.0
STORE_BYTES = 100 * 2**20
CPU = -1
LONG = {"num_epochs": 30, "early_stopping": False}


class Cluster:
    """A Ray cluster whose nodes are processes of this machine."""

    def __init__(self, port: str = "") -> None:
        from ray.cluster_utils import Cluster as RayCluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self.ray: Any = RayCluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                **self._small(),
                **({"gcs_server_port": int(port)} if port else {}),
            },
        )

    @staticmethod
    def _small() -> dict[str, Any]:
        return {"object_store_memory": STORE_BYTES, "include_dashboard": False}

    @property
    def address(self) -> str:
        return str(self.ray.address)

    def add_node(self, cores: int = 1) -> Any:
        return self.ray.add_node(num_cpus=cores, object_store_memory=STORE_BYTES)

    def kill(self, node: Any) -> None:
        """As a machine that loses power."""
        self.ray.remove_node(node, allow_graceful=False)


class Manager:
    """The command that a user types, at work."""

    def __init__(self, suite: "Suite", words: str, address: str, **values: Any) -> None:
        self.log = suite.folder / "log.txt"
        options = [word for key in values for word in ("--set", f"{key}={values[key]}")]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(MANAGER),
                    *words.split(),
                    *("--launcher", "ray", "--address", address),
                    *suite.arguments,
                    *options,
                ],
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
        """The runs that were said to be done, in that order."""
        return re.findall(r"^done: (experiment \d+ run \d+) ", self.text, re.MULTILINE)

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
        self.process.wait()


def runs_of(suite: "Suite", **overrides: Any) -> list[Run]:
    experiments = load_experiments(suite.experiments, [suite.config], overrides)
    return [
        Run(experiment, instance, files_of(experiment, instance))
        for experiment in experiments.values()
        for instance in experiment.instances
    ]


def run_in_order(suite: "Suite", **overrides: Any) -> Path:
    """The same runs, one after the other in this process; returns their results folder."""
    folder = suite.folder / "in_order"
    runs = runs_of(suite, results_folder=folder, **overrides)
    cluster = runs[0].instance.settings.cluster
    assert training.sweep.schedule.launch(runs, [CPU], cluster, False, ResultReader()) == 0
    return folder


def assert_equal_results(suite: "Suite", folder: Path, other: Path) -> None:
    """Bit for bit: weights, figures, histories; and one row of the spreadsheet for each run."""
    rows: dict[Path, list[int]] = {}
    for run in runs_of(suite):
        twin = run.files.json_path.relative_to(suite.results)
        first, second = (json.loads((place / twin).read_text()) for place in (folder, other))
        assert first == second, run.title
        model = run.files.model(0).relative_to(suite.results)
        weights, same = load_weights(folder / model), load_weights(other / model)
        assert all(np.array_equal(weights[name], same[name]) for name in weights | same)
        sheet = run.files.spreadsheet.relative_to(suite.results)
        rows.setdefault(folder / sheet, []).append(run.instance.number)
    for path, numbers in rows.items():
        sheet = openpyxl.load_workbook(path).worksheets[0]
        assert [cell.value for cell in sheet["A"][4:]] == numbers


def assert_tidy(folder: Path) -> None:
    names = [path.name for path in folder.rglob("*")]
    assert not [name for name in names if "partial" in name or name == "unfinished"]


def workers() -> list[psutil.Process]:
    """Processes of Ray that carry out a run of this test's process tree or cluster."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(word.startswith("ray::_work") for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def first_epochs(folder: Path) -> list[int]:
    """The first epoch that each process which worked at a run told the tracker of, in order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    firsts = []
    for path in sorted(folder.rglob("events.out*"), key=lambda path: path.stat().st_mtime_ns):
        events = EventAccumulator(str(path)).Reload()
        if "loss/train" in events.Tags()["scalars"]:
            firsts.append(events.Scalars("loss/train")[0].step)
    return firsts
