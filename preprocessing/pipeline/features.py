"""Samples in, a matrix of frames x bins out: the feature types that the configuration names."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from config.errors import UserError
from config.settings import FeatureExtraction, Settings
from preprocessing.pipeline.audio import Samples

Features = npt.NDArray[np.float32]

WINDOW_LENGTH = 256
HOP_LENGTH = 128
NUM_BINS = WINDOW_LENGTH // 2 + 1
POWER_LAW_EXPONENT = 2 / 3
MAGNITUDE_SPECTRA = ("spectrum_fast", "stft", "cqt")
MFCC_BANDS = 40


def spectrum_fast(samples: npt.ArrayLike) -> Features:
    """Magnitude spectrum of the paper's experiments, float32 (frames, 129).

    Rows are frames in time order (8 ms apart at 16 kHz), columns frequencies from 0 Hz up:
    scipy.signal.stft with a Hamming window of 256 samples and 128 of overlap, its defaults
    otherwise. One second at 16 kHz gives 126 frames. Fewer samples than a window are
    zero-padded at their end.
    """
    from scipy.signal import stft

    padded = np.asarray(samples, dtype=np.float32)
    if len(padded) < WINDOW_LENGTH:
        padded = np.pad(padded, (0, WINDOW_LENGTH - len(padded)))
    _, _, spectrum = stft(
        padded,
        window="hamming",
        nperseg=WINDOW_LENGTH,
        noverlap=WINDOW_LENGTH - HOP_LENGTH,
    )
    return np.ascontiguousarray(np.abs(spectrum).T, dtype=np.float32)


def _stft(samples: Samples, settings: FeatureExtraction, _sample_rate: int) -> Any:
    import librosa

    spectrum = librosa.stft(
        samples,
        n_fft=settings.fft_size,
        hop_length=settings.hop_size_stft,
        win_length=settings.window_size,
        window=settings.window_type,
    )
    return np.abs(spectrum).T


def _cqt(samples: Samples, settings: FeatureExtraction, sample_rate: int) -> Any:
    import librosa

    spectrum = librosa.cqt(
        samples,
        sr=sample_rate,
        hop_length=settings.hop_size_cqt,
        fmin=settings.fmin,
        n_bins=settings.n_bins,
        bins_per_octave=settings.bins_per_octave,
    )
    return np.abs(spectrum).T


def _mel(samples: Samples, settings: FeatureExtraction, sample_rate: int) -> Any:
    import librosa

    return librosa.feature.melspectrogram(
        y=samples,
        sr=sample_rate,
        n_fft=settings.fft_size_mel,
        hop_length=settings.hop_size_mel,
    ).T


def _mfcc(samples: Samples, settings: FeatureExtraction, sample_rate: int) -> Any:
    from essentia import standard

    window = standard.Windowing(
        type=settings.window_type_mfcc,
        size=settings.window_size_mfcc,
        zeroPadding=settings.fft_size_mfcc - settings.window_size_mfcc,
    )
    spectrum = standard.Spectrum(size=settings.fft_size_mfcc)
    mfcc = standard.MFCC(
        inputSize=settings.fft_size_mfcc // 2 + 1,
        sampleRate=sample_rate,
        highFrequencyBound=sample_rate / 2 - 1,
        numberBands=max(MFCC_BANDS, settings.n_mfcc),
        numberCoefficients=settings.n_mfcc,
    )
    frames = standard.FrameGenerator(
        samples, frameSize=settings.window_size_mfcc, hopSize=settings.hop_size_mfcc
    )
    return np.stack([mfcc(spectrum(window(frame)))[1] for frame in frames])


def _spectrum_fast(samples: Samples, _settings: FeatureExtraction, _sample_rate: int) -> Any:
    return spectrum_fast(samples)


FEATURE_TYPES: dict[str, Callable[[Samples, FeatureExtraction, int], Any]] = {
    "spectrum_fast": _spectrum_fast,
    "stft": _stft,
    "cqt": _cqt,
    "mel": _mel,
    "mfcc": _mfcc,
}


def extract_features(samples: Samples, settings: FeatureExtraction, sample_rate: int) -> Features:
    """The configured features of one clip, float32 (frames, bins)."""
    features = FEATURE_TYPES[settings.features_type](samples, settings, sample_rate)
    if settings.power_law_compression:
        features = np.power(features, POWER_LAW_EXPONENT)
    return np.ascontiguousarray(features, dtype=np.float32)


def num_frames_of(seconds: float, settings: FeatureExtraction, sample_rate: int) -> int:
    """Frames that a clip of the given length (s) has."""
    silence = np.zeros(round(seconds * sample_rate), dtype=np.float32)
    return len(extract_features(silence, settings, sample_rate))


def check_feature_settings(settings: Settings) -> None:
    """Refuse settings that no features can be computed with.

    Raises:
        UserError: power-law compression of features that are no magnitude spectrum, a backend
            that is not there, or sizes that the library which computes the features refuses.
    """
    features = settings.feature_extraction
    if features.features_backend == "torchaudio":
        from preprocessing.pipeline.torchaudio_features import check_torchaudio

        check_torchaudio(features)
    if features.power_law_compression and features.features_type not in MAGNITUDE_SPECTRA:
        raise UserError(
            "[feature_extraction] power_law_compression = True: applies to magnitude spectra "
            f"({', '.join(MAGNITUDE_SPECTRA)}), not to features_type = {features.features_type}"
        )
    rate = settings.sampling.sr_target
    try:
        extract_features(np.zeros(rate, dtype=np.float32), features, rate)
    except Exception as error:  # each library raises errors of its own kind
        raise UserError(
            f"[feature_extraction] features_type = {features.features_type}: cannot be computed "
            f"with these settings: {' '.join(str(error).split())}"
        ) from None
