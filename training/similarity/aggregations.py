"""What of an activation is compared with the frozen network's, by the names of at_aggregation.

Source of all but pool: Guizzo, Weyde, Tarroni, "Anti-transfer learning for task invariance in
convolutional neural networks for speech processing", arXiv 2006.06494, which calls them aggregation
functions. One more is one more function under @aggregation. Settings are checked against
AGGREGATIONS without waiting for torch, so it is not imported here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from config.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Function = TypeVar("Function", bound="Callable[[Tensor], Tensor]")

POOL = "pool"
MUL_COMP_EXPONENTS = (0.001, 0.005, 0.01, 0.05, 0.1)
PRODUCT_OFFSET = 1e-10
CHANNELS, PLACES = "channels", "frames and bins"
# In the released code a distance, which no other aggregation goes with.
PAIRWISE_COSINE = "pairwise_cos_squared"
# The released names: mul_comp alone has the first exponent, and 001 in a name is 0.001.
ALIASES = {
    PAIRWISE_COSINE: "pairwise",
    "mul_comp": f"mul_comp_{MUL_COMP_EXPONENTS[0]}",
    **{f"mul_comp{str(each)[2:]}": f"mul_comp_{each}" for each in MUL_COMP_EXPONENTS},
}


@dataclass(frozen=True)
class Aggregation:
    """One way to aggregate an activation.

    Attributes:
        function: `(batch, channels, frames, bins)` to the aggregate.
        per_example: each example's entry depends on that example alone, so that it can be kept.
        crosses_channels: every channel of one network is compared with every channel of the other.
        draws_channels: a block of channels, drawn anew each time, is compared instead of all.
        gives_features: `(batch, features)` that need not be as many as the other network's.
        equal: what both networks' activations need the same number of.
    """

    function: "Callable[[Tensor], Tensor]"
    per_example: bool = True
    crosses_channels: bool = False
    draws_channels: bool = False
    gives_features: bool = False
    equal: tuple[str, ...] = (CHANNELS, PLACES)


AGGREGATIONS: dict[str, Aggregation] = {}


def aggregation(name: str, **properties: Any) -> Callable[[Function], Function]:
    """Register a function under a name; properties are those of `Aggregation`."""

    def register(function: Function) -> Function:
        AGGREGATIONS[name] = Aggregation(function, **properties)
        return function

    return register


def known_aggregation(name: str) -> str:
    """Return the key of AGGREGATIONS that a name or alias stands for, or raise a ValueError."""
    name = ALIASES.get(name, name)
    if name not in AGGREGATIONS:
        raise ValueError(f"{name!r} is not one of {', '.join([*AGGREGATIONS, *ALIASES])}")
    return name


@aggregation("gram", equal=(CHANNELS,))
def gram(activation: "Tensor") -> "Tensor":
    """Multiply all pairs of channels: `(batch, channels, channels)`; what the paper uses."""
    channels = activation.flatten(2)  # (B, C, H * W)
    return channels @ channels.transpose(1, 2) / activation[0].numel()


@aggregation("gram_batch", per_example=False, equal=(CHANNELS,))
def gram_batch(activation: "Tensor") -> "Tensor":
    """Multiply all pairs of channels of all examples: `(batch * channels, batch * channels)`.

    This is what the released code computes.
    """
    channels = activation.flatten(2).flatten(0, 1)  # (B * C, H * W)
    return channels @ channels.T / activation.numel()


@aggregation("mean", equal=(PLACES,))
def mean(activation: "Tensor") -> "Tensor":
    """Average over channels: `(batch, 1, frames, bins)`."""
    return activation.mean(1, keepdim=True)


@aggregation("sum", equal=(PLACES,))
def total(activation: "Tensor") -> "Tensor":
    """Add up over channels: `(batch, 1, frames, bins)`."""
    return activation.sum(1, keepdim=True)


@aggregation("max", equal=(PLACES,))
def largest(activation: "Tensor") -> "Tensor":
    """Take the largest channel at each place: `(batch, 1, frames, bins)`."""
    return activation.amax(1, keepdim=True)


@aggregation("mul", equal=(PLACES,))
def product(activation: "Tensor") -> "Tensor":
    """Multiply over channels: `(batch, 1, frames, bins)`; over tens of them 0 in float32."""
    return (activation + PRODUCT_OFFSET).prod(1, keepdim=True)


def compressed_product(activation: "Tensor", exponent: float) -> "Tensor":
    """Raise the product over channels to a power: `(batch, 1, frames, bins)`.

    Raises:
        UserError: a value is negative.
    """
    if (activation < 0).any():
        raise UserError(
            f"at_aggregation = mul_comp_{exponent}: an activation is {activation.min():g}, but "
            "only values of 0 and above have such a power; set at_tap = output, or another "
            "at_aggregation"
        )
    # The logarithm keeps the intermediate values of a product over 512 channels in range.
    return (exponent * (activation + PRODUCT_OFFSET).log().sum(1, keepdim=True)).exp()


for _exponent in MUL_COMP_EXPONENTS:
    aggregation(f"mul_comp_{_exponent}", equal=(PLACES,))(
        partial(compressed_product, exponent=_exponent)
    )


@aggregation("none")
@aggregation("pairwise", crosses_channels=True, equal=(PLACES,))
@aggregation("stochastic_pairwise", crosses_channels=True, draws_channels=True)
def unchanged(activation: "Tensor") -> "Tensor":
    """Leave the activation as it is: `(batch, channels, frames, bins)`."""
    return activation


@aggregation(POOL, gives_features=True, equal=())
def pool(activation: "Tensor") -> "Tensor":
    """Average over frames and bins: `(batch, channels)`; features of a linear layer stay.

    Experimental, and not the paper's; the counterpart of distance cka_within_class.
    """
    return activation.flatten(2).mean(2) if activation.ndim > 2 else activation
