"""Trainings that go wrong are named and stopped."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from config.errors import UserError
from preprocessing.pipeline.splits import split_groups
from training.data.batches import ExampleSet, Normalization
from training.engine.checks import (
    TrainingError,
    activation_norms,
    missing_classes,
    refuse_divergence,
    refuse_vanished,
)
from training.engine.devices import build_accelerator
from training.engine.step import Learner, build_optimizer
from training.methods.anti_transfer import AntiTransferLoss

if TYPE_CHECKING:
    from tests.conftest import Examples, Suite

CPU = torch.device("cpu")
GOOD = {"loss": 1.2, "task_loss": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("which", ["training", "validation"])
def test_a_loss_that_is_no_number(value: float, which: str) -> None:
    bad = {"loss": value, "task_loss": 1.0}
    train, validation = (bad, GOOD) if which == "training" else (GOOD, bad)
    with pytest.raises(TrainingError, match=f"the {which} loss became .* in epoch 3"):
        refuse_divergence(train, validation, 1.0, epoch=2)


@pytest.mark.parametrize(
    ("first", "loss", "is_refused"),
    [(2.0, 1999.0, False), (2.0, 2001.0, True), (1e-6, 999.0, False), (None, 1e9, False)],
)
def test_a_loss_that_explodes(first: float | None, loss: float, is_refused: bool) -> None:
    figures = {"loss": loss, "task_loss": loss}
    if not is_refused:
        refuse_divergence(figures, GOOD, first, epoch=5)
        return
    with pytest.raises(TrainingError, match=r"exploded from 2 .* to 2e\+03 after epoch 6"):
        refuse_divergence(figures, GOOD, first, epoch=5)


def test_activations_that_vanish() -> None:
    at_start = {"noisyspeech_layer3": 0.5, "noisyspeech_layer5": 0.5}
    refuse_vanished({"noisyspeech_layer3": 0.001, "noisyspeech_layer5": 7.0}, at_start)
    with pytest.raises(TrainingError, match=r"activations of noisyspeech_layer5 shrank to 0\.0008"):
        refuse_vanished({"noisyspeech_layer3": 0.5, "noisyspeech_layer5": 0.0004}, at_start)


def test_norms_are_root_mean_squares_of_the_first_examples() -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 2, 3))

    generator = np.random.default_rng(0)
    predictors = generator.standard_normal((11, 9, 7)).astype(np.float32)
    examples = ExampleSet(
        predictors, np.zeros(11, dtype=np.int64), np.arange(11), Normalization(0.5, 2.0), CPU
    )
    model = network().train()
    optimizer = build_optimizer("adam", model.parameters(), 1e-3, 0.0)
    accelerator = build_accelerator(CPU, "fp32", "none", Path("unused"))
    with AntiTransferLoss(model, network(), [1], name="noise") as penalty:
        learner = Learner(model, optimizer, [penalty], accelerator, "classification")
        found = activation_norms(learner, examples)
        assert penalty.taps.missing == [1]
    inputs = torch.from_numpy((predictors[:8] - 0.5) / 2.0)[:, None]
    expected = model[0](inputs).relu().detach().numpy()
    assert found == {"noise_layer1": pytest.approx(np.sqrt((expected.astype(float) ** 2).mean()))}
    assert model.training


def test_missing_classes() -> None:
    assert missing_classes(torch.tensor([0, 3, 3, 5]), 6) == [1, 2, 4]
    assert missing_classes(torch.tensor([1, 0]), 2) == []


def test_a_training_whose_activations_vanish_is_stopped(
    suite: "Suite", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight decay that pulls all weights to zero in a few steps."""
    suite.write_matrices()
    suite.write_extractor()
    against = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": "3"}
    suite.write_experiment(1, against | {"choose_optimizer": "sgd", "num_epochs": 5})
    with pytest.raises(TrainingError, match="noisyspeech_layer3 shrank"):
        suite.run(1, regularization_lambda=800.0, learning_rate=0.001)
    assert not suite.files(1).json_path.exists()


def with_labels(examples: "Examples", groups: list[str], label: int) -> "Examples":
    """No example of the groups has the label."""
    target = examples.target.copy()
    rows = [int(group.removeprefix("clip")) for group in groups]
    target[rows] = np.where(target[rows] == label, (label + 1) % 3, target[rows])
    return type(examples)(examples.predictors, target, examples.num_frames)


def groups_of(set_name: str) -> list[str]:
    """The split of Suite.write_matrices."""
    groups = [f"clip{number:03}" for number in range(60)]
    order = [str(group) for group in np.random.default_rng(5).permutation(groups)]
    members: list[str] = getattr(split_groups(order, (0.7, 0.2, 0.1))[0], set_name)
    return members


def test_a_class_that_no_training_example_has_is_refused(suite: "Suite", bands: "Examples") -> None:
    suite.write_matrices(examples=with_labels(bands, groups_of("train"), 2))
    suite.write_experiment(1)
    with pytest.raises(UserError, match="training set has no example of 1 of 3 classes: class2"):
        suite.run(1)


def test_a_class_that_no_test_example_has_is_named(
    suite: "Suite", bands: "Examples", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices(examples=with_labels(bands, groups_of("test"), 1))
    suite.write_experiment(1)
    suite.run(1, num_epochs=1)
    said = capsys.readouterr().out
    assert "the test set has no example of 1 of 3 classes: class1" in said
