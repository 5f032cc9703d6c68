"""What all miniature corpora share: random streams, levels, and writing audio files."""

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
    folder: Path,
    clips: Iterable[tuple[str, Samples]],
    num_clips: int,
    description: str,
    sample_rate: int = SAMPLE_RATE,
    bits: int = 16,
) -> int:
    """Write (path below the folder, samples) pairs as WAV or FLAC files; returns how many.

    Args:
        clips: a path ends in .wav or .flac; samples are of shape (samples,) or (samples, channels)
            and cut off at -1 and 1.
        bits: of a written sample, 16 or 24.

    Raises:
        FileExistsError: a file is there already; nothing is ever overwritten.
    """
    import soundfile
    from tqdm import tqdm

    num_written = 0
    for name, samples in tqdm(clips, description, num_clips, unit="file", disable=None):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            # Of a file object libsndfile would call Python back, and Ctrl-C in there is lost.
            soundfile.write(
                file.fileno(),
                _integers(samples, bits),
                sample_rate,
                format=path.suffix[1:].upper(),
                subtype=f"PCM_{bits}",
                closefd=False,
            )
        num_written += 1
    return num_written


def _integers(samples: Samples, bits: int) -> NDArray[np.int16] | NDArray[np.int32]:
    """Samples as the file shall hold them; libsndfile takes 24 bits from the top of 32."""
    rounded = np.rint(np.clip(samples, -1, 1) * float(2 ** (bits - 1) - 1))
    return rounded.astype(np.int16) if bits == 16 else rounded.astype(np.int32) << (32 - bits)
