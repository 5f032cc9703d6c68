"""Draws the paper's accuracy figure: what anti-transfer adds to test accuracy, by task and group.

All values come from published_results.json; a line is printed for each bar that differs from a
published one because of a mistake there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from config.command_line import log_to, run_command, settings_from
from config.log import logger
from plotting.drawing import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    add_notes,
    figure_parser,
    figure_style,
    finish,
    new_figure,
)
from plotting.published import TASK_LABELS, Bar, accuracy_bars, load_published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_NAME = "accuracy_boost"
BAR_HEIGHT = 0.68
ABBREVIATIONS = "GS: Good-Sounds. GSC: Google Speech Commands. AT: anti-transfer."


def draw_accuracy_boost(bars: Sequence[Bar]) -> "Figure":
    """Draw horizontal bars from top to bottom in the given order, their single cases as dots."""
    figure, (panel,) = new_figure(7.2, 4.3)
    rows = range(len(bars))
    panel.barh(
        rows,
        [bar.height for bar in bars],
        height=BAR_HEIGHT,
        color=[_colour(bar) for bar in bars],
    )
    panel.axvline(0, color=BLACK, linewidth=0.9, zorder=1.5)
    for row, bar in zip(rows, bars, strict=True):
        _draw_cases(panel, row, bar)
        _write_mean(panel, row, f"{bar.height:.2f}")
    _write_mean(panel, -0.75, "mean")
    panel.set_yticks(rows, [_row_label(bar) for bar in bars])
    panel.set_ylim(len(bars) - 0.4, -0.6)
    panel.set_xlabel("Improvement of test accuracy over the baseline (percentage points)")
    panel.grid(visible=False, axis="y")
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    _add_legend(panel)
    differences = [f"* {bar.label}: {bar.differs}." for bar in bars if bar.differs]
    add_notes(figure, [*differences, ABBREVIATIONS])
    return figure


def _row_label(bar: Bar) -> str:
    mark = "*" if bar.differs else ""
    return f"{bar.label}{mark}".replace("dataset (", "dataset\n(")


def _colour(bar: Bar) -> str:
    if bar.label in TASK_LABELS.values():
        return BLUE
    return ORANGE if "(" in bar.label else GREY


def _draw_cases(panel: "Axes", row: int, bar: Bar) -> None:
    panel.scatter(
        bar.improvements,
        [row] * len(bar.pairs),
        s=16,
        facecolor="white",
        edgecolor=BLACK,
        linewidth=0.8,
        zorder=3,
    )


def _write_mean(panel: "Axes", row: float, text: str) -> None:
    panel.text(
        1.1,
        row,
        text,
        transform=panel.get_yaxis_transform(),
        horizontalalignment="right",
        verticalalignment="center",
    )


def _add_legend(panel: "Axes") -> None:
    from matplotlib.patches import Patch

    cases = panel.collections[0]
    panel.legend(
        [Patch(color=GREY), cases], ["mean of the cases", "single case"], loc="lower right"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw and write the figure."""
    parser = figure_parser("Draw what anti-transfer adds to test accuracy, as published.")
    parsed = parser.parse_args(arguments)
    folder = settings_from(parsed).results.figures_folder
    log_to(folder)
    bars = accuracy_bars(load_published())
    for bar in bars:
        if bar.differs:
            logger.info(f"differs from the published bar: {bar.label}: {bar.differs}")
    with figure_style():
        finish({FIGURE_NAME: draw_accuracy_boost(bars)}, folder, parsed.show)


if __name__ == "__main__":
    run_command(main)
