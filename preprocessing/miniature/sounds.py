"""Building blocks of synthetic sounds: random streams, levels, noises, harmonics, events, rooms."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAMPLE_RATE = 16000  # Hz, of all miniatures but Good-Sounds

Samples = NDArray[np.float64]


def random_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return random numbers that belong to one named thing, whatever else is drawn."""
    return np.random.default_rng([seed, *"/".join(str(name) for name in names).encode()])


def gain(decibels: float) -> float:
    """Return the ratio of amplitudes of a level; -20 dB is 0.1."""
    return float(10 ** (decibels / 20))


def unit_rms(samples: Samples) -> Samples:
    """Return samples with a root mean square of 1."""
    return np.asarray(samples / _root_mean_square(samples))


def _root_mean_square(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def scaled_to_peak(samples: Samples, peak: float) -> Samples:
    """Return samples whose largest absolute value is `peak`."""
    return np.asarray(samples * (peak / np.abs(samples).max()))


def scaled_to_rms(samples: Samples, level: float, highest_peak: float = 0.95) -> Samples:
    """Return samples with an RMS of `level` dBFS, or less if peaks would pass `highest_peak`."""
    scaled = samples * (gain(level) / _root_mean_square(samples))
    return scaled_to_peak(scaled, highest_peak) if np.abs(scaled).max() > highest_peak else scaled


def coloured_noise(stream: np.random.Generator, num_samples: int, exponent: float) -> Samples:
    """Return noise with a power density of 1 / frequency ** exponent, and an RMS of 1."""
    spectrum = np.fft.rfft(stream.standard_normal(num_samples))
    frequencies = np.maximum(np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE), 20)  # even below
    return unit_rms(np.fft.irfft(spectrum * frequencies ** (-exponent / 2), num_samples))


def filtered(samples: Samples, low: float | None, high: float, order: int = 3) -> Samples:
    """Return what lies between two frequencies in Hz, or below the second (Butterworth)."""
    from scipy.signal import sosfilt

    return np.asarray(sosfilt(_filter_sections(low, high, order), samples))


@lru_cache(maxsize=32)
def _filter_sections(low: float | None, high: float, order: int) -> NDArray[np.float64]:
    from scipy.signal import butter

    band, kind = (high, "lowpass") if low is None else ((low, high), "bandpass")
    return np.asarray(butter(order, band, kind, fs=SAMPLE_RATE, output="sos"))


def wander(stream: np.random.Generator, num_samples: int, rate: float, depth: float) -> Samples:
    """Return a factor that strays smoothly between 1 - depth and 1 + depth.

    Args:
        rate: turning points per s.
    """
    from scipy.interpolate import PchipInterpolator

    num_points = max(int(num_samples / SAMPLE_RATE * rate) + 2, 4)
    values = 1 + depth * stream.uniform(-1, 1, num_points)
    positions = np.linspace(0, num_samples, num_points)
    return np.asarray(PchipInterpolator(positions, values)(np.arange(num_samples)))


def phase_of(frequency: Samples, sample_rate: int = SAMPLE_RATE) -> Samples:
    """Return the running phase in radians of a frequency that is given in Hz for each sample."""
    return np.cumsum(frequency) * (2 * np.pi / sample_rate)


def harmonics(phase: Samples, amplitudes: ArrayLike) -> Samples:
    """Return the sum of sines at 1, 2, 3 ... times a running phase."""
    tone = np.zeros_like(phase)
    for number, amplitude in enumerate(np.asarray(amplitudes), start=1):
        tone += amplitude * np.sin(number * phase)
    return tone


def decay(num_samples: int, seconds: float) -> Samples:
    """Return an envelope from 1 that falls by 60 dB in `seconds`."""
    return np.asarray(10 ** (-3 * np.arange(num_samples) / (seconds * SAMPLE_RATE)))


def burst(stream: np.random.Generator, seconds: float, low: float, high: float) -> Samples:
    """Return filtered noise that dies away by 60 dB in `seconds`, with a peak of 1."""
    num_samples = round(seconds * SAMPLE_RATE)
    noise = filtered(stream.standard_normal(num_samples), low, high, order=2)
    return scaled_to_peak(noise * decay(num_samples, seconds), 1)


def event_times(
    stream: np.random.Generator, num_samples: int, per_second: float, jitter: float
) -> list[int]:
    """Return positions in samples, at intervals of (1 - jitter) to (1 + jitter) / per_second."""
    times = []
    position = stream.uniform(0, 0.5) / per_second
    while position < num_samples / SAMPLE_RATE:
        times.append(int(position * SAMPLE_RATE))
        position += stream.uniform(1 - jitter, 1 + jitter) / per_second
    return times


def placed(events: Iterable[tuple[int, Samples]], num_samples: int) -> Samples:
    """Return sounds added up at their positions in samples; what passes the end is cut off."""
    total = np.zeros(num_samples)
    for position, sound in events:
        kept = sound[: max(num_samples - position, 0)]
        total[position : position + len(kept)] += kept
    return total


def reverberated(
    stream: np.random.Generator, samples: Samples, seconds: float, wet: float
) -> Samples:
    """Return samples in a room: direct sound, and a tail of noise that falls by 60 dB in `seconds`.

    Args:
        wet: energy of the tail relative to the direct sound.
    """
    from scipy.signal import fftconvolve

    num_samples = round(seconds * SAMPLE_RATE)
    tail = filtered(stream.standard_normal(num_samples), None, 5000, order=1)
    tail *= decay(num_samples, seconds)
    tail *= np.sqrt(wet) / np.linalg.norm(tail)
    tail[0] += 1
    return np.asarray(fftconvolve(samples, tail)[: len(samples)])
