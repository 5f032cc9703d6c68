"""The paper's figures of improvements by layer, against values worked by hand."""

from collections.abc import Callable

import pytest
from matplotlib.axes import Axes

from plotting.plot_perLayer_improvement import (
    draw_published_split,
    published_figures,
)
from plotting.published import load_published

CurvesOf = Callable[[Axes], list[tuple[list[float], list[float]]]]


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
