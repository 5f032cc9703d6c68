"""Several managers on one results folder: each instance is run once, and none is forgotten."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import training.sweep.schedule
from config.experiments import load_experiments
from config.locks import locked
from experiments_manager import build_parser, main
from tests.training.sweep.clusters import MANAGER
from training.results.loading import ResultReader
from training.sweep import instance as instance_module
from training.sweep.runs import Run, files_of
from training.sweep.schedule import launch
from training.sweep.spreadsheets import Spreadsheets

if TYPE_CHECKING:
    from tests.conftest import Suite

CPU = -1


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instances that are trained, in order; they only leave a twin."""
    names: list[str] = []

    def quick(_instance: Any, files: Any, *_: Any) -> None:
        names.append(files.stem)
        files.json_path.parent.mkdir(parents=True, exist_ok=True)
        files.json_path.write_text("{}")

    monkeypatch.setattr(instance_module, "run_instance", quick)
    monkeypatch.setattr(Spreadsheets, "add", lambda *_: None)
    monkeypatch.setattr(Spreadsheets, "outdated", lambda *_: [])
    monkeypatch.setattr(training.sweep.schedule, "POLL_SECONDS", 0.01)
    return names


@pytest.fixture
def runs(suite: "Suite") -> list[Run]:
    """Two instances of experiment 1, and experiment 2, which starts from 1's best."""
    suite.write_experiment(1, instances={"repeat": 2})
    suite.write_experiment(2, {"at_pretraining": "experiment 1"})
    experiments = load_experiments(suite.experiments, [suite.config])
    return [
        Run(experiment, instance, files_of(experiment, instance))
        for experiment in experiments.values()
        for instance in experiment.instances
    ]


def launched(runs: list[Run], overwrite: bool) -> int:
    """One run after the other, in this process."""
    cluster = runs[0].instance.settings.cluster
    return launch(runs, [CPU], cluster, overwrite, ResultReader())


def in_background(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def wait_for(condition: Callable[[], bool]) -> None:
    """A minute at most."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError


def test_what_another_process_runs_is_left_to_it_and_waited_for(
    runs: list[Run], trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = runs[0].files
    with locked(first.lock):
        thread = in_background(lambda: launched(runs, False))
        wait_for(lambda: len(trained) == 1)
        # The second experiment starts from all runs of the first, so it waits, too.
        thread.join(0.2)
        assert trained == [runs[1].files.stem]
        first.json_path.parent.mkdir(parents=True, exist_ok=True)
        first.json_path.write_text("{}")
    thread.join(30)
    assert trained == [runs[1].files.stem, runs[2].files.stem]
    assert f"{runs[0].title}: another process is running it" in capsys.readouterr().out


def test_what_another_process_gave_up_is_taken_over(runs: list[Run], trained: list[str]) -> None:
    with locked(runs[0].files.lock):
        thread = in_background(lambda: launched(runs, False))
        thread.join(0.2)
    thread.join(30)
    assert sorted(trained) == sorted(run.files.stem for run in runs)
    assert trained[-1] == runs[2].files.stem


def test_overwriting_together_runs_each_instance_once(runs: list[Run], trained: list[str]) -> None:
    launched(runs, False)
    trained.clear()
    with locked(runs[0].files.lock):
        thread = in_background(lambda: launched(runs, True))
        wait_for(lambda: bool(trained))
        runs[0].files.json_path.write_text("{} ")  # the other process has overwritten it
    thread.join(30)
    assert trained == [runs[1].files.stem, runs[2].files.stem]


def test_a_failure_is_noted_until_the_instance_succeeds(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    suite.write_experiment(2)
    experiments = load_experiments(suite.experiments, [suite.config])
    runs = [
        Run(each, each.instances[0], files_of(each, each.instances[0]))
        for each in experiments.values()
    ]
    broken = runs[0].files.model(0)
    broken.mkdir(parents=True)
    assert launched(runs, False) == 1
    assert not runs[0].files.json_path.exists()
    assert runs[1].files.json_path.exists()
    reason = json.loads(runs[0].files.failure.read_text())["failed"]
    assert "experiment 1 run 1" in reason
    assert listed(suite, capsys)[:2] == ["0/1, 1 failed", "1/1"]
    broken.rmdir()
    assert launched(runs, False) == 0
    assert not runs[0].files.failure.exists()
    assert listed(suite, capsys)[:2] == ["1/1", "1/1"]


def listed(suite: "Suite", capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The column 'done' of --list."""
    capsys.readouterr()
    main(build_parser().parse_args(["--list", *suite.arguments]))
    head, *lines = capsys.readouterr().out.splitlines()
    start, end = head.index("done"), head.index("dataset")
    return [line[start:end].strip() for line in lines]


def test_two_managers_share_a_sweep(suite: "Suite", tmp_path: Path) -> None:
    """Two processes with the same command: all results, each as if it had been run alone."""
    import subprocess
    import sys

    suite.write_matrices()
    suite.write_experiment(1, {"num_epochs": 1}, instances={"repeat": 6})
    command = [
        sys.executable,
        str(MANAGER),
        "[1]",
        "-1",
    ]
    processes = [
        subprocess.Popen(
            [*command, *suite.arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    numbers = sorted(
        json.loads(path.read_text())["number"]
        for path in (suite.results / "experiment_1" / "results").glob("*.json")
    )
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert not list(suite.results.rglob("*.partial*"))


def test_what_was_overwritten_before_the_cluster_was_lost_stays(
    runs: list[Run], trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work begins anew with the same arguments, as `supervised` has it."""
    from training.sweep.launchers import InlineLauncher
    from training.sweep.schedule import run_all

    launched(runs, False)
    trained.clear()
    begun: list[Any] = []
    monkeypatch.setattr(
        "training.sweep.supervision.supervised", lambda _, given: begun.append(given)
    )
    monkeypatch.setattr("config.cluster.imported", lambda: None)
    cluster = runs[0].instance.settings.cluster.model_copy(update={"launcher": "ray"})
    launch(runs, [CPU], cluster, True, ResultReader())
    given_runs, _, _, stale = begun[0]
    monkeypatch.setattr(training.sweep.schedule, "differences", lambda *_: [])
    monkeypatch.setattr(instance_module, "input_fingerprints", lambda *_: {})
    workshop: Any = None
    for number in (1, 3):  # the first is replaced, then the cluster is lost
        run_all(given_runs[:number], InlineLauncher(workshop), stale, Finder(), workshop)
    assert trained == [run.files.stem for run in runs]


class Finder(ResultReader):
    """Finds the twins of `trained`, which hold nothing."""

    def find(self, path: Path) -> dict[str, Any] | None:
        return {} if path.exists() else None


def test_a_result_that_appears_while_the_sweep_begins_is_not_made_again(
    runs: list[Run], trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another manager finishes a run after this one has looked for its result."""
    unfinished = training.sweep.schedule._unfinished

    def slowly(*arguments: Any) -> list[Run]:
        found = unfinished(*arguments)
        runs[0].files.json_path.parent.mkdir(parents=True)
        runs[0].files.json_path.write_text("{}")
        return found

    monkeypatch.setattr(training.sweep.schedule, "_unfinished", slowly)
    assert launched(runs, False) == 0
    assert trained == [runs[1].files.stem, runs[2].files.stem]
