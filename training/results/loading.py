"""Reads results back: which instances are finished, and what their JSON files hold.

Only the JSON is read; the numpy dictionaries beside it are for users.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from config.advice import run_again
from config.errors import UserError
from config.files import Identity, identity_of, read_json, require_fields
from config.networks import PUBLISHED_NETWORK
from config.text import display_path, shorten
from training.results.dictionary import has_segments
from training.results.method_names import METHODS, setting_of
from training.results.metric import DEFAULT_METRIC, DEFAULTS, Metric, metric_of

RESULT_NAME = re.compile(r"results_.+_exp([0-9]+)_run([0-9]+)\.json")
REQUIRED_KEYS = ("0", "summary", "parameters", "inputs", "fingerprint", "number")
# Keys of a result's summary by the names of the sets.
SUMMARY_KEYS = {"train": "training", "validation": "validation", "test": "test"}
CURVE_SETS = {"train": "train", "validation": "val"}
CURVES = ("loss", "task_loss", "feature_loss", "acc")
TEST_METRICS = tuple(
    f"{unit}{key}" for unit in ("", "clip_") for key in ("acc", "uar", "f1", "RMSE", "MAE", "CCC")
)


def result_paths(results_folder: Path, experiment: int) -> list[Path]:
    """Return the JSON files of an experiment's finished instances, in no order."""
    folder = results_folder / f"experiment_{experiment}" / "results"
    try:
        matches = [(path, RESULT_NAME.fullmatch(path.name)) for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path, match in matches if match and match[1] == str(experiment)]


def count_finished(results_folder: Path, experiment: int) -> int:
    """Count an experiment's instances that have a result."""
    return len(result_paths(results_folder, experiment))


def count_failed(results_folder: Path, experiment: int) -> int:
    """Count an experiment's instances that failed when they were last tried."""
    folder = results_folder / f"experiment_{experiment}" / "unfinished"
    return sum(1 for _ in folder.glob("failed_*.json"))


def read_result(path: Path) -> dict[str, Any]:
    """Read the JSON of a result.

    Raises:
        UserError: the file is no result of this project.
    """
    try:
        result = read_json(path)
        for key in REQUIRED_KEYS:
            if key not in result:
                place = display_path(path)
                raise UserError(f"{place}: is no result of this project: {key} is missing")
    except UserError as error:
        raise UserError(f"{error}{_cure(path)}") from None
    return result


def _cure(path: Path) -> str:
    """Say which command makes a damaged result anew."""
    match = RESULT_NAME.fullmatch(path.name)
    if not match:
        return ""
    return f"; run it again: {run_again(int(match[1]), [int(match[2])], '--overwrite')}"


class ResultReader:
    """Reads results without the lists of their folds, which are by far the most of them.

    A file is read again only when it is another one, however often it is asked for.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Identity, dict[str, Any]]] = {}

    def find(self, path: Path) -> dict[str, Any] | None:
        """Read a result as it is now; None if there is none.

        Raises:
            UserError: the file is no result of this project.
        """
        identity = identity_of(path)
        if identity is None:
            self._known.pop(path, None)
            return None
        if path not in self._known or self._known[path][0] != identity:
            self._known[path] = identity, _without_lists(read_result(path))
        return self._known[path][1]

    def find_all(self, results_folder: Path, experiment: int) -> list[dict[str, Any]]:
        """Read all finished instances of an experiment, by number."""
        found = map(self.find, result_paths(results_folder, experiment))
        return sorted(filter(None, found), key=lambda result: int(result["number"]))


def _without_lists(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {name: each for name, each in value.items() if not isinstance(each, list)}
        if key.isdecimal() and isinstance(value, dict)
        else value
        for key, value in result.items()
    }


def _known_method(name: str) -> str:
    if name not in METHODS:
        raise ValueError(f"must be one of {', '.join(METHODS)}")
    return name


Count = Annotated[int, Field(ge=0, lt=2**33)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Alignment(_Stored):
    """Metrics of the test examples that a confounder helps and misleads; empty without any."""

    label: str
    aligned: dict[str, float] = {}
    conflicting: dict[str, float] = {}


class FoldResult(_Stored):
    """What is reported and drawn of one fold.

    Attributes:
        curves: by their key in the file (train_loss_hist, ...), a value per epoch, all of one
            length; NaN where a value was not finite. Accuracies are 0-1.
        chosen_epoch: index of the epoch whose weights were kept; None: the one with the smallest
            validation loss.
        collapsed: whether the network names one class only, or is no better than chance.
        test_chance: share of the most frequent class in the test set; of a regression, the error
            of the training set's mean. test_clip_chance: the same of clips.
        has_segments: whether some clip has several examples; old results do not say.
        test_confusion: counts, (true classes, predicted classes).
        test_groups: by orthogonal label and its value, the metrics of these test examples.
        test_alignment: the same of examples with and without the confounder's usual value.
        gradient_norms: how hard penalty and task pull at a tapped layer, by penalty_<term> and
            task_<term>.
    """

    curves: dict[str, list[float]] = {}
    chosen_epoch: Count | None = Field(default=None, alias="best_epoch")
    collapsed: bool = False
    numeric_precision: str = "unknown"
    test_chance: NonNegative | None = None
    test_clip_chance: NonNegative | None = None
    has_segments: bool = False
    test_examples: Count | None = None
    test_confusion: list[list[Count]] | None = None
    test_groups: dict[str, dict[str, dict[str, float]]] = {}
    test_alignment: Alignment | None = None
    gradient_norms: dict[str, NonNegative] = {}
    test_metrics: dict[str, float] = {}

    @model_validator(mode="before")
    @classmethod
    def _collect_curves(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        keys = [f"{set_name}_{kind}_hist" for kind in CURVES for set_name in CURVE_SETS.values()]
        test = {key: values.get(f"test_{key}") for key in TEST_METRICS}
        return {
            **values,
            "has_segments": has_segments(values),
            "curves": {key: _with_nan(values[key]) for key in keys if values.get(key)},
            "test_metrics": {key: value for key, value in test.items() if value is not None},
        }

    @model_validator(mode="after")
    def _check(self) -> "FoldResult":
        if len({len(curve) for curve in self.curves.values()}) > 1:
            raise ValueError("the histories (train_loss_hist, ...) differ in length")
        if self.curves and not {"train_loss_hist", "val_loss_hist"} <= self.curves.keys():
            raise ValueError("train_loss_hist or val_loss_hist is missing")
        if self.curves and (self.chosen_epoch or 0) >= self.num_epochs:
            raise ValueError(f"best_epoch is {self.chosen_epoch}, must be 0-{self.num_epochs - 1}")
        matrix = self.test_confusion
        if matrix is not None and any(len(row) != len(matrix) for row in matrix):
            raise ValueError("test_confusion is no square matrix")
        return self

    @property
    def num_epochs(self) -> int:
        """Return how many epochs the histories have; 0 without any."""
        return len(next(iter(self.curves.values()), []))

    @property
    def best_epoch(self) -> int:
        """Return the index of the epoch whose weights were kept."""
        if self.chosen_epoch is not None:
            return self.chosen_epoch
        losses = self.curve("validation", "loss")
        return min(range(len(losses)), key=lambda epoch: (math.isnan(losses[epoch]), losses[epoch]))

    def chance(self, key: str) -> float | None:
        """Return a metric's value on the test set without audio; None: it has none, or is unknown.

        Of unweighted average recall, that of always naming one class; of concordance correlation,
        that of always naming one value.
        """
        match key.removeprefix("clip_"):
            case "acc" | "RMSE":
                return self.test_clip_chance if key.startswith("clip_") else self.test_chance
            case "uar" if self.test_confusion:
                return 1 / sum(map(any, self.test_confusion))
            case "CCC":
                return 0.0
        return None

    def has(self, kind: str) -> bool:
        """Whether both sets have a kind of curve (loss, task_loss, feature_loss, acc)."""
        return all(f"{name}_{kind}_hist" in self.curves for name in CURVE_SETS.values())

    def curve(self, set_name: str, kind: str) -> list[float]:
        """Return a curve of the train or validation set by epoch, accuracies in percent."""
        scale = 100 if kind == "acc" else 1
        return [scale * value for value in self.curves[f"{CURVE_SETS[set_name]}_{kind}_hist"]]


def _with_nan(values: Any) -> Any:
    if not isinstance(values, list):
        return values
    return [math.nan if value is None else value for value in values]


class Parameters(_Stored, extra="allow"):
    """An instance's parameters; those that decide the comparison are checked."""

    dataset: str
    features_type: str
    network: str = PUBLISHED_NETWORK
    task: Literal["classification", "regression"]
    kind: Annotated[str, AfterValidator(_known_method)]
    seed: Count
    search: str | None = None
    search_trial: Count | None = None


class Network(_Stored):
    """What is reported of the network and the split that it was trained on."""

    split: str = "unknown"
    classes: list[str] | None = None


class Result(_Stored):
    """A finished instance, checked once; report_metric: by what it is compared, of METRICS."""

    report_metric: str = DEFAULT_METRIC
    experiment: Count
    number: Count
    fingerprint: str
    parameters: Parameters
    network: Network = Field(alias="model")
    inputs: dict[str, Any] = {}
    summary: dict[str, dict[str, float | None]]
    folds: list[FoldResult]

    @model_validator(mode="before")
    @classmethod
    def _collect_folds(cls, values: Any) -> Any:
        """Put the folds, which are keys of the result itself, into one list."""
        if not isinstance(values, Mapping):
            return values
        keys = sorted((key for key in values if key.isdecimal()), key=lambda key: (len(key), key))
        return {
            "experiment": values.get("experiment"),
            **{key: value for key, value in values.items() if key not in {*keys, "summary"}},
            # A summary names its parameters, too.
            "summary": _without_parameters(values.get("summary")),
            "folds": [values[key] for key in keys],
        }

    @model_validator(mode="after")
    def _check(self) -> "Result":
        metric = self.metric
        for set_name in SUMMARY_KEYS.values():
            value = self.summary.get(set_name, {}).get(f"mean_{metric.key}")
            if value is None and metric is not DEFAULTS[self.parameters.task]:
                again = run_again(self.experiment, [self.number], "--overwrite")
                raise ValueError(
                    f"has no {metric.key}, for report_metric = {self.report_metric}; run it again: "
                    f"{again}, or pass --set report_metric={DEFAULT_METRIC}"
                )
            if value is None or not metric.smallest <= metric.scale * value <= metric.largest:
                raise ValueError(f"summary.{set_name}.mean_{metric.key} is {value}")
        if not self.folds:
            raise ValueError("there is no fold")
        if self.chance is not None and self.chance > metric.largest:
            raise ValueError(f"test_chance is {self.chance / metric.scale}")
        return self

    @property
    def metric(self) -> Metric:
        """Return the metric by which it is compared."""
        return metric_of(self.parameters.task, self.report_metric)

    def value(self, set_name: str) -> float:
        """Return the metric of the train, validation or test set: its mean over the folds."""
        value = self.other_value(set_name, self.metric.key)
        assert value is not None
        return value

    def other_value(self, set_name: str, key: str) -> float | None:
        """Return another metric in the same unit; None: the result has none."""
        value = self.summary[SUMMARY_KEYS[set_name]].get(f"mean_{key}")
        return None if value is None else self.metric.scale * value

    @property
    def chance(self) -> float | None:
        """Return the metric on the test set of what needs no audio, if it is known."""
        found = [fold.chance(self.metric.key) for fold in self.folds]
        levels = [level for level in found if level is not None]
        if len(levels) < len(self.folds):
            return None
        return self.metric.scale * sum(levels) / len(levels)

    @property
    def num_test(self) -> int | None:
        """Return the number of test examples over all folds, if it is known."""
        counts = [fold.test_examples for fold in self.folds if fold.test_examples is not None]
        return sum(counts) if len(counts) == len(self.folds) else None

    @property
    def has_segments(self) -> bool:
        """Whether some clip has several examples, so that metrics by clip say something else."""
        return any(fold.has_segments for fold in self.folds)

    @property
    def is_trial(self) -> bool:
        """Whether it only served to choose parameters."""
        return bool(self.parameters.search_trial)

    @property
    def split(self) -> str:
        """Return what the split divides, and what its sets share."""
        return shorten(self.network.split)

    @property
    def setting(self) -> dict[str, Any]:
        """Return all that two configurations must have in common to be compared."""
        return {
            **setting_of(self.parameters.model_dump()),
            "data": self.inputs.get("data"),
            "network": self.inputs.get("network", self.parameters.network),
            "split": self.split,
            "numeric_precision": self.folds[0].numeric_precision,
        }

    @property
    def collapsed(self) -> bool:
        """Whether the network of any fold collapsed."""
        return any(fold.collapsed for fold in self.folds)

    @property
    def stem(self) -> str:
        """Return what the names of its files end in."""
        given = self.parameters
        return f"{given.dataset}_{given.features_type}_exp{self.experiment}_run{self.number}"


def _without_parameters(summary: Any) -> Any:
    if not isinstance(summary, Mapping):
        return summary
    return {key: value for key, value in summary.items() if key != "parameters"}


def load_result(path: Path, report_metric: str = DEFAULT_METRIC) -> Result:
    """Read and check the JSON of a result.

    Raises:
        UserError: it cannot be read, is no result of this project, or lacks the metric.
    """
    content = {**read_result(path), "report_metric": report_metric}
    return require_fields(content, Result, display_path(path))


def load_results(
    results_folder: Path, experiment: int, report_metric: str = DEFAULT_METRIC
) -> list[Result]:
    """Read all finished instances of an experiment, by number.

    Args:
        report_metric: by what they are compared.

    Raises:
        UserError: a result is damaged, or lacks the metric.
    """
    paths = result_paths(results_folder, experiment)
    results = [load_result(path, report_metric) for path in paths]
    return sorted(results, key=lambda result: result.number)
