"""Pre-training: what it writes, that it is not done twice, and what it trains for how long."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config.declarations import Extractor
from config.errors import UserError
from config.ini_files import load_settings
from pretraining import pretrain as pretraining
from pretraining.pretrain import pretrain
from tests.conftest import Examples, Suite
from training.engine import checkpoints, folds, tracking
from training.engine import fit as fitting
from training.models.description import read_description
from training.models.frozen import pretrained_of
from training.models.vgg import VGG16
from training.models.weights import load_weights

EXTRACTORS = load_settings().extractors
EXTRACTOR = EXTRACTORS["noisyspeech"]
CPU = -1


@pytest.fixture
def prepared(suite: Suite) -> Suite:
    """A suite with the extractor's matrices."""
    suite.write_matrices("noisyspeech_randsplit")
    return suite


def train(
    suite: Suite, overwrite: bool = False, extractor: Extractor = EXTRACTOR, **overrides: Any
) -> Path:
    settings = suite.settings(**{"extractor_num_epochs": 2, **overrides})
    return pretrain(extractor, settings, [CPU], overwrite)


def test_it_writes_a_model_that_experiments_can_use(prepared: Suite, bands: Examples) -> None:
    folder = train(prepared, extractor_num_epochs=20, learning_rate=0.001, extractor_batch_size=10)
    assert folder == prepared.extractors / "noisyspeech"
    assert {path.name for path in folder.iterdir()} >= {"history.png", "history.pdf"}
    description = read_description(folder)
    results = json.loads((folder / "results.json").read_text())
    heard = (folder / "training_audio.txt").read_text().split("\n")[:-1]
    assert heard == sorted(f"audio of {group}" for group in results["training_actors"])
    assert description["test_accuracy"] == results["test_acc"]
    assert description["num_test_examples"] == 6
    assert description["classes"] == ["class0", "class1", "class2"]
    assert pretrained_of(prepared.settings(), "noisyspeech").load() is not None
    network = VGG16(3, width=prepared.settings().training_defaults.width).eval()
    network.load_state_dict(load_weights(folder / "model.safetensors"))
    rows = {
        key: sorted(int(group.removeprefix("clip")) for group in results[f"{key}_actors"])
        for key in ("training", "test")
    }
    heard_frames = np.arange(40) < bands.num_frames[:, None]
    training = bands.predictors[rows["training"]][heard_frames[rows["training"]]].astype(float)
    inputs = (bands.predictors[rows["test"]] - training.mean()) / training.std()
    inputs[~heard_frames[rows["test"]]] = 0
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs.astype(np.float32))[:, None])
    labels = bands.target[rows["test"]]
    assert description["test_accuracy"] == np.mean(logits.argmax(1).numpy() == labels)
    assert description["chance_level"] == max(np.bincount(labels)) / 6
    assert description["test_accuracy"] == 1.0


def test_what_is_there_is_not_trained_again_and_another_plan_is_refused(
    prepared: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(prepared)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert train(prepared) == folder
    assert "already there, unchanged; test accuracy" in capsys.readouterr().out
    changes: dict[str, Any] = {"learning_rate": 0.01, "extractor_batch_size": 20}
    with pytest.raises(UserError) as caught:
        train(prepared, **changes)
    text = str(caught.value)
    assert "learning_rate: 0.001 then, 0.01 now" in text
    assert "batch_size: 40 then, 20 now" in text
    assert "--overwrite" in text
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    train(prepared, overwrite=True, **changes)
    assert read_description(folder)["plan"]["learning_rate"] == 0.01


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("name", ["model.safetensors", "extractor.json"])
def test_a_damaged_extractor_is_trained_again_and_is_the_same(name: str, prepared: Suite) -> None:
    folder = train(prepared, extractor_num_epochs=1)
    before, content = read_description(folder), (folder / name).read_bytes()
    damages: list[Callable[[Path], object]] = [lambda path: path.write_bytes(b""), os.unlink, cut]
    for damage in damages:
        (folder / name).write_bytes(content)
        damage(folder / name)
        with pytest.raises(UserError):
            read_description(folder)
    train(prepared, extractor_num_epochs=1)
    after = read_description(folder)
    assert after | {"provenance": None} == before | {"provenance": None}


def test_what_the_results_of_an_extractor_hold_is_written_again_without_training(
    prepared: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(prepared, extractor_num_epochs=1)
    heard = (folder / "training_audio.txt").read_text()
    (folder / "training_audio.txt").unlink()
    monkeypatch.setattr(pretraining, "_train", lambda *_: pytest.fail("trained again"))
    train(prepared, extractor_num_epochs=1)
    assert (folder / "training_audio.txt").read_text() == heard


def test_an_interrupted_pre_training_goes_on_after_its_last_epoch(
    prepared: Suite, make_suite: Callable[[], Suite], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = make_suite()
    undisturbed.write_matrices("noisyspeech_randsplit")
    expected = train(undisturbed, extractor_num_epochs=4)
    monkeypatch.setattr(checkpoints, "SAVING_SHARE", float("inf"))
    run_epoch = fitting._train_epoch
    epochs: list[int] = []

    def counted(*arguments: Any) -> Any:
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return run_epoch(*arguments)

    monkeypatch.setattr(fitting, "_train_epoch", counted)
    with pytest.raises(KeyboardInterrupt):
        train(prepared, extractor_num_epochs=4)
    found = train(prepared, extractor_num_epochs=4)
    assert len(epochs) == 5
    for name in ("results.json", "training_audio.txt"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    made, others = (read_description(folder) for folder in (found, expected))
    assert made.pop("provenance")["commit"] == others.pop("provenance")["commit"]
    assert made == others
    assert not (found / "unfinished_state.pt").exists()


def test_a_tracker_that_is_not_installed_is_refused_before_the_training(
    prepared: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _name: None)
    monkeypatch.setattr(fitting, "_train_epoch", lambda *_: pytest.fail("trained"))
    with pytest.raises(UserError, match="its package is not installed; pip install mlflow"):
        train(prepared, tracker="mlflow")


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """(fold, options) of each training that is started; none is carried out."""
    started: list[Any] = []

    def noted(learner: Any, fold: Any, options: Any, *_: Any) -> None:
        assert learner.methods == []
        started.append((fold, options))
        raise UserError("started")

    monkeypatch.setattr(folds, "train_fold", noted)
    return started


def test_length_and_batches_are_the_extractors_own_unless_set(
    prepared: Suite, fits: list[Any]
) -> None:
    own = {"extractor_num_epochs": "", "num_epochs": 3, "patience": 4, "batch_size": 5}
    set_here = {"extractor_num_epochs": 7, "extractor_patience": 8, "extractor_batch_size": 9}
    for overrides in (own, set_here, {"early_stopping": False}):
        with pytest.raises(UserError, match="started"):
            train(prepared, **overrides)
    found = [(each.num_epochs, each.patience, each.batch_size) for _, each in fits]
    assert found == [(100, 10, 40), (7, 8, 9), (2, None, 40)]
    assert {each.best_metric for _, each in fits} == {"val_loss"}


def test_only_words_and_notes_are_moved() -> None:
    moved = {name for name, extractor in EXTRACTORS.items() if extractor.random_offset}
    assert moved == {"librispeech", "nsynth"}


@pytest.mark.parametrize("moved", [False, True])
def test_training_examples_move_in_their_padding_and_the_others_do_not(
    prepared: Suite, fits: list[Any], bands: Examples, moved: bool
) -> None:
    with pytest.raises(UserError, match="started"):
        train(prepared, extractor=EXTRACTOR.model_copy(update={"random_offset": moved}))
    ((fold, _),) = fits
    training = fold.sets["training"]
    rows = [int(group.removeprefix("clip")) for group in fold.groups["training"]]
    starts: set[int] = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        batch = next(training.training_batches(len(rows), False, generator))
        silent = ~batch.inputs[:, 0].any(dim=2)
        free = (bands.num_frames[sorted(rows)] < 40).tolist()
        assert not silent[[not each for each in free]].any()
        starts |= {int((~each).nonzero()[0]) for each in silent[free]}
    assert starts == (set(range(11)) if moved else {0})
    for name in ("validation", "test"):
        first, second = (
            next(fold.sets[name].training_batches(6, False, torch.Generator().manual_seed(seed)))
            for seed in (0, 1)
        )
        assert torch.equal(first.inputs, second.inputs)
