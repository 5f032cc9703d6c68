"""Ways of training a network away from what it should not use.

Each is one file: a class that is a `Method`, a function that builds it where the settings ask for
it, and one line of `training.methods.registry`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Generator, Tensor, nn

    from config.settings import TrainingDefaults
    from preprocessing.pipeline.matrices import Matrices
    from training.data.batches import Batch
    from training.similarity.taps import Taps


class Method(ABC):
    """What acts on a network in training besides its task.

    While it is open as a context manager it receives activations of the network; each forward pass
    serves one call of `loss`, in training and in evaluation.

    Attributes:
        taps: where it receives them.
        in_loss: whether its loss belongs to the one that is reported and watched, and rises with
            at_ramp, as the published similarity does; an adversary's only trains.
        terms: parts of its loss for the last batch, detached, by their names in the history, less
            "_loss".
    """

    taps: "Taps"
    in_loss: bool = True
    terms: "dict[str, Tensor]"

    def __enter__(self) -> Self:
        self.taps.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.taps.__exit__(*error)

    @property
    def is_open(self) -> bool:
        """Whether forward passes are being listened to."""
        return self.taps.is_open

    @abstractmethod
    def loss(self, batch: "Batch", progress: float) -> "Tensor":
        """Compute what is added to the task loss of a batch that the network has just been given.

        Args:
            progress: how much of the training is over, 0 to 1.
        """

    def parameters(self) -> "list[nn.Parameter]":
        """Return what it trains besides the network."""
        return []

    def results(self, progress: float) -> dict[str, float]:  # noqa: ARG002
        """Return what the result says of it, if the best epoch ended at this progress."""
        return {}


@dataclass(frozen=True)
class MethodInputs:
    """What a method can be built from.

    Attributes:
        model: the network that will be trained, on its device.
        training: the run's settings.
        matrices: the dataset, with the columns of its index.
        rows: of the training set in the matrices.
        frozen: (name, number) -> a network of at_dataset, or the features of all examples
            (examples, features), on the device; number: which of several random networks.
        generator: what a loss draws from.
        seed: of what is trained besides the network.
    """

    model: "nn.Module"
    training: "TrainingDefaults"
    matrices: "Matrices"
    rows: "npt.NDArray[np.int64]"
    frozen: "Callable[[str, int], nn.Module | Tensor]"
    generator: "Generator"
    seed: int
