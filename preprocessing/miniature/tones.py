"""Musical notes by additive synthesis, at any sample rate: partials, resonances, envelopes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.miniature.audio import Samples, decibels_to_gain

Amplitudes = NDArray[np.complex128]
_HIGHEST_PARTIAL = 0.45  # of the sample rate
_MOST_PARTIALS = 60
_FAINTEST_PARTIAL = 70.0  # dB below the loudest


@dataclass(frozen=True)
class Resonance:
    """Where a body or a vocal tract makes partials louder.

    Attributes:
        frequency: of the centre, in Hz.
        width: standard deviation of its bell shape, in octaves.
        gain: at the centre, in dB.
    """

    frequency: float
    width: float
    gain: float


@dataclass(frozen=True)
class Timbre:
    """How loud the partials of a steady note are.

    Attributes:
        slope: dB per octave above the fundamental.
        even: what is added to even partials, in dB; below 0 for a tube closed at one end.
        resonances: of the body; they stay where they are when the pitch changes.
    """

    slope: float
    even: float = 0.0
    resonances: tuple[Resonance, ...] = ()

    def amplitudes(
        self, frequency: float, sample_rate: int, stream: np.random.Generator
    ) -> Amplitudes:
        """Amplitudes of the partials that fit under the sample rate, with random phases.

        The highest ones are left out if they are too faint to be heard.

        Args:
            frequency: the highest fundamental of the note, in Hz.
        """
        num_partials = int(_HIGHEST_PARTIAL * sample_rate / frequency)
        numbers = np.arange(1, min(max(num_partials, 1), _MOST_PARTIALS) + 1)
        decibels = self.slope * np.log2(numbers) + self.even * (numbers % 2 == 0)
        for resonance in self.resonances:
            distance = np.log2(numbers * frequency / resonance.frequency) / resonance.width
            decibels += resonance.gain * np.exp(-(distance**2) / 2)
        amplitudes = gains(decibels) * np.exp(1j * stream.uniform(0, 2 * np.pi, len(numbers)))
        heard = np.flatnonzero(decibels > decibels.max() - _FAINTEST_PARTIAL)
        return np.asarray(amplitudes[: heard[-1] + 1])


def hertz(pitch: float) -> float:
    """The frequency of a MIDI note number; 69 is 440 Hz."""
    return float(440 * 2 ** ((pitch - 69) / 12))


def partials(
    phase: Samples, amplitudes: Amplitudes | NDArray[np.float64], brightness: Samples | float = 1.0
) -> Samples:
    """Sines at 1, 2, 3 ... times a running phase in radians, shape (samples,).

    Args:
        brightness: 0 to 1; partial n has its amplitude times the n-th power of it, so a fall with
            time makes high partials die first.
    """
    turning = brightness * np.exp(1j * phase)
    total = np.zeros_like(turning)
    # Horner's rule: one multiplication a partial instead of one sine.
    for amplitude in amplitudes[::-1]:
        total += amplitude
        total *= turning
    return np.array(total.imag)


def held(num_samples: int, attack: int, release: int) -> Samples:
    """An envelope that rises from 0 to 1 in `attack` samples and falls to 0 in the last `release`.

    Both are half a period of a cosine; those of a short note are shortened alike.
    """
    shortening = min(1.0, num_samples / max(attack + release, 1))
    attack, release = int(attack * shortening), int(release * shortening)
    envelope = np.ones(num_samples)
    envelope[:attack] = (1 - np.cos(np.pi * np.arange(attack) / max(attack, 1))) / 2
    if release:
        falling = (1 + np.cos(np.pi * np.arange(1, release + 1) / release)) / 2
        envelope[-release:] *= falling
    return envelope


def fading(num_samples: int, seconds: float, sample_rate: int) -> Samples:
    """An envelope from 1 that falls by 60 dB in `seconds`."""
    return np.asarray(10 ** (-3 * np.arange(num_samples) / (seconds * sample_rate)))


def vibrato(
    stream: np.random.Generator, num_samples: int, rate: float, cents: float, sample_rate: int
) -> Samples:
    """A wave in cents that sets in within the first half second.

    Args:
        rate: of the wave, in Hz.
        cents: its amplitude.
    """
    seconds = np.arange(num_samples) / sample_rate
    wave = np.sin(2 * np.pi * rate * seconds + stream.uniform(0, 2 * np.pi))
    return np.asarray(cents * wave * np.minimum(seconds / 0.5, 1))


def bent(frequency: float, cents: Samples) -> Samples:
    """A frequency in Hz that strays by so many cents (hundredths of a semitone)."""
    return np.asarray(frequency * np.exp(cents * (np.log(2) / 1200)))


def gains(decibels: Samples) -> Samples:
    """Amplitude ratios of levels in dB."""
    return np.asarray(np.exp(decibels * (np.log(10) / 20)))


def with_noise(tone: Samples, noise: Samples, level: float) -> Samples:
    """A tone and a noise that is `level` dB above it where both have an RMS of 1."""
    return tone + noise * decibels_to_gain(level)
