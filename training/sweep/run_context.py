"""What the runs of one process share: the device, opened data, frozen networks."""

import torch
from torch import Tensor, nn

from config.log import logger
from config.settings import Settings
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split
from training.data.frozen_cache import FrozenCache
from training.engine.folds import Fold, load_fold
from training.models.frozen import source_of
from training.models.loading import to_device, without_head
from training.models.registry import Architecture
from training.sweep.input_cache import InputCache


class RunContext:
    """The device of a process, and what its runs leave there for the next ones.

    Attributes:
        device: where runs are trained.
        inputs: what was read from the disk.
        frozen_cache: what frozen networks gave for the examples so far.
    """

    def __init__(self, device: torch.device, inputs: InputCache | None = None) -> None:
        self.device = device
        self.inputs = inputs or InputCache()
        self.frozen_cache = FrozenCache(device)
        self._fold: tuple[Matrices, Split[str], Fold] | None = None
        self._frozen: dict[tuple[object, ...], nn.Module] = {}
        self._said: set[str] = set()

    def fold(self, matrices: Matrices, split: Split[str]) -> Fold:
        """Load the sets of a fold; those of the last fold only are kept."""
        if self._fold is None or self._fold[0] is not matrices or self._fold[1] != split:
            self._fold = None  # before the next one takes its memory
            self._fold = matrices, split, load_fold(matrices, split, self.device)
        return self._fold[2]

    def frozen(
        self,
        settings: Settings,
        name: str,
        matrices: Matrices,
        own: Architecture,
        seed: int,
        keeps_head: bool = True,
    ) -> nn.Module | Tensor:
        """Return on the device what a network is compared with.

        That is a pre-trained network, one of a seed, or an embedding's vectors for all examples of
        the matrices, (examples, features).

        Args:
            own: the architecture of the network that is compared.
        """
        source = source_of(settings, name)
        key = name, *source.fingerprints(self.inputs).values(), keeps_head
        if key in self._frozen:
            return self._frozen[key]
        loaded = source.load(matrices, self.inputs, own, seed)
        if isinstance(loaded, Tensor):
            return loaded.to(self.device)
        network = to_device(loaded if keeps_head else without_head(loaded), self.device)
        if not source.is_untrained:
            self._frozen[key] = network
        return network

    def forget(self) -> None:
        """Give back the memory of what is kept for speed alone; it is made again when needed."""
        self._fold = None
        self.frozen_cache.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def say_once(self, text: str) -> None:
        """Print a line that holds for many runs."""
        if text and text not in self._said:
            self._said.add(text)
            logger.warning(text)
