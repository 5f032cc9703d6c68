"""The curves of a training as drawn, for the paper's run and for a user's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from config.errors import UserError
from plotting.plot_loss_epochs import draw_history, main, own_figures
from plotting.published import load_published
from tests.synthetic_results import TRANSFER_HISTORY, make_result, write_result
from training.results.result import FoldResult

CurvesOf = Callable[[Axes], list[tuple[list[float], list[float]]]]


def test_published_run_has_three_panels_and_its_best_epoch_is_the_eighth(
    curves_of: CurvesOf,
) -> None:
    history = FoldResult(**load_published()["loss_epochs"]["history"])
    assert history.best_epoch == 7
    loss, similarity, accuracy = draw_history(history, "title").axes
    epochs, train_loss = curves_of(loss)[0]
    assert epochs == list(range(1, 12))
    assert train_loss[0] == 1.0391606993145412
    assert curves_of(similarity)[1][1][-1] == 0.0016123676527845295
    assert similarity.get_yscale() == "log"
    assert curves_of(accuracy)[1][1][7] == pytest.approx(67.26152623211445)
    labels = loss.get_legend_handles_labels()[1]
    assert labels == ["train", "validation", "best epoch (8), weights kept"]


def test_task_loss_is_drawn_beside_the_total(curves_of: CurvesOf) -> None:
    loss, *_ = draw_history(FoldResult(**TRANSFER_HISTORY), "title").axes
    assert sorted(values for _, values in curves_of(loss)) == [
        [1.5, 1.05, 0.68],
        [1.5, 1.34, 1.57],
        [2.0, 1.1, 0.7],
        [2.1, 1.4, 1.6],
    ]


def test_paper_figure_is_written(folders: list[str], figure_names: Callable[[], set[str]]) -> None:
    main(folders)
    assert figure_names() == {"loss_epochs"}


@pytest.fixture
def two_folds(tmp_path: Path) -> Path:
    """A result with two folds, and a name that a text layout could stumble over."""
    content = make_result(0.5, 0, 28, dataset="gsc_$plit$")
    content["0"] |= TRANSFER_HISTORY
    content["1"] = content["0"]
    return write_result(tmp_path, content)


def test_own_result_gives_one_figure_for_each_fold(two_folds: Path) -> None:
    figures = own_figures(two_folds)
    name = "loss_epochs_gsc_$plit$_spectrum_fast_exp28_run1_fold"
    assert list(figures) == [f"{name}0", f"{name}1"]
    assert figures[f"{name}1"].get_suptitle() == "gsc_$plit$_spectrum_fast_exp28_run1, fold 1"


def test_a_numpy_dictionary_and_a_result_without_history_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give results_a\.json beside it"):
        own_figures(tmp_path / "results_a.npy")
    with pytest.raises(UserError, match=r"run1\.json: 0\.train_loss_hist: missing"):
        own_figures(write_result(tmp_path, make_result(0.5, 0, 5)))
