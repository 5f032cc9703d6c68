"""How strong a shortcut is said to be, on data that were drawn with a known one."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from preprocessing.pipeline.matrices import Matrices
from tests.conftest import Suite, band_examples
from training.data.batches import ExampleSet, Normalization
from training.engine.folds import Fold
from training.probing import expert as expert_module
from training.probing.expert import Expert, fit_expert, read_expert
from training.results.shortcut import ShortcutStrength, by_source, mean_strength
from training.sweep.shortcut import strength_of

NUM = 600
SETS = {"training": np.arange(400), "validation": np.arange(400, 500), "test": np.arange(500, NUM)}
CLASSES = 4


def drawn(strength: float, test_strength: float) -> tuple[Fold, "np.ndarray"]:
    """Return a fold of balanced classes, and a nuisance that follows them with that strength."""
    generator = np.random.default_rng(0)
    target = np.arange(NUM) % CLASSES
    follows = generator.random(NUM) < np.where(np.arange(NUM) < 500, strength, test_strength)
    nuisance = np.where(follows, target, generator.integers(0, CLASSES, NUM))
    matrices = Matrices(
        Path(), "drawn", {"classes": [*"abcd"]}, np.zeros((NUM, 1, 1), np.float32), target
    )
    speakers = [f"speaker{number // CLASSES % 25}" for number in range(NUM)]
    clips = [f"clip{number}" for number in range(NUM)]
    vars(matrices)["index"] = pandas.DataFrame(
        {"group": speakers, "clip": clips, "noise": nuisance.astype(str), "voice": speakers}
    )
    plain = Normalization(0, 1)
    sets = {
        name: ExampleSet(matrices.predictors, target, rows, plain, torch.device("cpu"))
        for name, rows in SETS.items()
    }
    return Fold(matrices, sets, {}, plain, ""), np.eye(CLASSES, dtype=np.float32)[nuisance]


def measure(strength: float, test_strength: float) -> ShortcutStrength:
    fold, features = drawn(strength, test_strength)
    expert = fit_expert(features, fold.matrices, SETS, "classification", ["noise"])
    return strength_of(expert, "noise", fold)


@pytest.mark.parametrize(
    ("strength", "test_strength", "verdict"),
    [(0, 0, "nothing"), (0.8, 0, "misleads"), (0.8, 0.8, "content")],
)
def test_accuracies_are_those_that_the_data_were_drawn_with(
    strength: float, test_strength: float, verdict: str
) -> None:
    """The best that can be done is to name the class that the nuisance shows."""
    found = measure(strength, test_strength)
    assert found.verdict == verdict
    if strength >= 0.5:
        fold, shown = drawn(strength, test_strength)
        is_shown = shown.argmax(axis=1) == fold.matrices.target
        assert found.training == is_shown[SETS["training"]].mean()
        assert found.test == is_shown[SETS["test"]].mean()
    assert found.chance == 1 / CLASSES
    assert found.shuffled == pytest.approx(1 / CLASSES, abs=0.08)


def test_of_principal_components_it_predicts_as_of_all_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The squared penalty is the same for both, as long as no component is left out."""
    monkeypatch.setattr(expert_module, "MOST_FEATURES", 16)
    fold, shown = drawn(0.8, 0)
    generator = np.random.default_rng(1)
    features = shown @ generator.standard_normal((CLASSES, 40)).astype(np.float32)
    expert = fit_expert(features, fold.matrices, SETS, "classification")
    known = features[SETS["training"]]
    scaled = (features - known.mean(axis=0)) / known.std(axis=0)
    model = LogisticRegression(C=expert.regularization, max_iter=1000, tol=1e-6)
    model.fit(scaled[SETS["training"]], fold.matrices.target[SETS["training"]])
    expected = model.predict_log_proba(scaled[SETS["test"]])
    np.testing.assert_allclose(expert.predictions[SETS["test"]], expected, atol=0.01)


def test_clips_are_held_out_where_each_value_of_the_nuisance_is_a_group_of_its_own() -> None:
    """Of a voice that no other expert has heard nothing could be known."""
    fold, _ = drawn(0, 0)
    voices = pandas.get_dummies(fold.matrices.index["voice"]).to_numpy(np.float32)
    target = np.asarray(fold.matrices.target)
    follows = np.random.default_rng(2).random(NUM) < 0.9
    target[:] = np.where(follows, voices.argmax(axis=1) % CLASSES, target)
    expert = fit_expert(voices, fold.matrices, SETS, "classification", ["voice"])
    assert expert.grouped_by == "clip"
    assert expert.score(SETS["training"], target) > 0.8
    by_group = fit_expert(voices, fold.matrices, SETS, "classification", ["noise"])
    assert (by_group.grouped_by, by_group.informed) == ("group", False)


def test_an_expert_is_read_as_it_was_written(tmp_path: Path) -> None:
    fold, features = drawn(0.5, 0)
    expert = fit_expert(features, fold.matrices, SETS, "classification")
    path = tmp_path / "experts" / "one.npz"
    assert read_expert(path) is None
    expert.write(path)
    read = read_expert(path)
    assert isinstance(read, Expert)
    for name, value in vars(expert).items():
        same = torch.equal if isinstance(value, torch.Tensor) else lambda one, other: one == other
        assert same(getattr(read, name), value)
    path.write_bytes(path.read_bytes()[:-100])
    assert read_expert(path) is None


def test_several_experts_of_a_source_are_averaged_and_a_shared_one_counts_once() -> None:
    one = measure(0.8, 0)
    other = one.model_copy(update={"test": one.test + 0.1})
    foreign = one.model_copy(update={"source": "voice"})
    found = by_source([[one, foreign], [one], [other]])
    assert found == {"noise": [one, other], "voice": [foreign]}
    assert mean_strength(found["noise"]).test == pytest.approx(one.test + 0.05)


def test_check_refuses_a_class_of_which_no_group_can_be_held_out_but_only_where_one_must_be(
    suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = suite.write_matrices()
    splits = json.loads((folder / "tiny_spectrum_fast_splits.json").read_text())
    examples = band_examples()
    examples.target[:] = np.arange(len(examples.target)) % 2
    examples.target[int(splits["folds"][0]["train"][0].removeprefix("clip"))] = 2
    suite.write_matrices(examples=examples)
    suite.write_extractor()
    against = {"anti_transfer": True, "at_dataset": "noisyspeech"}
    suite.write_experiment(1, {**against, "at_method": "product_of_experts"})
    suite.write_experiment(2, {**against, "at_layer": 3})
    assert suite.manage("--check", "[1]") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "at_method = product_of_experts" in line
    assert "values of group" in line
    assert suite.manage("--check", "[2]") == 0
    assert "cannot be told" in capsys.readouterr().out
