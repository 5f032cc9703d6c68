"""Results read back: what is checked, and that each error is one line with file and key."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.errors import UserError
from config.files import require_fields
from tests.synthetic_results import HISTORY, make_result, write_result
from training.results.loading import load_result, load_results
from training.results.result import Result


def test_a_result_is_read_with_its_metric_in_percent(tmp_path: Path) -> None:
    content = make_result(0.5, 3, 28, validation=0.4)
    content["1"] = {**content["0"], "test_chance": 0.35, "test_examples": 10, "collapsed": True}
    result = load_result(write_result(tmp_path, content))
    assert [result.value(name) for name in ("train", "validation", "test")] == [90, 40, 50]
    assert result.chance == pytest.approx(30.0)
    assert result.num_test == 90 + 10
    assert result.collapsed
    assert result.stem == "gsc_randsplit_spectrum_fast_exp28_run4"
    assert result.parameters.model_dump() == {
        **{"network": "vgg16", "search": "", "search_trial": None},
        **content["parameters"],
    }


@pytest.mark.parametrize(
    ("task", "report_metric", "key", "value", "chance"),
    [
        ("classification", "acc", "acc", 50.0, 25.0),
        # Three of the four classes are in the test set.
        ("classification", "uar", "uar", 40.0, 100 / 3),
        ("classification", "clip_uar", "clip_uar", 30.0, 100 / 3),
        ("classification", "f1", "f1", 35.0, None),
        ("classification", "ccc", "acc", 50.0, 25.0),
        ("regression", "ccc", "CCC", -0.2, 0.0),
        ("regression", "clip_mae", "clip_MAE", 0.7, None),
        ("regression", "uar", "RMSE", 0.5, 0.9),
    ],
)
def test_the_metric_that_is_asked_for_is_compared_if_it_is_one_of_the_task(
    tmp_path: Path, task: str, report_metric: str, key: str, value: float, chance: float | None
) -> None:
    content = make_result(0.5, 0, 5, task)
    shares = {"uar": 0.4, "clip_uar": 0.3, "f1": 0.35}
    for summary in content["summary"].values():
        others = shares if task == "classification" else {"CCC": -0.2, "clip_MAE": 0.7}
        summary |= {f"mean_{name}": number for name, number in others.items()}
    counts = [[1, 2, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [3, 0, 0, 0]]
    content["0"] |= {"test_confusion": counts} if shares is others else {"test_chance": 0.9}
    (result,) = load_results(write_result(tmp_path, content).parents[2], 5, report_metric)
    assert result.metric.key == key
    assert result.value("test") == pytest.approx(value)
    assert result.chance == (None if chance is None else pytest.approx(chance))


def test_a_result_without_the_metric_is_one_line_with_the_cure(tmp_path: Path) -> None:
    path = write_result(tmp_path, make_result(0.5, 3, 28))
    with pytest.raises(UserError) as error:
        load_result(path, "clip_uar")
    again = r"python experiments_manager\.py \[28\] (0|-1) 4 4 --overwrite"
    assert re.fullmatch(
        rf"{re.escape(str(path))}: has no clip_uar, .*; run it again: {again}, or pass "
        "--set report_metric=acc",
        str(error.value),
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" * 100_000, "is no JSON file"),
        (b'{"0": {"train_loss_hist": [NaN]}}', "NaN is no JSON number"),
        (b"{}", "is no result of this project: 0 is missing"),
    ],
)
def test_a_foreign_file_is_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as error:
        load_result(path)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda result: result["summary"].pop("test"), r"summary\.test\.mean_acc is missing"),
        (lambda result: result["parameters"].update(kind="x"), r"parameters\.kind: must be one of"),
        (lambda result: result["parameters"].pop("dataset"), r"parameters\.dataset: missing"),
        (lambda result: result.update(number="\x1b[2J" * 900), "number: must be"),
        (
            lambda result: result["0"].update(HISTORY, train_loss_hist=["a", 1.0, 1.0]),
            r"folds\.0\.curves\.train_loss_hist\.0",
        ),
    ],
)
def test_a_damaged_result_is_one_line(
    damage: Callable[[dict[str, Any]], object], said: str
) -> None:
    result = make_result(0.5, 0, 5)
    damage(result)
    with pytest.raises(UserError, match=said) as error:
        require_fields(result, Result, "file.json")
    assert str(error.value).startswith("file.json: ")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 800
