"""The report's main table and sentences as text, with which a sweep ends."""

from collections.abc import Iterable

from plotting.reporting.compare import compare
from plotting.reporting.findings import Findings, find
from plotting.reporting.sentences import LEGEND, conclusions
from plotting.reporting.tables import describe, main_table
from training.results.loading import Result


def summary_text(results: Iterable[Result]) -> str:
    """Return, for each dataset and split, the methods side by side and what may be concluded."""
    return text_of(find(comparison) for comparison in compare(results))


def text_of(all_findings: Iterable[Findings]) -> str:
    """Return the same of what was found already."""
    parts = []
    for findings in all_findings:
        lines = [describe(findings.comparison), "", main_table(findings).terminal(), ""]
        lines += [f"- {each}" for group in conclusions(findings).values() for each in group]
        parts.append("\n".join(lines).rstrip())
    return "\n\n".join([*parts, LEGEND]) if parts else ""
