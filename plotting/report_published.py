"""The paper's values for the dataset of a comparison, to stand beside a user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plotting.comparisons import Group, Method
from plotting.findings import Findings
from plotting.published import per_layer_improvement
from plotting.report_tables import describe
from plotting.runs import shorten
from plotting.tables import Column, Table, file_name

# Names in published_results.json: frozen networks, splits.
CURVE_EXTRACTORS = {"librispeech": "libri", "iemocap": "iemo"}
CURVE_SPLITS = {"iemocap_randsplit": "random", "iemocap_actorsplit": "actor"}
CURVE_SETS = ("train", "test")
NOTE = (
    "Published: arXiv 2006.06494v2. Its anti-transfer value is the best of its networks and layers "
    "on the test set, of one run each, so it belongs beside the oracle, not beside the layer "
    "chosen on validation. The release taps the input of a convolution, this project its output "
    "unless at_tap = input."
)


@dataclass(frozen=True)
class PublishedCase:
    """What the paper says of a dataset.

    Attributes:
        rows: what it is, our group, the published test accuracy in percent; each may be missing.
        oracle_gain: of our best layer on the test set, over our baseline, in points.
    """

    rows: tuple[tuple[str, Group | None, float | None], ...]
    oracle_gain: float | None


def published_case(published: Mapping[str, Any], findings: Findings) -> PublishedCase | None:
    """The paper's baseline and best anti-transfer beside ours; None: the paper has none."""
    comparison = findings.comparison
    cases = {case["dataset"]: case for case in published["accuracy_boost"]["cases"]}
    case = cases.get(comparison.dataset)
    if case is None or findings.metric.key != "acc":
        return None
    rows: list[tuple[str, Group | None, float | None]] = [
        ("baseline", comparison.baseline, float(case["baseline"]))
    ]
    transfers = [
        each
        for each in findings.methods
        if each.method.against and not (each.method.is_random_control or each.method.adds_reversal)
    ]
    best: Group | None = None
    for each in transfers:
        rows.append((f"{each.method.label}, layer chosen on validation", each.method.chosen, None))
        if best is None or each.method.oracle.mean() > best.mean():
            best = each.method.oracle
    rows.append(("anti-transfer, best case (oracle)", best, float(case["anti_transfer"])))
    gain = best.mean() - comparison.baseline.mean() if best and comparison.baseline else None
    return PublishedCase(tuple(rows), gain)


def published_table(
    published: Mapping[str, Any], findings: Findings, prefix: str = ""
) -> Table | None:
    """The same as a table."""
    case = published_case(published, findings)
    if case is None:
        return None
    return Table(
        file_name(prefix, "published"),
        "Published values beside ours, test accuracy in percent",
        (
            Column("what"),
            Column("ours test %", "spread"),
            Column("runs", "count"),
            Column("published test %", "number", 2),
        ),
        tuple(
            (
                label,
                _spread(ours) if ours else None,
                len(ours.runs) if ours else None,
                theirs,
            )
            for label, ours, theirs in case.rows
        ),
        (NOTE, _trained(findings)),
        describe(findings.comparison),
    )


def _trained(findings: Findings) -> str:
    """What must be equal to the paper's for the two to be comparable."""
    first = findings.comparison.first
    return (
        f"Ours: width {shorten(first.parameters.get('width'))}, {first.num_test} test examples. "
        "The two may only be compared if that is width 1 and the whole corpus, as published."
    )


def _spread(group: Group) -> tuple[float, ...]:
    deviation = group.deviation()
    return (group.mean(),) if deviation is None else (group.mean(), deviation)


def published_curve(
    published: Mapping[str, Any], dataset: str, method: Method, set_name: str
) -> list[float] | None:
    """The paper's improvement by layer, in points; None where it has none."""
    extractor, split = CURVE_EXTRACTORS.get(method.against), CURVE_SPLITS.get(dataset)
    if extractor is None or split is None or set_name not in CURVE_SETS:
        return None
    if method.kind != "anti_transfer" or method.adds_reversal:
        return None
    return per_layer_improvement(dict(published), f"{set_name}_{extractor}_{split}")
