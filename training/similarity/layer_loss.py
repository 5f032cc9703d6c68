"""The similarity term of one layer: how much its activation says what the frozen network's says.

Source: Guizzo, Weyde, Tarroni, "Anti-transfer learning for task invariance in convolutional neural
networks for speech processing", arXiv 2006.06494; its experiments use gram with cos_squared.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from config.errors import UserError
from training.similarity.aggregations import AGGREGATIONS, CHANNELS, known_aggregation
from training.similarity.distances import DISTANCES, known_pair
from training.similarity.gram import check_axes, mean_absolute_cosine, precision_of

# For these (aggregation, distance) the measure comes from the activation itself and the frozen
# network's aggregate, (activation, frozen aggregate) -> scalar, in less memory than in two steps.
FUSED_MEASURES: dict[tuple[str, str], Callable[[Tensor, Tensor], Tensor]] = {
    ("gram", "cos_squared"): mean_absolute_cosine,
}


def aggregate(activation: Tensor, aggregation: str = "gram") -> Tensor:
    """Make of an activation `(batch, channels, frames, bins)` what is compared.

    Returns:
        The shape that the aggregation's docstring gives; in float64 if the activation is, else in
        float32, under autocast too.

    Raises:
        ValueError: an unknown name.
        UserError: no four axes (but of pool), or mul_comp of a negative activation.
    """
    kind = AGGREGATIONS[known_aggregation(aggregation)]
    if not kind.gives_features:
        check_axes(activation)
    with torch.autocast(activation.device.type, enabled=False):
        return kind.function(activation.to(precision_of(activation)))


def layer_loss(
    activation: Tensor,
    frozen_aggregate: Tensor,
    aggregation: str = "gram",
    distance: str = "cos_squared",
    beta: float = 1.0,
    *,
    generator: torch.Generator | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """Compare an activation with what `aggregate` made of the frozen network's.

    Beta multiplies cos_squared, mse_sigmoid and cka_within_class; in mse_sigmoid_invorder it
    multiplies the squared error inside the sigmoid. With gram and cos_squared the result can be
    differentiated once.

    Args:
        activation: of the network being trained, `(batch, channels, frames, bins)`.
        frozen_aggregate: counts as a constant.
        aggregation: a key of AGGREGATIONS ("mul_comp" is mul_comp_0.001).
        distance: a key of DISTANCES.
        generator: what stochastic_pairwise draws from (on the CPU); torch's global one if None.
        classes: `(batch,)`, the target's labels, for cka_within_class.

    Returns:
        A scalar, in float64 if an input is, else in float32, under autocast too. Rows that are all
        zeros (dead channels) have cosine 0.

    Raises:
        ValueError: an unknown name, or no classes where they are needed.
        UserError: activations whose shapes do not go together, or mul_comp of a negative one.
    """
    aggregation, distance = known_pair(aggregation, distance)
    kind, rule = AGGREGATIONS[aggregation], DISTANCES[distance]
    fused = FUSED_MEASURES.get((aggregation, distance))
    if fused is not None:
        check_axes(activation)
        batch, channels = activation.shape[:2]
        _check_shapes(aggregation, (batch, channels, channels), frozen_aggregate.shape)
        return rule.weigh(fused(activation, frozen_aggregate), beta)
    current, frozen = aggregate(activation, aggregation), frozen_aggregate.detach()
    with torch.autocast(current.device.type, enabled=False):
        precision = precision_of(current, frozen)
        current, frozen = _maps_as_rows(current.to(precision)), _maps_as_rows(frozen.to(precision))
        if rule.between_features:
            return rule.weigh(rule.measure(current, frozen, classes), beta)
        _check_shapes(aggregation, current.shape, frozen.shape)
        if kind.draws_channels:
            block = _random_block(len(current), current.shape[1], generator)
            current, frozen = current[:, block], frozen[:, block]
        across = rule.across_channels if kind.crosses_channels else None
        return rule.weigh((across or rule.measure)(current, frozen), beta)


def _check_shapes(aggregation: str, current: Sequence[int], frozen: Sequence[int]) -> None:
    """Refuse aggregates that cannot be compared; frames and bins of maps are on one axis.

    Raises:
        UserError: says which aggregations could compare the layers.
    """
    kind = AGGREGATIONS[aggregation]
    step = 1 if CHANNELS in kind.equal or not kind.crosses_channels else 2
    if tuple(current[::step]) == tuple(frozen[::step]):
        return
    if kind.per_example and current[0] != frozen[0]:
        raise UserError(
            f"the model was given {current[0]} examples, the frozen network {frozen[0]}; both must "
            "be given the same"
        )
    others = [
        f"equal numbers of {what} are not needed by "
        + ", ".join(name for name, each in AGGREGATIONS.items() if what not in each.equal)
        for what in kind.equal
    ]
    raise UserError(
        f"aggregates differ in shape: current {tuple(current)}, frozen {tuple(frozen)} "
        f"(aggregation {aggregation}); {'; '.join(others)}"
    )


def _maps_as_rows(values: Tensor) -> Tensor:
    """Put frames and bins of maps `(batch, channels, frames, bins)` on one axis."""
    return values.flatten(2) if values.ndim == 4 else values


def _random_block(batch: int, channels: int, generator: torch.Generator | None) -> slice:
    """Draw a contiguous block of about channels / batch channels."""
    size = max(1, channels // batch)
    start = int(torch.randint(channels - size + 1, (), generator=generator))
    return slice(start, start + size)
