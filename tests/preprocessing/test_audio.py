"""Audio in and out: formats, channels, rates, and every way a file can be broken."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocessing.pipeline.audio import (
    UnusableAudioError,
    audio_seconds,
    is_silent,
    normalize_peak,
    read_audio,
    write_audio,
)
from preprocessing.pipeline.augmentation import altered_copy

RATE = 16000


def tone(seconds: float, frequency: float, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def reason_of(path: Path, start: float = 0.0, duration: float | None = None) -> str:
    with pytest.raises(UnusableAudioError) as caught:
        read_audio(path, RATE, start, duration)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestReading:
    def test_mono_16_bit(self, tmp_path: Path) -> None:
        values = np.array([0, 1, -1, 16384, -32768, 32767], dtype=np.int16)
        soundfile.write(tmp_path / "a.wav", values, RATE)
        samples = read_audio(tmp_path / "a.wav", RATE)
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples, values / 32768)

    @pytest.mark.parametrize(("suffix", "subtype"), [("flac", "PCM_24"), ("wav", "PCM_24")])
    def test_24_bit_stereo_becomes_the_mean_of_its_channels(
        self, tmp_path: Path, suffix: str, subtype: str
    ) -> None:
        left, right = tone(0.1, 440), tone(0.1, 1000)
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype=subtype)
        np.testing.assert_allclose(read_audio(path, RATE), (left + right) / 2, atol=1e-6)

    @pytest.mark.parametrize("rate", [48000, 44100, 8000])
    def test_other_rates_are_resampled(self, tmp_path: Path, rate: int) -> None:
        soundfile.write(tmp_path / "a.wav", tone(1.0, 440, rate), rate, subtype="FLOAT")
        samples = read_audio(tmp_path / "a.wav", RATE)
        assert len(samples) == RATE
        middle = slice(2000, 14000)
        np.testing.assert_allclose(samples[middle], tone(1.0, 440)[middle], atol=2e-3)

    def test_what_lies_above_half_the_new_rate_is_removed(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", tone(1.0, 12000, 48000), 48000, subtype="FLOAT")
        assert np.abs(read_audio(tmp_path / "a.wav", RATE)[2000:14000]).max() < 1e-3

    def test_a_stretch(self, tmp_path: Path) -> None:
        values = np.arange(8000, dtype=np.int16)
        soundfile.write(tmp_path / "a.wav", values, 8000)
        samples = read_audio(tmp_path / "a.wav", 8000, start=0.25, duration=0.5)
        np.testing.assert_array_equal(samples, np.arange(2000, 6000) / 32768)
        samples = read_audio(tmp_path / "a.wav", 8000, start=0.75)
        np.testing.assert_array_equal(samples, np.arange(6000, 8000) / 32768)

    def test_length_from_the_header(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.flac", np.zeros(11025, dtype=np.int16), 44100)
        assert audio_seconds(tmp_path / "a.flac") == 0.25
        (tmp_path / "text.wav").write_text("no audio")
        with pytest.raises(UnusableAudioError, match="unreadable"):
            audio_seconds(tmp_path / "text.wav")


class TestBrokenFiles:
    def test_missing(self, tmp_path: Path) -> None:
        assert reason_of(tmp_path / "none.wav") == "missing"

    def test_no_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(b"")
        assert reason_of(tmp_path / "a.wav").startswith("unreadable")

    def test_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_text("this is text\nin two lines")
        assert reason_of(tmp_path / "a.wav").startswith("unreadable")

    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").mkdir()
        assert reason_of(tmp_path / "a.wav").startswith("unreadable")

    def test_no_samples(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
        assert reason_of(tmp_path / "a.wav") == "empty"

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, tmp_path: Path, value: float) -> None:
        values = tone(0.1, 440)
        values[700] = value
        soundfile.write(tmp_path / "a.wav", values, RATE, subtype="FLOAT")
        assert reason_of(tmp_path / "a.wav") == "holds NaN or infinite samples"

    def test_truncated_flac(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 50000)
        soundfile.write(tmp_path / "a.flac", noise, RATE)
        content = (tmp_path / "a.flac").read_bytes()
        (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
        assert reason_of(tmp_path / "a.flac").startswith(("truncated", "unreadable"))

    def test_stretch_beyond_the_end(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", tone(1.0, 440), RATE)
        assert reason_of(tmp_path / "a.wav", start=0.5, duration=1.0) == (
            "truncated: 8000 of 16000 samples"
        )
        assert reason_of(tmp_path / "a.wav", start=2.0) == "empty"


class TestLevels:
    @pytest.mark.parametrize(("peak", "silent"), [(0.0, True), (0.05, True), (0.0501, False)])
    def test_silence(self, peak: float, silent: bool) -> None:
        samples = np.zeros(100, dtype=np.float32)
        samples[7] = -peak
        assert is_silent(samples) is silent

    def test_no_samples_are_silent(self) -> None:
        assert is_silent(np.zeros(0, dtype=np.float32))

    def test_peak_becomes_four_fifths(self) -> None:
        samples = np.array([0.1, -0.4, 0.2], dtype=np.float32)
        normalized = normalize_peak(samples)
        np.testing.assert_allclose(normalized, [0.2, -0.8, 0.4], rtol=1e-6)
        assert normalized.dtype == np.float32

    def test_peak_of_silence(self) -> None:
        np.testing.assert_array_equal(normalize_peak(np.zeros(3, dtype=np.float32)), 0)


class TestWriting:
    def test_round_trip(self, tmp_path: Path) -> None:
        samples = tone(0.1, 440)
        write_audio(tmp_path / "new" / "a.wav", samples, RATE)
        info = soundfile.info(tmp_path / "new" / "a.wav")
        assert (info.subtype, info.channels, info.samplerate) == ("PCM_16", 1, RATE)
        read = read_audio(tmp_path / "new" / "a.wav", RATE)
        np.testing.assert_allclose(read, samples, atol=1 / 32768)

    def test_clipping_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="would be clipped"):
            write_audio(tmp_path / "a.wav", np.array([0.0, -1.01]), RATE)
        assert list(tmp_path.iterdir()) == []


class TestAlteredCopies:
    def test_same_generator_same_copy(self) -> None:
        samples = tone(0.5, 300).astype(np.float32)
        first = altered_copy(samples, np.random.default_rng(1))
        again = altered_copy(samples, np.random.default_rng(1))
        other = altered_copy(samples, np.random.default_rng(2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        assert first.dtype == np.float32
        assert first.shape == samples.shape

    def test_gain_shift_and_noise_are_within_their_bounds(self) -> None:
        """The copy is undone by the shift and gain that fit best; what is left is the noise."""
        samples = np.zeros(4000, dtype=np.float32)
        samples[1000:1400] = np.random.default_rng(0).uniform(-0.2, 0.2, 400)
        energy = float(np.sum(samples**2.0))
        shifts, gains = set(), []
        for seed in range(30):
            copy = altered_copy(samples, np.random.default_rng(seed))
            fits = [float(np.dot(np.roll(samples, s), copy)) for s in range(-450, 451)]
            shift = int(np.argmax(fits)) - 450
            gain = max(fits) / energy
            noise = copy - gain * np.roll(samples, shift)
            snr = 10 * np.log10(gain**2 * energy / float(np.sum(noise**2.0)))
            assert -400 <= shift <= 400
            assert 10 ** (-6.2 / 20) < gain < 10 ** (6.2 / 20)
            assert 19.5 < snr < 40.5
            shifts.add(shift)
            gains.append(gain)
        assert len(shifts) > 20
        assert min(gains) < 0.75
        assert max(gains) > 1.4

    def test_stays_within_full_scale(self) -> None:
        samples = tone(0.5, 300).astype(np.float32) * 1.99
        peaks = [
            np.abs(altered_copy(samples, np.random.default_rng(seed))).max() for seed in range(10)
        ]
        assert max(peaks) == 1.0
