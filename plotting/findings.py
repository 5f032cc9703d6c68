"""What a comparison shows: each method against the baseline, and against its random control."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from plotting.comparisons import Comparison, Group, Method, best_of
from plotting.paired_statistics import (
    ALPHA,
    PairedDifference,
    holm,
    least_p_value,
    smallest_effect,
)
from plotting.runs import Metric

Verdict = Literal["better", "worse", "not shown", "one pair", "no pair"]


@dataclass(frozen=True)
class Finding:
    """A group and its difference to another one.

    Attributes:
        difference: this group's runs minus the other's, paired by seed; None: there is no other.
        p_corrected: Holm's, over the layers of the method; equal to the p-value of a single layer.
        num_tests: how many p-values were corrected together.
        least_p: the smallest corrected p-value that so many pairs can give, whatever they are.
    """

    group: Group
    difference: PairedDifference | None
    p_corrected: float | None
    metric: Metric
    num_tests: int = 1
    least_p: float = 1.0

    @property
    def can_show(self) -> bool:
        """Whether any difference, however large, could be claimed of so many pairs."""
        return self.least_p < ALPHA

    @cached_property
    def smallest_effect(self) -> float | None:
        """What the pairs could have shown, each of num_tests at its share of alpha; None: nothing.

        See paired_statistics.smallest_effect().
        """
        if self.difference is None or not self.can_show:
            return None
        return smallest_effect(self.difference.values, ALPHA / self.num_tests)

    @property
    def verdict(self) -> Verdict:
        """What may be said: a difference only if its interval and its p-value both show it."""
        difference = self.difference
        if difference is None or difference.mean is None:
            return "no pair"
        if self.p_corrected is None:
            return "one pair"
        if self.p_corrected >= ALPHA or not excludes_zero(difference):
            return "not shown"
        return "better" if self.metric.goodness(difference.mean) > 0 else "worse"


@dataclass(frozen=True)
class MethodFinding:
    """A method against the baseline, layer by layer."""

    method: Method
    layers: tuple[Finding, ...]

    @property
    def chosen(self) -> Finding:
        """At the layer that was chosen on validation."""
        return self.of(self.method.chosen)

    @property
    def oracle(self) -> Finding:
        """At the layer that is best on the test set."""
        return self.of(self.method.oracle)

    def of(self, group: Group) -> Finding:
        """The finding of one of its groups."""
        return next(each for each in self.layers if each.group is group)


@dataclass(frozen=True)
class ControlFinding:
    """A method at its chosen layer beside another frozen network at the same layer.

    Attributes:
        method: the method that the control is one of.
        own: the method minus the baseline, at the layer of the comparison.
        control: the other network minus the baseline, at that layer.
        between: the method minus the other network, at that layer.
        is_random: whether the other network is the untrained one.
    """

    method: Method
    own: Finding
    control: Finding
    between: Finding
    is_random: bool

    @property
    def other(self) -> str:
        """Names of the control's frozen networks."""
        return self.control.group.against

    @property
    def gains_as_much(self) -> bool:
        """Whether the control gains no less than the method, and one of the two gains is shown.

        That a difference between the two is not shown says by itself nothing of the kind.
        """
        metric, own, control = self.own.metric, self.own.difference, self.control.difference
        if self.between.verdict != "not shown" or own is None or control is None:
            return False
        if own.mean is None or control.mean is None:
            return False
        no_smaller = metric.goodness(control.mean) >= metric.goodness(own.mean)
        return no_smaller and "better" in (self.own.verdict, self.control.verdict)


@dataclass(frozen=True)
class Findings:
    """All that a comparison shows."""

    comparison: Comparison
    methods: tuple[MethodFinding, ...]
    controls: tuple[ControlFinding, ...]

    @property
    def metric(self) -> Metric:
        return self.comparison.metric


def find(comparison: Comparison) -> Findings:
    """Compare every method with the baseline and with its controls."""
    methods = tuple(
        MethodFinding(method, tuple(findings_of(method.groups, comparison.baseline, method.metric)))
        for method in comparison.methods
    )
    return Findings(comparison, methods, tuple(_controls(comparison, methods)))


def findings_of(
    groups: Sequence[Group], baseline: Group | None, metric: Metric, set_name: str = "test"
) -> list[Finding]:
    """Groups of one method against one other group, their p-values corrected together."""
    return paired_findings([(group, baseline) for group in groups], metric, set_name)


def paired_findings(
    pairs: Sequence[tuple[Group, Group | None]], metric: Metric, set_name: str = "test"
) -> list[Finding]:
    """Each first group minus its second one, the p-values corrected together."""
    differences = [
        None if second is None else first.minus(second, set_name) for first, second in pairs
    ]
    return corrected_findings([first for first, _ in pairs], differences, metric)


def corrected_findings(
    groups: Sequence[Group], differences: Sequence[PairedDifference | None], metric: Metric
) -> list[Finding]:
    """A finding for each group's difference, the p-values corrected together."""
    p_values = [each.p_value if each else None for each in differences]
    num_tests = len(p_values) - p_values.count(None)
    # Holm's correction never falls when a p-value rises: this is the best that all can do together.
    least = holm(
        [
            None if each is None or each.p_value is None else least_p_value(each.num_pairs)
            for each in differences
        ]
    )
    return [
        Finding(group, difference, p_value, metric, num_tests, 1.0 if best is None else best)
        for group, difference, p_value, best in zip(
            groups, differences, holm(p_values), least, strict=True
        )
    ]


def excludes_zero(difference: PairedDifference) -> bool:
    """Whether the interval does; differences that are all equal are their own interval."""
    if difference.interval is None:
        return difference.num_pairs > 1 and difference.mean != 0
    return not difference.interval.low <= 0 <= difference.interval.high


def _controls(comparison: Comparison, methods: Sequence[MethodFinding]) -> list[ControlFinding]:
    found = []
    done: set[int] = set()
    for mine in methods:
        if not mine.method.against or mine.method.is_random_control:
            continue
        done.add(id(mine.method))
        # Of two methods that are each other's other network, one comparison is enough.
        others = [other for other in comparison.alike(mine.method) if id(other) not in done]
        others.sort(key=lambda other: not other.is_random_control)
        for other in others:
            theirs = next(each for each in methods if each.method is other)
            control = _control(mine, theirs)
            found += [control] if control else []
    return found


def _best_pair(pairs: Sequence[tuple[Group, Group]], metric: Metric) -> int:
    chosen = best_of([group for group, _ in pairs], metric, "validation")
    return next(index for index, (group, _) in enumerate(pairs) if group is chosen)


def _control(mine: MethodFinding, theirs: MethodFinding) -> ControlFinding | None:
    """At the chosen layer if both have it, else at the best on validation of those both have."""
    pairs = [
        (group, other)
        for group in mine.method.groups
        if (other := theirs.method.at_layer(group.layer)) is not None
    ]
    if not pairs:
        return None
    metric = mine.method.metric
    between = paired_findings(pairs, metric)
    best = _best_pair(pairs, metric)
    group, other = pairs[best]
    return ControlFinding(
        method=mine.method,
        own=mine.of(group),
        control=theirs.of(other),
        between=between[best],
        is_random=theirs.method.is_random_control,
    )
