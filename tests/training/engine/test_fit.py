"""The training loop: when it stops, what it keeps and notes, and that it can be repeated."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from config.errors import UserError
from config.fields import Task
from training.data.batches import ExampleSet, training_statistics
from training.engine import fit as fitting
from training.engine.checks import TrainingError
from training.engine.devices import build_accelerator
from training.engine.evaluation import Evaluation
from training.engine.fit import FitOptions, FitResult, fit
from training.engine.optimizers import build_optimizer
from training.engine.seeds import RngSeeds
from training.engine.step import Learner
from training.methods.anti_transfer import AntiTransferLoss
from training.similarity.layer_loss import aggregate, layer_loss

if TYPE_CHECKING:
    from tests.conftest import Examples

CPU = torch.device("cpu")
TRAINING, VALIDATION = np.arange(45), np.arange(45, 60)


def small_network(seed: int, outputs: int = 3, dropout: float = 0.5) -> nn.Sequential:
    """Two convolutions; layer 2 has 6 channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3, padding=1, stride=2),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(54, outputs),
        )


Sets = tuple[ExampleSet, ExampleSet]


@pytest.fixture
def sets(bands: "Examples") -> Sets:
    """Training and validation set."""
    return sets_of(bands)


def sets_of(examples: "Examples") -> Sets:
    normalization = training_statistics(examples.predictors, TRAINING)
    both = [
        ExampleSet(examples.predictors, examples.target, rows, normalization, CPU)
        for rows in (TRAINING, VALIDATION)
    ]
    return both[0], both[1]


def learner_of(
    model: nn.Module,
    penalties: Sequence[AntiTransferLoss] = (),
    optimizer: str = "adam",
    learning_rate: float = 0.01,
    task: Task = "classification",
) -> Learner:
    accelerator = build_accelerator(CPU, "fp32", "none", Path("unused"))
    chosen = build_optimizer(optimizer, model.parameters(), learning_rate, 0.0)
    prepared, chosen = accelerator.prepare(model, chosen)
    return Learner(prepared, chosen, penalties, accelerator, task)


def options_of(**changes: Any) -> FitOptions:
    return FitOptions(**{"num_epochs": 3, "batch_size": 10, "patience": None, **changes})


def run_fit(learner: Learner, sets: Sets, seed: int = 0, **changes: Any) -> FitResult:
    return fit(learner, *sets, options_of(**changes), RngSeeds.from_seed(seed, 0), "test")


def penalty_of(model: nn.Module, seed: int = 9, **changes: Any) -> AntiTransferLoss:
    values = {"layers": [2], "name": "noisyspeech", **changes}
    return AntiTransferLoss(model, small_network(seed), **values)


class Script:
    """Stands for `evaluate`: validation metrics from a list; notes the weights it meets."""

    def __init__(self, key: str, values: Iterable[float]) -> None:
        self.key = key
        self.values = list(values)
        self.states: list[dict[str, Tensor]] = []

    def __call__(self, learner: Learner, examples: ExampleSet, _batch_size: int) -> Evaluation:
        metrics = {"loss": 1.0, "task_loss": 1.0, "acc": 0.5}
        if len(examples) == len(VALIDATION):
            metrics[self.key] = self.values[len(self.states)]
            state = learner.model.state_dict()
            self.states.append({name: tensor.clone() for name, tensor in state.items()})
        return Evaluation("classification", metrics, examples.rows, np.zeros(1), torch.zeros(1))


def equal_states(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.mark.parametrize(
    ("values", "patience", "num_epochs", "best_epoch"),
    [
        ([3, 2, 2.5, 2.4, 2.3, 0], 3, 5, 1),
        ([3, 2, 2.5, 1.9, 2, 2, 0], 2, 6, 3),
        ([3, 3, 3, 0], 2, 3, 0),
        ([1, 2, 0, 5, 6, 7], 1, 2, 0),
        ([5, 4, 3, 2, 1, 0], 1, 6, 5),
        ([3, 4, 5, 6, 7, 2], None, 6, 5),
    ],
)
def test_stops_after_exactly_patience_epochs_without_improvement_and_keeps_the_best(
    monkeypatch: pytest.MonkeyPatch,
    sets: Sets,
    values: list[float],
    patience: int | None,
    num_epochs: int,
    best_epoch: int,
) -> None:
    script = Script("loss", values)
    monkeypatch.setattr(fitting, "evaluate", script)
    result = run_fit(learner_of(small_network(0)), sets, num_epochs=6, patience=patience)
    assert result.history["val_loss_hist"] == values[:num_epochs]
    assert result.best_epoch == best_epoch
    assert result.best_value == values[best_epoch]
    assert equal_states(result.best_state, script.states[best_epoch])
    assert not equal_states(script.states[0], script.states[-1])


@pytest.mark.parametrize(
    ("metric", "key", "values", "best_epoch"),
    [
        ("val_acc", "acc", [0.2, 0.7, 0.7, 0.1], 1),
        ("val_uar", "uar", [0.2, 0.5, 0.7, 0.1], 2),
        ("val_task_loss", "task_loss", [0.2, 0.7, 0.1, 0.1], 2),
        ("val_loss", "acc", [0.2, 0.7, 0.7, 0.1], 0),
    ],
)
def test_the_chosen_metric_decides_which_epoch_is_best(
    monkeypatch: pytest.MonkeyPatch,
    sets: Sets,
    metric: str,
    key: str,
    values: list[float],
    best_epoch: int,
) -> None:
    monkeypatch.setattr(fitting, "evaluate", Script(key, values))
    result = run_fit(learner_of(small_network(0)), sets, num_epochs=4, best_metric=metric)
    assert result.best_epoch == best_epoch


def test_its_steps_are_those_of_a_plain_loop(sets: Sets) -> None:
    """Gradient descent by hand on cross-entropy + 0.5 * similarity, five batches, two epochs."""
    model, frozen, by_hand = small_network(0, dropout=0), small_network(9), small_network(0)
    penalty = AntiTransferLoss(model, frozen, [2], beta=0.5)
    learner = learner_of(model, [penalty], optimizer="sgd", learning_rate=0.1)
    result = run_fit(learner, sets, num_epochs=2, shuffle=False)
    assert result.best_epoch == 1
    by_hand.eval()
    frozen.eval()
    parameters = list(by_hand.parameters())
    for _ in range(2):
        for batch in sets[0].batches(10):
            activation = by_hand[:4](batch.inputs)
            with torch.no_grad():
                other = frozen[:4](batch.inputs)
            loss = functional.cross_entropy(by_hand[4:](activation), batch.labels)
            loss = loss + 0.5 * layer_loss(activation, aggregate(other))
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(0.1 * gradient)
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(result.best_state[name], value, rtol=1e-4, atol=1e-6)


def test_running_metrics_are_means_over_the_batches_as_they_were_trained(
    sets: Sets,
) -> None:
    model = small_network(0)
    passes: list[tuple[bool, Tensor]] = []
    model.register_forward_hook(
        lambda module, _, output: passes.append((module.training, output.detach().clone()))
    )
    history = run_fit(learner_of(model), sets, num_epochs=1, train_metrics="running").history
    assert [len(outputs) for training, outputs in passes if training] == [10, 10, 10, 10, 5]
    assert sum(len(outputs) for training, outputs in passes if not training) == len(VALIDATION)
    generator = RngSeeds.from_seed(0, 0).shuffling
    labels = [batch.labels for batch in sets[0].training_batches(10, True, generator)]
    outputs = [outputs for training, outputs in passes if training]
    pairs = list(zip(outputs, labels, strict=True))
    loss = sum(float(functional.cross_entropy(*pair, reduction="sum")) for pair in pairs) / 45
    correct = sum(int((out.argmax(1) == label).sum()) for out, label in pairs) / 45
    assert history["train_loss_hist"] == [pytest.approx(loss, rel=1e-6)]
    assert history["train_acc_hist"] == [pytest.approx(correct)]


def test_a_layer_without_gradient_is_refused_before_the_first_step(sets: Sets) -> None:
    model = small_network(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    penalty = penalty_of(model, layers=[1, 2], tap="input")
    learner = learner_of(model, [penalty])
    with pytest.raises(UserError, match=r"cannot act on noisyspeech_layer1: no gradient .* input"):
        run_fit(learner, sets)
    assert equal_states(dict(model.state_dict()), before)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_loss_that_is_no_number_ends_the_training(sets: Sets) -> None:
    model = small_network(0)
    penalty = penalty_of(model)
    learner = learner_of(model, [penalty], optimizer="sgd", learning_rate=1e30)
    with pytest.raises(
        TrainingError, match=r"training loss became (nan|inf) in epoch 1; .*learning_"
    ):
        run_fit(learner, sets)
    assert not any(module._forward_hooks for module in model.modules())


def test_seeds_are_those_of_seed_and_fold_and_independent() -> None:
    def numbers(seed: int, fold: int) -> tuple[int, ...]:
        seeds = RngSeeds.from_seed(seed, fold)
        generators = (seeds.shuffling, seeds.similarity)
        drawn = [int(torch.randint(2**31, (), generator=each)) for each in generators]
        return (seeds.initialization, seeds.dropout, *drawn)

    assert numbers(3, 0) == numbers(3, 0)
    everything = [number for pair in ((3, 0), (3, 1), (4, 0), (0, 3)) for number in numbers(*pair)]
    assert len(set(everything)) == len(everything)
