"""Which run of another experiment a training starts from."""

from typing import TYPE_CHECKING, Any

import pytest

from config.errors import UserError
from config.fields import Task
from training.engine.metrics import CLIP_METRICS, SET_METRICS
from training.results.best_run import best_run, initial_weights
from training.results.dictionary import write_result
from training.results.loading import ResultReader

if TYPE_CHECKING:
    from tests.conftest import Suite


def test_no_best_run_of_an_experiment_without_results(suite: "Suite") -> None:
    with pytest.raises(UserError, match=r"run python experiments_manager\.py \[31\] (0|-1)$"):
        best_run(suite.settings(at_pretraining="experiment 31"), ResultReader())


@pytest.mark.parametrize(("task", "best"), [("classification", 2), ("regression", 3)])
def test_the_best_run_is_that_of_highest_accuracy_or_lowest_error(
    suite: "Suite", task: Task, best: int
) -> None:
    metrics = [*SET_METRICS[task], *CLIP_METRICS[task]]
    parameters: dict[str, Any] = {
        "task": task,
        "dataset": "tiny",
        "features_type": "spectrum_fast",
        "kind": "baseline",
        "seed": 0,
        "anti_transfer": False,
    }
    for number, (loss, accuracy) in enumerate([(0.5, 0.6), (0.9, 0.8), (0.1, 0.7)], start=1):
        figures = {
            f"{prefix}_{name}": 0.5 for prefix in ("train", "val", "test") for name in metrics
        }
        fold = {**figures, "test_chance": 0.3, "val_loss": loss, "val_acc": accuracy}
        write_result(suite.files(31, number), [fold], parameters, {"split": "by clip"}, {}, {})
    settings = suite.settings(at_pretraining="experiment 31")
    assert best_run(settings, ResultReader())["number"] == best
    assert initial_weights(settings, ResultReader(), 2) == suite.files(31, best).model(2)
