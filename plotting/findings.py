"""What a comparison shows: each method against the baseline, and against its random control."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from plotting.comparisons import Comparison, Group, Method
from plotting.paired_statistics import ALPHA, PairedDifference, holm
from plotting.runs import Metric

Verdict = Literal["better", "worse", "not shown", "one pair", "no pair"]


@dataclass(frozen=True)
class Finding:
    """A group and its difference to another one.

    Attributes:
        difference: this group's runs minus the other's, paired by seed; None: there is no other.
        p_corrected: Holm's, over the layers of the method; equal to the p-value of a single layer.
        num_tests: how many p-values were corrected together.
    """

    group: Group
    difference: PairedDifference | None
    p_corrected: float | None
    metric: Metric
    num_tests: int = 1

    @property
    def least_p(self) -> float:
        """The smallest corrected p-value that so many pairs can give, if no other test is small."""
        num_pairs = self.difference.num_pairs if self.difference else 0
        return min(1.0, 2.0 * self.num_tests * 0.5**num_pairs)

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
        """Whether the method adds nothing to a gain that the control has as well.

        The control's gain must be shown itself, or be no smaller than the method's, which is shown.
        """
        metric, own, control = self.own.metric, self.own.difference, self.control.difference
        if self.between.verdict != "not shown" or own is None or control is None:
            return False
        no_smaller = (
            self.own.verdict == "better"
            and own.mean is not None
            and control.mean is not None
            and metric.goodness(control.mean) >= metric.goodness(own.mean)
        )
        return self.control.verdict == "better" or no_smaller


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
    p_values = [each.p_value if each else None for each in differences]
    corrected = holm(p_values)
    num_tests = len(p_values) - p_values.count(None)
    return [
        Finding(first, difference, p_value, metric, num_tests)
        for (first, _), difference, p_value in zip(pairs, differences, corrected, strict=True)
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
    best = max(
        range(len(pairs)), key=lambda index: metric.goodness(pairs[index][0].mean("validation"))
    )
    group, other = pairs[best]
    return ControlFinding(
        method=mine.method,
        own=mine.of(group),
        control=theirs.of(other),
        between=between[best],
        is_random=theirs.method.is_random_control,
    )
