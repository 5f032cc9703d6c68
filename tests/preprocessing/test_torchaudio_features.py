"""The torchaudio backend against the libraries that compute the same features on the CPU."""

from typing import Any

import numpy as np
import pytest

from config.errors import UserError
from config.ini_files import load_settings
from preprocessing.pipeline.decoding import Samples
from preprocessing.pipeline.features import extract_features
from preprocessing.pipeline.torchaudio_features import batched_features, check_torchaudio
from tests.preprocessing.conftest import RATE

# Largest difference as a fraction of the largest value. Essentia places the edges of its mel bands
# between the bins of the transform a little differently.
TOLERANCES = {"spectrum_fast": 1e-6, "stft": 1e-6, "mel": 1e-5, "log_mel": 1e-4, "mfcc": 1e-3}
MEL_BANDS = {"n_mels": 30, "fmin_mel": 90, "fmax_mel": 7000, "power_mel": 1}


def clips() -> list[Samples]:
    generator = np.random.default_rng(0)
    made = []
    for length in (16000, 16100, 15873, 40000, 700):
        tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(length) / RATE) * np.hanning(length)
        made.append((tone + 0.05 * generator.standard_normal(length)).astype(np.float32))
    return made


@pytest.mark.parametrize(
    ("features_type", "changes"),
    [
        *((features_type, {}) for features_type in TOLERANCES),
        ("mel", {"compression": "power"}),
        ("mel", MEL_BANDS),
        ("log_mel", MEL_BANDS),
        ("spectrum_fast", {"compression": "log"}),
        ("stft", {"compression": "log", "log_floor": 0.01}),
    ],
)
def test_agrees_with_the_cpu(features_type: str, changes: dict[str, Any]) -> None:
    pytest.importorskip("torchaudio")
    overrides = {"features_type": features_type, **changes}
    settings = load_settings(overrides=overrides).feature_extraction
    is_log = settings.compression == "log"
    for samples, found in zip(clips(), batched_features(clips(), settings, RATE), strict=True):
        (expected,) = extract_features([samples], settings, RATE)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        tolerance = TOLERANCES["log_mel" if is_log else features_type] * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({"features_type": "cqt"}, "features_type = cqt"),
        ({"features_type": "stft", "window_type": "boxcar"}, "window_type = boxcar"),
        ({"features_type": "mfcc", "window_type_mfcc": "square"}, "window_type_mfcc = square"),
    ],
)
def test_says_what_it_cannot_do(overrides: dict[str, str], word: str) -> None:
    settings = load_settings(overrides=overrides).feature_extraction
    with pytest.raises(UserError, match=word):
        check_torchaudio(settings)
