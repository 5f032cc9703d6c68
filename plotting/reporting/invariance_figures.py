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
NORM = ("norm", "")


def invariance_figures(found: InvarianceFindings, prefix: str) -> list[ReportFigure]:
    """Draw probe curves, similarities to frozen networks, and norms."""
    figures = []
    if found.labels:
        figures.append(_probe_curves(found, prefix))
    figures += [
        _similarities(found, network, file_name(prefix, "invariance_similarity", number))
        for number, network in enumerate(found.networks, start=1)
    ]
    norms = [
        spread[0]
        for entry in found.entries
        for layer in found.layers
        if (spread := entry.spread(layer, NORM)) is not None
    ]
    if norms:
        figures.append(_norms(found, norms, prefix))
    return figures


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


def _similarities(found: InvarianceFindings, network: str, name: str) -> ReportFigure:
    figure, panels = new_figure(PANEL_WIDTH * 2 + 0.6, 4.2, 2, share_y=True)
    titles = {"linear_cka": "Linear CKA", "gram_cosine": "Cosine of Gram matrices"}
    for panel, (key, title) in zip(panels, titles.items(), strict=True):
        _draw(panel, found, (key, network))
        panel.set_title(title)
    panels[0].set_ylabel("Similarity")
    legend_below(figure, panels)
    figure.suptitle(short(f"Similarity to the frozen network {network}"))
    return ReportFigure(
        name,
        f"Similarity to the frozen network {network}",
        f"Linear CKA and cosine of Gram matrices by layer, curves for "
        f"{counted(len(found.entries), 'method')}.",
        figure,
    )


def _norms(found: InvarianceFindings, norms: Sequence[float], prefix: str) -> ReportFigure:
    figure, (panel,) = new_figure(9.4, 4.2)
    _draw(panel, found, NORM)
    if min(norms) > 0 and max(norms) > 10 * min(norms):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
    panel.set_ylabel("Mean activation norm")
    legend_below(figure, [panel])
    figure.suptitle("Mean activation norm: a penalty can be met by shrinking")
    return ReportFigure(
        file_name(prefix, "invariance_norms"),
        "Mean activation norm by layer",
        f"Curves for {counted(len(found.entries), 'method')}: a similarity term can also fall "
        "because activations shrink.",
        figure,
    )
