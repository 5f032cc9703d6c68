"""What the benchmarks share: interleaved timing, the device's own rate, table and JSON."""

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

RESULTS_FOLDER = Path(__file__).resolve().parent / "results"
MATRIX_SIZES = {"cuda": (4096, 8192, 16384), "cpu": (512, 1024, 2048)}
SECONDS_OF_PRODUCTS = 0.2


def hardware() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    description: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        description["gpu"] = torch.cuda.get_device_name()
    return description


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def interleaved(
    subjects: Mapping[str, Callable[[], object]], repetitions: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each subject, one after the other in each round, so that noise hits all alike."""
    import torch

    times: dict[str, list[float]] = {name: [] for name in subjects}
    for round_number in range(warm_up + repetitions):
        for name, run in subjects.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_number >= warm_up:
                times[name].append(time.perf_counter() - start)
    return times


def median_ratio(times: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Median time of one subject over that of the other."""
    return statistics.median(times[one]) / statistics.median(times[other])


def matmul_rates(device: "torch.device", repetitions: int = 5) -> dict[str, float]:
    """Measure products of square matrices in each kind of numbers, each of its best size.

    Returns:
        TFLOP/s of float32, bfloat16 and, on a GPU, TF32.
    """
    rates: dict[str, float] = {}
    for size in MATRIX_SIZES[device.type]:
        subjects = _products(size, device)
        first = interleaved(subjects, repetitions=1)
        counts = {name: math.ceil(SECONDS_OF_PRODUCTS / first[name][0]) for name in subjects}
        runs = {name: _repeated(run, counts[name]) for name, run in subjects.items()}
        for name, seconds in interleaved(runs, repetitions, warm_up=0).items():
            rate = 2 * size**3 * counts[name] / statistics.median(seconds) / 1e12
            rates[name] = max(rate, rates.get(name, 0.0))
    return rates


def _products(size: int, device: "torch.device") -> dict[str, Callable[[], object]]:
    import torch

    one, other = (torch.randn(size, size, device=device) for _ in range(2))
    result = torch.empty_like(one)
    one16, other16 = one.bfloat16(), other.bfloat16()
    result16 = torch.empty_like(one16)

    def in_tf32() -> None:
        torch.set_float32_matmul_precision("high")
        torch.mm(one, other, out=result)
        torch.set_float32_matmul_precision("highest")

    subjects: dict[str, Callable[[], object]] = {
        "float32": lambda: torch.mm(one, other, out=result),
        "bfloat16": lambda: torch.mm(one16, other16, out=result16),
    }
    return subjects | ({"tf32": in_tf32} if device.type == "cuda" else {})


def _repeated(run: Callable[[], object], count: int) -> Callable[[], None]:
    """Several runs in a row, which a GPU need not wait for one by one."""

    def run_all() -> None:
        for _ in range(count):
            run()

    return run_all


def report(name: str, rows: Sequence[Mapping[str, Any]], write: bool) -> None:
    """Print hardware and table; with write, keep both as JSON under results/."""
    machine = hardware()
    print(json.dumps(machine))
    columns = list(rows[0])
    cells = [columns, *([_shown(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    if write:
        RESULTS_FOLDER.mkdir(exist_ok=True)
        content = {"benchmark": name, "hardware": machine, "rows": list(rows)}
        text = json.dumps(content, indent=1)
        where = str(machine.get("gpu") or machine["processor"]).replace(" ", "_")
        path = RESULTS_FOLDER / f"{name}_{where}.json"
        path.write_text(text + "\n", encoding="utf-8")
        print(f"wrote {path}")


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
