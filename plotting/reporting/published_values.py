"""The paper's values for the dataset of a comparison, to stand beside a user's own."""

from collections.abc import Mapping
from typing import Any

from config.text import shorten
from plotting.published import per_layer_improvement
from plotting.reporting.compare import Method
from plotting.reporting.findings import Findings
from plotting.reporting.groups import Group
from plotting.reporting.table import Column, Table, file_name, make_table
from plotting.reporting.tables import describe

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


def adds_reversal(method: Method) -> bool:
    """Whether gradient reversal is combined with anti-transfer, as nothing published is."""
    return bool(method.against and method.groups[0].parameters.get("gradient_reversal_label"))


def published_table(
    published: Mapping[str, Any], findings: Findings, prefix: str = ""
) -> Table | None:
    """Return the paper's baseline and best anti-transfer beside ours; None: it has none."""
    comparison = findings.comparison
    cases = {case["dataset"]: case for case in published["accuracy_boost"]["cases"]}
    case = cases.get(comparison.dataset)
    if case is None or findings.metric.key != "acc":
        return None
    methods = [
        each.method
        for each in findings.methods
        if each.method.needs_control and not adds_reversal(each.method)
    ]
    best = max((each.oracle for each in methods), key=Group.mean, default=None)
    # What it is, our group, and the published test accuracy in percent.
    rows: list[tuple[str, Group | None, float | None]] = [
        ("baseline", comparison.baseline, float(case["baseline"])),
        *((f"{each.label}, layer chosen on validation", each.chosen, None) for each in methods),
        ("anti-transfer, best case (oracle)", best, float(case["anti_transfer"])),
    ]
    # What must be equal to the paper's for the two to be comparable.
    width = comparison.groups[0].parameters.get("width")
    trained = (
        f"Ours: width {shorten(width)}, {comparison.first.num_test} test examples. The two may "
        "only be compared if that is width 1 and the whole corpus, as published."
    )
    columns = [
        Column("what", lambda row: row[0]),
        Column("ours test %", lambda row: row[1].spread() if row[1] else None, "spread"),
        Column("runs", lambda row: len(row[1].results) if row[1] else None, "count"),
        Column("published test %", lambda row: row[2], "number", 2),
    ]
    return make_table(
        file_name(prefix, "published"),
        "Published values beside ours, test accuracy in percent",
        columns,
        rows,
        (NOTE, trained),
        describe(comparison),
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
