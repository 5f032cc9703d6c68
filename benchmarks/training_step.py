"""A training step with and without anti-transfer, and how near it comes to the device's own rate.

python -m benchmarks.training_step --width 0.125 --batch-size 30 --layers 1 13
python -m benchmarks.training_step --device cuda --precisions bf16 fp32 --write
python -m benchmarks.training_step --compare-memory 5    what config/process.py changes, on a CPU
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import Product, fastest_product, interleaved, median_ratio, report
from config.process import keep_freed_memory
from config.text import PROJECT_FOLDER
from training import AntiTransferLoss
from training.data.batches import Batch
from training.engine.devices import choose_precision
from training.engine.optimizers import build_optimizer
from training.methods.product_of_experts import ProductOfExperts
from training.models.loading import to_device
from training.models.vgg import CONVOLUTION_INDICES, VGG16

NUM_CLASSES, LEARNING_RATE = 10, 5e-5
KINDS = ("plain", "anti_transfer", "cached")
RATIOS = (
    ("anti_transfer", "plain"),
    ("cached", "plain"),
    ("product_of_experts", "plain"),
    ("released", "anti_transfer"),
    ("released", "cached"),
)
Step = Callable[[], object]


class Bench:
    """Networks, optimizers and a batch, built once for all layers."""

    def __init__(self, arguments: argparse.Namespace, precision: str) -> None:
        self.device = torch.device(arguments.device)
        self.precision = precision
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=precision == "bf16"
        )
        self.width: float = arguments.width
        shape = (arguments.batch_size, 1, arguments.frames, arguments.bins)
        self.inputs = torch.randn(shape, device=self.device)
        self.labels = torch.arange(arguments.batch_size, device=self.device) % NUM_CLASSES
        self._batch = Batch(self.inputs, self.labels, torch.arange(arguments.batch_size))
        beyond_prior = torch.randn(arguments.batch_size, NUM_CLASSES, device=self.device)
        self._product = ProductOfExperts(beyond_prior)
        self.frozen = self.network()
        self.tapped = self.network()
        self._untapped = self.network()
        self._optimizers = {
            model: build_optimizer("adam", model.parameters(), LEARNING_RATE, 0.0)
            for model in (self.tapped, self._untapped)
        }

    def network(self) -> VGG16:
        """A network with random weights, where and how a training has it."""
        return to_device(VGG16(NUM_CLASSES, width=self.width), self.device)

    def plain_step(self) -> None:
        """Task loss alone."""
        self._step(self._untapped, lambda: 0.0)

    def steps(self, penalty: AntiTransferLoss, layer: int) -> dict[str, Step]:
        """What is compared at a layer, for an open penalty."""
        with self.autocast:
            kept = penalty.frozen_aggregates(self.inputs)
        released = ReleasedStep(self, layer)
        return {
            "plain": self.plain_step,
            "anti_transfer": lambda: self._step(self.tapped, lambda: penalty(self.inputs)),
            "cached": lambda: self._step(self.tapped, lambda: penalty.penalty(kept)),
            "product_of_experts": lambda: self._step(
                self._untapped,
                lambda: 0.0,
                lambda logits: self._product.adjust(logits, self._batch),
            ),
            "released": released.run,
        }

    def _step(
        self,
        model: VGG16,
        at_loss: Callable[[], Tensor | float],
        adjust: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        optimizer = self._optimizers[model]
        optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            logits = model(self.inputs)
            loss = cross_entropy(adjust(logits.float()), self.labels) + at_loss()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


class ReleasedStep:
    """A step as the released code makes it, written anew for this comparison.

    A second forward pass for the features, a frozen pass with gradient, a Gram matrix over batch
    and channels together, and torch's optimizer as it is by default.
    """

    def __init__(self, bench: Bench, layer: int) -> None:
        self._bench = bench
        self._depth = CONVOLUTION_INDICES[layer - 1] + 2
        self._model, self._frozen = (
            VGG16(NUM_CLASSES, width=bench.width).to(bench.device) for _ in range(2)
        )
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE)

    def run(self) -> None:
        """Make the step."""
        bench = self._bench
        self._optimizer.zero_grad(set_to_none=True)
        with bench.autocast:
            logits = self._model(bench.inputs)
            current = _batch_gram(self._model.features[: self._depth](bench.inputs))
            other = _batch_gram(self._frozen.features[: self._depth](bench.inputs))
        similarity = cosine_similarity(current, other, dim=-1).abs().mean() ** 2
        loss = cross_entropy(logits.float(), bench.labels) + similarity
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


def _batch_gram(activation: Tensor) -> Tensor:
    rows = activation.float().flatten(0, 1).flatten(1)
    return rows @ rows.T / activation.numel()


def measure_layer(bench: Bench, layer: int, repetitions: int, product: Product) -> dict[str, Any]:
    """Compare the kinds of step at one layer.

    Returns:
        A row of the table. The share is of the rate of products in the step's own numbers.
    """
    batch_size = len(bench.inputs)
    with AntiTransferLoss(bench.tapped, bench.frozen, [layer]) as penalty:
        steps = bench.steps(penalty, layer)
        operations = {kind: count_operations(steps[kind]) for kind in KINDS}
        times = interleaved({**steps, "product": product.run}, repetitions)
    row: dict[str, Any] = {"layer": layer, "precision": bench.precision}
    for kind in steps:
        row[f"{kind} examples/s"] = batch_size / statistics.median(times[kind])
    for one, other in RATIOS:
        row[f"{one}/{other}"] = median_ratio(times, one, other)
    for kind, count in operations.items():
        row[f"{kind} share"] = count / product.operations * median_ratio(times, "product", kind)
    rate = product.operations / statistics.median(times["product"]) / 1e12
    return row | {"product TFLOP/s": rate}


def numbers_of_step(precision: str, device: torch.device) -> str:
    """Name what nearly all of a step is computed in: a GPU's convolutions of float32 take TF32."""
    if precision == "bf16":
        return "bfloat16"
    return "tf32" if device.type == "cuda" else "float32"


def count_operations(step: Step) -> int:
    """Count the floating-point operations of a step's convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def plain_steps(bench: Bench, repetitions: int) -> dict[str, float]:
    """Measure steps without a penalty: seconds and page faults of one, share of the rate."""
    operations = count_operations(bench.plain_step)
    (seconds,) = interleaved({"plain": bench.plain_step}, repetitions).values()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bench.plain_step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    # Not before the steps: by default glibc keeps more memory after large blocks were freed.
    product = fastest_product(bench.device, numbers_of_step(bench.precision, bench.device))
    (of_product,) = interleaved({"product": product.run}, repetitions).values()
    step, whole = statistics.median(seconds), statistics.median(of_product)
    return {
        "seconds": step,
        "page faults": faults,
        "share": operations / product.operations * whole / step,
    }


def compare_memory(words: list[str], rounds: int) -> list[dict[str, Any]]:
    """Compare steps in processes that keep freed memory with steps in processes that do not.

    Args:
        words: options of this command for all processes.
        rounds: in each, one process of either kind.
    """
    found: dict[str, list[dict[str, float]]] = {"kept": [], "default": []}
    for _ in range(rounds):
        for memory, runs in found.items():
            command = [sys.executable, "-m", "benchmarks.training_step", *words]
            done = subprocess.run(
                [*command, "--plain-alone", memory],
                cwd=PROJECT_FOLDER,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            runs.append(json.loads(done.stdout))
    times = {memory: [run["seconds"] for run in runs] for memory, runs in found.items()}
    return [
        {
            "memory": memory,
            "time / default": median_ratio(times, memory, "default"),
            **{key: statistics.median(run[key] for run in runs) for key in runs[0]},
        }
        for memory, runs in found.items()
    ]


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=float, default=1.0, help="of the network; 1: VGG16")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--frames", type=int, default=126, help="126: 1 s, 501: 4 s, 751: 6 s")
    parser.add_argument("--bins", type=int, default=129)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 5, 9, 13])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precisions", choices=["fp32", "bf16"], nargs="+", help="default: auto")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    parser.add_argument("--compare-memory", type=int, metavar="ROUNDS", default=0)
    parser.add_argument("--plain-alone", choices=["kept", "default"], help=argparse.SUPPRESS)
    return parser


def main(words: list[str]) -> None:
    """Measure and report."""
    arguments = build_parser().parse_args(words)
    device = torch.device(arguments.device)
    precisions = arguments.precisions or [choose_precision("auto", device, "classification")]
    name = f"width{arguments.width:g}_batch{arguments.batch_size}"
    name += f"_{arguments.frames}x{arguments.bins}"
    if arguments.plain_alone != "default":
        keep_freed_memory()
    if arguments.compare_memory and not arguments.plain_alone:
        rows = compare_memory(words, arguments.compare_memory)
        report(f"memory_{name}", rows, arguments.write)
        return
    rows = []
    for precision in precisions:
        bench = Bench(arguments, precision)
        if arguments.plain_alone:
            print(json.dumps(plain_steps(bench, arguments.repetitions)))
            return
        product = fastest_product(device, numbers_of_step(precision, device))
        for layer in arguments.layers:
            rows.append(measure_layer(bench, layer, arguments.repetitions, product))
    print("share: by a step's convolutions and matrix products, of the rate of matrix products")
    report(f"training_step_{name}", rows, arguments.write)


if __name__ == "__main__":
    main(sys.argv[1:])
