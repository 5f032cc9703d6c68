"""The report's tables: methods side by side, controls, layers.

A table is a list of columns, each with what it reads of a row; a new one is one more list.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from config.networks import PUBLISHED_NETWORK
from config.text import counted, shorten
from plotting.reporting.compare import Comparison
from plotting.reporting.findings import ControlFinding, Finding, Findings, MethodFinding
from plotting.reporting.groups import Group, spread_of
from plotting.reporting.sentences import incomplete_text
from plotting.reporting.statistics import mean_interval
from plotting.reporting.table import Cell, Column, Place, Table, file_name, fixed, make_table
from training.engine.subsets import ALIGNED, CONFLICTING
from training.results.method_names import kind_of
from training.results.metric import DEFAULTS, METRICS, Metric

COLLAPSED = "collapsed"
DIFFERENCE_NOTES = (
    "difference: mean over pairs of runs with the same seed, the method's minus the baseline's; "
    "its 95 % interval is a bias-corrected and accelerated bootstrap, Student's t of two pairs, "
    "and empty of one pair or where all differences are equal.",
    "p: two-sided permutation test that flips the signs of the differences; n pairs cannot give "
    "less than 2 / 2^n (0.25 of three). p (Holm): corrected over all differences of this table. "
    "Below ten pairs or so the bootstrap's interval is too narrow, so a difference is claimed "
    "only if p (Holm) is below 0.05 as well.",
)
CHOICE_NOTE = (
    "layer: of several, the one with the best mean validation result over its repetitions, among "
    "those with the most repetitions; its test result stands here, once."
)
INTERVAL_NOTE = (
    "±: standard deviation over repetitions (other seeds, same split); test 95 %: interval of the "
    "mean by Student's t over them."
)
COLLAPSED_NOTE = (
    "collapsed: runs that {}; the figures of such runs are not those of a trained network."
)
TRIALS_NOTE = (
    "trials: runs of a search, each with other values of what is found by the search; the best on "
    "validation was run again with fresh seeds, and these runs alone stand here."
)
ORACLE_NOTE = (
    "oracle: the layer that is best on the test set itself, which nobody can know beforehand. Its "
    "figures are too good by the luck of the best of several, and are no result."
)
ALIGNED_NOTE = (
    "aligned: test examples whose {} is the commonest of their class in the training set, so that "
    "whoever listens to it is right; conflicting: all others."
)
CONTROL_NOTE = (
    "A gain that a random untrained network gives as well does not come from the orthogonal task. "
    "The layer is the one chosen on validation for the network asked for; if a search chose it, "
    "each network has its own. p (Holm) is of the difference between the two networks, corrected "
    "over all of this table."
)


def all_tables(findings: Findings, prefix: str) -> list[Table]:
    """Return the tables of one comparison in the order of the page, without those without rows."""
    tables = [
        main_table(findings, prefix),
        control_table(findings, prefix),
        *(layer_table(each, findings, prefix) for each in findings.methods),
    ]
    return [table for table in tables if table.rows]


def describe(comparison: Comparison) -> str:
    """Return 'gsc (random by clip: speakers shared); 90 test examples; chance 14.4 %'."""
    first = comparison.first
    facts = [f"{comparison.dataset} ({first.split})", *comparison.apart_texts]
    parameters = first.parameters.model_dump()
    confounder = parameters.get("confounder")
    if confounder and "confounder_strength" not in comparison.apart:
        strength = parameters["confounder_strength"]
        facts.append(f"{shorten(confounder)} follows the class with strength {strength}")
    if first.parameters.network != PUBLISHED_NETWORK and "network" not in comparison.apart:
        facts.append(f"network {shorten(first.parameters.network)}")
    if first.num_test is not None:
        facts.append(counted(first.num_test, "test example"))
    chances = [result.chance for group in comparison.groups for result in group.results]
    known = [chance for chance in chances if chance is not None]
    if known:
        metric = comparison.metric
        level = fixed(sum(known) / len(known), metric.digits)
        facts.append(f"{metric.chance} {level}{metric.suffix}")
    return "; ".join(facts)


class MethodRow(NamedTuple):
    """A line of the tables of methods and layers."""

    name: str
    finding: Finding

    @property
    def group(self) -> Group:
        """Return the repetitions."""
        return self.finding.group


def difference_columns(
    name: str,
    interval: str,
    digits: int = 1,
    finding_of: Callable[[Any], Finding | None] = lambda row: row.finding,
    hint: str = "",
) -> list[Column]:
    """Return the columns of a finding's mean difference and of its 95 % interval.

    Args:
        name, interval: their headings.
        finding_of: reads the finding of a row.
    """

    def read(row: Any, attribute: str) -> Any:
        finding = finding_of(row)
        return getattr(finding.difference if finding else None, attribute, None)

    return [
        Column(name, lambda row: read(row, "mean"), "difference", digits, hint=hint),
        Column(interval, lambda row: read(row, "interval"), "difference interval", digits),
    ]


def spread_column(
    name: str, group_of: Callable[[Any], Group], digits: int = 1, set_name: str = "test"
) -> Column:
    """Return the column of a group's mean and standard deviation."""
    return Column(name, lambda row: group_of(row).spread(set_name), "spread", digits)


def _other_columns(comparison: Comparison) -> list[Column]:
    """Return columns of further metrics of the test set, by clip where that is something else."""
    metric = comparison.metric
    others = [METRICS[key.lower()] for key in metric.others]
    if any(result.has_segments for result in comparison.results) and "clip" not in metric.key:
        others += [each.of_clips for each in (metric, *others)]

    def column(other: Metric) -> Column:
        name = f"test {other.short}{other.suffix}"
        shown_in: Place = "page" if "clip" in other.key else "terminal"
        if other.key.endswith("f1"):
            shown_in = "csv"
        return Column(
            name, lambda row: row.group.other_spread(other.key), "spread", other.digits, shown_in
        )

    return [column(each) for each in others]


def _part_column(comparison: Comparison, part: str) -> Column:
    """Return the column of the test examples that a confounder helps, or misleads."""
    metric = DEFAULTS[comparison.first.parameters.task]
    return Column(
        f"{part} {metric.unit}",
        lambda row: spread_of(row.group.values_of_part(part)),
        "spread",
        metric.digits,
        "page",
    )


def collapsed_text(group: Group) -> str:
    """Return '2 of 6'; empty if no run collapsed."""
    return f"{group.num_collapsed} of {len(group.results)}" if group.num_collapsed else ""


def _test_interval(row: MethodRow) -> Cell:
    """Return the interval of the mean, within what the metric can be."""
    interval = mean_interval(row.group.values())
    metric = row.group.metric
    if interval is None:
        return None
    return tuple(min(max(limit, metric.smallest), metric.largest) for limit in interval)


def _method_columns(comparison: Comparison) -> list[Column]:
    metric = comparison.metric
    digits, hint = metric.digits, f"{metric.difference_unit}, same seeds"

    def paired(row: MethodRow, attribute: str) -> Cell:
        cell: Cell = getattr(row.finding.difference, attribute, None)
        return cell

    others = _other_columns(comparison)
    by_example, by_clip = others[: len(metric.others)], others[len(metric.others) :]
    return [
        Column("method", lambda row: row.name),
        Column("layer", lambda row: row.group.layer),
        Column("runs", lambda row: len(row.group.results), "count"),
        spread_column(metric.heading("validation"), lambda row: row.group, digits, "validation"),
        spread_column(metric.heading("test"), lambda row: row.group, digits),
        *by_example,
        *difference_columns("difference", "difference 95 %", digits, hint=hint),
        Column("p (Holm)", lambda row: row.finding.p_corrected, "p"),
        *(_part_column(comparison, part) for part in (ALIGNED, CONFLICTING)),
        Column(COLLAPSED, lambda row: collapsed_text(row.group), shown_in="page"),
        Column("trials", lambda row: row.group.num_trials or None, "count"),
        Column("found by the search", lambda row: row.group.found_text, shown_in="page"),
        *by_clip,
        Column("test 95 %", _test_interval, "interval", digits, shown_in="page"),
        Column("pairs", lambda row: paired(row, "num_pairs"), "count", shown_in="page"),
        Column("p", lambda row: paired(row, "p_value"), "p", shown_in="page"),
        Column("experiments", lambda row: row.group.experiments_text, shown_in="page"),
    ]


def main_table(findings: Findings, prefix: str = "") -> Table:
    """Return baseline and methods, each at the layer that was chosen on validation."""
    baseline = findings.comparison.baseline
    rows = [MethodRow(each.method.label, each.chosen) for each in findings.methods]
    if baseline is not None:
        rows.insert(0, MethodRow("baseline", Finding(baseline, None, findings.metric)))
    notes = [CHOICE_NOTE, *_incomplete_notes(findings.methods), INTERVAL_NOTE]
    if any(row.group.num_trials for row in rows):
        notes.append(TRIALS_NOTE)
    folds = [fold for result in findings.comparison.results for fold in result.folds]
    confounders = {fold.test_alignment.label for fold in folds if fold.test_alignment}
    notes += map(ALIGNED_NOTE.format, sorted(confounders))
    return make_table(
        file_name(prefix, "methods"),
        "What differs is the method: test results side by side",
        _method_columns(findings.comparison),
        rows,
        (*notes, *DIFFERENCE_NOTES, COLLAPSED_NOTE.format(findings.metric.collapse_rule)),
        describe(findings.comparison),
    )


def _incomplete_notes(methods: Sequence[MethodFinding]) -> list[str]:
    """Return a note for each method with layers that have fewer repetitions than others."""
    return [
        f"{each.method.label}: {incomplete_text(each.method)}"
        for each in methods
        if each.method.incomplete
    ]


def layer_table(found: MethodFinding, findings: Findings, prefix: str = "") -> Table:
    """Return a method at each of its layers; without rows if it has one layer only."""

    def mark(row: MethodRow) -> str:
        marks = {"on validation": found.method.chosen, "oracle (best on test)": found.method.oracle}
        return " and ".join(text for text, each in marks.items() if each is row.group)

    _, layer, *others = _method_columns(findings.comparison)
    return make_table(
        file_name(prefix, "layers", found.method.label),
        f"What differs is the layer: {found.method.label}",
        [layer, Column("chosen", mark), *others],
        [MethodRow("", finding) for finding in found.layers if len(found.layers) > 1],
        (*_incomplete_notes([found]), ORACLE_NOTE, INTERVAL_NOTE, *DIFFERENCE_NOTES),
        describe(findings.comparison),
        folded=True,
    )


class ControlRow(NamedTuple):
    """A line of the table of controls; between: the network asked for minus this one."""

    role: str
    finding: Finding
    between: Finding | None = None


def control_table(findings: Findings, prefix: str = "") -> Table:
    """Return each anti-transfer result, and other frozen networks at the same layer."""
    heading, digits = findings.metric.heading("test"), findings.metric.digits
    change = findings.metric.change
    columns = [
        Column("method", lambda row: kind_of(row.finding.group.parameters).title),
        Column("against", lambda row: row.finding.group.against),
        Column("role", lambda row: row.role),
        Column("layer", lambda row: row.finding.group.layer),
        Column("runs", lambda row: len(row.finding.group.results), "count"),
        spread_column(heading, lambda row: row.finding.group, digits),
        *difference_columns(f"{change} over baseline", f"{change} 95 %", digits),
        *difference_columns("as asked minus this", "minus 95 %", digits, lambda row: row.between),
        Column("p (Holm)", lambda row: row.between and row.between.p_corrected, "p"),
        Column(COLLAPSED, lambda row: collapsed_text(row.finding.group)),
    ]
    return make_table(
        file_name(prefix, "controls"),
        "What differs is the frozen network: whether it is the orthogonal task",
        columns,
        _control_rows(findings.controls),
        (CONTROL_NOTE,),
        describe(findings.comparison),
    )


def _role(group: Group) -> str:
    if group.is_control:
        return "control: untrained network"
    return "true labels" if group.true_labels else "another network"


def _control_rows(controls: Sequence[ControlFinding]) -> list[ControlRow]:
    rows: list[ControlRow] = []
    seen: set[int] = set()
    for each in controls:
        if id(each.own) not in seen:
            seen.add(id(each.own))
            rows.append(ControlRow("as asked", each.own))
        rows.append(ControlRow(_role(each.control.group), each.control, each.between))
    return rows
