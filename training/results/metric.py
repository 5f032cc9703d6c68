"""The metric by which the runs of a task are compared, and its words in reports."""

from dataclasses import dataclass, replace

from config.fields import Task

WORDS = {"acc": "accuracy", "uar": "UAR", "f1": "F1"}


@dataclass(frozen=True)
class Metric:
    """A metric by which runs are compared.

    Attributes:
        key: its name in a result.
        name: its name for people.
        unit: of its values here.
        scale: from the result's values to those here.
        largest: possible value.
        digits: decimals that it is given with.
        smallest: possible value.
        label: of its columns; empty: its unit.
        chance: what the level is called that needs no audio.
        change: what a difference to the baseline is called.
        collapse, collapse_rule: what a run did that learnt nothing, briefly and exactly.
        others: further metrics that are shown beside it, in the same unit.
    """

    key: str
    name: str
    unit: str
    scale: float
    higher_is_better: bool
    largest: float
    digits: int
    smallest: float = 0.0
    label: str = ""
    task: Task = "classification"
    chance: str = "chance"
    change: str = "gain"
    collapse: str = "named one class only or did no better than chance"
    collapse_rule: str = (
        "named one class only on the validation or the training set, or were right no more often "
        "than guessing is by luck (in 97.5 % of cases)"
    )
    others: tuple[str, ...] = ()

    def goodness(self, value: float) -> float:
        """Return a number that is the larger the better."""
        return value if self.higher_is_better else -value

    @property
    def difference_unit(self) -> str:
        """Return the unit of differences between its values; of shares, percentage points."""
        return "points" if self.unit == "%" else self.unit

    @property
    def suffix(self) -> str:
        """Return what stands after a value: ' %'; nothing where the name says it."""
        return " %" if self.unit == "%" else ""

    @property
    def short(self) -> str:
        """Return 'accuracy', 'clip UAR', 'RMSE': its name in a word or two."""
        return " ".join(WORDS.get(word, word) for word in self.key.split("_"))

    def heading(self, set_name: str) -> str:
        """Return 'test %', 'test UAR %', 'test RMSE'."""
        return f"{set_name} {self.label or self.unit}"

    @property
    def of_clips(self) -> "Metric":
        """Return the same metric of one decision a clip."""
        return replace(
            self,
            key=f"clip_{self.key}",
            name=f"{self.name} by clip",
            unit="%" if self.unit == "%" else f"clip {self.unit}",
            label=f"clip {self.label or self.unit}",
            others=tuple(f"clip_{key}" for key in self.others),
        )


ACCURACY = Metric("acc", "accuracy", "%", 100.0, True, 100.0, 1, others=("uar", "f1"))
UAR = replace(
    ACCURACY,
    key="uar",
    name="unweighted average recall",
    label="UAR %",
    others=("acc", "f1"),
)
F1 = replace(ACCURACY, key="f1", name="macro F1", label="F1 %", others=("acc", "uar"))
RMSE = Metric(
    *("RMSE", "RMSE", "RMSE", 1.0, False, 1e9, 3),
    task="regression",
    chance="smaller is better; RMSE of the training mean",
    change="change",
    collapse="did no better than the training mean",
    collapse_rule="did no better on the validation set than the mean of the training set",
    others=("MAE", "CCC"),
)
MAE = replace(
    RMSE,
    key="MAE",
    name="MAE",
    unit="MAE",
    others=("RMSE", "CCC"),
)
CCC = replace(
    RMSE,
    key="CCC",
    name="concordance correlation",
    unit="CCC",
    higher_is_better=True,
    smallest=-1.0,
    largest=1.0,
    chance="any constant",
    others=("RMSE", "MAE"),
)
_BY_EXAMPLE = (ACCURACY, UAR, F1, RMSE, MAE, CCC)
# By the words of report_metric.
METRICS = {
    each.key.lower(): each for each in (*_BY_EXAMPLE, *(each.of_clips for each in _BY_EXAMPLE))
}
DEFAULT_METRIC = "acc"
DEFAULTS: dict[Task, Metric] = {"classification": ACCURACY, "regression": RMSE}


def metric_of(task: Task, report_metric: str) -> Metric:
    """Return the metric that is asked for; if it is one of the other task, this task's default."""
    metric = METRICS[report_metric]
    return metric if metric.task == task else DEFAULTS[task]
