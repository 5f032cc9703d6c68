"""One instance from matrices to result: its metrics recomputed, seeds, frozen networks."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from config.errors import UserError
from training.models.registry import build_network
from training.models.vgg import CONVOLUTION_INDICES, VGG16
from training.similarity.layer_loss import aggregate, layer_loss
from training.sweep import instance as instance_module
from training.sweep.input_cache import InputCache
from training.sweep.inputs import input_fingerprints
from training.sweep.run_context import RunContext

if TYPE_CHECKING:
    from tests.conftest import Examples, Suite

SETS = {"train": "training_actors", "val": "validation_actors", "test": "test_actors"}
METRICS = ("loss", "acc", "f1", "precision", "recall")
CPU = torch.device("cpu")
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 13}


def load_dictionary(suite: "Suite", identifier: int, number: int = 1) -> Any:
    return np.load(suite.files(identifier, number).dictionary, allow_pickle=True).item()


def stored_weights(suite: "Suite", identifier: int, number: int = 1, fold: int = 0) -> Any:
    return torch.load(suite.files(identifier, number).model(fold), weights_only=True)


def stored_model(suite: "Suite", identifier: int, outputs: int = 3) -> VGG16:
    model = VGG16(outputs, width=1 / 32)
    model.load_state_dict(stored_weights(suite, identifier))
    return model.eval()


def activation_of(model: VGG16, inputs: Tensor, layer: int) -> Tensor:
    """What leaves the ReLU after a convolution."""
    activation: Tensor = model.features[: CONVOLUTION_INDICES[layer - 1] + 2](inputs)
    return activation


def rows_of(groups: list[str]) -> list[int]:
    return sorted(int(group.removeprefix("clip")) for group in groups)


def set_inputs(examples: "Examples", fold: dict[str, Any], prefix: str) -> Tensor:
    """(examples, 1, frames, bins), normalised by numpy's statistics of the training rows."""
    training = examples.predictors[rows_of(fold["training_actors"])].astype(float)
    chosen = examples.predictors[rows_of(fold[SETS[prefix]])].astype(float)
    normalised = (chosen - training.mean()) / training.std()
    return torch.from_numpy(normalised.astype(np.float32))[:, None]


def set_labels(examples: "Examples", fold: dict[str, Any], prefix: str) -> Any:
    return examples.target[rows_of(fold[SETS[prefix]])]


def macro_metrics(labels: Any, predictions: Any) -> dict[str, float]:
    """Accuracy and means over classes, counted one by one."""
    rows = []
    for name in sorted({*labels.tolist(), *predictions.tolist()}):
        hits = sum(1 for a, b in zip(labels, predictions, strict=True) if a == b == name)
        named, there = int((predictions == name).sum()), int((labels == name).sum())
        precision, recall = hits / named if named else 0.0, hits / there if there else 0.0
        total = precision + recall
        rows.append((precision, recall, 2 * precision * recall / total if total else 0.0))
    precision, recall, f1 = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    accuracy = sum(labels == predictions) / len(labels)
    return {"acc": accuracy, "precision": precision, "recall": recall, "f1": f1}


@pytest.fixture(scope="module")
def trained(make_suite: Callable[[], "Suite"]) -> "Suite":
    """Experiment 28: one anti-transfer training of three epochs."""
    suite = make_suite()
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(28, AGAINST_NOISE, {"comment_2": "layer{at_layer}"})
    suite.run(28, num_epochs=3, learning_rate=0.003, save_best_model_metric="val_acc")
    return suite


def test_the_dictionary_has_the_published_keys_and_those_added(trained: "Suite") -> None:
    dictionary = load_dictionary(trained, 28)
    assert list(dictionary) == [0, "summary", "parameters"]
    fold = dictionary[0]
    published = {f"{prefix}_{metric}" for prefix in SETS for metric in METRICS}
    published |= {
        f"{p}_{h}_hist" for p in ("train", "val") for h in ("loss", "acc", "feature_loss")
    }
    published |= set(SETS.values())
    added = {f"{prefix}_{name}" for prefix in SETS for name in ("task_loss", "feature_loss")}
    added |= {f"{prefix}_{name}" for prefix in SETS for name in ("chance", "examples")}
    terms = ("task_loss", "noisyspeech_layer13_loss")
    added |= {f"{prefix}_{term}_hist" for prefix in ("train", "val") for term in terms}
    added |= {"best_epoch", "numeric_precision", "collapsed", "test_confusion"}
    assert set(fold) == published | added
    statistics = {f"mean_{metric}" for metric in METRICS} | {f"{metric}_std" for metric in METRICS}
    assert set(dictionary["summary"]) == {"training", "validation", "test", "parameters"}
    for name in ("training", "validation", "test"):
        assert set(dictionary["summary"][name]) == statistics


def test_final_metrics_are_those_of_the_stored_best_weights(
    trained: "Suite", bands: "Examples"
) -> None:
    fold = load_dictionary(trained, 28)[0]
    best = fold["best_epoch"]
    assert best == int(np.argmax(fold["val_acc_hist"])) < 2, "the last weights are not the best"
    model = stored_model(trained, 28)
    frozen = VGG16(11, width=1 / 32).eval()
    extractor = trained.extractors / "noisyspeech" / "model.pt"
    frozen.load_state_dict(torch.load(extractor, weights_only=True))
    for prefix in SETS:
        inputs, labels = (of(bands, fold, prefix) for of in (set_inputs, set_labels))
        with torch.no_grad():
            logits = model(inputs)
            task_loss = float(functional.cross_entropy(logits, torch.from_numpy(labels)))
            feature_loss = sum(
                len(batch)
                * float(
                    layer_loss(
                        activation_of(model, batch, 13), aggregate(activation_of(frozen, batch, 13))
                    )
                )
                for batch in torch.split(inputs, 10)
            ) / len(inputs)
        metrics = macro_metrics(labels, logits.argmax(1).numpy())
        for metric, value in metrics.items():
            assert fold[f"{prefix}_{metric}"] == pytest.approx(value), (prefix, metric)
        assert fold[f"{prefix}_task_loss"] == pytest.approx(task_loss, rel=1e-4)
        assert fold[f"{prefix}_feature_loss"] == pytest.approx(feature_loss, rel=1e-4)
        assert fold[f"{prefix}_loss"] == pytest.approx(task_loss + feature_loss, rel=1e-4)
        assert fold[f"{prefix}_chance"] == max(np.bincount(labels)) / len(labels)
    for name in ("loss", "task_loss", "feature_loss", "acc"):
        assert fold[f"val_{name}"] == pytest.approx(fold[f"val_{name}_hist"][best], rel=1e-6)
        assert fold[f"train_{name}"] == pytest.approx(fold[f"train_{name}_hist"][best], rel=1e-6)


def test_the_twin_says_what_data_and_extractors_it_was_made_from(trained: "Suite") -> None:
    twin = json.loads(trained.files(28).json_path.read_text())
    extractor = json.loads((trained.extractors / "noisyspeech" / "extractor.json").read_text())
    assert twin["inputs"] == {
        "data": "data of tiny",
        "extractor noisyspeech": extractor["weights_fingerprint"],
    }
    assert twin["inputs"] == input_fingerprints(trained.instance(28), InputCache())


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
    suite: "Suite", watched: list[Watched]
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
    stored = torch.load(folder / "model.pt", weights_only=True)["features.0.weight"]
    assert initialized.convolutions is not None and torch.equal(initialized.convolutions, stored)
    assert baseline.convolutions is not None and not torch.equal(baseline.convolutions, stored)
    key = "classifier.0.weight"
    assert not torch.equal(other.start[key], baseline.start[key])
    assert not torch.equal(other.inputs[0], baseline.inputs[0])


def test_several_frozen_networks_each_with_its_layers_and_weight(
    suite: "Suite", bands: "Examples"
) -> None:
    suite.write_matrices()
    suite.write_extractor("noisyspeech", seed=1)
    suite.write_extractor("speaker", seed=2)
    suite.write_experiment(
        28,
        {
            "anti_transfer": True,
            "at_dataset": "noisyspeech, speaker",
            "at_layer": "13; 9, 11",
            "at_beta": "0.5; 2",
        },
    )
    fold = suite.run(28)["0"]
    terms = {
        "noisyspeech_layer13": (1, 13, 0.5),
        "speaker_layer9": (2, 9, 2.0),
        "speaker_layer11": (2, 11, 2.0),
    }
    found = {key for key in fold if "_layer" in key}
    assert found == {f"{p}_{term}_loss_hist" for p in ("train", "val") for term in terms}
    model, inputs = stored_model(suite, 28), set_inputs(bands, fold, "val")
    total = 0.0
    for term, (number, layer, beta) in terms.items():
        frozen = VGG16(11, width=1 / 32).eval()
        name = "noisyspeech" if number == 1 else "speaker"
        path = suite.extractors / name / "model.pt"
        frozen.load_state_dict(torch.load(path, weights_only=True))
        with torch.no_grad():
            value = sum(
                len(batch)
                * beta
                * float(
                    layer_loss(
                        activation_of(model, batch, layer),
                        aggregate(activation_of(frozen, batch, layer)),
                    )
                )
                for batch in torch.split(inputs, 10)
            ) / len(inputs)
        stored = fold[f"val_{term}_loss_hist"][fold["best_epoch"]]
        assert stored == pytest.approx(value, rel=1e-4)
        total += value
    assert fold["val_feature_loss"] == pytest.approx(total, rel=1e-4)


def test_folds_are_trained_one_after_the_other_and_summarised(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_experiment(5)
    twin = suite.run(5, num_folds=3, num_epochs=1)
    folds = [twin[str(number)] for number in range(3)]
    assert "3" not in twin
    tests = [set(fold["test_actors"]) for fold in folds]
    assert all(not first & second for first in tests for second in tests if first is not second)
    for prefix, name in (("train", "training"), ("val", "validation"), ("test", "test")):
        for metric in METRICS:
            values = [fold[f"{prefix}_{metric}"] for fold in folds]
            assert twin["summary"][name][f"mean_{metric}"] == pytest.approx(np.mean(values))
            assert twin["summary"][name][f"{metric}_std"] == pytest.approx(np.std(values))
    weights = [stored_weights(suite, 5, fold=number) for number in range(3)]
    key = "classifier.6.weight"
    assert not torch.equal(weights[0][key], weights[1][key])


def test_a_regression(suite: "Suite", loudness: "Examples") -> None:
    suite.write_matrices(examples=loudness)
    suite.write_experiment(40, task="regression", output_classes=1)
    twin = suite.run(40)
    fold = twin["0"]
    expected = {f"{prefix}_{metric}" for prefix in SETS for metric in ("loss", "RMSE", "MAE")}
    assert expected <= set(fold)
    assert not {key for key in fold if "acc" in key or "chance" in key or "f1" in key}
    model = stored_model(suite, 40, outputs=1)
    for prefix in SETS:
        with torch.no_grad():
            outputs = model(set_inputs(loudness, fold, prefix))[:, 0].numpy()
        errors = outputs - set_labels(loudness, fold, prefix)
        assert fold[f"{prefix}_loss"] == pytest.approx(np.mean(errors**2), rel=1e-4)
        assert fold[f"{prefix}_RMSE"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)
        assert fold[f"{prefix}_MAE"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-4)
    names = {f"mean_{metric}" for metric in ("loss", "RMSE", "MAE")}
    names |= {f"{metric}_std" for metric in ("loss", "RMSE", "MAE")}
    assert set(twin["summary"]["test"]) == names


def test_dual_anti_transfer_starts_from_the_best_run_of_another_experiment(
    suite: "Suite", watched: list[Watched]
) -> None:
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(31, instances={"repeat": 2})
    suite.write_experiment(32, {**AGAINST_NOISE, "at_pretraining": "experiment 31"})
    twins = [suite.run(31, number, num_epochs=1) for number in (1, 2)]
    for number, accuracy in ((1, 0.2), (2, 0.9)):
        twin = twins[number - 1]
        twin["summary"]["validation"]["mean_acc"] = accuracy
        suite.files(31, number).json_path.write_text(json.dumps(twin))
    twin = suite.run(32, num_epochs=1)
    best = stored_weights(suite, 31, number=2)["features.0.weight"]
    started = watched[-1].convolutions
    assert started is not None and torch.equal(started, best)
    assert twin["parameters"]["kind"] == "dual_anti_transfer"
    assert twin["inputs"]["experiment 31"] == twins[1]["fingerprint"]


def test_data_with_other_classes_are_refused(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_experiment(5, output_classes=4)
    with pytest.raises(
        UserError, match="tiny_spectrum_fast: holds 3 classes, the experiment's output_classes is 4"
    ):
        suite.run(5)


def test_an_interrupted_second_run_does_not_pass_for_the_first(
    suite: "Suite", monkeypatch: pytest.MonkeyPatch
) -> None:
    """New weights must never lie beside a twin that calls the old ones finished."""
    suite.write_matrices()
    suite.write_experiment(5)
    suite.run(5, num_epochs=1)
    assert suite.files(5).json_path.exists()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(instance_module, "write_result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        suite.run(5, num_epochs=1, seed=9)
    assert not suite.files(5).json_path.exists()


def test_instances_share_the_sets_of_a_fold_but_not_those_of_another(suite: "Suite") -> None:
    suite.write_matrices()
    context = RunContext(CPU)
    matrices = context.inputs.matrices(suite.matrices, "tiny_spectrum_fast")
    assert context.inputs.matrices(suite.matrices, "tiny_spectrum_fast") is matrices
    split = matrices.folds((0.7, 0.2, 0.1), 1)[0]
    fold = context.fold(matrices, split)
    assert context.fold(matrices, split) is fold
    turned = type(split)(split.train, split.test, split.validation)
    other = context.fold(matrices, turned)
    assert [len(other.sets[name]) for name in ("training", "validation", "test")] == [42, 6, 12]


def test_an_extractor_is_read_once_for_a_sweep(suite: "Suite") -> None:
    suite.write_extractor()
    suite.write_experiment(28, AGAINST_NOISE, {"repeat": 2})
    context = RunContext(CPU)
    settings = suite.instance(28).settings
    first = context.extractor(settings, "noisyspeech", keeps_classifier=False)
    assert context.extractor(suite.instance(28, 2).settings, "noisyspeech", False) is first
    whole = context.extractor(settings, "noisyspeech", keeps_classifier=True)
    assert len(list(whole.parameters())) > len(list(first.parameters()))


@pytest.mark.parametrize("aggregation", ["gram", "pairwise"])
def test_half_precision(suite: "Suite", aggregation: str) -> None:
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(28, {**AGAINST_NOISE, "at_aggregation": aggregation})
    twin = suite.run(28, num_epochs=1, precision="bf16")
    assert twin["0"]["numeric_precision"] == "bf16"
    assert {value.dtype for value in stored_weights(suite, 28).values()} == {torch.float32}


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
@pytest.mark.filterwarnings("ignore:.*no supported trackers are currently installed")
def test_an_unknown_tracker_package_is_an_error_of_one_line(suite: "Suite") -> None:
    suite.write_matrices()
    suite.write_experiment(5)
    with pytest.raises(UserError, match=r"tracker = wandb: .*pip install wandb"):
        suite.run(5, tracker="wandb")
