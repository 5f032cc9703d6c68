"""What a comparison shows: each method against the baseline, and against its random control."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from plotting.reporting.compare import Comparison, Method, best_of
from plotting.reporting.groups import Group
from plotting.reporting.statistics import ALPHA, PairedDifference, holm, least_p_value
from training.results.metric import Metric

Verdict = Literal["better", "worse", "not shown", "one pair", "no pair"]


@dataclass(frozen=True)
class Finding:
    """A group and its difference to another one.

    Attributes:
        difference: this group's runs minus the other's, paired by seed; None: there are no pairs.
        p_corrected: Holm's, over all differences of the table that it stands in.
        num_tests: how many p-values were corrected together.
        least_p: the smallest corrected p-value that so many pairs can give, whatever they are.
    """

    group: Group
    difference: PairedDifference | None
    metric: Metric
    p_corrected: float | None = None
    num_tests: int = 1
    least_p: float = 1.0

    @property
    def can_show(self) -> bool:
        """Whether any difference, however large, could be claimed of so many pairs."""
        return self.least_p < ALPHA

    @property
    def verdict(self) -> Verdict:
        """Return what may be said: a difference only if its interval and p-value both show it."""
        if self.difference is None:
            return "no pair"
        if self.p_corrected is None:
            return "one pair"
        if self.p_corrected >= ALPHA or not self.difference.excludes_zero:
            return "not shown"
        return "better" if self.metric.goodness(self.difference.mean) > 0 else "worse"


@dataclass(frozen=True)
class MethodFinding:
    """A method against the baseline.

    Attributes:
        chosen: at the layer that was chosen on validation, corrected over the chosen layers of all
            methods, which are what the table of methods shows.
        layers: at each layer, corrected over these.
    """

    method: Method
    chosen: Finding
    layers: tuple[Finding, ...]

    @property
    def name(self) -> str:
        """Return 'anti-transfer against X, layer 3', its chosen layer."""
        return name_at(self.method, self.chosen.group)

    def of(self, group: Group) -> Finding:
        """Return the finding of one of its groups."""
        findings = (self.chosen, *self.layers)
        return next(each for each in findings if each.group is group)


@dataclass(frozen=True)
class ControlFinding:
    """A method at its chosen layer beside another frozen network at the same layer.

    Attributes:
        method: the method that the control is one of.
        own: the method minus the baseline, at the layer of the comparison.
        control: the other network minus the baseline, at that layer.
        between: the method minus the other network, at that layer.
    """

    method: Method
    own: Finding
    control: Finding
    between: Finding

    @property
    def is_random(self) -> bool:
        """Whether the other network is the untrained one."""
        return self.control.group.is_control

    @property
    def gains_as_much(self) -> bool:
        """Whether the control gains no less than the method, and one of the two gains is shown.

        That a difference between the two is not shown says by itself nothing of the kind.
        """
        metric, own, control = self.own.metric, self.own.difference, self.control.difference
        if self.between.verdict != "not shown" or own is None or control is None:
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
        """Return the metric by which the methods are compared."""
        return self.comparison.metric

    @property
    def shown(self) -> list[tuple[str, Group]]:
        """Return name and runs of the baseline, and of each method at its chosen layer."""
        baseline = self.comparison.baseline
        methods = [(each.name, each.chosen.group) for each in self.methods]
        return [*([("baseline", baseline)] if baseline else []), *methods]


def name_at(method: Method, group: Group) -> str:
    """Return 'anti-transfer against X, layer 3', the layer of one of its groups, if it has any."""
    return f"{method.label}, layer {group.layer}" if group.layer else method.label


def find(comparison: Comparison) -> Findings:
    """Compare every method with the baseline and with its controls."""
    baseline, methods = comparison.baseline, comparison.methods
    differences = {
        id(group): group.minus(baseline) if baseline else None
        for method in methods
        for group in method.groups
    }

    def corrected(groups: Sequence[Group]) -> list[Finding]:
        found = [differences[id(group)] for group in groups]
        return corrected_findings(groups, found, [comparison.metric] * len(groups))

    chosen = corrected([method.chosen for method in methods])
    findings = tuple(
        MethodFinding(method, own, tuple(corrected(method.groups)))
        for method, own in zip(methods, chosen, strict=True)
    )
    return Findings(comparison, findings, tuple(_controls(comparison, findings)))


def corrected_findings(
    groups: Sequence[Group],
    differences: Sequence[PairedDifference | None],
    metrics: Sequence[Metric],
) -> list[Finding]:
    """Return a finding for each group's difference, the p-values corrected together."""
    p_values = [each.p_value if each else None for each in differences]
    num_tests = len(p_values) - p_values.count(None)
    # Holm's correction never falls when a p-value rises: this is the best that all can do together.
    least = holm(
        [least_p_value(each.num_pairs) if each and each.p_value else None for each in differences]
    )
    return [
        Finding(group, difference, metric, p_value, num_tests, 1.0 if best is None else best)
        for group, difference, metric, p_value, best in zip(
            groups, differences, metrics, holm(p_values), least, strict=True
        )
    ]


def _controls(comparison: Comparison, methods: Sequence[MethodFinding]) -> Iterator[ControlFinding]:
    """Compare each method with those that differ in their frozen networks alone."""
    pairs = []
    done: set[int] = set()
    for mine in methods:
        if not mine.method.needs_control:
            continue
        done.add(id(mine.method))
        # Of two methods that are each other's other network, one comparison is enough.
        others = [other for other in comparison.alike(mine.method) if id(other) not in done]
        others.sort(key=lambda other: not other.is_control)
        for other in others:
            theirs = next(each for each in methods if each.method is other)
            same_layer = _at_the_same_layer(mine.method, other)
            if same_layer is not None:
                pairs.append((mine, theirs, *same_layer))
    groups = [group for _, _, group, _ in pairs]
    differences = [group.minus(other) for _, _, group, other in pairs]
    between = corrected_findings(groups, differences, [comparison.metric] * len(groups))
    for (mine, theirs, own, control), finding in zip(pairs, between, strict=True):
        yield ControlFinding(mine.method, mine.of(own), theirs.of(control), finding)


def _at_the_same_layer(method: Method, other: Method) -> tuple[Group, Group] | None:
    """Return both at the layer that is best on validation of those that both have."""
    pairs = [
        (group, theirs)
        for group in method.groups
        if (theirs := other.at_layer(group.layer)) is not None
    ]
    if not pairs:
        return None
    best = best_of([group for group, _ in pairs], "validation")
    return next(pair for pair in pairs if pair[0] is best)
