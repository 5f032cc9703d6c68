"""By how much two aggregates differ, by the names of at_distance, and how beta weighs it.

Source of all but cka_within_class: Guizzo, Weyde, Tarroni, arXiv 2006.06494, and its released code.
One more is one more entry of DISTANCES. Settings are checked against it without waiting for torch,
so it is not imported here before something is computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.similarity.aggregations import AGGREGATIONS, PAIRWISE_COSINE, known_aggregation

if TYPE_CHECKING:
    from torch import Tensor

WITHIN_CLASS = "cka_within_class"


@dataclass(frozen=True)
class Distance:
    """How two aggregates are compared, and how beta weighs the outcome.

    Attributes:
        measure: (current, frozen) -> scalar, on aligned elements of aggregates of one shape, where
            frames and bins of maps are on one axis, the last; if between_features,
            (current, frozen, classes) -> scalar on `(batch, features)`.
        weigh: (measured, beta) -> the term of the loss.
        across_channels: like measure, of every channel of one with every channel of the other.
        between_features: goes with aggregations that give features, and with no other.
    """

    measure: "Callable[..., Tensor]"
    weigh: "Callable[[Tensor, float], Tensor]"
    across_channels: "Callable[[Tensor, Tensor], Tensor] | None" = None
    between_features: bool = False


def unit_rows(values: "Tensor") -> "Tensor":
    """Divide rows (last axis) by their Euclidean norm; rows of zeros stay zeros."""
    from torch.nn import functional

    # Gram entries of small activations have squares below float32's range. A cosine does not depend
    # on the scale of a row, so the scale may count as a constant in the gradient, too.
    largest = values.detach().abs().amax(-1, keepdim=True)
    return functional.normalize(values / largest.where(largest > 0, 1), dim=-1)


def absolute_cosine(current: "Tensor", frozen: "Tensor") -> "Tensor":
    """Average |cos| of corresponding rows."""
    return (unit_rows(current) * unit_rows(frozen)).sum(-1).abs().mean()


def absolute_cosine_across_channels(current: "Tensor", frozen: "Tensor") -> "Tensor":
    """Average |cos| of every channel with every frozen channel, `(batch, channels, places)`."""
    return (unit_rows(current) @ unit_rows(frozen).mT).abs().mean()  # over (B, C, C)


def squared_error(current: "Tensor", frozen: "Tensor") -> "Tensor":
    """Average the squared differences of corresponding values."""
    from torch.nn import functional

    return functional.mse_loss(current, frozen)


def squared_error_across_channels(current: "Tensor", frozen: "Tensor") -> "Tensor":
    """Average the squared differences of every channel and every frozen channel."""
    # mean over i, j of (t_i - p_j)^2 = var(t) + var(p) + (mean(t) - mean(p))^2
    spread = current.var(1, correction=0) + frozen.var(1, correction=0)
    return (spread + (current.mean(1) - frozen.mean(1)).square()).mean()


def cka_within_class(current: "Tensor", frozen: "Tensor", classes: "Tensor | None") -> "Tensor":
    """Measure linear CKA of features `(batch, features)` apart from the classes `(batch,)`.

    Debiased, because a batch has few examples for many features. Both are centred within each
    class: that the classes differ in the frozen network's features too is no fault of the model's.
    Experimental, and not the paper's.
    """
    from training.similarity.alignment import debiased_linear_cka

    if classes is None:
        raise ValueError(f"distance {WITHIN_CLASS} needs the classes of the batch")
    return debiased_linear_cka(current, frozen, classes)


DISTANCES: dict[str, Distance] = {
    "cos_squared": Distance(
        absolute_cosine,
        lambda cosine, beta: beta * cosine.square(),
        absolute_cosine_across_channels,
    ),
    "mse_sigmoid": Distance(
        squared_error,
        lambda error, beta: -beta * error.sigmoid(),
        squared_error_across_channels,
    ),
    "mse_sigmoid_invorder": Distance(
        squared_error,
        lambda error, beta: (-beta * error).sigmoid(),
        squared_error_across_channels,
    ),
    WITHIN_CLASS: Distance(
        cka_within_class, lambda alignment, beta: beta * alignment, between_features=True
    ),
}


def known_pair(aggregation: str, distance: str) -> tuple[str, str]:
    """Return the keys of two names, or raise a ValueError where they do not go together."""
    if PAIRWISE_COSINE in (aggregation, distance):
        return _pairwise_cosine(aggregation, distance)
    aggregation = known_aggregation(aggregation)
    if distance not in DISTANCES:
        raise ValueError(f"{distance!r} is not one of {', '.join(DISTANCES)}")
    if AGGREGATIONS[aggregation].gives_features != DISTANCES[distance].between_features:
        features = [name for name, each in AGGREGATIONS.items() if each.gives_features]
        between = [name for name, each in DISTANCES.items() if each.between_features]
        raise ValueError(
            f"aggregation {' or '.join(features)} and distance {' or '.join(between)} go together "
            f"alone, not {aggregation} and {distance}"
        )
    if AGGREGATIONS[aggregation].crosses_channels and not DISTANCES[distance].across_channels:
        raise ValueError(
            f"distance {distance} does not compare across channels, which aggregation "
            f"{aggregation} asks for"
        )
    return aggregation, distance


def _pairwise_cosine(aggregation: str, distance: str) -> tuple[str, str]:
    """Return what the released name stands for, or raise a ValueError beside any other."""
    if aggregation not in ("none", "pairwise", PAIRWISE_COSINE) or distance not in (
        "cos_squared",
        PAIRWISE_COSINE,
    ):
        raise ValueError(
            f"{PAIRWISE_COSINE} is aggregation pairwise with distance cos_squared, not "
            f"{aggregation} with {distance}"
        )
    return "pairwise", "cos_squared"
