"""Result files: what a figure needs is checked, the rest ignored, each error is one line."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.errors import UserError
from plotting.result_files import experiment_results, read_history, read_result


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no JSON file"),
        ('{"0": {', "is no JSON file"),
        ("[" * 100_000, "is no JSON file"),
        ("[1, 2]", "0: missing"),
        ("{}", "0: missing"),
        ('{"0": 3}', "0: missing, or not a dictionary"),
        ('{"0": {}}', "0.train_loss_hist: missing"),
        ('{"0": {"train_loss_hist": [1.0]}}', "0.val_loss_hist: missing"),
        ('{"0": {"train_loss_hist": [], "val_loss_hist": []}}', "0.train_loss_hist: missing"),
        ('{"0": {"train_loss_hist": 1.0}}', "0.train_loss_hist: must be a list"),
        ('{"0": {"train_loss_hist": ["a"]}}', "0.train_loss_hist: must hold numbers only"),
        ('{"0": {"train_loss_hist": [true]}}', "0.train_loss_hist: must hold numbers only"),
    ],
)
def test_broken_or_foreign_file_is_one_line_that_names_file_and_key(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_result(path).history(0)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(error.value)


def test_numpy_dictionary_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give its twin results_a\.json"):
        read_result(tmp_path / "results_a.npy")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_result(tmp_path / "results_a.json")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(b"\x93NUMPY\x01\x00\xff")
    with pytest.raises(UserError, match="is no JSON file"):
        read_result(path)


@pytest.mark.parametrize(("key", "value"), [("best_epoch", 3), ("best_epoch", "1")])
def test_best_epoch_must_be_one_of_the_epochs(
    content: dict[str, Any], key: str, value: Any
) -> None:
    with pytest.raises(UserError, match=r"file: 0\.best_epoch: .* must be 0-2"):
        read_history(content["0"] | {key: value}, "file: 0")


def test_best_epoch_is_found_where_it_is_not_told(content: dict[str, Any]) -> None:
    del content["0"]["best_epoch"]
    content["0"]["val_loss_hist"] = [None, 2.0, 1.0]
    history = read_history(content["0"], "file")
    assert history.best_epoch == 2
    assert math.isnan(history.curves["val_loss_hist"][0])


def test_curves_must_have_the_same_number_of_epochs(content: dict[str, Any]) -> None:
    content["0"]["val_acc_hist"] = [0.5]
    with pytest.raises(
        UserError, match=r"0\.val_acc_hist: has 1 epochs, but train_loss_hist has 3"
    ):
        read_history(content["0"], "file: 0")


@pytest.mark.parametrize("layer", [None, "", 0, 14, "3, 5", [[3], [5]], True, -5])
def test_layer_must_be_one_convolution(layer: Any, write_instance: Callable[..., Path]) -> None:
    path = write_instance(28, 0, layer, (0.5, 0.5, 0.5))
    with pytest.raises(UserError, match=r"parameters\.at_layer: is .*, must be one convolution"):
        read_result(path).layer()


def test_regression_result_has_no_accuracy(content: dict[str, Any], tmp_path: Path) -> None:
    content["summary"]["test"] = {"mean_RMSE": 0.3}
    path = tmp_path / "results_a.json"
    path.write_text(json.dumps(content))
    assert read_result(path).mean_accuracy("train") == 0.5
    with pytest.raises(UserError, match=r"summary\.test\.mean_acc: missing"):
        read_result(path).mean_accuracy("test")


def test_instances_come_in_the_order_of_their_numbers_and_of_this_experiment_alone(
    write_instance: Callable[..., Path], tmp_path: Path
) -> None:
    for run in (10, 2, 0):
        write_instance(5, run, None, (0.1, 0.1, run / 10))
    foreign = tmp_path / "results" / "experiment_5" / "results" / "results_x_y_exp15_run1.json"
    foreign.write_text("{}")
    results = experiment_results(tmp_path / "results", 5)
    assert [result.mean_accuracy("test") for result in results] == [0.0, 0.2, 1.0]
