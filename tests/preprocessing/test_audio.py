"""Audio in and out: channels, rates, stretches of a file, clipping, altered copies."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocessing.pipeline.audio import (
    Recording,
    cut,
    is_clipped,
    read_audio,
    write_audio,
)
from preprocessing.pipeline.augmentation import altered_copy
from preprocessing.pipeline.decoding import why_unusable
from tests.preprocessing.conftest import RATE


def tone(seconds: float, frequency: float, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


class TestReading:
    def test_mono_16_bit(self, tmp_path: Path) -> None:
        values = np.array([0, 1, -1, 16384, -32768, 32767], dtype=np.int16)
        soundfile.write(tmp_path / "a.wav", values, RATE)
        samples = read_audio(tmp_path / "a.wav", RATE)
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples, values / 32768)

    def test_24_bit_stereo_becomes_the_mean_of_its_channels(self, tmp_path: Path) -> None:
        left, right = tone(0.1, 440), tone(0.1, 1000)
        path = tmp_path / "a.flac"
        soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype="PCM_24")
        np.testing.assert_allclose(read_audio(path, RATE), (left + right) / 2, atol=1e-6)

    @pytest.mark.parametrize(
        ("rate", "frequency"), [(48000, 440), (48000, 7300), (44100, 440), (8000, 440)]
    )
    def test_other_rates_are_resampled(self, tmp_path: Path, rate: int, frequency: float) -> None:
        """Of 7300 Hz kaiser_best, a windowed sinc of 0.9476 x 8 kHz, would leave 0.977."""
        soundfile.write(tmp_path / "a.wav", tone(1.0, frequency, rate), rate, subtype="FLOAT")
        samples = read_audio(tmp_path / "a.wav", RATE)
        assert len(samples) == RATE
        middle = slice(2000, 14000)
        np.testing.assert_allclose(samples[middle], tone(1.0, frequency)[middle], atol=2e-3)

    @pytest.mark.parametrize(
        ("start", "duration", "first", "end"),
        [
            (0.0, 0.5, 0, 8000),
            # 2.01 is stored as a little less: 2.01 x 16000 = 32159.999..., and 2.26 x 16000 = 36160
            (2.01, 0.25, 32159, 36160),
            # 0.30004 x 16000 = 4800.64, and 0.40008 x 16000 = 6401.28
            (0.30004, 0.10004, 4800, 6401),
        ],
    )
    def test_a_stretch_is_cut_with_int(
        self, start: float, duration: float, first: int, end: int
    ) -> None:
        ramp = np.linspace(0, 1, 3 * RATE, dtype=np.float32)
        samples = cut(Recording(ramp, RATE), RATE, start, duration)
        np.testing.assert_array_equal(samples, ramp[first:end])


@pytest.mark.parametrize(
    ("start", "duration", "reason"),
    [
        (0.5, 1.0, "truncated: 8000 of 16000 samples"),
        (2.0, 1.0, "truncated: 0 of 16000 samples"),
        (2.0, None, "empty"),
        (0.5, 0.5, ""),
    ],
)
def test_a_stretch_beyond_the_end(
    start: float, duration: float | None, reason: str, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, 440), RATE)
    assert why_unusable(read_audio, tmp_path / "a.wav", RATE, start, duration) == reason


def test_round_trip(tmp_path: Path) -> None:
    samples = tone(0.1, 440)
    write_audio(tmp_path / "new" / "a.wav", samples, RATE)
    info = soundfile.info(tmp_path / "new" / "a.wav")
    assert (info.subtype, info.channels, info.samplerate) == ("PCM_16", 1, RATE)
    read = read_audio(tmp_path / "new" / "a.wav", RATE)
    np.testing.assert_allclose(read, samples, atol=1 / 32768)


class TestClipping:
    """Of the samples that are heard, half and more at full scale."""

    @pytest.mark.parametrize(
        ("decibels", "clipped"),
        [(-6, False), (0, False), (1, False), (2, False), (4, True), (20, True), (60, True)],
    )
    def test_half_of_a_sine_at_full_scale(self, decibels: float, clipped: bool) -> None:
        """A sine that just reaches it is there for 1 - asin(0.98) * 2 / pi = 13 % of the time.

        Half of a sine is there when it is 0.98 * sqrt(2), 2.8 dB, too loud.
        """
        loud = 2 * tone(1.0, 440) * 10 ** (decibels / 20)
        assert is_clipped(np.clip(loud, -1, 1).astype(np.float32)) == clipped


def test_gain_shift_and_noise_are_within_their_bounds() -> None:
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
