"""Audio as the suite uses it: mono at one sample rate, whole or a stretch of it."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from config.files import written_aside
from preprocessing.pipeline.decoding import Samples, UnusableAudioError, read_channels, rewriting

SILENCE_PEAK = 0.05
NORMALIZED_PEAK = 0.8
ROUNDING_SECONDS = 0.02
LARGEST_SAMPLE = 10.0
FULL_SCALE = 0.98  # the highest value of 8-bit and of mu-law files
CLIPPED_SHARE = 0.5
LEAST_CLIPPED_SAMPLES = 100
CANCELLED_SHARE = 0.1  # of the channels' level that is left of them when they cancel


@dataclass(frozen=True)
class Recording:
    """A decoded file: mono samples, shape (samples,), at its own rate in Hz."""

    samples: Samples
    sample_rate: int


def decode(path: Path) -> Recording:
    """Decode a file to its real end as mono float32: one channel, or the mean of two.

    Raises:
        UnusableAudioError: as read_channels (of a microphone array, the mean is no recording), or
            two channels cancel each other.
    """
    samples, rate = read_channels(path)
    return Recording(_mono(samples, path), rate)


def _mono(samples: Samples, path: Path) -> Samples:
    """Return the mean of the channels, (samples,).

    Raises:
        UnusableAudioError: two channels cancel each other, so that hardly anything is left.
    """
    if samples.ndim == 1:
        return samples
    mono: Samples = samples.mean(axis=1, dtype=np.float32)
    if is_silent(mono) and not is_silent(samples):
        left = np.sqrt(np.mean(np.square(mono)) / np.mean(np.square(samples)))
        if left < CANCELLED_SHARE:
            keep_one = rewriting(path, output_options="-af 'pan=mono|c0=c0' ")
            raise UnusableAudioError(
                f"antiphase: its two channels cancel when averaged; keep one: {keep_one}"
            )
    return mono


def read_audio(
    path: Path, sample_rate: int, start: float = 0.0, duration: float | None = None
) -> Samples:
    """Read a file or a stretch of it (start and duration in s) as mono float32, shape (samples,).

    Args:
        sample_rate: to resample to, in Hz.

    Raises:
        UnusableAudioError: as decode and cut.
    """
    return cut(decode(path), sample_rate, start, duration)


def cut(
    recording: Recording, sample_rate: int, start: float = 0.0, duration: float | None = None
) -> Samples:
    """Return a stretch of a recording (start and duration in s), shape (samples,).

    A sample that the start or the end cuts through belongs to what follows, as in the paper's
    release.

    Args:
        sample_rate: to resample to, in Hz.

    Raises:
        UnusableAudioError: there is no such stretch, it holds NaN or infinity, or is clipped
            beyond use (is_clipped).
    """
    rate = recording.sample_rate
    first = int(start * rate)
    end = len(recording.samples) if duration is None else int((start + duration) * rate)
    count = end - first
    samples = recording.samples[first : first + max(0, count)]
    if len(samples) < count - ROUNDING_SECONDS * rate:  # labels are rounded, files are not
        raise UnusableAudioError(f"truncated: {len(samples)} of {count} samples")
    if len(samples) == 0:
        raise UnusableAudioError("empty")
    _check_samples(samples)
    if rate != sample_rate:
        import soxr

        samples = soxr.resample(samples, rate, sample_rate).astype(np.float32)
        if len(samples) == 0:
            raise UnusableAudioError("empty")
    return samples


def _check_samples(samples: Samples) -> None:
    peak = float(max(samples.max(), -samples.min()))
    if not math.isfinite(peak):
        raise UnusableAudioError("holds NaN or infinite samples")
    if peak > LARGEST_SAMPLE:  # one such clip would drown all others in the normalisation
        raise UnusableAudioError(f"out of range: a sample of {peak:.3g}, full scale is 1")
    if peak >= FULL_SCALE and is_clipped(samples):
        raise UnusableAudioError("clipped: most of what is heard lies at full scale")


def audio_seconds(path: Path) -> float:
    """Return the length of a file in s, for which it is read.

    Raises:
        UnusableAudioError: as decode.
    """
    recording = decode(path)
    return len(recording.samples) / recording.sample_rate


def is_silent(samples: Samples) -> bool:
    """Return whether no sample exceeds 0.05, so that the clip counts as empty (paper's release)."""
    return bool(np.abs(samples).max(initial=0.0) <= np.float32(SILENCE_PEAK))


def is_clipped(samples: Samples) -> bool:
    """Return whether over half of the samples that are not silence lie at full scale (and 100 do).

    Then hardly more is left than the sign of the signal, as after an overflow or of a stuck
    converter. Ordinary loud recordings stay far below, and the paper's release leaves none of them
    out: a sine has 13 % there when it just reaches full scale, and half when it is 3 dB too loud;
    speech, of which little is near its peak, 5 % when it is 6 dB and a third when it is 20 dB too
    loud (medians of the miniature corpora).
    """
    sizes = np.abs(samples)
    num_full = np.count_nonzero(sizes >= FULL_SCALE)
    num_heard = np.count_nonzero(sizes > SILENCE_PEAK)
    return bool(num_full >= LEAST_CLIPPED_SAMPLES and num_full > CLIPPED_SHARE * num_heard)


def normalize_peak(samples: Samples) -> Samples:
    """Scale samples to a peak of 0.8."""
    peak = np.abs(samples).max(initial=0.0)
    return samples * np.float32(NORMALIZED_PEAK / peak) if peak > 0 else samples


def write_audio(path: Path, samples: npt.NDArray[np.floating], sample_rate: int) -> None:
    """Write mono 16-bit PCM, whole or not at all.

    Raises:
        ValueError: a sample is not finite, or lies outside -1 ... 1 and would be clipped.
    """
    import soundfile

    if not np.abs(samples).max(initial=0.0) <= 1:
        raise ValueError(f"{path}: samples beyond full scale would be clipped")
    with written_aside(path) as aside:
        soundfile.write(aside, samples, sample_rate, subtype="PCM_16")
