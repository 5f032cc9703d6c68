"""Is the network more invariant? Probes, similarities and norms of methods beside the baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from config.text import counted
from plotting.reporting.compare import layer_order
from plotting.reporting.findings import Finding, Findings, corrected_findings
from plotting.reporting.groups import Group, spread_of
from plotting.reporting.sentences import cannot_show, capital, difference_text
from plotting.reporting.statistics import paired_difference
from plotting.reporting.table import Column, Table, file_name, fixed, make_table
from plotting.reporting.tables import difference_columns
from training.probing.files import (
    PENULTIMATE,
    Analysis,
    Measure,
    ProbedLabel,
    apart_text,
    probing_command,
)
from training.results.metric import Metric
from training.results.result import Result

# A probe that reads less of an orthogonal label, or more of the target, is better.
PROBES = {
    "orthogonal": Metric("probe", "probe accuracy", "%", 100.0, False, 100.0, 1),
    "target": Metric("probe", "probe accuracy", "%", 100.0, True, 100.0, 1),
}
NOTES = (
    "probe: accuracy on the test set of a linear classifier that reads a label from a layer's "
    "features; shuffled: the same with shuffled labels, which is what the probe finds where there "
    "is nothing; chance: share of the most frequent class. An orthogonal label (speaker, noise, "
    "...) is one that the network should not need: a lower probe is a more invariant network.",
    "difference: the method's probe minus the baseline's of the same seeds, at the last features "
    "before the classification; p (Holm): sign-flip permutation test, corrected over all "
    "differences of this table.",
    "kept apart: no value of this column is on both sides of the probe's cross-validation.",
    "A linear probe that fails does not prove that the information is gone.",
)


@dataclass(frozen=True)
class Entry:
    """A baseline or a method at its chosen layer, with the measurements of its runs."""

    label: str
    group: Group
    measured: tuple[tuple[Result, Analysis], ...]

    @cached_property
    def values(self) -> dict[tuple[str, Measure], dict[int, float]]:
        """Return by layer and measure the value of each seed that has one."""
        found: dict[tuple[str, Measure], dict[int, float]] = {}
        for result, analysis in self.measured:
            for layer in analysis.layers:
                for measure, value in layer.measures().items():
                    by_seed = found.setdefault((layer.layer, measure), {})
                    by_seed[result.parameters.seed] = value
        return found

    def last(self, measure: Measure) -> dict[int, float]:
        """Return what was measured of the last features, by seed."""
        return self.values.get((PENULTIMATE, measure), {})

    def spread(self, layer: str, measure: Measure) -> tuple[float, ...] | None:
        """Return mean and standard deviation over the repetitions; None without any."""
        return spread_of(list(self.values.get((layer, measure), {}).values()))


Differences = dict[str, list[tuple[Entry, Finding]]]


@dataclass(frozen=True)
class InvarianceFindings:
    """What was measured in one comparison.

    Attributes:
        entries: the baseline first, if it was measured.
        labels: what the probes read, orthogonal ones first.
        layers: in the order of the network.
        left_out: labels that no probe was possible for, and why.
        description: dataset, split and set.
    """

    entries: tuple[Entry, ...]
    labels: dict[str, ProbedLabel]
    layers: tuple[str, ...]
    left_out: dict[str, str]
    description: str

    @property
    def baseline(self) -> Entry | None:
        """Return the baseline's entry, if it was measured."""
        first = self.entries[0]
        return first if first.group.kind == "baseline" else None

    @property
    def networks(self) -> list[str]:
        """Return the frozen networks that some network was compared with."""
        analyses = [analysis for entry in self.entries for _, analysis in entry.measured]
        layers = [layer for analysis in analyses for layer in analysis.layers]
        return list(dict.fromkeys(name for layer in layers for name in layer.frozen))


def find_invariance(
    findings: Findings, analyses: Mapping[str, Analysis]
) -> InvarianceFindings | None:
    """Collect the measurements of a comparison's baseline and methods; None if there are none.

    Args:
        analyses: by the stem of the result.
    """
    comparison = findings.comparison
    entries = []
    for label, group in findings.shown:
        pairs = [(result, analyses.get(result.stem)) for result in group.results]
        measured = tuple((result, each) for result, each in pairs if each is not None)
        if measured:
            entries.append(Entry(label, group, measured))
    if not entries:
        return None
    everything = [analysis for entry in entries for _, analysis in entry.measured]
    labels = {name: label for each in everything for name, label in each.labels.items()}
    layers = {layer.layer for each in everything for layer in each.layers}
    place = f"{comparison.dataset} ({comparison.first.split})"
    return InvarianceFindings(
        tuple(entries),
        dict(sorted(labels.items(), key=lambda item: item[1].role)),
        tuple(sorted(layers, key=lambda name: (not name.isdecimal(), layer_order(name)))),
        {name: why for each in everything for name, why in each.left_out_labels.items()},
        ", ".join([place, *comparison.apart_texts, "test set"]),
    )


def probe_differences(found: InvarianceFindings) -> Differences:
    """Compare by label each method's probe on the last features with the baseline's of its seeds.

    The p-values of all labels and methods are corrected together, as they stand in one table.
    """
    by_label: Differences = {name: [] for name in found.labels}
    baseline = found.baseline
    if baseline is None:
        return by_label
    methods = [entry for entry in found.entries if entry is not baseline]
    pairs = [(name, entry) for name in found.labels for entry in methods]
    differences = []
    for name, entry in pairs:
        mine, theirs = entry.last(("probe", name)), baseline.last(("probe", name))
        differences.append(
            paired_difference([mine[seed] - theirs[seed] for seed in mine if seed in theirs])
        )
    metrics = [PROBES[found.labels[name].role] for name, _ in pairs]
    findings = corrected_findings([entry.group for _, entry in pairs], differences, metrics)
    for (name, entry), finding in zip(pairs, findings, strict=True):
        by_label[name].append((entry, finding))
    return by_label


def invariance_sentences(found: InvarianceFindings) -> list[str]:
    """Return a sentence for each orthogonal label and method, also when nothing was found."""
    sentences = []
    differences = probe_differences(found)
    for name, label in found.labels.items():
        if label.role != "orthogonal":
            continue
        sentences += _apart_sentences(name, found)
        if found.baseline is None:
            sentences.append(
                f"{name}: no baseline was measured, so nothing can be said of more or less "
                "invariance; run training/invariance.py for the baseline, too."
            )
            continue
        sentences += [
            _sentence(name, label, found.baseline, entry, finding)
            for entry, finding in differences[name]
        ]
    for name, why in found.left_out.items():
        sentences.append(f"{name}: no probe was possible: {why}.")
    return sentences


def _apart_sentences(name: str, found: InvarianceFindings) -> list[str]:
    """Say what was on one side of the probes' cross-validation only, if the files say it."""
    labels = [
        analysis.labels[name]
        for entry in found.entries
        for _, analysis in entry.measured
        if name in analysis.labels
    ]
    experiments = {each.experiment for entry in found.entries for _, each in entry.measured}
    texts = dict.fromkeys(apart_text(each.grouped_by, each.not_apart) for each in labels)
    if len(texts) > 1:
        return [
            f"{name}: not all networks were probed alike; run "
            f"{probing_command(experiments, '--overwrite')} for all of these experiments."
        ]
    return [f"{name}: {text}." for text in texts if text]


def _sentence(
    name: str, label: ProbedLabel, baseline: Entry, entry: Entry, finding: Finding
) -> str:
    head = f"{capital(entry.label)}: {name} is read from the last features"
    mine = entry.spread(PENULTIMATE, ("probe", name))
    theirs = baseline.spread(PENULTIMATE, ("probe", name))
    if mine is None or theirs is None:
        return f"{head}: not measured of both."
    text = (
        f"{head} with {fixed(mine[0])} %, of the baseline with {fixed(theirs[0])} % (chance "
        f"{fixed(100 * label.chance)} %)"
    )
    if finding.difference is None:
        return f"{text}; no pair shares its seed, so nothing can be compared."
    verdicts = {
        "better": "the network is more invariant to it, as far as a linear probe can tell.",
        "worse": "the network is less invariant to it.",
        "not shown": "these runs do not show that the network became more or less invariant"
        f"{cannot_show(finding)}.",
        "one pair": "one pair cannot tell this from training noise.",
    }
    verdict = f"{verdicts[finding.verdict]}{_collapse(entry.group)}"
    return f"{text}: {difference_text(finding)}: {verdict}"


def _collapse(group: Group) -> str:
    """Return a warning: what a collapsed network lost is no success."""
    if not group.num_collapsed:
        return ""
    return (
        f" But {group.num_collapsed} of its {counted(len(group.results), 'run')} collapsed: a "
        "network that cannot tell its own classes apart any more is invariant to everything."
    )


def invariance_tables(found: InvarianceFindings, prefix: str) -> list[Table]:
    """Return probes on the last features, and all measurements by layer."""
    return [
        table for table in (_last_table(found, prefix), _layer_table(found, prefix)) if table.rows
    ]


class ProbeRow(NamedTuple):
    """A line of the table of the last features."""

    entry: Entry
    name: str
    label: ProbedLabel
    finding: Finding | None


def _last_table(found: InvarianceFindings, prefix: str) -> Table:
    def last(row: ProbeRow, kind: str) -> tuple[float, ...] | None:
        return row.entry.spread(PENULTIMATE, (kind, row.name))

    rows = []
    differences = probe_differences(found)
    for name, label in found.labels.items():
        findings = {id(entry): finding for entry, finding in differences[name]}
        rows += [ProbeRow(each, name, label, findings.get(id(each))) for each in found.entries]
    columns = (
        Column("method", lambda row: row.entry.label),
        Column("label", lambda row: row.name),
        Column("role", lambda row: row.label.role),
        Column("kept apart", lambda row: row.label.grouped_by),
        Column("runs", lambda row: len(row.entry.last(("probe", row.name))), "count"),
        Column("probe %", lambda row: last(row, "probe"), "spread"),
        Column("shuffled %", lambda row: last(row, "shuffled"), "spread"),
        Column("chance %", lambda row: 100 * row.label.chance, "number"),
        *difference_columns("difference", "difference 95 %"),
        Column("p (Holm)", lambda row: row.finding and row.finding.p_corrected, "p"),
    )
    return make_table(
        file_name(prefix, "invariance"),
        "Invariance, method by method: what a linear probe reads from the last features",
        columns,
        rows,
        NOTES,
        found.description,
    )


def _layer_table(found: InvarianceFindings, prefix: str) -> Table:
    """Return all that was measured of each layer of each network."""
    measures: dict[str, tuple[Measure, int]] = {"activation norm": (("norm", ""), 3)}
    for name in found.labels:
        measures[f"{name} probe %"] = ("probe", name), 1
    for network in found.networks:
        measures[f"CKA to {network}"] = ("linear_cka", network), 3
        measures[f"Gram cosine to {network}"] = ("gram_cosine", network), 3

    def column(name: str, measure: Measure, digits: int) -> Column:
        return Column(name, lambda row: row[0].spread(row[1], measure), "spread", digits)

    columns = [column(name, measure, digits) for name, (measure, digits) in measures.items()]
    rows = [
        (entry, layer)
        for entry in found.entries
        for layer in found.layers
        if any(each.read((entry, layer)) is not None for each in columns)
    ]
    return make_table(
        file_name(prefix, "invariance_layers"),
        "Invariance, method by method and layer by layer",
        [Column("method", lambda row: row[0].label), Column("layer", lambda row: row[1]), *columns],
        rows,
        (NOTES[0],),
        found.description,
        folded=True,
    )
