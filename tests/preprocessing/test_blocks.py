"""What is noted of a block of clips: their hashes, and why some are left out."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from config.settings import load_settings
from preprocessing.pipeline import blocks
from preprocessing.pipeline.blocks import Recipe, Task, extract_block
from preprocessing.pipeline.features import features_of_clips, spectrum_fast
from preprocessing.pipeline.shared_slots import SharedSlots
from preprocessing.pipeline.wav import decode_quickly

RATE = 16000
NUM_FRAMES = 40

WriteWav = Callable[..., Path]


def recipe_of(**changes: Any) -> Recipe:
    features = load_settings(overrides=changes).feature_extraction
    return Recipe(features, RATE, num_frames=NUM_FRAMES, num_bins=129, seed=3)


def task_of(files: list[Path], first_number: int = 0) -> Task:
    names = [str(file) for file in files]
    return Task(names, [0.0] * len(names), [None] * len(names), first_number, slot=0)


def extracted(task: Task, recipe: Recipe) -> tuple[np.ndarray, blocks.Notes]:
    slots = SharedSlots(num_slots=1, bytes_each=1 << 20)
    sent, notes = extract_block(task, recipe, slots)
    return slots.received(sent), notes


@pytest.fixture
def files(tmp_path: Path, write_wav: WriteWav) -> list[Path]:
    """Clips of 26, 51 and 39 frames; the third one has another rate."""
    return [
        write_wav(tmp_path / "a.wav", 0.2, seed=1),
        write_wav(tmp_path / "b.wav", 0.4, seed=2),
        write_wav(tmp_path / "c.wav", 0.3, seed=3, rate=48000),
    ]


def test_rows_and_examples_of_each_clip(files: list[Path]) -> None:
    examples, notes = extracted(task_of(files, first_number=7), recipe_of())
    assert [row[:4] for row in notes.rows] == [(7, 0, 26, 0), (8, 0, 40, 0), (9, 0, 39, 0)]
    assert examples.shape == (3, 40, 129)
    for example, file, count in zip(examples[:2], files, (26, 40), strict=False):
        samples = soundfile.read(file, dtype="float32")[0]
        np.testing.assert_array_equal(example[:count], spectrum_fast(samples)[:count])
        assert not example[count:].any()
    assert notes.left_out == []


def test_hashes_are_those_of_samples_and_examples(files: list[Path]) -> None:
    examples, notes = extracted(task_of(files[:2]), recipe_of(normalization=True))
    for row, file in zip(notes.rows, files, strict=False):
        samples = soundfile.read(file, dtype="float32")[0]
        assert row[-1] == hashlib.sha256(samples.tobytes()).hexdigest()[:16]
    assert notes.digest == hashlib.sha256(examples.tobytes()).hexdigest()


def test_no_examples(tmp_path: Path) -> None:
    examples, notes = extracted(task_of([tmp_path / "missing.wav"], 5), recipe_of())
    assert examples.shape == (0, 40, 129)
    assert notes.rows == []
    assert notes.left_out == [(5, "missing")]
    assert notes.digest == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("spoiled", [3, 4, 5])
def test_a_clip_without_finite_features_is_left_out_with_its_copies(
    files: list[Path], spoiled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions 3, 4 and 5 of all are the second clip and its two altered copies."""

    def spoil(*arguments: Any) -> list[np.ndarray]:
        features = features_of_clips(*arguments)
        features[spoiled][2, 3] = np.inf
        return features

    monkeypatch.setattr(blocks, "features_of_clips", spoil)
    examples, notes = extracted(task_of(files), recipe_of(augmentation=True, num_aug_samples=2))
    assert notes.left_out == [(1, "its features are not finite")]
    assert [(row[0], row[3]) for row in notes.rows] == [
        *((0, 0), (0, 1), (0, 2)),
        *((2, 0), (2, 1), (2, 2)),
    ]
    assert np.isfinite(examples).all()


def test_neighbours_in_one_file_are_decoded_once(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counting(path: Path) -> Any:
        decoded.append(path.name)
        return decode_quickly(path)

    monkeypatch.setattr(blocks, "decode_quickly", counting)
    names = [str(file) for file in (files[1], files[1], files[0], files[1])]
    task = Task(names, [0.0, 0.1, 0.0, 0.2], [0.1, 0.1, None, 0.1], 0, slot=0)
    examples, notes = extracted(task, recipe_of())
    assert decoded == ["b.wav", "a.wav", "b.wav"]
    samples = soundfile.read(files[1], dtype="float32")[0]
    for row, first in ((0, 0), (1, 1600), (3, 3200)):
        expected = spectrum_fast(samples[first : first + 1600])
        np.testing.assert_array_equal(examples[row, : len(expected)], expected)
    assert len(notes.rows) == 4
