"""The same parameters give the same results: in any order, whatever else is set."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from config.ini_files import DEFAULTS_FILE, read_ini
from training.results.dictionary import instance_fingerprint
from training.sweep.instance import run_instance
from training.sweep.run_context import RunContext

if TYPE_CHECKING:
    from tests.conftest import Suite

AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "at_layer": "5"}
# Each key of [training_defaults] that decides a result, with another value than it has in these
# tests; where the splits must still make 1, with that of a second key.
REVERSAL = {"gradient_reversal_label": "class_name", "gradient_reversal_layer": 3}
SHORTCUT = {"confounder": "class_name", "confounder_strength": 0.5}
DECISIVE: dict[str, dict[str, Any]] = {
    "train_split": {"train_split": 0.6, "validation_split": 0.3},
    "validation_split": {"validation_split": 0.1, "test_split": 0.2},
    "test_split": {"test_split": 0.2, "train_split": 0.6},
    "num_folds": {"num_folds": 2},
    "shuffle_training_data": {"shuffle_training_data": False},
    "save_best_model_metric": {"save_best_model_metric": "val_acc"},
    "early_stopping": {"early_stopping": False},
    "patience": {"patience": 6},
    "batch_size": {"batch_size": 9},
    "num_epochs": {"num_epochs": 3},
    "regularization_lambda": {"regularization_lambda": 0.01},
    "learning_rate": {"learning_rate": 0.002},
    "choose_optimizer": {"choose_optimizer": "sgd"},
    "seed": {"seed": 1},
    "network": {"network": "small_cnn"},
    "width": {"width": 0.0625},
    "precision": {"precision": "bf16"},
    "train_metrics": {"train_metrics": "running"},
    "anti_transfer": {"anti_transfer": False},
    "at_dataset": {"at_dataset": "librispeech"},
    "at_beta": {"at_beta": 0.5},
    "at_layer": {"at_layer": 6},
    "at_frozen_layer": {"at_frozen_layer": 6},
    "at_tap": {"at_tap": "input"},
    "at_aggregation": {"at_aggregation": "mean"},
    "at_distance": {"at_distance": "mse_sigmoid"},
    "at_pretraining": {"at_pretraining": "librispeech"},
    "torch_compile": {"torch_compile": True},
    "at_ramp": {"at_ramp": 0.5},
    "at_method": {"at_method": "product_of_experts", "at_layer": ""},
    "confounder": SHORTCUT,
    "confounder_strength": SHORTCUT,
    "gradient_reversal_label": REVERSAL,
    "gradient_reversal_layer": REVERSAL,
}
# Decides nothing without a label.
OF_REVERSAL = {"gradient_reversal_weight": 0.5, "gradient_reversal_conditional": True}
INDIFFERENT = {"at_cache": "off", "tracker": "tensorboard"}
ELSEWHERE: dict[str, Any] = {
    "results.results_folder": "elsewhere",
    "results.figures_folder": "elsewhere",
    "results.pretraining_folder": "elsewhere",
    "preprocessing.output_folder": "elsewhere",
    "preprocessing.workers": 3,
}


def prepared(suite: "Suite", **training: Any) -> "Suite":
    """Experiments 1 to 3: a baseline, one with a random aggregation, one without."""
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, training)
    stochastic = {"at_aggregation": "stochastic_pairwise", "num_folds": 2}
    suite.write_experiment(2, {**AGAINST_NOISE, **stochastic, **training})
    suite.write_experiment(3, {**AGAINST_NOISE, **training})
    return suite


def run_in_order(suite: "Suite", order: Sequence[int]) -> None:
    """In one process, with one context, as the manager does."""
    context = RunContext(torch.device("cpu"))
    for identifier in order:
        run_instance(suite.instance(identifier), suite.files(identifier), context, "test")


def outcome(suite: "Suite", identifier: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result and the weights of each fold."""
    files = suite.files(identifier)
    result = json.loads(files.json_path.read_text())
    folds = [number for number in result if number.isdecimal()]
    return result, [torch.load(files.model(int(fold)), weights_only=True) for fold in folds]


def assert_same(first: "Suite", second: "Suite", identifiers: Sequence[int]) -> None:
    """Equal to the last bit."""
    for identifier in identifiers:
        (result, weights), (other_result, other_weights) = (
            outcome(each, identifier) for each in (first, second)
        )
        del result["provenance"], other_result["provenance"]
        assert result == other_result
        assert len(weights) == len(other_weights)
        for state, other in zip(weights, other_weights, strict=True):
            assert state.keys() == other.keys()
            assert all(torch.equal(state[name], other[name]) for name in state)


def test_the_order_of_instances_does_not_matter(make_suite: Callable[[], "Suite"]) -> None:
    first, second = prepared(make_suite()), prepared(make_suite())
    run_in_order(first, [1, 2, 3])
    run_in_order(second, [3, 2, 1])
    assert_same(first, second, [1, 2, 3])


def test_threads_and_frozen_features_that_are_not_kept_matter_by_rounding(
    make_suite: Callable[[], "Suite"],
) -> None:
    """Two threads add in another order, and at each step batches have another size."""
    here, other = prepared(make_suite()), prepared(make_suite(), at_cache="off")
    run_in_order(here, [3])
    torch.set_num_threads(2)
    try:
        run_in_order(other, [3])
    finally:
        torch.set_num_threads(1)
    (result, weights), (other_result, other_weights) = outcome(here, 3), outcome(other, 3)
    assert result["fingerprint"] == other_result["fingerprint"]
    losses = [name for name in result["0"] if "loss" in name]
    assert {name: result["0"][name] for name in losses} == {
        name: pytest.approx(other_result["0"][name], rel=1e-4) for name in losses
    }
    for state, other_state in zip(weights, other_weights, strict=True):
        torch.testing.assert_close(state, other_state, rtol=1e-4, atol=1e-4)


@pytest.fixture
def fingerprint(suite: "Suite") -> Callable[..., str]:
    """The fingerprint of an anti-transfer instance whose settings are overridden."""
    suite.write_experiment(1, {**AGAINST_NOISE})

    def of(**overrides: Any) -> str:
        inputs = {"data": "the same", "extractor noisyspeech": "the same"}
        return instance_fingerprint(suite.instance(1, **overrides).parameters, inputs)

    return of


def test_every_key_of_a_training_is_classified() -> None:
    """A new key must say here whether it decides results."""
    keys = set(read_ini(DEFAULTS_FILE)["training_defaults"])
    paths = {key for key in keys if key.endswith("_model_path")}
    assert paths
    assert keys == {*DECISIVE, *OF_REVERSAL, *INDIFFERENT, *paths}
    assert not DECISIVE.keys() & INDIFFERENT.keys()


@pytest.mark.parametrize("key", DECISIVE)
def test_what_decides_a_result_changes_its_fingerprint(
    fingerprint: Callable[..., str], key: str
) -> None:
    assert fingerprint(**DECISIVE[key]) != fingerprint()


def test_paths_and_the_ways_of_working_do_not_change_the_fingerprint(
    fingerprint: Callable[..., str], tmp_path: Path
) -> None:
    before = fingerprint()
    for key in read_ini(DEFAULTS_FILE)["training_defaults"]:
        if key.endswith("_model_path"):
            assert fingerprint(**{key: tmp_path}) == before, key
    for key, value in {**INDIFFERENT, **ELSEWHERE}.items():
        assert fingerprint(**{key: value}) == before, key


def test_data_and_frozen_networks_are_part_of_the_fingerprint(suite: "Suite") -> None:
    suite.write_experiment(1, {**AGAINST_NOISE})
    parameters = suite.instance(1).parameters
    inputs = {"data": "a", "extractor noisyspeech": "b"}
    all_of_them = [inputs, {**inputs, "data": "c"}, {**inputs, "extractor noisyspeech": "c"}]
    assert len({instance_fingerprint(parameters, each) for each in all_of_them}) == 3
