"""The paper's values for the dataset of a comparison, to stand beside a user's own."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from plotting.published import per_layer_improvement
from plotting.reporting.compare import Group, Method
from plotting.reporting.findings import Findings
from plotting.reporting.table import Column, Table, file_name, make_table
from plotting.reporting.tables import describe
from training.results.loading import shorten

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


class PublishedRow(NamedTuple):
    """What it is, our group, and the published test accuracy in percent; each may be missing."""

    label: str
    ours: Group | None
    published: float | None


def published_rows(published: Mapping[str, Any], findings: Findings) -> list[PublishedRow]:
    """Return the paper's baseline and best anti-transfer beside ours; empty: it has none."""
    comparison = findings.comparison
    cases = {case["dataset"]: case for case in published["accuracy_boost"]["cases"]}
    case = cases.get(comparison.dataset)
    if case is None or findings.metric.key != "acc":
        return []
    rows = [PublishedRow("baseline", comparison.baseline, float(case["baseline"]))]
    best: Group | None = None
    for method in (each.method for each in findings.methods):
        if not method.needs_control or adds_reversal(method):
            continue
        rows.append(
            PublishedRow(f"{method.label}, layer chosen on validation", method.chosen, None)
        )
        if best is None or method.oracle.mean() > best.mean():
            best = method.oracle
    best_case = float(case["anti_transfer"])
    return [*rows, PublishedRow("anti-transfer, best case (oracle)", best, best_case)]


def adds_reversal(method: Method) -> bool:
    """Whether gradient reversal is combined with anti-transfer, as nothing published is."""
    return bool(method.against and method.groups[0].parameters.get("gradient_reversal_label"))


def published_table(
    published: Mapping[str, Any], findings: Findings, prefix: str = ""
) -> Table | None:
    """Return the same as a table; None: the paper has no values for the dataset."""
    rows = published_rows(published, findings)
    if not rows:
        return None
    first = findings.comparison.first
    # What must be equal to the paper's for the two to be comparable.
    width = findings.comparison.groups[0].parameters.get("width")
    trained = (
        f"Ours: width {shorten(width)}, {first.num_test} test examples. The two may only be "
        "compared if that is width 1 and the whole corpus, as published."
    )
    columns = [
        Column("what", lambda row: row.label),
        Column("ours test %", lambda row: row.ours.spread() if row.ours else None, "spread"),
        Column("runs", lambda row: len(row.ours.results) if row.ours else None, "count"),
        Column("published test %", lambda row: row.published, "number", 2),
    ]
    return make_table(
        file_name(prefix, "published"),
        "Published values beside ours, test accuracy in percent",
        columns,
        rows,
        (NOTE, trained),
        describe(findings.comparison),
    )


def published_curve(
    published: Mapping[str, Any], dataset: str, method: Method, set_name: str
) -> list[float] | None:
    """Return the paper's improvement by layer, in points; None where it has none."""
    extractor, split = CURVE_EXTRACTORS.get(method.against), CURVE_SPLITS.get(dataset)
    if extractor is None or split is None or set_name not in CURVE_SETS:
        return None
    if method.groups[0].kind != "anti_transfer" or adds_reversal(method):
        return None
    return per_layer_improvement(dict(published), f"{set_name}_{extractor}_{split}")
