"""A sweep: seconds between the trainings of two instances, and how soon --list and --check answer.

python -m benchmarks.sweep --sizes demo full
"""

import argparse
import contextlib
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import experiments_manager
from benchmarks.measuring import interleaved, report
from benchmarks.stopwatch import Laps, Stopwatch
from benchmarks.synthetic import Workplace
from config.settings import PROJECT_FOLDER

NUM_FRAMES, NUM_BINS, NUM_CLASSES = 126, 129, 10
FRACTIONS = (0.6, 0.2, 0.2)
EXTRACTOR, LAYER = "noisyspeech", 13
NUM_CLIPS = 10_000
# Of the paper: a baseline's data, anti-transfer, and dual anti-transfer from its best run.
CHECKED_EXPERIMENTS, CHECKED_DATASET = "[28,31,34]", "gsc_randsplit"
CHECKED_EXTRACTORS = ("noisyspeech", "iemocap_1sec")


@dataclass(frozen=True)
class Size:
    """A width of the network, and how much it is trained on between two gaps."""

    width: float
    num_examples: int
    batch_size: int
    num_instances: int


# The demo's network and data; and VGG16, whose 134 million parameters are built and written.
SIZES = {"demo": Size(1 / 16, 800, 30, 5), "full": Size(1.0, 24, 8, 4)}
DEMO_EPOCHS = 10


def sweeps(size: Size) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Of each kind of sweep, its [training_defaults], and what changes among its instances."""
    against = {"anti_transfer": True, "at_dataset": EXTRACTOR}
    layers = ", ".join(str(LAYER - number) for number in range(size.num_instances))
    return {
        "baseline, seeds": ({}, {"repeat": size.num_instances}),
        f"anti-transfer at {LAYER}, seeds": (
            {**against, "at_layer": LAYER},
            {"repeat": size.num_instances},
        ),
        "anti-transfer, layers": (against, {"at_layer": layers}),
    }


def measure_gaps(name: str, gpu: int, demo_seconds: float | None) -> list[dict[str, Any]]:
    """A row for each sweep of a size; medians over its gaps.

    Args:
        demo_seconds: what an instance of the demo takes; None: it is measured, for its own size.
    """
    size, rows = SIZES[name], []
    one_epoch = {"width": size.width, "batch_size": size.batch_size, "num_epochs": 1}
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder), "tiny", NUM_CLASSES, FRACTIONS)
        place.write_config({**one_epoch, "train_metrics": "running"})
        place.write_matrices(size.num_examples, NUM_FRAMES, NUM_BINS)
        place.write_extractor(EXTRACTOR, size.width, NUM_CLASSES, 1)
        if name != "demo":
            demo_seconds = None
        elif demo_seconds is None:
            demo_seconds = seconds_of_demo(place, gpu)
        for number, (title, sweep) in enumerate(sweeps(size).items(), start=1):
            place.write_experiment(number, *sweep)
            laps = run(place.words(number, gpu))
            row = {"size": name, "width": size.width, "sweep": title}
            rows.append({**row, **figures(laps, demo_seconds)})
    return rows


def seconds_of_demo(place: Workplace, gpu: int) -> float:
    """One instance with as many examples and epochs as an instance of make demo."""
    place.write_experiment(99, {}, {})
    epochs = ["--set", f"num_epochs={DEMO_EPOCHS}", "--set", "early_stopping=False"]
    (laps,) = run([*place.words(99, gpu), *epochs])
    return laps.written - laps.begun


def run(words: Sequence[str]) -> list[Laps]:
    """What experiments_manager.py does, unseen; returns when its instances did what.

    Raises:
        RuntimeError: it failed, with all that it said.
    """
    said = io.StringIO()
    arguments = experiments_manager.build_parser().parse_intermixed_args(words)
    silence = (contextlib.redirect_stdout(said), contextlib.redirect_stderr(said))
    with silence[0], silence[1], Stopwatch() as stopwatch:
        code = experiments_manager.main(arguments)
    if code:
        raise RuntimeError(said.getvalue())
    return stopwatch.instances


def parts_of_gap(before: Laps, after: Laps) -> dict[str, float]:
    """The time from an instance's last batch to the next one's first, in s."""
    return {
        "test figures": before.measured - before.trained,
        "files": before.written - before.measured,
        "spreadsheet": after.begun - before.written,
        "frozen features": after.seconds_of_features,
        "set-up": after.first_batch - after.begun - after.seconds_of_features,
    }


def figures(laps: Sequence[Laps], demo_seconds: float | None) -> dict[str, Any]:
    """Medians over the gaps, and their share of an instance.

    Lost is what is no part of any instance's result: its figures and its frozen features are.
    """
    gaps = [parts_of_gap(*pair) for pair in itertools.pairwise(laps)]
    between = statistics.median(sum(gap.values()) for gap in gaps)
    lost = statistics.median(gap["files"] + gap["spreadsheet"] + gap["set-up"] for gap in gaps)
    instance = statistics.median(each.written - each.begun for each in laps)
    parts = {f"{part} s": statistics.median(gap[part] for gap in gaps) for part in gaps[0]}
    return {
        "gaps": len(gaps),
        "instance s": instance,
        "between s": between,
        **parts,
        "lost s": lost,
        "lost / instance": lost / instance,
        "demo s": demo_seconds or "-",
        "between / demo": between / demo_seconds if demo_seconds else "-",
        "lost / demo": lost / demo_seconds if demo_seconds else "-",
    }


@dataclass
class Command:
    """A command of python that notes the processor time of each of its runs, in s."""

    words: Sequence[str]
    environment: Mapping[str, str]
    processor_seconds: list[float] = field(default_factory=list)

    def __call__(self) -> None:
        before = os.times()
        command = [sys.executable, *self.words]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)
        after = os.times()
        seconds = after.children_user - before.children_user
        self.processor_seconds.append(seconds + after.children_system - before.children_system)


def measure_start(repetitions: int) -> list[dict[str, Any]]:
    """Seconds that commands take in processes of their own, beside a bare Python's."""
    manager, width = str(PROJECT_FOLDER / "experiments_manager.py"), SIZES["demo"].width
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder), CHECKED_DATASET, NUM_CLASSES)
        place.write_config({"width": width})
        place.write_matrices(NUM_CLIPS, 2, NUM_CLASSES)
        for extractor in CHECKED_EXTRACTORS:
            place.write_extractor(extractor, width, NUM_CLASSES, NUM_CLIPS)
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(place.folder / "pyc")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        check = [manager, "--check", CHECKED_EXPERIMENTS, *place.config]
        words = {
            "python -c pass": ["-c", "pass"],
            "--list": [manager, "--list"],
            "--list, data there": [manager, "--list", *place.config],
            f"--check {CHECKED_EXPERIMENTS}": check,
        }
        commands = {name: Command(each, environment) for name, each in words.items()}
        times = interleaved(commands, repetitions)
    return [
        {
            "command": name,
            "repetitions": repetitions,
            "median s": statistics.median(seconds),
            "least s": min(seconds),
            # Where others use the machine as well, this is closer to what the command needs.
            "processor s": statistics.median(commands[name].processor_seconds[-repetitions:]),
        }
        for name, seconds in times.items()
    ]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--demo-seconds", type=float, help="of an instance; default: measure it")
    parser.add_argument("--gpu", type=int, default=0 if torch.cuda.is_available() else -1)
    parser.add_argument("--repetitions", type=int, default=7, help="of each command's start")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    arguments = parser.parse_args()
    rows = [
        row
        for name in arguments.sizes
        for row in measure_gaps(name, arguments.gpu, arguments.demo_seconds)
    ]
    if rows:
        report("sweep", rows, arguments.write)
    report("start_up", measure_start(arguments.repetitions), arguments.write)


if __name__ == "__main__":
    main()
