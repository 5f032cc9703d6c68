"""What benchmarks share: synthetic matrices and extractors, and when a run does what."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks import stopwatch, synthetic
from benchmarks.stopwatch import Laps, peak_process_bytes
from benchmarks.synthetic import Workplace
from config.settings import load_settings
from preprocessing.pipeline.matrices import open_matrices
from training.models.networks import load_extractor
from training.models.weights import learnt_nothing, load_weights, read_description

WIDTH = 1 / 32


def test_epochs_end_where_the_next_one_begins() -> None:
    laps = Laps(first_batch=11.5, trained=20.0, epochs=[10.0, 13.0, 18.0])
    assert laps.seconds_of_epochs == [3.0, 5.0, 2.0]


def test_what_the_stopwatch_notes(make_suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = make_suite()
    suite.write_matrices()
    suite.write_experiment(1)
    monkeypatch.setattr(stopwatch, "now", itertools.count(1).__next__)
    with stopwatch.Stopwatch() as watch:
        suite.run(1)
    suite.run(1)
    noted = Laps(begun=1, epochs=[2, 4], first_batch=3, trained=5, measured=6, written=7)
    assert watch.instances == [noted]


def test_the_peak_of_the_process_is_kept() -> None:
    before = peak_process_bytes()
    if before is None:
        pytest.skip("only Linux tells")
    missing = before - psutil.Process().memory_info().rss
    held = np.ones(missing + 100_000_000, dtype=np.uint8)
    del held
    after = peak_process_bytes()
    assert after is not None and 90_000_000 < after - before < 110_000_000


def test_synthetic_matrices_are_ones_that_preprocessing_could_have_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "CHUNK_EXAMPLES", 7)
    place = Workplace(tmp_path, "some", num_classes=2, fractions=(0.5, 0.3, 0.2))
    place.write_matrices(20, num_frames=5, num_bins=6)
    matrices = open_matrices(tmp_path / "matrices", "some_spectrum_fast")
    matrices.check()
    assert matrices.predictors.shape == (20, 5, 6)
    assert list(matrices.target) == [0, 1] * 10
    values = np.asarray(matrices.predictors)
    louder = values.mean(axis=1) > 0.75
    assert louder.shape == (20, 6)
    # Uniform noise has a mean of 0.5, and 0.5 more where it is louder; 5 frames scatter around it.
    assert values[::2, :, :3].mean() == pytest.approx(1.0, abs=0.05)
    assert values[::2, :, 3:].mean() == pytest.approx(0.5, abs=0.05)
    assert values[1::2, :, 3:].mean() == pytest.approx(1.0, abs=0.05)
    assert len(np.unique(values)) == values.size
    (fold,) = matrices.folds((0.5, 0.3, 0.2), 1)
    rows = [matrices.rows_of(groups, True) for groups in (fold.train, fold.validation, fold.test)]
    assert [len(each) for each in rows] == [10, 6, 4]
    assert sorted(np.concatenate(rows)) == list(range(20))


def test_a_synthetic_extractor_can_be_used(tmp_path: Path) -> None:
    place = Workplace(tmp_path, "some", num_classes=2)
    place.write_config({"width": WIDTH, "num_epochs": 7})
    place.write_extractor("librispeech", WIDTH, num_classes=5, num_clips=4)
    settings = load_settings(*place.config[1:])
    assert settings.training_defaults.num_epochs == 7
    assert settings.training_defaults.fractions == (0.7, 0.2, 0.1)
    assert settings.results.cache_folder == tmp_path / "cache"
    folder = settings.extractor_folder("librispeech")
    assert not learnt_nothing(read_description(folder))
    network = load_extractor(settings, "librispeech", load_weights)
    assert network.state_dict()["features.0.weight"].std() > 0
    assert len((folder / "training_audio.txt").read_text().split()) == 4
