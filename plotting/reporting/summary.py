"""The report's main table and sentences as text, with which a sweep ends."""

from collections.abc import Iterable

from plotting.reporting.compare import compare
from plotting.reporting.findings import Findings, find
from plotting.reporting.sentences import LEGEND, conclusions
from plotting.reporting.table import signed
from plotting.reporting.tables import describe, main_table
from training.results.loading import Result


def summary_text(results: Iterable[Result]) -> str:
    """Return, for each dataset and split, the methods side by side and what may be concluded."""
    parts = []
    for findings in map(find, compare(results)):
        lines = [describe(findings.comparison), "", main_table(findings).terminal(), ""]
        lines += [f"- {each}" for group in conclusions(findings).values() for each in group]
        parts.append("\n".join(lines).rstrip())
    return "\n\n".join([*parts, LEGEND]) if parts else ""


def answer(findings: Findings) -> str:
    """Return in one line what each method changes in the test, and whether its runs show that."""
    parts = []
    for found in findings.methods:
        difference = found.chosen.difference
        if difference is not None:
            gain = f"{signed(difference.mean, findings.metric.digits)} "
            shown = "" if found.chosen.verdict in ("better", "worse") else " (not shown)"
            parts.append(f"{found.method.label} {gain}{findings.metric.difference_unit}{shown}")
    changes = "; ".join(parts) or "nothing can be compared with a baseline"
    name = ", ".join([findings.comparison.dataset, *findings.comparison.apart_texts])
    return f"{name}, test minus the baseline's: {changes}."
