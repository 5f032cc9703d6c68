"""The anti-transfer loss: how similar a network's layers are to those of a frozen network.

Source: Guizzo, Weyde, Tarroni, "Anti-transfer learning for task invariance in convolutional neural
networks for speech processing", arXiv 2006.06494.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from config.errors import UserError
from training.methods import Method, MethodInputs
from training.similarity.aggregations import AGGREGATIONS
from training.similarity.distances import known_pair
from training.similarity.layer_loss import aggregate, layer_loss
from training.similarity.taps import (
    Layer,
    Tap,
    Taps,
    activations_until,
    label,
    last_linear,
    unwrap,
)

if TYPE_CHECKING:
    from training.data.batches import Batch


class AntiTransferLoss(Method):
    """The weighted similarity of a network's layers to a frozen network's, summed over layers.

        with AntiTransferLoss(model, frozen, layers=[13]) as penalty:
            logits = model(inputs)
            loss = cross_entropy(logits, labels) + penalty(inputs)

    Each forward pass of the model serves one call of the penalty, which takes its activations.
    Several losses (one for each frozen network) can be open on one model.

    Args:
        model: the network being trained; its mode and parameters are not touched.
        frozen: the network to move away from, on the model's device. It is put into evaluation
            mode and its parameters stop requiring gradients, and it stays so afterwards.
        layers: convolution numbers or module names, the same in both networks.
        aggregation: a key of `training.similarity.aggregations.AGGREGATIONS`.
        distance: a key of `training.similarity.distances.DISTANCES`; cka_within_class (with
            aggregation pool alone) compares the layer's average-pooled activations with the frozen
            network's penultimate features, within each class; experimental, and not the paper's.
        beta: weight of each layer's term.
        tap: "output" or "input" of the layers; see `training.similarity.taps.Taps`.
        name: the frozen network's, for the names of the terms.
        generator: what stochastic_pairwise draws from; one of its own, seeded 0, if None.

    Attributes:
        terms: each layer's weighted term in the last call, detached, as in
            `{"noisyspeech_layer13": tensor(0.41)}`; they add up to the penalty.
        kept: gives the frozen network's aggregates for rows of the data; None: `loss` runs it.

    Raises:
        UserError: a layer is unknown in one of the networks, or stands twice, or there is none.
        ValueError: an unknown name, or networks that share parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        frozen: nn.Module,
        layers: Iterable[Layer],
        aggregation: str = "gram",
        distance: str = "cos_squared",
        beta: float = 1.0,
        *,
        tap: Tap = "output",
        name: str = "frozen",
        generator: torch.Generator | None = None,
    ) -> None:
        self.layers = tuple(layers)
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise UserError(f"anti-transfer: layers must be one or more, each once, not {layers}")
        if {id(each) for each in model.parameters()} & {id(each) for each in frozen.parameters()}:
            raise ValueError("the model and the frozen network share parameters; pass a copy")
        self.aggregation, self.distance = known_pair(aggregation, distance)
        self.beta = beta
        self.tap = tap
        self.name = name
        self.generator = generator or torch.Generator().manual_seed(0)
        self.terms = {}
        self.kept: Callable[[Tensor], Mapping[Layer, Tensor]] | None = None
        self.taps = Taps(model, self.layers, tap)
        self.compares_features = AGGREGATIONS[self.aggregation].gives_features
        self.frozen_layers: tuple[Layer, ...] = self.layers
        self.frozen_tap: Tap = tap
        if self.compares_features:
            self.frozen_layers, self.frozen_tap = (last_linear(frozen),), "input"
        # An unknown layer is an error now, not in the first step.
        Taps(frozen, self.frozen_layers, self.frozen_tap)
        self.frozen = unwrap(frozen).eval().requires_grad_(False)

    def __call__(self, inputs: Tensor, classes: Tensor | None = None) -> Tensor:
        """Compute the penalty for the model's last forward pass, which had the same inputs.

        Args:
            inputs: what the model was given, `(batch, channels, frames, bins)`.
            classes: the target's labels, `(batch,)`, which distance cka_within_class needs.

        Returns:
            A scalar with a gradient.

        Raises:
            RuntimeError: the model made no forward pass since the last call.
            ValueError: the two networks' activations differ in shape, or the classes are missing.
        """
        self._check_captured()
        return self.penalty(self.frozen_aggregates(inputs), classes)

    def loss(self, batch: "Batch", progress: float) -> Tensor:  # noqa: ARG002
        """Compute the penalty for a batch, from aggregates that were kept if there are any."""
        if self.kept is None:
            return self(batch.inputs, batch.labels)
        return self.penalty(self.kept(batch.rows), batch.labels)

    def frozen_activations(self, inputs: Tensor) -> dict[Layer, Tensor]:
        """Return what of the frozen network each layer is compared with, before aggregation."""
        found = activations_until(self.frozen, inputs, self.frozen_layers, self.frozen_tap)
        if self.compares_features:
            return dict.fromkeys(self.layers, found[self.frozen_layers[0]])
        return found

    def frozen_label(self, layer: Layer) -> str:
        """Name the place in the frozen network that a layer is compared with."""
        return label(self.frozen_layers[0] if self.compares_features else layer)

    def frozen_aggregates(self, inputs: Tensor) -> dict[Layer, Tensor]:
        """Run the frozen network as far as its last tapped layer; what `penalty` compares with.

        For every aggregation but gram_batch the first axis is the batch, and each example's entry
        depends on that example alone. None of them requires a gradient.
        """
        with torch.inference_mode():
            activations = self.frozen_activations(inputs)
        # Autograd saves what the loss compares with, and saves no inference tensor. What is made of
        # inference tensors outside that mode is an ordinary tensor.
        with torch.inference_mode(False), torch.no_grad():
            return {
                layer: _ordinary(aggregate(activation, self.aggregation))
                for layer, activation in activations.items()
            }

    def penalty(
        self, frozen_aggregates: Mapping[Layer, Tensor], classes: Tensor | None = None
    ) -> Tensor:
        """Compute the penalty for the model's last pass, given the frozen network's aggregates.

        Raises:
            RuntimeError, ValueError: as a call of the loss.
        """
        self._check_captured()
        losses = self.layer_losses(self.taps.take(), frozen_aggregates, classes)
        self.terms = {self.term_name(layer): each.detach() for layer, each in losses.items()}
        return torch.stack(list(losses.values())).sum()

    def layer_losses(
        self,
        activations: Mapping[Layer, Tensor],
        frozen_aggregates: Mapping[Layer, Tensor],
        classes: Tensor | None = None,
    ) -> dict[Layer, Tensor]:
        """Compute each layer's weighted term, for activations of the model.

        Raises:
            ValueError: the two networks' aggregates differ in shape, or the classes are missing.
        """
        losses = {}
        for layer in self.layers:
            try:
                losses[layer] = layer_loss(
                    activations[layer],
                    frozen_aggregates[layer],
                    self.aggregation,
                    self.distance,
                    self.beta,
                    generator=self.generator,
                    classes=classes,
                )
            except ValueError as error:
                raise ValueError(f"{self.term_name(layer)}: {error}") from None
        return losses

    def term_name(self, layer: Layer) -> str:
        """Name a layer's term in logs, such as noisyspeech_layer13."""
        return f"{self.name}_{label(layer)}"

    def __repr__(self) -> str:
        terms = (
            f"{self.beta:g} * {self.distance}({self.aggregation}) "
            f"at {self.tap} of {label(layer)} against {self.name}"
            for layer in self.layers
        )
        return f"{type(self).__name__}({' + '.join(terms)})"

    def _check_captured(self) -> None:
        if not self.taps.is_open:
            raise RuntimeError("the anti-transfer loss must be used inside its with block")
        if self.taps.missing:
            names = ", ".join(label(layer) for layer in self.taps.missing)
            raise RuntimeError(
                f"the model made no forward pass through {names} since the last penalty: call "
                "model(inputs) before each penalty(inputs), and open the loss before the first "
                "call of a model from torch.compile"
            )


def _ordinary(values: Tensor) -> Tensor:
    return values.clone() if values.is_inference() else values.detach()


def build(inputs: MethodInputs) -> list[AntiTransferLoss]:
    """Build one loss for each network of at_dataset, each with its own layers and beta."""
    training = inputs.training
    if not training.anti_transfer:
        return []
    names = training.at_dataset
    layers = training.at_layer * (len(names) if len(training.at_layer) == 1 else 1)
    betas = training.at_beta * (len(names) if len(training.at_beta) == 1 else 1)
    losses = []
    for number, name in enumerate(names):
        earlier = names[:number].count(name)  # only of random ones there are several
        loss = AntiTransferLoss(
            inputs.model,
            inputs.frozen_network(name, earlier),
            layers=layers[number],
            aggregation=training.at_aggregation,
            distance=training.at_distance,
            beta=betas[number],
            tap=training.at_tap,
            name=f"{name}{earlier + 1}" if earlier else name,
            generator=inputs.generator,
        )
        losses.append(loss)
    return losses
