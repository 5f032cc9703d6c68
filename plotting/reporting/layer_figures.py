"""Figures of the report by layer: differences to the baseline."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from config.text import counted
from plotting.drawing import GREY, draw_zero_line, label_layers, new_figure
from plotting.published import PUBLISHED_LAYERS
from plotting.reporting.compare import Comparison, Method, layer_order
from plotting.reporting.findings import Findings, MethodFinding
from plotting.reporting.groups import Group
from plotting.reporting.sentences import capital
from plotting.reporting.style import (
    ReportFigure,
    legend_below,
    series_style,
    short,
)
from plotting.reporting.table import file_name, fixed
from training.results.result import SUMMARY_KEYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def layer_figures(findings: Findings, prefix: str) -> list[ReportFigure]:
    """Draw one for each family of methods that differ in their frozen network alone."""
    comparison = findings.comparison
    if comparison.baseline is None:
        return []
    done: set[int] = set()
    figures: list[ReportFigure] = []
    for found in findings.methods:
        if id(found.method) in done:
            continue
        alike = {id(method) for method in comparison.alike(found.method)} | {id(found.method)}
        family = [each for each in findings.methods if id(each.method) in alike]
        done |= alike
        if any(len(each.layers) > 1 for each in family):
            name = file_name(prefix, "layers", len(figures) + 1)
            figures.append(_layer_figure(comparison, comparison.baseline, family, name))
    return figures


def _layer_figure(
    comparison: Comparison, baseline: Group, family: Sequence[MethodFinding], name: str
) -> ReportFigure:
    metric = comparison.metric
    layers = sorted({f.group.layer for each in family for f in each.layers}, key=layer_order)
    numeric = all(layer.isdigit() for layer in layers)
    positions = {layer: int(layer) if numeric else i + 1 for i, layer in enumerate(layers)}
    figure, panels = new_figure(10.2, 4.0, columns=len(SUMMARY_KEYS), share_y=True)
    for panel, set_name in zip(panels, SUMMARY_KEYS, strict=True):
        draw_zero_line(panel)
        _draw_deviation(panel, baseline.deviation(set_name))
        for index, method in enumerate(each.method for each in family):
            shift = 0.16 * (index - (len(family) - 1) / 2)
            style = series_style(index, method.is_control)
            _draw_layers(panel, method, baseline, set_name, positions, shift, style)
        panel.set_title(f"{set_name.capitalize()} set")
        _label_positions(panel, positions, numeric, family[0].method)
    better = f"{'larger' if metric.higher_is_better else 'smaller'} is better"
    unit = "percentage points" if metric.unit == "%" else better
    panels[0].set_ylabel(f"{capital(metric.name)} minus the baseline's\n({unit}, same seeds)")
    legend_below(figure, panels)
    figure.suptitle(f"{comparison.title}: difference to the baseline by layer")
    labels = [each.method.label for each in family]
    best = family[0].method.chosen
    return ReportFigure(
        name,
        f"Difference to the baseline by layer: {' and '.join(labels)}",
        f"Curves with 95 % intervals for {', '.join(labels)} over {counted(len(layers), 'layer')}, "
        f"for train, validation and test set. Chosen on validation: layer {best.layer}, "
        f"test {fixed(best.mean(), metric.digits)} {metric.unit}.",
        figure,
    )


def _draw_deviation(panel: "Axes", deviation: float | None) -> None:
    """Draw the baseline's standard deviation as a band."""
    if deviation is not None:
        panel.axhspan(
            -deviation,
            deviation,
            color=GREY,
            alpha=0.2,
            linewidth=0,
            zorder=1,
            label="baseline ± standard deviation",
        )


def _draw_layers(
    panel: "Axes",
    method: Method,
    baseline: Group,
    set_name: str,
    positions: Mapping[str, int],
    shift: float,
    style: Mapping[str, Any],
) -> None:
    """Draw a method's differences to the baseline, and a ring around the chosen layer."""
    x, y, below, above = [], [], [], []
    for group in method.groups:
        difference = group.minus(baseline, set_name)
        if difference is None:
            continue
        low, high = difference.interval or (difference.mean, difference.mean)
        x.append(positions[group.layer] + shift)
        y.append(difference.mean)
        below.append(max(0.0, difference.mean - low))
        above.append(max(0.0, high - difference.mean))
        if set_name == "validation" and group is method.chosen and len(method.groups) > 1:
            panel.plot(
                x[-1],
                y[-1],
                marker="o",
                markersize=11,
                markerfacecolor="none",
                color=style["color"],
                linestyle="none",
            )
    panel.errorbar(
        x,
        y,
        yerr=[below, above] if any(below) or any(above) else None,
        capsize=2,
        elinewidth=0.9,
        label=short(method.label),
        **style,
    )


def _label_positions(
    panel: "Axes", positions: Mapping[str, int], numeric: bool, method: Method
) -> None:
    if numeric:
        tap = method.groups[0].parameters.get("at_tap")
        numbers = range(1, max(len(PUBLISHED_LAYERS), *positions.values()) + 1)
        label_layers(panel, str(tap) if method.against and tap else None, numbers)
        panel.tick_params(axis="x", labelsize=7.5)
        return
    panel.set_xticks(list(positions.values()), [short(layer) for layer in positions])
    panel.set_xlabel("Layers")
