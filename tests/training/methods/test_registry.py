"""A method from outside the project, in an experiment."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.data.batches import Batch
from training.methods import Method, MethodInputs
from training.methods.kinds import AT_METHODS, AtMethod
from training.similarity.taps import Taps

if TYPE_CHECKING:
    from tests.conftest import Suite


class SmallActivations(Method):
    """Keeps a layer's activations small, by a factor that it learns."""

    taps: Taps

    def __init__(self, model: nn.Module) -> None:
        self.taps = Taps(model, [1])
        self.terms = {}
        self.factor = nn.Parameter(torch.ones(()))

    def loss(self, batch: Batch, outputs: Tensor, progress: float) -> Tensor:
        """Return the mean square of the activation, of so many examples, times the factor."""
        activation = self.taps.take()[1]
        assert len(activation) == len(outputs) == len(batch.rows)
        assert 0 <= progress <= 1
        loss = self.factor * activation.square().mean()
        self.terms = {"small": loss.detach()}
        return loss

    def parameters(self) -> list[nn.Parameter]:
        """Return the factor."""
        return [self.factor]

    def results(self, progress: float) -> dict[str, float]:
        """Return what became of the factor."""
        return {"factor": float(self.factor.detach()), "progress": progress}


def build(inputs: MethodInputs) -> list[SmallActivations]:
    """Build it for a run."""
    assert set(inputs.sets["training"].rows) < set(range(len(inputs.matrices.index)))
    return [SmallActivations(inputs.model)]


def test_a_method_of_ones_own_trains_a_network(
    suite: "Suite", monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.write_matrices()
    suite.write_experiment(1, {"num_epochs": 3})
    plain = suite.run(1)["0"]
    suite.files(1).json_path.unlink()
    own = AtMethod("small activations", __name__, uses=(), needs_knowledge=False)
    monkeypatch.setitem(AT_METHODS, "small_activations", own)
    suite.write_experiment(
        1, {"num_epochs": 3, "anti_transfer": True, "at_method": "small_activations"}
    )
    found = suite.run(1)["0"]
    assert found["factor"] < 1
    assert found["progress"] == pytest.approx((found["best_epoch"] + 1) / 3)
    for name in ("train", "val"):
        history = {key: np.array(found[f"{name}_{key}_hist"]) for key in ("small_loss", "loss")}
        total = history["small_loss"] + found[f"{name}_task_loss_hist"]
        np.testing.assert_allclose(history["loss"], total, rtol=1e-6)
    assert found["train_small_loss_hist"][-1] < found["train_small_loss_hist"][0]
    assert found["train_task_loss_hist"] != plain["train_task_loss_hist"]
