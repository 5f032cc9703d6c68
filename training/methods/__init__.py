"""Ways of training a network away from what it should not use."""

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor, nn

    from training.data.batches import Batch


class Method(Protocol):
    """What the training loop asks of a way of training away, one file of this folder each.

    A context manager: within its block it sees the activations of each forward pass.

    Attributes:
        in_loss: whether its terms belong to the loss that is reported and watched, and rise with
            at_ramp, as the published similarity's do; an adversary's only train.
        terms: its terms in the last call of `loss`, detached, by their names in logs.
    """

    in_loss: bool
    terms: "dict[str, Tensor]"

    @property
    def is_open(self) -> bool:
        """Tell whether forward passes are being listened to."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def loss(self, batch: "Batch", progress: float) -> "Tensor":
        """Return what it adds to the training loss after the model's forward pass, a scalar.

        Args:
            batch: what the model was given.
            progress: how much of the training is over, 0 to 1.
        """

    def parameters(self) -> "list[nn.Parameter]":
        """Return what it has to learn itself, besides the network."""

    def results(self, progress: float) -> dict[str, float]:
        """Return what the result says of it, if the best epoch ended at this progress."""
