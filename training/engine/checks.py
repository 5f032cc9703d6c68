"""What is wrong with a training, named: before it starts, and after each epoch."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn

from config.errors import UserError
from training.data.batches import Batch, ExampleSet
from training.engine.distributed import broadcast
from training.engine.step import Learner
from training.methods.anti_transfer import AntiTransferLoss
from training.similarity.aggregations import POOL
from training.similarity.taps import unwrap

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
    for similarity in (each for each in learner.similarities if each.beta > 0):
        is_pooled = similarity.aggregation == POOL
        batch = next(training.batches(POOLED_PROOF_EXAMPLES if is_pooled else PROOF_EXAMPLES))
        gradients = layer_gradients(learner.model, similarity, batch)
        names = broadcast(", ".join(each.name for each in gradients if not each.arrives))
        if names:
            raise TrainingError(  # in all processes, so that other runs go on
                f"anti-transfer cannot act on {names}: no gradient arrives at its {similarity.tap} "
                "(the input of convolution 1 is the spectrum itself); choose another layer or tap"
            )


@dataclass(frozen=True)
class LayerGradient:
    """Euclidean norms of one layer's term differentiated by its activation and by the parameters.

    Attributes:
        name: the term's, such as noisyspeech_layer13.
        activation: 0 if the activation depends on nothing that is trained.
        parameters: over all of the model's parameters.
    """

    name: str
    activation: float
    parameters: float

    @property
    def arrives(self) -> bool:
        """Tell whether training can act on the term."""
        norms = (self.activation, self.parameters)
        return all(isfinite(norm) and norm > 0 for norm in norms)


def layer_gradients(
    model: nn.Module, similarity: AntiTransferLoss, batch: Batch
) -> list[LayerGradient]:
    """Measure the gradient of each penalised layer's term, on one batch in evaluation mode.

    Parameters' `.grad`, random states, running statistics, the model's mode and the method's terms
    are afterwards as before.

    Args:
        model: the network that the similarity was made for.
        similarity: open or not.
    """
    model = unwrap(model)
    parameters = [each for each in model.parameters() if each.requires_grad]
    modes = {module: module.training for module in model.modules()}
    state = similarity.generator.get_state()
    try:
        model.eval()
        with nullcontext() if similarity.is_open else similarity, torch.enable_grad():
            model(batch.inputs)
            activations = similarity.taps.take()
            frozen = similarity.aggregates_of(batch)
            terms = similarity.layer_losses(activations, frozen, batch.labels)
        return [
            LayerGradient(
                similarity.term_name(layer), *_norms(term, activations[layer], parameters)
            )
            for layer, term in terms.items()
        ]
    finally:
        similarity.generator.set_state(state)
        for module, training in modes.items():
            module.training = training


def _norms(term: Tensor, activation: Tensor, parameters: Sequence[Tensor]) -> tuple[float, float]:
    if not (term.requires_grad and activation.requires_grad):
        return 0.0, 0.0
    first, *others = torch.autograd.grad(
        term, [activation, *parameters], retain_graph=True, allow_unused=True
    )
    return _norm([first]), _norm(others)


def _norm(gradients: Iterable[Tensor | None]) -> float:
    squares = (float(each.double().square().sum()) for each in gradients if each is not None)
    return float(sum(squares) ** 0.5)


def activation_norms(learner: Learner, training: ExampleSet) -> dict[str, float]:
    """Return the root mean square of each penalised layer's activation, on a few examples.

    The methods must be open. The similarity of two Gram matrices also falls when activations
    vanish, and then says nothing about what the network has unlearnt.
    """
    if not learner.similarities:
        return {}
    network = learner.network
    was_training = network.training
    batch = next(training.batches(NORM_EXAMPLES))
    with torch.no_grad():
        network.eval()(batch.inputs)
        network.train(was_training)
        norms = {
            similarity.term_name(layer): float(activation.double().square().mean().sqrt())
            for similarity in learner.similarities
            for layer, activation in similarity.taps.take().items()
        }
    return broadcast(norms)


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
    train_metrics: Mapping[str, float],
    val_metrics: Mapping[str, float],
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
    for name, metrics in (("training", train_metrics), ("validation", val_metrics)):
        if not np.isfinite(metrics["loss"]):
            raise TrainingError(
                f"the {name} loss became {metrics['loss']} in epoch {epoch + 1}; {advice}"
            )
    loss = train_metrics["task_loss"]
    if first_task_loss is not None and loss > EXPLOSION * max(first_task_loss, 1.0):
        raise TrainingError(
            f"the training loss exploded from {first_task_loss:.3g} after the first epoch to "
            f"{loss:.3g} after epoch {epoch + 1}; {advice}"
        )
