"""Figures of the report along an axis of choices: layers, and values of beta."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from config.settings import NUM_CONVOLUTIONS
from plotting.comparisons import Comparison, Group, Method, layer_order, method_parameters
from plotting.figures import GREY, draw_zero_line, label_layers, new_figure
from plotting.findings import Findings, MethodFinding, findings_of
from plotting.paired_statistics import mean_interval
from plotting.report_published import published_curve
from plotting.report_style import ReportFigure, legend_below, series_style, short
from plotting.runs import SET_NAMES, Metric
from plotting.sentences import digits_of
from plotting.tables import file_name, fixed


def layer_figures(
    findings: Findings, prefix: str, published: Mapping[str, Any]
) -> list[ReportFigure]:
    """One for each family of methods that differ in their frozen network alone."""
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
            figures.append(_layer_figure(findings, family, prefix, len(figures), published))
    return figures


def _layer_figure(
    findings: Findings,
    family: Sequence[MethodFinding],
    prefix: str,
    number: int,
    published: Mapping[str, Any],
) -> ReportFigure:
    metric = findings.metric
    layers = sorted({f.group.layer for each in family for f in each.layers}, key=layer_order)
    numeric = all(layer.isdigit() for layer in layers)
    positions = {layer: int(layer) if numeric else i + 1 for i, layer in enumerate(layers)}
    figure, panels = new_figure(10.2, 4.0, columns=len(SET_NAMES), share_y=True)
    for panel, set_name in zip(panels, SET_NAMES, strict=True):
        _draw_baseline_band(panel, findings.comparison.baseline, set_name)
        for index, each in enumerate(family):
            shift = 0.16 * (index - (len(family) - 1) / 2)
            _draw_layer_series(panel, each, findings, set_name, positions, index, shift)
            curve = published_curve(published, findings.comparison.dataset, each.method, set_name)
            if curve and numeric:
                _draw_published_curve(panel, curve, each.method, index)
        panel.set_title(f"{set_name.capitalize()} set")
        _label_positions(panel, positions, numeric, family[0].method)
    unit = "percentage points" if metric.key == "acc" else metric.unit
    panels[0].set_ylabel(f"{metric.name.capitalize()} minus the baseline's\n({unit}, same seeds)")
    legend_below(figure, panels)
    figure.suptitle(f"{findings.comparison.dataset}: difference to the baseline by layer")
    best = family[0].chosen
    return ReportFigure(
        file_name(prefix, "layers", number + 1),
        "Difference to the baseline by layer, with 95 % intervals",
        f"Curves for {', '.join(each.method.label for each in family)} over {len(layers)} layers, "
        f"for train, validation and test set. Chosen on validation: layer {best.group.layer}, "
        f"test {fixed(best.group.mean(), digits_of(metric))} {metric.unit}.",
        figure,
    )


def _draw_baseline_band(panel: Axes, baseline: Group | None, set_name: str) -> None:
    draw_zero_line(panel)
    deviation = baseline.deviation(set_name) if baseline else None
    if deviation is not None:
        label = "baseline ± standard deviation"
        panel.axhspan(
            -deviation, deviation, color=GREY, alpha=0.2, linewidth=0, zorder=1, label=label
        )


def _draw_layer_series(
    panel: Axes,
    found: MethodFinding,
    findings: Findings,
    set_name: str,
    positions: Mapping[str, int],
    index: int,
    shift: float,
) -> None:
    baseline = findings.comparison.baseline
    by_layer = findings_of(found.method.groups, baseline, findings.metric, set_name)
    x, y, below, above = [], [], [], []
    for each in by_layer:
        difference = each.difference
        if difference is None or difference.mean is None:
            continue
        low, high = difference.interval or (difference.mean, difference.mean)
        x.append(positions[each.group.layer] + shift)
        y.append(difference.mean)
        below.append(max(0.0, difference.mean - low))
        above.append(max(0.0, high - difference.mean))
    style = series_style(index, found.method.is_random_control)
    panel.errorbar(
        x,
        y,
        yerr=[below, above] if any(below) or any(above) else None,
        capsize=2,
        elinewidth=0.9,
        label=short(found.method.label),
        **style,
    )
    chosen = positions.get(found.method.chosen.layer)
    if set_name == "validation" and chosen is not None and len(by_layer) > 1:
        panel.plot(
            [each for each in x if round(each) == chosen][:1],
            [value for each, value in zip(x, y, strict=True) if round(each) == chosen][:1],
            marker="o",
            markersize=11,
            markerfacecolor="none",
            color=style["color"],
            linestyle="none",
        )


def _draw_published_curve(panel: Axes, curve: Sequence[float], method: Method, index: int) -> None:
    """In the colour of our own curve, with a marker and a line that nothing of ours has."""
    panel.plot(
        range(1, NUM_CONVOLUTIONS + 1),
        curve,
        color=series_style(index)["color"],
        marker="*",
        markersize=8,
        markerfacecolor="white",
        linestyle=":",
        linewidth=1,
        label=f"published: against {short(method.against)} (input of the layer, one run)",
    )


def _label_positions(
    panel: Axes, positions: Mapping[str, int], numeric: bool, method: Method
) -> None:
    if numeric and max(positions.values()) <= NUM_CONVOLUTIONS:
        tap = method.groups[0].parameters.get("at_tap")
        label_layers(panel, str(tap) if method.against and tap else None)
        panel.tick_params(axis="x", labelsize=7.5)
        return
    panel.set_xticks(list(positions.values()), [short(layer) for layer in positions])
    panel.set_xlabel("Layers")


def beta_figures(findings: Findings, prefix: str) -> list[ReportFigure]:
    """Test result against beta, where methods differ in it alone; a curve for each layer."""
    families: dict[str, list[Method]] = {}
    for found in findings.methods:
        if found.method.against:
            families.setdefault(_without_beta(found.method), []).append(found.method)
    figures: list[ReportFigure] = []
    for methods in families.values():
        curves = _beta_curves(methods)
        if curves:
            name = file_name(prefix, "beta", len(figures) + 1)
            figures.append(_beta_figure(findings.comparison, curves, methods[0], name))
    return figures


def _without_beta(method: Method) -> str:
    group = method.groups[0]
    return repr((group.kind, method_parameters(group, "at_beta")))


def _beta_curves(methods: Sequence[Method]) -> dict[str, dict[float, Group]]:
    """By layer and beta, for layers with several betas."""
    curves: dict[str, dict[float, Group]] = {}
    for method in methods:
        for group in method.groups:
            beta = group.parameters.get("at_beta")
            if isinstance(beta, int | float):
                curves.setdefault(group.layer, {})[float(beta)] = group
    return {layer: curve for layer, curve in curves.items() if len(curve) > 1}


def _beta_figure(
    comparison: Comparison, curves: Mapping[str, Mapping[float, Group]], method: Method, name: str
) -> ReportFigure:
    metric = comparison.metric
    figure, (panel,) = new_figure(6.4, 4.0)
    _draw_level(panel, comparison.baseline, metric)
    betas = sorted({beta for curve in curves.values() for beta in curve})
    for index, layer in enumerate(sorted(curves, key=layer_order)):
        groups = [curves[layer][beta] for beta in sorted(curves[layer])]
        intervals = [mean_interval(group.values()) for group in groups]
        panel.errorbar(
            sorted(curves[layer]),
            [group.mean() for group in groups],
            yerr=[0.0 if each is None else (each.high - each.low) / 2 for each in intervals],
            capsize=2.5,
            label=f"layer {short(layer)}",
            **series_style(index),
        )
    positive = [beta for beta in betas if beta > 0]
    if len(positive) == len(betas) and max(betas) >= 10 * min(betas):
        panel.set_xscale("log")
    panel.set_xticks(betas, [f"{beta:g}" for beta in betas])
    panel.minorticks_off()
    panel.set_xlabel("beta, the weight of the similarity term")
    panel.set_ylabel(f"Test {metric.name} ({metric.unit})")
    legend_below(figure, [panel])
    figure.suptitle(short(f"anti-transfer against {method.against}"))
    return ReportFigure(
        name,
        f"Test {metric.name} against beta: anti-transfer against {method.against}",
        f"Means with 95 % intervals (Student's t) at beta {', '.join(f'{b:g}' for b in betas)}, "
        f"a curve for each of {len(curves)} layers, over the baseline's mean and deviation.",
        figure,
    )


def _draw_level(panel: Axes, baseline: Group | None, metric: Metric) -> None:
    if baseline is None:
        return
    mean, deviation = baseline.mean(), baseline.deviation()
    digits = digits_of(metric)
    panel.axhline(mean, color=GREY, linewidth=1, label=f"baseline: {fixed(mean, digits)}")
    if deviation is not None:
        label = "baseline ± standard deviation"
        panel.axhspan(
            mean - deviation, mean + deviation, color=GREY, alpha=0.2, linewidth=0, label=label
        )
