"""Samples in, a matrix of frames x bins out: the feature types that features_type may name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from config.errors import UserError
from config.settings import FeatureExtraction, Settings
from preprocessing.pipeline.audio import Samples

Features = npt.NDArray[np.float32]
Waveforms = npt.NDArray[np.float32]  # (clips, samples)

WINDOW_LENGTH = 256
HOP_LENGTH = 128
POWER_LAW_EXPONENT = 2 / 3
MFCC_BANDS = 40
SAMPLES_AT_A_TIME = 1 << 18


@dataclass(frozen=True)
class FeatureType:
    """A way to compute features.

    compute: (clips, samples), the settings and the sample rate in Hz to (clips, frames, bins).
    is_compressible: whether power_law_compression applies: magnitudes, and powers in mel bands.
    """

    compute: Callable[[Waveforms, FeatureExtraction, int], Any]
    is_compressible: bool


FEATURES: dict[str, FeatureType] = {}


def register(name: str, is_compressible: bool = False) -> Callable[..., Any]:
    """Make a function a feature type: features_type = name."""

    def remember(compute: Callable[..., Any]) -> Callable[..., Any]:
        FEATURES[name] = FeatureType(compute, is_compressible)
        return compute

    return remember


@register("spectrum_fast", is_compressible=True)
def spectrum_fast(clips: Waveforms, _settings: FeatureExtraction, _sample_rate: int) -> Features:
    """Compute the magnitude spectrum of the paper's experiments, float32 (clips, frames, 129).

    Rows are frames in time order (8 ms apart at 16 kHz), columns frequencies from 0 Hz up: a
    Hamming window of 256 samples with 128 of overlap. One second at 16 kHz gives 126 frames. Fewer
    samples than a window are zero-padded at their end.
    """
    from scipy.signal import stft

    missing = max(0, WINDOW_LENGTH - clips.shape[1])
    padded = np.pad(clips, ((0, 0), (0, missing)))
    overlap = WINDOW_LENGTH - HOP_LENGTH
    _, _, spectrum = stft(padded, window="hamming", nperseg=WINDOW_LENGTH, noverlap=overlap)
    magnitudes: Features = np.abs(spectrum).swapaxes(-1, -2)
    return magnitudes


@register("stft", is_compressible=True)
def _stft(clips: Waveforms, settings: FeatureExtraction, _sample_rate: int) -> Any:
    import librosa

    spectrum = librosa.stft(
        clips,
        n_fft=settings.fft_size,
        hop_length=settings.hop_size_stft,
        win_length=settings.window_size,
        window=settings.window_type,
    )
    return np.abs(spectrum).swapaxes(-1, -2)


@register("cqt", is_compressible=True)
def _cqt(clips: Waveforms, settings: FeatureExtraction, sample_rate: int) -> Any:
    import librosa

    spectrum = librosa.cqt(
        clips,
        sr=sample_rate,
        hop_length=settings.hop_size_cqt,
        fmin=settings.fmin,
        n_bins=settings.n_bins,
        bins_per_octave=settings.bins_per_octave,
    )
    return np.abs(spectrum).swapaxes(-1, -2)


@register("mel", is_compressible=True)
def _mel(clips: Waveforms, settings: FeatureExtraction, sample_rate: int) -> Any:
    """Compute librosa.feature.melspectrogram, which would make its filters anew for each clip."""
    import librosa

    length, hop_length = settings.fft_size_mel, settings.hop_size_mel
    power = np.abs(librosa.stft(clips, n_fft=length, hop_length=hop_length)) ** 2
    filters = _mel_filters(sample_rate, length)
    return [np.einsum("ft,mf->mt", each, filters, optimize=True).T for each in power]


@cache
def _mel_filters(sample_rate: int, length: int) -> npt.NDArray[np.float32]:
    import librosa

    filters: npt.NDArray[np.float32] = librosa.filters.mel(sr=sample_rate, n_fft=length)
    return filters


@register("mfcc")
def _mfcc(clips: Waveforms, settings: FeatureExtraction, sample_rate: int) -> Any:
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

    def coefficients(samples: Samples) -> Any:
        frames = standard.FrameGenerator(
            samples,
            frameSize=settings.window_size_mfcc,
            hopSize=settings.hop_size_mfcc,
            startFromZero=True,
        )
        return np.stack([mfcc(spectrum(window(frame)))[1] for frame in frames])

    return [coefficients(samples) for samples in clips]


def extract_features(
    clips: Sequence[Samples], settings: FeatureExtraction, sample_rate: int
) -> list[Features]:
    """Compute the configured features of each clip, float32 (frames, bins).

    Clips of equal length are computed together, which does not change the values.

    Args:
        clips: samples of each clip, of any length.
    """
    feature_type = FEATURES[settings.features_type]
    features: dict[int, Features] = {}
    for numbers in _batches([len(samples) for samples in clips]):
        waveforms = np.stack([clips[number] for number in numbers])
        batch = feature_type.compute(waveforms, settings, sample_rate)
        for number, values in zip(numbers, batch, strict=True):
            compressed = values
            if settings.power_law_compression:
                compressed = np.power(values, POWER_LAW_EXPONENT)
            features[number] = np.ascontiguousarray(compressed, dtype=np.float32)
    return [features[number] for number in range(len(clips))]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return the clips' numbers, those of equal length together, as far as memory allows."""
    of_length: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        of_length.setdefault(length, []).append(number)
    batches = []
    for length, numbers in of_length.items():
        size = max(1, SAMPLES_AT_A_TIME // max(1, length))
        batches += [numbers[first : first + size] for first in range(0, len(numbers), size)]
    return batches


@cache
def features_shape(
    num_samples: int, settings: FeatureExtraction, sample_rate: int
) -> tuple[int, int]:
    """Return the (frames, bins) of the features of so many samples."""
    silence = np.zeros(num_samples, dtype=np.float32)
    (features,) = extract_features([silence], settings, sample_rate)
    return features.shape[0], features.shape[1]


def check_feature_settings(settings: Settings) -> None:
    """Refuse settings that no features can be computed with.

    Raises:
        UserError: power-law compression of features that it does not apply to, a backend that is
            not there, or sizes that the library which computes the features refuses.
    """
    features = settings.feature_extraction
    if features.features_backend == "torchaudio":
        from preprocessing.pipeline.torchaudio_features import check_torchaudio

        check_torchaudio(features)
    if features.power_law_compression and not FEATURES[features.features_type].is_compressible:
        compressible = [name for name, each in FEATURES.items() if each.is_compressible]
        raise UserError(
            "[feature_extraction] power_law_compression = True: applies to "
            f"{', '.join(compressible)}, not to features_type = {features.features_type}"
        )
    try:
        rate = settings.sampling.sr_target
        features_shape(rate, features, rate)
    except Exception as error:  # each library raises errors of its own kind
        raise UserError(
            f"[feature_extraction] features_type = {features.features_type}: cannot be computed "
            f"with these settings: {' '.join(str(error).split())}"
        ) from None
