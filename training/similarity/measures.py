"""How similar two networks' activations are: what of them is compared, and by which distance.

Source: Guizzo, Weyde, Tarroni, "Anti-transfer learning for task invariance in convolutional neural
networks for speech processing", arXiv 2006.06494.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from config.errors import UserError
from config.settings import MUL_COMP_EXPONENTS, POOL, WITHIN_CLASS
from training.similarity.alignment import debiased_linear_cka
from training.similarity.gram import check_axes, mean_absolute_cosine

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


def _pool(activation: Tensor) -> Tensor:
    """Means over frames and bins; features of a linear layer, `(batch, features)`, as they are."""
    return activation.flatten(2).mean(2) if activation.ndim > 2 else activation


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
    POOL: _pool,
}
AGGREGATION_ALIASES = {"mul_comp": "mul_comp_0.01"}
PAIRWISE = ("pairwise", "stochastic_pairwise")
# What these make of an example depends on the rest of its batch.
OF_WHOLE_BATCH = ("gram_batch",)


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

# For these (aggregation, distance) the measure comes from the activation itself and the frozen
# network's aggregate, (activation, frozen aggregate) -> scalar, in less memory than in two steps.
FUSED_MEASURES: dict[tuple[str, str], Callable[[Tensor, Tensor], Tensor]] = {
    ("gram", "cos_squared"): mean_absolute_cosine,
}


def similarity(
    current: Tensor,
    frozen: Tensor,
    aggregation: str = "gram",
    distance: str = "cos_squared",
    *,
    generator: torch.Generator | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """How similar two networks' activations of the same inputs are; beta is not applied.

    Args:
        current: activations of the network being trained, `(batch, channels, frames, bins)`.
        frozen: those of the frozen network, of the same shape; they count as constants. For pool
            any shape with the same batch.
        aggregation: a key of AGGREGATIONS ("mul_comp" is mul_comp_0.01).
        distance: a key of DISTANCES, or cka_within_class, which goes with pool alone.
        generator: what stochastic_pairwise draws from (on the CPU); torch's global one if None.
        classes: `(batch,)`, the target's labels, for cka_within_class.

    Returns:
        A scalar, in float64 if an input is, else in float32, under autocast too. Rows that are
        all zeros (dead channels) have cosine 0.

    Raises:
        ValueError: an unknown name, or activations that differ in shape or have no four axes.
        UserError: mul_comp of negative activations.

    Source: the paper's similarity term; gram with cos_squared is what its experiments use.
    """
    if current.shape != frozen.shape and aggregation != POOL:
        raise ValueError(
            f"activations differ in shape: current {tuple(current.shape)}, "
            f"frozen {tuple(frozen.shape)}"
        )
    frozen_aggregate = aggregate(frozen.detach(), aggregation)
    return weighted_similarity(
        current, frozen_aggregate, aggregation, distance, generator=generator, classes=classes
    )


def aggregate(activation: Tensor, aggregation: str = "gram") -> Tensor:
    """What of an activation `(batch, channels, frames, bins)` is compared.

    Returns:
        gram: `(batch, channels, channels)`; gram_batch: `(batch * channels, batch * channels)`;
        mean, sum, max, mul, mul_comp: `(batch, 1, frames, bins)`; pool: `(batch, channels)`;
        none and the pairwise ones: the activation. All but gram_batch treat each example alone, so
        they can be kept per example. In float64 if the activation is, else in float32. A plain
        product (mul) over tens of channels leaves float32's range and is then 0.

    Raises:
        ValueError: an unknown name, or no four axes.
        UserError: mul_comp of a negative activation.
    """
    if aggregation != POOL:
        check_axes(activation)
    aggregation = known_aggregation(aggregation)
    with torch.autocast(activation.device.type, enabled=False):
        return AGGREGATIONS[aggregation](activation.to(_precision(activation)))


def weighted_distance(
    current: Tensor,
    frozen: Tensor,
    aggregation: str,
    distance: str,
    beta: float = 1.0,
    *,
    generator: torch.Generator | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """The term of the loss for two results of `aggregate`.

    Beta multiplies cos_squared and mse_sigmoid; in mse_sigmoid_invorder it multiplies the squared
    error inside the sigmoid.

    Args:
        classes: `(batch,)`, for cka_within_class.

    Raises:
        ValueError: an unknown name, aggregates that differ in shape, or no classes where they are
            needed.
    """
    aggregation, distance = known_pair(aggregation, distance)
    if distance == WITHIN_CLASS:
        return beta * _alignment_within_classes(current, frozen, classes)
    if current.shape != frozen.shape:
        raise ValueError(
            f"aggregates differ in shape: current {tuple(current.shape)}, "
            f"frozen {tuple(frozen.shape)}"
        )
    rule = DISTANCES[distance]
    with torch.autocast(current.device.type, enabled=False):
        precision = torch.promote_types(_precision(current), _precision(frozen))
        current, frozen = current.to(precision), frozen.to(precision)
        if aggregation == "stochastic_pairwise":
            block = _random_block(len(current), current.shape[1], generator)
            current, frozen = current[:, block], frozen[:, block]
        measure = rule.pairwise_measure if aggregation in PAIRWISE else rule.measure
        return rule.weigh(measure(current, frozen), beta)


def weighted_similarity(
    activation: Tensor,
    frozen_aggregate: Tensor,
    aggregation: str,
    distance: str,
    beta: float = 1.0,
    *,
    generator: torch.Generator | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """The term of the loss for an activation and what `aggregate` made of the frozen network's.

    The same as `weighted_distance` of the activation's aggregate, but where FUSED_MEASURES has the
    pair it takes less memory and time, and can be differentiated only once.

    Raises:
        ValueError, UserError: as `aggregate` and `weighted_distance`.
    """
    aggregation, distance = known_pair(aggregation, distance)
    fused = FUSED_MEASURES.get((aggregation, distance))
    if fused is not None:
        return DISTANCES[distance].weigh(fused(activation, frozen_aggregate), beta)
    current = aggregate(activation, aggregation)
    return weighted_distance(
        current,
        frozen_aggregate,
        aggregation,
        distance,
        beta,
        generator=generator,
        classes=classes,
    )


def _alignment_within_classes(current: Tensor, frozen: Tensor, classes: Tensor | None) -> Tensor:
    """Linear CKA of two sets of features, `(batch, features)` each, apart from the classes.

    Debiased, because a batch has few examples for many features. Both are centred within each
    class: that the classes differ in the frozen network's features too is no fault of the model's.
    """
    if classes is None:
        raise ValueError(f"distance {WITHIN_CLASS} needs the classes of the batch")
    with torch.autocast(current.device.type, enabled=False):
        return debiased_linear_cka(current, frozen.detach(), classes)


def known_aggregation(name: str) -> str:
    """The key of AGGREGATIONS that a name or alias stands for, or a ValueError."""
    return _known(name, AGGREGATIONS, AGGREGATION_ALIASES)


def known_pair(aggregation: str, distance: str) -> tuple[str, str]:
    """The keys that two names stand for, or a ValueError if they do not go together."""
    aggregation = known_aggregation(aggregation)
    distance = _known(distance, (*DISTANCES, WITHIN_CLASS), {})
    if (aggregation == POOL) != (distance == WITHIN_CLASS):
        raise ValueError(
            f"aggregation {POOL} and distance {WITHIN_CLASS} go together alone, not {aggregation} "
            f"and {distance}"
        )
    return aggregation, distance


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
