"""Building blocks of synthetic sounds, at 16 kHz if not said otherwise: noises, tones, rooms."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from preprocessing.miniature.audio import Samples, root_mean_square
from preprocessing.miniature.espeak import SAMPLE_RATE

_LONGEST_RINGING = 2048  # samples


def coloured_noise(
    stream: np.random.Generator, num_samples: int, exponent: float, sample_rate: int = SAMPLE_RATE
) -> Samples:
    """Noise with a power density of 1 / frequency ** exponent above 20 Hz and an RMS of 1.

    Exponent 0 is white, 1 pink, 2 brown.
    """
    spectrum = np.fft.rfft(stream.standard_normal(num_samples))
    frequencies = np.maximum(np.fft.rfftfreq(num_samples, 1 / sample_rate), 20)
    noise = np.fft.irfft(spectrum * frequencies ** (-exponent / 2), num_samples)
    return unit_rms(noise)


def unit_rms(samples: Samples) -> Samples:
    """Samples with an RMS of 1; silence stays silence."""
    loudness = root_mean_square(samples)
    return samples / loudness if loudness > 0 else samples


def filtered(
    samples: Samples,
    low: float | None = None,
    high: float | None = None,
    order: int = 3,
    sample_rate: int = SAMPLE_RATE,
) -> Samples:
    """What lies between two frequencies in Hz; None leaves that side open (Butterworth)."""
    from scipy.signal import sosfilt

    return np.asarray(sosfilt(_filter_sections(low, high, order, sample_rate), samples))


def coloured(
    stream: np.random.Generator, samples: Samples, depth: float, sample_rate: int = SAMPLE_RATE
) -> Samples:
    """Samples as a place or a microphone colours them: each octave a little louder or softer.

    Args:
        depth: standard deviation of an octave's gain, in dB.
    """
    from scipy.fft import next_fast_len

    octaves = sample_rate / 2 ** np.arange(10, 0, -1)
    decibels = stream.normal(0, depth, len(octaves))
    # Padded, so that what a filter leaves at one end does not come in at the other.
    length = next_fast_len(len(samples) + _LONGEST_RINGING, real=True)
    frequencies = np.maximum(np.fft.rfftfreq(length, 1 / sample_rate), octaves[0])
    gains = 10 ** (np.interp(np.log2(frequencies), np.log2(octaves), decibels) / 20)
    return np.fft.irfft(np.fft.rfft(samples, length) * gains, length)[: len(samples)]


@lru_cache(maxsize=32)
def _filter_sections(
    low: float | None, high: float | None, order: int, sample_rate: int
) -> NDArray[np.float64]:
    from scipy.signal import butter

    if low is not None and high is not None:
        sections = butter(order, (low, high), "bandpass", fs=sample_rate, output="sos")
    elif high is not None:
        sections = butter(order, high, "lowpass", fs=sample_rate, output="sos")
    elif low is not None:
        sections = butter(order, low, "highpass", fs=sample_rate, output="sos")
    else:
        raise ValueError("a filter needs at least one of low and high")
    return np.asarray(sections)


def wander(
    stream: np.random.Generator,
    num_samples: int,
    rate: float,
    depth: float,
    sample_rate: int = SAMPLE_RATE,
) -> Samples:
    """A gain or frequency factor that strays smoothly between 1 - depth and 1 + depth.

    Args:
        rate: turning points per s.
    """
    from scipy.interpolate import PchipInterpolator

    num_points = max(int(num_samples / sample_rate * rate) + 2, 4)
    values = 1 + depth * stream.uniform(-1, 1, num_points)
    positions = np.linspace(0, num_samples, num_points)
    return np.asarray(PchipInterpolator(positions, values)(np.arange(num_samples)))


def phase_of(frequency: Samples, sample_rate: int = SAMPLE_RATE) -> Samples:
    """The running phase in radians of a tone whose frequency in Hz is given for each sample."""
    return np.cumsum(frequency) * (2 * np.pi / sample_rate)


def harmonics(phase: Samples, amplitudes: Sequence[float]) -> Samples:
    """Sines at 1, 2, 3 ... times a running phase; the phase must keep all of them below 8 kHz."""
    tone = np.zeros_like(phase)
    for number, amplitude in enumerate(amplitudes, start=1):
        tone += amplitude * np.sin(number * phase)
    return tone


def event_times(
    stream: np.random.Generator, num_samples: int, per_second: float, jitter: float
) -> list[int]:
    """Positions in samples of repeated events.

    Intervals are uniform within (1 - jitter) to (1 + jitter) / per_second, so none is longer.
    """
    times = []
    position = stream.uniform(0, 0.5) / per_second
    while position < num_samples / SAMPLE_RATE:
        times.append(int(position * SAMPLE_RATE))
        position += stream.uniform(1 - jitter, 1 + jitter) / per_second
    return times


def burst(
    stream: np.random.Generator, seconds: float, low: float | None, high: float | None
) -> Samples:
    """Filtered noise that dies away: 60 dB within `seconds`, largest absolute value 1."""
    num_samples = round(seconds * SAMPLE_RATE)
    noise = filtered(stream.standard_normal(num_samples), low, high, order=2)
    decayed = noise * decay(num_samples, seconds)
    return np.asarray(decayed / np.abs(decayed).max())


def decay(num_samples: int, seconds: float) -> Samples:
    """An envelope from 1 that falls by 60 dB in `seconds`."""
    return np.asarray(10 ** (-3 * np.arange(num_samples) / (seconds * SAMPLE_RATE)))


def placed(events: Iterable[tuple[int, Samples]], num_samples: int) -> Samples:
    """Sounds added up at their positions in samples; what passes the end is cut off."""
    total = np.zeros(num_samples)
    for position, sound in events:
        kept = sound[: max(num_samples - position, 0)]
        total[position : position + len(kept)] += kept
    return total


def reverberated(
    stream: np.random.Generator, samples: Samples, seconds: float, wet: float
) -> Samples:
    """Samples in a room: direct sound plus a noise-like tail that falls by 60 dB in `seconds`.

    Args:
        wet: energy of the tail relative to the direct sound.
    """
    from scipy.signal import fftconvolve

    num_samples = round(seconds * SAMPLE_RATE)
    tail = filtered(stream.standard_normal(num_samples), high=5000, order=1)
    tail *= decay(num_samples, seconds)
    tail *= np.sqrt(wet) / np.linalg.norm(tail)
    tail[0] += 1
    return np.asarray(fftconvolve(samples, tail)[: len(samples)])
