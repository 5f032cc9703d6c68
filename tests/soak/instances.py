"""Many tiny instances in one process: what stays behind of each, in memory and in handles.

python -m tests.soak.instances --instances 200
"""

import argparse
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
import torch

from config.experiments import load_experiments
from tests.conftest import Suite
from training.results.loading import ResultReader
from training.sweep.instance import Workshop, run_instance
from training.sweep.runs import Run, files_of
from training.sweep.spreadsheets import Spreadsheets

MEGABYTE = 1 << 20
EXPERIMENT = 1
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech", "num_epochs": 1}
AGGREGATIONS = ("gram", "gram_batch", "mean", "stochastic_pairwise")


@dataclass(frozen=True)
class Sample:
    """What the process holds after an instance; memory in bytes."""

    memory: int
    handles: int
    threads: int
    modules: int
    hooks: int
    figures: int


@dataclass(frozen=True)
class Growth:
    """The mean of the last quarter less that of the second: the first one fills what is kept."""

    memory_megabytes: float
    handles: float
    threads: float
    modules: float
    most_hooks: int
    most_figures: int


def run_instances(num_instances: int, folder: Path) -> list[Sample]:
    """Train so many tiny instances, of all kinds in turn; a sample after each."""
    suite = Suite(folder)
    suite.write_matrices()
    suite.write_extractor()
    repeat = -(-num_instances // (2 * len(AGGREGATIONS)))
    # One seed for all: of other ones some give so narrow a network a dead layer.
    swept = {
        "at_layer": "3, 13",
        "at_aggregation": ", ".join(AGGREGATIONS),
        "regularization_lambda": ", ".join(f"{number * 1e-6:f}" for number in range(repeat)),
    }
    suite.write_experiment(EXPERIMENT, AGAINST_NOISE, swept)
    experiment = load_experiments(suite.experiments, [suite.config])[EXPERIMENT]
    runs = [Run(experiment, each, files_of(experiment, each)) for each in experiment.instances]
    workshop = Workshop(torch.device("cpu"))
    spreadsheets = Spreadsheets(ResultReader())
    process = psutil.Process()
    samples = []
    for run in _mixed(runs, repeat)[:num_instances]:
        run_instance(run.instance, run.files, workshop, run.title)
        spreadsheets.add(run)
        samples.append(sample(process))
    return samples


def _mixed(runs: Sequence[Run], repeat: int) -> list[Run]:
    """All kinds in turn, so that every quarter holds the same."""
    return [run for first in range(repeat) for run in runs[first::repeat]]


def sample(process: psutil.Process) -> Sample:
    """Count what is alive now."""
    gc.collect()
    modules = [each for each in gc.get_objects() if issubclass(type(each), torch.nn.Module)]
    return Sample(
        memory=process.memory_info().rss,
        handles=process.num_fds(),
        threads=process.num_threads(),
        modules=len(modules),
        hooks=sum(map(num_hooks, modules)),
        figures=num_figures(),
    )


def num_hooks(module: torch.nn.Module) -> int:
    """Hooks of all kinds that are registered at a module itself."""
    kinds: list[Any] = [
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    ]
    return sum(map(len, kinds))


def num_figures() -> int:
    """Figures of matplotlib, whoever holds them."""
    if "matplotlib.figure" not in sys.modules:
        return 0
    from matplotlib.figure import Figure

    return sum(issubclass(type(each), Figure) for each in gc.get_objects())


def growth(samples: Sequence[Sample]) -> Growth:
    """From the second to the last quarter."""
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]

    def grown(name: str) -> float:
        first, then = (float(mean(getattr(one, name) for one in part)) for part in (second, last))
        return then - first

    return Growth(
        memory_megabytes=grown("memory") / MEGABYTE,
        handles=grown("handles"),
        threads=grown("threads"),
        modules=grown("modules"),
        most_hooks=max(each.hooks for each in samples),
        most_figures=max(each.figures for each in samples),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars of so many trainings."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def main() -> None:
    """Print what the process holds along the way, and how much that has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=200, help="8 or more")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak."))
    try:
        with quiet():
            samples = run_instances(arguments.instances, folder)
    finally:
        shutil.rmtree(folder)
    print("instance  memory/MB  handles  threads  modules  hooks  figures")
    for number in range(0, len(samples), max(1, len(samples) // 20)):
        one = samples[number]
        print(
            f"{number + 1:>8}  {one.memory / MEGABYTE:>9.1f}  {one.handles:>7}  {one.threads:>7}  "
            f"{one.modules:>7}  {one.hooks:>5}  {one.figures:>7}"
        )
    print(growth(samples))


if __name__ == "__main__":
    main()
