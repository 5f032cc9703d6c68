"""Draws what anti-transfer changes in accuracy, by the convolution that it is applied to.

Without arguments it draws the paper's three figures; with --experiment and --baseline, the user's
own results.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from config.advice import run_again
from config.command_line import log_to, run_command, settings_from
from config.errors import UserError
from config.log import logger
from config.networks import PUBLISHED_NETWORK
from config.settings import Results
from config.text import display_path, shorten
from plotting.drawing import (
    GREY,
    ORANGE,
    PURPLE,
    SET_COLOURS,
    SET_MARKERS,
    add_legend,
    add_notes,
    draw_zero_line,
    figure_parser,
    figure_style,
    finish,
    label_layers,
    new_figure,
)
from plotting.published import (
    PUBLISHED_LAYERS,
    load_published,
    mean_per_layer_improvement,
    per_layer_improvement,
)
from training.results.loading import load_results
from training.results.metric import Metric
from training.results.result import SUMMARY_KEYS, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The number of a convolution or the name of a module.
Layer = int | str
FIGURE_NAME = "perLayer_improvement"
PUBLISHED_SETS = ("train", "test")
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


@dataclass(frozen=True)
class LayerImprovement:
    """Improvement of one set's metric over the baseline's mean: percentage points, or less error.

    Attributes:
        by_layer: of each repetition, by layer.
        baseline_std: standard deviation (n - 1) of the baseline's repetitions; None of one only.
    """

    by_layer: dict[Layer, list[float]]
    baseline_std: float | None


def layer_improvement(
    experiment: Sequence[Result], baseline: Sequence[Result], set_name: str
) -> LayerImprovement:
    """Compare an experiment with its baseline on the train, validation or test set."""
    values = [result.value(set_name) for result in baseline]
    by_layer: dict[Layer, list[float]] = {}
    for result in experiment:
        improvement = result.metric.goodness(result.value(set_name) - fmean(values))
        by_layer.setdefault(layer_of(result), []).append(improvement)
    return LayerImprovement(by_layer, stdev(values) if len(values) > 1 else None)


def draw_published_split(published: dict[str, Any], split: str, title: str) -> "Figure":
    """Draw train and test improvement for one split, a curve for each frozen network."""
    figure, panels = new_figure(8.2, 3.6, columns=2, share_y=True)
    for panel, set_name in zip(panels, PUBLISHED_SETS, strict=True):
        draw_zero_line(panel)
        for extractor, (label, colour, marker) in EXTRACTORS.items():
            improvement = per_layer_improvement(published, f"{set_name}_{extractor}_{split}")
            panel.plot(PUBLISHED_LAYERS, improvement, color=colour, marker=marker, label=label)
        panel.set_title(f"{set_name.capitalize()} set")
        label_layers(panel, PUBLISHED_TAP, PUBLISHED_LAYERS)
    panels[0].set_ylabel(IMPROVEMENT_LABEL)
    panels[1].legend(loc="upper right")
    return _finish_published(figure, title)


def draw_published_mean(published: dict[str, Any]) -> "Figure":
    """Draw the mean improvement over both splits and both frozen networks, by layer."""
    figure, (panel,) = new_figure(6.0, 3.8)
    draw_zero_line(panel)
    for set_name in PUBLISHED_SETS:
        panel.plot(
            PUBLISHED_LAYERS,
            mean_per_layer_improvement(published, set_name),
            color=SET_COLOURS[set_name],
            marker=SET_MARKERS[set_name],
            label=f"{set_name} set",
        )
    label_layers(panel, PUBLISHED_TAP, PUBLISHED_LAYERS)
    panel.set_ylabel(IMPROVEMENT_LABEL)
    panel.legend(loc="upper center")
    return _finish_published(figure, MEAN_TITLE)


def _finish_published(figure: "Figure", title: str) -> "Figure":
    add_notes(figure, [PUBLISHED_NOTE])
    figure.suptitle(title, fontsize=10)
    return figure


def draw_own(
    improvements: Mapping[str, LayerImprovement],
    title: str,
    tap: str | None,
    layers: Sequence[Layer],
    metric: Metric,
) -> "Figure":
    """Draw a panel for each set: improvement by layer, the baseline's own spread behind it."""
    figure, panels = new_figure(9.6, 3.4, columns=len(improvements), share_y=True)
    for panel, (set_name, improvement) in zip(panels, improvements.items(), strict=True):
        _draw_own_panel(panel, improvement, layers)
        panel.set_title(f"{set_name.capitalize()} set")
        label_layers(panel, tap, layers)
    change = "Improvement" if metric.higher_is_better else "Fall"
    unit = "\n(percentage points)" if metric.unit == "%" else ""
    panels[0].set_ylabel(f"{change} of {metric.name}{unit}")
    add_legend(figure, panels[0])
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_own_panel(panel: "Axes", improvement: LayerImprovement, layers: Sequence[Layer]) -> None:
    draw_zero_line(panel)
    spread = improvement.baseline_std
    if spread is not None:
        label = "baseline: mean ± standard deviation"
        panel.axhspan(-spread, spread, color=GREY, alpha=0.25, linewidth=0, zorder=1, label=label)
    by_layer = improvement.by_layer
    has_spread = any(len(values) > 1 for values in by_layer.values())
    panel.errorbar(
        range(1, len(layers) + 1),
        [fmean(by_layer.get(layer, [math.nan])) for layer in layers],
        yerr=[_deviation(by_layer.get(layer, [])) for layer in layers],
        color=SET_COLOURS["train"],
        marker=SET_MARKERS["train"],
        capsize=2.5,
        label=f"anti-transfer: mean{' ± standard deviation' if has_spread else ''}",
    )


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else math.nan


def published_figures() -> "dict[str, Figure]":
    """Draw the paper's three figures; return them by their names."""
    published = load_published()
    figures = {
        name: draw_published_split(published, split, title)
        for split, (name, title) in SPLIT_FIGURES.items()
    }
    return figures | {f"{FIGURE_NAME}_mean": draw_published_mean(published)}


def own_figures(settings: Results, experiment: int, baseline: int) -> "dict[str, Figure]":
    """Draw one figure; return it by its name. A line is printed if layers are missing.

    Raises:
        UserError: one of the experiments has no results, or theirs cannot be compared.
    """
    results = _finished(settings, experiment)
    baseline_results = _finished(settings, baseline)
    _check_alike([*results, *baseline_results])
    improvements = {
        set_name: layer_improvement(results, baseline_results, set_name)
        for set_name in SUMMARY_KEYS
    }
    layers = shown_layers(improvements["test"].by_layer, results[0].parameters.network)
    missing = [layer for layer in layers if layer not in improvements["test"].by_layer]
    if missing:
        names = ", ".join(map(str, missing))
        logger.info(
            f"experiment {experiment}: no result yet of layer {names}; the others are drawn"
        )
    parameters = results[0].parameters.model_dump()
    title = f"{parameters['dataset']}: experiment {experiment} against its baseline, experiment"
    figure = draw_own(
        improvements,
        f"{title} {baseline}",
        parameters.get("at_tap"),
        layers,
        results[0].metric,
    )
    return {f"{FIGURE_NAME}_exp{experiment}_baseline{baseline}": figure}


def _finished(settings: Results, experiment: int) -> list[Result]:
    results = load_results(settings.results_folder, experiment, settings.report_metric)
    if not results:
        folder = settings.results_folder / f"experiment_{experiment}" / "results"
        raise UserError(
            f"{display_path(folder)}: no results of experiment {experiment}; "
            f"run: {run_again(experiment)}"
        )
    return results


def _check_alike(results: Sequence[Result]) -> None:
    """Refuse results of which some are of other data than the first."""
    first = results[0]
    for result in results:
        for key in ("dataset", "features_type", "task", "network"):
            expected, value = getattr(first.parameters, key), getattr(result.parameters, key)
            if value != expected:
                raise UserError(
                    f"{result.stem}: parameters.{key}: is {value!r}, but {expected!r} in "
                    f"{first.stem}: an experiment and its baseline need the same {key}"
                )


def shown_layers(found: Iterable[Layer], network: str) -> list[Layer]:
    """Return the layers on the axis: all convolutions up to the last, modules as they were run."""
    layers = list(found)
    numbers = [layer for layer in layers if isinstance(layer, int)]
    if len(numbers) < len(layers):
        return layers
    last = max(PUBLISHED_LAYERS) if network == PUBLISHED_NETWORK else max(numbers)
    return list(range(1, last + 1))


def layer_of(result: Result) -> Layer:
    """Return the convolution or module that an instance applied anti-transfer to.

    Raises:
        UserError: it applied it to none, or to several.
    """
    value = str(result.parameters.model_dump().get("at_layer", ""))
    if not re.fullmatch(r"[\w.]+", value) or value == "None":
        raise UserError(
            f"{result.stem}: parameters.at_layer: is {shorten(value)!r}, must be one layer: this "
            "figure needs one anti-transfer layer in each instance"
        )
    return int(value) if value.isdecimal() else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw and write the figures."""
    parser = figure_parser("Draw the improvement of accuracy by anti-transfer layer.")
    parser.add_argument(
        "--experiment", type=int, metavar="ID", help="an anti-transfer experiment of your own"
    )
    parser.add_argument(
        "--baseline", type=int, metavar="ID", help="its baseline on the same dataset"
    )
    parsed = parser.parse_args(arguments)
    if (parsed.experiment is None) != (parsed.baseline is None):
        raise UserError("--experiment ID and --baseline ID: one needs the other")
    results = settings_from(parsed).results
    log_to(results.figures_folder)
    with figure_style():
        if parsed.experiment is None:
            figures = published_figures()
        else:
            figures = own_figures(results, parsed.experiment, parsed.baseline)
        finish(figures, results.figures_folder, parsed.show)


if __name__ == "__main__":
    run_command(main)
