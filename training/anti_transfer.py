"""The anti-transfer loss: how similar a network's layers are to those of a frozen network.

Source: Guizzo, Weyde, Tarroni, "Anti-transfer learning for task invariance in convolutional neural
networks for speech processing", arXiv 2006.06494.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import isfinite
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from config.errors import UserError
from config.settings import MUL_COMP_EXPONENTS
from training.taps import Layer, Tap, Taps, activations_until, label, unwrap

PRODUCT_OFFSET = 1e-10


def _gram(activation: Tensor) -> Tensor:
    channels = activation.flatten(2)  # (B, C, H * W)
    return channels @ channels.transpose(1, 2) / activation[0].numel()  # (B, C, C)


def _gram_batch(activation: Tensor) -> Tensor:
    channels = activation.flatten(2).flatten(0, 1)  # (B * C, H * W)
    return channels @ channels.T / activation.numel()  # (B * C, B * C)


def _mean(activation: Tensor) -> Tensor:
    return activation.mean(1, keepdim=True)


def _sum(activation: Tensor) -> Tensor:
    return activation.sum(1, keepdim=True)


def _max(activation: Tensor) -> Tensor:
    return activation.amax(1, keepdim=True)


def _product(activation: Tensor) -> Tensor:
    return (activation + PRODUCT_OFFSET).prod(1, keepdim=True)


def _compressed_product(activation: Tensor, exponent: float) -> Tensor:
    if (activation < 0).any():
        raise UserError(
            f"at_aggregation = mul_comp_{exponent}: an activation is {activation.min():g}, but "
            "only values of 0 and above have such a power; set at_tap = output, or another "
            "at_aggregation"
        )
    # The logarithm keeps the intermediate values of a product over 512 channels in range.
    return (exponent * (activation + PRODUCT_OFFSET).log().sum(1, keepdim=True)).exp()


def _unchanged(activation: Tensor) -> Tensor:
    return activation


AGGREGATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gram": _gram,
    "gram_batch": _gram_batch,
    "mean": _mean,
    "sum": _sum,
    "max": _max,
    "mul": _product,
    **{
        f"mul_comp_{exponent}": partial(_compressed_product, exponent=exponent)
        for exponent in MUL_COMP_EXPONENTS
    },
    "none": _unchanged,
    "pairwise": _unchanged,
    "stochastic_pairwise": _unchanged,
}
AGGREGATION_ALIASES = {"mul_comp": "mul_comp_0.01"}
PAIRWISE = ("pairwise", "stochastic_pairwise")


def _unit_rows(values: Tensor) -> Tensor:
    """Rows (last axis) divided by their Euclidean norm; rows of zeros stay zeros."""
    # Gram entries of small activations have squares below float32's range. A cosine does not depend
    # on the scale of a row, so the scale may count as a constant in the gradient, too.
    largest = values.detach().abs().amax(-1, keepdim=True)
    return nn.functional.normalize(values / torch.where(largest > 0, largest, 1), dim=-1)


def _absolute_cosine(current: Tensor, frozen: Tensor) -> Tensor:
    return (_unit_rows(current) * _unit_rows(frozen)).sum(-1).abs().mean()


def _pairwise_absolute_cosine(current: Tensor, frozen: Tensor) -> Tensor:
    rows = _unit_rows(current).transpose(1, 2)  # (B, H, C, W)
    columns = _unit_rows(frozen).permute(0, 2, 3, 1)  # (B, H, W, C)
    return (rows @ columns).abs().mean()  # over (B, H, C, C)


def _pairwise_squared_error(current: Tensor, frozen: Tensor) -> Tensor:
    # mean over i, j of (t_i - p_j)^2 = var(t) + var(p) + (mean(t) - mean(p))^2
    spread = current.var(1, correction=0) + frozen.var(1, correction=0)
    return (spread + (current.mean(1) - frozen.mean(1)).square()).mean()


@dataclass(frozen=True)
class Distance:
    """How two aggregates are compared, and how beta weighs the outcome.

    Attributes:
        measure: (current, frozen) -> scalar, on aligned elements.
        pairwise_measure: the same of every channel of one with every channel of the other.
        weigh: (measured, beta) -> the term of the loss.
    """

    measure: Callable[[Tensor, Tensor], Tensor]
    pairwise_measure: Callable[[Tensor, Tensor], Tensor]
    weigh: Callable[[Tensor, float], Tensor]


DISTANCES: dict[str, Distance] = {
    "cos_squared": Distance(
        _absolute_cosine,
        _pairwise_absolute_cosine,
        lambda cosine, beta: beta * cosine.square(),
    ),
    "mse_sigmoid": Distance(
        nn.functional.mse_loss,
        _pairwise_squared_error,
        lambda error, beta: -beta * error.sigmoid(),
    ),
    "mse_sigmoid_invorder": Distance(
        nn.functional.mse_loss,
        _pairwise_squared_error,
        lambda error, beta: (-beta * error).sigmoid(),
    ),
}


def similarity(
    current: Tensor,
    frozen: Tensor,
    aggregation: str = "gram",
    distance: str = "cos_squared",
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How similar two networks' activations of the same inputs are; beta is not applied.

    Args:
        current: activations of the network being trained, `(batch, channels, frames, bins)`.
        frozen: those of the frozen network, of the same shape.
        aggregation: a key of AGGREGATIONS ("mul_comp" is mul_comp_0.01).
        distance: a key of DISTANCES.
        generator: what stochastic_pairwise draws from (on the CPU); torch's global one if None.

    Returns:
        A scalar, in float64 if an input is, else in float32, under autocast too. Rows that are
        all zeros (dead channels) have cosine 0.

    Raises:
        ValueError: an unknown name, or activations that differ in shape or have no four axes.
        UserError: mul_comp of negative activations.

    Source: the paper's similarity term; gram with cos_squared is what its experiments use.
    """
    if current.shape != frozen.shape:
        raise ValueError(
            f"activations differ in shape: current {tuple(current.shape)}, "
            f"frozen {tuple(frozen.shape)}"
        )
    return weighted_distance(
        aggregate(current, aggregation),
        aggregate(frozen, aggregation),
        aggregation,
        distance,
        generator=generator,
    )


def aggregate(activation: Tensor, aggregation: str = "gram") -> Tensor:
    """What of an activation `(batch, channels, frames, bins)` is compared.

    Returns:
        gram: `(batch, channels, channels)`; gram_batch: `(batch * channels, batch * channels)`;
        mean, sum, max, mul, mul_comp: `(batch, 1, frames, bins)`; none and the pairwise ones: the
        activation. All but gram_batch treat each example alone, so they can be kept per example.
        In float64 if the activation is, else in float32. A plain product (mul) over tens of
        channels leaves float32's range and is then 0.

    Raises:
        ValueError: an unknown name, or no four axes.
        UserError: mul_comp of a negative activation.
    """
    if activation.ndim != 4:
        raise ValueError(
            f"an activation must be (batch, channels, frames, bins), not {tuple(activation.shape)}"
        )
    function = AGGREGATIONS[_known(aggregation, AGGREGATIONS, AGGREGATION_ALIASES)]
    with torch.autocast(activation.device.type, enabled=False):
        return function(activation.to(_precision(activation)))


def weighted_distance(
    current: Tensor,
    frozen: Tensor,
    aggregation: str,
    distance: str,
    beta: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The term of the loss for two results of `aggregate`.

    Beta multiplies cos_squared and mse_sigmoid; in mse_sigmoid_invorder it multiplies the squared
    error inside the sigmoid.

    Raises:
        ValueError: an unknown name, or aggregates that differ in shape.
    """
    if current.shape != frozen.shape:
        raise ValueError(
            f"aggregates differ in shape: current {tuple(current.shape)}, "
            f"frozen {tuple(frozen.shape)}"
        )
    aggregation = _known(aggregation, AGGREGATIONS, AGGREGATION_ALIASES)
    rule = DISTANCES[_known(distance, DISTANCES, {})]
    with torch.autocast(current.device.type, enabled=False):
        precision = torch.promote_types(_precision(current), _precision(frozen))
        current, frozen = current.to(precision), frozen.to(precision)
        if aggregation == "stochastic_pairwise":
            block = _random_block(current.shape[0], current.shape[1], generator)
            current, frozen = current[:, block], frozen[:, block]
        measure = rule.pairwise_measure if aggregation in PAIRWISE else rule.measure
        return rule.weigh(measure(current, frozen), beta)


def _precision(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _random_block(batch: int, channels: int, generator: torch.Generator | None) -> slice:
    """A contiguous block of about channels / batch channels."""
    size = max(1, channels // batch)
    start = int(torch.randint(channels - size + 1, (), generator=generator))
    return slice(start, start + size)


def _known(name: str, table: Iterable[str], aliases: Mapping[str, str]) -> str:
    name = aliases.get(name, name)
    if name not in table:
        raise ValueError(f"{name!r} is not one of {', '.join([*table, *aliases])}")
    return name


class AntiTransferLoss:
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
        aggregation: a key of AGGREGATIONS.
        distance: a key of DISTANCES.
        beta: weight of each layer's term.
        tap: "output" or "input" of the layers; see `training.taps.Taps`.
        name: the frozen network's, for the names of the terms.
        generator: what stochastic_pairwise draws from; one of its own, seeded 0, if None.

    Attributes:
        terms: each layer's weighted term in the last call, detached, as in
            `{"noisyspeech_layer13": tensor(0.41)}`; they add up to the penalty.

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
        self.aggregation = _known(aggregation, AGGREGATIONS, AGGREGATION_ALIASES)
        self.distance = _known(distance, DISTANCES, {})
        self.beta = beta
        self.tap = tap
        self.name = name
        self.generator = generator or torch.Generator().manual_seed(0)
        self.terms: dict[str, Tensor] = {}
        self.taps = Taps(model, self.layers, tap)
        Taps(frozen, self.layers, tap)  # an unknown layer is an error now, not in the first step
        self.frozen = unwrap(frozen).eval().requires_grad_(False)

    def __enter__(self) -> Self:
        self.taps.__enter__()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.taps.__exit__(error_type, error, traceback)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The penalty for the model's last forward pass, which must have had the same inputs.

        Args:
            inputs: what the model was given, `(batch, channels, frames, bins)`.

        Returns:
            A scalar with a gradient.

        Raises:
            RuntimeError: the model made no forward pass since the last call.
            ValueError: the two networks' activations differ in shape.
        """
        self._check_captured()
        return self.penalty(self.frozen_aggregates(inputs))

    def frozen_aggregates(self, inputs: Tensor) -> dict[Layer, Tensor]:
        """What `penalty` compares with: the frozen network is run as far as its last tapped layer.

        For every aggregation but gram_batch the first axis is the batch, and each example's entry
        depends on that example alone.
        """
        with torch.no_grad():
            activations = activations_until(self.frozen, inputs, self.layers, self.tap)
            return {
                layer: aggregate(activation, self.aggregation)
                for layer, activation in activations.items()
            }

    def penalty(self, frozen_aggregates: Mapping[Layer, Tensor]) -> Tensor:
        """The penalty for the model's last forward pass, given the frozen network's aggregates.

        Raises:
            RuntimeError, ValueError: as a call of the loss.
        """
        self._check_captured()
        terms = self.layer_terms(self.taps.take(), frozen_aggregates)
        self.terms = {self.term_name(layer): term.detach() for layer, term in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def layer_terms(
        self, activations: Mapping[Layer, Tensor], frozen_aggregates: Mapping[Layer, Tensor]
    ) -> dict[Layer, Tensor]:
        """Each layer's weighted term, for activations of the model.

        Raises:
            ValueError: the two networks' aggregates differ in shape.
        """
        terms = {}
        for layer in self.layers:
            try:
                terms[layer] = weighted_distance(
                    aggregate(activations[layer], self.aggregation),
                    frozen_aggregates[layer],
                    self.aggregation,
                    self.distance,
                    self.beta,
                    generator=self.generator,
                )
            except ValueError as error:
                raise ValueError(f"{self.term_name(layer)}: {error}") from None
        return terms

    def term_name(self, layer: Layer) -> str:
        """The layer's name in logs, such as noisyspeech_layer13."""
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
        """Whether training can act on the term."""
        norms = (self.activation, self.parameters)
        return all(isfinite(norm) and norm > 0 for norm in norms)


def layers_without_gradient(
    model: nn.Module, penalty: AntiTransferLoss, inputs: Tensor
) -> list[LayerGradient]:
    """Penalised layers whose term trains nothing: its gradient is zero, or not finite.

    The first convolution with tap="input" is one: what enters it is the spectrum itself.

    Args:
        model: the network that the penalty was made for.
        penalty: open or not.
        inputs: one batch, `(batch, channels, frames, bins)`.
    """
    gradients = layer_gradients(model, penalty, inputs)
    return [gradient for gradient in gradients if not gradient.arrives]


def layer_gradients(
    model: nn.Module, penalty: AntiTransferLoss, inputs: Tensor
) -> list[LayerGradient]:
    """The norm of each penalised layer's gradient, on one batch in evaluation mode.

    Parameters' `.grad`, random states, running statistics, the model's mode and the penalty's terms
    are afterwards as before. The arguments are those of `layers_without_gradient`.
    """
    model = unwrap(model)
    parameters = [each for each in model.parameters() if each.requires_grad]
    modes = {module: module.training for module in model.modules()}
    state = penalty.generator.get_state()
    try:
        model.eval()
        with nullcontext() if penalty.taps.is_open else penalty, torch.enable_grad():
            model(inputs)
            activations = penalty.taps.take()
            terms = penalty.layer_terms(activations, penalty.frozen_aggregates(inputs))
        return [
            LayerGradient(penalty.term_name(layer), *_norms(term, activations[layer], parameters))
            for layer, term in terms.items()
        ]
    finally:
        penalty.generator.set_state(state)
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
