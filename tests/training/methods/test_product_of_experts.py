"""The product of experts against its formula, and on data where its answer is known."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas
import torch
from torch import Tensor
from torch.nn import functional

from training.data.batches import Batch
from training.methods.product_of_experts import ProductOfExperts

if TYPE_CHECKING:
    from tests.conftest import Suite


def batch(rows: Tensor, labels: Tensor | None = None) -> Batch:
    return Batch(torch.empty(0), torch.zeros(0) if labels is None else labels, rows)


def test_the_task_loss_is_that_of_the_normalised_product() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 3, generator=generator)
    expert = torch.randn(10, 3, generator=generator).log_softmax(1)
    prior = torch.tensor([0.5, 0.3, 0.2])
    rows, labels = torch.tensor([7, 0, 3, 3]), torch.tensor([0, 2, 1, 0])
    adjusted = ProductOfExperts(expert - prior.log()).adjust(outputs, batch(rows))
    product = outputs.exp().numpy() * expert.exp().numpy()[rows] / prior.numpy()
    product /= product.sum(1, keepdims=True)
    expected = -np.log(product[np.arange(4), labels])
    found = functional.cross_entropy(adjusted, labels, reduction="none")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def run(noisy: "Suite", number: int, **training: Any) -> dict[str, Any]:
    noisy.write_experiment(number, {"num_epochs": 2} | training)
    fold: dict[str, Any] = noisy.run(number)["0"]
    return fold


def test_an_expert_on_true_labels_acts_and_one_that_knows_nothing_does_not(
    noisy: "Suite",
) -> None:
    """The noise type follows the class; whether a clip's number is odd says nothing of it."""
    path = noisy.matrices / "tiny_spectrum_fast_index.csv"
    table = pandas.read_csv(path)
    table["coin"] = np.random.default_rng(3).permutation(np.arange(len(table)) % 2)
    table.to_csv(path, index=False)
    plain = run(noisy, 1)
    settings = {"anti_transfer": True, "at_method": "product_of_experts"}
    product = run(noisy, 2, **settings, at_dataset="column:noise_type")
    uninformed = run(noisy, 3, **settings, at_dataset="column:coin")
    assert product["train_loss_hist"][0] < plain["train_loss_hist"][0]
    assert uninformed["val_loss_hist"] == plain["val_loss_hist"]
    assert uninformed["test_acc"] == plain["test_acc"]


def test_frozen_networks_are_read_once_and_several_are_joined(
    noisy: "Suite",
) -> None:
    settings = {"anti_transfer": True, "at_method": "product_of_experts"}
    fold = run(noisy, 4, **settings, at_dataset="random, column:noise_type", at_beta="0.5")
    assert len(fold["val_loss_hist"]) == 2
