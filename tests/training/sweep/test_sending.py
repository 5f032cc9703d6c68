"""Files of runs on their way to the results folder: all of a run's, or none."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from config.files import identity_of
from config.locks import locked
from training.sweep import sending
from training.sweep.runs import Run, files_of
from training.sweep.sending import Collector, DeliveryLostError, carry_out_and_send
from training.sweep.task import Order

if TYPE_CHECKING:
    from tests.conftest import Suite


@pytest.fixture
def run(suite: "Suite") -> Run:
    suite.write_experiment(1)
    instance = suite.instance(1)
    from config.experiments import load_experiments

    experiment = load_experiments(suite.experiments, [suite.config])[1]
    return Run(experiment, instance, files_of(experiment, instance))


@pytest.fixture
def collector(suite: "Suite") -> Collector:
    return Collector(suite.results)


def name_of(run: Run, path: Path) -> str:
    return path.relative_to(run.files.results_folder).as_posix()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_appear_together_and_the_mark_last(
    run: Run, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, twin = (name_of(run, path) for path in (run.files.model(0), run.files.json_path))
    order = Order(run)
    assert collector.begin("one", order) == "begin"
    collector.write("one", twin, b"{")
    collector.write("one", model, b"weights")
    collector.write("one", twin, b"}")
    assert not run.files.json_path.exists()
    assert not run.files.model(0).exists()
    renamed: list[str] = []
    replace_file = Path.replace

    def replaced(path: Path, to: Path) -> Path:
        renamed.append(to.name)
        return replace_file(path, to)

    monkeypatch.setattr(Path, "replace", replaced)
    collector.finish("one", twin)
    assert renamed == [run.files.model(0).name, run.files.json_path.name]
    assert contents(run.files.results_folder) == {model: b"weights", twin: b"{}"}


def test_one_node_at_a_time_has_a_run(run: Run, collector: Collector) -> None:
    order = Order(run)
    with locked(run.files.lock):
        assert collector.begin("one", order) == "busy"
    assert collector.begin("one", order) == "begin"
    assert collector.begin("two", order) == "busy"
    with locked(run.files.lock) as is_ours:
        assert not is_ours


def test_what_a_lost_node_sent_is_removed_and_refused(run: Run, collector: Collector) -> None:
    order, twin = Order(run), name_of(run, run.files.json_path)
    collector.begin("one", order)
    collector.write("one", twin, b"half of it")
    collector.release("one")
    collector.release("one")
    assert contents(run.files.results_folder) in ({}, {name_of(run, run.files.lock): b""})
    with pytest.raises(DeliveryLostError):
        collector.write("one", twin, b"the rest")
    with pytest.raises(DeliveryLostError):
        collector.finish("one", twin)
    assert collector.begin("two", order) == "begin"


def test_a_result_that_another_process_left_is_kept(run: Run, collector: Collector) -> None:
    run.files.json_path.parent.mkdir(parents=True)
    run.files.json_path.write_text("{}")
    stale = identity_of(run.files.json_path)
    assert collector.begin("one", Order(run)) == "finished"
    assert not run.files.unfinished.exists()
    assert collector.begin("two", Order(run, stale)) == "begin"


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/elsewhere", "experiment_1/../../elsewhere"])
def test_no_file_leads_out_of_the_results_folder(
    name: str, run: Run, collector: Collector, suite: "Suite"
) -> None:
    collector.begin("one", Order(run))
    with pytest.raises(ValueError, match="leads out of the results folder"):
        collector.write("one", name, b"")
    with pytest.raises(ValueError, match="leads out of the results folder"):
        collector.read(name, 0)


@pytest.fixture
def call(collector: Collector) -> Any:
    return lambda method, *values: getattr(collector, method)(*values)


def test_a_run_is_trained_elsewhere_and_sent(
    run: Run, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also files larger than a piece, empty ones, and those of the tracker."""
    monkeypatch.setattr(sending, "PIECE_BYTES", 4)
    places: list[Path] = []

    def train(moved: Run) -> None:
        folder = moved.files.results_folder
        places.append(folder)
        assert moved.instance.settings.results.results_folder == folder
        assert not folder.is_relative_to(run.files.results_folder)
        for path, content in (
            (moved.files.model(0), b"eleven byte"),
            (moved.files.parameters, b""),
            (folder / "tracking" / "run" / "events", b"12345678"),
            (moved.files.state(0), b"left behind"),
            (moved.files.json_path, b"{}"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        print("collapsed")

    outcome = carry_out_and_send(Order(run), "one", train, call)
    assert outcome.failure == ""
    assert outcome.text == "collapsed"
    files = run.files
    assert contents(files.results_folder) == {
        name_of(run, files.model(0)): b"eleven byte",
        name_of(run, files.parameters): b"",
        "tracking/run/events": b"12345678",
        name_of(run, files.json_path): b"{}",
    }
    assert not places[0].exists()


def test_a_run_that_fails_sends_nothing(run: Run, call: Any) -> None:
    def train(moved: Run) -> None:
        moved.files.json_path.parent.mkdir(parents=True)
        moved.files.json_path.write_bytes(b"{}")
        raise ValueError("no")

    outcome = carry_out_and_send(Order(run), "one", train, call)
    assert outcome.failure == f"{run.title}: ValueError: no"
    assert not run.files.json_path.exists()
    assert call("begin", "two", Order(run)) == "begin"


def test_what_a_run_starts_from_is_fetched(
    suite: "Suite", run: Run, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PIECE_BYTES", 4)
    source = replace(run.files, experiment=9)
    for path, content in ((source.json_path, b'{"a": 1}'), (source.model(0), b"0123456789")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    seen: dict[str, bytes] = {}

    def train(moved: Run) -> None:
        seen.update(contents(moved.files.results_folder / "experiment_9"))
        raise ValueError("enough")

    carry_out_and_send(Order(run, source=source), "one", train, call)
    assert seen == contents(suite.results / "experiment_9")
