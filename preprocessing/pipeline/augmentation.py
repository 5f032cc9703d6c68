"""Altered copies of training clips: another level, another position, some noise."""

import numpy as np

from preprocessing.pipeline.decoding import Samples

GAIN_DB = 6.0
LARGEST_SHIFT = 0.1
NOISE_SNR_DB = (20.0, 40.0)


def altered_copy(samples: Samples, generator: np.random.Generator) -> Samples:
    """Make a copy with random gain (+-6 dB), circular shift (+-10 %) and noise (20-40 dB SNR).

    Args:
        samples: shape (samples,), not silent.
        generator: the same state gives the same copy.
    """
    gain = 10 ** (generator.uniform(-GAIN_DB, GAIN_DB) / 20)
    limit = int(LARGEST_SHIFT * len(samples))
    shifted = np.roll(samples, generator.integers(-limit, limit + 1)) * gain
    level = np.sqrt(np.mean(np.square(shifted, dtype=np.float64)))
    noise_level = level * 10 ** (-generator.uniform(*NOISE_SNR_DB) / 20)
    noisy = shifted + noise_level * generator.standard_normal(len(samples))
    copy: Samples = np.clip(noisy, -1.0, 1.0).astype(np.float32)
    return copy
