"""One instance from matrices to result: its metrics recomputed, seeds, frozen networks."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support
from torch import Tensor, nn
from torch.nn import functional

from tests.conftest import Examples, Suite
from training.models.registry import build_network
from training.models.vgg import CONVOLUTION_INDICES, VGG16
from training.similarity.layer_loss import aggregate, layer_loss
from training.sweep import instance as instance_module

SETS = {"train": "training_actors", "val": "validation_actors", "test": "test_actors"}
METRICS = (
    *("loss", "acc", "f1", "precision", "recall", "uar"),
    *("clip_acc", "clip_uar", "clip_f1"),
)
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}


def load_dictionary(suite: Suite, identifier: int, number: int = 1) -> Any:
    return np.load(suite.files(identifier, number).dictionary, allow_pickle=True).item()


def stored_weights(suite: Suite, identifier: int, number: int = 1, fold: int = 0) -> Any:
    return torch.load(suite.files(identifier, number).model(fold), weights_only=True)


def stored_model(suite: Suite, identifier: int, outputs: int = 3) -> VGG16:
    model = VGG16(outputs, width=1 / 32)
    model.load_state_dict(stored_weights(suite, identifier))
    return model.eval()


def activation_of(model: VGG16, inputs: Tensor, layer: int) -> Tensor:
    """What leaves the ReLU after a convolution."""
    activation: Tensor = model.features[: CONVOLUTION_INDICES[layer - 1] + 2](inputs)
    return activation


def rows_of(groups: list[str]) -> list[int]:
    return sorted(int(group.removeprefix("clip")) for group in groups)


def set_inputs(examples: Examples, fold: dict[str, Any], prefix: str) -> Tensor:
    """(examples, 1, frames, bins), normalised by numpy's statistics of the training rows."""
    training = examples.predictors[rows_of(fold["training_actors"])].astype(float)
    chosen = examples.predictors[rows_of(fold[SETS[prefix]])].astype(float)
    normalised = (chosen - training.mean()) / training.std()
    return torch.from_numpy(normalised.astype(np.float32))[:, None]


def set_labels(examples: Examples, fold: dict[str, Any], prefix: str) -> Any:
    return examples.target[rows_of(fold[SETS[prefix]])]


def load_frozen(suite: Suite, name: str) -> VGG16:
    frozen = VGG16(11, width=1 / 32).eval()
    frozen.load_state_dict(load_file(suite.extractors / name / "model.safetensors"))
    return frozen


def term_of(model: VGG16, frozen: VGG16, inputs: Tensor, layer: int) -> float:
    """The similarity of a layer, as a mean over examples in batches of 10."""
    total = 0.0
    with torch.no_grad():
        for batch in torch.split(inputs, 10):
            current, other = (activation_of(each, batch, layer) for each in (model, frozen))
            total += len(batch) * float(layer_loss(current, aggregate(other)))
    return total / len(inputs)


@pytest.fixture(scope="module")
def trained(make_suite: Callable[[], Suite]) -> Suite:
    """Experiment 28: one anti-transfer training of three epochs."""
    suite = make_suite()
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(28, AGAINST_NOISE, {"comment_2": "layer{at_layer}"})
    result = suite.run(28, num_epochs=3, learning_rate=0.003, save_best_model_metric="val_acc")
    assert set(result["inputs"]) == {"data", "extractor noisyspeech"}
    return suite


def test_the_dictionary_has_the_published_keys_and_those_added(trained: Suite) -> None:
    dictionary = load_dictionary(trained, 28)
    assert list(dictionary) == [0, "summary", "parameters"]
    assert dictionary["parameters"]["at_layer"] == 13
    parameters = dictionary["summary"]["parameters"].split("/")
    assert {"anti_transfer=True", 'at_dataset="noisyspeech"', "at_layer=13"} <= set(parameters)
    fold = dictionary[0]
    published = {f"{prefix}_{metric}" for prefix in SETS for metric in METRICS}
    published |= {
        f"{p}_{h}_hist" for p in ("train", "val") for h in ("loss", "acc", "uar", "feature_loss")
    }
    published |= set(SETS.values())
    added = {f"{prefix}_{name}" for prefix in SETS for name in ("task_loss", "feature_loss")}
    levels = ("chance", "examples", "clip_chance", "clips")
    added |= {f"{prefix}_{name}" for prefix in SETS for name in levels}
    terms = ("task_loss", "noisyspeech_layer13_loss")
    added |= {f"{prefix}_{term}_hist" for prefix in ("train", "val") for term in terms}
    added |= {"best_epoch", "numeric_precision", "collapsed", "test_confusion"}
    added |= {"test_groups", "gradient_norms", "shortcut"}
    assert set(fold) == published | added
    statistics = {f"mean_{metric}" for metric in METRICS} | {f"{metric}_std" for metric in METRICS}
    assert set(dictionary["summary"]) == {"training", "validation", "test", "parameters"}
    for name in ("training", "validation", "test"):
        assert set(dictionary["summary"][name]) == statistics


def test_final_metrics_are_those_of_the_stored_best_weights(
    trained: Suite, bands: Examples
) -> None:
    fold = load_dictionary(trained, 28)[0]
    best = fold["best_epoch"]
    assert best == int(np.argmax(fold["val_acc_hist"])) < 2, "the last weights are not the best"
    model = stored_model(trained, 28)
    frozen = load_frozen(trained, "noisyspeech")
    for prefix in SETS:
        inputs, labels = (of(bands, fold, prefix) for of in (set_inputs, set_labels))
        with torch.no_grad():
            logits = model(inputs)
            task_loss = float(functional.cross_entropy(logits, torch.from_numpy(labels)))
        feature_loss = term_of(model, frozen, inputs, 13)
        predictions = logits.argmax(1).numpy()
        assert fold[f"{prefix}_acc"] == pytest.approx(np.mean(labels == predictions))
        assert fold[f"{prefix}_uar"] == pytest.approx(balanced_accuracy_score(labels, predictions))
        macro = precision_recall_fscore_support(
            labels, predictions, average="macro", zero_division=0
        )
        for metric, value in zip(("precision", "recall", "f1"), macro, strict=False):
            assert fold[f"{prefix}_{metric}"] == pytest.approx(value), (prefix, metric)
        assert fold[f"{prefix}_task_loss"] == pytest.approx(task_loss, rel=1e-4)
        assert fold[f"{prefix}_feature_loss"] == pytest.approx(feature_loss, rel=1e-4)
        assert fold[f"{prefix}_loss"] == pytest.approx(task_loss + feature_loss, rel=1e-4)
        assert fold[f"{prefix}_chance"] == max(np.bincount(labels)) / len(labels)
    for name in ("loss", "task_loss", "feature_loss", "acc", "uar"):
        assert fold[f"val_{name}"] == pytest.approx(fold[f"val_{name}_hist"][best], rel=1e-6)
        assert fold[f"train_{name}"] == pytest.approx(fold[f"train_{name}_hist"][best], rel=1e-6)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_clip_of_several_examples_is_one_decision_and_an_altered_copy_another_clip(
    suite: Suite, bands: Examples, loudness: Examples, task: str
) -> None:
    """All examples of a label are made two clips in turns; every fourth is an altered copy."""
    examples, outputs = (bands, 3) if task == "classification" else (loudness, 1)
    index = suite.write_matrices(examples=examples) / "tiny_spectrum_fast_index.csv"
    header, *lines = index.read_text().splitlines()
    clips = [(f"{label}_{row % 2}", int(row % 4 == 0)) for row, label in enumerate(examples.target)]
    rows = [line.split(",") for line in lines]
    for cells, (name, copy) in zip(rows, clips, strict=True):
        cells[0], cells[6] = name, str(copy)
    index.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    suite.write_experiment(40, task=task, output_classes=outputs)
    fold = suite.run(40, num_epochs=1)["0"]
    model = stored_model(suite, 40, outputs)
    # Copies are in the training set alone, so that is the one to look at.
    with torch.no_grad():
        given = model(set_inputs(examples, fold, "train"))
    given = given.softmax(1).numpy() if task == "classification" else given.numpy()
    members: dict[tuple[str, int], list[int]] = {}
    for place, row in enumerate(rows_of(fold["training_actors"])):
        members.setdefault(clips[row], []).append(place)
    truth = np.array([int(name[0]) for name, _ in members])
    means = np.array([np.mean(given[places], axis=0) for places in members.values()])
    assert fold["train_clips"] == len(members) < fold["train_examples"]
    if task == "classification":
        assert fold["train_clip_acc"] == np.mean(means.argmax(1) == truth)
        recall = balanced_accuracy_score(truth, means.argmax(1))
        assert fold["train_clip_uar"] == pytest.approx(recall)
        assert fold["train_clip_chance"] == max(np.bincount(truth)) / len(truth)
    else:
        error = np.sqrt(np.mean((means[:, 0] - truth) ** 2))
        assert fold["train_clip_RMSE"] == pytest.approx(error, rel=1e-5)


class Watched:
    """What a training started from and was shown."""

    def __init__(self, model: nn.Module) -> None:
        self.start = {name: value.clone() for name, value in model.state_dict().items()}
        self.inputs: list[Tensor] = []
        self.random_states: list[Tensor] = []
        self.convolutions: Tensor | None = None
        model.register_forward_pre_hook(self._note)

    def _note(self, model: Any, inputs: tuple[Tensor]) -> None:
        if self.convolutions is None:
            self.convolutions = model.features[0].weight.detach().clone()
        if model.training:
            self.inputs.append(inputs[0].clone())
            self.random_states.append(torch.get_rng_state())


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    """One entry for each training of the test."""
    trainings: list[Watched] = []
    build = build_network

    def build_and_watch(*arguments: Any) -> nn.Module:
        model = build(*arguments)
        trainings.append(Watched(model))
        return model

    monkeypatch.setattr(instance_module, "build_network", build_and_watch)
    return trainings


def test_a_repetition_starts_alike_and_sees_the_same_batches_in_every_experiment(
    suite: Suite, watched: list[Watched]
) -> None:
    suite.write_matrices()
    folder = suite.write_extractor()
    suite.write_experiment(5, instances={"repeat": 2})
    suite.write_experiment(28, AGAINST_NOISE, {"repeat": 2})
    suite.write_experiment(108, {"at_pretraining": "noisyspeech"}, {"repeat": 2})
    for identifier in (5, 28, 108):
        suite.run(identifier, number=2)
    suite.run(5, number=1)
    baseline, anti_transfer, initialized, other = watched
    for training in (anti_transfer, initialized):
        assert len(training.inputs) == len(baseline.inputs) == 2 * 5
        for first, second in (
            *zip(training.inputs, baseline.inputs, strict=True),
            *zip(training.random_states, baseline.random_states, strict=True),
        ):
            assert torch.equal(first, second)
        for name, value in baseline.start.items():
            assert torch.equal(training.start[name], value)
    stored = load_file(folder / "model.safetensors")["features.0.weight"]
    assert initialized.convolutions is not None and torch.equal(initialized.convolutions, stored)
    assert baseline.convolutions is not None and not torch.equal(baseline.convolutions, stored)
    key = "classifier.0.weight"
    assert not torch.equal(other.start[key], baseline.start[key])
    assert not torch.equal(other.inputs[0], baseline.inputs[0])


def test_several_frozen_networks_each_with_its_layers_and_weight(
    suite: Suite, bands: Examples
) -> None:
    suite.write_matrices()
    suite.write_extractor("noisyspeech", seed=1)
    suite.write_extractor("speaker", seed=2)
    several = {"at_dataset": "noisyspeech, speaker", "at_layer": "13; 9, 11", "at_beta": "0.5; 2"}
    suite.write_experiment(28, {"anti_transfer": True, **several})
    fold = suite.run(28)["0"]
    terms = [("noisyspeech", 13, 0.5), ("speaker", 9, 2.0), ("speaker", 11, 2.0)]
    names = {f"{name}_layer{layer}_loss_hist" for name, layer, _ in terms}
    found = {key for key in fold if "_layer" in key}
    assert found == {f"{prefix}_{name}" for prefix in ("train", "val") for name in names}
    model, inputs = stored_model(suite, 28), set_inputs(bands, fold, "val")
    total = 0.0
    for name, layer, beta in terms:
        value = beta * term_of(model, load_frozen(suite, name), inputs, layer)
        stored = fold[f"val_{name}_layer{layer}_loss_hist"][fold["best_epoch"]]
        assert stored == pytest.approx(value, rel=1e-4)
        total += value
    assert fold["val_feature_loss"] == pytest.approx(total, rel=1e-4)


def test_a_regression(suite: Suite, loudness: Examples) -> None:
    suite.write_matrices(examples=loudness)
    suite.write_experiment(40, task="regression", output_classes=1)
    result = suite.run(40)
    fold = result["0"]
    expected = {f"{prefix}_{metric}" for prefix in SETS for metric in ("loss", "RMSE", "MAE")}
    assert expected <= set(fold)
    assert not {key for key in fold if "acc" in key or "f1" in key}
    training_mean = np.mean(set_labels(loudness, fold, "train"))
    model = stored_model(suite, 40, outputs=1)
    for prefix in SETS:
        with torch.no_grad():
            outputs = model(set_inputs(loudness, fold, prefix))[:, 0].numpy()
        errors = outputs - set_labels(loudness, fold, prefix)
        assert fold[f"{prefix}_loss"] == pytest.approx(np.mean(errors**2), rel=1e-4)
        assert fold[f"{prefix}_RMSE"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)
        assert fold[f"{prefix}_MAE"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-4)
        from_mean = set_labels(loudness, fold, prefix) - training_mean
        chance = np.sqrt(np.mean(from_mean**2))
        assert fold[f"{prefix}_chance"] == pytest.approx(chance, rel=1e-6)
    assert fold["collapsed"] == (fold["val_RMSE"] >= fold["val_chance"])
    metrics = ("loss", "RMSE", "MAE", "CCC", "clip_RMSE", "clip_MAE", "clip_CCC")
    names = {f"mean_{metric}" for metric in metrics} | {f"{metric}_std" for metric in metrics}
    assert set(result["summary"]["test"]) == names


def test_dual_anti_transfer_starts_from_the_best_run_of_another_experiment(
    suite: Suite, watched: list[Watched]
) -> None:
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(31, instances={"repeat": 2})
    suite.write_experiment(32, {**AGAINST_NOISE, "at_pretraining": "experiment 31"})
    results = [suite.run(31, number, num_epochs=1) for number in (1, 2)]
    for number, accuracy in ((1, 0.2), (2, 0.9)):
        result = results[number - 1]
        result["summary"]["validation"]["mean_acc"] = accuracy
        suite.files(31, number).json_path.write_text(json.dumps(result))
    result = suite.run(32, num_epochs=1)
    best = stored_weights(suite, 31, number=2)["features.0.weight"]
    started = watched[-1].convolutions
    assert started is not None and torch.equal(started, best)
    assert result["parameters"]["kind"] == "dual_anti_transfer"
    assert result["inputs"]["experiment 31"] == results[1]["fingerprint"]


@pytest.fixture
def interrupt(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Train experiment 5 for an epoch up to where its result would be written."""
    suite.write_matrices()
    suite.write_experiment(5)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    def interrupt(**overrides: Any) -> None:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(instance_module, "write_result", interrupted)
            suite.run(5, num_epochs=1, **overrides)

    return interrupt


def test_an_interrupted_second_run_does_not_pass_for_the_first(
    suite: Suite, interrupt: Callable[..., None]
) -> None:
    """New weights must never lie beside a result file that calls the old ones finished."""
    suite.run(5, num_epochs=1)
    assert suite.files(5).json_path.exists()
    interrupt(seed=9)
    assert not suite.files(5).json_path.exists()


def test_half_precision(suite: Suite) -> None:
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(28, AGAINST_NOISE)
    result = suite.run(28, num_epochs=1, precision="bf16")
    assert result["0"]["numeric_precision"] == "bf16"
    assert {value.dtype for value in stored_weights(suite, 28).values()} == {torch.float32}


@pytest.mark.parametrize("content", ["", '{"fingerprint": ', "[]", "{}"])
def test_a_damaged_record_of_a_fold_is_made_again(
    content: str, suite: Suite, interrupt: Callable[..., None]
) -> None:
    interrupt()
    record = suite.files(5).fold_record(0)
    values = json.loads(record.read_text())["values"]
    assert values.pop("seconds") > 0
    record.write_text(content)
    assert suite.run(5, num_epochs=1)["0"] == values
    assert not record.exists()


def test_an_embedding_of_the_frozen_networks_features_stands_for_it(
    suite: Suite, bands: Examples
) -> None:
    """Features written by hand train the same network as the frozen network that gives them."""
    suite.write_matrices()
    suite.write_extractor()
    pooled = {"at_aggregation": "pool", "at_distance": "cka_within_class", "at_layer": 5}
    suite.write_experiment(1, {**AGAINST_NOISE, **pooled})
    suite.write_experiment(2, {**AGAINST_NOISE, **pooled, "at_dataset": "embedding:noise"})
    suite.run(1)
    expected = load_dictionary(suite, 1)[0]
    frozen = load_frozen(suite, "noisyspeech")
    training = bands.predictors[rows_of(expected["training_actors"])].astype(float)
    normalised = (bands.predictors - training.mean()) / training.std()
    with torch.no_grad():
        maps = frozen.avgpool(frozen.features(torch.from_numpy(normalised).float()[:, None]))
        vectors = frozen.classifier[:-1](maps.flatten(1))
    clips = [f"clip{row:03}.wav" for row in range(len(vectors))]
    np.savez(suite.folder / "noise.npz", clip=np.array(clips), vector=vectors.numpy())
    with suite.config.open("a") as file:
        file.write("[embedding noise]\nfile = noise.npz\n")
    inputs = suite.run(2)["inputs"]
    assert inputs["extractor embedding:noise"]
    found = load_dictionary(suite, 2)[0]
    for name in ("train_loss_hist", "val_loss_hist"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)
    terms = {name.replace("noisyspeech", "noise"): value for name, value in expected.items()}
    assert found["val_noise_layer5_loss_hist"] == pytest.approx(
        terms["val_noise_layer5_loss_hist"], rel=1e-3
    )
