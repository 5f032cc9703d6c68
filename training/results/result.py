"""What the JSON file of a finished instance holds, checked once when it is read."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from config.advice import run_again
from config.networks import PUBLISHED_NETWORK
from config.text import shorten
from training.engine.subsets import ALIGNED, CONFLICTING, pool_groups
from training.results.dictionary import has_segments
from training.results.method_names import METHODS, setting_of
from training.results.metric import DEFAULT_METRIC, DEFAULTS, Metric, metric_of
from training.results.shortcut import ShortcutStrength

# Keys of a result's summary by the names of the sets.
SUMMARY_KEYS = {"train": "training", "validation": "validation", "test": "test"}
CURVE_SETS = {"train": "train", "validation": "val"}
CURVES = ("loss", "task_loss", "feature_loss", "acc")
TEST_METRICS = tuple(
    f"{unit}{key}" for unit in ("", "clip_") for key in ("acc", "uar", "f1", "RMSE", "MAE", "CCC")
)


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
    """Metrics of the test examples that a confounder helps and misleads."""

    label: str
    aligned: dict[str, float]
    conflicting: dict[str, float]


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
        shortcut: what the knowledge, and a confounder's true values, predict.
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
    shortcut: list[ShortcutStrength] = []
    test_metrics: dict[str, float] = {}

    @model_validator(mode="before")
    @classmethod
    def _collect_curves(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        keys = [f"{set_name}_{kind}_hist" for kind in CURVES for set_name in CURVE_SETS.values()]
        test = {key: values.get(f"test_{key}") for key in TEST_METRICS}
        return {
            **values,
            "has_segments": has_segments(values),
            "curves": {key: _with_nan(values[key]) for key in keys if values.get(key)},
            "test_metrics": {key: value for key, value in test.items() if value is not None},
        }

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
    """An instance's parameters; those that decide the comparison are checked.

    search: 'random, 20 trials: learning_rate', the search that it belongs to; or "".
    """

    dataset: str
    features_type: str
    network: str = PUBLISHED_NETWORK
    task: Literal["classification", "regression"]
    kind: Annotated[str, AfterValidator(_known_method)]
    seed: Count
    search: str = ""
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
    def _collect_folds(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Put the folds, which are keys of the result itself, into one list."""
        keys = sorted((key for key in values if key.isdecimal()), key=lambda key: (len(key), key))
        return {
            **{key: value for key, value in values.items() if key not in keys},
            # A summary names its parameters, too.
            "summary": {
                key: value for key, value in values["summary"].items() if key != "parameters"
            },
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
            if value is None:
                raise ValueError(f"summary.{set_name}.mean_{metric.key} is missing")
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

    def groups_of(self, label: str) -> dict[str, dict[str, float]]:
        """Return the metrics of each value of an orthogonal label, over the folds' test sets."""
        return pool_groups(fold.test_groups.get(label, {}) for fold in self.folds)

    @property
    def alignment(self) -> dict[str, dict[str, float]]:
        """Return those of the aligned and of the conflicting examples, if there is a confounder."""
        found = [fold.test_alignment for fold in self.folds if fold.test_alignment]
        return pool_groups({ALIGNED: each.aligned, CONFLICTING: each.conflicting} for each in found)

    @property
    def is_trial(self) -> bool:
        """Whether it only served to choose parameters in a search."""
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
