"""Audio files in and out: any format libsndfile reads, brought to mono at one sample rate."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from config.files import written_aside

Samples = npt.NDArray[np.float32]

SILENCE_PEAK = 0.05
NORMALIZED_PEAK = 0.8
ROUNDING_SECONDS = 0.02


class UnusableAudioError(Exception):
    """A clip that cannot be used; its text is the reason."""


@dataclass(frozen=True)
class Clip:
    """One labelled stretch of audio of a corpus.

    name: unique in its dataset; what splits and indices call the clip.
    group: what must stay in one set together (clip, session, instrument).
    details: whatever else the corpus knows (speaker, noise type, SNR in dB).
    start, duration: the stretch of the file in s; duration None: to its end.
    fixed_set: train, validation or test where the corpus brings its own split.
    """

    path: Path
    name: str
    label: int
    class_name: str
    group: str
    details: dict[str, str | float | int] = field(default_factory=dict)
    start: float = 0.0
    duration: float | None = None
    fixed_set: str | None = None


@dataclass(frozen=True)
class Recording:
    """A decoded file: mono samples, shape (samples,), at its own rate in Hz."""

    samples: Samples
    sample_rate: int


def decode(path: Path) -> Recording:
    """A whole file as mono float32.

    Raises:
        UnusableAudioError: the file is missing, unreadable, or ends before its header says.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate, announced = int(file.samplerate), int(file.frames)
            samples = file.read(dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        reason = "missing" if not path.exists() else f"unreadable: {error}"
        raise UnusableAudioError(" ".join(reason.split())) from None
    if len(samples) < announced:
        raise UnusableAudioError(f"truncated: {len(samples)} of {announced} samples")
    return Recording(samples.mean(axis=1, dtype=np.float32), rate)


def read_audio(
    path: Path,
    sample_rate: int,
    start: float = 0.0,
    duration: float | None = None,
    decoder: Callable[[Path], Recording] = decode,
) -> Samples:
    """Samples of a file (or a stretch of it, in s) as mono float32, shape (samples,).

    Args:
        decoder: decode, or a decode that remembers, where stretches of one file follow each other.

    Raises:
        UnusableAudioError: the file cannot be decoded, there is no such stretch, or it holds NaN
            or infinity.
    """
    return _cut(decoder(path), sample_rate, start, duration)


def _cut(recording: Recording, sample_rate: int, start: float, duration: float | None) -> Samples:
    rate = recording.sample_rate
    first = round(start * rate)
    count = len(recording.samples) - first if duration is None else round(duration * rate)
    samples = recording.samples[first : first + max(0, count)]
    if len(samples) == 0:
        raise UnusableAudioError("empty")
    if len(samples) < count - ROUNDING_SECONDS * rate:  # labels are rounded, files are not
        raise UnusableAudioError(f"truncated: {len(samples)} of {count} samples")
    if not np.isfinite(samples).all():
        raise UnusableAudioError("holds NaN or infinite samples")
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate).astype(np.float32)
    return samples


def audio_seconds(path: Path) -> float:
    """Length of a file in s, from its header alone.

    Raises:
        UnusableAudioError: the header cannot be read.
    """
    try:
        return float(soundfile.info(path).duration)
    except (OSError, RuntimeError) as error:
        raise UnusableAudioError(" ".join(f"unreadable: {error}".split())) from None


def is_silent(samples: Samples) -> bool:
    """Whether the largest sample is so small that the clip counts as empty (paper's release)."""
    return bool(np.abs(samples).max(initial=0.0) <= np.float32(SILENCE_PEAK))


def normalize_peak(samples: Samples) -> Samples:
    """The samples scaled to a peak of 0.8."""
    peak = np.abs(samples).max(initial=0.0)
    return samples * np.float32(NORMALIZED_PEAK / peak) if peak > 0 else samples


def write_audio(path: Path, samples: npt.NDArray[np.floating], sample_rate: int) -> None:
    """Write mono 16-bit PCM, whole or not at all.

    Raises:
        ValueError: a sample lies outside -1 ... 1 and would be clipped.
    """
    if np.abs(samples).max(initial=0.0) > 1:
        raise ValueError(f"{path}: samples beyond full scale would be clipped")
    with written_aside(path) as aside:
        soundfile.write(aside, samples, sample_rate, subtype="PCM_16")
