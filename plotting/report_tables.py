"""The report's tables: methods side by side, layers, controls, oracle, published values."""

from collections.abc import Sequence

from plotting.comparisons import Comparison, Group
from plotting.findings import Finding, Findings, MethodFinding
from plotting.paired_statistics import mean_interval
from plotting.runs import Metric
from plotting.sentences import digits_of, incomplete_text, joined
from plotting.tables import Cell, Column, Table, file_name, fixed

COLLAPSED = "collapsed"
DIFFERENCE_NOTES = (
    "difference: mean over pairs of runs with the same seed, the method's minus the baseline's; "
    "its 95 % interval is a bias-corrected and accelerated bootstrap, Student's t of two pairs, "
    "and empty of one pair or where all differences are equal.",
    "p: two-sided permutation test that flips the signs of the differences; n pairs cannot give "
    "less than 2 / 2^n (0.25 of three). p (Holm): corrected over the layers of the method; nothing "
    "is corrected over methods or tables. Below ten pairs or so the bootstrap's interval is too "
    "narrow, so a difference is claimed only if p (Holm) is below 0.05 as well.",
    "could show: the smallest true difference that so many pairs with this spread would have shown "
    "in 8 of 10 trials (paired t-test, two-sided, alpha 0.05 divided by the number of p-values "
    "that are corrected together, power 0.8): the d with P(|T| > t) = 0.8, T noncentral t with "
    "n - 1 degrees of freedom and noncentrality d sqrt(n) / s. Empty where so few pairs cannot "
    "give a corrected p below 0.05, so that no difference whatever could have been claimed.",
)
CHOICE_NOTE = (
    "layer: of several, the one with the best mean validation result over its repetitions, among "
    "those with the most repetitions; its test result stands here, once."
)
INTERVAL_NOTE = "test 95 %: interval of the mean by Student's t over the repetitions."
COLLAPSED_NOTE = (
    "collapsed: runs that named one class only or did no better than chance on the validation set; "
    "the figures of such runs are not those of a trained network."
)
ORACLE_NOTE = (
    "Oracle: the layer was chosen on the test set itself, which nobody can do beforehand. These "
    "figures are too good by the luck of the best of several, and are no result."
)


def all_tables(findings: Findings, prefix: str) -> list[Table]:
    """The tables of one comparison, in the order of the page; those without rows are left out."""
    tables = [
        main_table(findings, prefix),
        control_table(findings, prefix),
        oracle_table(findings, prefix),
        *(layer_table(each, findings, prefix) for each in findings.methods),
    ]
    return [table.without_empty_columns() for table in tables if table.rows]


def describe(comparison: Comparison) -> str:
    """'gsc_randsplit (random by clip: speakers shared); 90 test examples, chance 14.4 %'"""
    first = comparison.first
    facts = [f"{comparison.dataset} ({comparison.split})"]
    if first.num_test is not None:
        facts.append(f"{first.num_test} test examples")
    chances = [run.chance for group in comparison.groups for run in group.runs]
    known = [chance for chance in chances if chance is not None]
    if known:
        facts.append(f"chance {fixed(sum(known) / len(known))} %")
    return "; ".join(facts)


def main_table(findings: Findings, prefix: str = "", with_intervals: bool = True) -> Table:
    """Baseline and methods, each at the layer that was chosen on validation.

    Args:
        with_intervals: of the means themselves, which the terminal does without.
    """
    metric, comparison = findings.metric, findings.comparison
    rows = []
    if comparison.baseline is not None:
        rows.append(_row("baseline", comparison.baseline, None, metric, with_intervals))
    rows += [
        _row(each.method.label, each.chosen.group, each.chosen, metric, with_intervals)
        for each in findings.methods
    ]
    return Table(
        file_name(prefix, "methods"),
        "Methods side by side",
        _columns(metric, first="method"),
        tuple(rows),
        (
            CHOICE_NOTE,
            *incomplete_notes(findings.methods),
            INTERVAL_NOTE,
            *DIFFERENCE_NOTES,
            COLLAPSED_NOTE,
        ),
        describe(comparison),
    )


def incomplete_notes(methods: Sequence[MethodFinding]) -> list[str]:
    """A note for each method with layers that have fewer repetitions than others."""
    return [
        f"{each.method.label}: {incomplete_text(each.method)}"
        for each in methods
        if each.method.incomplete
    ]


def _columns(metric: Metric, first: str) -> tuple[Column, ...]:
    digits = digits_of(metric)
    unit = metric.difference_unit
    return (
        Column(first),
        Column("layer"),
        Column("runs", "count"),
        Column(metric.heading("validation"), "spread", digits),
        Column(metric.heading("test"), "spread", digits),
        Column("test 95 %", "interval", digits, in_terminal=False),
        Column("pairs", "count", in_terminal=False),
        Column("difference", "difference", digits, hint=f"{unit}, same seeds"),
        Column("difference 95 %", "difference interval", digits),
        Column("p", "p", in_terminal=False),
        Column("p (Holm)", "p"),
        Column("could show", "number", digits, in_terminal=False, hint=unit),
        Column(COLLAPSED, in_terminal=False),
        Column("experiments", in_terminal=False),
    )


def _row(
    name: str,
    group: Group,
    finding: Finding | None,
    metric: Metric,
    with_interval: bool = True,
) -> tuple[Cell, ...]:
    interval = mean_interval(group.values()) if with_interval else None
    return (
        name,
        group.layer,
        len(group.runs),
        spread(group, "validation"),
        spread(group, "test"),
        # A share or an error cannot lie outside of its range, whatever Student's t says.
        tuple(min(max(limit, 0.0), metric.largest) for limit in interval) if interval else None,
        *_difference_cells(finding),
        _collapsed(group),
        ", ".join(map(str, group.experiments)),
    )


def spread(group: Group, set_name: str) -> tuple[float, ...]:
    """Mean and standard deviation; the mean alone of a single run."""
    deviation = group.deviation(set_name)
    return (group.mean(set_name),) if deviation is None else (group.mean(set_name), deviation)


def _difference_cells(finding: Finding | None) -> tuple[Cell, ...]:
    difference = finding.difference if finding else None
    if finding is None or difference is None or difference.mean is None:
        return (None,) * 6
    return (
        difference.num_pairs,
        difference.mean,
        difference.interval,
        difference.p_value,
        finding.p_corrected,
        finding.smallest_effect,
    )


def _collapsed(group: Group) -> str:
    number = group.num_collapsed
    return f"{number} of {len(group.runs)}" if number else ""


def layer_table(found: MethodFinding, findings: Findings, prefix: str = "") -> Table:
    """A method at each of its layers; no rows if it has one layer only."""
    metric, method = findings.metric, found.method
    rows = [
        (*_row(_mark(finding, found), finding.group, finding, metric),)
        for finding in found.layers
        if len(found.layers) > 1
    ]
    columns = _columns(metric, first="chosen")
    order = (1, 0, *range(2, len(columns)))
    return Table(
        file_name(prefix, "layers", method.label),
        f"Layer by layer: {method.label}",
        tuple(columns[index] for index in order),
        tuple(tuple(row[index] for index in order) for row in rows),
        (*incomplete_notes([found]), INTERVAL_NOTE, *DIFFERENCE_NOTES),
        describe(findings.comparison),
    )


def _mark(finding: Finding, found: MethodFinding) -> str:
    marks = [
        text
        for group, text in (
            (found.method.chosen, "on validation"),
            (found.method.oracle, "oracle (best on test)"),
        )
        if group is finding.group
    ]
    return joined(marks) if marks else ""


def oracle_table(findings: Findings, prefix: str = "") -> Table:
    """The best layer on the test set, apart from the results."""
    metric = findings.metric
    several = [each for each in findings.methods if len(each.layers) > 1]
    rows = tuple(
        (
            each.method.label,
            each.oracle.group.layer,
            spread(each.oracle.group, "test"),
            each.oracle.difference.mean if each.oracle.difference else None,
            each.chosen.group.layer,
            spread(each.chosen.group, "test"),
        )
        for each in several
    )
    digits = digits_of(metric)
    return Table(
        file_name(prefix, "oracle"),
        "Oracle, not a result: the best layer on the test set",
        (
            Column("method"),
            Column("oracle layer"),
            Column(f"oracle {metric.heading('test')}", "spread", digits),
            Column("oracle difference", "difference", digits),
            Column("layer chosen on validation"),
            Column(metric.heading("its test"), "spread", digits),
        ),
        rows,
        (ORACLE_NOTE, *incomplete_notes(several)),
        describe(findings.comparison),
    )


def control_table(findings: Findings, prefix: str = "") -> Table:
    """Each anti-transfer result, and other frozen networks at the same layer."""
    metric = findings.metric
    digits = digits_of(metric)
    rows: list[tuple[Cell, ...]] = []
    seen: set[int] = set()
    for control in findings.controls:
        if id(control.own) not in seen:
            seen.add(id(control.own))
            rows.append(_control_row(control.own, "as asked", None))
        role = "control: untrained network" if control.is_random else "another network"
        rows.append(_control_row(control.control, role, control.between))
    return Table(
        file_name(prefix, "controls"),
        "Is it the orthogonal task? Other frozen networks at the same layer",
        (
            Column("against"),
            Column("role"),
            Column("layer"),
            Column("runs", "count"),
            Column(metric.heading("test"), "spread", digits),
            Column("gain over baseline", "difference", digits),
            Column("gain 95 %", "difference interval", digits),
            Column("as asked minus this", "difference", digits),
            Column("minus 95 %", "difference interval", digits),
            Column("p (Holm)", "p"),
            Column("could show", "number", digits),
            Column(COLLAPSED),
        ),
        tuple(rows),
        (
            "A gain that a random untrained network gives as well does not come from the "
            "orthogonal task. The layer is the one chosen on validation for the network asked for. "
            "p (Holm) is of the difference between the two networks, corrected over the layers "
            "that both were run at.",
            *DIFFERENCE_NOTES[2:],
        ),
        describe(findings.comparison),
    )


def _control_row(finding: Finding, role: str, between: Finding | None) -> tuple[Cell, ...]:
    group, gain = finding.group, finding.difference
    apart = between.difference if between else None
    return (
        group.against,
        role,
        group.layer,
        len(group.runs),
        spread(group, "test"),
        gain.mean if gain else None,
        gain.interval if gain else None,
        apart.mean if apart else None,
        apart.interval if apart else None,
        between.p_corrected if between else None,
        between.smallest_effect if between else None,
        _collapsed(group),
    )


def experiments_of(comparisons: Sequence[Comparison]) -> list[int]:
    """IDs of all experiments in some comparison."""
    return sorted({identifier for each in comparisons for identifier in each.experiments})
