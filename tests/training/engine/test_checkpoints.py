"""A training that is interrupted and started again ends as if nothing had happened."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from training.engine import checkpoints
from training.engine import fit as fitting
from training.engine.checkpoints import Checkpoint
from training.sweep import instance as instance_module

if TYPE_CHECKING:
    from tests.conftest import Suite

NUM_EPOCHS = 5
AGAINST_NOISE = {
    "anti_transfer": True,
    "at_dataset": "noisyspeech",
    "at_layer": "3",
    "num_epochs": NUM_EPOCHS,
}


@pytest.fixture(autouse=True)
def each_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny epochs are shorter than ten times the saving."""
    monkeypatch.setattr(checkpoints, "SAVING_SHARE", float("inf"))


class Interruption:
    """Lets a function of a module go through so many times, and then is a Ctrl-C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, after: int) -> None:
        self.calls = 0
        original = getattr(module, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls > after:
                raise KeyboardInterrupt
            return original(*arguments, **named)

        monkeypatch.setattr(module, name, counted)


def assert_equal(first: "Suite", second: "Suite", num_folds: int = 1) -> None:
    """Results and weights of each fold, bit for bit; the time that they took is no result."""
    result, other = (json.loads(each.files(1).json_path.read_text()) for each in (first, second))
    del result["provenance"], other["provenance"]
    assert result == other
    predictions, others = (each.files(1).predictions.read_bytes() for each in (first, second))
    assert predictions == others
    for fold in range(num_folds):
        weights, others = (
            torch.load(each.files(1).model(fold), weights_only=True) for each in (first, second)
        )
        assert weights.keys() == others.keys()
        assert all(torch.equal(weights[name], others[name]) for name in weights)


def prepared(suite: "Suite", **training: Any) -> "Suite":
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, {**AGAINST_NOISE, **training})
    return suite


@pytest.mark.parametrize(
    "values",
    [
        {"at_aggregation": "stochastic_pairwise", "choose_optimizer": "rmsprop"},
        {"gradient_reversal_label": "class_name", "gradient_reversal_layer": 2},
    ],
)
def test_a_run_that_is_stopped_after_each_epoch_is_the_same_run(
    make_suite: Callable[[], "Suite"],
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, Any],
) -> None:
    """Random blocks, the optimizer's and the adversary's state, and the histories go on."""
    undisturbed = prepared(make_suite(), **values)
    undisturbed.run(1)
    disturbed = prepared(make_suite(), **values)
    trained = 0.0
    for _ in range(NUM_EPOCHS - 1):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            Interruption(patched, fitting, "_train_epoch", after=1)
            disturbed.run(1)
        state = torch.load(disturbed.files(1).state(0), weights_only=True)["state"]
        assert state["result"]["seconds"] > trained
        trained = state["result"]["seconds"]
    with monkeypatch.context() as patched:
        last = Interruption(patched, fitting, "_train_epoch", after=1)
        assert disturbed.run(1)["provenance"]["seconds"] > trained
        assert last.calls == 1
    assert_equal(undisturbed, disturbed)
    assert list(disturbed.files(1).unfinished.iterdir()) == []


@pytest.mark.parametrize("function", ["write_json", "write_result"])
def test_finished_folds_are_not_trained_again(
    make_suite: Callable[[], "Suite"], monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    values = {"num_epochs": 2, "num_folds": 3}
    undisturbed = prepared(make_suite(), **values)
    undisturbed.run(1)
    disturbed = prepared(make_suite(), **values)
    after = 0 if function == "write_result" else 1
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        Interruption(patched, instance_module, function, after)
        disturbed.run(1)
    with monkeypatch.context() as patched:
        epochs = Interruption(patched, fitting, "_train_epoch", after=100)
        disturbed.run(1)
    # Interrupted in the second fold after its last state, or after all folds.
    assert epochs.calls == (0 if function == "write_result" else 3)
    assert_equal(undisturbed, disturbed, num_folds=3)


def test_a_broken_state_is_named_and_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(b"no state")
    assert Checkpoint(path, "this training", 4).read() is None
    assert "cannot be used, the training starts anew" in capsys.readouterr().out
