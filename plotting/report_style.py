"""What all figures of the report share: a name, words for those who cannot see it, a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plotting.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY_BLUE, VERMILLION

# As many markers as colours and one: a pair of both comes again after 42 series.
SERIES_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY_BLUE)
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "h")
LONGEST_LABEL = 72
LEGEND_LINE = 0.19  # inches
CHARACTERS_PER_INCH = 15.5


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
    figure: Figure


def short(label: str) -> str:
    """A legend's line."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 3]}..."


def series_style(index: int, is_control: bool = False) -> dict[str, Any]:
    """Colour, marker and line of a series; the random control is always grey and dashed."""
    if is_control:
        return {"color": GREY, "marker": "X", "linestyle": (0, (3, 2))}
    return {
        "color": SERIES_COLOURS[index % len(SERIES_COLOURS)],
        "marker": SERIES_MARKERS[index % len(SERIES_MARKERS)],
    }


def legend_below(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend of what any panel shows, each entry once."""
    entries: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(str(label), handle)
    if not entries:
        return
    fits_twice = 2 * max(map(len, entries)) < CHARACTERS_PER_INCH * figure.get_figwidth()
    columns = 2 if len(entries) > 1 and fits_twice else 1
    num_lines = -(-len(entries) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * num_lines)
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize=8
    )
