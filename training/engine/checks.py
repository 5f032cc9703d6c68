"""What is wrong with a training, named: before it starts, and after each epoch."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from config.errors import UserError
from training.data.batches import ExampleSet
from training.engine.distributed import broadcast
from training.engine.gradient_proof import layers_without_gradient
from training.engine.step import Learner, network_of
from training.similarity.aggregations import POOL

# A proof runs the whole network there and back, in full width for seconds.
PROOF_EXAMPLES = 2
# An alignment of features needs more examples than there are classes.
POOLED_PROOF_EXAMPLES = 32
NORM_EXAMPLES = 8
# Of the task loss after the first epoch: no training that learns comes near it.
EXPLOSION = 1000.0
# Of the norm before the training: weights that learn change it by far less than a thousandfold.
SHRINKAGE = 1e-3


class TrainingError(UserError):
    """A training that cannot go on; its text says why, and what may help."""


def prove_gradients(learner: Learner, training: ExampleSet) -> None:
    """Show on a few examples that each penalised layer can be trained by its term.

    Raises:
        TrainingError: names the layers that receive no gradient.
    """
    for penalty in (penalty for penalty in learner.penalties if penalty.beta > 0):
        is_pooled = penalty.aggregation == POOL
        batch = next(training.batches(POOLED_PROOF_EXAMPLES if is_pooled else PROOF_EXAMPLES))
        dead = layers_without_gradient(learner.model, penalty, batch.inputs, batch.labels)
        names = broadcast(", ".join(gradient.name for gradient in dead))
        if names:
            raise TrainingError(  # in all processes, so that other runs go on
                f"anti-transfer cannot act on {names}: no gradient arrives at its {penalty.tap} "
                "(the input of convolution 1 is the spectrum itself); choose another layer or tap"
            )


def activation_norms(learner: Learner, training: ExampleSet) -> dict[str, float]:
    """Root mean square of each penalised layer's activation, on a few examples.

    The penalties must be open. The similarity of two Gram matrices also falls when activations
    vanish, and then says nothing about what the network has unlearnt.
    """
    if not learner.penalties:
        return {}
    network = network_of(learner)
    was_training = network.training
    batch = next(training.batches(NORM_EXAMPLES))
    with torch.no_grad():
        network.eval()(batch.inputs)
        network.train(was_training)
        norms = {
            penalty.term_name(layer): _root_mean_square(activation)
            for penalty in learner.penalties
            for layer, activation in penalty.taps.take().items()
        }
    return broadcast(norms)


def _root_mean_square(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def refuse_vanished(norms: Mapping[str, float], at_start: Mapping[str, float]) -> None:
    """Stop a training whose penalised activations have shrunk to nothing.

    Raises:
        TrainingError: names the layer.
    """
    for name, norm in norms.items():
        if norm < SHRINKAGE * at_start[name]:
            raise TrainingError(
                f"the activations of {name} shrank to {norm / at_start[name]:.2g} of what they "
                "were: the similarity falls without anything being unlearnt; a smaller at_beta or "
                "learning_rate may help"
            )


def refuse_divergence(
    train_figures: Mapping[str, float],
    val_figures: Mapping[str, float],
    first_task_loss: float | None,
    epoch: int,
) -> None:
    """Stop a training whose loss is no number, or has exploded.

    Args:
        first_task_loss: of the training set after the first epoch; None: this is it.
        epoch: from 0.

    Raises:
        TrainingError: says which loss became what.
    """
    advice = "a smaller learning_rate or at_beta may help"
    for name, figures in (("training", train_figures), ("validation", val_figures)):
        if not np.isfinite(figures["loss"]):
            raise TrainingError(
                f"the {name} loss became {figures['loss']} in epoch {epoch + 1}; {advice}"
            )
    loss = train_figures["task_loss"]
    if first_task_loss is not None and loss > EXPLOSION * max(first_task_loss, 1.0):
        raise TrainingError(
            f"the training loss exploded from {first_task_loss:.3g} after the first epoch to "
            f"{loss:.3g} after epoch {epoch + 1}; {advice}"
        )


def missing_classes(labels: Tensor, num_classes: int) -> list[int]:
    """Classes that no example of a set has."""
    counts = torch.bincount(labels.cpu(), minlength=num_classes)
    return [label for label, count in enumerate(counts.tolist()) if count == 0]
