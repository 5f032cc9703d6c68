"""The benchmarks in miniature: they run, and their ratios and operations are what they claim."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import measuring, training_step
from benchmarks.preprocessing import Run, make_corpus, measured_apart, our_way, plain_loop

WIDTH, FRAMES, BINS, BATCH = 1 / 32, 40, 33, 3
OPTIONS = f"--device cpu --width {WIDTH} --frames {FRAMES} --bins {BINS} --batch-size {BATCH}"
# At this width: channels of the convolutions, and after which of them (from 1) a pooling follows.
CHANNELS = (2, 2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16)
POOLED_AFTER = (2, 4, 7, 10, 13)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where --write writes; matrix products are small."""
    monkeypatch.setattr(measuring, "RESULTS_FOLDER", tmp_path)
    monkeypatch.setattr(measuring, "MATRIX_SIZES", {"cpu": (32, 64)})
    monkeypatch.setattr(measuring, "SECONDS_OF_PRODUCTS", 0.001)
    return tmp_path


def written(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("*.json")
    content = json.loads(path.read_text())
    assert {"processor", "cores", "torch"} <= content["hardware"].keys()
    return list(content["rows"])


def forward_operations() -> list[int]:
    """Of each convolution's forward pass over a batch: a multiplication and an addition each."""
    counts, frames, bins, in_channels = [], FRAMES, BINS, 1
    for number, channels in enumerate(CHANNELS, start=1):
        counts.append(2 * 9 * in_channels * channels * frames * bins * BATCH)
        in_channels = channels
        if number in POOLED_AFTER:
            frames, bins = frames // 2, bins // 2
    return counts


def test_steps_and_their_share_of_the_rate_of_products(results: Path) -> None:
    words = f"{OPTIONS} --layers 13 --repetitions 1 --precisions fp32 --write"
    training_step.main(words.split())
    (row,) = written(results)
    convolutions = forward_operations()
    linear = 2 * BATCH * (7 * 7 * 16 * 128 + 128 * 128 + 128 * 10)
    # The backward pass costs twice the forward pass; only the spectrum needs no gradient.
    plain = 3 * sum(convolutions) - convolutions[0] + 3 * linear
    one_gram = 2 * 16**2 * (2 * 2) * BATCH
    operations = {
        "plain": plain,
        "cached": plain + 2 * one_gram,
        "anti_transfer": plain + sum(convolutions) + 3 * one_gram,
    }
    for kind, count in operations.items():
        seconds = BATCH / row[f"{kind} examples/s"]
        reached = count / seconds / 1e12
        assert row[f"{kind} share"] == pytest.approx(reached / row["product TFLOP/s"])
    ratio = row["plain examples/s"] / row["cached examples/s"]
    assert row["cached/plain"] == pytest.approx(ratio)


def test_both_ways_of_preprocessing_make_the_same_examples(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    run = Run(make_corpus(folder, 6, seconds=0.3), 0.3, 1)
    plain_loop(run, tmp_path / "plain")
    our_way(run, tmp_path / "ours")
    (path,) = (tmp_path / "ours").glob("*_predictors.npy")
    ours = np.load(path)
    assert ours.shape == (6, 39, 129)  # 4,800 samples: 38 hops of 128
    plain = np.fromfile(tmp_path / "plain", dtype=np.float32).reshape(ours.shape)
    np.testing.assert_allclose(ours, plain, rtol=1e-6, atol=1e-10)
    measured = measured_apart(run)
    assert measured.seconds > 0 and measured.peak_megabytes > 10
