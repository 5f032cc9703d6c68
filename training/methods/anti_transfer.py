"""The anti-transfer loss: how similar a network's layers are to those of a frozen network.

Source: Guizzo, Weyde, Tarroni, "Anti-transfer learning for task invariance in convolutional neural
networks for speech processing", arXiv 2006.06494.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from config.errors import UserError
from config.text import counted
from training.methods import Method, MethodInputs
from training.similarity.aggregations import AGGREGATIONS
from training.similarity.distances import known_pair
from training.similarity.layer_loss import aggregate, layer_loss
from training.similarity.taps import (
    Layer,
    Tap,
    Taps,
    activations_until,
    as_layers,
    label,
    last_linear,
    unwrap,
)

if TYPE_CHECKING:
    from config.settings import TrainingDefaults
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
            mode, its parameters stop requiring gradients, and it is copied: what a module that
            holds it does to it afterwards (train, apply) does not count, but that it is moved.
            Or, with aggregation pool, features of all examples, (examples, features), that were
            computed elsewhere; `loss` and `penalty` take theirs.
        layers: a convolution number, a module name, or several; see
            `training.similarity.taps.Taps`, which also says how activations are brought to
            (batch, channels, frames, bins).
        aggregation: a key of `training.similarity.aggregations.AGGREGATIONS`.
        distance: a key of `training.similarity.distances.DISTANCES`; cka_within_class (with
            aggregation pool alone) compares the layer's average-pooled activations with the frozen
            network's penultimate features, within each class; experimental, and not the paper's.
        beta: weight of each layer's term.
        frozen_layers: the frozen network's, one for each of layers; None: the same, or, with
            aggregation pool, its penultimate features.
        tap: "output" or "input" of the layers; see `training.similarity.taps.Taps`.
        name: the frozen network's, for the names of the terms.
        generator: what stochastic_pairwise draws from; one of its own, seeded 0, if None.

    Attributes:
        terms: each layer's weighted term in the last call, detached, as in
            `{"noisyspeech_layer13": tensor(0.41)}`; they add up to the penalty.
        frozen_layers: the frozen network's layer for each of the model's; none of features.
        kept: gives the frozen network's aggregates for rows of the data; None: `loss` runs it.

    Raises:
        UserError: a layer is unknown in one of the networks, or stands twice, or there is none.
        ValueError: an unknown name, a beta that is no number of 0 or more, or networks that share
            parameters.
        TypeError: a value of another type.
    """

    taps: Taps

    def __init__(
        self,
        model: nn.Module,
        frozen: nn.Module | Tensor,
        layers: Layer | Iterable[Layer],
        aggregation: str = "gram",
        distance: str = "cos_squared",
        beta: float = 1.0,
        *,
        frozen_layers: Layer | Iterable[Layer] | None = None,
        tap: Tap = "output",
        name: str = "frozen",
        generator: torch.Generator | None = None,
    ) -> None:
        _check_networks(model, frozen)
        self.aggregation, self.distance = known_pair(aggregation, distance)
        self.beta = _checked_beta(beta)
        self.tap = tap
        self.name = name
        self.generator = generator or torch.Generator().manual_seed(0)
        self.terms = {}
        self.kept: Callable[[Tensor], Mapping[Layer, Tensor]] | None = None
        self.taps = Taps(model, layers, tap)
        self.layers = self.taps.layers
        _check_each_once(self.taps)
        self.frozen: nn.Module = nn.Module()
        self.frozen_layers: dict[Layer, Layer] = {}
        self.frozen_tap: Tap = tap
        if isinstance(frozen, Tensor):
            self._take_features(frozen, frozen_layers)
            return
        frozen = unwrap(frozen).eval().requires_grad_(False)
        self.frozen_layers, self.frozen_tap = self._layers_of(frozen, frozen_layers)
        # Its own, as the caller's may be part of a module that trains, initialises or loads it.
        self.frozen = _copied(frozen)
        self._given = next(frozen.parameters(), None)

    def _take_features(self, features: Tensor, layers: object) -> None:
        """Compare with rows of a table of features in place of a frozen network."""
        if layers is not None or not AGGREGATIONS[self.aggregation].gives_features:
            raise UserError(
                f"{self.name}: features have no layers; leave frozen_layers out, and set "
                "aggregation pool with distance cka_within_class"
            )
        self.kept = lambda rows: dict.fromkeys(self.layers, features[rows.to(features.device)])

    def _layers_of(
        self, frozen: nn.Module, layers: Layer | Iterable[Layer] | None
    ) -> tuple[dict[Layer, Layer], Tap]:
        """Return what in the frozen network each layer is compared with, and on which side."""
        tap = self.tap
        if layers is not None:
            found = as_layers(layers)
        elif AGGREGATIONS[self.aggregation].gives_features:
            found, tap = (last_linear(frozen),) * len(self.layers), "input"
            if not found[0]:
                raise UserError(
                    f"frozen network {self.name}: has no linear layer at its end; name one of its "
                    "layers in at_frozen_layer (frozen_layers)"
                )
        else:
            found = self.layers
        if len(found) != len(self.layers):
            raise UserError(
                f"anti-transfer: {counted(len(self.layers), 'layer')}, but {len(found)} "
                "frozen_layers; give one for each"
            )
        try:
            Taps(frozen, found, tap)  # an unknown layer is an error now, not in the first step
        except UserError as error:
            raise UserError(f"frozen network {self.name}: {error}") from None
        return dict(zip(self.layers, found, strict=True)), tap

    def __call__(self, inputs: Tensor, classes: Tensor | None = None) -> Tensor:
        """Compute the penalty for the model's last forward pass, which had the same inputs.

        Args:
            inputs: what the model was given, `(batch, channels, frames, bins)`.
            classes: the target's labels, `(batch,)`, which distance cka_within_class needs.

        Returns:
            A scalar with a gradient.

        Raises:
            RuntimeError: the model made no forward pass since the last call, or, in training mode,
                one without gradients.
            UserError: the two networks' activations do not go together.
            ValueError: the classes are missing.
        """
        return self.penalty(self.frozen_aggregates(inputs), classes)

    def loss(self, batch: "Batch", _outputs: Tensor, _progress: float) -> Tensor:
        """Compute the penalty for a batch."""
        return self.penalty(self.aggregates_of(batch), batch.labels)

    def aggregates_of(self, batch: "Batch") -> Mapping[Layer, Tensor]:
        """Return what a batch is compared with: what was kept, or what the frozen network gives."""
        return self.kept(batch.rows) if self.kept else self.frozen_aggregates(batch.inputs)

    def frozen_activations(self, inputs: Tensor) -> dict[Layer, Tensor]:
        """Return what of the frozen network each layer is compared with, before aggregation."""
        if not self.frozen_layers:
            raise RuntimeError(
                f"{self.name}: features were given in place of a frozen network, so there is none "
                "to run; call penalty({layer: features of the batch}, classes)"
            )
        self._follow_given()
        places = self.frozen_layers
        found = activations_until(self.frozen, inputs, places.values(), self.frozen_tap)
        return {layer: found[place] for layer, place in places.items()}

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
            aggregates = {}
            for layer, activation in activations.items():
                with self._errors_named(layer):
                    aggregates[layer] = _ordinary(aggregate(activation, self.aggregation))
            return aggregates

    def penalty(
        self, frozen_aggregates: Mapping[Layer, Tensor], classes: Tensor | None = None
    ) -> Tensor:
        """Compute the penalty for the model's last pass, given the frozen network's aggregates.

        Raises:
            RuntimeError, UserError, ValueError: as a call of the loss.
        """
        self._check_captured()
        if self.taps.model.training and torch.is_grad_enabled() and self.beta > 0:
            self.taps.require_gradients()
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
            UserError: the two networks' activations do not go together.
            ValueError: the classes are missing.
        """
        losses = {}
        for layer in self.layers:
            with self._errors_named(layer):
                losses[layer] = layer_loss(
                    activations[layer],
                    frozen_aggregates[layer],
                    self.aggregation,
                    self.distance,
                    self.beta,
                    generator=self.generator,
                    classes=classes,
                )
        return losses

    def term_name(self, layer: Layer) -> str:
        """Name a layer's term in logs, such as noisyspeech_layer13."""
        return f"{self.name}_{label(layer)}"

    def __repr__(self) -> str:
        terms = (
            f"{self.beta:g} * {self.distance}({self.aggregation}) "
            f"at {self.tap} of {label(layer)} against {self.name}"
            + (f" at {label(place)}" if place != layer else "")
            for layer, place in self.frozen_layers.items()
        )
        return f"{type(self).__name__}({' + '.join(terms)})"

    @contextmanager
    def _errors_named(self, layer: Layer) -> Iterator[None]:
        try:
            yield
        except (UserError, ValueError) as error:
            raise type(error)(f"{self.term_name(layer)}: {error}") from None

    def _follow_given(self) -> None:
        """Move the copy to where the network that was given has been moved since."""
        own, given = next(self.frozen.parameters(), None), self._given
        if own is None or given is None:
            return
        if (own.device, own.dtype) != (given.device, given.dtype):
            with torch.inference_mode(mode=False):
                self.frozen.to(given.device, given.dtype)

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


def _check_networks(model: nn.Module, frozen: nn.Module | Tensor) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if isinstance(frozen, Tensor):
        return
    if not isinstance(frozen, nn.Module):
        raise TypeError(f"frozen must be a torch.nn.Module, not {type(frozen).__name__}")
    if {id(each) for each in model.parameters()} & {id(each) for each in frozen.parameters()}:
        raise ValueError("the model and the frozen network share parameters; pass a copy")


def _copied(network: nn.Module) -> nn.Module:
    """Copy a network; weights that it computes from others (weight_norm) lose their graph."""
    computed = {
        id(value): value.detach()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(network, computed)


def _check_each_once(taps: Taps) -> None:
    """Refuse layers that are one place, or have one name in the history (2 and 'layer2')."""
    names = {label(layer) for layer in taps.layers}
    places = set(taps.modules.values())
    if not taps.layers or min(len(names), len(places)) < len(taps.layers):
        raise UserError(
            "anti-transfer: layers must be one or more, each another place with another name, not "
            f"{list(taps.layers)}"
        )


def _checked_beta(beta: Any) -> float:
    if isinstance(beta, bool) or not (isinstance(beta, Real) and 0 <= float(beta) < inf):
        raise ValueError(f"beta must be a finite number, 0 or more, not {beta!r}")
    return float(beta)


def _ordinary(values: Tensor) -> Tensor:
    return values.clone() if values.is_inference() else values.detach()


def build(inputs: MethodInputs) -> list[AntiTransferLoss]:
    """Build the losses of a run."""
    return similarities(inputs.model, inputs.training, inputs.frozen, inputs.generator)


def similarities(
    model: nn.Module,
    training: "TrainingDefaults",
    frozen: Callable[[str, int], nn.Module | Tensor],
    generator: torch.Generator,
) -> list[AntiTransferLoss]:
    """Build one loss for each network of at_dataset, each with its own layers and beta.

    Args:
        frozen, generator: as in `MethodInputs`.
    """
    names = training.at_dataset
    betas = training.at_beta * (len(names) if len(training.at_beta) == 1 else 1)
    groups = training.frozen_layers or ((),) * len(names)
    losses = []
    for number, name in enumerate(names):
        earlier = names[:number].count(name)  # only of random ones there are several
        loss = AntiTransferLoss(
            model,
            frozen(name, earlier),
            layers=training.layers[number],
            aggregation=training.at_aggregation,
            distance=training.at_distance,
            beta=betas[number],
            frozen_layers=groups[number] or None,
            tap=training.at_tap,
            name=name.rpartition(":")[2] + (str(earlier + 1) if earlier else ""),
            generator=generator,
        )
        losses.append(loss)
    return losses
