"""One finished instance as comparisons see it: checked once, so that nothing later stumbles."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.errors import UserError
from config.text import printable

SET_NAMES = {"train": "training", "validation": "validation", "test": "test"}
KINDS = (
    "baseline",
    "weight_initialization",
    "anti_transfer",
    "dual_anti_transfer",
    "gradient_reversal",
)
LONGEST_TEXT = 200


@dataclass(frozen=True)
class Metric:
    """The figure of merit of a task.

    Attributes:
        key: its name in a result.
        name: its name for people.
        unit: of its values here; percentage points are those of its differences.
        scale: from the result's values to those here.
        higher_is_better: whether it is.
        largest: possible value.
    """

    key: str
    name: str
    unit: str
    difference_unit: str
    scale: float
    higher_is_better: bool
    largest: float

    def goodness(self, value: float) -> float:
        """Larger is better."""
        return value if self.higher_is_better else -value

    def heading(self, set_name: str) -> str:
        """'test %', 'test RMSE'"""
        return f"{set_name} {self.unit}"


METRICS = {
    "classification": Metric("acc", "accuracy", "%", "points", 100.0, True, 100.0),
    "regression": Metric("RMSE", "RMSE", "RMSE", "RMSE", 1.0, False, 1e9),
}


@dataclass(frozen=True)
class Run:
    """A finished instance.

    Attributes:
        values: figure of merit of train, validation and test set (means over folds): percent, or
            the RMSE.
        chance: percent of the most frequent class in the test set; None of a regression.
        num_test: examples of the test set, over all folds.
        collapsed: whether a fold's network names one class only, or is no better than chance.
        content: the whole result.
        stem: what the names of its files end in, taken from the name of the file it was read from.
    """

    experiment: int
    number: int
    kind: str
    seed: int
    metric: Metric
    values: Mapping[str, float]
    chance: float | None
    num_test: int | None
    split: str
    collapsed: bool
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    precision: str
    fingerprint: str
    content: Mapping[str, Any] = field(repr=False, compare=False)
    stem: str = ""

    @property
    def dataset(self) -> str:
        return str(self.parameters["dataset"])

    @property
    def classes(self) -> list[str]:
        """Names of the classes; empty where the result does not say them."""
        names = self.content.get("model", {}).get("classes")
        return [shorten(name) for name in names] if isinstance(names, list) else []

    @property
    def folds(self) -> list[Mapping[str, Any]]:
        """The folds' figures."""
        keys = sorted(int(key) for key in self.content if key.isdecimal() and len(key) < 9)
        return [_mapping(self.content, str(key)) for key in keys]


def run_of(result: Mapping[str, Any], experiment: int, stem: str = "") -> Run:
    """A result, checked.

    Raises:
        UserError: in one line, what of it is missing or odd.
    """
    try:
        return _run_of(result, experiment, stem)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        number = result.get("number") if isinstance(result, Mapping) else None
        raise UserError(
            printable(
                f"experiment {experiment}, result {shorten(number)}: damaged, or not of this "
                f"project: {shorten(reason)}; delete the file and run the instance again"
            )
        ) from None


def _run_of(result: Mapping[str, Any], experiment: int, stem: str) -> Run:
    parameters = _mapping(result, "parameters")
    metric = METRICS[str(parameters["task"])]
    kind = str(parameters["kind"])
    if kind not in KINDS:
        raise ValueError(f"parameters.kind is {kind!r}, must be one of {', '.join(KINDS)}")
    summary, model = _mapping(result, "summary"), _mapping(result, "model")
    folds = [_mapping(result, key) for key in sorted(result) if key.isdecimal()]
    first = _mapping(result, "0")
    return Run(
        experiment=experiment,
        number=_whole(result["number"]),
        kind=kind,
        seed=_whole(parameters["seed"]),
        metric=metric,
        values={
            name: _figure(_mapping(summary, key)[f"mean_{metric.key}"], metric)
            for name, key in SET_NAMES.items()
        },
        chance=_chance(folds),
        num_test=_num_test(folds),
        split=shorten(model["split"] if "split" in model else model.get("split_type", "unknown")),
        collapsed=any(fold.get("collapsed") is True for fold in folds),
        parameters={"dataset": parameters["dataset"], **parameters},
        inputs=_mapping(result, "inputs") if "inputs" in result else {},
        precision=str(first.get("numeric_precision", first.get("precision"))),
        fingerprint=str(result.get("fingerprint")),
        content=result,
        stem=stem,
    )


def _chance(folds: list[Mapping[str, Any]]) -> float | None:
    levels = [fold.get("test_chance") for fold in folds]
    if not levels or any(level is None for level in levels):
        return None
    return 100 * sum(_finite(level) for level in levels) / len(levels)


def _num_test(folds: list[Mapping[str, Any]]) -> int | None:
    counts = [fold.get("test_examples") for fold in folds]
    if not counts or any(count is None for count in counts):
        return None
    return sum(_whole(count) for count in counts)


def shorten(value: Any) -> str:
    """A foreign text on one line, not endlessly long."""
    text = printable(str(value))
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values[key]
    if not isinstance(found, dict):
        raise ValueError(f"{key} is no dictionary")
    return found


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shorten(value)} is no number")
    number = float(value)
    if not math.isfinite(number) or abs(number) > 1e9:
        raise ValueError(f"{number} is no possible figure")
    return number


def _figure(value: Any, metric: Metric) -> float:
    number = metric.scale * _finite(value)
    if not 0 <= number <= metric.largest:
        raise ValueError(f"mean_{metric.key} is {shorten(value)}")
    return number


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**33:
        raise ValueError(f"{shorten(value)} is no whole number")
    return value
