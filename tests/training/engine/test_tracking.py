"""What TensorBoard is told, read back from its files; and that telling it changes nothing."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from preprocessing.pipeline.matrices import open_matrices
from training.engine.devices import build_accelerator
from training.engine.folds import load_fold
from training.engine.step import Learner
from training.engine.tracking import gradient_norms, start_tracking, tracker_problem
from training.methods.anti_transfer import AntiTransferLoss
from training.models.vgg import VGG16
from training.similarity.layer_loss import aggregate, layer_loss

if TYPE_CHECKING:
    from tests.conftest import Suite

AGAINST = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": "3, 13"}


def scalars_of(folder: Path) -> dict[str, list[float]]:
    """All scalars of the only run in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = {path.parent for path in folder.glob("*/events.*")}
    events = EventAccumulator(str(run))
    events.Reload()
    return {tag: [each.value for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_each_epoch_is_told_and_nothing_changes(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(20, AGAINST)
    quiet = suite.run(20)
    told = suite.run(20, tracker="tensorboard")
    assert told["parameters"].pop("tracker") == "tensorboard"
    assert quiet["parameters"].pop("tracker") == "none"
    text = told["summary"]["parameters"]
    told["summary"]["parameters"] = text.replace('tracker="tensorboard"', 'tracker="none"')
    del told["provenance"], quiet["provenance"]
    assert told == quiet
    scalars = scalars_of(suite.results / "tracking")
    for name in ("loss", "task_loss", "feature_loss", "noisyspeech_layer3_loss", "acc"):
        for set_name in ("train", "val"):
            expected = told["0"][f"{set_name}_{name}_hist"]
            assert scalars[f"{name}/{set_name}"] == pytest.approx(expected, rel=1e-6)
    assert scalars["learning_rate"] == pytest.approx([0.001] * 2)
    assert all(value > 0 for value in scalars["examples_per_second"])
    for layer in (3, 13):
        for what in ("task", "penalty"):
            assert all(
                value > 0 for value in scalars[f"gradient_norm/{what}_noisyspeech_layer{layer}"]
            )


def test_a_package_is_known_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a folder of logs that has its name."""
    (tmp_path / "some_tracker").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [tracker_problem(name) for name in ("none", "tensorboard")] == ["", ""]
    for name in ("some_tracker", "another_tracker"):
        assert tracker_problem(name) == (
            f"[training_defaults] tracker = {name}: its package is not installed"
        )


def test_a_title_stays_in_its_folder(suite: "Suite") -> None:
    accelerator = build_accelerator(
        torch.device("cpu"), "fp32", "tensorboard", suite.results / "tracking"
    )
    training = suite.settings(tracker="tensorboard").training_defaults
    start_tracking(accelerator, "../../elsewhere run 1", training)
    accelerator.end_training()
    assert [path.name for path in (suite.results / "tracking").iterdir()] == ["_elsewhere_run_1"]
    assert not (suite.folder / "elsewhere run 1").exists()


def test_the_pull_of_a_penalty_is_its_gradient_at_the_layer(suite: "Suite") -> None:
    """Against the whole network differentiated by hand."""
    suite.write_matrices()
    matrices = open_matrices(suite.matrices, "tiny")
    (split,) = matrices.folds((0.7, 0.2, 0.1), 1)
    training = load_fold(matrices, split, torch.device("cpu")).sets["training"]
    torch.manual_seed(0)
    model, frozen = VGG16(3, width=1 / 32), VGG16(3, width=1 / 32)
    penalty = AntiTransferLoss(model, frozen, [3], beta=2.0)
    accelerator = build_accelerator(torch.device("cpu"), "fp32", "none", suite.folder)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    learner = Learner(model, optimizer, [penalty], accelerator, "classification")
    with penalty:
        pulls = gradient_norms(learner, training, 8)
    batch = next(training.batches(8))
    activation = model.eval().features[:7](batch.inputs).detach().requires_grad_()
    logits = model.classifier(model.avgpool(model.features[7:](activation)).flatten(1))
    task = torch.nn.functional.cross_entropy(logits, batch.labels)
    term = 2 * layer_loss(activation, aggregate(frozen.features[:7](batch.inputs)))
    for name, value in (("task", task), ("penalty", term)):
        (gradient,) = torch.autograd.grad(value, activation)
        assert pulls[f"{name}_frozen_layer3"] == pytest.approx(float(gradient.norm()), rel=1e-4)
