"""Sizes that must be mistakes: features that would take hours and all memory before they fail."""

import math

from config.settings import FeatureExtraction

# What computing the features of one second may take: 80 MB as complex numbers.
MOST_VALUES = 10_000_000


def check_sizes(features: FeatureExtraction, sample_rate: int) -> None:
    """Refuse sizes that no computer can work with.

    Args:
        sample_rate: in Hz.

    Raises:
        ValueError: one second needs too many values, a wavelet is too long, or bins lie above half
            the sample rate or are more than there are frequencies.
    """
    if features.features_type == "spectrum_fast":
        return
    if features.features_type == "cqt":
        _check_wavelets(features, sample_rate)
    key, hop_length, num_bins = {
        "stft": ("hop_size_stft", features.hop_size_stft, features.fft_size // 2 + 1),
        "mel": ("hop_size_mel", features.hop_size_mel, features.fft_size_mel // 2 + 1),
        "mfcc": ("hop_size_mfcc", features.hop_size_mfcc, features.fft_size_mfcc // 2 + 1),
        "cqt": ("hop_size_cqt", features.hop_size_cqt, features.n_bins),
    }[features.features_type]
    if sample_rate / hop_length * num_bins > MOST_VALUES:
        raise ValueError(
            f"{key} = {hop_length}: with {num_bins} frequencies at "
            f"{sample_rate} Hz gives more than {MOST_VALUES} values per second"
        )
    if features.features_type == "mfcc" and features.n_mfcc > num_bins:
        raise ValueError(
            f"n_mfcc = {features.n_mfcc}: fft_size_mfcc = "
            f"{features.fft_size_mfcc} gives only {num_bins} frequencies"
        )


def _check_wavelets(features: FeatureExtraction, sample_rate: int) -> None:
    octaves = features.n_bins / features.bins_per_octave
    if math.log2(features.fmin) + octaves > math.log2(sample_rate / 2):
        raise ValueError(
            f"n_bins = {features.n_bins}: {octaves:.4g} octaves above fmin = "
            f"{features.fmin:g} Hz end above half of sr_target = {sample_rate} Hz"
        )
    quality = 1 / (2 ** (1 / features.bins_per_octave) - 1)
    seconds = quality / features.fmin
    if seconds * sample_rate * min(features.n_bins, features.bins_per_octave) > 10 * MOST_VALUES:
        raise ValueError(
            f"fmin = {features.fmin:g}, bins_per_octave = "
            f"{features.bins_per_octave}: need wavelets of {seconds:.4g} s"
        )
