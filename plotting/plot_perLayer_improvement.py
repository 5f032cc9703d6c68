"""Draws the paper's figures of what anti-transfer changes in accuracy, by convolution.

The same of your own results, with intervals, is in the report: plotting/report.py.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from config.command_line import run_command, settings_from
from config.settings import NUM_CONVOLUTIONS
from plotting.drawing import (
    ORANGE,
    PURPLE,
    SET_COLOURS,
    SET_MARKERS,
    add_notes,
    draw_zero_line,
    figure_parser,
    figure_style,
    finish,
    label_layers,
    new_figure,
)
from plotting.published import (
    load_published,
    mean_per_layer_improvement,
    per_layer_improvement,
)

FIGURE_NAME = "perLayer_improvement"
PUBLISHED_SETS = ("train", "test")
LAYERS = range(1, NUM_CONVOLUTIONS + 1)
SPLIT_FIGURES = {
    "random": (f"{FIGURE_NAME}_randsplit", "IEMOCAP emotion, random split (as published)"),
    "actor": (f"{FIGURE_NAME}_actorsplit", "IEMOCAP emotion, speaker-wise split (as published)"),
}
MEAN_TITLE = "IEMOCAP emotion, mean of two splits and two frozen networks (as published)"
EXTRACTORS = {
    "libri": ("frozen network: LibriSpeech words", PURPLE, "o"),
    "iemo": ("frozen network: IEMOCAP speakers", ORANGE, "s"),
}
IMPROVEMENT_LABEL = "Improvement over the baseline\n(percentage points)"
PUBLISHED_TAP = "input"
PUBLISHED_NOTE = (
    "The release compares the input of convolution k. For k = 1 that is the spectrogram itself, "
    "which no training changes: its points show how far a run lies from the baseline's mean where "
    "the similarity term does nothing."
)


def draw_published_split(published: dict[str, Any], split: str, title: str) -> Figure:
    """Draw train and test improvement for one split, a curve for each frozen network."""
    figure, panels = new_figure(8.2, 3.6, columns=2, share_y=True)
    for panel, set_name in zip(panels, PUBLISHED_SETS, strict=True):
        draw_zero_line(panel)
        for extractor, (label, colour, marker) in EXTRACTORS.items():
            improvement = per_layer_improvement(published, f"{set_name}_{extractor}_{split}")
            panel.plot(LAYERS, improvement, color=colour, marker=marker, label=label)
        panel.set_title(f"{set_name.capitalize()} set")
        label_layers(panel, PUBLISHED_TAP)
    panels[0].set_ylabel(IMPROVEMENT_LABEL)
    panels[1].legend(loc="upper right")
    return _finish_published(figure, title)


def draw_published_mean(published: dict[str, Any]) -> Figure:
    """Draw the mean improvement over both splits and both frozen networks, by layer."""
    figure, (panel,) = new_figure(6.0, 3.8)
    draw_zero_line(panel)
    for set_name in PUBLISHED_SETS:
        panel.plot(
            LAYERS,
            mean_per_layer_improvement(published, set_name),
            color=SET_COLOURS[set_name],
            marker=SET_MARKERS[set_name],
            label=f"{set_name} set",
        )
    label_layers(panel, PUBLISHED_TAP)
    panel.set_ylabel(IMPROVEMENT_LABEL)
    panel.legend(loc="upper center")
    return _finish_published(figure, MEAN_TITLE)


def _finish_published(figure: Figure, title: str) -> Figure:
    add_notes(figure, [PUBLISHED_NOTE])
    figure.suptitle(title, fontsize=10)
    return figure


def published_figures() -> dict[str, Figure]:
    """Draw the paper's three figures; return them by their names."""
    published = load_published()
    figures = {
        name: draw_published_split(published, split, title)
        for split, (name, title) in SPLIT_FIGURES.items()
    }
    return figures | {f"{FIGURE_NAME}_mean": draw_published_mean(published)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw and write the figures."""
    parser = figure_parser("Draw the improvement of accuracy by anti-transfer layer, as published.")
    parsed = parser.parse_args(arguments)
    with figure_style():
        finish(published_figures(), settings_from(parsed).results.figures_folder, parsed.show)


if __name__ == "__main__":
    run_command(main)
