"""Which results may be compared: repetitions into groups, layers into methods, methods into tables.

Two results are compared only if all but the method and the seed are equal.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from config.text import counted, shorten
from plotting.reporting.groups import Group
from training.results.method_names import (
    SEARCHED,
    keys_that_differ,
    kind_of,
    labels_of,
    order_of,
    own_parameters,
    search_of,
    text_of,
)
from training.results.metric import DEFAULTS, Metric
from training.results.result import Result

Item = TypeVar("Item")


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
    def is_told(self) -> bool:
        """Whether it is given the true labels of what it trains away."""
        group = self.groups[0]
        return bool(group.true_labels or group.parameters.get("gradient_reversal_label"))

    @property
    def needs_control(self) -> bool:
        """Whether a control tells if what its frozen networks know matters."""
        return bool(self.against) and not self.is_control and not self.groups[0].true_labels

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
        """Return the layers that the choice leaves out, run less often than others."""
        most = max(len(group.results) for group in self.groups)
        return [group.layer for group in self.groups if len(group.results) < most]

    def at_layer(self, layer: str) -> Group | None:
        """Return the group of a layer, if there is one; a searched layer is each method's own."""
        if kind_of(self.chosen.parameters).layer in self.chosen.searched:
            return self.chosen
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
        tuned_otherwise: methods that had another number of trials, and that number, as text.
    """

    baseline: Group | None
    methods: tuple[Method, ...]
    apart: Mapping[str, Any] = field(default_factory=dict)
    tuned_otherwise: tuple[str, ...] = ()

    @cached_property
    def groups(self) -> list[Group]:
        """Return those of the baseline and all methods."""
        own = [self.baseline] if self.baseline else []
        return [*own, *(group for method in self.methods for group in method.groups)]

    @property
    def results(self) -> list[Result]:
        """Return those of all groups."""
        return [result for group in self.groups for result in group.results]

    @property
    def first(self) -> Result:
        """Return a result that stands for what all share."""
        return self.results[0]

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
        texts = {key: f"{key} {text_of(value) or 'none'}" for key, value in self.apart.items()}
        if "search" in texts:
            texts["search"] = self.tuning
        return list(map(shorten, texts.values()))

    @property
    def tuning(self) -> str:
        """Return 'tuned by random, 20 trials' or 'not tuned'."""
        budget, _ = search_of(self.groups[0].parameters)
        return f"tuned by {budget}" if budget else "not tuned"

    @property
    def title(self) -> str:
        """Return 'gsc, num_epochs 50, UAR': dataset, what tells it apart, a metric asked for."""
        is_default = self.metric is DEFAULTS[self.metric.task]
        return ", ".join(
            [self.dataset, *self.apart_texts, *([] if is_default else [self.metric.short])]
        )

    @property
    def heading(self) -> str:
        """Return the title, and the kinds of methods that it compares."""
        kinds = dict.fromkeys(kind_of(group.parameters).title for group in self.groups)
        return f"{self.title}: {', '.join(kinds)}"

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
    everything = list(results)
    trials = Counter(_search_of(each) for each in everything if each.is_trial)
    finals = [each for each in everything if not each.is_trial]
    parts = list(_by(finals, lambda result: repr(sorted(result.setting.items()))).values())
    settings = [members[0].setting for members in parts]
    comparisons = [
        _comparison(members, _apart(setting, settings), trials)
        for members, setting in zip(parts, settings, strict=True)
    ]
    return [replace(each, tuned_otherwise=_otherwise(each, comparisons)) for each in comparisons]


def undecided_searches(results: Sequence[Result]) -> list[str]:
    """Return a line for each search whose choice has not been run for the test."""
    trials = Counter(_search_of(each) for each in results if each.is_trial)
    chosen = {_search_of(each) for each in results if not each.is_trial}
    return [
        f"Experiment {experiment}: {counted(number, 'trial')} of a search ({search}); what it "
        "chose has no test runs yet."
        for (experiment, search), number in trials.items()
        if (experiment, search) not in chosen
    ]


def _search_of(result: Result) -> tuple[int, str]:
    return result.experiment, result.parameters.search


def _apart(setting: Mapping[str, Any], settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what of a setting is not so in all that share its dataset and split."""
    same = ("dataset", "split")
    alike = [each for each in settings if all(each[key] == setting[key] for key in same)]
    differing = keys_that_differ(alike)
    if "search" in differing:  # which says enough of what was searched
        differing = [key for key in differing if all(each.get(key) != SEARCHED for each in alike)]
    return {key: setting.get(key) for key in differing}


def _otherwise(own: Comparison, comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Name the methods on the same data that had another number of trials."""
    others = [
        each
        for each in comparisons
        if (each.dataset, each.first.split) == (own.dataset, own.first.split)
        and each.tuning != own.tuning
    ]
    return tuple(
        f"{label} ({each.tuning})"
        for each in others
        for label in [*(["baseline"] if each.baseline else []), *(m.label for m in each.methods)]
    )


def _comparison(
    results: Sequence[Result], apart: Mapping[str, Any], trials: Mapping[Any, int]
) -> Comparison:
    groups = [_group(members, trials) for members in _by(results, _configuration).values()]
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


def _group(results: Sequence[Result], trials: Mapping[Any, int]) -> Group:
    """Take one result for each seed, by seed; of two of the same seed, the first experiment's."""
    by_seed: dict[int, Result] = {}
    for result in sorted(results, key=lambda each: (each.experiment, each.number)):
        by_seed.setdefault(result.parameters.seed, result)
    searches = {_search_of(result) for result in by_seed.values()}
    return Group(
        tuple(by_seed[seed] for seed in sorted(by_seed)), sum(trials.get(x, 0) for x in searches)
    )


def _configuration(result: Result) -> Hashable:
    own = own_parameters(result.parameters.model_dump())
    return repr((result.parameters.kind, sorted(own.items()), _inputs(result)))


def _inputs(result: Result) -> list[tuple[str, Any]]:
    """Return what was read; another frozen network of the same name makes another method.

    Random networks may differ with the repetition, as everything else does that is drawn.
    """
    return sorted(item for item in result.inputs.items() if item[0] != "extractor random")


def _all_but_layer(group: Group) -> Hashable:
    return repr((group.kind, _method_parameters(group), _inputs(group.results[0])))


def _method_parameters(group: Group, *others: str | None) -> str:
    """Return what the method is made of, without the layer it acts at, and other parameters.

    What a search found is no part of it: two methods that were tuned alike differ in that.
    """
    own = own_parameters(group.parameters)
    left_out = {kind_of(group.parameters).layer, *others, *group.searched}
    return repr(sorted((key, own[key]) for key in own if key not in left_out))


def _labels(families: Sequence[Sequence[Group]]) -> list[str]:
    """Name methods; those whose frozen networks share a name get where they first occur, too."""
    labels = labels_of([family[0].parameters for family in families])
    firsts = [family[0].results[0] for family in families]
    for word in ("experiment", "number"):
        labels = [
            f"{label}, {word} {getattr(first, word)}" if labels.count(label) > 1 else label
            for label, first in zip(labels, firsts, strict=True)
        ]
    return labels


def layer_order(layer: str) -> tuple[list[int], str]:
    """Return a key that sorts layers by their numbers: 2 before 13, '3, 5' after 3."""
    numbers = "".join(mark if mark.isdigit() else " " for mark in layer).split()
    return [int(number) for number in numbers], layer


def _by(items: Iterable[Item], key: Callable[[Item], Hashable]) -> dict[Hashable, list[Item]]:
    found: dict[Hashable, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
