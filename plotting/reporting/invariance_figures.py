"""Curves of what the layers of trained networks still know."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from config.text import counted
from plotting.drawing import BLACK, GREY, new_figure
from plotting.reporting.invariance import InvarianceFindings
from plotting.reporting.style import (
    ReportFigure,
    draw_band,
    legend_below,
    series_style,
    short,
)
from plotting.reporting.table import file_name, fixed
from training.probing.files import PENULTIMATE, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHORT_NAMES = {PENULTIMATE: "last"}
PANEL_WIDTH = 4.6


def invariance_figures(found: InvarianceFindings, prefix: str) -> list[ReportFigure]:
    """Draw what probes read from the layers; similarities and norms are in the table."""
    return [_probe_curves(found, prefix)] if found.labels else []


def _draw(panel: "Axes", found: InvarianceFindings, measure: Measure) -> None:
    """Draw a measurement by layer, a curve for each method, with its standard deviation."""
    for index, entry in enumerate(found.entries):
        spreads = [
            (float(position), spread)
            for position, layer in enumerate(found.layers)
            if (spread := entry.spread(layer, measure)) is not None
        ]
        if not spreads:
            continue
        x = [position for position, _ in spreads]
        mean = [spread[0] for _, spread in spreads]
        deviation = [spread[1] if len(spread) > 1 else 0.0 for _, spread in spreads]
        style = series_style(index - 1, entry.group.is_control)
        if entry is found.baseline:
            style = {"color": BLACK, "marker": "o", "markerfacecolor": "white"}
        panel.plot(x, mean, label=short(entry.label), **style)
        draw_band(panel, x, mean, deviation, style["color"])
    _label_layers(panel, found.layers)


def _label_layers(panel: "Axes", layers: Sequence[str]) -> None:
    names = [short(SHORT_NAMES.get(layer, layer)) for layer in layers]
    panel.set_xticks(range(len(layers)), names, fontsize=7.5)
    panel.set_xlim(-0.5, len(layers) - 0.5)
    panel.set_xlabel("Convolution; last: features before the classification")


def _probe_curves(found: InvarianceFindings, prefix: str) -> ReportFigure:
    figure, panels = new_figure(PANEL_WIDTH * len(found.labels) + 0.6, 4.4, len(found.labels))
    texts = []
    for panel, (name, label) in zip(panels, found.labels.items(), strict=True):
        _draw(panel, found, ("probe", name))
        panel.axhline(
            100 * label.chance, color=GREY, linewidth=1.2, linestyle=(0, (1, 1)), label="chance"
        )
        _draw_shuffled(panel, found, name)
        panel.set_ylim(bottom=0)
        panel.set_title(short(f"{name} ({label.role} label)"))
        panel.set_ylabel("Probe accuracy (%)")
        first = found.entries[0]
        last = first.spread(found.layers[-1], ("probe", name)) if found.layers else None
        if last:
            texts.append(f"{name}: {fixed(last[0])} % from the last features of {first.label}")
    legend_below(figure, panels)
    figure.suptitle(f"{found.description}: what a linear probe reads from each layer")
    return ReportFigure(
        file_name(prefix, "invariance_probes"),
        "What a linear probe reads from each layer",
        f"Probe accuracy by layer for {', '.join(found.labels)}, curves for "
        f"{counted(len(found.entries), 'method')}, with chance and shuffled labels. "
        f"{'; '.join(texts)}.",
        figure,
    )


def _draw_shuffled(panel: "Axes", found: InvarianceFindings, name: str) -> None:
    """Draw the mean over all networks: what a probe finds where there is nothing."""
    x, y = [], []
    for position, layer in enumerate(found.layers):
        key = layer, ("shuffled", name)
        values = [value for e in found.entries for value in e.values.get(key, {}).values()]
        if values:
            x.append(position)
            y.append(fmean(values))
    panel.plot(
        x, y, color=GREY, linestyle="none", marker="_", markersize=7, label="shuffled labels"
    )
