"""The frozen network's side of the penalty: computed once for each example, then looked up.

What the frozen network gives for an example changes only if the example, its normalisation, the
network's weights or the tapped layer do, so it is kept over epochs, instances and experiments.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from config.errors import UserError
from config.files import write_json, written_aside
from config.fingerprints import fingerprint_of
from config.text import display_path
from training.data.batches import ExampleSet
from training.engine.device_memory import free_bytes
from training.engine.distributed import bars_disabled, broadcast, is_main
from training.engine.memory_limits import MEMORY_SHARE, room_for_speed
from training.methods.anti_transfer import AntiTransferLoss
from training.models.weights import weights_fingerprint
from training.similarity.aggregations import AGGREGATIONS
from training.similarity.layer_loss import aggregate
from training.similarity.taps import Layer, label

CacheMode = Literal["auto", "disk", "off"]
Autocast = Callable[[], AbstractContextManager[Any]]

# Always the same number, whatever a run's batch size: a convolution rounds a batch of another size
# differently, and an entry must not depend on the run that happened to make it.
FILL_EXAMPLES = 32
DISK_SHARE = 0.5


@dataclass(frozen=True)
class FeatureKey:
    """All that decides one layer's features; another value of any of them is another entry.

    Attributes:
        weights: fingerprint of the frozen network's parameters.
        examples: fingerprint of the matrices, the rows used, and their normalisation.
        layer: convolution or module name, with the side that is tapped.
        form: "activation", or the aggregation if its outcome is smaller.
        precision: "fp32" or "bf16".
    """

    weights: str
    examples: str
    layer: str
    tap: str
    form: str
    precision: str

    @property
    def fingerprint(self) -> str:
        """The name of the entry's file."""
        return fingerprint_of(asdict(self))


@dataclass(frozen=True)
class FrozenFeatures:
    """One frozen network's features of all examples of a fold.

    Attributes:
        values: for each layer, a row for each row of the matrices, on the device or in a map.
        aggregation: of the penalty.
        is_aggregated: for each layer, whether the rows are aggregates already.
    """

    values: Mapping[Layer, Tensor]
    aggregation: str
    is_aggregated: Mapping[Layer, bool]
    device: torch.device

    def aggregates(self, rows: Tensor) -> dict[Layer, Tensor]:
        """What `AntiTransferLoss.penalty` takes, for the examples of some rows of the matrices."""
        found = {}
        for layer, values in self.values.items():
            chosen = values[rows.to(values.device)].to(self.device)
            done = self.is_aggregated[layer]
            found[layer] = chosen if done else aggregate(chosen, self.aggregation)
        return found


@dataclass(frozen=True)
class _Wanted:
    """One layer's entry before it is looked for: its key and the shape of an example's row."""

    key: FeatureKey
    num_rows: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return self.num_rows * self.dtype.itemsize * torch.Size(self.shape).numel()

    def empty(self, device: torch.device) -> Tensor:
        return torch.empty((self.num_rows, *self.shape), dtype=self.dtype, device=device)


class FeatureStore:
    """Frozen features of a sweep.

    Args:
        mode: auto keeps them on the device as long as they fit, and else, for training on the CPU,
            in memory-mapped files; disk always takes files, which later runs find again; off
            keeps nothing.
        folder: of the files, which may be deleted whenever no run uses them.
        device: where the training runs.
    """

    def __init__(self, mode: CacheMode, folder: Path, device: torch.device) -> None:
        self.mode = mode
        self.folder = folder
        self.device = device
        self._kept: dict[FeatureKey, Tensor] = {}

    def features(
        self,
        penalty: AntiTransferLoss,
        sets: Mapping[str, ExampleSet],
        examples: str,
        precision: str,
        autocast: Autocast,
        needed_bytes: int = 0,
    ) -> FrozenFeatures | None:
        """The features that a penalty needs of some sets; None: they must be computed each time.

        Args:
            examples: fingerprint of the matrices, of the rows in the sets and their normalisation.
            precision, autocast: in which the training computes.
            needed_bytes: what the training needs on the device, which is left to it.

        Raises:
            ValueError: the inputs of a set differ from epoch to epoch.
        """
        if self.mode == "off":
            return None
        if any(each.is_random for each in sets.values()):
            raise ValueError("examples that move at random have no features that could be kept")
        wanted = self._wanted(penalty, sets, examples, precision, autocast)
        fill = _Filling(penalty, sets, autocast)
        found = self._found(wanted, fill, needed_bytes)
        if found is None:
            return None
        is_aggregated = {layer: each.key.form != "activation" for layer, each in wanted.items()}
        return FrozenFeatures(found, penalty.aggregation, is_aggregated, self.device)

    def _wanted(
        self,
        penalty: AntiTransferLoss,
        sets: Mapping[str, ExampleSet],
        examples: str,
        precision: str,
        autocast: Autocast,
    ) -> dict[Layer, _Wanted]:
        weights = weights_fingerprint(penalty.frozen.state_dict())
        num_rows = 1 + max(int(each.rows.max()) for each in sets.values())
        one = next(next(iter(sets.values())).batches(1)).inputs
        wanted = {}
        for layer, activation in _activations(penalty, penalty.layers, one, autocast).items():
            form, row = _smaller_form(activation, penalty.aggregation)
            place = penalty.frozen_label(layer)
            key = FeatureKey(weights, examples, place, penalty.frozen_tap, form, precision)
            wanted[layer] = _Wanted(key, num_rows, tuple(row.shape[1:]), row.dtype)
        return wanted

    def _found(
        self, wanted: Mapping[Layer, _Wanted], fill: "_Filling", needed_bytes: int
    ) -> dict[Layer, Tensor] | None:
        missing = {layer: each for layer, each in wanted.items() if each.key not in self._kept}
        if missing and not self._keep(missing, wanted, fill, needed_bytes):
            return None
        return {layer: self._kept[each.key] for layer, each in wanted.items()}

    def _keep(
        self,
        missing: Mapping[Layer, _Wanted],
        wanted: Mapping[Layer, _Wanted],
        fill: "_Filling",
        needed_bytes: int,
    ) -> bool:
        num_bytes = sum(each.num_bytes for each in missing.values())
        if self.mode == "auto" and self._has_room(num_bytes, wanted, needed_bytes):
            values = {layer: each.empty(self.device) for layer, each in missing.items()}
            fill.into(values, missing)
            self._kept |= {missing[layer].key: tensor for layer, tensor in values.items()}
            return True
        if self.mode == "auto" and self.device.type != "cpu":
            return False  # a GPU computes them faster than they are read
        if not broadcast(num_bytes <= DISK_SHARE * _free_disk(self.folder)):
            print(
                f"{fill.penalty.name}: its features would take {num_bytes / 1e9:.1f} GB, more than "
                f"half of what is free for {display_path(self.folder)}; computed in each step"
            )
            return False
        for layer, each in missing.items():
            self._kept[each.key] = self._mapped(layer, each, fill)
        return True

    def forget(self) -> None:
        """Give the memory back; what is needed again is made again."""
        self._kept.clear()

    def _has_room(self, num_bytes: int, wanted: Mapping[Layer, _Wanted], needed_bytes: int) -> bool:
        """Whether the device takes so much; what this run does not use gives way."""
        if self._fits(num_bytes, needed_bytes):
            return True
        used = {each.key for each in wanted.values()}
        self._kept = {key: values for key, values in self._kept.items() if key in used}
        return self._fits(num_bytes, needed_bytes)

    def _fits(self, num_bytes: int, needed_bytes: int) -> bool:
        return num_bytes <= room_for_speed(free_bytes(self.device), needed_bytes, MEMORY_SHARE)

    def _mapped(self, layer: Layer, wanted: _Wanted, fill: "_Filling") -> Tensor:
        path = self.folder / f"frozen_{wanted.key.fingerprint}.bin"
        description = path.with_suffix(".json")
        described = {**asdict(wanted.key), "shape": [wanted.num_rows, *wanted.shape]}
        if is_main() and not _is_complete(path, wanted.num_bytes, description, described):
            description.unlink(missing_ok=True)
            name = f"{fill.penalty.name} {label(layer)}"
            print(f"{name}: {wanted.num_bytes / 1e9:.2f} GB of features -> {display_path(path)}")
            with written_aside(path) as aside:
                _reserve(aside, wanted.num_bytes)
                fill.into({layer: _map_file(aside, wanted)}, {layer: wanted})
            write_json(description, described)
        broadcast(None)
        if not is_main() and not _is_complete(path, wanted.num_bytes, description, described):
            raise UserError(
                f"{display_path(path)}: this process does not see what the main process wrote; all "
                "must share [results] cache_folder, or --set at_cache=off"
            )
        return _map_file(path, wanted)


@dataclass(frozen=True)
class _Filling:
    """Runs a frozen network once over all examples of some sets."""

    penalty: AntiTransferLoss
    sets: Mapping[str, ExampleSet]
    autocast: Autocast

    def into(self, values: Mapping[Layer, Tensor], wanted: Mapping[Layer, _Wanted]) -> None:
        """Fill the rows of each layer."""
        layers = tuple(values)
        for batch in self._batches(f"{self.penalty.name} {', '.join(map(label, layers))}"):
            activations = _activations(self.penalty, layers, batch.inputs, self.autocast)
            for layer, activation in activations.items():
                form = wanted[layer].key.form
                rows = activation if form == "activation" else aggregate(activation, form)
                target = values[layer]
                target[batch.rows.to(target.device)] = rows.to(target.device)

    def _batches(self, title: str) -> Iterator[Any]:
        total = sum(map(len, self.sets.values()))
        with tqdm(
            total=total,
            desc=f"frozen {title}",
            unit="example",
            leave=False,
            disable=bars_disabled(None),
        ) as bar:
            for each in self.sets.values():
                for batch in each.batches(FILL_EXAMPLES):
                    yield batch
                    bar.update(len(batch.rows))


def _activations(
    penalty: AntiTransferLoss, layers: Sequence[Layer], inputs: Tensor, autocast: Autocast
) -> dict[Layer, Tensor]:
    with torch.no_grad(), autocast():
        activations = penalty.frozen_activations(inputs)
    return {layer: activations[layer] for layer in layers}


def _smaller_form(activation: Tensor, aggregation: str) -> tuple[str, Tensor]:
    """A deep layer has few positions and many channels: its Gram matrix is larger than itself."""
    if not AGGREGATIONS[aggregation].per_example:
        return "activation", activation
    aggregated = aggregate(activation, aggregation)
    if aggregated.nbytes < activation.nbytes:
        return aggregation, aggregated
    return "activation", activation


def _reserve(path: Path, num_bytes: int) -> None:
    """Make a file that has its place on the disk.

    Writing to the map of a file that the disk has no room for would kill the process (SIGBUS).

    Raises:
        OSError: there is not that much room.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, num_bytes)


def _map_file(path: Path, wanted: _Wanted) -> Tensor:
    """A file of raw numbers as a tensor; writing to the tensor writes to the file."""
    shape = (wanted.num_rows, *wanted.shape)
    size = torch.Size(shape).numel()
    return torch.from_file(str(path), shared=True, size=size, dtype=wanted.dtype).view(shape)


def _is_complete(
    path: Path, num_bytes: int, description: Path, described: Mapping[str, Any]
) -> bool:
    try:
        same = json.loads(description.read_text(encoding="utf-8")) == described
        return same and path.stat().st_size == num_bytes
    except (OSError, ValueError):
        return False


def _free_disk(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free
