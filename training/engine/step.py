"""A network in training with all that acts on it: its losses, its steps, its figures on a set."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional

from training.data.batches import Batch, ExampleSet
from training.data.frozen_cache import FrozenFeatures
from training.engine.distributed import average_gradients, gather, num_processes, rank
from training.engine.metrics import Task, classification_metrics, regression_metrics
from training.methods.anti_transfer import AntiTransferLoss
from training.methods.gradient_reversal import GradientReversal
from training.similarity.taps import unwrap

FUSED_OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass
class Evaluation:
    """Figures of one set: means over its examples, and the predictions of so many classes."""

    figures: dict[str, float]
    labels: npt.NDArray[Any]
    predictions: npt.NDArray[Any]
    num_classes: int


@dataclass
class Learner:
    """A network in training with everything that acts on it.

    Attributes:
        frozen_features: for each penalty, what its frozen network gives for the examples of the
            sets; None or left out: the frozen network runs in each step.
        adversary: of gradient reversal, if any.
        ramp: part of the training over which the penalties rise from 0 to their weights. Figures
            are always those of the full weights, so that epochs can be compared.
        progress: how much of the training is over, 0 to 1.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    penalties: Sequence[AntiTransferLoss]
    accelerator: Accelerator
    task: Task
    frozen_features: Sequence[FrozenFeatures | None] = ()
    adversary: GradientReversal | None = None
    ramp: float = 0.0
    progress: float = 0.0

    @property
    def listeners(self) -> list[AntiTransferLoss | GradientReversal]:
        """All that take activations of the network."""
        return [*self.penalties, *([] if self.adversary is None else [self.adversary])]

    @property
    def penalty_share(self) -> float:
        """What part of their weights the penalties have at the moment."""
        return min(1.0, self.progress / self.ramp) if self.ramp > 0 else 1.0

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Outputs, task loss and each network's penalty for a batch, from one forward pass."""
        with self.accelerator.autocast():
            outputs = self.model(batch.inputs)
            task_loss = task_loss_of(outputs.float(), batch.labels, self.task)
            similarities = self._similarities(batch)
        return outputs, task_loss, similarities

    def _similarities(self, batch: Batch) -> list[Tensor]:
        features = self.frozen_features or [None] * len(self.penalties)
        return [
            penalty(batch.inputs, batch.labels)
            if kept is None
            else penalty.penalty(kept.aggregates(batch.rows), batch.labels)
            for penalty, kept in zip(self.penalties, features, strict=True)
        ]

    def adversary_losses(self, batch: Batch) -> list[Tensor]:
        """What the adversary, if there is one, makes of the batch that `losses` was called with."""
        if self.adversary is None:
            return []
        with self.accelerator.autocast():
            return [self.adversary(batch.rows, self.progress)]


def task_loss_of(outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Cross-entropy of logits (batch, classes), or mean squared error of values (batch, 1)."""
    if task == "classification":
        return functional.cross_entropy(outputs, labels)
    return functional.mse_loss(outputs.squeeze(1), labels.to(outputs.dtype))


def build_optimizer(
    name: str, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer that choose_optimizer names, in one kernel where torch has one."""
    optimizers: dict[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
    }
    arguments: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
    if name in FUSED_OPTIMIZERS:
        arguments["fused"] = True
    return optimizers[name](parameters, **arguments)


@contextmanager
def listening(listeners: Iterable[AntiTransferLoss | GradientReversal]) -> Iterator[None]:
    """Penalties and adversaries that are not open yet are open within the block."""
    with ExitStack() as opened:
        for listener in listeners:
            if not listener.taps.is_open:
                opened.enter_context(listener)
        yield


def network_of(learner: Learner) -> nn.Module:
    """The network itself, out of torch.compile and of what Accelerate puts around it."""
    return unwrap(learner.accelerator.unwrap_model(learner.model))


def training_step(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Change the network's weights once; returns what `Learner.losses` gave before."""
    learner.optimizer.zero_grad(set_to_none=True)
    outputs, task_loss, similarities = learner.losses(batch)
    weighed = [learner.penalty_share * each for each in similarities]
    loss = torch.stack([task_loss, *weighed, *learner.adversary_losses(batch)]).sum()
    learner.accelerator.backward(loss)
    if learner.adversary is not None:
        average_gradients(learner.adversary.head.parameters())
    learner.optimizer.step()
    return outputs, task_loss, similarities


def evaluate(learner: Learner, examples: ExampleSet, batch_size: int) -> Evaluation:
    """All figures of a set in evaluation mode, the same in all processes."""
    learner.model.eval()
    sums = Sums()
    outputs_of_all = []
    with torch.no_grad():
        for batch in examples.batches(batch_size, rank(), num_processes()):
            outputs, task_loss, similarities = learner.losses(batch)
            learner.adversary_losses(batch)
            outputs_of_all.append(outputs.float())
            sums.add(len(batch.rows), figures_of(task_loss, similarities, learner))
    outputs = _in_order(torch.cat(outputs_of_all).cpu(), len(examples))
    labels = examples.labels.cpu().numpy()
    figures = sums.means()
    if learner.task == "classification":
        predictions = outputs.argmax(dim=1).numpy()
        figures |= classification_metrics(labels, predictions)
    else:
        predictions = outputs.squeeze(1).double().numpy()
        figures |= regression_metrics(labels.astype(np.float64), predictions)
    return Evaluation(figures, labels, predictions, outputs.shape[1])


def _in_order(outputs: Tensor, num_examples: int) -> Tensor:
    """Join the outputs of all processes' shards in the set's own order, each example's once."""
    return torch.stack(gather(outputs), dim=1).flatten(0, 1)[:num_examples]


def figures_of(
    task_loss: Tensor, similarities: list[Tensor], learner: Learner
) -> dict[str, Tensor]:
    """Loss, its parts, and each term of the penalties, for a batch."""
    figures = {"loss": task_loss.detach(), "task_loss": task_loss.detach()}
    if similarities:
        figures["feature_loss"] = torch.stack(similarities).sum().detach()
        figures["loss"] = figures["loss"] + figures["feature_loss"]
        for penalty in learner.penalties:
            figures |= {f"{name}_loss": term for name, term in penalty.terms.items()}
    if learner.adversary is not None:
        figures |= {f"{name}_loss": term for name, term in learner.adversary.terms.items()}
    return figures


class Sums:
    """Sums over examples, kept on the device so that no step waits for a number."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, count: int, figures: dict[str, Tensor]) -> None:
        """Count a batch's means, of so many examples."""
        self.count += count
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0) + value.double() * count

    def means(self) -> dict[str, float]:
        """Return means over all examples of all processes; repeated ones count each time."""
        counts, sums = zip(
            *gather((self.count, {name: float(total) for name, total in self.sums.items()})),
            strict=True,
        )
        names = {name: None for each in sums for name in each}
        return {name: sum(each.get(name, 0.0) for each in sums) / sum(counts) for name in names}
