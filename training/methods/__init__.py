"""Ways of training a network away from what it should not use.

Each is one file: a class that is a `Method`, a function that builds it, and one entry of
`training.methods.kinds`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from config.settings import TrainingDefaults
    from preprocessing.pipeline.matrices import Matrices
    from training.data.batches import Batch, ExampleSet
    from training.probing.expert import Expert
    from training.similarity.taps import Taps


class Method:
    """What acts on a network in training besides its task; what it leaves as it is changes nothing.

    While it is open as a context manager it receives activations of the network, if it has taps;
    each forward pass serves one call of `loss`, in training and in evaluation.

    Attributes:
        taps: where it receives them; None: it needs none.
        in_loss: whether its loss belongs to the one that is reported and watched, and rises with
            at_ramp, as the published similarity does; an adversary's only trains.
        terms: parts of its loss for the last batch, detached, by their names in the history, less
            "_loss".
    """

    taps: "Taps | None" = None
    in_loss: bool = True
    terms: "dict[str, Tensor]"

    def __init__(self) -> None:
        self.terms = {}

    def __enter__(self) -> Self:
        if self.taps is not None:
            self.taps.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.taps is not None:
            self.taps.__exit__(*error)

    @property
    def is_open(self) -> bool:
        """Whether forward passes are being listened to."""
        return self.taps is not None and self.taps.is_open

    def adjust(self, outputs: "Tensor", batch: "Batch") -> "Tensor":  # noqa: ARG002
        """Return what the task loss is computed from; predictions stay those of the outputs.

        Args:
            outputs: of the network, (batch, classes), of a regression (batch, 1).
        """
        return outputs

    def weigh(self, losses: "Tensor", batch: "Batch") -> "Tensor":  # noqa: ARG002
        """Return the task losses of a batch's examples, (batch,), as they are to count."""
        return losses

    def loss(self, batch: "Batch", outputs: "Tensor", progress: float) -> "Tensor | None":  # noqa: ARG002
        """Compute what is added to the task loss of a batch that the network has just been given.

        Args:
            outputs: of the network, float32.
            progress: how much of the training is over, 0 to 1.
        """
        return None

    def sampling(self) -> "Tensor | None":
        """Return weights, (training examples,), by which an epoch's examples are drawn.

        They are drawn with replacement, as many as there are. None: each comes once.
        """
        return None

    def finish(self, network: "nn.Module", sets: "Mapping[str, ExampleSet]") -> None:
        """Change the weights of a network that has its best ones, before it is measured."""

    def parameters(self) -> "list[nn.Parameter]":
        """Return what it trains besides the network."""
        return []

    def state(self) -> "list[Tensor]":
        """Return what a training that goes on later needs of it."""
        return [parameter.detach() for parameter in self.parameters()]

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
        sets: training, validation and test.
        frozen: (name, number) -> a network of at_dataset, or the features of all examples
            (examples, features), on the device; number: which of several random networks.
        generator: what a loss draws from.
        seed: of what is trained besides the network.
        knowledge: () -> the features of all that at_dataset names, (examples, features), float32
            on the CPU; rows in no set are 0.
        expert: () -> what they tell of the target.
    """

    model: "nn.Module"
    training: "TrainingDefaults"
    matrices: "Matrices"
    sets: "Mapping[str, ExampleSet]"
    frozen: "Callable[[str, int], nn.Module | Tensor]"
    generator: "Generator"
    seed: int
    knowledge: "Callable[[], Tensor]"
    expert: "Callable[[], Expert]"

    def nuisance(self) -> "Tensor":
        """Return what the method takes for the nuisance of each example, (examples,), int64.

        That is the number of the value in the column that at_dataset names, or else the class that
        the expert guesses; UNKNOWN where the training set has no such value.
        """
        from training.methods.labels import column_labels
        from training.models.frozen import column_of

        column = column_of(self.training.at_dataset)
        if column is None:
            return self.expert().guesses
        return column_labels(self.matrices, self.sets["training"].rows, column)
