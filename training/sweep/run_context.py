"""What the runs of one process share: the device, opened data, frozen networks."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from config.fields import Task
from config.files import waited_for
from config.fingerprints import fingerprint_of
from config.log import logger
from config.progress import on_terminal
from config.settings import Settings
from preprocessing.pipeline.matrices import Matrices
from preprocessing.pipeline.splits import Split
from training.data.frozen_cache import FrozenCache
from training.data.shortcut_sampler import Shortcut
from training.engine.distributed import shows_progress
from training.engine.folds import Fold, load_fold
from training.models.frozen import source_of
from training.models.loading import to_device, without_head
from training.models.registry import Architecture
from training.probing.expert import FITTING_VERSION, Expert, fit_expert, read_expert
from training.similarity.taps import penultimate_features
from training.sweep.input_cache import InputCache

EXAMPLES = 64  # in a batch of which features are taken
EXPERTS = "experts"  # a folder of the results


class Knowledge(NamedTuple):
    """What may be known of the examples besides what the trained network hears.

    Attributes:
        names: of at_dataset's kind.
        own: the architecture of the network that is trained.
        random_seed: of the first untrained network; the next ones have the next seeds.
        task: of the network that is trained.
        nuisances: columns that are known to follow the class.
    """

    settings: Settings
    names: tuple[str, ...]
    own: Architecture
    random_seed: int
    task: Task
    nuisances: tuple[str, ...]


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
        self._knowledge: tuple[tuple[object, ...], Tensor] | None = None
        self._experts: dict[str, Expert] = {}
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

    def knowledge(self, known: Knowledge, fold: Fold) -> Tensor:
        """Return the features of all that is known, (examples, features), on the CPU.

        Of networks these are the penultimate ones, in float32; examples in no set have zeros. Those
        of the last call are kept.
        """
        key = self._key(known, fold)
        if self._knowledge is None or self._knowledge[0] != key:
            self._knowledge = None  # before the next ones take their memory
            parts = []
            for number, name in enumerate(known.names):
                seed = known.random_seed + known.names[:number].count(name)
                source = source_of(known.settings, name)
                loaded = source.load(fold.matrices, self.inputs, known.own, seed)
                if isinstance(loaded, nn.Module):
                    network, title = to_device(loaded, self.device), f"frozen network {name}"
                    found = penultimate_features(network, _inputs(fold, name), title)
                    rows = np.concatenate([each.rows for each in fold.sets.values()])
                    loaded = torch.zeros(len(fold.matrices.target), found.shape[1])
                    loaded[rows] = found
                parts.append(loaded.float())
            self._knowledge = key, torch.cat(parts, dim=1)
        return self._knowledge[1]

    def expert(self, known: Knowledge, fold: Fold) -> Expert:
        """Return what is known of the target; fitted once for all processes of a results folder.

        Raises:
            UserError: the training set has too few groups.
        """
        key = fingerprint_of([*self._key(known, fold), known.task, known.nuisances])
        if key not in self._experts:
            path = known.settings.results.results_folder / EXPERTS / f"{key}.npz"
            sets = {name: each.rows for name, each in fold.sets.items()}
            with waited_for(path.with_suffix(".lock")):
                expert = read_expert(path)
                if expert is None:
                    features = self.knowledge(known, fold).numpy()
                    expert = fit_expert(features, fold.matrices, sets, known.task, known.nuisances)
                    expert.write(path)
            self._experts[key] = expert
        return self._experts[key]

    def _key(self, known: Knowledge, fold: Fold) -> tuple[object, ...]:
        """Identify the features that are known; other devices round otherwise."""
        sources = [source_of(known.settings, name) for name in known.names]
        prints = [source.fingerprints(self.inputs) for source in sources]
        of_random = (repr(known.own), known.random_seed)
        is_random = any(source.is_untrained for source in sources)
        return (
            *(fold.fingerprint, known.names, prints, of_random if is_random else ()),
            *(self.device.type, FITTING_VERSION),
        )

    def forget(self) -> None:
        """Give back the memory of what is kept for speed alone; it is made again when needed."""
        self._fold = self._knowledge = None
        self.frozen_cache.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def say_once(self, text: str) -> None:
        """Print a line that holds for many runs."""
        if text and text not in self._said:
            self._said.add(text)
            logger.warning(text)


def _inputs(fold: Fold, name: str) -> Iterator[Tensor]:
    """Yield the inputs of all sets in batches, and show how far a frozen network is with them."""
    bar = tqdm(
        total=sum(map(len, fold.sets.values())),
        desc=f"what {name} knows",
        unit="example",
        leave=False,
        disable=not (shows_progress() and on_terminal()),
    )
    with bar:
        for batch in chain(*(each.batches(EXAMPLES) for each in fold.sets.values())):
            yield batch.inputs
            bar.update(len(batch.rows))
