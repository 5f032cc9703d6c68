"""Result files: what a figure needs is checked, the rest ignored, each error is one line."""

import json
import math
import pickle
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
        ('{"0":' * 100_000, "is no JSON file"),
        ('{"0": {"train_loss_hist": [NaN]}}', "is no JSON file: NaN is no JSON number"),
        ('{"0": ' + "1" * 5000 + "}", "is no JSON file: Exceeds the limit"),
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
    for content in (b"\x93NUMPY\x01\x00\xff", pickle.dumps({"0": {}}), "{}".encode("utf-16")):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is no JSON file: it is not UTF-8 text"):
            read_result(path)


def test_a_link_is_not_followed_but_a_linked_folder_is(
    write_instance: Callable[..., Path], tmp_path: Path
) -> None:
    result = write_instance(5, 1, None, (0.1, 0.2, 0.3))
    (tmp_path / "elsewhere").symlink_to(tmp_path / "results", target_is_directory=True)
    assert experiment_results(tmp_path / "elsewhere", 5)[0].mean_accuracy("test") == 0.3
    link = result.with_name("results_gsc_randsplit_spectrum_fast_exp5_run2.json")
    link.symlink_to(result)
    for read in (lambda: read_result(link), lambda: experiment_results(tmp_path / "results", 5)):
        with pytest.raises(UserError, match=r"exp5_run2\.json: is a symbolic link") as error:
            read()
        assert str(error.value).isprintable()


def test_two_results_of_one_number_are_refused(write_instance: Callable[..., Path]) -> None:
    """Which of them is meant cannot be guessed, and one would be missing from the figure."""
    path = write_instance(5, 1, None, (0.1, 0.2, 0.3))
    write_instance(5, 1, None, (0.1, 0.2, 0.4), dataset="gsc_noisy_randsplit")
    with pytest.raises(UserError, match=r"gsc_randsplit_spectrum_fast_exp5_run1\.json beside it"):
        experiment_results(path.parents[2], 5)


@pytest.mark.parametrize("accuracy", [-0.1, 1.5, 1e300, 10**400, "0.5", None, [], True])
def test_an_accuracy_that_is_none_is_refused(
    accuracy: Any, write_instance: Callable[..., Path]
) -> None:
    path = write_instance(5, 1, None, (0.1, 0.2, accuracy))
    with pytest.raises(UserError, match=r"summary\.test\.mean_acc: ") as error:
        read_result(path).mean_accuracy("test")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "content", [{"summary": 3}, {"summary": {"test": []}}, {"parameters": "at_layer"}]
)
def test_a_number_where_a_dictionary_is_expected(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "results_a.json"
    path.write_text(json.dumps({"0": {}, **content}))
    with pytest.raises(UserError, match="missing, or not a dictionary"):
        read_result(path).mean_accuracy("test")
    if "parameters" in content:
        with pytest.raises(UserError, match="parameters: missing, or not a dictionary"):
            read_result(path).layer()


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


@pytest.mark.parametrize("layer", [None, "", 0, 14, "3, 5", [[3], [5]], True, -5, "9" * 5000])
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
