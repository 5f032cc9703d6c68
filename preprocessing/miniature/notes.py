"""Plain additive tones: an instrument is a series of harmonics and an envelope."""

from dataclasses import dataclass, replace

import numpy as np

from preprocessing.miniature.sounds import Samples, phase_of, unit_rms

MOST_HARMONICS = 12


@dataclass(frozen=True)
class Instrument:
    """What all notes of an instrument have in common.

    Attributes:
        pitches: lowest and highest MIDI note.
        slope: of the harmonics, in dB per octave above the fundamental.
        even: what is added to even harmonics, in dB; below 0 for a tube closed at one end.
        formant: near this frequency in Hz harmonics are up to 12 dB louder.
        attack: how long a note takes to reach its level, in s.
        fall: of the level afterwards, in dB/s; above 0 for strings and bars that are struck.
    """

    pitches: tuple[int, int]
    slope: float
    even: float
    formant: float
    attack: float
    fall: float = 0.0

    def varied(self, stream: np.random.Generator) -> "Instrument":
        """Return another instrument of the same kind."""
        return replace(
            self,
            slope=self.slope + stream.normal(0, 1),
            formant=self.formant * stream.uniform(0.9, 1.1),
            attack=self.attack * stream.uniform(0.7, 1.5),
        )


def hertz(pitch: float) -> float:
    """Return the frequency of a MIDI note; 69 is 440 Hz."""
    return float(440 * 2 ** ((pitch - 69) / 12))


def tone(instrument: Instrument, frequency: Samples, sample_rate: int) -> Samples:
    """Return a note of 0.2 s or more with an RMS of 1 before its envelope, shape (samples,).

    Args:
        frequency: in Hz, of each sample.
    """
    fitting = int(0.45 * sample_rate / frequency.max())
    numbers = np.arange(1, min(fitting, MOST_HARMONICS) + 1)
    octaves = np.log2(numbers * frequency.mean() / instrument.formant)
    decibels = instrument.slope * np.log2(numbers) + instrument.even * (numbers % 2 == 0)
    amplitudes = 10 ** ((decibels + 12 * np.exp(-2 * octaves**2)) / 20)
    # A polynomial of exp(i phase) has the harmonics as its powers, and takes one sine for all.
    turning = np.exp(1j * phase_of(frequency, sample_rate))
    steady = unit_rms(np.polyval([*amplitudes[::-1], 0], turning).imag)
    seconds = np.arange(len(frequency)) / sample_rate
    rise = np.minimum(seconds / instrument.attack, 1)
    release = np.minimum(seconds[::-1] / 0.1, 1)
    return np.asarray(steady * rise * release * 10 ** (-instrument.fall * seconds / 20))
