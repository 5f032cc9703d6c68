"""Twelve instruments that are played well or badly: defects of attack, dynamics, pitch, timbre.

A performance says what happens to a note over time. A good one is nearly steady; a defect is a
function that spoils a performance.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from preprocessing.miniature.audio import Samples
from preprocessing.miniature.sound_design import filtered, phase_of, unit_rms, wander
from preprocessing.miniature.tones import (
    Resonance,
    Timbre,
    bent,
    gains,
    held,
    hertz,
    partials,
    vibrato,
)

PLAYED_SAMPLE_RATE = 48000  # Hz
_TUNING = 442 / 440
_RELEASE = 0.08  # s
_SAMPLES_PER_POINT = 48  # slow changes are drawn once in so many samples


@dataclass(frozen=True)
class Instrument:
    """What is the same for all notes of an instrument.

    Attributes:
        timbre: of a steady note.
        pitches: lowest and highest MIDI note.
        attack: how long a note takes to speak, in s.
        vibrato: its amplitude in cents; 0: none.
        noise: of breath or bow, in dB relative to the tone.
        brightness: 0 to 1, see `partials`.
        fall: of the level in dB/s; above 0 for plucked strings.
    """

    timbre: Timbre
    pitches: tuple[int, int]
    attack: float
    vibrato: float
    noise: float
    brightness: float = 1.0
    fall: float = 0.0


@dataclass(frozen=True)
class Performance:
    """How one note is played; each array has a value a sample.

    Attributes:
        timbre: of its partials.
        attack: how long it takes to speak, in s.
        cents: what its pitch is off by.
        level: dB.
        brightness: 0 to 1, see `partials`.
        noise: of breath or bow, in dB relative to the tone.
    """

    timbre: Timbre
    attack: float
    cents: Samples
    level: Samples
    brightness: Samples
    noise: Samples

    @property
    def num_samples(self) -> int:
        """Of the note."""
        return len(self.cents)

    @property
    def seconds(self) -> Samples:
        """The time of each sample, from the beginning of the note."""
        return np.arange(self.num_samples) / PLAYED_SAMPLE_RATE


INSTRUMENTS = {
    "flute": Instrument(Timbre(-12), (60, 79), 0.06, 8, -22),
    "clarinet": Instrument(
        Timbre(-7, even=-26, resonances=(Resonance(1500, 0.5, 8),)), (52, 72), 0.04, 0, -40
    ),
    "trumpet": Instrument(
        Timbre(-3, resonances=(Resonance(1300, 0.6, 12),)), (56, 75), 0.03, 3, -46, 0.95
    ),
    "violin": Instrument(
        Timbre(
            -6,
            resonances=(
                Resonance(280, 0.2, 6),
                Resonance(460, 0.2, 8),
                Resonance(2800, 0.4, 14),
            ),
        ),
        (57, 79),
        0.1,
        16,
        -28,
    ),
    "cello": Instrument(
        Timbre(-7, resonances=(Resonance(110, 0.3, 6), Resonance(220, 0.3, 8))),
        (38, 58),
        0.12,
        14,
        -28,
        0.97,
    ),
    "sax_alto": Instrument(
        Timbre(-7, resonances=(Resonance(750, 0.3, 16), Resonance(2200, 0.3, 8))),
        (51, 70),
        0.04,
        5,
        -32,
        0.98,
    ),
    "sax_tenor": Instrument(
        Timbre(-7, resonances=(Resonance(520, 0.3, 16), Resonance(1600, 0.3, 8))),
        (46, 65),
        0.045,
        5,
        -30,
        0.98,
    ),
    "sax_baritone": Instrument(
        Timbre(-6, resonances=(Resonance(330, 0.3, 16), Resonance(1000, 0.3, 8))),
        (37, 56),
        0.05,
        5,
        -28,
        0.98,
    ),
    "sax_soprano": Instrument(
        Timbre(-7, resonances=(Resonance(1150, 0.3, 16), Resonance(3400, 0.3, 8))),
        (58, 77),
        0.035,
        5,
        -34,
        0.98,
    ),
    "oboe": Instrument(
        Timbre(-3, resonances=(Resonance(1000, 0.2, 14), Resonance(2900, 0.2, 14))),
        (60, 79),
        0.025,
        6,
        -42,
        0.93,
    ),
    "piccolo": Instrument(Timbre(-14), (77, 96), 0.04, 6, -20),
    "bass": Instrument(
        Timbre(-7, resonances=(Resonance(100, 0.4, 6), Resonance(400, 0.5, 4))),
        (29, 48),
        0.01,
        0,
        -40,
        0.85,
        fall=9,
    ),
}


def good_performance(
    instrument: Instrument, seconds: float, stream: np.random.Generator
) -> Performance:
    """A note as a good player plays it: steady, in tune, and never quite the same."""
    num_samples = round(seconds * PLAYED_SAMPLE_RATE)
    times = np.arange(num_samples) / PLAYED_SAMPLE_RATE
    cents = stream.normal(0, 5) + 3 * _stray(stream, num_samples, rate=2.0)
    depth = instrument.vibrato * stream.uniform(0.5, 1.2)
    cents += vibrato(stream, num_samples, stream.uniform(4.8, 6), depth, PLAYED_SAMPLE_RATE)
    level = 0.8 * _stray(stream, num_samples, rate=1.5) - instrument.fall * times
    brightness = instrument.brightness * np.exp(-0.03 * instrument.fall * times)
    brightness *= 1 - 0.015 * (1 + _stray(stream, num_samples, rate=2.0))
    noise = np.full(num_samples, instrument.noise + stream.normal(0, 2))
    attack = instrument.attack * stream.uniform(0.7, 1.5)
    timbre = replace(instrument.timbre, slope=instrument.timbre.slope + stream.normal(0, 0.4))
    return Performance(timbre, attack, cents, level, brightness, noise)


def sound_of(performance: Performance, pitch: int, stream: np.random.Generator) -> Samples:
    """The samples of a performance at 48 kHz, at any level.

    Args:
        pitch: MIDI note; 69 is 442 Hz.
    """
    frequency = hertz(pitch) * _TUNING
    bent_frequency = bent(frequency, performance.cents)
    amplitudes = performance.timbre.amplitudes(bent_frequency.max(), PLAYED_SAMPLE_RATE, stream)
    phase = phase_of(bent_frequency, PLAYED_SAMPLE_RATE)
    tone = unit_rms(partials(phase, amplitudes, performance.brightness))
    hiss = stream.standard_normal(performance.num_samples)
    hiss = filtered(hiss, 600, 7000, order=1, sample_rate=PLAYED_SAMPLE_RATE)
    envelope = held(
        performance.num_samples,
        round(performance.attack * PLAYED_SAMPLE_RATE),
        round(_RELEASE * PLAYED_SAMPLE_RATE),
    )
    loudness = envelope * gains(performance.level)
    return (tone + unit_rms(hiss) * gains(performance.noise)) * loudness


def _stray(stream: np.random.Generator, num_samples: int, rate: float) -> Samples:
    """A smooth walk between -1 and 1."""
    num_points = num_samples // _SAMPLES_PER_POINT + 2
    points = wander(stream, num_points, rate, 1.0, PLAYED_SAMPLE_RATE // _SAMPLES_PER_POINT) - 1
    return np.interp(np.arange(num_samples) / _SAMPLES_PER_POINT, np.arange(num_points), points)


def _wave(stream: np.random.Generator, performance: Performance, rate: float) -> Samples:
    """A sine between -1 and 1 of so many Hz that begins anywhere."""
    angle = stream.uniform(0, 2 * np.pi)
    return np.asarray(np.sin(2 * np.pi * rate * performance.seconds + angle))


def _fading_in(performance: Performance, seconds: float) -> Samples:
    """1 at the beginning of a note, that dies away in about so many seconds."""
    return np.exp(-performance.seconds / seconds)


def _slow_attack(stream: np.random.Generator, performance: Performance) -> Performance:
    return replace(performance, attack=stream.uniform(0.5, 1.0))


def _scooped_attack(stream: np.random.Generator, performance: Performance) -> Performance:
    scoop = stream.uniform(-700, -300) * _fading_in(performance, stream.uniform(0.1, 0.2))
    return replace(performance, cents=performance.cents + scoop, attack=performance.attack * 2)


def _airy_attack(stream: np.random.Generator, performance: Performance) -> Performance:
    air = _fading_in(performance, stream.uniform(0.15, 0.3))
    noise = performance.noise + (stream.uniform(3, 10) - performance.noise) * air
    # The tone itself speaks late.
    late = performance.brightness * (1 - 0.5 * air)
    return replace(performance, noise=noise, brightness=late)


def _hard_attack(stream: np.random.Generator, performance: Performance) -> Performance:
    blow = _fading_in(performance, stream.uniform(0.08, 0.15))
    return replace(
        performance,
        attack=0.002,
        level=performance.level + stream.uniform(12, 20) * blow,
        noise=performance.noise + (-3 - performance.noise) * blow,
        cents=performance.cents + stream.uniform(80, 200) * blow,
    )


def _crescendo(stream: np.random.Generator, performance: Performance) -> Performance:
    rise = np.linspace(-1, 0, performance.num_samples) * stream.uniform(18, 30)
    return replace(performance, level=performance.level + rise)


def _decrescendo(stream: np.random.Generator, performance: Performance) -> Performance:
    fall = np.linspace(0, -1, performance.num_samples) * stream.uniform(18, 30)
    return replace(performance, level=performance.level + fall)


def _tremolo(stream: np.random.Generator, performance: Performance) -> Performance:
    wave = _wave(stream, performance, stream.uniform(3, 7)) * stream.uniform(6, 11)
    return replace(performance, level=performance.level + wave)


def _uneven_level(stream: np.random.Generator, performance: Performance) -> Performance:
    walk = _stray(stream, performance.num_samples, rate=stream.uniform(2, 4))
    return replace(performance, level=performance.level + walk * stream.uniform(12, 18))


def _drifting_pitch(stream: np.random.Generator, performance: Performance) -> Performance:
    drift = np.linspace(0, 1, performance.num_samples) * stream.uniform(120, 300)
    return replace(performance, cents=performance.cents + drift * stream.choice((-1, 1)))


def _wide_vibrato(stream: np.random.Generator, performance: Performance) -> Performance:
    wave = _wave(stream, performance, stream.uniform(2.5, 6)) * stream.uniform(80, 180)
    return replace(performance, cents=performance.cents + wave)


def _straying_pitch(stream: np.random.Generator, performance: Performance) -> Performance:
    walk = _stray(stream, performance.num_samples, rate=stream.uniform(2, 5))
    return replace(performance, cents=performance.cents + walk * stream.uniform(130, 260))


def _off_pitch(stream: np.random.Generator, performance: Performance) -> Performance:
    off = stream.choice((-1, 1)) * stream.uniform(35, 50)
    return _drifting_pitch(stream, replace(performance, cents=performance.cents + off))


def _unsteady_timbre(stream: np.random.Generator, performance: Performance) -> Performance:
    walk = _stray(stream, performance.num_samples, rate=stream.uniform(3, 6))
    darker = 1 - stream.uniform(0.15, 0.3) * (1 + walk)
    return replace(
        performance,
        brightness=performance.brightness * darker,
        noise=performance.noise + stream.uniform(6, 12),
    )


def _noisy_timbre(stream: np.random.Generator, performance: Performance) -> Performance:
    noise = np.full(performance.num_samples, stream.uniform(-12, -4))
    return replace(performance, noise=noise + 2 * _stray(stream, performance.num_samples, 4))


def _poor_timbre(stream: np.random.Generator, performance: Performance) -> Performance:
    """A dull sound: hardly more than its fundamental, and breath."""
    slope = performance.timbre.slope - stream.uniform(12, 20)
    timbre = replace(performance.timbre, slope=slope, resonances=())
    return replace(performance, timbre=timbre, noise=performance.noise + stream.uniform(3, 9))


def _nasal_timbre(stream: np.random.Generator, performance: Performance) -> Performance:
    """A duck: one narrow resonance and little else, and a growl."""
    nose = Resonance(stream.uniform(1500, 2600), 0.18, stream.uniform(24, 32))
    timbre = replace(performance.timbre, slope=performance.timbre.slope - 3, resonances=(nose,))
    growl = _wave(stream, performance, stream.uniform(35, 70)) * stream.uniform(4, 8)
    return replace(performance, timbre=timbre, level=performance.level + growl)


Defect = Callable[[np.random.Generator, Performance], Performance]
# What the players' tags in the real database mean, by goodness.
DEFECTS: dict[str, dict[str, Defect]] = {
    "bad-attack": {
        "bad-attack": _slow_attack,
        "bad-attack-gallo": _scooped_attack,
        "bad-attack-air": _airy_attack,
        "bad-attack-too-strong": _hard_attack,
    },
    "bad-dynamics": {
        "bad-dynamics-stability-crescendo": _crescendo,
        "bad-dynamics-stability-tremolo": _tremolo,
        "bad-dynamics-stability-errors": _uneven_level,
        "bad-dynamics-stability-decrescendo": _decrescendo,
    },
    "bad-pitch": {
        "bad-pitch-stability": _drifting_pitch,
        "bad-pitch-stability-vibrato": _wide_vibrato,
        "bad-pitch-stability-errors": _straying_pitch,
        "bad-pitch": _off_pitch,
    },
    "bad-timbre": {
        "bad-timbre-stability": _unsteady_timbre,
        "bad-richness": _poor_timbre,
        "bad-timbre": _noisy_timbre,
        "bad-richness-pato": _nasal_timbre,
    },
}


def spoiled(performance: Performance, klass: str, stream: np.random.Generator) -> Performance:
    """A performance with the defects that its tags name; tags of other things change nothing.

    Args:
        klass: tags with a space between them.
    """
    by_tag = {tag: defect for defects in DEFECTS.values() for tag, defect in defects.items()}
    for tag in klass.split():
        if tag in by_tag:
            performance = by_tag[tag](stream, performance)
    return performance
