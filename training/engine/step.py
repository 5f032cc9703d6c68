"""A network in training with all that acts on it, and one step of its training."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional

from config.fields import Task
from training.data.batches import Batch
from training.engine.distributed import average_gradients
from training.methods import Method
from training.methods.anti_transfer import AntiTransferLoss
from training.similarity.taps import unwrap


@dataclass
class Learner:
    """A network in training with everything that acts on it.

    Attributes:
        methods: what trains it away from what it should not use.
        ramp: part of the training over which the methods' terms rise from 0 to their weights.
            Metrics are always those of the full weights, so that epochs can be compared.
        progress: how much of the training is over, 0 to 1.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    methods: Sequence[Method]
    accelerator: Accelerator
    task: Task
    ramp: float = 0.0
    progress: float = 0.0

    @property
    def network(self) -> nn.Module:
        """The network itself, out of torch.compile and of what Accelerate puts around it."""
        return unwrap(self.accelerator.unwrap_model(self.model))

    @property
    def similarities(self) -> list[AntiTransferLoss]:
        """The methods that compare layers with a frozen network's."""
        return [method for method in self.methods if isinstance(method, AntiTransferLoss)]

    @property
    def ramp_weight(self) -> float:
        """What part of their weights the methods' terms have at the moment."""
        return min(1.0, self.progress / self.ramp) if self.ramp > 0 else 1.0

    @property
    def precision(self) -> str:
        """In which the training computes: fp32 or bf16."""
        return "bf16" if self.accelerator.mixed_precision == "bf16" else "fp32"

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor, dict[Method, Tensor]]:
        """Return outputs, task loss and the methods' losses for a batch, from one forward pass."""
        with self.accelerator.autocast():
            outputs = self.model(batch.inputs)
            task_loss = self.task_loss(outputs.float(), batch)
            method_losses = {
                method: loss
                for method in self.methods
                if (loss := method.loss(batch, outputs.float(), self.progress)) is not None
            }
        return outputs, task_loss, method_losses

    def task_loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the task loss of a batch's outputs, as the methods would have it."""
        for method in self.methods:
            outputs = method.adjust(outputs, batch)
        weighing = [each for each in self.methods if type(each).weigh is not Method.weigh]
        if not weighing:
            return task_loss_of(outputs, batch.labels, self.task)
        losses = task_loss_of(outputs, batch.labels, self.task, "none")
        for method in weighing:
            losses = method.weigh(losses, batch)
        return losses.mean()

    def metrics_of(
        self, task_loss: Tensor, method_losses: Mapping[Method, Tensor]
    ) -> dict[str, Tensor]:
        """Return the loss, its parts, and each method's terms, for a batch."""
        metrics = {"loss": task_loss.detach(), "task_loss": task_loss.detach()}
        reported = [loss for method, loss in method_losses.items() if method.in_loss]
        if reported:
            metrics["feature_loss"] = torch.stack(reported).sum().detach()
            metrics["loss"] = metrics["loss"] + metrics["feature_loss"]
        for method in self.methods:
            metrics |= {f"{name}_loss": term for name, term in method.terms.items()}
        return metrics


@contextmanager
def hooks_enabled(methods: Iterable[Method]) -> Iterator[None]:
    """Within the block all methods are open that were not open before."""
    with ExitStack() as opened:
        for method in methods:
            if not method.is_open:
                opened.enter_context(method)
        yield


def task_loss_of(
    outputs: Tensor, labels: Tensor, task: Task, reduction: Literal["mean", "none"] = "mean"
) -> Tensor:
    """Return the cross-entropy of logits (batch, classes), or the MSE of values (batch, 1)."""
    if task == "classification":
        return functional.cross_entropy(outputs, labels, reduction=reduction)
    return functional.mse_loss(outputs.squeeze(1), labels.to(outputs.dtype), reduction=reduction)


def training_step(learner: Learner, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Change the network's weights once; returns outputs and metrics from before the change."""
    learner.optimizer.zero_grad(set_to_none=True)
    outputs, task_loss, method_losses = learner.losses(batch)
    weighed = [
        learner.ramp_weight * loss if method.in_loss else loss
        for method, loss in method_losses.items()
    ]
    learner.accelerator.backward(torch.stack([task_loss, *weighed]).sum())
    average_gradients(each for method in learner.methods for each in method.parameters())
    learner.optimizer.step()
    return outputs, learner.metrics_of(task_loss, method_losses)
