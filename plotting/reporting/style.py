"""What all figures of the report share: a name, words for those who cannot see it, a legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from plotting.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY_BLUE,
    VERMILLION,
    write_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# As many markers as colours and one: a pair of both comes again after 42 series.
SERIES_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY_BLUE)
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "h")
LONGEST_LABEL = 72
LEGEND_LINE = 0.19  # inches
CHARACTERS_PER_INCH = 15.5


class Picture(NamedTuple):
    """A figure that is written: its files' name, title and alternative text; size in inches."""

    name: str
    title: str
    alt: str
    width: float
    height: float


@dataclass(frozen=True)
class ReportFigure:
    """A figure for the page.

    Attributes:
        name: of its files.
        title: above it.
        alt: what it shows, for those who cannot see it.
    """

    name: str
    title: str
    alt: str
    figure: "Figure"

    def write(self, folder: Path) -> tuple[Picture, list[Path]]:
        """Write PNG and PDF; return what the page needs, and their paths."""
        paths = write_figure(self.figure, folder, self.name)
        width, height = self.figure.get_size_inches()
        return Picture(self.name, self.title, self.alt, float(width), float(height)), paths


def short(label: str) -> str:
    """Return a label that fits a line of a legend."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 3]}..."


def series_style(index: int, is_control: bool = False) -> dict[str, Any]:
    """Return colour, marker and line of a series; the random control is grey and dashed."""
    if is_control:
        return {"color": GREY, "marker": "X", "linestyle": (0, (3, 2))}
    return {
        "color": SERIES_COLOURS[index % len(SERIES_COLOURS)],
        "marker": SERIES_MARKERS[index % len(SERIES_MARKERS)],
    }


def draw_band(
    panel: "Axes",
    x: Sequence[float],
    mean: Sequence[float],
    deviation: Sequence[float],
    colour: str,
) -> None:
    """Draw one standard deviation to either side of a curve."""
    low = [value - spread for value, spread in zip(mean, deviation, strict=True)]
    high = [value + spread for value, spread in zip(mean, deviation, strict=True)]
    panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def legend_below(figure: "Figure", panels: "Sequence[Axes]") -> None:
    """Draw one legend of what any panel shows, each entry once."""
    entries: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(str(label), handle)
    if not entries:
        return
    fits_twice = 2 * max(map(len, entries)) < CHARACTERS_PER_INCH * figure.get_figwidth()
    columns = 2 if len(entries) > 1 and fits_twice else 1
    num_lines = math.ceil(len(entries) / columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * num_lines)
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize=8
    )
