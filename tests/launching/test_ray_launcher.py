"""Forty runs on a Ray cluster of several nodes, whatever happens to it; equal to runs in order."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openpyxl
import psutil
import pytest

import experiments_runs
from config.experiments import load_experiments
from launching.ray_launcher import slots_of_node
from training.network_files import load_weights
from training.results import ResultReader
from training.runs import Run, files_of

if TYPE_CHECKING:
    from tests.conftest import Suite

ROOT = Path(experiments_runs.__file__).parent
PATIENCE = 300.0
STORE_BYTES = 100 * 2**20
CPU = -1


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


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.ray.shutdown()


class Manager:
    """The command that a user types, at work."""

    def __init__(self, suite: "Suite", words: str, address: str, **values: Any) -> None:
        self.log = suite.folder / "log.txt"
        options = [word for key in values for word in ("--set", f"{key}={values[key]}")]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(ROOT / "experiments_manager.py"),
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


@pytest.fixture
def manage() -> Iterator[Callable[..., Manager]]:
    """Starts managers, none of which outlives the test."""
    managers: list[Manager] = []

    def start(*values: Any, **options: Any) -> Manager:
        managers.append(Manager(*values, **options))
        return managers[-1]

    yield start
    for manager in managers:
        manager.kill()


def write_forty(suite: "Suite", num_epochs: int = 2) -> None:
    """Baselines, anti-transfer, and one run that starts from the best baseline."""
    suite.write_matrices()
    suite.write_extractor()
    epochs = {"num_epochs": num_epochs}
    suite.write_experiment(1, epochs, {"repeat": 20})
    suite.write_experiment(
        2,
        {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 3, **epochs},
        {"repeat": 19},
    )
    suite.write_experiment(3, {"at_pretraining": "experiment 1", **epochs})


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
    assert experiments_runs.launch(runs, [CPU], cluster, False, ResultReader()) == 0
    return folder


def assert_equal_results(suite: "Suite", folder: Path, other: Path) -> None:
    """Bit for bit: weights, figures, histories; and one row of the spreadsheet for each run."""
    rows: dict[Path, list[int]] = {}
    for run in runs_of(suite):
        twin = run.files.twin.relative_to(suite.results)
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


def test_forty_runs_while_a_node_dies_and_another_joins(
    cluster: Cluster, suite: "Suite", manage: Callable[..., Manager]
) -> None:
    write_forty(suite)
    doomed, _ = cluster.add_node(), cluster.add_node()
    manager = manage(suite, "[1,2,3] -1", cluster.address)
    manager.wait_until(lambda: len(manager.done) >= 8)
    cluster.kill(doomed)
    manager.wait_until(lambda: len(manager.done) >= 12)
    cluster.add_node()
    assert manager.code() == 0, manager.text
    assert sorted(manager.done) == sorted(re.findall(r"experiment \d+ run \d+", _titles(suite)))
    assert len(manager.done) == 40
    assert manager.done.index("experiment 3 run 1") > max(
        place for place, title in enumerate(manager.done) if title.startswith("experiment 1 ")
    )
    assert_equal_results(suite, suite.results, run_in_order(suite))
    assert_tidy(suite.results)


def _titles(suite: "Suite") -> str:
    return "\n".join(run.title for run in runs_of(suite))


def first_epochs(folder: Path) -> list[int]:
    """The first epoch that each process which worked at a run told the tracker of, in order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    firsts = []
    for path in sorted(folder.rglob("events.out*"), key=lambda path: path.stat().st_mtime_ns):
        events = EventAccumulator(str(path)).Reload()
        if "loss/train" in events.Tags()["scalars"]:
            firsts.append(events.Scalars("loss/train")[0].step)
    return firsts


LONG = {"num_epochs": 60, "early_stopping": False}


@pytest.mark.parametrize("send_results", ["auto", "always"])
def test_a_run_whose_node_dies_goes_on_elsewhere(
    send_results: str,
    suite: "Suite",
    manage: Callable[..., Manager],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """From its last epoch where the results folder is shared, from its start where it is not."""
    scratch = suite.folder / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # paths of sockets must be short
    cluster: Cluster = request.getfixturevalue("cluster")
    suite.write_matrices()
    suite.write_experiment(1, LONG)
    doomed = cluster.add_node()
    options = {"send_results": send_results, "tracker": "tensorboard"}
    manager = manage(suite, "[1] -1", cluster.address, **options)
    place = suite.results if send_results == "auto" else scratch
    manager.wait_until(lambda: list(place.rglob("unfinished/state_*.pt")))
    cluster.kill(doomed)
    cluster.add_node()
    assert manager.code() == 0, manager.text
    assert "lost, begins again" in manager.text
    firsts = first_epochs(suite.results / "tracking")
    if send_results == "auto":
        assert len(firsts) == 2
        assert firsts[0] == 0 < firsts[1]
    else:
        assert firsts == [0]  # what the first attempt told went with its node
    assert_equal_results(suite, suite.results, run_in_order(suite, tracker="tensorboard"))
    assert_tidy(suite.results)


def test_results_are_sent_and_what_runs_start_from_is_fetched(
    cluster: Cluster, suite: "Suite", manage: Callable[..., Manager]
) -> None:
    """With an object store that others fill meanwhile, and a process that the system kills."""
    import ray

    suite.write_matrices()
    suite.write_experiment(1, {"num_epochs": 20, "early_stopping": False}, {"repeat": 4})
    suite.write_experiment(3, {"at_pretraining": "experiment 1"})
    cluster.add_node(2)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        held = [ray.put(np.ones(10 * 2**20, dtype=np.uint8)) for _ in range(20)]
        manager = manage(suite, "[1,3] -1", cluster.address, send_results="always")
        manager.wait_until(lambda: len(manager.done) >= 1 and workers())
        workers()[0].kill()
        held += [ray.put(np.ones(10 * 2**20, dtype=np.uint8)) for _ in range(10)]
        assert manager.code() == 0, manager.text
        assert sum(map(len, ray.get(held))) == 30 * 10 * 2**20 > STORE_BYTES
    finally:
        ray.shutdown()
    assert len(manager.done) == 5 == len(set(manager.done))
    assert_equal_results(suite, suite.results, run_in_order(suite))
    assert_tidy(suite.results)


def test_ctrl_c_ends_all_and_the_same_command_goes_on(
    cluster: Cluster, suite: "Suite", manage: Callable[..., Manager]
) -> None:
    suite.write_matrices()
    suite.write_experiment(1, LONG, {"repeat": 2})
    cluster.add_node(2)
    manager = manage(suite, "[1] -1", cluster.address)
    manager.wait_until(lambda: len(list(suite.results.rglob("unfinished/state_*.pt"))) == 2)
    os.killpg(manager.process.pid, signal.SIGINT)
    assert manager.code() == 130, manager.text
    lines = manager.text.strip().splitlines()
    assert lines[-1] == "interrupted: the same command continues where this stopped"
    assert "Traceback" not in manager.text
    assert not [name for name in suite.results.rglob("*") if "partial" in name.name]
    again = manage(suite, "[1] -1", cluster.address)
    assert again.code() == 0, again.text
    assert_equal_results(suite, suite.results, run_in_order(suite))
    assert_tidy(suite.results)


def test_a_head_that_restarts_is_waited_for(
    suite: "Suite",
    manage: Callable[..., Manager],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Ray ends all that belonged to a cluster whose head is lost, the manager's process as well."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # else a minute
    cluster: Cluster = request.getfixturevalue("cluster")
    suite.write_matrices()
    suite.write_experiment(1, LONG, {"repeat": 2})
    cluster.add_node()
    manager = manage(suite, "[1] -1", cluster.address)
    manager.wait_until(lambda: list(suite.results.rglob("unfinished/state_*.pt")))
    port = cluster.address.rpartition(":")[2]
    cluster.ray.head_node.kill_gcs_server()
    for node in (*cluster.ray.worker_nodes, cluster.ray.head_node):
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    manager.wait_until(lambda: "the connection to the cluster was lost" in manager.text)
    cluster.__init__(port)  # type: ignore[misc]
    cluster.add_node()
    assert manager.code() == 0, manager.text
    assert len(manager.done) == 2 == len(set(manager.done))
    assert_equal_results(suite, suite.results, run_in_order(suite))
    assert_tidy(suite.results)


def test_no_cluster_at_the_address_is_one_line(
    suite: "Suite", manage: Callable[..., Manager]
) -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    manager = manage(suite, "[1] -1", "127.0.0.1:1")
    assert manager.code() == 2
    assert "[cluster] address = 127.0.0.1:1: no Ray cluster" in manager.text
    assert "Traceback" not in manager.text


@pytest.mark.parametrize(
    ("resources", "needs", "slots"),
    [
        ({"CPU": 4.0}, {"CPU": 1.0}, 4),
        ({"CPU": 5.0}, {"CPU": 2.0}, 2),
        ({"CPU": 16.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 0.25}, 8),
        ({"CPU": 3.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 0.25}, 3),
        ({"CPU": 64.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.1}, 10),
        ({"CPU": 64.0}, {"CPU": 1.0, "GPU": 1.0}, 0),
    ],
)
def test_room_of_a_node(resources: dict[str, float], needs: dict[str, float], slots: int) -> None:
    assert slots_of_node({"Alive": True, "Resources": resources}, needs) == slots
    assert slots_of_node({"Alive": False, "Resources": resources}, needs) == 0
