"""Random frozen networks, the pooled similarity, ramps and collapses, in whole experiments."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from config.ini_files import load_settings
from training.engine.seeds import RngSeeds
from training.engine.step import Learner
from training.results.dictionary import differences, instance_fingerprint

if TYPE_CHECKING:
    from tests.conftest import Suite

AGAINST = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": 3}
NOTHING: Any = None


@pytest.fixture
def filled(suite: "Suite") -> "Suite":
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(200, {}, {"repeat": 2})
    return suite


def test_earlier_streams_are_what_they_were() -> None:
    """Two more streams must not change those that published results were drawn from."""
    states = np.random.SeedSequence([7, 0]).generate_state(4).tolist()
    seeds = RngSeeds.from_seed(7, 0)
    assert [seeds.initialization, seeds.dropout] == states[:2]
    assert seeds.shuffling.initial_seed() == states[2]
    assert seeds.similarity.initial_seed() == states[3]


def test_a_random_network_is_another_one_for_each_seed_and_needs_no_extractor(
    filled: "Suite",
) -> None:
    filled.write_experiment(203, {**AGAINST, "at_dataset": "random"}, {"repeat": 2})
    first, second = filled.run(203, 1)["0"], filled.run(203, 2)["0"]
    assert first["train_random_layer3_loss_hist"] != second["train_random_layer3_loss_hist"]
    result, again = filled.run(203), filled.run(203)
    del result["provenance"], again["provenance"]
    assert result == again
    assert result["inputs"] == {"data": "data of tiny"}
    assert result["0"]["train_random_layer3_loss_hist"]


@pytest.mark.parametrize(
    ("ramp", "progress", "share"),
    [(0, 0, 1), (0, 0.5, 1), (0.5, 0, 0), (0.5, 0.25, 0.5), (0.5, 0.5, 1), (0.5, 0.9, 1)],
)
def test_a_ramp_rises_over_its_part_of_the_training(
    ramp: float, progress: float, share: float
) -> None:
    learner = Learner(
        torch.nn.Linear(1, 1),
        NOTHING,
        [],
        NOTHING,
        "classification",
        ramp=ramp,
        progress=progress,
    )
    assert learner.ramp_weight == pytest.approx(share)


def test_nothing_is_chosen_or_ended_before_a_ramp_is_over(filled: "Suite") -> None:
    """By patience 1 a training whose first epoch is best ends after two epochs."""
    slow = {"learning_rate": 1e-9, "num_epochs": 6, "patience": 1, **AGAINST}
    filled.write_experiment(210, {**slow, "at_ramp": 0.5})
    filled.write_experiment(211, {**slow, "at_ramp": 1})
    folds = [filled.run(identifier)["0"] for identifier in (210, 211)]
    assert len(folds[1]["val_loss_hist"]) == 6
    assert folds[0]["best_epoch"] >= 2
    assert folds[1]["best_epoch"] == 5


def test_results_of_before_the_new_keys_are_still_current() -> None:
    training = load_settings().training_defaults.model_dump(exclude={"extractor_paths"})
    parameters = {"kind": "baseline", **training}
    new = {key for key in parameters if key.startswith("gradient_reversal_")}
    new |= {"at_ramp", "network", "at_frozen_layer", "at_method"}
    new |= {"confounder", "confounder_strength"}
    before = {key: value for key, value in parameters.items() if key not in new}
    assert len(before) == len(parameters) - 10
    assert instance_fingerprint(parameters, {}) == instance_fingerprint(before, {})
    assert differences({"parameters": before, "inputs": {}}, parameters, {}) == []
    assert differences({"parameters": before}, {**parameters, "network": "small_cnn"}, {})
    used = {**parameters, "gradient_reversal_label": "noise_type", "gradient_reversal_layer": 3}
    assert instance_fingerprint(used, {}) != instance_fingerprint(before, {})
    ramped = {**parameters, "anti_transfer": True, "at_ramp": 0.5}
    assert instance_fingerprint(ramped, {}) != instance_fingerprint({**ramped, "at_ramp": 0.0}, {})


def test_a_collapse_is_told(filled: "Suite", capsys: pytest.CaptureFixture[str]) -> None:
    filled.write_experiment(1, {"learning_rate": 1e-9, "num_epochs": 1})
    result = filled.run(1)
    assert result["0"]["collapsed"] is True
    assert "test: has not begun to learn: on the training set" in capsys.readouterr().out
    num_test = result["0"]["test_examples"]
    assert np.sum(result["0"]["test_confusion"]) == num_test
    matrix = np.array(result["0"]["test_confusion"])
    assert np.trace(matrix) / num_test == pytest.approx(result["0"]["test_acc"])
    assert result["model"]["classes"] == ["class0", "class1", "class2"]
