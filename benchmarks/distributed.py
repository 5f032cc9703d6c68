"""A training step of several processes against one process with the same batch.

torchrun --nproc-per-node 2 -m benchmarks.distributed --device cpu --batch-size 8 --width 0.125
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import median_ratio, report
from config.words import CPU
from training.data.batches import Batch, ExampleSet, Normalization
from training.engine.devices import build_accelerator, choose_precision
from training.engine.distributed import (
    WHOLE,
    Share,
    alone,
    is_main,
    join_processes,
    leave_processes,
    num_local_processes,
    num_processes,
    only_main_speaks,
    own_share,
    wait_for_all,
)
from training.engine.dropout import share_dropout
from training.engine.step import Learner, build_optimizer, listening, training_step
from training.methods.anti_transfer import AntiTransferLoss
from training.models.networks import placed
from training.models.vgg import VGG16

NUM_CLASSES, LEARNING_RATE = 10, 5e-5
Step = Callable[[], object]


class Bench:
    """The same training twice: one of all processes, and one of each process for itself."""

    def __init__(self, arguments: argparse.Namespace, device: torch.device) -> None:
        self.device = device
        self.width: float = arguments.width
        self.batch_size: int = arguments.batch_size
        self.precision = choose_precision(arguments.precision, device)
        self.accelerator = build_accelerator(device, self.precision, "none", Path("unused"))
        self.examples = _examples(arguments, device)
        self.together = self._step(own_share())
        self.by_itself = self._step(WHOLE)

    def _step(self, share: Share) -> Step:
        model = placed(VGG16(NUM_CLASSES, width=self.width), self.device)
        frozen = placed(VGG16(NUM_CLASSES, width=self.width), self.device)
        penalty = AntiTransferLoss(model, frozen, [13])
        optimizer = build_optimizer("adam", model.parameters(), LEARNING_RATE, 0.0)
        prepared: Any = model
        if share.num_processes > 1:
            share_dropout(model)
            prepared, optimizer = self.accelerator.prepare(model, optimizer)
        learner = Learner(prepared, optimizer, [penalty], self.accelerator, "classification")
        batch: Batch = next(self.examples.batches(self.batch_size, share))

        def step() -> None:
            with listening(learner.listeners):
                training_step(learner, batch)

        return step

    def measure(self, repetitions: int) -> dict[str, list[float]]:
        """Seconds of both steps, in turns; while the main process works alone the others wait."""
        times: dict[str, list[float]] = {"together": [], "one process": []}
        for number in range(1 + repetitions):
            together = self._seconds(self.together)
            own = 0.0
            if is_main():
                with alone():
                    own = self._seconds(self.by_itself)
            wait_for_all()
            if number > 0:
                times["together"].append(together)
                times["one process"].append(own)
        return times

    def _seconds(self, step: Step) -> float:
        start = time.perf_counter()
        step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def _examples(arguments: argparse.Namespace, device: torch.device) -> ExampleSet:
    generator = np.random.default_rng(0)
    count: int = arguments.batch_size
    shape = (count, arguments.frames, arguments.bins)
    predictors = generator.standard_normal(shape).astype(np.float32)
    target = generator.integers(NUM_CLASSES, size=count)
    return ExampleSet(predictors, target, np.arange(count), Normalization(0.0, 1.0), device)


def row_of(times: Mapping[str, list[float]], bench: Bench) -> dict[str, Any]:
    """What is reported: examples per second of both, and how many times faster together."""
    return {
        "processes": num_processes(),
        "device": bench.device.type,
        "precision": bench.precision,
        "batch_size": bench.batch_size,
        **{
            f"{name} examples/s": bench.batch_size / statistics.median(seconds)
            for name, seconds in times.items()
        },
        "speedup": median_ratio(times, "one process", "together"),
    }


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=8, help="of all processes together")
    parser.add_argument("--frames", type=int, default=126, help="126: 1 s, 501: 4 s, 751: 6 s")
    parser.add_argument("--bins", type=int, default=129)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    return parser


def main() -> None:
    """Measure and report."""
    arguments = build_parser().parse_args()
    only_main_speaks()
    on_gpus = arguments.device == "cuda"
    device = join_processes(range(num_local_processes()) if on_gpus else [CPU])
    bench = Bench(arguments, device)
    times = bench.measure(arguments.repetitions)
    name = f"distributed_{num_processes()}x{device.type}_width{arguments.width:g}"
    name += f"_batch{arguments.batch_size}_{arguments.frames}x{arguments.bins}"
    if is_main():
        report(name, [row_of(times, bench)], arguments.write)
    leave_processes()


if __name__ == "__main__":
    main()
