"""The report's main table and sentences as text, which a run ends with."""

from collections.abc import Iterable

from plotting.comparisons import compare
from plotting.findings import Findings, find
from plotting.report_tables import describe, main_table
from plotting.runs import Run
from plotting.sentences import LEGEND, conclusions
from plotting.tables import text_table


def summary_text(runs: Iterable[Run]) -> str:
    """For each dataset and split: what it is, the methods side by side, what may be concluded."""
    return text_of(find(comparison) for comparison in compare(runs))


def text_of(all_findings: Iterable[Findings]) -> str:
    """The same of what was found already."""
    parts = []
    for findings in all_findings:
        table = main_table(findings, with_intervals=False).without_empty_columns()
        lines = [describe(findings.comparison), "", text_table(table), ""]
        lines += [f"- {sentence}" for sentence in conclusions(findings)]
        parts.append("\n".join(lines).rstrip())
    return "\n\n".join([*parts, LEGEND]) if parts else ""
