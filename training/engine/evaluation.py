"""Metrics of a network on a whole set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.data.batches import ExampleSet
from training.engine.distributed import gather, num_processes, rank
from training.engine.metrics import classification_metrics, regression_metrics
from training.engine.step import Learner


@dataclass
class Evaluation:
    """Metrics of one set: means over its examples, and the predictions of so many classes."""

    metrics: dict[str, float]
    labels: npt.NDArray[Any]
    predictions: npt.NDArray[Any]
    num_classes: int


def evaluate(learner: Learner, examples: ExampleSet, batch_size: int) -> Evaluation:
    """Return all metrics of a set in evaluation mode, the same in all processes."""
    learner.model.eval()
    sums = MetricSums()
    outputs_of_batches = []
    with torch.no_grad():
        for batch in examples.batches(batch_size, rank(), num_processes()):
            outputs, task_loss, method_losses = learner.losses(batch)
            outputs_of_batches.append(outputs.float())
            sums.add(len(batch.rows), learner.metrics_of(task_loss, method_losses))
    outputs = _in_order(torch.cat(outputs_of_batches).cpu(), len(examples))
    labels = examples.labels.cpu().numpy()
    metrics = sums.means()
    if learner.task == "classification":
        predictions = outputs.argmax(dim=1).numpy()
        metrics |= classification_metrics(labels, predictions)
    else:
        predictions, labels = outputs.squeeze(1).double().numpy(), labels.astype(np.float64)
        metrics |= regression_metrics(labels, predictions)
    return Evaluation(metrics, labels, predictions, outputs.shape[1])


def _in_order(outputs: Tensor, num_examples: int) -> Tensor:
    """Join the outputs of all processes' shards in the set's own order, each example's once."""
    return torch.stack(gather(outputs), dim=1).flatten(0, 1)[:num_examples]


class MetricSums:
    """Sums over examples, kept on the device so that no step waits for a number."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, count: int, metrics: dict[str, Tensor]) -> None:
        """Add a batch's means, of so many examples."""
        self._count += count
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0) + value.double() * count

    def means(self) -> dict[str, float]:
        """Return means over all processes' examples; those that fill up a shard count twice."""
        sums = {name: float(total) for name, total in self._sums.items()}
        counts, all_sums = zip(*gather((self._count, sums)), strict=True)
        names = dict.fromkeys(name for each in all_sums for name in each)
        return {name: sum(each.get(name, 0.0) for each in all_sums) / sum(counts) for name in names}
