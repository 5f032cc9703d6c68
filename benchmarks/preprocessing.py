"""Clips per second and memory of preprocessing, over cores and over growing corpora.

python -m benchmarks.preprocessing --clips 1000 50000 --repetitions 1 --write

Compared with a loop that takes one clip at a time with librosa and scipy. Every run is a process of
its own; its time starts after the imports and ends when its examples are on the disk.
"""

import argparse
import io
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import report

RATE = 16000
NUM_CLASSES = 10
SILENCE_PEAK = 0.05
ONE_OF_A_KIND = 16  # samples at the start of a clip that no other clip has


@dataclass(frozen=True)
class Run:
    """A corpus to prepare; on 0 cores: with the plain loop."""

    corpus: Sequence[Path]
    seconds: float
    cores: int


@dataclass(frozen=True)
class Measured:
    """What a run took.

    Attributes:
        seconds: by the clock.
        processor_seconds: of all processors together.
        peak_megabytes: of the largest process.
    """

    seconds: float
    processor_seconds: float
    peak_megabytes: float


def plain_loop(run: Run, output: Path) -> None:
    """The features of the paper's experiments as most scripts would compute them.

    No index, no hashes, no checks of the audio, no restart.
    """
    import librosa
    from scipy.signal import stft

    num_frames = -(-round(run.seconds * RATE) // 128) + 1
    with output.open("wb") as file:
        for path in run.corpus:
            samples, _ = librosa.load(path, sr=RATE)
            if np.abs(samples).max() <= SILENCE_PEAK:
                continue
            _, _, spectrum = stft(samples, window="hamming", nperseg=256, noverlap=128)
            features = np.abs(spectrum).T[:num_frames]
            example = np.zeros((num_frames, features.shape[1]), dtype=np.float32)
            example[: len(features)] = features
            file.write(example.data)
        file.flush()
        os.fsync(file.fileno())


def our_way(run: Run, output: Path) -> None:
    """What a user's script calls."""
    from config.ini_files import load_settings
    from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Clip, Dataset
    from preprocessing.pipeline.extraction import preprocess

    def list_clips(_settings: object) -> list[Clip]:
        return [
            Clip(path, path.name, number % NUM_CLASSES, f"class {number % NUM_CLASSES}", path.name)
            for number, path in enumerate(run.corpus)
        ]

    dataset = Dataset("noise", "benchmark", "benchmark", run.seconds, RANDOM_BY_CLIP, list_clips)
    places = {"output_folder": output, "workers": run.cores}
    preprocess(dataset, load_settings(overrides=places, prefer=("preprocessing",)))


def make_corpus(folder: Path, num_clips: int, seconds: float) -> list[Path]:
    """Files of noise, 16-bit WAV at 16 kHz, no two alike."""
    import soundfile

    generator = np.random.default_rng(0)
    noise = generator.uniform(-0.5, 0.5, round(seconds * RATE))
    corpus = [folder / f"clip{number:06}.wav" for number in range(num_clips)]
    for path in corpus:
        noise[:ONE_OF_A_KIND] = generator.uniform(-0.5, 0.5, len(noise[:ONE_OF_A_KIND]))
        soundfile.write(path, noise, RATE, subtype="PCM_16")
    return corpus


def measure(run: Run) -> Measured:
    """Prepare a corpus in this process and those it starts."""
    import psutil

    with tempfile.TemporaryDirectory(dir=run.corpus[0].parent.parent) as folder:
        output = Path(folder) / "predictors"
        if run.cores:
            from preprocessing.pipeline import extraction  # noqa: F401
        else:
            plain_loop(replace(run, corpus=run.corpus[:2]), output)  # imports librosa
        before = sum(psutil.Process().cpu_times()[:4])
        start = time.perf_counter()
        with redirect_stdout(io.StringIO()):
            (our_way if run.cores else plain_loop)(run, output)
        seconds = time.perf_counter() - start
        processor_seconds = sum(psutil.Process().cpu_times()[:4]) - before
    peaks = [
        resource.getrusage(whose).ru_maxrss
        for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return Measured(seconds, processor_seconds, max(peaks) * 1024 / 1e6)


def measured_apart(run: Run) -> Measured:
    """Measure a run in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, run).result()


def compare(corpus: Sequence[Path], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a line of the table for the plain loop and for each number of cores."""
    runs = {cores: Run(corpus, arguments.seconds, cores) for cores in (0, *arguments.cores)}
    found: dict[int, list[Measured]] = {cores: [] for cores in runs}
    for _ in range(arguments.repetitions):
        for cores, run in runs.items():
            found[cores].append(measured_apart(run))
    speeds = {
        cores: len(corpus) / statistics.median(one.seconds for one in each)
        for cores, each in found.items()
    }
    return [
        {
            "clips": len(corpus),
            "way": f"{cores} core{'s'[: cores > 1]}" if cores else "plain loop",
            "clips/s": speeds[cores],
            "processor ms/clip": 1000
            * statistics.median(one.processor_seconds for one in each)
            / len(corpus),
            "per core / plain loop": speeds[cores] / max(1, cores) / speeds[0],
            "N cores / (N x 1 core)": speeds[cores] / max(1, cores) / speeds[1] if cores else "-",
            "peak MB": max(one.peak_megabytes for one in each),
        }
        for cores, each in found.items()
    ]


def _core_counts() -> list[int]:
    """1, 2, 4, ... and as many as there are."""
    from joblib import cpu_count

    available = int(cpu_count())
    return sorted({available, *(2**power for power in range(available.bit_length()))})


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Speed and peak memory of preprocessing.")
    parser.add_argument("--clips", type=int, nargs="+", default=[500, 2000, 8000])
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a clip")
    parser.add_argument("--cores", type=int, nargs="+", default=_core_counts())
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", help="for corpus and matrices, such as one in memory")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    return parser


def main() -> None:
    """Measure and report."""
    arguments = build_parser().parse_args()
    arguments.cores = sorted({1, *arguments.cores})
    os.environ["TQDM_DISABLE"] = "1"
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        files = Path(folder) / "corpus"
        files.mkdir()
        corpus = make_corpus(files, max(arguments.clips), arguments.seconds)
        for num_clips in arguments.clips:
            rows += compare(corpus[:num_clips], arguments)
    report("preprocessing", rows, arguments.write)


if __name__ == "__main__":
    main()
