"""Reads the JSON twins of results that the experiments leave behind, and nothing else of them.

Only what a figure needs is looked at; further keys are ignored. No pickle is ever opened.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.json_files import read_json
from config.settings import NUM_CONVOLUTIONS, display_path, printable

FOLD_SETS = ("train", "val")
CURVE_KINDS = ("loss", "task_loss", "feature_loss", "acc")
LONGEST_VALUE = 80
SUMMARY_SETS = {"train": "training", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class History:
    """What one training looked like after each epoch.

    Attributes:
        curves: by their key in the file (train_loss_hist, ...), a value per epoch, all of one
            length; NaN where a value was not finite. Accuracies are 0-1.
        best_epoch: index of the epoch whose weights were kept; 0 is the first.
    """

    curves: dict[str, list[float]]
    best_epoch: int

    @property
    def num_epochs(self) -> int:
        return len(self.curves["train_loss_hist"])

    def has(self, kind: str) -> bool:
        """Whether both sets have a kind of curve (loss, task_loss, feature_loss, acc)."""
        return all(curve_key(set_name, kind) in self.curves for set_name in FOLD_SETS)

    def curve(self, set_name: str, kind: str) -> list[float]:
        """One curve, with accuracies in percent."""
        scale = 100 if kind == "acc" else 1
        return [scale * value for value in self.curves[curve_key(set_name, kind)]]


def curve_key(set_name: str, kind: str) -> str:
    """The key of a curve in a result: train or val, then loss, task_loss, feature_loss or acc."""
    return f"{set_name}_{kind}_hist"


@dataclass(frozen=True)
class ResultFile:
    """One instance's result; values are checked when they are asked for.

    All methods raise UserError, in one line with the file and the key, for what is missing or odd.
    """

    path: Path
    content: dict[str, Any]

    @property
    def name(self) -> str:
        """The file as a person would type it."""
        return printable(display_path(self.path))

    @property
    def folds(self) -> list[int]:
        """The numbers of the folds."""
        folds = sorted(int(key) for key in self.content if re.fullmatch(r"0|[1-9][0-9]{0,8}", key))
        if not folds:
            raise self._error("0", "missing: a result has one key for each fold")
        return folds

    def history(self, fold: int) -> History:
        """The curves of one fold."""
        if fold not in self.folds:
            known = ", ".join(str(number) for number in self.folds)
            raise UserError(f"{self.name}: no fold {fold}; its folds: {known}")
        return read_history(self._get(str(fold)), f"{self.name}: {fold}")

    def mean_accuracy(self, set_name: str) -> float:
        """Mean accuracy (0-1) over the folds of the train, validation or test set."""
        keys = ("summary", SUMMARY_SETS[set_name], "mean_acc")
        value = _number(self._get(*keys[:-1]).get(keys[-1]))
        if value is None:
            raise self._error(
                ".".join(keys), "missing, or no number: this figure needs a classification result"
            )
        if not 0 <= value <= 1:
            raise self._error(".".join(keys), f"is {value}, must be 0 to 1")
        return value

    def parameter(self, key: str) -> Any:
        """A parameter of the instance; None if it has no such parameter."""
        return self._get("parameters").get(key)

    def layer(self) -> int:
        """The convolution (1-13) that the instance applied anti-transfer to.

        Raises:
            UserError: it applied it to none, or to several.
        """
        value = self.parameter("at_layer")
        text = json.dumps(value)
        numbers = re.findall(r"-?[0-9]+", text[:LONGEST_VALUE])
        layers = {str(layer): layer for layer in range(1, NUM_CONVOLUTIONS + 1)}
        if len(numbers) != 1 or numbers[0] not in layers or len(text) > LONGEST_VALUE:
            raise self._error(
                "parameters.at_layer",
                f"is {text[:LONGEST_VALUE]}, must be one convolution, 1-{NUM_CONVOLUTIONS}: "
                "this figure needs one anti-transfer layer in each instance",
            )
        return layers[numbers[0]]

    def _get(self, *keys: str) -> dict[str, Any]:
        value: Any = self.content
        for depth, key in enumerate(keys, start=1):
            value = value.get(key)
            if not isinstance(value, dict):
                raise self._error(".".join(keys[:depth]), "missing, or not a dictionary")
        found: dict[str, Any] = value
        return found

    def _error(self, key: str, problem: str) -> UserError:
        return UserError(f"{self.name}: {key}: {problem}")


def read_result(path: Path) -> ResultFile:
    """Read one JSON twin.

    Raises:
        UserError: the file is not there, is a symbolic link or no JSON, or holds no dictionary.
    """
    if path.suffix == ".npy":
        name = printable(display_path(path))
        raise UserError(f"{name}: is a numpy dictionary; give its twin {path.stem}.json beside it")
    no_result = "0: missing: a result is a dictionary with one key for each fold"
    return ResultFile(path, read_json(path, follow_links=False, no_dictionary=no_result))


def experiment_results(results_folder: Path, experiment: int) -> list[ResultFile]:
    """All instances of an experiment that are done, in the order of their numbers.

    Raises:
        UserError: there are none yet, two have the same number, or a file cannot be read.
    """
    folder = results_folder / f"experiment_{experiment}" / "results"
    numbered: dict[int, Path] = {}
    for path in sorted(folder.glob("results_*.json")):
        if match := re.search(rf"_exp{experiment}_run(?P<run>[0-9]+)$", path.stem):
            other = numbered.setdefault(int(match["run"]), path)
            if other != path:
                raise UserError(
                    printable(
                        f"{display_path(other)}: {path.name} beside it has the same number; move "
                        "the results of one dataset or kind of features elsewhere"
                    )
                )
    if not numbered:
        raise UserError(
            f"{display_path(folder)}: no results of experiment {experiment}; "
            f"run: python experiments_manager.py [{experiment}] 0"
        )
    return [read_result(numbered[run]) for run in sorted(numbered)]


def read_history(fold: dict[str, Any], place: str) -> History:
    """Check the curves of one fold.

    Args:
        fold: a fold's dictionary as it stands in the file.
        place: the file and the key, for error messages.

    Raises:
        UserError: a loss curve is missing, a curve is no list of numbers, or they differ in length.
    """
    curves = {
        key: _curve(fold[key], f"{place}.{key}")
        for key in (curve_key(set_name, kind) for kind in CURVE_KINDS for set_name in FOLD_SETS)
        if fold.get(key) not in (None, [])
    }
    required = [curve_key(set_name, "loss") for set_name in FOLD_SETS]
    for key in required:
        if key not in curves:
            raise UserError(f"{place}.{key}: missing: a result has a value for each epoch there")
    num_epochs = len(curves[required[0]])
    for key, values in curves.items():
        if len(values) != num_epochs:
            raise UserError(
                f"{place}.{key}: has {len(values)} epochs, but {required[0]} has {num_epochs}"
            )
    return History(curves, _best_epoch(fold.get("best_epoch"), curves[required[1]], place))


def _best_epoch(value: Any, validation_loss: list[float], place: str) -> int:
    if value is None:
        finite = [loss if math.isfinite(loss) else math.inf for loss in validation_loss]
        return finite.index(min(finite))
    if type(value) is not int or not 0 <= value < len(validation_loss):
        raise UserError(
            f"{place}.best_epoch: is {json.dumps(value)}, must be 0-{len(validation_loss) - 1}"
        )
    return value


def _curve(values: Any, place: str) -> list[float]:
    if not isinstance(values, list):
        raise UserError(f"{place}: must be a list with a number for each epoch")
    numbers = [math.nan if value is None else _number(value) for value in values]
    if any(number is None for number in numbers):
        raise UserError(f"{place}: must hold numbers only")
    return [number for number in numbers if number is not None]


def _number(value: Any) -> float | None:
    """A finite number, NaN for one that is not finite, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan
