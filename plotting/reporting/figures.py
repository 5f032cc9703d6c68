"""All figures of one comparison; epochs, confusion matrices and published values are drawn here."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from plotting.drawing import BLACK, BLUE, GREY, SET_COLOURS, VERMILLION, new_figure
from plotting.reporting.compare import Group
from plotting.reporting.curves import confusion_of, mean_curve
from plotting.reporting.findings import Findings, MethodFinding
from plotting.reporting.layer_figures import beta_figures, layer_figures
from plotting.reporting.published_values import published_rows
from plotting.reporting.statistics import mean_interval
from plotting.reporting.style import ReportFigure, draw_band, draw_cells, legend_below, short
from plotting.reporting.table import file_name, fixed, signed
from training.results.loading import shorten

MOST_CLASSES = 40
MOST_WRITTEN_CLASSES = 12
LINE_STYLES: Mapping[str, Any] = {"train": "-", "validation": (0, (4, 2))}
EPOCH_PANELS = {
    "task_loss": ("Task loss", "Task loss"),
    "feature_loss": ("Similarity term", "Similarity term"),
    "acc": ("Accuracy", "Accuracy (%)"),
}


def all_figures(
    findings: Findings, prefix: str, published: Mapping[str, Any]
) -> list[ReportFigure]:
    """Draw every figure that the results of a comparison have something for."""
    numbered = list(enumerate(findings.methods, start=1))
    figures = [
        *layer_figures(findings, prefix, published),
        *beta_figures(findings, prefix),
        _published_figure(findings, prefix, published),
        *(_confusion_figure(findings, found, prefix, number) for number, found in numbered),
        *(_epoch_figure(findings, found, prefix, number) for number, found in numbered),
    ]
    return [figure for figure in figures if figure is not None]


def _name_of(found: MethodFinding) -> str:
    layer = found.method.chosen.layer
    return f"{found.method.label}, layer {layer}" if layer else found.method.label


def _epoch_figure(
    findings: Findings, found: MethodFinding, prefix: str, number: int
) -> ReportFigure | None:
    """Draw loss, similarity and accuracy of a method's chosen layer, the baseline in grey."""
    group, baseline = found.method.chosen, findings.comparison.baseline
    kinds = [kind for kind in EPOCH_PANELS if mean_curve(group, "train", kind) is not None]
    if not kinds:
        return None
    figure, panels = new_figure(max(3.3 * len(kinds), 4.5), 3.6, len(kinds))
    for panel, kind in zip(panels, kinds, strict=True):
        if baseline is not None and kind != "feature_loss":
            _draw_epochs(panel, baseline, kind, dict.fromkeys(LINE_STYLES, GREY), "baseline, {}")
        _draw_epochs(panel, group, kind, SET_COLOURS, "{} set")
        panel.set_xlabel("Epoch")
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        title, label = EPOCH_PANELS[kind]
        panel.set_title(title)
        panel.set_ylabel(label)
    legend_below(figure, panels)
    figure.suptitle(short(_name_of(found)))
    return ReportFigure(
        file_name(prefix, "epochs", number),
        f"Epoch by epoch: {_name_of(found)}",
        f"Mean curves over {len(group.results)} repetitions, for train and validation set, of "
        f"{', '.join(kinds).replace('_', ' ')}; bands are one standard deviation to either side. "
        "Where repetitions stopped early, later epochs are means of those that went on.",
        figure,
    )


def _draw_epochs(
    panel: Axes, group: Group, kind: str, colours: Mapping[str, str], label: str
) -> None:
    for set_name, line in LINE_STYLES.items():
        curve = mean_curve(group, set_name, kind)
        if curve is None:
            continue
        epochs = range(1, len(curve.mean) + 1)
        colour = colours[set_name]
        panel.plot(epochs, curve.mean, color=colour, linestyle=line, label=label.format(set_name))
        draw_band(panel, epochs, curve.mean, curve.deviation, colour)


def _confusion_figure(
    findings: Findings, found: MethodFinding, prefix: str, number: int
) -> ReportFigure | None:
    """Draw the confusion matrices of the baseline and of a method side by side."""
    import numpy as np

    baseline, group = findings.comparison.baseline, found.method.chosen
    first = confusion_of(baseline) if baseline else None
    second = confusion_of(group)
    if first is None or second is None or first.shape != second.shape:
        return None
    if len(first) > MOST_CLASSES:
        return None
    classes = group.results[0].network.classes or []
    if len(classes) != len(first):
        classes = [str(index) for index in range(len(first))]
    names = [shorten(name)[:16] for name in classes]
    figure, panels = new_figure(9.4, 4.8, columns=2)
    titles = "baseline", short(_name_of(found))
    for panel, matrix, title in zip(panels, (first, second), titles, strict=True):
        image = panel.imshow(matrix, vmin=0, vmax=100, cmap="Blues")
        panel.set_title(title)
        panel.set_xticks(range(len(names)), names, rotation=90)
        panel.set_yticks(range(len(names)), names)
        panel.set_xlabel("predicted class")
        panel.set_ylabel("true class")
        panel.grid(visible=False)
        if len(names) <= MOST_WRITTEN_CLASSES:
            written = np.where(np.round(matrix) > 0, matrix, np.nan)
            draw_cells(panel, written.tolist(), 7, ("white", BLACK, 55))
    figure.colorbar(image, ax=panels, label="% of the true class", shrink=0.8)
    diagonals = [fixed(float(np.nanmean(np.diag(matrix)))) for matrix in (first, second)]
    return ReportFigure(
        file_name(prefix, "confusion", number),
        f"Confusion matrices on the test set: baseline and {_name_of(found)}",
        f"Two matrices of {len(first)} classes, all repetitions together, rows are true classes. "
        f"Mean of the diagonal: {diagonals[0]} % for the baseline, {diagonals[1]} % for the "
        "method.",
        figure,
    )


def _published_figure(
    findings: Findings, prefix: str, published: Mapping[str, Any]
) -> ReportFigure | None:
    """Draw ours as filled dots with intervals, published values as open stars."""
    rows = published_rows(published, findings)
    if not rows:
        return None
    figure, (panel,) = new_figure(6.8, 0.9 + 0.55 * len(rows))
    for number, row in enumerate(rows):
        if row.ours is not None:
            interval = mean_interval(row.ours.values())
            panel.errorbar(
                [row.ours.mean()],
                [number],
                xerr=[(interval.high - interval.low) / 2] if interval else None,
                color=BLUE,
                marker="o",
                linestyle="none",
                capsize=3,
                label="ours: mean and 95 % interval",
            )
        if row.published is not None:
            panel.plot(
                [row.published],
                [number],
                color=VERMILLION,
                marker="*",
                markersize=10,
                markerfacecolor="none",
                linestyle="none",
                label="published (one figure, no interval)",
            )
    panel.set_yticks(range(len(rows)), [short(row.label) for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel("Test accuracy (%)")
    panel.grid(visible=False, axis="y")
    legend_below(figure, [panel])
    figure.suptitle(f"{findings.comparison.dataset}: published values beside ours")
    texts = [
        f"{row.label}: ours {fixed(row.ours.mean()) if row.ours else 'none'}, "
        f"published {'none' if row.published is None else fixed(row.published, 2)}"
        for row in rows
    ]
    baseline, best = rows[0].ours, rows[-1].ours
    gain = signed(best.mean() - baseline.mean()) if best and baseline else "none"
    return ReportFigure(
        file_name(prefix, "published"),
        "Published values beside ours",
        f"Test accuracy in percent. {'; '.join(texts)}. Best layer of ours on the test set minus "
        f"the baseline: {gain}.",
        figure,
    )
