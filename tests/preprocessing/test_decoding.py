"""A length in a header is an estimate: files are read to their real end, or left out."""

import io
import shlex
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.pipeline.audio import audio_seconds, cut, decode, read_audio
from preprocessing.pipeline.decoding import UnusableAudioError, why_unusable
from tests.preprocessing.conftest import RATE

SECONDS = 4
Values = npt.NDArray[np.float64]


def tones() -> Values:
    """A tone of 300 to 1000 Hz for each half second, 4 s."""
    time = np.arange(RATE // 2) / RATE
    return np.concatenate([0.3 * np.sin(2 * np.pi * f * time) for f in range(300, 1100, 100)])


def noise_then_tones() -> Values:
    """Its first MP3 frames are the largest, so that an estimate from them is too short."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    return np.concatenate([noise, tones()[RATE:]])


def encoded(samples: Values, container: str, subtype: str | None = None, **how: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=container, subtype=subtype, **how)
    return file.getvalue()


def mp3(samples: Values) -> bytes:
    """An MP3 file of frames of differing size, the first of which tells the length."""
    return encoded(samples, "MP3", bitrate_mode="VARIABLE")


def without_length(content: bytes) -> bytes:
    """Drop the first frame of an MP3 file: the next begins with the same two bytes."""
    return content[content.index(content[:2], 4) :]


def flac(samples: Values, announced: int, subtype: str = "PCM_16") -> bytes:
    """A FLAC file that announces so many samples: the lower 36 of bits 80 to 144 of STREAMINFO."""
    content = bytearray(encoded(samples, "FLAC", subtype))
    (field,) = struct.unpack_from(">Q", content, 18)
    struct.pack_into(">Q", content, 18, (field >> 36 << 36) | announced)
    return bytes(content)


def wav(samples: Values, size: int, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    """A WAV file whose chunk of sound announces so many bytes."""
    content = bytearray(encoded(samples, container, subtype))
    place = content.index(b"data") + 4
    if container == "RF64":
        place = content.index(b"ds64") + 16
    struct.pack_into("<I", content, place, size)
    return bytes(content)


def reason_for(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    reason = why_unusable(decode, path)
    assert reason.isprintable()
    return reason


AIFF = encoded(tones(), "AIFF")
AU = encoded(tones(), "AU")
LEADING_SILENCE = np.concatenate([np.zeros(RATE), tones()[RATE:]])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(flac(tones(), 0), tones(), id="FLAC from a pipe"),
        pytest.param(wav(tones(), 0), tones(), id="WAV of a killed recorder"),
        pytest.param(wav(LEADING_SILENCE, 0), LEADING_SILENCE, id="that begins with silence"),
        pytest.param(wav(tones(), 0, "WAVEX", "FLOAT"), tones(), id="of floats"),
        *(
            pytest.param(wav(tones(), size), tones(), id=f"WAV from a pipe, {size:x}")
            for size in (0x7FFFF000, 0x80000000, 0xFFFFFFFF)
        ),
        pytest.param(AU[:8] + bytes(4) + AU[12:], tones(), id="AU of a killed recorder"),
        pytest.param(
            AIFF.replace(struct.pack(">I", 128008), struct.pack(">I", 0x7F000008)),
            tones(),
            id="AIFF from a pipe of SoX",
        ),
        pytest.param(wav(tones(), 128000 + 44), tones(), id="counting the header"),
        pytest.param(encoded(tones(), "RF64"), tones(), id="RF64"),
        pytest.param(encoded(tones(), "WAV") + bytes(4000), tones(), id="zeros behind"),
        pytest.param(
            encoded(tones(), "WAV") + b"id3 \xd0\x07\0\0" + b"ID3" + b"\x55" * 1997,
            tones(),
            id="a chunk behind",
        ),
        pytest.param(encoded(tones(), "FLAC") + b"TAG" + b"a" * 125, tones(), id="a tag behind"),
    ],
)
def test_all_samples_are_read(content: bytes, expected: Values, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    np.testing.assert_allclose(decode(path).samples, expected, atol=1 / 32768)
    assert audio_seconds(path) == SECONDS
    stretch = cut(decode(path), RATE, 3.5, 0.5)
    np.testing.assert_allclose(stretch, expected[56000:], atol=1 / 32768)


@pytest.mark.parametrize("samples", [noise_then_tones(), noise_then_tones()[::-1], tones()])
@pytest.mark.parametrize("copies", [1, 2])
def test_mp3_without_its_length_is_read_to_its_end(
    samples: Values, copies: int, tmp_path: Path
) -> None:
    """A decoder is 1105 samples late, and the last frames are filled up: 576 samples each."""
    path = tmp_path / "a.mp3"
    content = without_length(mp3(samples))
    path.write_bytes(content * copies)
    read = decode(path).samples
    each = len(read) // copies
    assert len(samples) + 1105 <= each <= len(samples) + 1105 + 3 * 576
    for copy in range(copies):
        end = read[copy * each + 1105 + 3 * RATE :][: RATE // 2]
        assert np.corrcoef(end, samples[3 * RATE :][: RATE // 2])[0, 1] > 0.8


@pytest.mark.parametrize("tag", [b"", b"TAG" + b"a" * 125, b"APETAGEX" + b"a" * 2000])
def test_mp3_with_its_length_is_read_as_by_libsndfile(tag: bytes, tmp_path: Path) -> None:
    """Up to the last bit: where its buffers lie in memory decides that."""
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3(tones()) + tag)
    expected, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_allclose(decode(path).samples, expected, atol=2e-7)


def stereo(samples: Values) -> Values:
    return np.stack([samples, samples / 2], axis=1)


def mp3_in_wav(samples: Values) -> bytes:
    """A WAV file of MP3 frames, whose header says 1000 samples too many."""
    content = without_length(mp3(samples))
    header = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 4000, 1, 0, 12, 1, 2, 144, 1, 1393)
    chunks = [(b"fmt ", header), (b"fact", struct.pack("<I", len(samples) + 1000))]
    written = b"".join(name + struct.pack("<I", len(value)) + value for name, value in chunks)
    body = b"WAVE" + written + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def without_page(content: bytes, number: int) -> bytes:
    """An Ogg file without one of its pages."""
    pages = content.split(b"OggS")
    return b"OggS".join(pages[: number + 1] + pages[number + 2 :])


def damaged(content: bytes) -> bytes:
    """An Ogg file with zeros in its first page of sound, which libsndfile then leaves out."""
    place = len(b"OggS".join(content.split(b"OggS")[:4])) - 40
    return content[:place] + bytes(20) + content[place + 20 :]


OGG = encoded(tones(), "OGG", "VORBIS")
OPUS = encoded(tones(), "OGG", "OPUS")
PAGES_OF_NOISE = encoded(np.tile(noise_then_tones()[:RATE], 8), "OGG", "VORBIS")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (mp3(tones()) * 2, "sound behind its end"),
        (mp3(tones()) + b"TAG" + b"a" * 125 + mp3(tones()), "sound behind its end"),
        (without_length(mp3(tones())) + mp3(stereo(tones())), "sound behind its end"),
        (flac(tones(), 20000), "sound behind its end"),
        (encoded(tones(), "FLAC") * 2, "sound behind its end"),
        (OGG * 2, "sound behind its end"),
        (wav(tones(), 40000), "sound behind its end"),
        (AIFF.replace(struct.pack(">I", 128008), struct.pack(">I", 8)), "sound behind its end"),
        (encoded(tones(), "VOC"), "unreadable"),
        (mp3_in_wav(tones()), "unreadable"),
        (flac(tones(), 0)[:20000], "unreadable"),
        (flac(tones(), 100_000), "unreadable"),
        (OGG[: OGG.rindex(b"OggS")], "truncated"),
        (OGG[:-1], "truncated"),
        (OPUS[: len(OPUS) // 2], "truncated"),
        (without_page(PAGES_OF_NOISE, 2), "truncated"),
        (damaged(PAGES_OF_NOISE), "truncated"),
        (wav(tones(), 200_000), "truncated"),
        (encoded(tones(), "WAV", "PCM_24")[:-66], "truncated"),
        (mp3(tones())[:5000], "truncated"),
        (without_length(mp3(tones()))[:5000], "truncated"),
        *(
            (encoded(tones(), container)[:64000], "truncated")
            for container in ("AIFF", "AU", "W64", "NIST", "RF64")
        ),
    ],
)
def test_what_cannot_be_read_to_its_end_is_left_out(
    content: bytes, kind: str, tmp_path: Path
) -> None:
    reason = reason_for(tmp_path / "a b.wav", content)
    assert reason.partition(":")[0] == kind
    if kind != "truncated":
        command = shlex.split(reason[reason.index("ffmpeg") :])
        assert command.count(str(tmp_path / "a b.wav")) == 2  # read, and put in its place


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        (1.0, -1.0, "antiphase"),
        (1.0, -0.95, "antiphase"),
        (0.1, 0.0, None),
        (1.0, -0.5, None),
        (1.0, 1.0, None),
    ],
)
def test_channels_that_cancel_are_no_silence(
    left: float, right: float, kind: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    channels = np.stack([left * tones(), right * tones()], axis=1)
    if kind:
        assert reason_for(path, encoded(channels, "WAV")).partition(":")[0] == kind
    else:
        path.write_bytes(encoded(channels, "WAV"))
        expected = (left + right) / 2 * tones()
        np.testing.assert_allclose(decode(path).samples, expected, atol=1 / 32768)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:"),
            "Git LFS pointer: not the audio itself, get it with git -C {folder} lfs pull",
        ),
        (lambda path: path.mkdir(), "unreadable: it is no file"),
        (lambda _: None, "missing"),
    ],
)
def test_files_that_are_no_audio(make: Callable[[Path], Any], reason: str, tmp_path: Path) -> None:
    make(tmp_path / "a.wav")
    assert why_unusable(decode, tmp_path / "a.wav") == reason.format(folder=tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["WAV", "FLOAT", "RF64", "FLAC", "W64", "AIFF"]),
    changes=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=6),
    kept=st.floats(0.2, 1.0),
)
def test_any_damage_gives_samples_or_a_reason(
    kind: str, changes: list[tuple[int, int]], kept: float, tmp_path_factory: Any
) -> None:
    """Never another exception, which would end the work on a whole corpus."""
    content = encoded(tones()[:500], *(("WAV", "FLOAT") if kind == "FLOAT" else (kind,)))
    damaged = bytearray(content[: round(kept * len(content))])
    for place, value in changes:
        if place < len(damaged):
            damaged[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    path.write_bytes(damaged)
    try:
        assert np.isfinite(read_audio(path, RATE)).all()
    except UnusableAudioError as error:
        assert str(error).isprintable()
