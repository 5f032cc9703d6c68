"""benchmarks/preprocessing.py in miniature: both ways compute the same, and what is reported."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import preprocessing as benchmark
from benchmarks.preprocessing import Measured, Run, compare, make_corpus, measure, measured_apart

NUM_CLIPS, SECONDS = 40, 0.3
NUM_FRAMES = 39  # 4,800 samples: 38 hops of 128


@pytest.fixture
def corpus(tmp_path: Path) -> list[Path]:
    """Clips in a folder of their own."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    return make_corpus(folder, NUM_CLIPS, SECONDS)


def test_no_two_clips_are_alike(corpus: list[Path]) -> None:
    assert len(corpus) == NUM_CLIPS
    assert len({path.read_bytes() for path in corpus}) == NUM_CLIPS


def test_both_ways_make_the_same_examples(corpus: list[Path], tmp_path: Path) -> None:
    for cores in (0, 1):
        (tmp_path / str(cores)).mkdir()
        measured = measure(Run(corpus, SECONDS, cores), tmp_path / str(cores))
        assert measured.seconds > 0
        assert measured.processor_seconds > 0
    plain = np.fromfile(tmp_path / "0" / "predictors", dtype=np.float32)
    (path,) = (tmp_path / "1" / "predictors").glob("*_predictors.npy")
    ours = np.load(path)
    assert ours.shape == (NUM_CLIPS, NUM_FRAMES, 129)
    np.testing.assert_allclose(ours, plain.reshape(ours.shape), rtol=1e-6, atol=1e-10)


def test_a_process_of_its_own(corpus: list[Path]) -> None:
    peaks: list[float] = []
    measured = measured_apart(Run(corpus, SECONDS, 2), peaks)
    assert 0 < measured.seconds < 60
    assert 10 < peaks[0] < 10_000
    assert list(corpus[0].parent.parent.iterdir()) == [corpus[0].parent]


def test_ratios(corpus: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain loop takes 8 s, one core 4 s, two cores 2.5 s; the first of three is an outlier."""
    seconds = {0: 8.0, 1: 4.0, 2: 2.5}
    calls: list[tuple[int, bool]] = []

    def fake(run: Run, peaks: list[float] | None = None) -> Measured:
        calls.append((run.cores, peaks is not None))
        if peaks is not None:
            peaks.append(100.0 + run.cores)
        factor = 10 if len(calls) < 7 else 1
        return Measured(factor * seconds[run.cores], 2 * factor * seconds[run.cores])

    monkeypatch.setattr(benchmark, "measured_apart", fake)
    arguments = argparse.Namespace(seconds=SECONDS, cores=[1, 2], repetitions=3)
    plain, one, two = compare(corpus, arguments)
    assert calls[:3] == [(0, True), (1, True), (2, True)]
    assert calls[3:] == [(0, False), (1, False), (2, False)] * 3
    assert [row["way"] for row in (plain, one, two)] == ["plain loop", "1 core", "2 cores"]
    assert [row["clips/s"] for row in (plain, one, two)] == [5, 10, 16]
    assert [row["processor ms/clip"] for row in (plain, one, two)] == [400, 200, 125]
    assert [row["per core / plain loop"] for row in (plain, one, two)] == [1, 2, 1.6]
    assert [row["N cores / (N x 1 core)"] for row in (plain, one, two)] == ["-", 1, 0.8]
    assert [row["peak MB"] for row in (plain, one, two)] == [100, 101, 102]


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One core is measured in any case, as what the others are compared with."""

    def fake(run: Run, peaks: list[float] | None = None) -> Measured:
        if peaks is not None:
            peaks.append(1.0)
        return Measured(len(run.corpus), 1.0)

    monkeypatch.setattr(benchmark, "measured_apart", fake)
    options = "--clips 2 5 --seconds 0.01 --cores 3 --repetitions 1"
    monkeypatch.setattr(sys, "argv", ["preprocessing", *options.split()])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:8]] == ["2", "2", "2", "5", "5", "5"]
    assert ["1 core" in line for line in lines[2:8]] == [False, True, False] * 2
    assert ["3 cores" in line for line in lines[2:8]] == [False, False, True] * 2
