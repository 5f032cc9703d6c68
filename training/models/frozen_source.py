"""What every kind of frozen source does; the kinds are in training/models/frozen.py."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from config.advice import Missing
from config.experiments import Experiment
from config.settings import Settings
from preprocessing.pipeline.matrices import Matrices

if TYPE_CHECKING:
    from torch import Tensor, nn

    from training.models.registry import Architecture
    from training.sweep.input_cache import InputCache


class Use(NamedTuple):
    """How an experiment uses frozen sources.

    Attributes:
        matrices: its data; None: they cannot be used themselves.
        force: whether extractors at chance level are used.
    """

    experiment: Experiment
    matrices: Matrices | None
    inputs: "InputCache"
    force: bool


class FrozenSource(ABC):
    """What a name of at_dataset stands for, whether it is declared or not.

    Attributes:
        pattern: of the names of this kind.
        is_untrained: whether nothing trained it: a control.
        has_layers: whether it is a network.
    """

    pattern: ClassVar[str]
    is_untrained: ClassVar[bool] = False
    has_layers: ClassVar[bool] = True

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name

    @property
    def words(self) -> str:
        """What it knows, for the table of experiments."""
        return self.name

    @staticmethod
    @abstractmethod
    def known(settings: Settings) -> list[str]:
        """Return the names of this kind that can be chosen."""

    @abstractmethod
    def missing(self, use: Use) -> Iterator[Missing]:
        """Tell what keeps an experiment from using it.

        Raises:
            UserError: nothing has that name.
        """

    @abstractmethod
    def fingerprints(self, inputs: "InputCache") -> dict[str, str]:
        """Identify what a training reads of it, by the names that results keep.

        Raises:
            UserError: it is not there.
        """

    def describe(self, _matrices: Matrices, _inputs: "InputCache", /) -> str:
        """Say before a run what it is; empty: its name says all."""
        return ""

    def is_like_trained(self, _inputs: "InputCache", /) -> bool:
        """Tell, without torch, whether it is sure to be built as the network that is trained."""
        return False

    @abstractmethod
    def load(
        self, matrices: Matrices, inputs: "InputCache", own: "Architecture", seed: int, /
    ) -> "nn.Module | Tensor":
        """Return the network, or the features of all rows of the matrices, (examples, features).

        Args:
            own: what the network that is trained is built from.
            seed: of weights that nothing trained.
        """
