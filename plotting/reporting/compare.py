"""Which results may be compared: repetitions into groups, layers into methods, methods into tables.

Two results are compared only if all but the method and the seed are equal.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, stdev
from typing import Any, TypeVar

from config.settings import RANDOM
from config.text import counted, shorten
from plotting.reporting.statistics import PairedDifference, paired_difference
from training.results.loading import Result
from training.results.method_names import (
    keys_that_differ,
    kind_of,
    labels_of,
    layer_of,
    networks_of,
    order_of,
    own_parameters,
    text_of,
    uses_random_networks,
)
from training.results.metric import Metric

Item = TypeVar("Item")


@dataclass(frozen=True)
class Group:
    """Repetitions of one configuration: results that differ in their seed alone, by seed."""

    results: tuple[Result, ...]

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

    def mean(self, set_name: str = "test") -> float:
        """Return the mean over the repetitions."""
        return fmean(self.values(set_name))

    def deviation(self, set_name: str = "test") -> float | None:
        """Return the standard deviation (n - 1) over the repetitions; None of a single one."""
        return stdev(self.values(set_name)) if len(self.results) > 1 else None

    def spread(self, set_name: str = "test") -> tuple[float, ...]:
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


def spread_of(values: Sequence[float]) -> tuple[float, ...]:
    """Return mean and standard deviation (n - 1); the mean alone of a single value."""
    return (fmean(values), stdev(values)) if len(values) > 1 else (fmean(values),)


@dataclass(frozen=True)
class Method:
    """Groups that differ in the layer alone, by layer; most methods that act nowhere have one."""

    groups: tuple[Group, ...]
    label: str

    @property
    def against(self) -> str:
        """Return the names of its frozen networks; empty for methods without."""
        return self.groups[0].against

    @property
    def is_control(self) -> bool:
        """Whether it uses untrained networks alone."""
        return self.groups[0].is_control

    @property
    def needs_control(self) -> bool:
        """Whether a control tells if what its frozen networks know matters."""
        return bool(self.against) and not self.is_control

    @cached_property
    def chosen(self) -> Group:
        """Return the group of the layer that is best on validation; the test set has no say.

        Only layers with the most repetitions take part: of an unfinished sweep, a layer that was
        run once would win by one lucky run.
        """
        return best_of(self.groups, "validation")

    @cached_property
    def oracle(self) -> Group:
        """Return the group that is best on the test set, which nobody can know beforehand."""
        return best_of(self.groups, "test")

    @property
    def incomplete(self) -> list[str]:
        """Return 'layer 9 has 1 of 6 repetitions', for layers that the choice leaves out."""
        most = max(len(group.results) for group in self.groups)
        layers = _by(self.groups, lambda group: len(group.results))
        layers.pop(most)
        return [
            f"layer {groups[0].layer} has {number} of {counted(most, 'repetition')}"
            if len(groups) == 1
            else f"layers {' / '.join(group.layer for group in groups)} have {number} of {most} "
            "repetitions"
            for number, groups in layers.items()
        ]

    def at_layer(self, layer: str) -> Group | None:
        """Return the group of a layer, if there is one."""
        return next((group for group in self.groups if group.layer == layer), None)

    @property
    def but_networks(self) -> Hashable:
        """Return what methods share that differ in the layer and in their frozen networks alone."""
        group = self.groups[0]
        keys = kind_of(group.parameters).networks, "at_frozen_layer"
        return group.kind, len(group.networks), _method_parameters(group, *keys)


def best_of(groups: Sequence[Group], set_name: str) -> Group:
    """Return the group with the best mean among those with the most repetitions."""
    most = max(len(group.results) for group in groups)
    complete = [group for group in groups if len(group.results) == most]
    # Of equals the first wins: the lower layer.
    return max(complete, key=lambda group: group.metric.goodness(group.mean(set_name)))


@dataclass(frozen=True)
class Comparison:
    """All methods on one dataset and split, trained alike.

    Attributes:
        baseline: None if no baseline trained alike is among the results.
        methods: the others, in the order of METHODS.
        apart: settings in which it differs from others on the same dataset and split.
    """

    baseline: Group | None
    methods: tuple[Method, ...]
    apart: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def groups(self) -> list[Group]:
        """Return those of the baseline and all methods."""
        own = [self.baseline] if self.baseline else []
        return [*own, *(group for method in self.methods for group in method.groups)]

    @property
    def first(self) -> Result:
        """Return a result that stands for what all share."""
        return self.groups[0].results[0]

    @property
    def metric(self) -> Metric:
        """Return the metric by which the methods are compared."""
        return self.first.metric

    @property
    def dataset(self) -> str:
        """Return the name of the dataset."""
        return self.first.parameters.dataset

    @property
    def apart_texts(self) -> list[str]:
        """Return 'num_epochs 50' for each setting that tells it apart."""
        return [shorten(f"{key} {text_of(value) or 'none'}") for key, value in self.apart.items()]

    @property
    def heading(self) -> str:
        """Return 'gsc: random by clip', and what tells it apart."""
        return "; ".join([f"{self.dataset}: {self.first.split}", *self.apart_texts])

    @property
    def experiments(self) -> list[int]:
        """Return the IDs, without repetition."""
        return sorted({identifier for group in self.groups for identifier in group.experiments})

    def alike(self, method: Method) -> list[Method]:
        """Return the methods that differ in their frozen networks alone, and have as many."""
        return [
            each
            for each in self.methods
            if each is not method and each.against and each.but_networks == method.but_networks
        ]


def compare(results: Iterable[Result]) -> list[Comparison]:
    """Put results together that may be compared, in the order in which their data first appears."""
    parts = list(_by(results, lambda result: repr(sorted(result.setting.items()))).values())
    settings = [members[0].setting for members in parts]
    return [
        _comparison(members, _apart(setting, settings))
        for members, setting in zip(parts, settings, strict=True)
    ]


def _apart(setting: Mapping[str, Any], settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what of a setting is not so in all that share its dataset and split."""
    same = ("dataset", "split")
    alike = [each for each in settings if all(each[key] == setting[key] for key in same)]
    return {key: setting.get(key) for key in keys_that_differ(alike)}


def _comparison(results: Sequence[Result], apart: Mapping[str, Any]) -> Comparison:
    groups = [_group(members) for members in _by(results, _configuration).values()]
    # Sorting keeps the order of equals: that in which the results came.
    groups.sort(key=lambda group: order_of(group.parameters))
    baselines = [group for group in groups if group.kind == "baseline"]
    others = [group for group in groups if group.kind != "baseline"]
    families = list(_by(others, _all_but_layer).values())
    methods = [
        Method(tuple(sorted(family, key=lambda group: layer_order(group.layer))), label)
        for family, label in zip(families, _labels(families), strict=True)
    ]
    return Comparison(baselines[0] if baselines else None, tuple(methods), apart)


def _group(results: Sequence[Result]) -> Group:
    """Take one result for each seed, by seed; of two of the same seed, the first experiment's."""
    by_seed: dict[int, Result] = {}
    for result in sorted(results, key=lambda each: (each.experiment, each.number)):
        by_seed.setdefault(result.parameters.seed, result)
    return Group(tuple(by_seed[seed] for seed in sorted(by_seed)))


def _configuration(result: Result) -> Hashable:
    own = own_parameters(result.parameters.model_dump())
    return repr((result.parameters.kind, sorted(own.items()), _inputs(result)))


def _inputs(result: Result) -> list[tuple[str, Any]]:
    """Return what was read; another frozen network of the same name makes another method.

    Random networks may differ with the repetition, as everything else does that is drawn.
    """
    return sorted(item for item in result.inputs.items() if item[0] != f"extractor {RANDOM}")


def _all_but_layer(group: Group) -> Hashable:
    return repr((group.kind, _method_parameters(group), _inputs(group.results[0])))


def _method_parameters(group: Group, *others: str | None) -> str:
    """Return what the method is made of, without the layer it acts at, and other parameters."""
    own = own_parameters(group.parameters)
    left_out = {kind_of(group.parameters).layer, *others}
    return repr(sorted((key, own[key]) for key in own if key not in left_out))


def _labels(families: Sequence[Sequence[Group]]) -> list[str]:
    """Name methods; those whose frozen networks share a name get their experiment, too."""
    labels = labels_of([family[0].parameters for family in families])
    return [
        f"{label}, experiment {family[0].experiments[0]}" if labels.count(label) > 1 else label
        for family, label in zip(families, labels, strict=True)
    ]


def layer_order(layer: str) -> tuple[list[int], str]:
    """Return a key that sorts layers by their numbers: 2 before 13, '3, 5' after 3."""
    numbers = "".join(mark if mark.isdigit() else " " for mark in layer).split()
    return [int(number) for number in numbers], layer


def _by(items: Iterable[Item], key: Callable[[Item], Hashable]) -> dict[Hashable, list[Item]]:
    found: dict[Hashable, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
