"""Repetitions of one configuration, and their metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from plotting.reporting.statistics import PairedDifference, paired_difference
from training.models.frozen import column_of
from training.results.method_names import layer_of, networks_of, search_of, uses_random_networks
from training.results.metric import DEFAULTS, Metric
from training.results.result import Result


@dataclass(frozen=True)
class Group:
    """Repetitions of one configuration: results that differ in their seed alone, by seed.

    Attributes:
        num_trials: how many trials of a search chose the configuration.
    """

    results: tuple[Result, ...]
    num_trials: int = 0

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """Return those of its first result; all but seed and names are those of every result."""
        return self.results[0].parameters.model_dump()

    @property
    def kind(self) -> str:
        """Return the kind of its method, a key of METHODS."""
        return self.results[0].parameters.kind

    @property
    def metric(self) -> Metric:
        """Return the metric by which it is compared."""
        return self.results[0].metric

    @property
    def layer(self) -> str:
        """Return where the method acts: '3', '3, 5; 13'; empty for those that act nowhere."""
        return layer_of(self.parameters)

    @property
    def networks(self) -> list[str]:
        """Return the names of the frozen networks that the method uses."""
        return networks_of(self.parameters)

    @property
    def against(self) -> str:
        """Return the same as one text; empty for methods without frozen networks."""
        return ", ".join(self.networks)

    @property
    def is_control(self) -> bool:
        """Whether it uses untrained networks alone."""
        return uses_random_networks(self.parameters)

    @property
    def true_labels(self) -> str | None:
        """Return the column that it is told, in place of what a frozen network knows of it."""
        return column_of(self.networks)

    @property
    def searched(self) -> list[str]:
        """Return the parameters that a search chose."""
        return search_of(self.parameters)[1]

    @property
    def found_text(self) -> str:
        """Return 'learning_rate 0.00031, at_beta 2', what the search found."""
        values = {key: self.parameters.get(key) for key in self.searched}
        texts = {key: f"{x:.3g}" if isinstance(x, float) else x for key, x in values.items()}
        return ", ".join(f"{key} {text}" for key, text in texts.items())

    @property
    def experiments(self) -> list[int]:
        """Return the IDs, without repetition."""
        return sorted({result.experiment for result in self.results})

    @property
    def experiments_text(self) -> str:
        """Return the same as one text."""
        return ", ".join(map(str, self.experiments))

    @property
    def num_collapsed(self) -> int:
        """Count the runs that name one class only, or are no better than chance."""
        return sum(result.collapsed for result in self.results)

    def values(self, set_name: str = "test") -> list[float]:
        """Return the metric of each repetition by seed; set_name: train, validation, test."""
        return [result.value(set_name) for result in self.results]

    def values_of_part(self, part: str) -> list[float]:
        """Return accuracy (of a regression RMSE) of the aligned or conflicting test examples."""
        metric = DEFAULTS[self.results[0].parameters.task]
        found = [result.alignment for result in self.results]
        return [metric.scale * each[part][metric.key] for each in found if part in each]

    def mean(self, set_name: str = "test") -> float:
        """Return the mean over the repetitions."""
        return fmean(self.values(set_name))

    def deviation(self, set_name: str = "test") -> float | None:
        """Return the standard deviation (n - 1) over the repetitions; None of a single one."""
        return stdev(self.values(set_name)) if len(self.results) > 1 else None

    def spread(self, set_name: str = "test") -> tuple[float, ...] | None:
        """Return mean and standard deviation; the mean alone of a single repetition."""
        return spread_of(self.values(set_name))

    def other_spread(self, key: str, set_name: str = "test") -> tuple[float, ...] | None:
        """Return the same of another metric; None: some run has none."""
        values = [result.other_value(set_name, key) for result in self.results]
        known = [value for value in values if value is not None]
        return spread_of(known) if len(known) == len(values) else None

    def minus(self, other: "Group", set_name: str = "test") -> PairedDifference | None:
        """Return this group's runs minus the other's of the same seeds; None without pairs."""
        theirs = {each.parameters.seed: each.value(set_name) for each in other.results}
        return paired_difference(
            [
                each.value(set_name) - theirs[each.parameters.seed]
                for each in self.results
                if each.parameters.seed in theirs
            ]
        )


def spread_of(values: Sequence[float]) -> tuple[float, ...] | None:
    """Return mean and standard deviation (n - 1), of one value itself alone, of none None."""
    if not values:
        return None
    return (fmean(values), stdev(values)) if len(values) > 1 else (fmean(values),)
