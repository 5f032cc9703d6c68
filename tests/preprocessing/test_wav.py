"""Plain WAV files read without libsndfile, against libsndfile; everything else goes to it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocessing.pipeline import wav
from preprocessing.pipeline.audio import Recording, UnusableAudioError, decode
from preprocessing.pipeline.wav import decode_quickly

HEADER_BYTES = 44


def noise(num_samples: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (num_samples, channels))


@pytest.fixture
def without_libsndfile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not read quickly is an error."""

    def refuse(path: Path) -> Recording:
        raise AssertionError(f"{path} went to libsndfile")

    monkeypatch.setattr(wav, "decode", refuse)


@pytest.mark.usefixtures("without_libsndfile")
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
@pytest.mark.parametrize("num_samples", [1, 2, 999, 16000])
def test_plain_files_have_libsndfiles_samples(tmp_path: Path, rate: int, num_samples: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(num_samples), rate, subtype="PCM_16")
    recording = decode_quickly(path)
    assert recording.sample_rate == rate
    assert recording.samples.dtype == np.float32
    np.testing.assert_array_equal(recording.samples, soundfile.read(path, dtype="float32")[0])


@pytest.mark.usefixtures("without_libsndfile")
def test_full_scale(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([-32768, 32767, 0, 1], dtype=np.int16), 16000)
    expected = [-1.0, 32767 / 32768, 0.0, 1 / 32768]
    assert decode_quickly(path).samples.tolist() == expected


@pytest.mark.parametrize(
    ("name", "channels", "options"),
    [
        ("stereo.wav", 2, {"subtype": "PCM_16"}),
        ("bytes.wav", 1, {"subtype": "PCM_U8"}),
        ("deep.wav", 1, {"subtype": "PCM_24"}),
        ("float.wav", 1, {"subtype": "FLOAT"}),
        ("law.wav", 1, {"subtype": "ULAW"}),
        ("extensible.wav", 1, {"subtype": "PCM_16", "format": "WAVEX"}),
        ("big_endian.wav", 1, {"subtype": "PCM_16", "endian": "BIG"}),
        ("a.flac", 1, {"subtype": "PCM_16"}),
    ],
)
def test_other_files_are_libsndfiles(
    tmp_path: Path, name: str, channels: int, options: dict[str, Any]
) -> None:
    path = tmp_path / name
    soundfile.write(path, noise(500, channels), 16000, **options)
    expected = decode(path)
    found = decode_quickly(path)
    assert found.sample_rate == expected.sample_rate
    np.testing.assert_array_equal(found.samples, expected.samples)


@pytest.mark.parametrize("place", [12, 36, None])
def test_files_with_further_chunks_are_libsndfiles(tmp_path: Path, place: int | None) -> None:
    """Before the format, before the samples, or at the end."""
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(500), 16000, subtype="PCM_16")
    expected = decode(path).samples
    content = path.read_bytes()
    chunk = b"junk" + (6).to_bytes(4, "little") + b"abcdef"
    content = content[:place] + chunk + (b"" if place is None else content[place:])
    path.write_bytes(content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:])
    np.testing.assert_array_equal(decode_quickly(path).samples, expected)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("this is no audio"),
        lambda path: path.write_bytes(path.read_bytes()[:HEADER_BYTES]),
        lambda path: path.write_bytes(path.read_bytes()[:700]),
        lambda path: [path.unlink(), path.mkdir()],
        lambda path: [path.unlink(), os.mkfifo(path)],  # type: ignore[func-returns-value]
        lambda path: [path.unlink(), path.symlink_to(path.parent / "nowhere")],
    ],
    ids=["missing", "empty", "text", "header", "truncated", "folder", "pipe", "dangling"],
)
def test_what_cannot_be_read_has_the_same_reason(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(500), 16000, subtype="PCM_16")
    spoil(path)
    assert outcome_of(decode_quickly, path) == outcome_of(decode, path)


def outcome_of(function: Callable[[Path], Recording], path: Path) -> object:
    try:
        recording = function(path)
    except UnusableAudioError as error:
        return str(error)
    return recording.sample_rate, recording.samples.tobytes()


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    changes=st.dictionaries(st.integers(0, 60), st.integers(0, 255), max_size=3),
    length=st.one_of(st.none(), st.integers(0, 400)),
    tail=st.binary(max_size=20),
)
def test_any_damage_has_libsndfiles_outcome(
    tmp_path: Path, changes: dict[int, int], length: int | None, tail: bytes
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(150), 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    for place, value in changes.items():
        content[place] = value
    path.write_bytes(bytes(content[:length]) + tail)
    assert outcome_of(decode_quickly, path) == outcome_of(decode, path)
