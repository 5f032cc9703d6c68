"""The metric by which the runs of a task are compared, and its words in reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric by which runs are compared.

    Attributes:
        key: its name in a result.
        name: its name for people.
        unit: of its values here.
        difference_unit: of differences between its values; of shares, percentage points.
        scale: from the result's values to those here.
        largest: possible value.
        digits: decimals that it is given with.
        chance: what the level is called that needs no audio.
        change: what a difference to the baseline is called.
        collapse, collapse_rule: what a run did that learnt nothing, briefly and exactly.
        others: further metrics that are shown beside it, in the same unit.
    """

    key: str
    name: str
    unit: str
    difference_unit: str
    scale: float
    higher_is_better: bool
    largest: float
    digits: int
    chance: str = "chance"
    change: str = "gain"
    collapse: str = "named one class only or did no better than chance"
    collapse_rule: str = (
        "named one class only on the validation set, or were right no more often than guessing is "
        "by luck (in 97.5 % of cases)"
    )
    others: tuple[str, ...] = ()

    def goodness(self, value: float) -> float:
        """Return a number that is the larger the better."""
        return value if self.higher_is_better else -value

    @property
    def suffix(self) -> str:
        """Return what stands after a value: ' %'; nothing where the name says it."""
        return " %" if self.unit == "%" else ""

    def heading(self, set_name: str) -> str:
        """Return 'test %', 'test RMSE'."""
        return f"{set_name} {self.unit}"


METRICS = {
    "classification": Metric("acc", "accuracy", "%", "points", 100.0, True, 100.0, 1),
    "regression": Metric(
        *("RMSE", "RMSE", "RMSE", "RMSE", 1.0, False, 1e9, 3),
        chance="smaller is better; RMSE of the training mean",
        change="change",
        collapse="did no better than the training mean",
        collapse_rule="did no better on the validation set than the mean of the training set",
        others=("MAE",),
    ),
}
