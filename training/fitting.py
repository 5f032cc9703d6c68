"""The one training loop: pre-training and experiments are the same fit, with and without a penalty.

It receives finished objects (network, optimizer, sets) and reads no settings.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from config.errors import UserError
from training.anti_transfer import AntiTransferLoss, layers_without_gradient
from training.batches import Batch, ExampleSet
from training.metrics import Task, classification_metrics, regression_metrics

BestMetric = Literal["val_loss", "val_task_loss", "val_acc"]
History = dict[str, list[float]]
PROOF_EXAMPLES = 8


class TrainingError(UserError):
    """A training that cannot go on; its text says why, and what may help."""


@dataclass(frozen=True)
class FitOptions:
    """How long and by what a network is trained.

    patience: epochs without improvement before the training stops; None: it never does.
    best_metric: which figure of the validation set improves.
    train_metrics: full evaluates the training set after each epoch, running averages over its
        batches.
    """

    num_epochs: int
    batch_size: int
    patience: int | None
    best_metric: BestMetric = "val_loss"
    train_metrics: Literal["full", "running"] = "full"
    shuffle: bool = True
    task: Task = "classification"


@dataclass(frozen=True)
class Streams:
    """Independent random streams of one training, all from its seed.

    None of them is used while a frozen network is built, so a baseline and an anti-transfer
    training of the same seed start from the same weights and see the same batches.
    """

    initialization: int
    dropout: int
    shuffling: torch.Generator
    similarity: torch.Generator

    @classmethod
    def from_seed(cls, seed: int, fold: int) -> "Streams":
        """The streams of one fold of a training."""
        states = np.random.SeedSequence([seed, fold]).generate_state(4).tolist()
        return cls(
            initialization=states[0],
            dropout=states[1],
            shuffling=torch.Generator().manual_seed(states[2]),
            similarity=torch.Generator().manual_seed(states[3]),
        )


@dataclass
class Evaluation:
    """Figures of one set: means over its examples, and the predictions."""

    figures: dict[str, float]
    labels: npt.NDArray[Any]
    predictions: npt.NDArray[Any]


@dataclass
class FitResult:
    """What a fit leaves: the history, the best epoch (from 0), and its weights on the CPU."""

    history: History = field(default_factory=dict)
    best_epoch: int = -1
    best_value: float = float("nan")
    best_state: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Learner:
    """A network in training with everything that acts on it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    penalties: Sequence[AntiTransferLoss]
    accelerator: Accelerator
    task: Task

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Outputs, task loss and each network's penalty for a batch, from one forward pass."""
        with self.accelerator.autocast():
            outputs = self.model(batch.inputs)
            task_loss = task_loss_of(outputs.float(), batch.labels, self.task)
            similarities = [penalty(batch.inputs) for penalty in self.penalties]
        return outputs, task_loss, similarities


def task_loss_of(outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Cross-entropy of logits (batch, classes), or mean squared error of values (batch, 1)."""
    if task == "classification":
        return functional.cross_entropy(outputs, labels)
    return functional.mse_loss(outputs.squeeze(1), labels.to(outputs.dtype))


def build_optimizer(
    name: str, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer that choose_optimizer names."""
    optimizers: dict[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
    }
    arguments: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
    return optimizers[name](parameters, **arguments)


def fit(
    learner: Learner,
    training: ExampleSet,
    validation: ExampleSet,
    options: FitOptions,
    streams: Streams,
    description: str,
) -> FitResult:
    """Train until the validation figure stops improving; the best weights are kept.

    After each epoch the history gets, for train and val: loss (task loss plus similarity terms, as
    published), task_loss, acc (classification), and with penalties feature_loss (their sum) and
    one entry for each term.

    Raises:
        UserError: a penalised layer receives no gradient.
        TrainingError: the loss is no longer a number.
    """
    result = FitResult()
    with ExitStack() as open_penalties:
        for penalty in learner.penalties:
            open_penalties.enter_context(penalty)
        prove_gradients(learner, training)
        torch.manual_seed(streams.dropout)
        bar = tqdm(total=options.num_epochs, desc=description, unit="epoch", mininterval=0.5)
        with bar:
            for epoch in range(options.num_epochs):
                train_figures = _train_epoch(learner, training, options, streams)
                if options.train_metrics == "full":
                    train_figures = evaluate(learner, training, options.batch_size).figures
                val_figures = evaluate(learner, validation, options.batch_size).figures
                _refuse_divergence(train_figures, val_figures, epoch)
                _record(result.history, train_figures, val_figures)
                _keep_best(result, learner, options, epoch)
                learner.accelerator.log(
                    {name: values[-1] for name, values in result.history.items()}, step=epoch
                )
                bar.set_postfix(_shown(result.history), refresh=False)
                bar.update()
                if options.patience and epoch - result.best_epoch >= options.patience:
                    break
    return result


def prove_gradients(learner: Learner, training: ExampleSet) -> None:
    """Show on a few examples that each penalised layer can be trained by its term.

    Raises:
        UserError: names the layers that receive no gradient.
    """
    batch = next(training.batches(PROOF_EXAMPLES))
    for penalty in (penalty for penalty in learner.penalties if penalty.beta > 0):
        dead = layers_without_gradient(learner.model, penalty, batch.inputs)
        if dead:
            names = ", ".join(gradient.name for gradient in dead)
            raise UserError(
                f"anti-transfer cannot act on {names}: no gradient arrives at its {penalty.tap} "
                "(the input of convolution 1 is the spectrum itself); choose another layer or tap"
            )


def evaluate(learner: Learner, examples: ExampleSet, batch_size: int) -> Evaluation:
    """All figures of a set in evaluation mode."""
    learner.model.eval()
    sums = _Sums()
    outputs_of_all = []
    with torch.no_grad():
        for batch in examples.batches(batch_size):
            outputs, task_loss, similarities = learner.losses(batch)
            sums.add(len(batch.labels), _figures(task_loss, similarities, learner))
            outputs_of_all.append(outputs.float().cpu())
    outputs = torch.cat(outputs_of_all)
    labels = examples.labels.cpu().numpy()
    figures = sums.means()
    if learner.task == "classification":
        predictions = outputs.argmax(dim=1).numpy()
        figures |= classification_metrics(labels, predictions)
    else:
        predictions = outputs.squeeze(1).double().numpy()
        figures |= regression_metrics(labels.astype(np.float64), predictions)
    return Evaluation(figures, labels, predictions)


def _train_epoch(
    learner: Learner, training: ExampleSet, options: FitOptions, streams: Streams
) -> dict[str, float]:
    learner.model.train()
    sums = _Sums()
    batches = training.training_batches(options.batch_size, options.shuffle, streams.shuffling)
    num_batches = -(-len(training) // options.batch_size)
    for batch in tqdm(batches, total=num_batches, unit="batch", leave=False, disable=None):
        learner.optimizer.zero_grad(set_to_none=True)
        outputs, task_loss, similarities = learner.losses(batch)
        loss = torch.stack([task_loss, *similarities]).sum()
        learner.accelerator.backward(loss)
        learner.optimizer.step()
        figures = _figures(task_loss, similarities, learner)
        if learner.task == "classification":
            figures["acc"] = (outputs.argmax(dim=1) == batch.labels).float().mean()
        sums.add(len(batch.labels), figures)
    return sums.means()


def _refuse_divergence(
    train_figures: dict[str, float], val_figures: dict[str, float], epoch: int
) -> None:
    for name, figures in (("training", train_figures), ("validation", val_figures)):
        if not np.isfinite(figures["loss"]):
            raise TrainingError(
                f"the {name} loss became {figures['loss']} in epoch {epoch + 1}; a smaller "
                "learning_rate or at_beta may help"
            )


def _figures(task_loss: Tensor, similarities: list[Tensor], learner: Learner) -> dict[str, Tensor]:
    figures = {"loss": task_loss.detach(), "task_loss": task_loss.detach()}
    if similarities:
        figures["feature_loss"] = torch.stack(similarities).sum().detach()
        figures["loss"] = figures["loss"] + figures["feature_loss"]
        for penalty in learner.penalties:
            figures |= {f"{name}_loss": term for name, term in penalty.terms.items()}
    return figures


class _Sums:
    """Sums over examples, kept on the device so that no step waits for a number."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, count: int, figures: dict[str, Tensor]) -> None:
        self.count += count
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0) + value.double() * count

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.count for name, total in self.sums.items()}


def _record(
    history: History, train_figures: dict[str, float], val_figures: dict[str, float]
) -> None:
    names = [name for name in val_figures if name == "acc" or name.endswith("loss")]
    for name in names:
        history.setdefault(f"train_{name}_hist", []).append(train_figures[name])
        history.setdefault(f"val_{name}_hist", []).append(val_figures[name])


def _keep_best(result: FitResult, learner: Learner, options: FitOptions, epoch: int) -> None:
    value = result.history[f"{options.best_metric}_hist"][-1]
    better = (
        value > result.best_value
        if options.best_metric == "val_acc"
        else (value < result.best_value)
    )
    if result.best_epoch >= 0 and not better:
        return
    result.best_epoch, result.best_value = epoch, value
    state = learner.accelerator.unwrap_model(learner.model).state_dict()
    result.best_state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _shown(history: History) -> dict[str, str]:
    names = {
        "train_loss_hist": "train loss",
        "val_loss_hist": "val loss",
        "val_acc_hist": "val acc",
    }
    return {shown: f"{history[name][-1]:.3f}" for name, shown in names.items() if name in history}
