"""Order, failures, and several managers on one results folder: each run once, none forgotten."""

import json
import threading
from concurrent.futures import Future
from typing import Any

import pytest

import training.sweep.schedule
from config.files import locked
from tests.conftest import Suite
from tests.training.sweep.commands import (
    assert_as_run_in_order,
    command,
    done_in,
    run_here,
    runs_of,
    write_three,
)
from training.sweep import instance as instance_module
from training.sweep.execute import RunResult, RunTask
from training.sweep.input_cache import InputCache
from training.sweep.launchers import Launcher
from training.sweep.runs import Run
from training.sweep.schedule import execute_all


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that are looked after often, and leave no spreadsheet."""
    monkeypatch.setattr(training.sweep.schedule, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(training.sweep.schedule, "update_spreadsheet", lambda *_: None)


@pytest.fixture
def runs(suite: Suite, quickly: None) -> list[Run]:
    """Two runs of experiment 1, and 2, which starts from 1's best; no spreadsheets."""
    write_three(suite)
    return runs_of(suite)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs that are trained, in order; they only leave a result's file."""
    names: list[str] = []

    def quick(_instance: Any, files: Any, *_: Any) -> None:
        names.append(files.stem)
        leave_result(files)

    monkeypatch.setattr(instance_module, "run_instance", quick)
    return names


def leave_result(files: Any, text: str = "{}") -> None:
    files.json_path.parent.mkdir(parents=True, exist_ok=True)
    files.json_path.write_text(text)


class Fake(Launcher):
    """Runs so many tasks at a time; each task has the results of a script, one after the other."""

    def __init__(self, num_slots: int, script: dict[str, list[RunResult]] | None = None) -> None:
        self.num_slots = num_slots
        self.begun: list[str] = []
        self.most = 0
        self._script = script or {}
        self._open: list[tuple[Future[RunResult], str]] = []

    def submit(self, task: RunTask) -> "Future[RunResult]":
        name = f"{task.run.experiment.id}.{task.run.instance.number}"
        future: Future[RunResult] = Future()
        self.begun.append(name)
        self._open.append((future, name))
        self.most = max(self.most, len(self._open))
        return future

    def check(self) -> None:
        """One of those that are at work ends whenever the sweep looks."""
        if self._open:
            future, name = self._open.pop(0)
            results = self._script.get(name, [])
            future.set_result(results.pop(0) if results else RunResult(seconds=1.0, host="here"))


def swept(runs: list[Run], fake: Fake) -> int:
    return execute_all(runs, [RunTask(run) for run in runs], fake, InputCache())


def test_what_starts_from_others_waits_for_all_of_them(runs: list[Run]) -> None:
    for num_slots, most in ((1, 1), (8, 2)):
        fake = Fake(num_slots)
        assert swept(runs[::-1], fake) == 0
        assert fake.begun == ["1.2", "1.1", "2.1"]
        assert fake.most == most


def test_what_a_search_chooses_waits_for_all_of_its_trials(suite: Suite, quickly: None) -> None:
    path = suite.write_experiment(3)
    search = "[search]\ntrials = 3\nrepeat = 2\nwidth = 0.03, 0.04\n"
    path.write_text(path.read_text().replace("[instances]\n", search))
    for num_slots, most in ((1, 1), (8, 3)):
        fake = Fake(num_slots)
        assert swept(runs_of(suite)[::-1], fake) == 0
        assert fake.begun == ["3.3", "3.2", "3.1", "3.5", "3.4"]
        assert fake.most == most


def test_a_failure_is_said_once_and_the_others_go_on(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Fake(2, {"1.1": [RunResult("it failed", seconds=1.0, text="a warning")]})
    assert swept(runs, fake) == 1
    assert json.loads(runs[0].files.failure.read_text()) == {"failed": "it failed"}
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["failed: it failed", "1 of 3 instances failed"]
    assert captured.out.splitlines() == [
        "0 of 3 instances are finished, 3 to run",
        "a warning",
        "1/3 done, 00:01 left, 1 failed: experiment 1 run 2 baseline (1 s on here)",
        "2/3 done, 00:00 left, 1 failed: experiment 2 run 1 weight_initialization (1 s on here)",
    ]


def test_what_another_process_gave_up_is_taken_over(runs: list[Run], trained: list[str]) -> None:
    with locked(runs[0].files.lock):
        thread = threading.Thread(target=run_here, args=(runs,))
        thread.start()
        thread.join(0.3)
    thread.join(60)
    assert sorted(trained) == sorted(run.files.stem for run in runs)
    assert trained[-1] == runs[2].files.stem


def test_two_managers_share_a_sweep(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    write_three(suite)
    with command(suite, "[1,2]", "-1") as other:
        other.wait_until(lambda: list(suite.results.rglob("*.lock")))
        assert suite.manage("[1,2]", "-1") == 0
        assert other.code() == 0, other.text
    said = capsys.readouterr().out + other.text
    assert len(done_in(said)) - said.count("(by another process)") == 3
    assert_as_run_in_order(suite)
