"""Improvements by layer, worked by hand, and the figures that show them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from config.errors import UserError
from plotting.plot_perLayer_improvement import (
    draw_own,
    draw_published_split,
    layer_improvement,
    main,
    published_figures,
    shown_layers,
)
from plotting.published import load_published
from tests.synthetic_results import AGAINST_NOISE, loaded, make_result, write_result
from training.results.loading import load_results
from training.results.metric import METRICS

CurvesOf = Callable[[Axes], list[tuple[list[float], list[float]]]]


def write(
    folder: Path, experiment: int, seed: int, accuracies: tuple[float, float, float], **given: Any
) -> None:
    train, validation, test = accuracies
    content = make_result(test, seed, experiment, validation=validation, train=train, **given)
    write_result(folder, content)


@pytest.fixture
def own_results(tmp_path: Path) -> Path:
    """A baseline with three repetitions; layer 2 with two repetitions, layer 13 with one."""
    folder = tmp_path / "results"
    write(folder, 5, 0, (0.80, 0.60, 0.50))
    write(folder, 5, 1, (0.90, 0.70, 0.60))
    write(folder, 5, 2, (0.85, 0.65, 0.70))
    write(folder, 28, 0, (0.90, 0.70, 0.62), **AGAINST_NOISE, at_layer=2)
    write(folder, 28, 1, (0.80, 0.60, 0.66), **AGAINST_NOISE, at_layer=2)
    write(folder, 28, 10, (0.70, 0.50, 0.55), **AGAINST_NOISE, at_layer=13)
    return folder


def test_improvement_is_over_the_baselines_mean(own_results: Path) -> None:
    experiment = load_results(own_results, 28)
    baseline = load_results(own_results, 5)
    test = layer_improvement(experiment, baseline, "test")
    assert test.by_layer == {2: pytest.approx([2.0, 6.0]), 13: pytest.approx([-5.0])}
    assert test.baseline_std == pytest.approx(10.0)
    train = layer_improvement(experiment, baseline, "train")
    assert train.by_layer == {2: pytest.approx([5.0, -5.0]), 13: pytest.approx([-15.0])}


def test_a_smaller_error_of_a_regression_is_an_improvement() -> None:
    """The baseline's errors have the mean 0.6; that of the experiment is 0.45."""
    baseline = loaded([make_result(0.5, 0, 5, "regression"), make_result(0.7, 1, 5, "regression")])
    own = loaded([make_result(0.45, 0, 28, "regression", **AGAINST_NOISE, at_layer=2)])
    improvement = layer_improvement(own, baseline, "test")
    assert improvement.by_layer == {2: pytest.approx([0.15])}
    (panel,) = draw_own({"test": improvement}, "title", "output", [2], own[0].metric).axes
    assert panel.get_ylabel() == "Fall of RMSE"


def test_own_figure_leaves_a_gap_where_a_layer_is_missing(
    own_results: Path, curves_of: CurvesOf
) -> None:
    improvement = layer_improvement(
        load_results(own_results, 28), load_results(own_results, 5), "test"
    )
    shown = shown_layers(improvement.by_layer, "vgg16")
    (panel,) = draw_own({"test": improvement}, "title", "output", shown, METRICS["acc"]).axes
    layers, values = curves_of(panel)[0]
    assert layers == list(range(1, 14))
    drawn = {layer: y for layer, y in zip(layers, values, strict=True) if not math.isnan(y)}
    assert drawn == pytest.approx({2: 4.0, 13: -5.0})


@pytest.mark.parametrize(
    ("found", "network", "shown"),
    [
        ([2, 4], "vgg16", list(range(1, 14))),
        ([2, 4], "small_cnn", [1, 2, 3, 4]),
        ([17, 2], "resnet18", list(range(1, 18))),
        (["layer1", "layer3.0"], "resnet18", ["layer1", "layer3.0"]),
        (["head", 3], "mine", ["head", 3]),
    ],
)
def test_the_axis_has_the_layers_of_the_network(found: Any, network: str, shown: Any) -> None:
    assert shown_layers(found, network) == shown


def test_own_figure_is_written_and_missing_layers_are_named_in_one_line(
    own_results: Path,
    folders: list[str],
    figure_names: Callable[[], set[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--experiment", "28", "--baseline", "5", *folders])
    assert figure_names() == {"perLayer_improvement_exp28_baseline5"}
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "no result yet" in line]
    assert "1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12;" in line


def test_published_curves_are_drawn_for_both_sets_and_networks(curves_of: CurvesOf) -> None:
    train, test = draw_published_split(load_published(), "random", "title").axes
    assert [panel.get_title() for panel in (train, test)] == ["Train set", "Test set"]
    (_, libri), (_, iemocap) = curves_of(test)
    assert libri[3] == pytest.approx(67.7884615 - 63.7, abs=1e-6)
    assert iemocap[4] == pytest.approx(66.5064103 - 63.7, abs=1e-6)
    (_, libri), (_, iemocap) = curves_of(train)
    assert libri[0] == pytest.approx(72.5185185 - 69.05, abs=1e-6)
    assert iemocap[12] == pytest.approx(68.7777778 - 69.05, abs=1e-6)


def test_paper_has_three_figures_and_the_last_shows_the_means(curves_of: CurvesOf) -> None:
    figures = published_figures()
    assert list(figures) == [
        "perLayer_improvement_randsplit",
        "perLayer_improvement_actorsplit",
        "perLayer_improvement_mean",
    ]
    (panel,) = figures["perLayer_improvement_mean"].axes
    (_, train), (_, test) = curves_of(panel)
    first = (72.5185185 + 72.9688850 + 69.6694470 + 64.7147796) / 4 - (69.05 + 67.8) / 2
    ninth = (64.8397436 + 62.0155039 + 63.974359 + 55.7692308) / 4 - (63.7 + 57.2) / 2
    assert (train[0], test[8]) == pytest.approx((first, ninth), abs=1e-6)


def test_experiment_and_baseline_need_each_other_and_the_same_data(
    own_results: Path, folders: list[str]
) -> None:
    with pytest.raises(UserError, match="one needs the other"):
        main(["--experiment", "28", *folders])
    write(own_results, 6, 0, (0.8, 0.6, 0.5), dataset="gsc_noisy_randsplit")
    with pytest.raises(UserError, match="need the same dataset"):
        main(["--experiment", "28", "--baseline", "6", *folders])


@pytest.mark.parametrize("layer", ["", None, "3, 5"])
def test_layer_must_be_one(own_results: Path, folders: list[str], layer: Any) -> None:
    write(own_results, 29, 0, (0.8, 0.6, 0.5), **AGAINST_NOISE, at_layer=layer)
    with pytest.raises(UserError, match=r"exp29_run1: parameters\.at_layer: is .*must be one"):
        main(["--experiment", "29", "--baseline", "5", *folders])
