"""A training step: plain, with anti-transfer, with cached frozen features, as the release does it.

python -m benchmarks.training_step --width 0.125 --batch-size 30 --layers 1 13
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gram import LiveMemory
from benchmarks.measuring import interleaved, median_ratio, report
from training.data.batches import Batch, ExampleSet, Normalization
from training.data.frozen_cache import FeatureStore
from training.engine.devices import build_accelerator, choose_precision, compiled
from training.engine.step import Learner, build_optimizer, training_step
from training.methods.anti_transfer import AntiTransferLoss
from training.models.networks import placed
from training.models.vgg import CONVOLUTION_INDICES, VGG16

NUM_CLASSES, LEARNING_RATE, NUM_BATCHES = 10, 5e-5, 2
Step = Callable[[], object]


class ReleasedStep:
    """A step as the released code makes it, written anew for this comparison.

    A second forward pass for the features, a frozen pass with gradient, a Gram matrix over batch
    and channels together, and torch's optimizer as it is by default.
    """

    def __init__(self, width: float, device: torch.device, precision: str) -> None:
        self.model = VGG16(NUM_CLASSES, width=width).to(device)
        self.frozen = VGG16(NUM_CLASSES, width=width).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    def run(self, batch: Batch, layer: int) -> None:
        """One step."""
        depth = CONVOLUTION_INDICES[layer - 1] + 2
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            logits = self.model(batch.inputs)
            current = _batch_gram(self.model.features[:depth](batch.inputs))
            other = _batch_gram(self.frozen.features[:depth](batch.inputs))
        similarity = functional.cosine_similarity(current, other, dim=-1).abs().mean() ** 2
        loss = functional.cross_entropy(logits.float(), batch.labels) + similarity
        torch.autograd.backward(loss)
        self.optimizer.step()


def _batch_gram(activation: Tensor) -> Tensor:
    rows = activation.float().flatten(0, 1).flatten(1)
    return rows @ rows.T / activation.numel()


class Bench:
    """Networks, optimizers and examples, built once for all layers of a precision."""

    def __init__(self, arguments: argparse.Namespace, precision: str) -> None:
        self.device = torch.device(arguments.device)
        self.precision = precision
        self.batch_size: int = arguments.batch_size
        self.width: float = arguments.width
        self.compile: bool = arguments.compile
        self.accelerator = build_accelerator(self.device, precision, "none", Path("unused"))
        self.examples = self._examples(arguments.frames, arguments.bins)
        self.batch = next(self.examples.batches(self.batch_size))
        self.frozen = placed(VGG16(NUM_CLASSES, width=self.width), self.device)
        self.plain = self.learner([])
        self.tapped = self.learner([])
        self.released = ReleasedStep(self.width, self.device, precision)
        is_other = precision != "fp32"
        self.released_fp32 = ReleasedStep(self.width, self.device, "fp32") if is_other else None

    def _examples(self, num_frames: int, num_bins: int) -> ExampleSet:
        generator = np.random.default_rng(0)
        count = NUM_BATCHES * self.batch_size
        predictors = generator.standard_normal((count, num_frames, num_bins)).astype(np.float32)
        target = generator.integers(NUM_CLASSES, size=count)
        return ExampleSet(
            predictors, target, np.arange(count), Normalization(0.0, 1.0), self.device
        )

    def learner(self, penalties: list[AntiTransferLoss]) -> Learner:
        """A network of its own as training/engine/folds.py builds it."""
        model = placed(VGG16(NUM_CLASSES, width=self.width), self.device)
        optimizer = build_optimizer("adam", model.parameters(), LEARNING_RATE, 0.0)
        prepared, optimizer = self.accelerator.prepare(model, optimizer)
        return Learner(prepared, optimizer, penalties, self.accelerator, "classification")

    def steps(self, penalty: AntiTransferLoss, layer: int) -> dict[str, Step]:
        """What is compared, for an open penalty."""
        store = FeatureStore("auto", Path("unused"), self.device)
        kept = store.features(
            penalty, {"training": self.examples}, "random", self.precision, self._autocast
        )
        tapped = self.tapped
        computed = Learner(
            tapped.model, tapped.optimizer, [penalty], self.accelerator, "classification"
        )
        cached = Learner(
            tapped.model, tapped.optimizer, [penalty], self.accelerator, "classification", [kept]
        )
        steps: dict[str, Step] = {
            "plain": lambda: training_step(self.plain, self.batch),
            "anti_transfer": lambda: training_step(computed, self.batch),
            "cached": lambda: training_step(cached, self.batch),
            "released": lambda: self.released.run(self.batch, layer),
        }
        released_fp32 = self.released_fp32
        if released_fp32 is not None:
            steps["released fp32"] = lambda: released_fp32.run(self.batch, layer)
        if self.compile:
            steps |= self._compiled_steps(cached)
        return steps

    def _compiled_steps(self, cached: Learner) -> dict[str, Step]:
        """The plain and the cached step through torch.compile, each warmed up with its own graph.

        Graphs are kept apart by the check for hooks, which torch leaves out by default.
        """
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        model = compiled(cached.model, self.device)
        plain = Learner(
            torch.compile(self.plain.model),  # type: ignore[arg-type]
            self.plain.optimizer,
            [],
            self.accelerator,
            "classification",
        )
        tapped = Learner(
            model,
            cached.optimizer,
            cached.penalties,
            self.accelerator,
            "classification",
            cached.frozen_features,
        )
        return {
            "compiled plain": lambda: training_step(plain, self.batch),
            "compiled cached": lambda: training_step(tapped, self.batch),
        }

    def _autocast(self) -> Any:
        return self.accelerator.autocast()


def measure_layer(bench: Bench, layer: int, repetitions: int) -> dict[str, Any]:
    """Medians of the kinds of step at one layer."""
    with AntiTransferLoss(bench.tapped.model, bench.frozen, [layer]) as penalty:
        steps = bench.steps(penalty, layer)
        times = interleaved(steps, repetitions)
        memory = {name: peak_gigabytes(run, bench) for name, run in steps.items()}
    row: dict[str, Any] = {"layer": layer, "precision": bench.precision}
    for name, seconds in times.items():
        row[f"{name} examples/s"] = bench.batch_size / statistics.median(seconds)
    row |= _ratios(times)
    for name, gigabytes in memory.items():
        row[f"{name} GB"] = gigabytes
    return row


def _ratios(times: Mapping[str, list[float]]) -> dict[str, float]:
    pairs = [
        ("anti_transfer", "plain"),
        ("cached", "plain"),
        ("released", "anti_transfer"),
        ("released", "cached"),
        ("released fp32", "cached"),
        ("plain", "compiled plain"),
        ("cached", "compiled cached"),
    ]
    return {
        f"{one}/{other}": median_ratio(times, one, other)
        for one, other in pairs
        if one in times and other in times
    }


def peak_gigabytes(step: Step, bench: Bench) -> float:
    """Peak of what a step allocates beyond weights, optimizer states and examples."""
    if bench.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        peak = torch.cuda.max_memory_allocated()
        return float(peak - before) / 1e9
    with LiveMemory([], []) as live:
        step()
    return float(live.peak_bytes) / 1e9


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--frames", type=int, default=126, help="126: 1 s, 501: 4 s, 751: 6 s")
    parser.add_argument("--bins", type=int, default=129)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 5, 9, 13])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="also where it is not the default")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    return parser


def main() -> None:
    """Measure and report."""
    arguments = build_parser().parse_args()
    default = choose_precision("auto", torch.device(arguments.device))
    precisions = ["fp32", "bf16"] if arguments.bf16 or default == "bf16" else ["fp32"]
    rows = []
    for precision in precisions:
        bench = Bench(arguments, precision)
        rows += [measure_layer(bench, layer, arguments.repetitions) for layer in arguments.layers]
    print("GB: peak of what a step allocates beyond weights, optimizer states and examples")
    name = f"training_step_width{arguments.width:g}_batch{arguments.batch_size}"
    name += f"_{arguments.frames}x{arguments.bins}"
    report(name, rows, arguments.write)


if __name__ == "__main__":
    main()
