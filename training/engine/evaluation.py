"""Metrics of a network on a whole set."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from config.fields import Task
from training.data.batches import ExampleSet
from training.engine.distributed import gather, num_processes, rank
from training.engine.metrics import by_clip, decisions, prediction_metrics
from training.engine.step import Learner


@dataclass
class Evaluation:
    """What a network gives for one set, its examples in the set's own order.

    Attributes:
        metrics: means over the examples.
        rows: of the examples in the matrices, (examples,).
        labels: class numbers, or the values of a regression, (examples,).
        outputs: logits, (examples, classes), of a regression (examples, 1); float32 on the CPU.
    """

    task: Task
    metrics: dict[str, float]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[Any]
    outputs: Tensor

    @cached_property
    def predictions(self) -> npt.NDArray[Any]:
        """Class numbers, or the values of a regression, (examples,)."""
        return decisions(self.task, self.outputs.numpy())

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Of each class, (examples, classes); of a regression the predictions, (examples, 1)."""
        is_classes = self.task == "classification"
        return (self.outputs.softmax(dim=1) if is_classes else self.outputs).numpy()

    def by_clip(
        self, clip_of_row: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return label and prediction of each clip: the mean of its examples decides.

        Args:
            clip_of_row: the number of the clip of each row of the matrices.
        """
        labels, means = by_clip(clip_of_row[self.rows], self.labels, self.probabilities)
        return labels, decisions(self.task, means)


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
    if learner.task == "regression":
        labels = labels.astype(np.float64)
    found = Evaluation(learner.task, sums.means(), examples.rows, labels, outputs)
    found.metrics |= prediction_metrics(learner.task, labels, found.predictions)
    return found


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
