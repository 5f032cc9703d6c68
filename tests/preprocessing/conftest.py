"""Tiny corpora in the layouts of Google Speech Commands and MS-SNSD, made of coloured noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import soundfile

from config.ini_files import load_settings
from config.settings import Settings
from preprocessing.corpora.gsc import DIGITS
from preprocessing.corpora.noisyspeech import NOISE_TYPES
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Clip, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import Matrices, open_matrices

RATE = 16000
CLIPS_PER_WORD = 4
CLASSES = ("no", "yes", "maybe")
UNUSED_NOISE_TYPES = ("Bus", "CafeTeria", "Washing", "Traffic")
# The matrices that `prepare` makes of the twelve `clips`, and how long these are in s.
TINY = "tiny_spectrum_fast"
SECONDS = (0.5, 1.0, 2.6, 0.3, 1.0, 0.9, 1.5, 1.0, 0.7, 1.0, 0.8, 1.0)

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]
Prepare = Callable[..., Matrices]


def spectrum(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The features of the paper's experiments, straight from scipy."""
    _, _, values = scipy.signal.stft(samples, window="hamming", nperseg=256, noverlap=128)
    return np.asarray(np.abs(values).T)


def contents(folder: Path) -> dict[str, bytes]:
    """Read what is in a folder, locks apart."""
    paths = (path for path in folder.glob("*.*") if path.suffix != ".lock")
    return {path.name: path.read_bytes() for path in paths}


def prepared(dataset: Dataset, settings: Settings) -> Matrices:
    """Prepare a dataset and open its matrices."""
    return open_matrices(preprocess(dataset, settings), dataset.name)


@pytest.fixture
def write_wav() -> WriteWav:
    """Write noise of the given length (s) and peak as 16-bit WAV; the seed decides the samples."""

    def write(path: Path, seconds: float, seed: int, peak: float = 0.3, rate: int = RATE) -> Path:
        samples = np.random.default_rng(seed).standard_normal(round(seconds * rate))
        path.parent.mkdir(parents=True, exist_ok=True)
        scaled: npt.NDArray[np.float64] = samples / np.abs(samples).max() * peak
        soundfile.write(path, scaled, rate, subtype="PCM_16")
        return path

    return write


@pytest.fixture
def speech_commands(tmp_path: Path, write_wav: WriteWav) -> Path:
    """Four clips of each digit, 0.6 to 1.05 s, by two speakers; a word that is no digit, too."""
    folder = tmp_path / "speech_commands"
    for number, word in enumerate((*DIGITS, "bed")):
        for clip in range(CLIPS_PER_WORD):
            name = f"{'abcd1234' if clip % 2 else 'ef567890'}_nohash_{clip // 2}.wav"
            write_wav(folder / word / name, 0.6 + 0.15 * clip, seed=10 * number + clip)
    return folder


@pytest.fixture
def ms_snsd(tmp_path: Path, write_wav: WriteWav) -> Path:
    """Six stretches of speech, two of them shorter than 1 s; two noises of each type."""
    folder = tmp_path / "MS-SNSD"
    for number, seconds in enumerate((1.5, 0.4, 2.0, 0.7, 1.2, 1.0)):
        write_wav(folder / "clean_train" / f"clean{number}.wav", seconds, seed=1000 + number)
    for number, kind in enumerate((*NOISE_TYPES, *UNUSED_NOISE_TYPES)):
        for part, seconds in ((1, 1.1), (2, 0.5)):
            path = folder / "noise_train" / f"{kind}_{part}.wav"
            write_wav(path, seconds, seed=2000 + 10 * number + part)
    return folder


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Settings whose folders lie in tmp_path, on one process; keyword arguments change them."""

    def make(**changes: Any) -> Settings:
        overrides: dict[str, Any] = {
            "input_gsc_raw_folder": tmp_path / "speech_commands",
            "input_noisyspeech_repo": tmp_path / "MS-SNSD",
            "generated_noisyspeech_folder": tmp_path / "noisyspeech",
            "augmented_gsc_folder": tmp_path / "gsc_augmented",
            "output_folder": tmp_path / "matrices",
            "items_per_class": 3,
            "total_hours": 0.01,
            "workers": 1,
        }
        return load_settings(overrides=overrides | changes, prefer=("preprocessing", "pretraining"))

    return make


@pytest.fixture
def clips(tmp_path: Path, write_wav: WriteWav) -> list[Clip]:
    """Twelve clips of three classes, each a group of its own; tests change the list in place."""
    return [
        Clip(
            path=write_wav(tmp_path / "corpus" / f"c{number:02}.wav", seconds, seed=number),
            name=f"c{number:02}.wav",
            label=number % 3,
            class_name=CLASSES[number % 3],
            group=f"c{number:02}.wav",
            details={"speaker": f"{number // 4:03}", "true_snr": number / 2},
        )
        for number, seconds in enumerate(SECONDS)
    ]


@pytest.fixture
def prepare(clips: list[Clip], make_settings: MakeSettings) -> Prepare:
    """Prepare the clips as examples of 1 s, with changed settings, and open the matrices."""

    def prepare(
        split_type: str = RANDOM_BY_CLIP, leave_out_silence: bool = True, **changes: Any
    ) -> Matrices:
        dataset = Dataset(
            "tiny",
            "TINY",
            "test",
            1.0,
            split_type,
            lambda _: list(clips),
            leave_out_silence=leave_out_silence,
        )
        return prepared(dataset, make_settings(**changes))

    return prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the matrices go."""
    return tmp_path / "matrices"
