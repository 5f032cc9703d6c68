"""Every method that at_method names, in a run on tiny matrices."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import band_examples
from tests.training.engine.test_checkpoints import Interruption, assert_equal
from training.engine import checkpoints
from training.engine import fit as fitting
from training.methods.kinds import AT_METHODS
from training.models.loading import load_whole
from training.models.registry import build_network, trained_architecture
from training.models.weights import description_path, load_weights

if TYPE_CHECKING:
    from tests.conftest import Suite

NUM_EXAMPLES = 40


def prepared(suite: "Suite", name: str) -> "Suite":
    suite.write_matrices(examples=band_examples(num_examples=NUM_EXAMPLES))
    method = AT_METHODS[name]
    values: dict[str, Any] = {"network": "small_cnn", "width": 0.5, "at_method": name}
    values |= {"at_dataset": "random"} if method.needs_knowledge else {}
    values |= {"at_layer": 2} if "at_layer" in method.required else {}
    suite.write_experiment(1, {"anti_transfer": True, "num_epochs": 2, **values})
    return suite


@pytest.mark.parametrize("name", AT_METHODS)
def test_a_run_goes_on_where_it_was_stopped_and_its_network_predicts_alone(
    name: str, make_suite: Callable[[], "Suite"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVING_SHARE", float("inf"))
    disturbed = prepared(make_suite(), name)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        Interruption(patched, fitting, "_train_epoch", after=1)
        disturbed.run(1)
    kept = torch.load(disturbed.files(1).state(0), weights_only=True)["state"]["methods"]
    with monkeypatch.context() as patched:
        Interruption(patched, fitting, "_train_epoch", after=1)
        disturbed.run(1)
    assert_predicts_alone(disturbed)
    if any(kept):
        undisturbed = prepared(make_suite(), name)
        undisturbed.run(1)
        assert_equal(undisturbed, disturbed)


def assert_predicts_alone(suite: "Suite") -> None:
    """The stored network gives the probabilities that stand in the table of predictions."""
    files, examples = suite.files(1), band_examples(num_examples=NUM_EXAMPLES)
    network = build_network(trained_architecture(suite.instance(1)), seed=0).eval()
    load_whole(network, load_weights(files.model(0)), "the run")
    used = json.loads(description_path(files.model(0)).read_text())["normalization"]
    table = pd.read_csv(files.predictions)
    rows = table["clip"].str.removeprefix("clip").str.removesuffix(".wav").astype(int).to_numpy()
    normalised = (examples.predictors[rows] - used["mean"]) / used["std"]
    with torch.no_grad():
        outputs = network(torch.from_numpy(normalised).float()[:, None])
    stored = table[["p_class0", "p_class1", "p_class2"]].to_numpy()
    np.testing.assert_allclose(outputs.softmax(1), stored, rtol=1e-3, atol=1e-4)
