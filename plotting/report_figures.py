"""All figures of one comparison; epochs, confusion matrices and published values are drawn here."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from plotting.comparisons import Group
from plotting.curves import confusion_of, mean_curve
from plotting.figures import (
    BLACK,
    BLUE,
    GREY,
    SET_COLOURS,
    VERMILLION,
    add_notes,
    new_figure,
)
from plotting.findings import Findings, MethodFinding
from plotting.paired_statistics import mean_interval
from plotting.report_layers import beta_figures, layer_figures
from plotting.report_published import published_case
from plotting.report_style import ReportFigure, legend_below, short
from plotting.tables import file_name, fixed, signed

MOST_CLASSES = 40
MOST_WRITTEN_CLASSES = 12
LINE_STYLES: Mapping[str, Any] = {"train": "-", "validation": (0, (4, 2))}


def all_figures(
    findings: Findings, prefix: str, published: Mapping[str, Any]
) -> list[ReportFigure]:
    """Every figure that the results of a comparison have something for."""
    figures = [
        *layer_figures(findings, prefix, published),
        *beta_figures(findings, prefix),
        _published_figure(findings, prefix, published),
        *_confusion_figures(findings, prefix),
        *_epoch_figures(findings, prefix),
    ]
    return [figure for figure in figures if figure is not None]


def _epoch_figures(findings: Findings, prefix: str) -> list[ReportFigure | None]:
    return [
        _epoch_figure(findings, found, file_name(prefix, "epochs", number))
        for number, found in enumerate(findings.methods, start=1)
    ]


def _epoch_figure(findings: Findings, found: MethodFinding, name: str) -> ReportFigure | None:
    """Loss, similarity and accuracy of a method's chosen layer, the baseline in grey behind."""
    group, baseline = found.chosen.group, findings.comparison.baseline
    kinds = [
        kind
        for kind in ("task_loss", "feature_loss", "acc")
        if mean_curve(group, "train", kind) is not None
    ]
    if not kinds:
        return None
    figure, panels = new_figure(max(3.3 * len(kinds), 4.5), 3.6, len(kinds))
    for panel, kind in zip(panels, kinds, strict=True):
        if baseline is not None and kind != "feature_loss":
            _draw_epochs(panel, baseline, kind, dict.fromkeys(LINE_STYLES, GREY), "baseline")
        _draw_epochs(panel, group, kind, SET_COLOURS, "")
        panel.set_xlabel("Epoch")
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        titles = {"task_loss": "Task loss", "feature_loss": "Similarity term", "acc": "Accuracy"}
        panel.set_title(titles[kind])
        panel.set_ylabel({"acc": "Accuracy (%)"}.get(kind, titles[kind]))
    legend_below(figure, panels)
    layer = f", layer {group.layer}" if group.layer else ""
    figure.suptitle(short(f"{found.method.label}{layer}"))
    return ReportFigure(
        name,
        f"Epoch by epoch: {found.method.label}{layer}",
        f"Mean curves over {len(group.runs)} repetitions, for train and validation set, of "
        f"{', '.join(kinds).replace('_', ' ')}; bands are one standard deviation to either side. "
        "Where repetitions stopped early, later epochs are means of those that went on.",
        figure,
    )


def _draw_epochs(
    panel: Axes, group: Group, kind: str, colours: Mapping[str, str], name: str
) -> None:
    for set_name, line in LINE_STYLES.items():
        curve = mean_curve(group, set_name, kind)
        if curve is None:
            continue
        epochs = range(1, len(curve.mean) + 1)
        colour = colours[set_name]
        label = f"{name}, {set_name}" if name else f"{set_name} set"
        panel.plot(epochs, curve.mean, color=colour, linestyle=line, label=label)
        low = [mean - spread for mean, spread in zip(curve.mean, curve.deviation, strict=True)]
        high = [mean + spread for mean, spread in zip(curve.mean, curve.deviation, strict=True)]
        panel.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)


def _confusion_figures(findings: Findings, prefix: str) -> list[ReportFigure | None]:
    baseline = findings.comparison.baseline
    if baseline is None:
        return []
    return [
        _confusion_figure(baseline, found.chosen.group, found.method.label, prefix, number)
        for number, found in enumerate(findings.methods, start=1)
    ]


def _confusion_figure(
    baseline: Group, group: Group, label: str, prefix: str, number: int
) -> ReportFigure | None:
    matrices = confusion_of(baseline), confusion_of(group)
    first, second = matrices
    if first is None or second is None or len(first) != len(second) or len(first) > MOST_CLASSES:
        return None
    classes = group.runs[0].classes
    if len(classes) != len(first):
        classes = [str(index) for index in range(len(first))]
    figure, panels = new_figure(9.4, 4.8, columns=2)
    layer = f", layer {group.layer}" if group.layer else ""
    titles = "baseline", short(f"{label}{layer}")
    for panel, matrix, title in zip(panels, (first, second), titles, strict=True):
        image = panel.imshow(matrix, vmin=0, vmax=100, cmap="Blues")
        panel.set_title(title)
        panel.set_xticks(range(len(classes)), [short(each)[:16] for each in classes], rotation=90)
        panel.set_yticks(range(len(classes)), [short(each)[:16] for each in classes])
        panel.set_xlabel("predicted class")
        panel.set_ylabel("true class")
        panel.grid(visible=False)
        if len(classes) <= MOST_WRITTEN_CLASSES:
            _write_cells(panel, matrix)
    figure.colorbar(image, ax=panels, label="% of the true class", shrink=0.8)
    return ReportFigure(
        file_name(prefix, "confusion", number),
        f"Confusion matrices on the test set: baseline and {label}{layer}",
        f"Two matrices of {len(first)} classes, all repetitions together, rows are true classes. "
        f"Mean of the diagonal: {fixed(_diagonal(first))} % for the baseline, "
        f"{fixed(_diagonal(second))} % for the method.",
        figure,
    )


def _write_cells(panel: Axes, matrix: Sequence[Sequence[float]]) -> None:
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            if math.isfinite(value) and round(value) > 0:
                panel.text(
                    column,
                    row,
                    f"{value:.0f}",
                    horizontalalignment="center",
                    verticalalignment="center",
                    fontsize=7,
                    color="white" if value > 55 else BLACK,
                )


def _diagonal(matrix: Sequence[Sequence[float]]) -> float:
    values = [row[index] for index, row in enumerate(matrix) if math.isfinite(row[index])]
    return sum(values) / len(values) if values else math.nan


def _published_figure(
    findings: Findings, prefix: str, published: Mapping[str, Any]
) -> ReportFigure | None:
    """Ours as filled dots with intervals, published values as open stars."""
    case = published_case(published, findings)
    if case is None:
        return None
    figure, (panel,) = new_figure(6.8, 0.9 + 0.55 * len(case.rows))
    for row, (_label, ours, theirs) in enumerate(case.rows):
        if ours is not None:
            interval = mean_interval(ours.values())
            half = (interval.high - interval.low) / 2 if interval else None
            panel.errorbar(
                [ours.mean()],
                [row],
                xerr=None if half is None else [half],
                color=BLUE,
                marker="o",
                linestyle="none",
                capsize=3,
                label="ours: mean and 95 % interval",
            )
        if theirs is not None:
            panel.plot(
                [theirs],
                [row],
                color=VERMILLION,
                marker="*",
                markersize=10,
                markerfacecolor="none",
                linestyle="none",
                label="published (one figure, no interval)",
            )
    panel.set_yticks(range(len(case.rows)), [short(label) for label, _, _ in case.rows])
    panel.set_ylim(len(case.rows) - 0.5, -0.5)
    panel.set_xlabel("Test accuracy (%)")
    panel.grid(visible=False, axis="y")
    legend_below(figure, [panel])
    add_notes(figure, [])
    figure.suptitle(f"{findings.comparison.dataset}: published values beside ours")
    texts = [
        f"{label}: ours {fixed(ours.mean()) if ours else 'none'}, "
        f"published {'none' if theirs is None else fixed(theirs, 2)}"
        for label, ours, theirs in case.rows
    ]
    return ReportFigure(
        file_name(prefix, "published"),
        "Published values beside ours",
        f"Test accuracy in percent. {'; '.join(texts)}. Best layer of ours on the test set minus "
        f"the baseline: {signed(case.oracle_gain) if case.oracle_gain is not None else 'none'}.",
        figure,
    )
