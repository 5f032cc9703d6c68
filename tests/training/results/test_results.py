"""What an instance leaves behind: names, keys, plain values, and how it is found again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.results.dictionary import (
    InstanceFiles,
    differences,
    instance_fingerprint,
    summarize,
    write_result,
)
from training.results.loading import ResultReader, count_finished, read_result

METRICS = {
    "classification": (
        *("loss", "acc", "f1", "precision", "recall", "uar"),
        *("clip_acc", "clip_uar", "clip_f1"),
    ),
    "regression": ("loss", "RMSE", "MAE", "CCC", "clip_RMSE", "clip_MAE", "clip_CCC"),
}
PARAMETERS: dict[str, Any] = {
    "dataset": "gsc_randsplit",
    "features_type": "spectrum_fast",
    "task": "classification",
    "output_classes": 10,
    "kind": "baseline",
    "repetition": 0,
    "learning_rate": 0.00005,
    "anti_transfer": False,
    "at_pretraining": None,
    "at_layer": "3, 5",
    "seed": 0,
    "tracker": "none",
    "comment_1": "baseline",
    "comment_2": "é: a colon",
}
MODEL = {"network": "vgg16", "num_parameters": 134_275_780, "width": 1.0}
INPUTS = {"data": "abc", "extractor noisyspeech": "def"}


def files_in(folder: Path, number: int = 3) -> InstanceFiles:
    return InstanceFiles(folder / "results", 28, number, "gsc_randsplit", "spectrum_fast")


def fold(value: float, task: str = "classification") -> dict[str, Any]:
    """A fold whose figures are value, value + 1, ... for train, val, test."""
    figures = {
        f"{prefix}_{metric}": value + offset
        for offset, prefix in enumerate(("train", "val", "test"))
        for metric in METRICS[task]
    }
    return {**figures, "val_loss_hist": [3.0, value], "test_actors": ["a", "b"], "best_epoch": 1}


def load_dictionary(files: InstanceFiles) -> Any:
    return np.load(files.dictionary, allow_pickle=True).item()


def test_names_are_those_that_users_know(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    folder = tmp_path / "results" / "experiment_28"
    stem = "gsc_randsplit_spectrum_fast_exp28_run3"
    assert files.dictionary == folder / "results" / f"results_{stem}.npy"
    assert files.json_path == folder / "results" / f"results_{stem}.json"
    assert files.parameters == folder / "results" / "parameters" / f"parameters_{stem}.txt"
    assert files.spreadsheet == (
        folder / "results" / "gsc_randsplit_spectrum_fast_exp28_results_spreadsheet.xlsx"
    )
    assert files.model(1).parent == folder / "models"
    assert stem in files.model(1).name
    assert files.model(0) != files.model(1)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_summary_is_mean_and_population_deviation_over_folds(task: Any) -> None:
    """Of 1, 2 and 6: mean 3, squared differences 4, 1, 9, deviation sqrt(14 / 3)."""
    summary = summarize([fold(1, task), fold(2, task), fold(6, task)], task)
    assert list(summary) == ["training", "validation", "test"]
    for offset, figures in enumerate(summary.values()):
        keys = {f"mean_{metric}" for metric in METRICS[task]}
        keys |= {f"{metric}_std" for metric in METRICS[task]}
        assert set(figures) == keys
        for metric in METRICS[task]:
            assert figures[f"mean_{metric}"] == pytest.approx(3 + offset)
            assert figures[f"{metric}_std"] == pytest.approx((14 / 3) ** 0.5)


def test_the_dictionary_has_one_key_per_fold_and_a_summary(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    folds = [fold(1), fold(2)]
    write_result(files, folds, PARAMETERS, MODEL, INPUTS, {})
    dictionary = load_dictionary(files)
    assert list(dictionary) == [0, 1, "summary", "parameters"]
    assert [dictionary[0], dictionary[1]] == folds
    assert list(dictionary["summary"]) == ["training", "validation", "test", "parameters"]
    assert dictionary["parameters"] == PARAMETERS
    assert dictionary["summary"]["test"]["mean_f1"] == 3.5


def test_parameters_of_the_summary_are_text_that_can_be_split(tmp_path: Path) -> None:
    """As scripts for the released code do, to whom a parameter is a line of Python."""
    files = files_in(tmp_path)
    write_result(files, [fold(1)], PARAMETERS, MODEL, INPUTS, {})
    assert load_dictionary(files)["summary"]["parameters"].split("/") == [
        'dataset="gsc_randsplit"',
        'features_type="spectrum_fast"',
        'task="classification"',
        "output_classes=10",
        'kind="baseline"',
        "repetition=0",
        "learning_rate=5e-05",
        "anti_transfer=False",
        "at_pretraining=None",
        'at_layer="3, 5"',
        "seed=0",
        'tracker="none"',
        'comment_1="baseline"',
        'comment_2="é: a colon"',
    ]


def test_the_json_file_holds_the_same_and_says_what_it_was_made_from(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    made = {"suite": "1.0"}
    returned = write_result(files, [fold(1), fold(2)], PARAMETERS, MODEL, INPUTS, made)
    stored = json.loads(files.json_path.read_text(encoding="utf-8"))
    assert stored == returned == read_result(files.json_path)
    dictionary = load_dictionary(files)
    for key, value in dictionary.items():
        assert stored[str(key)] == value
    added = {"model", "inputs", "fingerprint", "experiment", "number", "provenance"}
    assert set(stored) == {"0", "1", "summary", "parameters"} | added
    assert (stored["experiment"], stored["number"]) == (28, 3)
    assert (stored["model"], stored["inputs"], stored["provenance"]) == (MODEL, INPUTS, made)


def test_parameters_are_text_in_two_parts(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    write_result(files, [fold(1)], PARAMETERS, MODEL, INPUTS, {})
    training, model = files.parameters.read_text(encoding="utf-8").split("\nMODEL PARAMETERS:\n")
    first, *lines = training.rstrip("\n").split("\n")
    assert first == "TRAINING PARAMETERS:"
    assert dict(line.split(":", 1) for line in lines) == {
        key: str(value) for key, value in PARAMETERS.items()
    }
    assert dict(line.split(":", 1) for line in model.rstrip("\n").split("\n")) == {
        key: str(value) for key, value in MODEL.items()
    }


def test_a_result_that_is_no_number_leaves_no_json_file(tmp_path: Path) -> None:
    """That file marks an instance finished."""
    files = files_in(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        write_result(files, [fold(float("nan"))], PARAMETERS, MODEL, INPUTS, {})
    assert not files.json_path.exists()
    assert count_finished(tmp_path / "results", 28) == 0


def test_only_whole_results_of_the_experiment_count_by_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_result(files_in(tmp_path, number), [fold(number)], PARAMETERS, MODEL, INPUTS, {})
    path = files_in(tmp_path, 2).json_path
    for name in (f".{path.stem}.77.partial.json", f"{path.stem} (copy).json", f"{path.stem}.json~"):
        path.with_name(name).write_text(path.read_text())
    results = ResultReader().find_all(tmp_path / "results", 28)
    assert [result["0"]["train_loss"] for result in results] == [1, 2, 10]
    assert count_finished(tmp_path / "results", 28) == 3
    for other in (2, 8, 280):
        assert count_finished(tmp_path / "results", other) == 0
    (tmp_path / "results" / "experiment_29").write_text("a file where a folder should be")
    assert count_finished(tmp_path / "results", 29) == 0


def test_a_reader_reads_a_file_again_when_it_is_another_one(tmp_path: Path) -> None:
    files, reader = files_in(tmp_path), ResultReader()

    def write_and_find(value: float) -> Any:
        write_result(files, [fold(value)], PARAMETERS, MODEL, INPUTS, {})
        found = reader.find(files.json_path)
        assert found is not None
        return found["0"]["train_loss"]

    assert reader.find(files.json_path) is None
    assert write_and_find(1) == 1
    assert reader.find(files.json_path) is reader.find(files.json_path)
    assert write_and_find(2) == 2
    files.json_path.unlink()
    assert reader.find(files.json_path) is None


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("learning_rate", 0.001, "learning_rate: 5e-05 then, 0.001 now"),
        ("at_pretraining", "noisyspeech", "at_pretraining: None then, 'noisyspeech' now"),
    ],
)
def test_a_changed_parameter_is_named_with_both_values(key: str, value: Any, text: str) -> None:
    result = {"parameters": PARAMETERS, "inputs": INPUTS}
    assert differences(result, {**PARAMETERS, key: value}, INPUTS) == [text]


@pytest.mark.parametrize("key", ["comment_1", "comment_2", "tracker"])
def test_what_does_not_change_a_result_makes_none_out_of_date(key: str) -> None:
    changed = {**PARAMETERS, key: "something else"}
    assert differences({"parameters": PARAMETERS, "inputs": INPUTS}, changed, INPUTS) == []
    assert instance_fingerprint(changed, INPUTS) == instance_fingerprint(PARAMETERS, INPUTS)
