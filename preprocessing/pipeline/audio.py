"""Audio files in and out: any format libsndfile reads, brought to mono at one sample rate."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

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
SAMPLES_AT_ONCE = 2**22
LARGEST_SAMPLE = 10.0
FULL_SCALE = 0.98  # the highest value of 8-bit and of mu-law files
CLIPPED_SHARE = 0.5
LEAST_CLIPPED_SAMPLES = 100
# Lengths that a program writes that cannot seek back to fill them in: SoX 7ffff000, others ffffffff
LEAST_UNKNOWN_SIZE = 0x7FFF0000
HEADER_SLACK = 64
MOST_CHUNKS = 1000


class UnusableAudioError(Exception):
    """A clip that cannot be used; its text is the reason, with what varies after a colon."""


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
    """A whole file as mono float32: one channel, or the mean of two.

    Raises:
        UnusableAudioError: the file is missing or unreadable, ends before its header says, has
            more than two channels (of a microphone array, the mean is no recording) or a rate that
            nobody records at.
    """
    with _opened(path) as file:
        rate, announced = int(file.samplerate), int(file.frames)
        parts = [_mono(part) for part in _read_parts(file)]
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if len(samples) < announced:
        raise UnusableAudioError(f"truncated: {len(samples)} of {announced} samples")
    return Recording(samples, rate)


def _read_parts(file: "soundfile.SoundFile") -> Iterator[Samples]:
    """The samples, a part at a time: a header may announce more than any memory holds."""
    while True:
        part: Samples = file.read(SAMPLES_AT_ONCE, dtype="float32")
        yield part
        if len(part) < SAMPLES_AT_ONCE:
            return


def _mono(samples: Samples) -> Samples:
    """(samples,) or (samples, channels) as (samples,)."""
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)


@contextmanager
def _opened(path: Path) -> Iterator["soundfile.SoundFile"]:
    """A file whose header makes sense; whatever goes wrong with it is an UnusableAudioError."""
    import soundfile

    try:
        if not path.is_file():
            raise UnusableAudioError(_why_no_file(path))
        with soundfile.SoundFile(_checked_source(path)) as file:
            _check_header(file)
            yield file
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        # Without the path, so that the same reason reads the same for all files.
        words = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        raise UnusableAudioError(f"unreadable: {' '.join(str(words).split())}") from None


def _why_no_file(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "missing: a link that leads nowhere"
    return "unreadable: it is no file" if path.exists() else "missing"


def _check_header(file: "soundfile.SoundFile") -> None:
    if not 1 <= file.channels <= MOST_CHANNELS:
        raise UnusableAudioError(f"wrong channel count: {file.channels}, must be 1 or 2")
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        raise UnusableAudioError(
            f"wrong rate: {file.samplerate} Hz, must be {LOWEST_RATE} to {HIGHEST_RATE}"
        )
    if file.frames > MOST_SAMPLES:
        raise UnusableAudioError(f"too long: its header says {file.frames:,} samples")


def _checked_source(path: Path) -> Path | BytesIO:
    """What libsndfile is to open: it believes the length of a WAV file, not that of its header.

    Raises:
        UnusableAudioError: a WAV file holds less than its header says.
    """
    with path.open("rb") as file:
        data = _find_wav_data(file)
        if data is None:
            return path
        found = path.stat().st_size - data.start
        if data.size is not None and data.size > found + HEADER_SLACK:
            raise UnusableAudioError(f"truncated: {found} of {data.size} bytes of sound")
        if data.size is not None or not data.says_zero:
            return path
        file.seek(0)
        content = bytearray(file.read())
    content[data.start - 4 : data.start] = b"\xff" * 4
    return BytesIO(content)


@dataclass(frozen=True)
class _WavData:
    """Where the samples of a WAV file start, and how many bytes there should be.

    size: None if whoever wrote the header did not know yet.
    says_zero: the header has 0 for that, which libsndfile takes for an empty file.
    """

    start: int
    size: int | None
    says_zero: bool = False


def _find_wav_data(file: BinaryIO) -> _WavData | None:
    """The data chunk of a RIFF, RIFX or RF64 file; None if it is none of these, or has none."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return None
    big_endian = head[:4] == b"RIFX"
    long_size = None
    for _ in range(MOST_CHUNKS):
        name, size = file.read(4), _number(file.read(4), big_endian)
        start = file.tell()
        if name == b"data":
            return _wav_data(start, size, long_size, _number(head[4:8], big_endian))
        if name == b"ds64":
            long_size = _number(file.read(16)[8:], big_endian)
        if len(name) < 4:
            return None
        file.seek(start + size + size % 2)
    return None


def _wav_data(start: int, size: int, long_size: int | None, size_of_all: int) -> _WavData:
    if long_size is not None and size == 0xFFFFFFFF:
        return _WavData(start, long_size)
    if size == 0 and (size_of_all == 0 or size_of_all >= LEAST_UNKNOWN_SIZE):
        return _WavData(start, None, says_zero=True)
    return _WavData(start, size if size < LEAST_UNKNOWN_SIZE else None)


def _number(content: bytes, big_endian: bool) -> int:
    return int.from_bytes(content, "big" if big_endian else "little")


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
        UnusableAudioError: the file cannot be decoded, there is no such stretch, it holds NaN or
            infinity, or is clipped beyond use (is_clipped).
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
    """Length of a file in s, from its header alone.

    Raises:
        UnusableAudioError: as decode, as far as the header tells.
    """
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


def is_silent(samples: Samples) -> bool:
    """Whether the largest sample is so small that the clip counts as empty (paper's release)."""
    return bool(np.abs(samples).max(initial=0.0) <= np.float32(SILENCE_PEAK))


def is_clipped(samples: Samples) -> bool:
    """Whether more than half of the samples that are not silence lie at full scale (and 100 do).

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


def count_by_reason(reasons: Iterable[str]) -> str:
    """Why clips were left out, as "3 silent, 1 truncated": most frequent first."""
    counts = Counter(reason.partition(":")[0] for reason in reasons)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def is_mended(path: Path, reason: str) -> bool:
    """Whether a file that could not be read before, for that reason, can be now.

    It may have been mounted again, or permitted, without another size or time.
    """
    if not reason.startswith(("missing", "unreadable")):
        return False
    try:
        decode(path)
    except UnusableAudioError:
        return False
    return True


def normalize_peak(samples: Samples) -> Samples:
    """The samples scaled to a peak of 0.8."""
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
