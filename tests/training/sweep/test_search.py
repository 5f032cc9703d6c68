"""Which trial a search chooses, and the runs of its settings: after all trials, and as by hand."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import openpyxl
import pytest

from config.experiments import Experiment
from config.files import write_json
from tests.conftest import message_of
from training.models.weights import load_weights
from training.results.loading import ResultReader
from training.sweep import instance as instance_module
from training.sweep.instance import run_instance
from training.sweep.runs import runs_of
from training.sweep.search import trials_of, with_chosen_settings

if TYPE_CHECKING:
    from tests.conftest import Suite

SEARCH = """[search]
trials = 4
repeat = 2
learning_rate = 1e-4 .. 1e-2 log
batch_size = 8, 16
"""
TINY = {"network": "small_cnn", "num_epochs": 1}


def write_search(suite: "Suite", text: str = SEARCH, **head: Any) -> Experiment:
    path = suite.write_experiment(7, TINY, **head)
    path.write_text(path.read_text().replace("[instances]\n", text))
    return suite.experiment(7)


def leave_results(experiment: Experiment, values: dict[int, float], key: str) -> None:
    """Results of some trials that are so good on validation, and best on the test where worst."""
    for run in runs_of(experiment):
        if run.instance.number not in values:
            continue
        value = values[run.instance.number]
        result = {
            "0": {},
            "parameters": run.instance.parameters,
            "inputs": {},
            "fingerprint": "",
            "number": run.instance.number,
            "summary": {"validation": {f"mean_{key}": value}, "test": {f"mean_{key}": 1 - value}},
        }
        write_json(run.files.json_path, result)


@pytest.mark.parametrize(
    ("task", "classes", "key", "best"),
    [("classification", 3, "acc", 2), ("regression", 1, "RMSE", 3)],
)
def test_the_best_on_validation_is_chosen_among_those_that_did_not_fail(
    suite: "Suite", task: str, classes: int, key: str, best: int
) -> None:
    suite.config.write_text(f"{suite.config.read_text()}save_best_model_metric = val_loss\n")
    experiment = write_search(suite, task=task, output_classes=classes)
    reader = ResultReader()
    chosen = [run for run in runs_of(experiment) if run.is_chosen]
    leave_results(experiment, {1: 0.6, 2: 0.712, 3: 0.3}, key)
    problem = message_of(with_chosen_settings, chosen[0], reader)
    assert problem.endswith("no best trial: 1 of 4 trials are still to be run")
    write_json(suite.files(7, 4).failure, {"failed": "it diverged"})
    trial = experiment.instances[best - 1].parameters
    said = trials_of(experiment, reader).describe_best()
    value = {"acc": "accuracy 71.2 %", "RMSE": "RMSE 0.300"}[key]
    assert f"trial {best} of 4 is best on validation ({value}): " in said
    assert f"learning_rate {trial['learning_rate']}" in said
    assert said.endswith("; trials that failed and were not compared: 4")
    for repetition, run in enumerate(chosen, start=1):
        instance = with_chosen_settings(run, reader).instance
        assert instance.number == 4 + repetition
        assert instance.settings.training_defaults.learning_rate == trial["learning_rate"]
        assert instance.settings.training_defaults.seed == repetition
        own: dict[str, Any] = {"seed": repetition, "repetition": repetition, "search_trial": 0}
        own["comment_2"] = f"trial{best}_repetition{repetition}"
        assert instance.parameters == trial | own


def test_examples_with_and_without_the_confounders_value_count_alike(suite: "Suite") -> None:
    """Trial 1 is right in 0.9 * 1 + 0.1 * 0, trial 2 in 0.9 * 0.8 + 0.1 * 0.6 of validation."""
    experiment = write_search(suite)
    leave_results(experiment, {1: 0.9, 2: 0.78, 3: 0.0, 4: 0.0}, "acc")
    for number, (aligned, conflicting) in enumerate([(1, 0), (0.8, 0.6), (0, 0), (0, 0)], start=1):
        path = suite.files(7, number).json_path
        kinds = {"aligned": {"acc": aligned}, "conflicting": {"acc": conflicting}}
        write_json(path, json.loads(path.read_text()) | {"0": {"val_alignment": kinds}})
    best = trials_of(experiment, ResultReader()).describe_best()
    assert "trial 2 of 4 is best on validation (accuracy 70.0 %" in best


def test_of_a_trial_with_other_settings_nothing_is_known(suite: "Suite") -> None:
    leave_results(write_search(suite), dict.fromkeys(range(1, 5), 0.5), "acc")
    experiment = write_search(suite, SEARCH.replace("1e-2", "1e-1"))
    assert len(trials_of(experiment, ResultReader()).pending) == 4
    for number in range(1, 5):
        write_json(suite.files(7, number).failure, {"failed": "it diverged"})
    problem = message_of(trials_of(experiment, ResultReader()).best)
    assert problem == "experiment 7: its search has no best trial: all have failed"


def test_an_interrupted_search_goes_on_and_ends_as_by_hand(
    suite: "Suite", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted in its third trial; the fourth fails once; then all is as it would have been."""
    suite.write_matrices()
    write_search(suite)
    begun: list[int] = []

    def interrupted(instance: Any, files: Any, *rest: Any) -> Any:
        begun.append(instance.number)
        if begun == [1, 2, 3]:
            raise KeyboardInterrupt
        if begun == [1, 2, 3, 3, 4]:
            raise RuntimeError("an accident")
        return run_instance(instance, files, *rest)

    monkeypatch.setattr(instance_module, "run_instance", interrupted)
    assert suite.manage("[7]", "-1", "5", "6") == 2
    assert "[7] -1 1 4 " in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        suite.manage("[7]", "-1")
    assert suite.manage("[7]", "-1", "1", "4") == 1
    said = capsys.readouterr()
    assert "failed: experiment 7 run 4 trial4: RuntimeError: an accident" in said.err
    assert "of 4 is best on validation" in said.out
    assert suite.manage("[7]", "-1") == 0
    assert begun == [1, 2, 3, 3, 4, 4, 5, 6]
    said = capsys.readouterr()
    results = [json.loads(suite.files(7, number).json_path.read_text()) for number in range(1, 7)]
    values = [result["summary"]["validation"]["mean_acc"] for result in results[:4]]
    best = int(np.argmax(values))
    assert f"search: trial {best + 1} of 4 is best on validation" in said.out
    assert suite.manage("--check", "[7]") == 0
    checked = capsys.readouterr().out
    assert "search: random, 4 trials: learning_rate, batch_size; then 2 runs" in checked
    assert "6 of 6 instances are finished" in checked
    keys = ("learning_rate", "batch_size")
    by_hand = {key: results[best]["parameters"][key] for key in keys} | TINY
    suite.write_experiment(8, by_hand)
    for number, seed in ((5, 1), (6, 2)):
        expected = suite.run(8, seed=seed)
        assert results[number - 1]["fingerprint"] == expected["fingerprint"]
        found, same = (load_weights(suite.files(*one).model(0)) for one in ((7, number), (8, 1)))
        assert all(np.array_equal(found[name], same[name]) for name in found | same)
        suite.files(8).json_path.unlink()
    sheet = openpyxl.load_workbook(suite.files(7).spreadsheet).worksheets[0]
    titles = [str(cell.value) for cell in sheet["B"] if "repetitions" in str(cell.value)]
    assert titles == ["mean of 2 repetitions (ID 5, 6)"]
    # Another choice is another result: it is said, and which command runs it again.
    other = (best + 1) % 4
    results[other]["summary"]["validation"]["mean_acc"] = 1.0
    write_json(suite.files(7, other + 1).json_path, results[other])
    suite.files(7, (best + 2) % 4 + 1).json_path.unlink()
    assert suite.manage("[7]", "-1") == 1
    said = capsys.readouterr()
    assert f"search: trial {other + 1} of 4 is best" in said.out
    for problem in (said.err, message_of(suite.manage, "[7]", "-1")):
        assert "was produced with different settings (" in problem
        assert "[7] -1 5 6 --overwrite" in problem
