"""What all miniature corpora share: random streams, levels, and writing 16-bit files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing.miniature.espeak import SAMPLE_RATE

Samples = NDArray[np.float64]


def random_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Random numbers that belong to one named thing, whatever else is drawn before or after."""
    return np.random.default_rng([seed, *"/".join(str(name) for name in names).encode()])


def decibels_to_gain(decibels: float) -> float:
    """An amplitude ratio: -20 dB is 0.1."""
    return float(10 ** (decibels / 20))


def root_mean_square(samples: Samples) -> float:
    """The RMS of samples; 0 for none."""
    return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0


def scaled_to_peak(samples: Samples, peak: float) -> Samples:
    """Samples whose largest absolute value is `peak`; silence stays silence."""
    largest = np.abs(samples).max(initial=0)
    return samples * (peak / largest) if largest > 0 else samples


def scaled_to_rms(samples: Samples, level: float, highest_peak: float = 0.95) -> Samples:
    """Samples with an RMS of `level` dBFS, or less if peaks would exceed `highest_peak`."""
    loudness = root_mean_square(samples)
    if loudness == 0:
        return samples
    scaled = samples * (decibels_to_gain(level) / loudness)
    return scaled_to_peak(scaled, highest_peak) if np.abs(scaled).max() > highest_peak else scaled


def write_clips(
    folder: Path, clips: Iterable[tuple[str, Samples]], num_clips: int, description: str
) -> int:
    """Write (path below the folder, samples) pairs as 16 kHz mono 16-bit files; returns how many.

    Raises:
        FileExistsError: a file is there already; nothing is ever overwritten.
    """
    import soundfile
    from tqdm import tqdm

    num_written = 0
    for name, samples in tqdm(clips, description, num_clips, unit="file", disable=None):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        integers = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        with path.open("xb") as file:
            soundfile.write(file, integers, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        num_written += 1
    return num_written
