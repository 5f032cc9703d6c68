"""Every type of features against scipy, librosa or Essentia called by hand, or plain NumPy."""

from typing import Any

import numpy as np
import pytest

from config.fingerprints import fingerprint_of
from config.ini_files import load_settings
from config.settings import FeatureExtraction
from preprocessing.pipeline import features as features_module
from preprocessing.pipeline.features import (
    EARLIER,
    FEATURES,
    check_feature_settings,
    extract_features,
    noted_settings,
    planned_settings,
)
from tests.conftest import message_of, run_python
from tests.preprocessing.conftest import RATE

TYPES = tuple(FEATURES)
POWER_LAW = "power_law_compression"


def settings_of(features_type: str, **changes: Any) -> FeatureExtraction:
    overrides = {"features_type": features_type, **changes}
    return load_settings(overrides=overrides).feature_extraction


def features_of(samples: Any, features_type: str = "spectrum_fast", **changes: Any) -> np.ndarray:
    """Features of one clip, computed alone."""
    clip = np.asarray(samples, dtype=np.float32)
    (features,) = extract_features([clip], settings_of(features_type, **changes), RATE)
    return features


@pytest.fixture
def samples() -> np.ndarray:
    """A second of noise whose level falls, so that time has a direction."""
    noise = np.random.default_rng(0).standard_normal(RATE)
    return (0.2 * noise * np.linspace(1, 0.1, RATE)).astype(np.float32)


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def framed_magnitudes(
    samples: np.ndarray, window: np.ndarray, hop_length: int, padding: int
) -> np.ndarray:
    """Magnitudes of the Fourier transform of each windowed frame, (frames, bins)."""
    padded = np.pad(samples.astype(np.float64), padding)
    frames = []
    for start in range(0, len(padded) - len(window) + 1, hop_length):
        frames.append(np.abs(np.fft.rfft(padded[start : start + len(window)] * window)))
    return np.array(frames)


@pytest.mark.parametrize(
    ("features_type", "mean", "length", "is_mean"),
    [("spectrum_fast", 0.54, 256, True), ("stft", 0.5, 1024, False)],
)
def test_spectra_are_a_plain_loop_over_frames(
    samples: np.ndarray, features_type: str, mean: float, length: int, is_mean: bool
) -> None:
    """Of a Hamming window, divided by its sum, and of a Hann window."""
    window = mean - (1 - mean) * np.cos(2 * np.pi * np.arange(length) / length)
    expected = framed_magnitudes(samples, window, length // 2, padding=length // 2)
    expected /= window.sum() if is_mean else 1
    atol = 1e-5 * expected.max()
    np.testing.assert_allclose(features_of(samples, features_type), expected, rtol=1e-4, atol=atol)


class TestOtherTypes:
    @pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")
    def test_cqt_is_librosas(self, samples: np.ndarray) -> None:
        import librosa

        expected = librosa.cqt(
            samples, sr=RATE, hop_length=256, fmin=55, n_bins=168, bins_per_octave=24
        )
        features = features_of(samples, "cqt")
        assert features.shape == (63, 168)
        np.testing.assert_allclose(features, np.abs(expected).T, rtol=1e-5, atol=1e-7)

    def test_mel_is_the_filter_bank_on_the_power_spectrum(self, samples: np.ndarray) -> None:
        import librosa

        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
        power = framed_magnitudes(samples, window, 512, padding=1024) ** 2
        expected = power @ librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=128).T
        features = features_of(samples, "mel")
        assert features.shape == (32, 128)
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5)

    def test_mfcc_is_essentias_on_frames_cut_by_hand(self, samples: np.ndarray) -> None:
        from essentia import standard

        window = standard.Windowing(type="hann", size=512, zeroPadding=0)
        spectrum = standard.Spectrum(size=512)
        mfcc = standard.MFCC(
            inputSize=257,
            sampleRate=RATE,
            numberBands=40,
            numberCoefficients=40,
            highFrequencyBound=RATE / 2 - 1,
        )
        padded = np.concatenate([samples, np.zeros(512)]).astype(np.float32)
        # startFromZero: the first frame starts at the first sample, and the last one is the first
        # to reach the end: of 16000 samples it starts at 61 x 256 = 15616, two frames fewer than
        # with frames that are centred.
        frames = [padded[start : start + 512] for start in range(0, 15617, 256)]
        expected = [mfcc(spectrum(window(frame)))[1] for frame in frames]
        features = features_of(samples, "mfcc")
        assert features.shape == (62, 40)
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("features_type", TYPES)
def test_clips_that_are_computed_together_have_the_features_that_each_has_alone(
    features_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most two of the clips of 1 s together; an error of one would show in the next."""
    monkeypatch.setattr(features_module, "SAMPLES_AT_A_TIME", 2 * RATE)
    generator = np.random.default_rng(1)
    clips = []
    for length in (16000, 700, 16000, 1, 16000, 256, 257, 128, 127, 16000, 40000, 700, 300):
        level = 10.0 ** generator.uniform(-5, 0)
        clips.append((generator.standard_normal(length) * level).astype(np.float32))
    found = extract_features(clips, settings_of(features_type), RATE)
    for samples, features in zip(clips, found, strict=True):
        assert features.dtype == np.float32
        assert features.flags.c_contiguous
        np.testing.assert_array_equal(features, features_of(samples, features_type))


class TestLogMel:
    def test_is_the_logarithm_of_triangles_over_the_spectrum(self, samples: np.ndarray) -> None:
        """Slaney's mel: linear to 1 kHz (15 mel), then 27 mel to each factor of 6.4; unit area."""
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
        half_silent = samples * np.repeat([1, 0], RATE // 2)
        magnitudes = framed_magnitudes(half_silent, window, 160, padding=256)
        lowest = 100 * 3 / 200
        highest = 15 + 27 * np.log(6000 / 1000) / np.log(6.4)
        mel = np.linspace(lowest, highest, 20 + 2)
        edges = np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
        bins = np.arange(257) * RATE / 512
        expected = np.empty((len(magnitudes), 20))
        for band, (low, centre, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
            triangle = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
            weights = np.maximum(triangle, 0) * 2 / (high - low)
            expected[:, band] = np.log(np.maximum(magnitudes**1.5 @ weights, 1e-3**1.5))
        assert expected.min() == pytest.approx(1.5 * np.log(1e-3))
        features = features_of(
            half_silent,
            "log_mel",
            fft_size_mel=512,
            hop_size_mel=160,
            n_mels=20,
            fmin_mel=100,
            fmax_mel=6000,
            power_mel=1.5,
            log_floor=1e-3,
        )
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)

    def test_is_mel_with_compression(self, samples: np.ndarray) -> None:
        both = features_of(samples, "log_mel"), features_of(samples, "mel", compression="log")
        np.testing.assert_array_equal(*both)


def test_libraries_keep_quiet() -> None:
    """In a process of its own, with a clip shorter than most windows."""
    script = """
import numpy
from config.ini_files import load_settings
from preprocessing.pipeline.features import FEATURES, extract_features
clip = numpy.ones(700, numpy.float32)
for features_type in FEATURES:
    settings = load_settings(overrides={"features_type": features_type}).feature_extraction
    extract_features([clip], settings, 16000)
"""
    done = run_python("-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestCompression:
    @pytest.mark.parametrize("features_type", ["spectrum_fast", "stft", "cqt", "mel"])
    def test_power_is_two_thirds(self, samples: np.ndarray, features_type: str) -> None:
        plain = features_of(samples, features_type)
        compressed = features_of(samples, features_type, compression="power")
        assert compressed.dtype == np.float32
        np.testing.assert_allclose(compressed, np.cbrt(plain.astype(np.float64)) ** 2, rtol=1e-5)

    @pytest.mark.parametrize(
        ("features_type", "floor"),
        [("spectrum_fast", 1e-5), ("stft", 1e-5), ("cqt", 1e-5), ("mel", 1e-10)],
    )
    def test_log_is_natural_with_a_floor_of_magnitude(
        self, samples: np.ndarray, features_type: str, floor: float
    ) -> None:
        half_silent = samples * np.repeat([1, 0], RATE // 2)
        plain = features_of(half_silent, features_type).astype(np.float64)
        expected = np.where(plain > floor, np.log(plain.clip(min=1e-30)), np.log(floor))
        compressed = features_of(half_silent, features_type, compression="log")
        assert compressed.min() == pytest.approx(np.log(floor))
        np.testing.assert_allclose(compressed, expected, rtol=1e-5, atol=1e-5)


class TestEarlierMatrices:
    """What was noted before there were compression, log_floor and the keys of mel bands."""

    # fingerprint_of the settings as they were written to plans then: config.ini, with mel, with cqt
    # and power_law_compression.
    HASHES: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "b444d370c907d02d"),
        ({"features_type": "mel"}, "f01f75a75c07092b"),
        ({"features_type": "cqt", POWER_LAW: True}, "d2cdb42a096d2706"),
    )

    @pytest.mark.parametrize(("overrides", "expected"), HASHES)
    def test_plans_are_the_same(self, overrides: dict[str, Any], expected: str) -> None:
        settings = load_settings(overrides=overrides).feature_extraction
        assert fingerprint_of(planned_settings(settings)) == expected

    def test_plans_tell_new_features_apart(self) -> None:
        changes: list[dict[str, Any]] = [
            {},
            {"compression": "power"},
            {"compression": "log"},
            {"compression": "log", "log_floor": 1e-4},
            {"n_mels": 64},
            {"fmax_mel": 7600},
        ]
        plans = [planned_settings(settings_of("mel", **each)) for each in changes]
        assert len({fingerprint_of(plan) for plan in plans}) == len(plans)

    @pytest.mark.parametrize(("old", "new"), [(False, "none"), (True, "power")])
    def test_notes_are_read_with_the_present_keys(self, old: bool, new: str) -> None:
        present = settings_of("mel", compression=new).model_dump(mode="json")
        earlier = {key: value for key, value in present.items() if key not in EARLIER}
        assert noted_settings(earlier | {POWER_LAW: old}) == present
        assert noted_settings(present) == present
        assert noted_settings({}) == {}


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"fmax_mel": 8001}, "fmax_mel = 8001: must be at most half of sr_target (8000 Hz)"),
        ({"fmin_mel": 8000}, "fmin_mel = 8000: must be below 8000 Hz"),
        ({"fmin_mel": 90, "fmax_mel": 80}, "fmin_mel = 90: must be below 80 Hz"),
        ({"features_type": "cqt", "n_bins": 300}, "features_type = cqt: cannot be"),
        ({"features_type": "mfcc", "n_mfcc": 300}, "features_type = mfcc: cannot be"),
        # Their values may be negative.
        ({"compression": "power"}, "not to features_type = log_mel"),
        ({"compression": "log"}, "not to features_type = log_mel"),
        ({"compression": "log", "features_type": "mfcc"}, "not to features_type = mfcc"),
    ],
)
def test_impossible_settings_are_a_users_error_of_one_line(
    overrides: dict[str, Any], problem: str
) -> None:
    settings = load_settings(overrides={"features_type": "log_mel", **overrides})
    said = message_of(check_feature_settings, settings)
    assert said.startswith("[feature_extraction] ")
    assert problem in said
