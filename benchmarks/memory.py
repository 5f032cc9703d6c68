"""Peak memory of real trainings against the estimate made before, each in a process of its own.

python -m benchmarks.memory --largest-width 0.5 --write
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.measuring import report
from config.settings import PROJECT_FOLDER, load_settings
from training.engine.memory import GIGABYTE, MemoryEstimate, TrainingPlan, estimate_memory

if TYPE_CHECKING:
    from training.engine.folds import Fold

NUM_BINS, NUM_CLASSES = 129, 10
# The first of which leaves the optimizer's state to the others; a batch each.
NUM_EPOCHS = 3
NUM_EVALUATED = 1


@dataclass(frozen=True)
class Case:
    """A training to measure; layer None: without a penalty."""

    width: float
    batch_size: int
    num_frames: int
    layer: int | None = None
    aggregation: str = "gram"
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    precision: Literal["fp32", "bf16"] = "fp32"
    gpu: int = -1

    @property
    def plan(self) -> TrainingPlan:
        """What the estimate is made of."""
        num_values = sum(self.examples.values()) * self.num_frames * NUM_BINS
        return TrainingPlan(
            width=self.width,
            num_classes=NUM_CLASSES,
            num_frames=self.num_frames,
            num_bins=NUM_BINS,
            device="cpu" if self.gpu < 0 else "cuda",
            precision=self.precision,
            has_bf16_units=self.gpu >= 0,
            optimizer=self.optimizer,
            layers=() if self.layer is None else ((self.layer,),),
            aggregation=self.aggregation,
            kept_bytes=4 * num_values,
        )

    @property
    def examples(self) -> dict[str, int]:
        """Number of examples in each set."""
        return {
            "training": self.batch_size,
            "validation": NUM_EVALUATED,
            "test": NUM_EVALUATED,
        }

    @property
    def estimate(self) -> MemoryEstimate:
        """What `--check` would show, with the examples of this measurement."""
        return estimate_memory(self.plan, self.batch_size)


CASES = (
    *(Case(1 / 8, 30, 126, layer) for layer in (None, 1, 7, 13)),
    *(Case(1 / 8, 30, 501, layer) for layer in (None, 1, 13)),
    *(Case(1 / 8, 30, 126, 1, aggregation) for aggregation in ("gram_batch", "none", "pairwise")),
    *(Case(1 / 8, 30, 126, optimizer=optimizer) for optimizer in ("sgd", "rmsprop")),
    Case(1 / 8, 2, 126, 13),
    *(Case(1 / 4, 30, 126, layer) for layer in (None, 1, 7, 13)),
    Case(1 / 4, 16, 751, 7),
    *(Case(1 / 2, 4, 501, layer) for layer in (None, 1, 7, 13)),
    *(Case(1.0, 4, 126, layer) for layer in (None, 1, 7, 13)),
    Case(1.0, 1, 126),
    Case(1.0, 2, 501, 13),
)


def train(case: Case) -> dict[str, int]:
    """Train as an experiment does, in this process; returns bytes of the program and at the peak.

    The program is what a training of next to nothing needs.
    """
    from training.engine.devices import choose_device

    device = choose_device(case.gpu)
    _train(replace(case, width=1 / 64, batch_size=1, num_frames=32, layer=None), device)
    program = _peak_bytes(device)
    _train(case, device)
    return {"program": program, "peak": _peak_bytes(device)}


def _train(case: Case, device: Any) -> None:
    from torch import nn

    from training.engine.fit import FitOptions, Streams
    from training.engine.folds import train_fold
    from training.methods.anti_transfer import AntiTransferLoss
    from training.models.networks import build_network, placed

    training = load_settings(
        overrides={"choose_optimizer": case.optimizer, "precision": case.precision}
    ).training_defaults
    streams = Streams.from_seed(0, 0)
    model = placed(build_network(NUM_CLASSES, case.width, streams), device)
    penalties = []
    if case.layer is not None:
        frozen = placed(build_network(NUM_CLASSES, case.width, Streams.from_seed(1, 0)), device)
        frozen.classifier = nn.Sequential()
        penalties = [AntiTransferLoss(model, frozen, [case.layer], case.aggregation)]
    options = FitOptions(NUM_EPOCHS, case.batch_size, patience=None, train_metrics="running")
    with tempfile.TemporaryDirectory() as folder:
        fold = _random_fold(case, device)
        train_fold(model, penalties, fold, options, training, streams, Path(folder), "memory")


def _random_fold(case: Case, device: Any) -> "Fold":
    import numpy as np

    from training.data.batches import ExampleSet, Normalization
    from training.engine.folds import Fold

    generator = np.random.default_rng(0)
    sets = {}
    for name, count in case.examples.items():
        shape = (count, case.num_frames, NUM_BINS)
        predictors = generator.random(shape, dtype=np.float32)
        target = generator.integers(NUM_CLASSES, size=count)
        normalization = Normalization(0.5, 0.3)
        sets[name] = ExampleSet(predictors, target, np.arange(count), normalization, device)
        del predictors
    return Fold(sets, {name: [] for name in sets}, normalization, "random")


def _peak_bytes(device: Any) -> int:
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        of_context = total - free - torch.cuda.memory_reserved(device)
        return of_context + torch.cuda.max_memory_reserved(device)
    status = Path("/proc/self/status")
    if status.exists():
        line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    # Only where there is no /proc: on Linux this starts at the peak of the process that started us.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measured(case: Case) -> dict[str, int]:
    """What `train` finds in a process that did nothing before."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--case", json.dumps(asdict(case))],
        cwd=PROJECT_FOLDER,
        env={**os.environ, "TQDM_DISABLE": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(case: Case) -> dict[str, Any]:
    """One line of the table; beyond program: without what the libraries take alone."""
    figures, estimate = measured(case), case.estimate
    expected_beyond = estimate.without(["program"])
    return {
        "width": case.width,
        "batch": case.batch_size,
        "frames x bins": f"{case.num_frames} x {NUM_BINS}",
        "layer": case.layer or "-",
        "aggregation": case.aggregation if case.layer else "-",
        "optimizer": case.optimizer,
        "precision": case.precision,
        "estimate GB": estimate.total / GIGABYTE,
        "measured GB": figures["peak"] / GIGABYTE,
        "estimate/measured": estimate.total / figures["peak"],
        "beyond program": expected_beyond / (figures["peak"] - figures["program"]),
    }


def _chosen(arguments: argparse.Namespace) -> Iterator[Case]:
    for case in CASES:
        if case.width <= arguments.largest_width:
            yield replace(case, gpu=arguments.gpu)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest-width", type=float, default=1.0, help="leave out wider networks")
    parser.add_argument("--gpu", type=int, default=-1, help="number of a GPU; default: the CPU")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure and report; with --case, be one of the processes that are measured."""
    arguments = build_parser().parse_args()
    if arguments.case is not None:
        values: Mapping[str, Any] = arguments.case
        print(json.dumps(train(Case(**values))))
        return
    rows = [compare(case) for case in _chosen(arguments)]
    report("memory", rows, arguments.write)


if __name__ == "__main__":
    main()
