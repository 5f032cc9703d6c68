"""Probes on made-up features of which it is known what can be read from them."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from training.probing.probes import (
    NoProbeError,
    joined_recordings,
    plan_probe,
    probe_accuracy,
)

NUM_EXAMPLES = 120


def labels(num_classes: int = 3, num_examples: int = NUM_EXAMPLES) -> list[str]:
    return [f"class{number % num_classes}" for number in range(num_examples)]


def clips(num_examples: int = NUM_EXAMPLES) -> list[str]:
    return [f"clip{number}" for number in range(num_examples)]


def codes_of(values: list[str]) -> NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1]


def noise(seed: int, num_features: int = 8) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((NUM_EXAMPLES, num_features))


def test_its_accuracy_is_that_of_sklearns_cross_validation() -> None:
    plan = plan_probe(labels(), {"clip": clips()})
    features = noise(0) + np.eye(8)[codes_of(labels())]
    pipeline = make_pipeline(
        StandardScaler(), FunctionTransformer(lambda x: x / 8**0.5), LogisticRegression(C=1.0)
    )
    predicted = cross_val_predict(pipeline, features, plan.codes, cv=list(plan.folds))
    assert probe_accuracy(features, plan) == pytest.approx(np.mean(predicted == plan.codes))


def test_noise_and_shuffled_labels_are_at_chance() -> None:
    values = labels()
    informative = noise(0) + 3 * np.eye(8)[codes_of(values)]
    on_noise, shuffled = [], []
    for seed in range(12):
        plan = plan_probe(values, {"clip": clips()}, seed)
        on_noise.append(probe_accuracy(noise(seed + 1), plan))
        shuffled.append(probe_accuracy(informative, plan, shuffled=True))
        assert probe_accuracy(informative, plan) > 0.9
    for accuracies in (on_noise, shuffled):
        assert np.mean(accuracies) == pytest.approx(1 / 3, abs=0.05)


def test_what_only_identifies_the_group_is_of_no_use() -> None:
    speakers = [f"speaker{number % 12}" for number in range(NUM_EXAMPLES)]
    # Each speaker has one class, and features that tell who it is, but nothing else.
    of_speaker = dict(zip(sorted(set(speakers)), labels(3, 12), strict=True))
    values = [of_speaker[speaker] for speaker in speakers]
    leaking, grouped = [], []
    for seed in range(8):
        identity = np.random.default_rng(seed).standard_normal((12, 20))
        features = identity[codes_of(speakers)] + 0.01 * noise(seed, 20)
        leaking.append(probe_accuracy(features, plan_probe(values, {"clip": clips()}, seed)))
        plan = plan_probe(values, {"speaker": speakers, "clip": clips()}, seed)
        assert plan.grouped_by == "speaker"
        grouped.append(probe_accuracy(features, plan))
    assert min(leaking) == 1
    assert np.mean(grouped) < 0.5


def test_no_group_is_on_both_sides_and_every_class_is_trained_on() -> None:
    generator = np.random.default_rng(0)
    speakers = [f"speaker{number}" for number in generator.integers(0, 17, NUM_EXAMPLES)]
    values = [f"class{number}" for number in generator.geometric(0.4, NUM_EXAMPLES).clip(max=5)]
    plan = plan_probe(values, {"speaker": speakers})
    held_out_of_all = np.concatenate([held_out for _, held_out in plan.folds])
    assert sorted(held_out_of_all) == list(range(len(plan.rows)))
    of_rows = np.array(speakers)[plan.rows]
    for training, held_out in plan.folds:
        assert not set(of_rows[training]) & set(of_rows[held_out])
        assert set(plan.codes[training]) == set(plan.codes)
    assert [plan.classes[code] for code in plan.codes] == [values[row] for row in plan.rows]
    assert sorted(plan.shuffled_codes) == sorted(plan.codes)
    assert plan.chance == np.bincount(plan.codes).max() / len(plan.codes)


def test_the_first_column_that_leaves_every_class_two_groups_is_taken() -> None:
    values = [f"speaker{number % 4}" for number in range(NUM_EXAMPLES)]
    session = [f"session{number % 2}" for number in range(NUM_EXAMPLES)]
    unknown = ["", *clips()[1:]]
    columns = {"session": session, "unknown": unknown, "clip": clips()}
    assert plan_probe(values, columns).grouped_by == "clip"
    with pytest.raises(NoProbeError, match=r"4 values in 120 .*\(session or unknown\)"):
        plan_probe(values, {"session": session, "unknown": unknown})


def test_recordings_that_stand_together_once_are_one() -> None:
    """a and b are in one value, b and c in another, d and e alone."""
    values = ["a;b", "d", "b;c", "c", "e", "a", "e;e"]
    names = joined_recordings(values)
    groups = [{i for i, each in enumerate(names) if each == name} for name in dict.fromkeys(names)]
    assert groups == [{0, 2, 3, 5}, {1}, {4, 6}]
    assert joined_recordings(["", "a"])[0] == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (clips(), "120 values in 120 examples"),
        (["same"] * NUM_EXAMPLES, "the same value, same"),
        (["a", "b"] * 9 + [""] * (NUM_EXAMPLES - 18), "18 examples with it, 20 are needed"),
        ([""] * NUM_EXAMPLES, "0 examples with it"),
    ],
)
def test_what_cannot_be_probed_says_why(values: list[str], message: str) -> None:
    with pytest.raises(NoProbeError, match=message):
        plan_probe(values, {"clip": clips()})
