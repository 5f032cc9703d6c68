"""All figures of one comparison; epochs and confusion matrices are drawn here."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from math import isfinite, nan
from statistics import fmean, stdev
from textwrap import fill
from typing import TYPE_CHECKING, Any

from config.text import counted, shorten
from plotting.drawing import BLACK, GREY, SET_COLOURS, label_epochs, new_figure
from plotting.reporting.findings import Findings, MethodFinding
from plotting.reporting.groups import Group
from plotting.reporting.layer_figures import layer_figures
from plotting.reporting.method_figure import method_figure
from plotting.reporting.style import ReportFigure, draw_band, legend_below, short
from plotting.reporting.table import file_name, fixed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes

MOST_CLASSES = 40
TITLE_CHARACTERS = 44  # in a line above a confusion matrix
MOST_WRITTEN_CLASSES = 12
# Percent of the true class from which a cell is so dark that its text is white.
DARK_CELL = 55
LINE_STYLES: Mapping[str, Any] = {"train": "-", "validation": (0, (4, 2))}
EPOCH_PANELS = {
    "task_loss": ("Task loss", "Task loss"),
    "feature_loss": ("Similarity term", "Similarity term"),
    "acc": ("Accuracy", "Accuracy (%)"),
}


def all_figures(findings: Findings, prefix: str) -> list[ReportFigure]:
    """Draw every figure that the results of a comparison have something for."""
    numbered = list(enumerate(findings.methods, start=1))
    baseline = findings.comparison.baseline
    alone = {"baseline": baseline} if baseline else {}
    figures = [
        method_figure(findings, prefix),
        *layer_figures(findings, prefix),
        *(
            _confusion_figure(
                alone | {found.name: found.method.chosen}, file_name(prefix, "confusion", number)
            )
            for number, found in numbered
        ),
        *(_epoch_figure(findings, found, prefix, number) for number, found in numbered),
    ]
    if not numbered:
        figures.append(_confusion_figure(alone, file_name(prefix, "confusion")))
    return [figure for figure in figures if figure is not None]


@dataclass(frozen=True)
class MeanCurve:
    """Mean and standard deviation (0 of a single run) of a curve, by epoch."""

    mean: list[float]
    deviation: list[float]


def mean_curve(group: Group, set_name: str, kind: str) -> MeanCurve | None:
    """Average a curve (task_loss, feature_loss, acc) over the repetitions and their folds.

    Runs that stopped early are missing from later epochs; epochs that fewer than half of the runs
    reached are left out. Without a task loss the loss is taken. None: some run has no such curve.
    """
    folds = [fold for result in group.results for fold in result.folds]
    # Without a similarity term the loss is the task's.
    kinds = [
        "loss" if kind == "task_loss" and not fold.has("task_loss") else kind for fold in folds
    ]
    if not all(fold.has(own) for fold, own in zip(folds, kinds, strict=True)):
        return None
    curves = [fold.curve(set_name, own) for fold, own in zip(folds, kinds, strict=True)]
    epochs = []
    for values in zip_longest(*curves):
        reached = [value for value in values if value is not None]
        if 2 * len(reached) < len(curves):
            break
        epochs.append([value for value in reached if isfinite(value)])
    return MeanCurve(
        [fmean(values) if values else nan for values in epochs],
        [stdev(values) if len(values) > 1 else 0.0 for values in epochs],
    )


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
        label_epochs(panel)
        title, label = EPOCH_PANELS[kind]
        panel.set_title(title)
        panel.set_ylabel(label)
    legend_below(figure, panels)
    figure.suptitle(short(found.name))
    beside = " beside the baseline" if baseline is not None else ""
    return ReportFigure(
        file_name(prefix, "epochs", number),
        f"Epoch by epoch: {found.name}{beside}",
        f"Mean curves over {counted(len(group.results), 'repetition')}, for train and validation "
        f"set, of {', '.join(kinds).replace('_', ' ')}; "
        "bands are one standard deviation to either side. Where repetitions stopped early, "
        "later epochs are means of those that went on.",
        figure,
    )


def _draw_epochs(
    panel: "Axes", group: Group, kind: str, colours: Mapping[str, str], label: str
) -> None:
    for set_name, line in LINE_STYLES.items():
        curve = mean_curve(group, set_name, kind)
        if curve is None:
            continue
        epochs = range(1, len(curve.mean) + 1)
        colour = colours[set_name]
        panel.plot(epochs, curve.mean, color=colour, linestyle=line, label=label.format(set_name))
        draw_band(panel, epochs, curve.mean, curve.deviation, colour)


def confusion_of(group: Group) -> "npt.NDArray[np.float64] | None":
    """Add up the confusion on the test set over all runs and folds.

    Returns:
        percent of the true class, (true classes, predicted classes); a class without examples is
        a row of NaN. None: some run has no confusion matrix, or they differ in size.
    """
    import numpy as np

    matrices = [fold.test_confusion for result in group.results for fold in result.folds]
    sizes = {len(matrix) if matrix else 0 for matrix in matrices}
    if len(sizes) > 1 or 0 in sizes:
        return None
    total = np.sum(np.array(matrices, dtype=float), axis=0)
    with np.errstate(invalid="ignore"):
        percent: npt.NDArray[np.float64] = 100 * total / total.sum(axis=1, keepdims=True)
    return percent


def _confusion_figure(groups: Mapping[str, Group], name: str) -> ReportFigure | None:
    """Draw the confusion matrices of groups side by side, those that have one of the same size."""
    import numpy as np

    found = {title: confusion_of(group) for title, group in groups.items()}
    matrices = {title: matrix for title, matrix in found.items() if matrix is not None}
    sizes = {len(matrix) for matrix in matrices.values()}
    if len(sizes) != 1 or max(sizes) > MOST_CLASSES:
        return None
    (size,) = sizes
    classes = groups[next(iter(matrices))].results[0].network.classes or []
    if len(classes) != size:
        classes = [str(index) for index in range(size)]
    names = [shorten(name)[:16] for name in classes]
    figure, panels = new_figure(0.2 + 4.6 * len(matrices), 4.8, columns=len(matrices))
    for panel, (title, matrix) in zip(panels, matrices.items(), strict=True):
        image = panel.imshow(matrix, vmin=0, vmax=100, cmap="Blues")
        panel.set_title(fill(short(title), TITLE_CHARACTERS))
        panel.set_xticks(range(size), names, rotation=90)
        panel.set_yticks(range(size), names)
        panel.set_xlabel("predicted class")
        panel.set_ylabel("true class")
        panel.grid(visible=False)
        if size <= MOST_WRITTEN_CLASSES:
            _write_cells(panel, matrix)
    figure.colorbar(image, ax=panels, label="% of the true class", shrink=0.8)
    diagonals = [
        f"{fixed(float(np.nanmean(np.diag(matrix))))} % for {title}"
        for title, matrix in matrices.items()
    ]
    return ReportFigure(
        name,
        f"Confusion matrices on the test set: {' and '.join(matrices)}",
        f"Matrices of {counted(size, 'class')}, all repetitions together, rows are true classes. "
        f"Mean of the diagonal: {', '.join(diagonals)}.",
        figure,
    )


def _write_cells(panel: "Axes", matrix: "npt.NDArray[np.float64]") -> None:
    """Write the percentages that do not round to zero into their cells."""
    for row, values in enumerate(matrix.tolist()):
        for column, value in enumerate(values):
            if round(value if isfinite(value) else 0) > 0:
                panel.text(
                    column,
                    row,
                    f"{value:.0f}",
                    horizontalalignment="center",
                    verticalalignment="center",
                    fontsize=7,
                    color="white" if value > DARK_CELL else BLACK,
                )
