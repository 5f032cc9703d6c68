"""The frozen network's side of the similarity: computed once for each example, then looked up.

What the frozen network gives for an example changes only if the example, its normalisation, the
network's weights or the tapped layer do, so it is kept over epochs, instances and experiments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from config.fingerprints import fingerprint_of
from config.progress import on_terminal
from training.data.batches import Batch, ExampleSet
from training.data.device_memory import has_room
from training.engine.distributed import shows_progress
from training.methods.anti_transfer import AntiTransferLoss
from training.models.weights import weights_fingerprint
from training.similarity.aggregations import AGGREGATIONS
from training.similarity.layer_loss import aggregate
from training.similarity.taps import Layer, label

Autocast = Callable[[], AbstractContextManager[Any]]
Aggregates = Callable[[Tensor], Mapping[Layer, Tensor]]

# Always the same number, whatever a run's batch size: a convolution rounds a batch of another size
# differently, and a feature must not depend on the run that happened to make it.
FILL_EXAMPLES = 32
CPU = torch.device("cpu")


@dataclass(frozen=True)
class FeatureKey:
    """All that decides one layer's features; another value of any of them is another entry.

    Attributes:
        weights: fingerprint of the frozen network, above all of its parameters.
        examples: fingerprint of the matrices, the rows used, and their normalisation.
        layer: the frozen network's, with the side that is tapped.
        form: "activation", or the aggregation if its outcome is smaller.
        precision: "fp32" or "bf16".
    """

    weights: str
    examples: str
    layer: Layer
    tap: str
    form: str
    precision: str


@dataclass(frozen=True)
class _Entry:
    """One layer's features before they are looked for: their key and shape."""

    key: FeatureKey
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return self.dtype.itemsize * torch.Size(self.shape).numel()


class FrozenCache:
    """Frozen features of a sweep, on the device where they fit, else in main memory.

    Args:
        device: where the training runs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._kept: dict[FeatureKey, Tensor] = {}

    def aggregates_of(
        self,
        similarity: AntiTransferLoss,
        sets: Mapping[str, ExampleSet],
        examples: str,
        precision: str,
        autocast: Autocast,
    ) -> Aggregates | None:
        """Make sure of the features that a similarity needs of some sets.

        Args:
            examples: fingerprint of the matrices, of the rows in the sets and their normalisation.
            precision, autocast: in which the training computes.

        Returns:
            What gives the frozen aggregates of some rows of the matrices; None: the features fit
            nowhere, and must be computed each time.

        Raises:
            ValueError: the inputs of a set differ from epoch to epoch.
        """
        if any(each.is_random for each in sets.values()):
            raise ValueError("examples that move at random have no features that could be kept")
        entries = _entries(similarity, sets, examples, precision, autocast)
        missing = {layer: each for layer, each in entries.items() if each.key not in self._kept}
        if missing:
            place = self._place(missing, entries)
            if place is None:
                return None
            values = {
                layer: torch.empty(each.shape, dtype=each.dtype, device=place)
                for layer, each in missing.items()
            }
            _fill(values, missing, similarity, sets, autocast)
            self._kept |= {missing[layer].key: tensor for layer, tensor in values.items()}
        kept = {layer: self._kept[each.key] for layer, each in entries.items()}
        raw = {layer for layer, each in entries.items() if each.key.form == "activation"}

        def aggregates(rows: Tensor) -> dict[Layer, Tensor]:
            found = {}
            for layer, features in kept.items():
                chosen = features[rows.to(features.device)].to(self.device)
                found[layer] = aggregate(chosen, similarity.aggregation) if layer in raw else chosen
            return found

        return aggregates

    def forget(self) -> None:
        """Give the memory back; what is needed again is made again."""
        self._kept.clear()

    def _place(
        self, missing: Mapping[Layer, _Entry], entries: Mapping[Layer, _Entry]
    ) -> torch.device | None:
        """Return where there is room; what this run does not use gives way."""
        num_bytes = sum(each.num_bytes for each in missing.values())
        if has_room(self.device, num_bytes):
            return self.device
        used = {each.key for each in entries.values()}
        self._kept = {key: values for key, values in self._kept.items() if key in used}
        return next((each for each in (self.device, CPU) if has_room(each, num_bytes)), None)


def _entries(
    similarity: AntiTransferLoss,
    sets: Mapping[str, ExampleSet],
    examples: str,
    precision: str,
    autocast: Autocast,
) -> dict[Layer, _Entry]:
    """Describe each layer's features; a row for each row of the matrices."""
    # Two networks of the same weights may differ in what has none.
    weights = fingerprint_of(
        [
            weights_fingerprint(similarity.frozen.state_dict()),
            similarity.name,
            repr(similarity.frozen),
        ]
    )
    num_rows = 1 + max(int(each.rows.max()) for each in sets.values())
    one = next(next(iter(sets.values())).batches(1)).inputs
    entries = {}
    for layer, activation in _activations(similarity, similarity.layers, one, autocast).items():
        form, row = _smaller_form(activation, similarity.aggregation)
        place = similarity.frozen_layers[layer]
        key = FeatureKey(weights, examples, place, similarity.frozen_tap, form, precision)
        entries[layer] = _Entry(key, (num_rows, *row.shape[1:]), row.dtype)
    return entries


def _fill(
    values: Mapping[Layer, Tensor],
    entries: Mapping[Layer, _Entry],
    similarity: AntiTransferLoss,
    sets: Mapping[str, ExampleSet],
    autocast: Autocast,
) -> None:
    """Run the frozen network once over all examples, and fill the rows of each layer."""
    layers = tuple(values)
    for batch in _batches(sets, f"{similarity.name} {', '.join(map(label, layers))}"):
        activations = _activations(similarity, layers, batch.inputs, autocast)
        for layer, activation in activations.items():
            form = entries[layer].key.form
            rows = activation if form == "activation" else aggregate(activation, form)
            target = values[layer]
            target[batch.rows.to(target.device)] = rows.to(target.device)


def _batches(sets: Mapping[str, ExampleSet], title: str) -> Iterator[Batch]:
    bar = tqdm(
        total=sum(map(len, sets.values())),
        desc=f"frozen {title}",
        unit="example",
        leave=False,
        disable=not (shows_progress() and on_terminal()),
    )
    with bar:
        for each in sets.values():
            for batch in each.batches(FILL_EXAMPLES):
                yield batch
                bar.update(len(batch.rows))


def _activations(
    similarity: AntiTransferLoss, layers: Sequence[Layer], inputs: Tensor, autocast: Autocast
) -> dict[Layer, Tensor]:
    with torch.no_grad(), autocast():
        activations = similarity.frozen_activations(inputs)
    return {layer: activations[layer] for layer in layers}


def _smaller_form(activation: Tensor, aggregation: str) -> tuple[str, Tensor]:
    """Choose what is kept: a deep layer's Gram matrix is larger than its activation."""
    if not AGGREGATIONS[aggregation].per_example:
        return "activation", activation
    aggregated = aggregate(activation, aggregation)
    if aggregated.nbytes < activation.nbytes:
        return aggregation, aggregated
    return "activation", activation
