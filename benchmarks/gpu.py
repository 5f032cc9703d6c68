"""What a GPU reaches: matrix products, training steps, and an experiment at real size.

python -m benchmarks.gpu --write
python -m benchmarks.gpu --parts experiment --rounds 3
"""

import argparse
import gc
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import interleaved, median_ratio, report
from benchmarks.synthetic import Workplace
from benchmarks.training_step import Bench
from config.command_line import CONFIG_VARIABLE, run_command
from config.errors import UserError
from config.json_files import read_json
from config.settings import PROJECT_FOLDER
from config.words import CPU
from training.engine.device_memory import free_bytes
from training.engine.devices import choose_precision
from training.methods.anti_transfer import AntiTransferLoss

Step = Callable[[], object]

PARTS = ("products", "steps", "experiment")
KINDS = ("plain", "anti_transfer", "cached")
SIZES = {"cuda": [2048, 4096, 8192, 16384], "cpu": [256, 512, 1024]}
NUMBERS = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
TF32_CAPABILITY = (8, 0)
DATASET, NUM_CLASSES = "iemocap_randsplit", 4
EXTRACTOR, EXTRACTOR_CLASSES, EXTRACTOR_CLIPS = "librispeech", 1000, 10_000
LAYER = 13
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "anti_transfer": {"anti_transfer": True, "at_dataset": EXTRACTOR, "at_layer": LAYER},
}


@contextmanager
def products_in(numbers: str) -> Iterator[None]:
    """Within the block, products of float32 matrices are computed in float32, or in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if numbers == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def kinds_of_numbers(device: torch.device) -> list[str]:
    """In what a device multiplies matrices."""
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= TF32_CAPABILITY
    return ["float32", *(["tf32"] if has_tf32 else []), "bfloat16"]


def numbers_of_step(precision: str, device: torch.device) -> str:
    """In what nearly all of a step is computed: torch's convolutions in float32 take TF32."""
    if precision == "bf16":
        return "bfloat16"
    has_tf32 = "tf32" in kinds_of_numbers(device)
    return "tf32" if has_tf32 and precision_of_convolutions() == "tf32" else "float32"


def precision_of_convolutions() -> str:
    """How a GPU computes convolutions of float32: tf32, ieee or none."""
    return str(torch.backends.cudnn.conv.fp32_precision)  # type: ignore[attr-defined]


def repeated(step: Step, count: int) -> Step:
    """Several steps in a row, which a GPU need not wait for one by one."""

    def run() -> None:
        for _ in range(count):
            step()

    return run


def product(size: int, numbers: str, device: torch.device) -> Step:
    """A product of two square matrices of random numbers."""
    one, other = (torch.randn(size, size, device=device).to(NUMBERS[numbers]) for _ in range(2))
    result = torch.empty_like(one)

    def run() -> None:
        with products_in(numbers):
            torch.mm(one, other, out=result)

    return run


def measure_products(
    device: torch.device, sizes: Sequence[int], repetitions: int, seconds: float
) -> list[dict[str, Any]]:
    """A row for each kind of numbers: the best size's rate, and that of each size.

    Args:
        seconds: for how long products of one size run in a row, about.

    Raises:
        UserError: all sizes are too large for the device's memory.
    """
    rates: dict[str, dict[int, float]] = {numbers: {} for numbers in kinds_of_numbers(device)}
    for size in sizes:
        if 3 * 4 * len(rates) * size**2 > free_bytes(device) / 2:
            print(f"matrices of {size} x {size} are left out: too large for the memory")
            continue
        products = {numbers: product(size, numbers, device) for numbers in rates}
        first = interleaved(products, repetitions=1)
        counts = {numbers: math.ceil(seconds / first[numbers][0]) for numbers in rates}
        runs = {numbers: repeated(products[numbers], counts[numbers]) for numbers in rates}
        times = interleaved(runs, repetitions, warm_up=0)
        for numbers, count in counts.items():
            operations = 2 * size**3 * count
            rates[numbers][size] = operations / statistics.median(times[numbers]) / 1e12
    if not rates["float32"]:
        raise UserError("--sizes: the memory is too small for all of them")
    return [_best(numbers, found) for numbers, found in rates.items()]


def _best(numbers: str, rates: Mapping[int, float]) -> dict[str, Any]:
    best = max(rates, key=lambda size: rates[size])
    row = {"numbers": numbers, "best size": best, "TFLOP/s": rates[best]}
    return row | {f"at {size}": rate for size, rate in rates.items()}


def count_operations(step: Step) -> int:
    """Floating-point operations of a step's convolutions and matrix products, both passes."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def measure_steps(
    arguments: argparse.Namespace, rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A row for each length of the examples, precision and layer.

    Args:
        rates: of matrix products in each kind of numbers, in TFLOP/s.

    Raises:
        UserError: the device's memory is too small for all of them.
    """
    rows = []
    for num_frames in arguments.frames:
        for precision in arguments.precisions or _precisions(torch.device(arguments.device)):
            try:
                rows += _rows_of_steps(arguments, num_frames, precision, rates)
            except torch.OutOfMemoryError:
                print(
                    f"steps on {num_frames} frames in {precision} are left out: the GPU's memory "
                    "is too small; --batch-size sets a smaller batch",
                    file=sys.stderr,
                )
            release_memory()
    if not rows:
        raise UserError(f"--batch-size {arguments.batch_size}: the GPU's memory is too small")
    return rows


def _precisions(device: torch.device) -> list[str]:
    """The default, and float32."""
    return list(dict.fromkeys([choose_precision("auto", device), "fp32"]))


def _rows_of_steps(
    arguments: argparse.Namespace, num_frames: int, precision: str, rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    options = {**vars(arguments), "frames": num_frames, "compile": False}
    bench = Bench(argparse.Namespace(**options), precision)
    numbers = numbers_of_step(precision, bench.device)
    rows = []
    for layer in arguments.layers:
        row = {"frames": num_frames, "precision": precision, "layer": layer}
        row |= measure_layer(bench, layer, arguments.steps, arguments.repetitions)
        for kind in KINDS:
            reached = row[f"{kind} TFLOP"] / bench.batch_size * row[f"{kind} examples/s"]
            row[f"{kind} share"] = reached / rates[numbers]
        rows.append({**row, "share of": numbers})
    return rows


def measure_layer(bench: Bench, layer: int, num_steps: int, repetitions: int) -> dict[str, Any]:
    """Examples/s, ratios of times and operations of the kinds of step at one layer.

    Args:
        num_steps: are timed together.
    """
    with AntiTransferLoss(bench.tapped.model, bench.frozen, [layer]) as penalty:
        all_steps = bench.steps(penalty, layer)
        steps = {kind: all_steps[kind] for kind in KINDS}
        operations = {kind: count_operations(step) for kind, step in steps.items()}
        runs = {kind: repeated(step, num_steps) for kind, step in steps.items()}
        times = interleaved(runs, repetitions)
    row: dict[str, Any] = {}
    for kind, seconds in times.items():
        row[f"{kind} examples/s"] = num_steps * bench.batch_size / statistics.median(seconds)
    for kind in KINDS[1:]:
        row[f"{kind}/plain"] = median_ratio(times, kind, "plain")
    return row | {f"{kind} TFLOP": count / 1e12 for kind, count in operations.items()}


def release_memory() -> None:
    """Give the GPU's memory back, for what comes next."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def measure_experiment(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for the baseline and for anti-transfer, medians over the rounds.

    Each is one run of experiments_manager.py in a process of its own, which finds the matrices in
    the machine's memory, as they were written just before.
    """
    gpu = CPU if arguments.device == "cpu" else 0
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in EXPERIMENTS}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        place = prepared_workplace(Path(folder), arguments)
        for number in range(1, arguments.rounds + 1):
            for experiment, name in enumerate(EXPERIMENTS, start=1):
                print(f"round {number} of {arguments.rounds}: {name}", file=sys.stderr)
                rounds[name].append(run_experiment(place, experiment, gpu))
    rows = []
    for name, found in rounds.items():
        keys = found[0]
        rows.append({key: _median([each[key] for each in found]) for key in keys})
        for key in ("command s", "epoch s"):
            rows[-1][f"{key} / baseline"] = rows[-1][key] / rows[0][key]
        rows[-1] = {"experiment": name, **rows[-1]}
    return rows


def _median(values: Sequence[Any]) -> Any:
    return "-" if None in values else statistics.median(values)


def prepared_workplace(folder: Path, arguments: argparse.Namespace) -> Workplace:
    """Matrices, extractor and experiment files of the size that the arguments say."""
    place = Workplace(folder, DATASET, NUM_CLASSES)
    training = {
        "width": arguments.width,
        "batch_size": arguments.batch_size,
        "num_epochs": arguments.epochs,
        "early_stopping": False,
    }
    place.write_config(training)
    place.write_matrices(arguments.examples, arguments.experiment_frames, arguments.bins)
    place.write_extractor(EXTRACTOR, arguments.width, EXTRACTOR_CLASSES, EXTRACTOR_CLIPS)
    for number, experiment in enumerate(EXPERIMENTS.values(), start=1):
        place.write_experiment(number, experiment, {})
    return place


def run_experiment(place: Workplace, number: int, gpu: int) -> dict[str, Any]:
    """Run an experiment as a user does; returns its times and peaks of memory.

    Raises:
        UserError: it failed; the text is the last that it said.
    """
    laps_file = place.folder / "laps.json"
    words = [str(laps_file), *place.words(number, gpu), "--overwrite"]
    command = [sys.executable, "-m", "benchmarks.stopwatch", *words]
    environment = {name: text for name, text in os.environ.items() if name != CONFIG_VARIABLE}
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=PROJECT_FOLDER, env=environment, capture_output=True, text=True, check=False
    )
    end = time.monotonic()
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()
        raise UserError(f"the experiment failed with exit code {done.returncode}: {said[-1]}")
    noted = read_json(laps_file)
    (laps,) = noted["instances"]
    epochs = laps["seconds_of_epochs"]
    return {
        "command s": end - start,
        "start-up s": laps["begun"] - start,
        "first batch s": laps["first_batch"] - start,
        "frozen features s": laps["seconds_of_features"],
        "epoch s": statistics.median(epochs),
        **{f"epoch {count} s": seconds for count, seconds in enumerate(epochs, start=1)},
        "final figures s": laps["measured"] - laps["trained"],
        "files s": laps["written"] - laps["measured"],
        "GPU GB": _gigabytes(noted["gpu_bytes"]),
        "process GB": _gigabytes(noted["process_bytes"]),
    }


def _gigabytes(num_bytes: int | None) -> float | None:
    return None if num_bytes is None else num_bytes / 1e9


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--device",
        choices=["cuda", "cpu"],
        default="cuda",
        help="CUDA_VISIBLE_DEVICES chooses among several GPUs",
    )
    parser.add_argument("--width", type=float, default=1.0, help="of the network; 1: VGG16")
    parser.add_argument("--bins", type=int, default=129)
    parser.add_argument("--batch-size", type=int, default=30)
    parser.add_argument("--repetitions", type=int, default=7, help="of products and steps")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    products = parser.add_argument_group("matrix products")
    products.add_argument("--sizes", type=int, nargs="+", help="of the matrices")
    products.add_argument("--seconds", type=float, default=0.1, help="of products timed together")
    steps = parser.add_argument_group("training steps")
    steps.add_argument(
        "--frames",
        type=int,
        nargs="+",
        default=[126, 501, 751],
        help="of the examples; the default is 1, 4 and 6 s",
    )
    steps.add_argument("--layers", type=int, nargs="+", default=[1, 5, 9, 13])
    steps.add_argument(
        "--precisions",
        nargs="+",
        choices=["bf16", "fp32"],
        help="default: what precision = auto takes, and fp32",
    )
    steps.add_argument("--steps", type=int, help="timed together; default: 10 on a GPU, else 1")
    experiment = parser.add_argument_group("experiment")
    experiment.add_argument("--examples", type=int, default=7500, help="of the dataset")
    experiment.add_argument("--experiment-frames", type=int, default=501, help="of its examples")
    experiment.add_argument("--epochs", type=int, default=3)
    experiment.add_argument("--rounds", type=int, default=1, help="baseline and anti-transfer each")
    experiment.add_argument("--folder", type=Path, help="where its files are for the time")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Measure and report."""
    arguments = build_parser().parse_args(words)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: torch sees no GPU here; --device cpu measures the CPU, for which "
            "--width, --frames and --examples should be small"
        )
    arguments.steps = arguments.steps or (10 if arguments.device == "cuda" else 1)
    device = torch.device(arguments.device)
    if "products" in arguments.parts or "steps" in arguments.parts:
        sizes = arguments.sizes or SIZES[arguments.device]
        products = measure_products(device, sizes, arguments.repetitions, arguments.seconds)
        report(f"{device}_products", products, arguments.write)
        release_memory()
    if "steps" in arguments.parts:
        rates = {row["numbers"]: row["TFLOP/s"] for row in products}
        rows = measure_steps(arguments, rates)
        print("TFLOP: of one step's convolutions and matrix products, forward and backward.")
        print("share: of the rate of matrix products in the numbers that the last column names.")
        name = f"{device}_steps_width{arguments.width:g}_batch{arguments.batch_size}"
        report(name, rows, arguments.write)
    if "experiment" in arguments.parts:
        rows = measure_experiment(arguments)
        print("start-up, first batch: from the start of the command, of whose time all are parts.")
        print("process GB: pages of the memory-mapped matrices count. GPU GB: what tensors take.")
        shape = f"{arguments.examples}x{arguments.experiment_frames}x{arguments.bins}"
        report(f"{device}_experiment_width{arguments.width:g}_{shape}", rows, arguments.write)


if __name__ == "__main__":
    run_command(main)
