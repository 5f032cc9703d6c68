"""What the runs of one process share: the device, opened data, frozen networks."""

from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from config.log import logger
from config.settings import Settings
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split
from training.data.frozen_cache import FrozenCache
from training.data.shortcut import Shortcut
from training.engine.folds import Fold, load_fold
from training.models.frozen import is_untrained, source_of
from training.models.loading import to_device, without_head
from training.models.registry import Architecture
from training.probing.expert import Expert, fit_expert
from training.similarity.taps import penultimate_features
from training.sweep.input_cache import InputCache

EXAMPLES = 64  # in a batch of which features are taken


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
        self._fold: tuple[Matrices, Split[str], Shortcut | None, Fold] | None = None
        self._frozen: dict[tuple[object, ...], nn.Module] = {}
        self._experts: dict[tuple[object, ...], Expert] = {}
        self._said: set[str] = set()

    def fold(self, matrices: Matrices, split: Split[str], shortcut: Shortcut | None) -> Fold:
        """Load the sets of a fold; those of the last fold only are kept."""
        kept = self._fold
        if kept is None or kept[0] is not matrices or kept[1:3] != (split, shortcut):
            self._fold = kept = None  # before the next one takes its memory
            fold = load_fold(matrices, split, self.device, shortcut=shortcut)
            self._fold = kept = matrices, split, shortcut, fold
        return kept[3]

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

    def knowledge(
        self, settings: Settings, fold: Fold, own: Architecture, random_seed: int
    ) -> Tensor:
        """Return the features of all that at_dataset names, (examples, features), on the CPU.

        Of networks these are the penultimate ones, in float32; examples in no set have zeros.

        Args:
            own: the architecture of the network that is trained.
            random_seed: of the first untrained network; the next ones have the next seeds.
        """
        matrices, names = fold.matrices, settings.training_defaults.at_dataset
        parts = []
        for number, name in enumerate(names):
            seed = random_seed + names[:number].count(name)
            frozen = self.frozen(settings, name, matrices, own, seed)
            if isinstance(frozen, nn.Module):
                batches = chain(*(each.batches(EXAMPLES) for each in fold.sets.values()))
                found = penultimate_features(
                    frozen, (batch.inputs for batch in batches), f"frozen network {name}"
                )
                frozen = torch.zeros(len(matrices.target), found.shape[1])
                frozen[np.concatenate([each.rows for each in fold.sets.values()])] = found
            parts.append(frozen.float().cpu())
        return torch.cat(parts, dim=1)

    def expert(self, settings: Settings, fold: Fold, own: Architecture, random_seed: int) -> Expert:
        """Return what the knowledge tells of the target; each expert is fitted once.

        Raises:
            UserError: the training set has too few groups.
        """
        names = settings.training_defaults.at_dataset
        prints = [source_of(settings, name).fingerprints(self.inputs) for name in names]
        of_random = (own, random_seed) if any(map(is_untrained, names)) else ()
        key = fold.fingerprint, names, repr(prints), of_random
        if key not in self._experts:
            features = self.knowledge(settings, fold, own, random_seed).numpy()
            sets = {name: each.rows for name, each in fold.sets.items()}
            self._experts[key] = fit_expert(features, fold.matrices, sets, fold.matrices.task)
        return self._experts[key]

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
