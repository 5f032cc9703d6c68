"""What the report's figures draw, against the numbers that they are made of."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from plotting.reporting.compare import compare
from plotting.reporting.figures import all_figures, confusion_of, mean_curve
from plotting.reporting.findings import Findings, find
from tests.synthetic_results import AGAINST_NOISE, loaded, make_result

AGAINST: dict[str, Any] = {**AGAINST_NOISE, "at_dataset": "librispeech"}
DATASET: dict[str, Any] = {"dataset": "iemocap_randsplit"}


def found(*results: dict[str, Any]) -> Findings:
    (comparison,) = compare(loaded(results))
    return find(comparison)


def figure_of(findings: Findings, word: str) -> Figure:
    figures = [each for each in all_figures(findings, "01") if word in each.name]
    assert len(figures) == 1
    assert all(each.alt for each in figures)
    return figures[0].figure


def bars_of(panel: Any) -> list[Any]:
    """The curves with error bars."""
    return list(panel.containers)


@pytest.fixture
def by_layer() -> Findings:
    """Two seeds: baseline 60 and 64 %; layer 2 gains 1 and 3 points, layer 5 gains 4 and 8."""
    tests = {0: 0.60, 1: 0.64}
    gains = {2: (0.01, 0.03), 5: (0.04, 0.08)}
    results = [make_result(test, seed, 1, **DATASET) for seed, test in tests.items()]
    results += [
        make_result(tests[seed] + gain, seed, 21, at_layer=layer, **AGAINST, **DATASET)
        for layer, pair in gains.items()
        for seed, gain in enumerate(pair)
    ]
    return found(*results)


def test_improvements_are_drawn_by_layer_with_their_intervals(by_layer: Findings) -> None:
    """Student's t of two pairs: half width 12.706 x s / sqrt(2), s = sqrt(2) and sqrt(8)."""
    figure = figure_of(by_layer, "layers")
    train, validation, test = figure.axes
    (bars,) = bars_of(test)
    line, _, (segments,) = bars.lines
    assert line.get_xdata() == pytest.approx([2, 5])
    assert line.get_ydata() == pytest.approx([2.0, 6.0])
    halves = [float(segment[1, 1] - segment[0, 1]) / 2 for segment in segments.get_segments()]
    assert halves == pytest.approx([12.706, 25.412], rel=1e-3)
    assert bars_of(validation)[0].lines[0].get_ydata() == pytest.approx([0.0, 0.0])
    assert [panel.get_title() for panel in (train, validation, test)] == [
        "Train set",
        "Validation set",
        "Test set",
    ]


def test_of_an_error_the_axis_says_that_smaller_is_better() -> None:
    results = [make_result(0.6, 0, 1, "regression")]
    results += [make_result(0.5, 0, 21, "regression", at_layer=n, **AGAINST) for n in (2, 5)]
    train, *_ = figure_of(found(*results), "layers").axes
    assert train.get_ylabel() == "RMSE minus the baseline's\n(smaller is better, same seeds)"


def test_confusions_are_shares_of_the_true_class() -> None:
    """Over both seeds: 3 + 1 of 4 + 4 right in the first row, 2 + 2 of 2 + 2 in the second."""
    results = [make_result(0.5, seed, 5) for seed in (0, 1)]
    results[0]["0"]["test_confusion"] = [[3, 1, 0], [0, 2, 0], [0, 0, 0]]
    results[1]["0"]["test_confusion"] = [[1, 3, 0], [0, 2, 0], [0, 0, 0]]
    other = make_result(0.5, 0, 28, **AGAINST)
    other["0"]["test_confusion"] = [[4, 0, 0], [2, 0, 0], [0, 0, 0]]
    findings = found(*results, other)
    assert findings.comparison.baseline is not None
    matrix = confusion_of(findings.comparison.baseline)
    assert matrix is not None
    assert matrix[:2].tolist() == [[50.0, 50.0, 0.0], [0.0, 100.0, 0.0]]
    assert np.isnan(matrix[2]).all()
    figure = figure_of(findings, "confusion")
    assert [panel.get_title() for panel in figure.axes[:2]] == [
        "baseline",
        "anti-transfer against librispeech, layer 13",
    ]


def test_curves_are_means_of_the_runs_that_went_on() -> None:
    """Epochs that fewer than half of the runs reached are left out."""
    results = [make_result(0.5, seed, 5) for seed in range(3)]
    losses = ([3.0, 2.0, 1.0, 0.5], [5.0, 4.0, 3.0], [4.0, 3.0])
    for result, loss in zip(results, losses, strict=True):
        result["0"] |= {"train_loss_hist": loss, "val_loss_hist": loss}
    baseline = found(*results).comparison.baseline
    assert baseline is not None
    curve = mean_curve(baseline, "train", "task_loss")
    assert curve is not None
    assert curve.mean == pytest.approx([4.0, 3.0, 2.0])
    assert curve.deviation == pytest.approx([1.0, 1.0, 2**0.5])
    assert mean_curve(baseline, "train", "acc") is None


def test_methods_stand_side_by_side_with_what_the_shortcut_helps_and_misleads() -> None:
    """Gains of 5, 2 and -1 points in both seeds; aligned 90 %, conflicting 40 % everywhere."""
    results = [make_result(0.5 + 0.05 * seed, seed, 1) for seed in (0, 1)]
    for experiment, gain in ((2, 0.05), (3, 0.02), (4, -0.01)):
        own = {**AGAINST, "at_beta": float(experiment)}
        results += [make_result(0.5 + 0.05 * s + gain, s, experiment, **own) for s in (0, 1)]
    for result in results:
        parts = {"aligned": {"examples": 9, "acc": 0.9}, "conflicting": {"examples": 9, "acc": 0.4}}
        result["0"]["test_alignment"] = {"label": "room", **parts}
    gains, accuracies = figure_of(found(*results), "methods").axes
    dots = [line.get_xdata() for line in gains.get_lines() if line.get_marker() == "o"]
    assert np.array(dots) == pytest.approx(np.array([[5.0], [2.0], [-1.0]]))
    drawn = np.array([line.get_xdata() for line in accuracies.get_lines()])
    assert drawn == pytest.approx(np.array([[90.0] * 3, [40.0] * 3]))
