"""Every way in which a clip can be broken, from the file to the matrices: listed, never lost."""

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from config.errors import UserError
from config.settings import Settings
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Clip, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import PARTS, open_matrices
from preprocessing.pipeline.noise_mixing import Mixture, write_mixtures
from tests.preprocessing.conftest import write_clips

RATE = 16000
NAME = "tiny_spectrum_fast"
NUM_CLIPS, BROKEN = 12, 4

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]


def noise(seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, round(seconds * RATE))


def with_sample(value: float) -> Callable[[Path], Any]:
    values = noise()
    values[500] = value
    return lambda path: soundfile.write(path, values, RATE, subtype="FLOAT")


def cut(path: Path, container: str) -> None:
    soundfile.write(path, noise(), RATE, format=container)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def with_rate_in_its_header(path: Path, rate: int) -> None:
    soundfile.write(path, noise(), RATE)
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)


def in_its_place(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


# How a file is broken, and the kind of reason that must be given.
BREAKAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty file": (lambda path: path.write_bytes(b""), "unreadable"),
    "truncated WAV": (lambda path: cut(path, "WAV"), "truncated"),
    "truncated FLAC": (lambda path: cut(path, "FLAC"), "unreadable"),
    "text": (lambda path: path.write_text("this is no audio\n" * 99), "unreadable"),
    "NaN": (with_sample(np.nan), "holds NaN or infinite samples"),
    "infinity": (with_sample(np.inf), "holds NaN or infinite samples"),
    "far beyond full scale": (with_sample(1e30), "out of range"),
    "zero length": (lambda path: soundfile.write(path, np.zeros(0), RATE), "empty"),
    "eight channels": (
        lambda path: soundfile.write(path, np.tile(noise()[:, None], 8), RATE),
        "wrong channel count",
    ),
    "rate of 1 Hz": (lambda path: with_rate_in_its_header(path, 1), "wrong rate"),
    "clipped": (lambda path: soundfile.write(path, np.sign(noise()), RATE), "clipped"),
    "pipe": (lambda path: in_its_place(path, os.mkfifo), "unreadable"),
    "broken link": (
        lambda path: in_its_place(path, lambda link: link.symlink_to("nowhere")),
        "missing",
    ),
    "gone": (lambda path: path.unlink(), "missing"),
}
EVERY_BREAKAGE = [pytest.param(*breakage, id=name) for name, breakage in BREAKAGES.items()]


def reasons_in(path: Path, column: str = "clip") -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row[column]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture
def clips(tmp_path: Path, write_wav: WriteWav) -> list[Clip]:
    """Twelve clips of 0.5 s, four of each class."""
    return write_clips(tmp_path / "corpus", write_wav, [0.5] * NUM_CLIPS)


@pytest.fixture
def dataset(clips: list[Clip]) -> Dataset:
    return Dataset("tiny", "preprocessing_TINY", "test", 1.0, RANDOM_BY_CLIP, lambda _: list(clips))


class TestMatrices:
    @pytest.mark.parametrize(("breakage", "kind"), EVERY_BREAKAGE)
    def test_a_broken_clip_is_left_out_with_its_reason(
        self,
        breakage: Callable[[Path], Any],
        kind: str,
        clips: list[Clip],
        dataset: Dataset,
        make_settings: MakeSettings,
    ) -> None:
        """One of twelve is more than 0.08 allow, so nothing is written; 0.09 allow it."""
        breakage(clips[BROKEN].path)
        settings = make_settings(max_skipped_fraction=0.08)
        folder = settings.preprocessing.output_folder
        with pytest.raises(UserError, match="1 of 12 clips cannot be used") as caught:
            preprocess(dataset, settings)
        assert str(caught.value).isprintable()
        written = {path.name for path in folder.iterdir()}
        assert not written & {
            f"{NAME}_{part}.{PARTS[part]}" for part in PARTS if part != "left_out"
        }

        preprocess(dataset, make_settings(max_skipped_fraction=0.09))
        reasons = reasons_in(folder / f"{NAME}_left_out.csv")
        assert list(reasons) == ["c04.wav"]
        assert reasons["c04.wav"].partition(":")[0] == kind
        matrices = open_matrices(folder, NAME)
        expected = [clip.name for clip in clips if clip is not clips[BROKEN]]
        assert matrices.index["clip"].tolist() == expected
        assert matrices.info["num_left_out"] == 1
        assert matrices.info["num_clips"] == NUM_CLIPS
        assert np.isfinite(matrices.predictors).all()

    def test_a_clip_repaired_with_its_size_and_time_is_taken_up(
        self, clips: list[Clip], dataset: Dataset, make_settings: MakeSettings
    ) -> None:
        """As after a disk or a permission was at fault, which no size or time tells."""
        path = clips[BROKEN].path
        whole, time = path.read_bytes(), path.stat().st_mtime_ns
        path.write_bytes(b"RIFX" + whole[4:12] + bytes(len(whole) - 12))
        os.utime(path, ns=(time, time))
        settings = make_settings(max_skipped_fraction=0.09)
        preprocess(dataset, settings)
        path.write_bytes(whole)
        os.utime(path, ns=(time, time))
        matrices = open_matrices(preprocess(dataset, settings), NAME)
        assert matrices.index["clip"].tolist() == [clip.name for clip in clips]

    def test_left_out_clips_are_counted_by_reason(
        self,
        clips: list[Clip],
        dataset: Dataset,
        make_settings: MakeSettings,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for number in (3, 4):
            cut(clips[number].path, "WAV")
        clips[5].path.unlink()
        soundfile.write(clips[6].path, np.zeros(RATE), RATE)
        preprocess(dataset, make_settings(max_skipped_fraction=0.5))
        said = "left out: 4 clips (2 truncated, 1 missing, 1 silent), listed in"
        assert said in capsys.readouterr().out

    def test_a_folder_whose_name_is_not_utf_8(
        self, clips: list[Clip], dataset: Dataset, make_settings: MakeSettings, tmp_path: Path
    ) -> None:
        """Its files are read like others, and listed with its odd byte escaped."""
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
        clips[0].path.parent.rename(folder)
        clips[:] = [replace(clip, path=folder / clip.path.name) for clip in clips]
        clips[BROKEN].path.write_bytes(b"")
        settings = make_settings(max_skipped_fraction=0.09)
        preprocess(dataset, settings)
        listed = (settings.preprocessing.output_folder / f"{NAME}_left_out.csv").read_text()
        assert r"caf\udce9/c04.wav" in listed


class TestMixing:
    """The same where speech and noise are read: no mixture is lost without a word."""

    @pytest.fixture
    def mixtures(self, tmp_path: Path, write_wav: WriteWav) -> list[Mixture]:
        """Three mixtures of their own speech and noise, each at two SNRs."""
        folder = tmp_path / "source"
        return [
            Mixture(
                speech=(write_wav(folder / f"s{number}.wav", 0.3, seed=number),),
                noise=(write_wav(folder / f"n{number}.wav", 0.3, seed=10 + number),),
                noise_type="Typing",
                num_samples=None,
                snrs=(0.0, 30.0),
                files=(f"noisy{number}_0.wav", f"noisy{number}_30.wav"),
            )
            for number in range(3)
        ]

    @pytest.mark.parametrize("part", ["speech", "noise"])
    @pytest.mark.parametrize(("breakage", "kind"), EVERY_BREAKAGE[1::8])
    def test_a_broken_source_leaves_its_mixture_out_until_it_is_repaired(
        self,
        part: str,
        breakage: Callable[[Path], Any],
        kind: str,
        mixtures: list[Mixture],
        tmp_path: Path,
        make_settings: MakeSettings,
    ) -> None:
        path = getattr(mixtures[1], part)[0]
        whole = path.read_bytes()
        breakage(path)
        folder = tmp_path / "noisy"
        with pytest.raises(UserError, match="1 of 3 mixtures cannot be used"):
            write_mixtures(mixtures, folder, make_settings(max_skipped_fraction=0.3))
        assert not (folder / "manifest.csv").exists()
        write_mixtures(mixtures, folder, make_settings(max_skipped_fraction=0.4))
        reasons = reasons_in(folder / "left_out.csv", "files")
        assert list(reasons) == ["s1.wav;n1.wav"]
        assert reasons["s1.wav;n1.wav"].partition(":")[0] == kind
        with (folder / "manifest.csv").open(newline="") as file:
            files = [row["file"] for row in csv.DictReader(file)]
        assert files == [*mixtures[0].files, *mixtures[2].files]
        path.write_bytes(whole)
        write_mixtures(mixtures, folder, make_settings())
        assert len(list(folder.glob("*.wav"))) == 6
        assert reasons_in(folder / "left_out.csv", "files") == {}
