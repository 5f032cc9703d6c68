"""Samples in, a matrix of frames x bins out: the feature types that the configuration names."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from config.errors import UserError
from config.settings import FeatureExtraction, Settings
from preprocessing.pipeline.audio import Samples
from preprocessing.pipeline.feature_limits import check_sizes

Features = npt.NDArray[np.float32]
Waveforms = npt.NDArray[np.float32]  # (clips, samples)

WINDOW_LENGTH = 256
HOP_LENGTH = 128
NUM_BINS = WINDOW_LENGTH // 2 + 1
POWER_LAW_EXPONENT = 2 / 3
MAGNITUDE_SPECTRA = ("spectrum_fast", "stft", "cqt")
MFCC_BANDS = 40
FRAMES_AT_A_TIME = 256  # what a transform works on stays in a processor's cache
SAMPLES_AT_A_TIME = 1 << 18


def spectrum_fast(samples: npt.ArrayLike) -> Features:
    """Magnitude spectrum of the paper's experiments, float32 (frames, 129).

    Rows are frames in time order (8 ms apart at 16 kHz), columns frequencies from 0 Hz up:
    scipy.signal.stft with a Hamming window of 256 samples and 128 of overlap, its defaults
    otherwise. One second at 16 kHz gives 126 frames. Fewer samples than a window are
    zero-padded at their end.
    """
    return spectra_fast([np.asarray(samples, dtype=np.float32)])[0]


def spectra_fast(clips: Sequence[Samples]) -> list[Features]:
    """spectrum_fast of several clips at once, of any length; the same values, bit for bit."""
    spectra: list[Features] = []
    group: list[Samples] = []
    for samples in clips:
        if sum(map(len, group)) + len(samples) > SAMPLES_AT_A_TIME:
            spectra += _spectra_of_group(group)
            group = []
        group.append(samples)
    return spectra + _spectra_of_group(group)


def _spectra_of_group(clips: Sequence[Samples]) -> list[Features]:
    """Parts of one array.

    The clips lie one behind the other with half a window of zeros before, between and behind
    them, which is the padding that scipy gives each of them: so every window of the whole belongs
    to one clip.
    """
    num_frames = [-(-max(len(samples), WINDOW_LENGTH) // HOP_LENGTH) + 1 for samples in clips]
    row = np.zeros((sum(num_frames) + 1) * HOP_LENGTH, dtype=np.float32)
    ends = np.cumsum([0, *num_frames])
    for samples, first_frame in zip(clips, ends[:-1], strict=True):
        start = (first_frame + 1) * HOP_LENGTH
        row[start : start + len(samples)] = samples
    magnitudes = _magnitudes(row)
    return [magnitudes[first:end] for first, end in pairwise(ends)]


def _magnitudes(row: Samples) -> Features:
    """The spectrum at each hop of a row of samples, with the rounding of scipy.signal.stft.

    scipy transforms in float64, with a window and a scale that it has rounded to complex64.
    """
    window, scale = _window_and_scale()
    num_frames = len(row) // HOP_LENGTH - 1
    magnitudes = np.empty((num_frames, NUM_BINS), dtype=np.float32)
    at_a_time = min(FRAMES_AT_A_TIME, max(1, num_frames))
    part = np.empty((at_a_time + 1) * HOP_LENGTH)
    frames = np.lib.stride_tricks.sliding_window_view(part, WINDOW_LENGTH)[::HOP_LENGTH]
    windowed = np.empty((at_a_time, WINDOW_LENGTH))
    spectrum = np.empty((at_a_time, NUM_BINS), dtype=np.complex128)
    scaled = np.empty((at_a_time, NUM_BINS), dtype=np.complex64)
    for first in range(0, num_frames, at_a_time):
        count = min(at_a_time, num_frames - first)
        samples = row[first * HOP_LENGTH : (first + count + 1) * HOP_LENGTH]
        part[: len(samples)] = samples
        np.multiply(frames[:count], window, out=windowed[:count])
        np.fft.rfft(windowed[:count], out=spectrum[:count])
        values, parts = scaled[:count], spectrum[:count].view(np.float64)
        np.multiply(parts, scale, out=values.view(np.float32), casting="same_kind")
        np.abs(values, out=magnitudes[first : first + count])
    return magnitudes


@cache
def _window_and_scale() -> tuple[npt.NDArray[np.float64], float]:
    angles = 2 * np.pi * np.arange(WINDOW_LENGTH) / WINDOW_LENGTH
    window = (0.54 - 0.46 * np.cos(angles)).astype(np.complex64)
    return window.real.astype(np.float64), float(np.sqrt(1.0 / window.sum() ** 2).real)


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


def _mel(clips: Waveforms, settings: FeatureExtraction, sample_rate: int) -> Any:
    """librosa.feature.melspectrogram, which would make its filters anew for each clip."""
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
            samples, frameSize=settings.window_size_mfcc, hopSize=settings.hop_size_mfcc
        )
        return np.stack([mfcc(spectrum(window(frame)))[1] for frame in frames])

    return [coefficients(samples) for samples in clips]


# Functions of (clips, samples) that return (clips, frames, bins); spectrum_fast is apart.
OF_EQUAL_LENGTH: dict[str, Callable[[Waveforms, FeatureExtraction, int], Any]] = {
    "stft": _stft,
    "cqt": _cqt,
    "mel": _mel,
    "mfcc": _mfcc,
}


def extract_features(samples: Samples, settings: FeatureExtraction, sample_rate: int) -> Features:
    """The configured features of one clip, float32 (frames, bins)."""
    return features_of_clips([samples], settings, sample_rate)[0]


def features_of_clips(
    clips: Sequence[Samples], settings: FeatureExtraction, sample_rate: int
) -> list[Features]:
    """The configured features of each clip, float32 (frames, bins).

    The values do not depend on what is computed together: clips of any length for spectrum_fast,
    clips of equal length for the others.

    Args:
        clips: samples of each clip, of any length.
    """
    if settings.features_type == "spectrum_fast":
        features = spectra_fast(clips)
    else:
        features = _features_of_batches(clips, settings, sample_rate)
    if settings.power_law_compression:
        features = [np.power(each, POWER_LAW_EXPONENT) for each in features]
    return [np.ascontiguousarray(each, dtype=np.float32) for each in features]


def _features_of_batches(
    clips: Sequence[Samples], settings: FeatureExtraction, sample_rate: int
) -> list[Features]:
    compute = OF_EQUAL_LENGTH[settings.features_type]
    features: dict[int, Features] = {}
    for numbers in _batches([len(samples) for samples in clips]):
        waveforms = np.stack([clips[number] for number in numbers])
        batch = compute(waveforms, settings, sample_rate)
        features.update(zip(numbers, batch, strict=True))
    return [features[number] for number in range(len(clips))]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """The clips' numbers, those of equal length together, as far as memory allows."""
    of_length: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        of_length.setdefault(length, []).append(number)
    batches = []
    for length, numbers in of_length.items():
        size = max(1, SAMPLES_AT_A_TIME // max(1, length))
        batches += [numbers[first : first + size] for first in range(0, len(numbers), size)]
    return batches


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
        check_sizes(features, rate)
        extract_features(np.zeros(rate, dtype=np.float32), features, rate)
    except Exception as error:  # each library raises errors of its own kind
        raise UserError(
            f"[feature_extraction] features_type = {features.features_type}: cannot be computed "
            f"with these settings: {' '.join(str(error).split())}"
        ) from None
