"""What the benchmarks share: interleaved timing, the device's own rate, table and JSON."""

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.provenance import processor

if TYPE_CHECKING:
    import torch

RESULTS_FOLDER = Path(__file__).resolve().parent / "results"
MATRIX_SIZES = {"cuda": (4096, 8192, 16384), "cpu": (512, 1024, 2048)}
SECONDS_OF_PRODUCTS = 0.2


def hardware() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    description: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        description["gpu"] = torch.cuda.get_device_name()
    return description


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


@dataclass(frozen=True)
class Product:
    """A product of square matrices, repeated so that it takes long enough to be timed.

    Attributes:
        operations: floating-point additions and multiplications of a run.
    """

    run: Callable[[], object]
    operations: int


def fastest_product(device: "torch.device", numbers: str) -> Product:
    """Find the size of which a device multiplies matrices at the highest rate.

    To be timed beside what it is compared with: the rate of a machine that others use changes.

    Args:
        numbers: float32, bfloat16 or, on a GPU, tf32.
    """
    rates, found = {}, {}
    for size in MATRIX_SIZES[device.type]:
        one = _product(size, numbers, device)
        (first,) = interleaved({"one": one}, repetitions=1)["one"]
        count = math.ceil(SECONDS_OF_PRODUCTS / first)
        found[size] = Product(_repeated(one, count), 2 * size**3 * count)
        (seconds,) = interleaved({"all": found[size].run}, repetitions=1, warm_up=0)["all"]
        rates[size] = found[size].operations / seconds
    return found[max(rates, key=lambda size: rates[size])]


def _product(size: int, numbers: str, device: "torch.device") -> Callable[[], object]:
    import torch

    dtype = torch.bfloat16 if numbers == "bfloat16" else torch.float32
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    result = torch.empty_like(one)

    def run() -> None:
        torch.set_float32_matmul_precision("high" if numbers == "tf32" else "highest")
        torch.mm(one, other, out=result)
        torch.set_float32_matmul_precision("highest")

    return run


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
