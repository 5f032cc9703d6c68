"""Time and memory of the similarity's forward and backward pass: ours, plain, and the release's.

python -m benchmarks.gram --layers 4 13 --batch-sizes 8 30 --write
"""

import argparse
import statistics
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measuring import interleaved, median_ratio, report
from training.models.vgg import CHANNELS_PER_BLOCK
from training.similarity.distances import absolute_cosine
from training.similarity.layer_loss import aggregate, layer_loss

NUM_FRAMES, NUM_BINS = 126, 129
FLOAT_BYTES = 4
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Pass = Callable[[], object]


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Peak bytes of what operations allocate while the mode is active, given tensors excepted.

    Memory that an operation takes and gives back inside itself is not seen.

    Args:
        given: tensors that exist already.
        matrix_sides: a storage that is made for a tensor whose last two sizes are both the same
            number of these counts as Gram matrices.

    Attributes:
        peak_bytes: of all storages alive at one time.
        peak_gram_bytes: of those that hold Gram matrices.
    """

    def __init__(self, given: Iterable[Tensor], matrix_sides: Iterable[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given = [each.untyped_storage() for each in given]
        self._sides = frozenset(matrix_sides)
        self._known = {each._cdata for each in self._given}
        self._live_bytes = self._live_gram_bytes = 0
        self.peak_bytes = self.peak_gram_bytes = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and look at what it returns."""
        results = func(*args, **(kwargs or {}))
        for each in results if isinstance(results, tuple | list) else (results,):
            if isinstance(each, Tensor):
                self._see(each)
        return results

    def _see(self, values: Tensor) -> None:
        storage = values.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        is_gram = values.ndim > 1 and values.shape[-1] == values.shape[-2]
        is_gram = is_gram and values.shape[-1] in self._sides
        num_bytes = storage.nbytes()
        self._count(num_bytes, num_bytes if is_gram else 0)
        weakref.finalize(storage, self._forget, key, num_bytes, num_bytes if is_gram else 0)

    def _forget(self, key: int, num_bytes: int, gram_bytes: int) -> None:
        self._known.discard(key)
        self._count(-num_bytes, -gram_bytes)

    def _count(self, num_bytes: int, gram_bytes: int) -> None:
        self._live_bytes += num_bytes
        self._live_gram_bytes += gram_bytes
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        self.peak_gram_bytes = max(self.peak_gram_bytes, self._live_gram_bytes)


def batch_wide_similarity(activation: Tensor, frozen_gram: Tensor) -> Tensor:
    """The released code's term, written anew: one Gram matrix of all the batch's channels."""
    rows = activation.float().flatten(0, 1).flatten(1)
    gram = rows @ rows.T / activation.numel()
    return functional.cosine_similarity(gram, frozen_gram, dim=-1).abs().mean() ** 2


def passes(activation: Tensor, frozen: Tensor) -> dict[str, tuple[Pass, Tensor]]:
    """Return each form's forward and backward pass, and the frozen aggregate that it is given."""
    aggregated, batch_wide = aggregate(frozen, "gram"), aggregate(frozen, "gram_batch")

    def ours() -> object:
        term = layer_loss(activation, aggregated)
        return torch.autograd.grad(term, activation)

    def plain() -> object:
        term = absolute_cosine(aggregate(activation), aggregated).square()
        return torch.autograd.grad(term, activation)

    def released() -> object:
        return torch.autograd.grad(batch_wide_similarity(activation, batch_wide), activation)

    return {
        "ours": (ours, aggregated),
        "plain": (plain, aggregated),
        "released": (released, batch_wide),
    }


def memory_of(run: Pass, activation: Tensor, frozen_aggregate: Tensor) -> dict[str, float]:
    """Peak megabytes beyond what is given, and Gram matrices with those given.

    The latter in multiples of batch x channels^2 floats.
    """
    batch, channels = activation.shape[:2]
    given_floats = frozen_aggregate.numel()
    with LiveMemory([activation, frozen_aggregate], [channels, batch * channels]) as live:
        run()
    floats = given_floats + live.peak_gram_bytes / FLOAT_BYTES
    figures = {"MB": live.peak_bytes / 1e6, "Grams": floats / (batch * channels**2)}
    if activation.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        figures["GPU MB"] = (torch.cuda.max_memory_allocated() - before) / 1e6
    return figures


def activation_shape(layer: int) -> tuple[int, int, int]:
    """Return the channels, frames and bins of a convolution of VGG16, counted from 1."""
    layers = [(size, block) for block, sizes in enumerate(CHANNELS_PER_BLOCK) for size in sizes]
    channels, block = layers[layer - 1]
    return channels, NUM_FRAMES >> block, NUM_BINS >> block


def measure(arguments: argparse.Namespace, layer: int, batch_size: int) -> dict[str, Any]:
    """One line of the table."""
    device = torch.device(arguments.device)
    channels, frames, bins = activation_shape(layer)
    current, frozen = (
        torch.randn(batch_size, channels, frames, bins, device=device)
        .relu()
        .to(PRECISIONS[arguments.precision], memory_format=torch.channels_last)
        for _ in range(2)
    )
    subjects = passes(current.requires_grad_(), frozen)
    times = interleaved({name: run for name, (run, _) in subjects.items()}, arguments.repetitions)
    row: dict[str, Any] = {
        "layer": layer,
        "channels": channels,
        "frames x bins": f"{frames} x {bins}",
        "batch": batch_size,
        "precision": arguments.precision,
        "activation MB": current.nbytes / 1e6,
    }
    for name, (run, frozen_aggregate) in subjects.items():
        row[f"{name} ms"] = statistics.median(times[name]) * 1e3
        row[f"{name}/ours"] = median_ratio(times, name, "ours")
        for unit, figure in memory_of(run, current, frozen_aggregate).items():
            row[f"{name} {unit}"] = figure
    del row["ours/ours"]
    return row


def main(words: list[str]) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 4, 7, 10, 13])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8])
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    arguments = parser.parse_args(words)
    rows = [
        measure(arguments, layer, batch_size)
        for batch_size in arguments.batch_sizes
        for layer in arguments.layers
    ]
    print("ms and MB: forward and backward pass of the term, beyond the activation and the frozen")
    print("aggregate. Grams: matrices alive at once in batch x channels^2 floats, with the frozen.")
    report(f"gram_{arguments.precision}", rows, arguments.write)


if __name__ == "__main__":
    main(sys.argv[1:])
