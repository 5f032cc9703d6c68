"""Audio files in and out: any format libsndfile reads, brought to mono at one sample rate."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from config.files import written_aside

if TYPE_CHECKING:
    import soundfile

Samples = npt.NDArray[np.float32]

SILENCE_PEAK = 0.05
NORMALIZED_PEAK = 0.8
ROUNDING_SECONDS = 0.02
MOST_CHANNELS = 2
LOWEST_RATE, HIGHEST_RATE = 1000, 384_000
MOST_SAMPLES = 2**29  # 9 hours at 16 kHz, 2 GiB in memory
LARGEST_SAMPLE = 10.0
FULL_SCALE = 0.98  # the highest value of 8-bit and of mu-law files
CLIPPED_SHARE = 0.5
LEAST_CLIPPED_SAMPLES = 100
WRONG_SIZE = re.compile(r"^ *(?:data|Riff size) : (\d+) \(should be (\d+)\)", re.MULTILINE)
# Lengths that a program writes that cannot seek back to fill them in: SoX 7ffff000, others ffffffff
LEAST_UNKNOWN_SIZE = 0x7FFF0000
HEADER_SLACK = 64  # of programs that count the header among the samples


class UnusableAudioError(Exception):
    """A clip that cannot be used; its text is the reason, with what varies after a colon."""


@dataclass(frozen=True)
class Recording:
    """A decoded file: mono samples, shape (samples,), at its own rate in Hz."""

    samples: Samples
    sample_rate: int


def decode(path: Path) -> Recording:
    """Decode a whole file as mono float32: one channel, or the mean of two.

    Raises:
        UnusableAudioError: the file is missing or unreadable, ends before its header says, has
            more than two channels (of a microphone array, the mean is no recording) or a rate that
            nobody records at.
    """
    with _opened(path) as file:
        rate, announced = int(file.samplerate), int(file.frames)
        samples: Samples = file.read(dtype="float32")
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32)
    if len(samples) < announced:
        raise UnusableAudioError(f"truncated: {len(samples)} of {announced} samples")
    return Recording(samples, rate)


@contextmanager
def _opened(path: Path) -> Iterator["soundfile.SoundFile"]:
    """Open a file whose header makes sense; what goes wrong with it is an UnusableAudioError."""
    import soundfile

    try:
        if not path.is_file():
            raise UnusableAudioError("unreadable: it is no file" if path.exists() else "missing")
        with soundfile.SoundFile(path) as file:
            _check_header(file)
            yield file
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        # Without the path, so that the same reason reads the same for all files.
        words = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        raise UnusableAudioError(f"unreadable: {' '.join(str(words).split())}") from None


def _check_header(file: "soundfile.SoundFile") -> None:
    if not 1 <= file.channels <= MOST_CHANNELS:
        raise UnusableAudioError(f"wrong channel count: {file.channels}, must be 1 or 2")
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        raise UnusableAudioError(
            f"wrong rate: {file.samplerate} Hz, must be {LOWEST_RATE} to {HIGHEST_RATE}"
        )
    if file.frames > MOST_SAMPLES:
        raise UnusableAudioError(f"too long: its header says {file.frames:,} samples")
    _refuse_truncated_wav(file.extra_info)


def _refuse_truncated_wav(log: str) -> None:
    """Compare what a WAV file announces with what it holds, which libsndfile only notes.

    Raises:
        UnusableAudioError: it holds less.
    """
    for announced, found in WRONG_SIZE.findall(log):
        if int(found) + HEADER_SLACK < int(announced) < LEAST_UNKNOWN_SIZE:
            raise UnusableAudioError(f"truncated: {found} of {announced} bytes of sound")


def read_audio(path: Path, sample_rate: int) -> Samples:
    """Read a whole file as mono float32, shape (samples,), at the given rate in Hz.

    Raises:
        UnusableAudioError: as decode and cut.
    """
    return cut(decode(path), sample_rate)


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
    if len(samples) == 0:
        raise UnusableAudioError("empty")
    if len(samples) < count - ROUNDING_SECONDS * rate:  # labels are rounded, files are not
        raise UnusableAudioError(f"truncated: {len(samples)} of {count} samples")
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
    """Return the length of a file in s, from its header alone.

    Raises:
        UnusableAudioError: as decode, as far as the header tells.
    """
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


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
