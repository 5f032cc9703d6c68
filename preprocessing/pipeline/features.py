"""Samples in, a matrix of frames x bins out: the feature types that features_type may name."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from config.errors import UserError
from config.settings import FeatureExtraction, Settings
from preprocessing.pipeline.decoding import Samples

Features = npt.NDArray[np.float32]
Waveforms = npt.NDArray[np.float32]  # (clips, samples)

WINDOW_LENGTH = 256
HOP_LENGTH = 128
POWER_LAW_EXPONENT = 2 / 3
MFCC_BANDS = 40
SAMPLES_AT_A_TIME = 1 << 18
# Values of keys that matrices of earlier versions do not note, with which features are theirs.
EARLIER = {
    "compression": "none",
    "log_floor": 1e-5,
    "n_mels": 128,
    "fmin_mel": 0.0,
    "fmax_mel": None,
    "power_mel": 2.0,
}


@dataclass(frozen=True)
class FeatureType:
    """A way to compute features.

    compute: (clips, samples), the settings and the sample rate in Hz to (clips, frames, bins).
    is_compressible: whether compression applies: magnitudes, and values in mel bands.
    """

    compute: Callable[[Waveforms, FeatureExtraction, int], Any]
    is_compressible: bool


FEATURES: dict[str, FeatureType] = {}
MEL_TYPES = ("mel", "log_mel")


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

    with _refused_by(librosa.ParameterError, settings):
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
    power = np.abs(librosa.stft(clips, n_fft=length, hop_length=hop_length)) ** settings.power_mel
    bands = (settings.n_mels, settings.fmin_mel, settings.fmax_mel)
    filters = _mel_filters(sample_rate, length, *bands)
    return [np.einsum("ft,mf->mt", each, filters, optimize=True).T for each in power]


@cache
def _mel_filters(
    sample_rate: int, length: int, num_bands: int, lowest: float, highest: float | None
) -> npt.NDArray[np.float32]:
    import librosa

    filters: npt.NDArray[np.float32] = librosa.filters.mel(
        sr=sample_rate, n_fft=length, n_mels=num_bands, fmin=lowest, fmax=highest
    )
    return filters


@register("log_mel")
def _log_mel(clips: Waveforms, settings: FeatureExtraction, sample_rate: int) -> Any:
    return [_logarithm(values, settings) for values in _mel(clips, settings, sample_rate)]


@register("mfcc")
def _mfcc(clips: Waveforms, settings: FeatureExtraction, sample_rate: int) -> Any:
    import essentia

    essentia.log.infoActive = False  # it would greet every process
    from essentia import standard

    window = standard.Windowing(
        type=settings.window_type_mfcc,
        size=settings.window_size_mfcc,
        zeroPadding=settings.fft_size_mfcc - settings.window_size_mfcc,
    )
    spectrum = standard.Spectrum(size=settings.fft_size_mfcc)
    with _refused_by(RuntimeError, settings):
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
        with warnings.catch_warnings():
            # Of filters that are longer than a short clip, which the paper's features have, too.
            warnings.filterwarnings("ignore", message="n_fft=")
            batch = feature_type.compute(waveforms, settings, sample_rate)
        for number, values in zip(numbers, batch, strict=True):
            compressed = _compressed(values, settings)
            features[number] = np.ascontiguousarray(compressed, dtype=np.float32)
    return [features[number] for number in range(len(clips))]


def _compressed(values: Any, settings: FeatureExtraction) -> Any:
    if settings.compression == "power":
        return np.power(values, POWER_LAW_EXPONENT)
    if settings.compression == "log":
        return _logarithm(values, settings)
    return values


def _logarithm(values: Any, settings: FeatureExtraction) -> Any:
    return np.log(np.maximum(values, log_floor(settings)))


def log_floor(settings: FeatureExtraction) -> float:
    """Return the smallest value that a logarithm is taken of."""
    is_mel = settings.features_type in MEL_TYPES
    return settings.log_floor ** (settings.power_mel if is_mel else 1)


@contextmanager
def _refused_by(kind: type[Exception], settings: FeatureExtraction) -> Iterator[None]:
    """Raise a library's refusal of sizes as a UserError."""
    try:
        yield
    except kind as error:
        raise UserError(
            f"[feature_extraction] features_type = {settings.features_type}: cannot be computed "
            f"with these settings: {' '.join(str(error).split())}"
        ) from None


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
        UserError: a compression of features that it does not apply to, mel bands above half of the
            sample rate, a backend that is not there, or sizes that the library which computes the
            features refuses.
    """
    features, rate = settings.feature_extraction, settings.sampling.sr_target
    if features.features_backend == "torchaudio":
        from preprocessing.pipeline.torchaudio_features import check_torchaudio

        check_torchaudio(features)
    if features.compression != "none" and not FEATURES[features.features_type].is_compressible:
        compressible = [name for name, each in FEATURES.items() if each.is_compressible]
        raise UserError(
            f"[feature_extraction] compression = {features.compression}: applies to "
            f"{', '.join(compressible)}, not to features_type = {features.features_type}"
        )
    if features.features_type in MEL_TYPES:
        _check_band_limits(features, rate)
    features_shape(rate, features, rate)


def _check_band_limits(features: FeatureExtraction, sample_rate: int) -> None:
    highest = features.fmax_mel or sample_rate / 2
    if highest > sample_rate / 2:
        raise UserError(
            f"[feature_extraction] fmax_mel = {highest:g}: must be at most half of sr_target "
            f"({sample_rate / 2:g} Hz)"
        )
    if features.fmin_mel >= highest:
        raise UserError(
            f"[feature_extraction] fmin_mel = {features.fmin_mel:g}: must be below {highest:g} Hz "
            "(fmax_mel, or half of sr_target)"
        )


def planned_settings(settings: FeatureExtraction) -> dict[str, Any]:
    """Return what the hash of a dataset's plan takes of the settings.

    Settings that give the features of earlier versions give their hash, too.
    """
    values = settings.model_dump()
    is_power_law = values["compression"] == "power"
    if is_power_law:
        del values["compression"]
    changed = {
        key: value for key, value in values.items() if key not in EARLIER or value != EARLIER[key]
    }
    return changed | {"power_law_compression": is_power_law}


def noted_settings(noted: Mapping[str, Any]) -> dict[str, Any]:
    """Return feature settings that a file notes, with the present keys; {} if it notes none."""
    if not noted:
        return {}
    values = EARLIER | dict(noted)
    if values.pop("power_law_compression", False):
        values["compression"] = "power"
    return values
