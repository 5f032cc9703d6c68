"""What all figures share: style, colours that colour-blind readers tell apart, PNG and PDF.

Figures are drawn without pyplot, so no window system is touched unless --show asks for it.
"""

import argparse
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.command_line import settings_parser
from config.files import written_aside
from config.log import logger
from config.process import variables_set
from config.text import display_path, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, "Color Universal Design" (2008).
BLACK = "#000000"
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
SKY_BLUE = "#56B4E9"
GREY = "#8C8C8C"

SET_COLOURS = {"train": BLUE, "validation": VERMILLION, "test": GREEN}
SET_MARKERS = {"train": "o", "validation": "s", "test": "^"}

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    # File names become titles, and may hold a dollar sign.
    "text.parse_math": False,
}
NOTE_SIZE = 7.5
NOTE_CHARACTERS_PER_INCH = 18


def figure_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser that knows --config, --set and --show."""
    parser = settings_parser(description)
    parser.add_argument("--show", action="store_true", help="open each figure in a window, too")
    return parser


@contextmanager
def figure_style() -> Iterator[None]:
    """Enter the block in which figures are drawn and written: in this style and no other.

    What the user's matplotlibrc and MPLBACKEND say decides no figure; they may even be such that
    matplotlib cannot be imported with them.
    """
    with variables_set(MATPLOTLIBRC=os.devnull, MPLBACKEND=""):
        from matplotlib import style
    with style.context(STYLE, after_reset=True):
        yield


@contextmanager
def figures_attempted(what: str) -> Iterator[None]:
    """Enter the same block where results do not depend on it: what cannot be drawn is only said."""
    try:
        with figure_style():
            yield
    except Exception as error:  # of matplotlib, its fonts, the disk
        logger.warning(
            f"warning: no figure of {what}: {shorten(f'{type(error).__name__}: {error}')}"
        )


def new_figure(
    width: float, height: float, columns: int = 1, share_y: bool = False
) -> "tuple[Figure, list[Axes]]":
    """Return a figure (width and height in inches) and its panels, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False, sharey=share_y)
    return figure, list(panels.flat)


def add_notes(figure: "Figure", notes: Iterable[str]) -> None:
    """Write small print below the panels: a paragraph each, wrapped to the figure's width."""
    width = int(figure.get_figwidth() * NOTE_CHARACTERS_PER_INCH)
    text = "\n".join(textwrap.fill(note, width) for note in notes)
    figure.supxlabel(text, fontsize=NOTE_SIZE, color="#444444", x=0.01, horizontalalignment="left")


def add_legend(figure: "Figure", panel: "Axes") -> None:
    """Draw one legend below all panels, made of what one of them shows."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def draw_zero_line(panel: "Axes") -> None:
    """Draw the line that improvements are measured from."""
    panel.axhline(0, color=BLACK, linewidth=0.9, zorder=1.5)


def label_epochs(panel: "Axes") -> None:
    """Label an axis of epochs, which are whole numbers."""
    from matplotlib.ticker import MaxNLocator

    panel.set_xlabel("Epoch")
    panel.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def label_layers(panel: "Axes", tap: str | None, layers: Sequence[int | str]) -> None:
    """Label an axis on which layers stand at 1, 2, ...; tap: what was compared (output, input)."""
    panel.set_xlim(0.5, len(layers) + 0.5)
    panel.set_xticks(range(1, len(layers) + 1), list(map(str, layers)))
    what = "Convolution" if all(isinstance(layer, int) for layer in layers) else "Layer"
    panel.set_xlabel(what if tap is None else f"{what} ({tap} compared)")


def write_figures(figures: "Mapping[str, Figure]", folder: Path) -> None:
    """Write each figure as <name>.png and <name>.pdf, and print their paths."""
    for name, figure in figures.items():
        for path in write_figure(figure, folder, name):
            logger.info(f"wrote {display_path(path)}")


def write_figure(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write a figure as <name>.png and <name>.pdf; return their paths in this order."""
    paths = []
    engine = figure.get_layout_engine()
    for suffix, metadata in ((".png", None), (".pdf", {"CreationDate": None})):
        path = folder / f"{name}{suffix}"
        with written_aside(path) as aside:
            figure.savefig(aside, metadata=metadata)
        # What the first file was laid out to serves the second; it takes as long as drawing.
        figure.set_layout_engine("none")
        paths.append(path)
    figure.set_layout_engine(engine)
    return paths


def finish(figures: "Mapping[str, Figure]", folder: Path, show: bool) -> None:
    """Write the figures; then, if asked to, show each in a window until all are closed."""
    write_figures(figures, folder)
    if not show:
        return
    import matplotlib.pyplot as plt

    if plt.get_backend().lower() == "agg":
        logger.info("--show: no window can be opened here; the figures are in the files above")
        return
    for figure in figures.values():
        plt.figure(figure)
    plt.show()
