"""Audio files are read to their real end, or found unusable: a length in a header is an estimate.

A stream has none, mpg123 guesses it from the size of a file, a recorder that was killed wrote 0,
and whoever joins or cuts files leaves the old one.
"""

import io
import os
import re
import shlex
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from config.text import printable

if TYPE_CHECKING:
    import soundfile

Samples = npt.NDArray[np.float32]

MOST_CHANNELS = 2
LOWEST_RATE, HIGHEST_RATE = 1000, 384_000
MOST_SAMPLES = 2**29  # 9 hours at 16 kHz, 2 GiB in memory
UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a stream
BLOCK_SAMPLES = 2**20
WAV_FORMATS = ("WAV", "WAVEX", "RF64")
# Those of which it is seen when their end is missing.
FORMATS = (*WAV_FORMATS, "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "NIST")
PLAIN_SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
WRONG_SIZE = re.compile(
    r"^ *(?:data|Riff size|riff|SSND|Data Size) +: (\d+) \(should be (\d+)\)", re.MULTILINE
)
NIST_LENGTH = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
OGG_PAGE = re.compile(rb"OggS\0(.)", re.DOTALL)
OGG_END = 4  # the bit of a page's flags that says that a stream ends with it
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# Near these are sizes of programs that cannot seek back to fill them in: SoX 7ffff000 and in AIFF
# 7f000000, arecord 80000000, ffmpeg ffffffff.
UNKNOWN_SIZES = (0x7F000000, 2**31, 2**32)
UNKNOWN_SIZE_SLACK = 2**16
HEADER_SLACK = 64  # of programs that count the header among the samples
MOST_TRAILING_BYTES = 128  # an ID3v1 tag
TAGS = (b"TAG", b"ID3", b"APETAGEX")
CHUNK_NAME = re.compile(rb"[ -~]{4}")
GIT_LFS_POINTER = b"version https://git-lfs"


class UnusableAudioError(Exception):
    """A clip that cannot be used; its text is the reason, with what varies after a colon."""


def why_unusable(read: Callable[..., object], *arguments: Any) -> str:
    """Return why reading audio fails, "" if it does not."""
    try:
        read(*arguments)
    except UnusableAudioError as error:
        return str(error)
    return ""


def read_channels(path: Path) -> tuple[Samples, int]:
    """Return all samples of a file, float32 (samples,) or (samples, channels), and its rate in Hz.

    Raises:
        UnusableAudioError: the file is missing or unreadable, ends before its header says, goes on
            behind what can be decoded, has more than two channels or a rate that nobody records at.
    """
    with _opened(path) as (raw, file):
        return _read_to_end(path, raw, file), int(file.samplerate)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[io.FileIO, "soundfile.SoundFile"]]:
    """Open a file whose header makes sense; what goes wrong with it is an UnusableAudioError."""
    import soundfile

    try:
        if not path.is_file():
            raise UnusableAudioError("unreadable: it is no file" if path.exists() else "missing")
        with io.FileIO(path) as raw, _open_descriptor(raw.fileno()) as file:
            _check_header(path, file)
            yield raw, file
    except soundfile.LibsndfileError as error:
        raise UnusableAudioError(_why_unreadable(path, error.error_string)) from None
    except (OSError, MemoryError) as error:
        # Without the path, so that the same reason reads the same for all files.
        words = getattr(error, "strerror", None) or str(error)
        raise UnusableAudioError(f"unreadable: {words}") from None


def _open_descriptor(descriptor: int) -> "soundfile.SoundFile":
    import soundfile

    file = soundfile.SoundFile(descriptor, closefd=False)
    if file.frames == UNKNOWN_LENGTH:  # libsndfile then fails to seek, even to where it is
        file.seekable = lambda: False
    return file


def _why_unreadable(path: Path, words: str) -> str:
    with path.open("rb") as file:
        if file.read(len(GIT_LFS_POINTER)) == GIT_LFS_POINTER:
            folder = printable(shlex.quote(str(path.parent)))
            return f"Git LFS pointer: not the audio itself, get it with git -C {folder} lfs pull"
    words = " ".join(words.split())
    return f"unreadable: {words} If it plays elsewhere, write it anew: {rewriting(path)}"


def rewriting(path: Path, options: str = "", output_options: str = "") -> str:
    """Return the command that puts a file in its place that everybody reads, as 16-bit WAV."""
    name = printable(shlex.quote(str(path)))
    return f"ffmpeg {options}-i {name} {output_options}new.wav && mv new.wav {name}"


def _mendable(reason: str, path: Path, options: str = "") -> UnusableAudioError:
    """Return the error for a file of which ffmpeg makes a usable one, with its command."""
    return UnusableAudioError(f"{reason}; write it anew: {rewriting(path, options)}")


def _check_header(path: Path, file: "soundfile.SoundFile") -> None:
    is_mpeg_in_another = file.format != "MP3" and file.subtype.startswith("MPEG")
    if file.format not in FORMATS or is_mpeg_in_another:
        reason = f"unreadable: where {file.subtype} in {file.format} ends is not known for sure"
        raise _mendable(reason, path)
    if not 1 <= file.channels <= MOST_CHANNELS:
        raise UnusableAudioError(f"wrong channel count: {file.channels}, must be 1 or 2")
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        raise UnusableAudioError(
            f"wrong rate: {file.samplerate} Hz, must be {LOWEST_RATE} to {HIGHEST_RATE}"
        )
    if MOST_SAMPLES < file.frames < UNKNOWN_LENGTH:
        raise UnusableAudioError(f"too long: its header says {file.frames:,} samples")
    for announced, found in WRONG_SIZE.findall(file.extra_info):
        is_known = all(abs(int(announced) - size) > UNKNOWN_SIZE_SLACK for size in UNKNOWN_SIZES)
        if is_known and int(found) + HEADER_SLACK < int(announced):
            raise UnusableAudioError(f"truncated: {found} of {announced} bytes of sound")


def _read_to_end(path: Path, raw: io.FileIO, file: "soundfile.SoundFile") -> Samples:
    """Return all samples of an open file, (samples,) or (samples, channels).

    Args:
        raw: what libsndfile reads from; after the announced samples it stands behind them.
    """
    if file.format == "MP3":
        with _as_stream(path.read_bytes()) as (pipe, stream):
            if stream.frames == UNKNOWN_LENGTH:
                return _read_mpeg_stream(path, pipe, stream)
    if file.frames == UNKNOWN_LENGTH:
        return _read_blocks(file)
    samples = np.asarray(file.read(file.frames, dtype="float32"))
    announced = _announced_samples(path, file)
    if len(samples) < announced:
        raise UnusableAudioError(f"truncated: {len(samples)} of {announced} samples")
    if file.format == "OGG":
        _check_pages(path)
        return samples
    rest = raw.read()
    if not _holds_sound(rest, file.format):
        return samples
    if announced == 0 and file.format in (*WAV_FORMATS, "AU") and file.subtype in PLAIN_SUBTYPES:
        return _without_header(rest, file)
    raise _more_sound(rest, path, file, announced)


@contextmanager
def _as_stream(content: bytes) -> Iterator[tuple[io.FileIO, "soundfile.SoundFile"]]:
    """Open the content of a file through a pipe, so that nobody guesses a length from its size.

    Yields the pipe, too, which after all samples holds what stands behind them.
    """
    reading, writing = os.pipe()

    def feed() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as end:
            end.write(content)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with io.FileIO(reading) as pipe, _open_descriptor(reading) as stream:
            yield pipe, stream
    finally:
        feeder.join()


def _read_mpeg_stream(path: Path, pipe: io.FileIO, stream: "soundfile.SoundFile") -> Samples:
    import soundfile

    try:
        samples = _read_blocks(stream)
    except soundfile.LibsndfileError:
        if pipe.read():
            raise
        raise _mendable("truncated: its last frame is incomplete", path) from None
    rest = pipe.read()
    if len(rest) > MOST_TRAILING_BYTES:  # where another rate or channel count begins
        raise _more_sound(rest, path, stream, len(samples))
    return samples


def _read_blocks(file: "soundfile.SoundFile") -> Samples:
    blocks: list[Samples] = []
    while not blocks or len(blocks[-1]) == BLOCK_SAMPLES:
        if len(blocks) * BLOCK_SAMPLES > MOST_SAMPLES:
            raise UnusableAudioError(f"too long: more than {MOST_SAMPLES:,} samples")
        out = np.empty((BLOCK_SAMPLES, file.channels), dtype=np.float32)
        blocks.append(np.asarray(file.read(out=out)))
    samples = np.concatenate(blocks)
    return samples[:, 0] if file.channels == 1 else samples


def _announced_samples(path: Path, file: "soundfile.SoundFile") -> int:
    """Return the length that the header says; of NIST files libsndfile knows only their size."""
    if file.format == "NIST":
        with path.open("rb") as header:
            match = NIST_LENGTH.search(header.read(1024))
        return int(match[1]) if match else 0
    return int(file.frames)


def _check_pages(path: Path) -> None:
    """Make sure that an Ogg file holds one whole stream; libsndfile reads what there is.

    Raises:
        UnusableAudioError: a page is missing, damaged or there twice, or another stream follows.
    """
    content = path.read_bytes()
    pages = [_page(content, match.start()) for match in OGG_PAGE.finditer(content)]
    ends = [bool(page[5] & OGG_END) for page in pages]
    if not ends[-1] or not _is_intact(pages[-1]):
        raise UnusableAudioError("truncated: its last Ogg page is missing")
    if sum(ends) > 1:
        raise _mendable(f"sound behind its end: {sum(ends)} streams in one file", path)
    numbers = [int.from_bytes(page[18:22], "little") for page in pages]
    if numbers != list(range(len(pages))) or not all(map(_is_intact, pages)):
        raise _mendable("truncated: Ogg pages within it are missing or damaged", path)


def _page(content: bytes, start: int) -> bytes:
    """Return the Ogg page that begins there, or what there is of it."""
    header = content[start : start + 27]
    num_segments = header[26] if len(header) == 27 else 0
    sizes = content[start + 27 : start + 27 + num_segments]
    return content[start : start + 27 + num_segments + sum(sizes)]


def _is_intact(page: bytes) -> bool:
    """Return whether an Ogg page has its checksum: CRC-32 from 0, the bits of bytes reversed."""
    without_checksum = page[:22] + bytes(4) + page[26:]
    found = zlib.crc32(without_checksum.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return page[22:26].translate(REVERSED_BITS) == found.to_bytes(4, "big")


def _more_sound(
    rest: bytes, path: Path, file: "soundfile.SoundFile", num_samples: int
) -> UnusableAudioError:
    options = "-ignore_length 1 " if file.format in WAV_FORMATS else ""
    reason = f"sound behind its end: {len(rest)} bytes after {num_samples} samples"
    return _mendable(reason, path, options)


def _holds_sound(rest: bytes, container: str) -> bool:
    """Return whether what stands behind the announced sound is more of it: no padding, tag, chunk.

    Args:
        container: the format, as soundfile calls it.
    """
    content = rest.strip(b"\0")
    if len(content) <= MOST_TRAILING_BYTES:
        return False
    joined = content[MOST_TRAILING_BYTES:] if content[:3] == b"TAG" else content
    if _is_audio(joined):
        return True
    if container == "MP3":
        return False
    sizes = (int.from_bytes(content[4:8], "little"), int.from_bytes(content[4:8], "big"))
    is_chunk = CHUNK_NAME.match(content) and min(sizes) <= len(rest)
    return not (is_chunk or content.startswith(TAGS))


def _is_audio(content: bytes) -> bool:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)):
            return True
    except soundfile.LibsndfileError:
        return False


def _without_header(content: bytes, file: "soundfile.SoundFile") -> Samples:
    """Decode the samples of a WAV or AU file."""
    import soundfile

    samples, _ = soundfile.read(
        io.BytesIO(content),
        dtype="float32",
        samplerate=file.samplerate,
        channels=file.channels,
        format="RAW",
        subtype=file.subtype,
        endian="BIG" if file.format == "AU" else "LITTLE",
    )
    return np.asarray(samples)
