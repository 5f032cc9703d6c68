"""What a process does with a run that it was given."""

from pathlib import Path

import pytest

from config.experiments import load_experiments
from config.files import identity_of, locked
from tests.conftest import Suite
from training.sweep.execute import RunResult, RunTask, execute
from training.sweep.launchers import execute_silently
from training.sweep.runs import Run, files_of


@pytest.fixture
def run(suite: Suite) -> Run:
    suite.write_experiment(1, instances={"repeat": 11})
    experiment = load_experiments(suite.experiments, [suite.config])[1]
    return Run(experiment, experiment.instances[0], files_of(experiment, experiment.instances[0]))


def leave_result(run: Run) -> None:
    run.files.json_path.parent.mkdir(parents=True, exist_ok=True)
    run.files.json_path.write_text("{}")


def test_a_result_that_is_there_makes_a_run_superfluous(run: Run) -> None:
    leave_result(run)
    result = execute(RunTask(run), lambda _: pytest.fail("trained again"))
    assert (result.failure, result.seconds, result.is_busy) == ("", 0.0, False)
    trained: list[Run] = []
    execute(RunTask(run, identity_of(run.files.json_path)), trained.append)
    assert trained == [run]


def test_a_run_that_another_process_has_is_left_to_it(run: Run) -> None:
    with locked(run.files.lock):
        assert execute(RunTask(run), lambda _: pytest.fail("twice")) == RunResult(is_busy=True)


def test_what_goes_wrong_is_in_the_result(run: Run) -> None:
    def train(_: Run) -> None:
        print("half done")
        raise ValueError("a\nb")

    result = execute_silently(RunTask(run), train)
    assert result.failure == f"{run.title}: ValueError: a b"
    assert result.text.startswith("half done\nTraceback (most recent call last):\n")
    assert result.text.endswith("ValueError: a\nb")
    with locked(run.files.lock) as is_free:
        assert is_free


def test_what_a_killed_process_was_writing_is_removed(run: Run) -> None:
    """Of this run alone, and of every machine: nobody else writes these files now."""
    files = run.files
    left = [
        files.model(0).with_name(f".{files.model(0).stem}.123@node-7.partial.pt"),
        files.state(0).with_name(f".{files.state(0).stem}.123@node-7.partial.pt"),
        files.json_path.with_name(f".{files.json_path.stem}.1@node-8.partial.json"),
    ]
    eleventh = files_of(run.experiment, run.experiment.instances[10])
    other = eleventh.json_path.with_name(f".{eleventh.json_path.stem}.1@node-8.partial.json")
    for path in (*left, other, files.model(0)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    execute(RunTask(run), lambda _: leave_result(run))
    assert not [path for path in left if path.exists()]
    assert other.exists()
    assert files.model(0).exists()
    assert not Path(files.lock).exists()
