"""Draws how a training went, epoch by epoch: loss, similarity term and accuracy.

Without a file it draws the paper's run; given the JSON of a result, the user's own.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config.command_line import log_to, run_command, settings_from
from config.errors import UserError
from config.log import logger
from config.text import display_path
from plotting.drawing import (
    BLACK,
    GREY,
    SET_COLOURS,
    SET_MARKERS,
    add_legend,
    figure_parser,
    figure_style,
    finish,
    label_epochs,
    new_figure,
)
from plotting.published import load_published
from training.results.loading import load_result
from training.results.result import CURVE_SETS, FoldResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_NAME = "loss_epochs"
# The wider line is drawn first, so that both are seen where they coincide.
LINE_WIDTHS = {"train": 2.4, "validation": 1.2}
PANEL_WIDTH = 3.0
PANEL_HEIGHT = 3.1
NUM_MARKED_EPOCHS = 25
TOTAL_LOSS_DASHES = (0, (4, 2))
LEAST_LOG_RANGE = 2
PUBLISHED_TITLE = "IEMOCAP, random split: anti-transfer at layer 5 (as published)"


def draw_history(history: FoldResult, title: str) -> "Figure":
    """Draw panels for loss, similarity term and accuracy, as far as a fold's history has them."""
    kinds = [kind for kind in ("loss", "feature_loss", "acc") if history.has(kind)]
    figure, panels = new_figure(max(PANEL_WIDTH * len(kinds), 4.5), PANEL_HEIGHT, len(kinds))
    for kind, panel in zip(kinds, panels, strict=True):
        if kind == "loss" and _has_both_losses(history):
            _draw_curves(panel, history, "loss", dashed=True)
            _draw_curves(panel, history, "task_loss")
        else:
            _draw_curves(panel, history, kind)
        _mark_best_epoch(panel, history)
        _label(panel, history, kind)
    add_legend(figure, panels[0])
    figure.suptitle(title, fontsize=10)
    return figure


def _has_both_losses(history: FoldResult) -> bool:
    return history.has("task_loss") and history.has("feature_loss")


def _draw_curves(panel: "Axes", history: FoldResult, kind: str, dashed: bool = False) -> None:
    epochs = range(1, history.num_epochs + 1)
    has_markers = not dashed and history.num_epochs <= NUM_MARKED_EPOCHS
    for set_name in CURVE_SETS:
        panel.plot(
            epochs,
            history.curve(set_name, kind),
            color=SET_COLOURS[set_name],
            linewidth=LINE_WIDTHS[set_name],
            markerfacecolor="white" if set_name == "validation" else None,
            marker=SET_MARKERS[set_name] if has_markers else "",
            linestyle=TOTAL_LOSS_DASHES if dashed else "-",
            label="" if dashed else set_name,
        )


def _mark_best_epoch(panel: "Axes", history: FoldResult) -> None:
    epoch = history.best_epoch + 1
    panel.axvline(
        epoch, color=GREY, linestyle=":", zorder=1.5, label=f"best epoch ({epoch}), weights kept"
    )


def _label(panel: "Axes", history: FoldResult, kind: str) -> None:
    label_epochs(panel)
    panel.set_xlim(0.5, history.num_epochs + 0.5)
    if kind == "acc":
        panel.set_title("Accuracy")
        panel.set_ylabel("Accuracy (%)")
    elif kind == "feature_loss":
        panel.set_title("Similarity to the frozen network")
        panel.set_ylabel("Similarity term")
        _scale_similarity(panel, history)
    else:
        panel.set_title("Loss")
        has_term = history.has("feature_loss")
        panel.set_ylabel("Task loss + similarity term" if has_term else "Task loss")
        if _has_both_losses(history):
            panel.set_ylabel("Loss")
            _explain_lines(panel)


def _explain_lines(panel: "Axes") -> None:
    from matplotlib.lines import Line2D

    task = Line2D([], [], color=BLACK)
    total = Line2D([], [], color=BLACK, linestyle=TOTAL_LOSS_DASHES)
    panel.legend([task, total], ["task alone", "with similarity term"], loc="best")


def _scale_similarity(panel: "Axes", history: FoldResult) -> None:
    """Make the axis logarithmic where the term allows it: it falls by orders of magnitude."""
    from matplotlib.ticker import LogLocator

    values = [
        value
        for set_name in CURVE_SETS
        for value in history.curve(set_name, "feature_loss")
        if math.isfinite(value)
    ]
    if not values or min(values) <= 0 or max(values) < LEAST_LOG_RANGE * min(values):
        return
    panel.set_yscale("log")
    panel.set_ylabel("Similarity term (logarithmic)")
    within_a_decade = max(values) < 10 * min(values)
    panel.yaxis.set_major_locator(LogLocator(subs=range(1, 10) if within_a_decade else (1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter("")


def published_figures() -> "dict[str, Figure]":
    """Draw the paper's figure; return it by its name."""
    published = load_published()["loss_epochs"]
    logger.info(f"published run: {published['run']}")
    return {FIGURE_NAME: draw_history(FoldResult(**published["history"]), PUBLISHED_TITLE)}


def own_figures(path: Path, number: int | None = None) -> "dict[str, Figure]":
    """Draw one fold of a result, or all of them; return the figures by their names.

    Raises:
        UserError: the file is no result, or has no such fold or no history.
    """
    place = display_path(path)
    if path.suffix == ".npy":
        raise UserError(f"{place}: is a numpy dictionary; give {path.stem}.json beside it")
    folds = load_result(path).folds
    if number is not None and not 0 <= number < len(folds):
        known = ", ".join(map(str, range(len(folds))))
        raise UserError(f"{place}: no fold {number}; its folds: {known}")
    name = path.stem.removeprefix("results_")
    figures = {}
    for index, fold in enumerate(folds):
        if not fold.num_epochs:
            raise UserError(f"{place}: {index}.train_loss_hist: missing")
        if number in (None, index):
            title = name if len(folds) == 1 else f"{name}, fold {index}"
            figures[f"{FIGURE_NAME}_{name}_fold{index}"] = draw_history(fold, title)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw and write the figures."""
    parser = figure_parser("Draw loss, similarity term and accuracy of a training by epoch.")
    parser.add_argument(
        "result",
        nargs="?",
        type=Path,
        metavar="RESULT.json",
        help="a results_*.json of your own; without it the paper's run is drawn",
    )
    parser.add_argument("--fold", type=int, help="one fold of the result; without it all of them")
    parsed = parser.parse_args(arguments)
    if parsed.fold is not None and parsed.result is None:
        raise UserError("--fold: chooses a fold of a RESULT.json; name that file, too")
    folder = settings_from(parsed).results.figures_folder
    log_to(folder)
    with figure_style():
        if parsed.result is None:
            figures = published_figures()
        else:
            figures = own_figures(parsed.result, parsed.fold)
        finish(figures, folder, parsed.show)


if __name__ == "__main__":
    run_command(main)
