"""The figure of the methods side by side: what each gains, and whom the shortcut still misleads."""

from statistics import fmean

from config.text import counted
from plotting.drawing import BLUE, GREY, ORANGE, new_figure
from plotting.reporting.findings import Findings
from plotting.reporting.sentences import capital, difference_text
from plotting.reporting.style import ReportFigure, legend_below, short
from plotting.reporting.table import file_name
from training.engine.subsets import ALIGNED, CONFLICTING
from training.results.metric import DEFAULTS

FEWEST_METHODS = 3
MARKERS = {ALIGNED: ("^", ORANGE), CONFLICTING: ("v", BLUE)}


def method_figure(findings: Findings, prefix: str) -> ReportFigure | None:
    """Draw differences to the baseline with intervals; None of fewer than FEWEST_METHODS.

    Beside them, where a confounder is declared, accuracies of aligned and conflicting examples.
    """
    found = [each for each in findings.methods if each.chosen.difference is not None]
    if len(found) < FEWEST_METHODS:
        return None
    groups = [each.chosen.group for each in found]
    has_parts = all(group.values_of_part(part) for group in groups for part in MARKERS)
    metric = findings.metric
    figure, panels = new_figure(10.2, 1.4 + 0.28 * len(found), 1 + has_parts, share_y=True)
    panels[0].axvline(0, color=GREY, linewidth=1)
    panels[0].set_yticks(range(len(found)), [short(each.name) for each in found], fontsize=7.5)
    panels[0].invert_yaxis()
    panels[0].set_xlabel(f"{capital(metric.name)} minus the baseline's ({metric.difference_unit})")
    for row, each in enumerate(found):
        difference = each.chosen.difference
        assert difference is not None
        low, high = difference.interval or (difference.mean, difference.mean)
        is_mark = each.method.is_control or each.method.is_told
        panels[0].plot((low, high), (row, row), color=BLUE, linewidth=1)
        panels[0].plot(difference.mean, row, "o", color=BLUE, mfc="white" if is_mark else BLUE)
    if has_parts:
        own = DEFAULTS[findings.comparison.first.parameters.task]
        panels[1].set_xlabel(f"{capital(own.name)} of a part of the test set ({own.unit})")
        for part, (marker, colour) in MARKERS.items():
            means = [fmean(group.values_of_part(part)) for group in groups]
            panels[1].plot(means, range(len(found)), marker, color=colour, label=part)
        legend_below(figure, panels)
    gains = "; ".join(f"{each.name} {difference_text(each.chosen)}" for each in found)
    return ReportFigure(
        file_name(prefix, "methods"),
        "Difference to the baseline by method; hollow: controls, and methods that need true labels",
        f"{counted(len(found), 'method')}: {gains}.",
        figure,
    )
