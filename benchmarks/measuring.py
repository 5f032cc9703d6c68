"""What the benchmarks share: interleaved timing, medians, the hardware's name, table and JSON."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS_FOLDER = Path(__file__).resolve().parent / "results"


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


def report(name: str, rows: Sequence[Mapping[str, Any]], write: bool) -> None:
    """Print hardware, table and JSON; with write, also keep the JSON under results/."""
    machine = hardware()
    content = {"benchmark": name, "hardware": machine, "rows": list(rows)}
    print(json.dumps(machine))
    columns = list(rows[0])
    cells = [columns, *([_shown(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    text = json.dumps(content, indent=1)
    if write:
        RESULTS_FOLDER.mkdir(exist_ok=True)
        where = str(machine.get("gpu") or machine["processor"]).replace(" ", "_")
        path = RESULTS_FOLDER / f"{name}_{where}.json"
        path.write_text(text + "\n", encoding="utf-8")
        print(f"wrote {path}")
    else:
        print(text)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
