"""Is the network more invariant? Probes, similarities and norms of methods beside the baseline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from plotting.comparisons import Group, layer_order
from plotting.findings import Finding, Findings, corrected_findings
from plotting.invariance_files import Invariance, Label, Layer, Measured
from plotting.paired_statistics import paired_difference
from plotting.runs import Metric, Run
from plotting.sentences import capital, could_show, difference_text
from plotting.tables import Cell, Column, Table, file_name, fixed
from training.probing.files import PENULTIMATE, apart_text

PROBES = {
    "orthogonal": Metric("probe", "probe accuracy", "%", "points", 100.0, False, 100.0),
    "target": Metric("probe", "probe accuracy", "%", "points", 100.0, True, 100.0),
}
NOTES = (
    "probe: accuracy on the test set of a linear classifier that reads a label from a layer's "
    "features; shuffled: the same with shuffled labels, which is what the probe finds where there "
    "is nothing; chance: share of the most frequent class. An orthogonal label (speaker, noise, "
    "...) is one that the network should not need: a lower probe is a more invariant network.",
    "difference: the method's probe minus the baseline's of the same seeds, at the last features "
    "before the classification; p (Holm): sign-flip permutation test, corrected over the methods.",
    "could show: the smallest true difference that the pairs would have shown in 8 of 10 trials; "
    "empty where so few pairs cannot give a p (Holm) below 0.05, whatever the difference.",
    "kept apart: no value of this column is on both sides of the probe's cross-validation.",
    "A linear probe that fails does not prove that the information is gone.",
)


@dataclass(frozen=True)
class Entry:
    """A baseline or a method at its chosen layer, with the measurements of its runs."""

    label: str
    group: Group
    measured: tuple[tuple[Run, Invariance], ...]
    is_control: bool = False

    def values(self, layer: str, read: Callable[[Layer], float | None]) -> dict[int, float]:
        """A figure of a layer for each seed that has it."""
        found = {}
        for run, invariance in self.measured:
            measures = invariance.layer(layer)
            value = None if measures is None else read(measures)
            if value is not None:
                found[run.seed] = value
        return found

    def spread(self, layer: str, read: Callable[[Layer], float | None]) -> tuple[float, ...] | None:
        """Mean and standard deviation over the repetitions."""
        values = list(self.values(layer, read).values())
        if not values:
            return None
        return (fmean(values), stdev(values)) if len(values) > 1 else (fmean(values),)


@dataclass(frozen=True)
class InvarianceFindings:
    """What was measured in one comparison.

    Attributes:
        entries: the baseline first, if it was measured.
        labels: what the probes read, orthogonal ones first.
        layers: in the order of the network.
        description: dataset, split and set.
    """

    entries: tuple[Entry, ...]
    labels: dict[str, Label]
    layers: tuple[str, ...]
    left_out: dict[str, str]
    description: str

    @property
    def baseline(self) -> Entry | None:
        first = self.entries[0]
        return first if first.group.kind == "baseline" else None

    @property
    def networks(self) -> list[str]:
        """Frozen networks that some network was compared with."""
        names = {
            name: None
            for entry in self.entries
            for _, invariance in entry.measured
            for layer in invariance.layers
            for name in layer.frozen
        }
        return list(names)


def probe_of(label: str, shuffled: bool = False) -> Callable[[Layer], float | None]:
    """Reads a probe's accuracy in percent."""

    def read(layer: Layer) -> float | None:
        probe = layer.probes.get(label)
        if probe is None:
            return None
        return 100 * (probe.shuffled if shuffled else probe.accuracy)

    return read


def find_invariance(findings: Findings, measured: Measured) -> InvarianceFindings | None:
    """The measurements of a comparison's baseline and methods; None if there are none."""
    candidates: list[tuple[str, Group, bool]] = []
    if findings.comparison.baseline is not None:
        candidates.append(("baseline", findings.comparison.baseline, False))
    for found in findings.methods:
        group = found.chosen.group
        layer = f", layer {group.layer}" if group.layer else ""
        label = f"{found.method.label}{layer}"
        candidates.append((label, group, found.method.is_random_control))
    entries = []
    for label, group, is_control in candidates:
        pairs = [(run, measured.of(run)) for run in group.runs]
        known = tuple((run, each) for run, each in pairs if each is not None)
        if known:
            entries.append(Entry(label, group, known, is_control))
    if not entries:
        return None
    everything = [invariance for entry in entries for _, invariance in entry.measured]
    labels = {name: label for each in everything for name, label in each.labels.items()}
    ordered = sorted(labels, key=lambda name: labels[name].role)
    layers = {layer.layer: None for each in everything for layer in each.layers}
    names = sorted(layers, key=lambda name: (not name.isdecimal(), layer_order(name)))
    left_out = {name: why for each in everything for name, why in each.left_out_labels.items()}
    return InvarianceFindings(
        tuple(entries),
        {name: labels[name] for name in ordered},
        tuple(names),
        left_out,
        f"{findings.comparison.dataset} ({findings.comparison.split}), test set",
    )


def probe_differences(found: InvarianceFindings, label: str) -> list[tuple[Entry, Finding]]:
    """Each method's probe on the last features minus the baseline's of the same seeds."""
    baseline = found.baseline
    if baseline is None:
        return []
    read = probe_of(label)
    theirs = baseline.values(PENULTIMATE, read)
    methods = [entry for entry in found.entries if entry is not baseline]
    differences = []
    for entry in methods:
        mine = entry.values(PENULTIMATE, read)
        differences.append(
            paired_difference([mine[seed] - theirs[seed] for seed in mine if seed in theirs])
        )
    groups = [entry.group for entry in methods]
    findings = corrected_findings(groups, differences, PROBES[found.labels[label].role])
    return list(zip(methods, findings, strict=True))


def invariance_sentences(found: InvarianceFindings) -> list[str]:
    """One sentence for each orthogonal label and method, also when nothing was found."""
    sentences = []
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
            for entry, finding in probe_differences(found, name)
        ]
    for name, why in found.left_out.items():
        sentences.append(f"{name}: no probe was possible: {why}.")
    return sentences


def _apart_sentences(name: str, found: InvarianceFindings) -> list[str]:
    """What was on one side of the probes' cross-validation only, if the files say it."""
    labels = [
        invariance.labels[name]
        for entry in found.entries
        for _, invariance in entry.measured
        if name in invariance.labels
    ]
    texts = dict.fromkeys(apart_text(each.grouped_by, each.not_apart) for each in labels)
    if len(texts) > 1:
        return [
            f"{name}: not all networks were probed alike; run training/invariance.py again for "
            "all of these experiments."
        ]
    return [f"{name}: {text}." for text in texts if text]


def _sentence(name: str, label: Label, baseline: Entry, entry: Entry, finding: Finding) -> str:
    head = f"{capital(entry.label)}: {name} is read from the last features"
    mine = entry.spread(PENULTIMATE, probe_of(name))
    theirs = baseline.spread(PENULTIMATE, probe_of(name))
    if mine is None or theirs is None:
        return f"{head}: not measured of both."
    text = (
        f"{head} with {fixed(mine[0])} %, of the baseline with {fixed(theirs[0])} % (chance "
        f"{fixed(100 * label.chance)} %)"
    )
    difference = finding.difference
    if difference is None or difference.mean is None:
        return f"{text}; no pair shares its seed, so nothing can be compared."
    text = f"{text}: {difference_text(finding)}"
    verdicts = {
        "better": "the network is more invariant to it, as far as a linear probe can tell.",
        "worse": "the network is less invariant to it.",
        "not shown": "these runs do not show that the network became more or less invariant"
        f"{could_show(finding, 'methods')}.",
        "one pair": "one pair cannot tell this from training noise.",
        "no pair": "nothing can be compared.",
    }
    return f"{text}: {verdicts[finding.verdict]}{_collapse(entry)}"


def _collapse(entry: Entry) -> str:
    """A warning: what a collapsed network lost is no success."""
    if not entry.group.num_collapsed:
        return ""
    return (
        f" But {entry.group.num_collapsed} of its {len(entry.group.runs)} runs collapsed: a "
        "network that cannot tell its own classes apart any more is invariant to everything."
    )


def invariance_tables(found: InvarianceFindings, prefix: str) -> list[Table]:
    """Probes on the last features, and all figures by layer."""
    tables = [_last_table(found, prefix), _layer_table(found, prefix)]
    return [table.without_empty_columns() for table in tables if table.rows]


def _last_table(found: InvarianceFindings, prefix: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, label in found.labels.items():
        findings = {id(entry): finding for entry, finding in probe_differences(found, name)}
        for entry in found.entries:
            finding = findings.get(id(entry))
            difference = finding.difference if finding else None
            rows.append(
                (
                    entry.label,
                    name,
                    label.role,
                    label.grouped_by or "",
                    len(entry.values(PENULTIMATE, probe_of(name))),
                    entry.spread(PENULTIMATE, probe_of(name)),
                    entry.spread(PENULTIMATE, probe_of(name, shuffled=True)),
                    100 * label.chance,
                    difference.mean if difference else None,
                    difference.interval if difference else None,
                    finding.p_corrected if finding else None,
                    finding.smallest_effect if finding else None,
                )
            )
    return Table(
        file_name(prefix, "invariance"),
        "Invariance: what a linear probe reads from the last features",
        (
            Column("method"),
            Column("label"),
            Column("role"),
            Column("kept apart"),
            Column("runs", "count"),
            Column("probe %", "spread"),
            Column("shuffled %", "spread"),
            Column("chance %", "number"),
            Column("difference", "difference"),
            Column("difference 95 %", "difference interval"),
            Column("p (Holm)", "p"),
            Column("could show", "number"),
        ),
        tuple(rows),
        NOTES,
        found.description,
    )


def similarity_of(network: str, key: str) -> Callable[[Layer], float | None]:
    """Reads linear_cka or gram_cosine to a frozen network."""

    def read(layer: Layer) -> float | None:
        similarity = layer.frozen.get(network)
        value: float | None = getattr(similarity, key, None)
        return value

    return read


def norm_of(layer: Layer) -> float | None:
    """Reads the mean activation norm."""
    return layer.activation_norm


def _layer_table(found: InvarianceFindings, prefix: str) -> Table:
    columns: list[Column] = [
        Column("method"),
        Column("layer"),
        Column("activation norm", "spread", 3),
    ]
    readers: list[Callable[[Layer], float | None]] = [norm_of]
    for name in found.labels:
        columns.append(Column(f"{name} probe %", "spread"))
        readers.append(probe_of(name))
    for network in found.networks:
        columns.append(Column(f"CKA to {network}", "spread", 3))
        columns.append(Column(f"Gram cosine to {network}", "spread", 3))
        readers += [similarity_of(network, "linear_cka"), similarity_of(network, "gram_cosine")]
    rows = [
        (entry.label, layer, *(entry.spread(layer, read) for read in readers))
        for entry in found.entries
        for layer in found.layers
    ]
    return Table(
        file_name(prefix, "invariance_layers"),
        "Invariance layer by layer",
        tuple(columns),
        tuple(_with_values(rows)),
        (NOTES[0],),
        found.description,
    )


def _with_values(rows: Sequence[tuple[Cell, ...]]) -> list[tuple[Cell, ...]]:
    return [row for row in rows if any(cell is not None for cell in row[2:])]
