"""The curves of a training as drawn, for the paper's run and for a user's own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from config.errors import UserError
from config.text import PROJECT_FOLDER
from plotting.plot_loss_epochs import draw_history, main, own_figures
from plotting.published import load_published
from plotting.result_files import read_history, read_result

SCRIPT = PROJECT_FOLDER / "plotting" / "plot_loss_epochs.py"


CurvesOf = Callable[[Axes], list[tuple[list[float], list[float]]]]


def test_published_run_has_three_panels_and_its_best_epoch_is_the_eighth(
    curves_of: CurvesOf,
) -> None:
    history = read_history(load_published()["loss_epochs"]["history"], "published")
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


def test_task_loss_is_drawn_beside_the_total(content: dict[str, Any], curves_of: CurvesOf) -> None:
    history = read_history(content["0"], "file")
    loss, *_ = draw_history(history, "title").axes
    assert sorted(values for _, values in curves_of(loss)) == [
        [1.5, 1.05, 0.68],
        [1.5, 1.34, 1.57],
        [2.0, 1.1, 0.7],
        [2.1, 1.4, 1.6],
    ]


def test_similarity_that_is_negative_has_a_linear_axis(content: dict[str, Any]) -> None:
    content["0"]["train_feature_loss_hist"] = [-0.5, -0.6, -0.9]
    _, similarity, _ = draw_history(read_history(content["0"], "file"), "title").axes
    assert similarity.get_yscale() == "linear"


def test_regression_without_anti_transfer_shows_the_loss_alone(content: dict[str, Any]) -> None:
    fold = {key: content["0"][key] for key in ("train_loss_hist", "val_loss_hist", "best_epoch")}
    figure = draw_history(read_history(fold, "file"), "title")
    assert [panel.get_title() for panel in figure.axes] == ["Loss"]


def test_paper_figure_is_written(folders: list[str], figure_names: Callable[[], set[str]]) -> None:
    main(folders)
    assert figure_names() == {"loss_epochs"}


@pytest.fixture
def two_folds(content: dict[str, Any], tmp_path: Path) -> Path:
    """A result with two folds, and a name that a text layout could stumble over."""
    content["1"] = content["0"]
    path = tmp_path / "results_gsc_$plit$_exp28_run0.json"
    path.write_text(json.dumps(content))
    return path


def test_own_result_gives_one_figure_for_each_fold(two_folds: Path) -> None:
    figures = own_figures(read_result(two_folds))
    name = "loss_epochs_gsc_$plit$_exp28_run0_fold"
    assert list(figures) == [f"{name}0", f"{name}1"]
    assert figures[f"{name}1"].get_suptitle() == "gsc_$plit$_exp28_run0, fold 1"


def test_fold_that_is_asked_for_is_written(
    two_folds: Path, folders: list[str], figure_names: Callable[[], set[str]]
) -> None:
    main([str(two_folds), "--fold", "1", *folders])
    assert figure_names() == {"loss_epochs_gsc_$plit$_exp28_run0_fold1"}


def test_fold_must_be_there(two_folds: Path, folders: list[str]) -> None:
    with pytest.raises(UserError, match=r"no fold 7; its folds: 0, 1"):
        main([str(two_folds), "--fold", "7", *folders])
    with pytest.raises(UserError, match=r"--fold: chooses a fold of a RESULT\.json"):
        main(["--fold", "1", *folders])


def test_foreign_file_is_one_line_and_exit_code_2_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"0": {"loss": 1}}')
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "other.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "other.json: 0.train_loss_hist: missing" in result.stderr
    assert result.stdout == ""
