"""Notes of eleven families of instruments in the layout of NSynth, by additive synthesis."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from config.files import write_json
from preprocessing.miniature.audio import (
    Samples,
    decibels_to_gain,
    random_stream,
    scaled_to_peak,
    write_clips,
)
from preprocessing.miniature.espeak import SAMPLE_RATE
from preprocessing.miniature.sound_design import (
    burst,
    decay,
    filtered,
    harmonics,
    phase_of,
    placed,
    reverberated,
    unit_rms,
    wander,
)
from preprocessing.miniature.tones import (
    Amplitudes,
    Resonance,
    Timbre,
    bent,
    held,
    hertz,
    partials,
    vibrato,
    with_noise,
)

CORPUS = "nsynth"
SETS = ("train", "valid", "test")
SOURCES = ("acoustic", "electronic", "synthetic")
QUALITIES = (
    "bright",
    "dark",
    "distortion",
    "fast_decay",
    "long_release",
    "multiphonic",
    "nonlinear_env",
    "percussive",
    "reverb",
    "tempo-synced",
)
VELOCITIES = (25, 50, 75, 100, 127)
_SECONDS = 4.0
_HELD_SECONDS = 3.0
_NUM_SAMPLES = round(_SECONDS * SAMPLE_RATE)
_TIMES = np.arange(_NUM_SAMPLES) / SAMPLE_RATE
_FLOOR = -70.0  # dBFS, noise that any recording has
# Formants in Hz of the vowels a, e, i, o, u.
_VOWELS = (
    (800, 1150, 2900),
    (400, 1700, 2600),
    (300, 2300, 3000),
    (450, 800, 2830),
    (325, 700, 2700),
)


@dataclass(frozen=True)
class Note:
    """A key that is pressed for 3 s.

    Attributes:
        frequency: in Hz.
        force: how hard, 0 to 1.
        instrument: random numbers that are the same for all notes of an instrument.
        stream: random numbers of this note.
    """

    frequency: float
    force: float
    instrument: np.random.Generator
    stream: np.random.Generator

    def amplitudes(self, timbre: Timbre) -> Amplitudes:
        """Of its partials; a semitone is left for vibrato."""
        return timbre.amplitudes(self.frequency * 1.06, SAMPLE_RATE, self.stream)


@dataclass(frozen=True)
class Family:
    """A family of instruments.

    Attributes:
        play: 4 s of a note at any level.
        pitches: lowest and highest MIDI note.
        sources: indices of those in `SOURCES` that occur.
        qualities: that all its notes have.
        optional: that some of its instruments have.
    """

    play: Callable[[Note], Samples]
    pitches: tuple[int, int]
    sources: tuple[int, ...] = (0, 1, 2)
    qualities: tuple[str, ...] = ()
    optional: tuple[str, ...] = ("bright", "dark", "reverb")


@dataclass(frozen=True)
class Instrument:
    """One instrument of a family; `number` counts all instruments of the corpus."""

    number: int
    name: str
    family: str
    source: int
    qualities: frozenset[str] = field(default_factory=frozenset)


def make_nsynth(folder: Path, notes_per_family: int, seed: int) -> int:
    """Write `nsynth-<train, valid or test>/audio/<note>.wav` and their `examples.json`.

    No instrument is in two sets. The same arguments give the same files, bit for bit.

    Args:
        folder: takes the three sets; made if need be.
        notes_per_family: in the training set; the others have a quarter of it, at least 1.
        seed: of instruments and notes.

    Returns:
        How many audio files were written.

    Raises:
        FileExistsError: a file is there already.
    """
    num_written = 0
    first_instrument = first_note = 0
    for part in SETS:
        num_notes = notes_per_family if part == "train" else max(notes_per_family // 4, 1)
        instruments = _draw_instruments(part, num_notes, first_instrument, seed)
        examples = dict(_examples(instruments, num_notes, first_note, seed))
        first_instrument += len(instruments)
        first_note += len(examples)
        place = folder / f"nsynth-{part}"
        by_name = {instrument.name: instrument for instrument in instruments}
        clips = _clips(examples, by_name, seed)
        num_written += write_clips(place, clips, len(examples), f"notes, {part}")
        write_json(place / "examples.json", examples)
    return num_written


def synthesize_note(instrument: Instrument, pitch: int, velocity: int, seed: int) -> Samples:
    """A note at 16 kHz, held for 3 s of its 4 s.

    Args:
        pitch: MIDI note.
        velocity: 1 to 127.
    """
    stream = random_stream(seed, CORPUS, instrument.name, pitch, velocity)
    own = random_stream(seed, CORPUS, instrument.name)
    note = Note(hertz(pitch), velocity / 127, own, stream)
    samples = _with_qualities(FAMILIES[instrument.family].play(note), instrument, seed)
    samples = scaled_to_peak(samples, decibels_to_gain(stream.uniform(-5, -2)))
    loudness = decibels_to_gain(-16 * (1 - note.force))
    return samples * loudness + decibels_to_gain(_FLOOR) * stream.standard_normal(_NUM_SAMPLES)


def _draw_instruments(part: str, num_notes: int, first: int, seed: int) -> list[Instrument]:
    """About an instrument for each four notes of a family, but two if there are two notes."""
    instruments: list[Instrument] = []
    for name, family in FAMILIES.items():
        stream = random_stream(seed, CORPUS, part, name)
        for _ in range(min(max(round(num_notes / 4), 2), num_notes)):
            number = first + len(instruments)
            source = int(stream.choice(family.sources))
            chosen = {quality for quality in family.optional if stream.random() < 0.25}
            if {"bright", "dark"} <= chosen:
                chosen.remove("dark")
            qualities = frozenset(chosen | set(family.qualities))
            full_name = f"{name}_{SOURCES[source]}_{number:03}"
            instruments.append(Instrument(number, full_name, name, source, qualities))
    return instruments


def _examples(
    instruments: list[Instrument], num_notes: int, first: int, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What examples.json says of each note, by its name."""
    number = first
    for name, family in FAMILIES.items():
        players = [instrument for instrument in instruments if instrument.family == name]
        for index, instrument in enumerate(players):
            num_own = len(range(index, num_notes, len(players)))
            stream = random_stream(seed, CORPUS, instrument.name, "notes")
            for pitch, velocity in _draw_keys(family.pitches, num_own, stream):
                note = _description(number, instrument, pitch, velocity)
                number += 1
                yield note["note_str"], note


def _draw_keys(
    pitches: tuple[int, int], num_notes: int, stream: np.random.Generator
) -> list[tuple[int, int]]:
    """Different (pitch, velocity) pairs."""
    keys = [
        (pitch, velocity) for pitch in range(pitches[0], pitches[1] + 1) for velocity in VELOCITIES
    ]
    return [keys[index] for index in stream.choice(len(keys), num_notes, replace=False)]


def _description(number: int, instrument: Instrument, pitch: int, velocity: int) -> dict[str, Any]:
    """A note in the words of examples.json."""
    return {
        "note": number,
        "note_str": f"{instrument.name}-{pitch:03}-{velocity:03}",
        "instrument": instrument.number,
        "instrument_str": instrument.name,
        "pitch": pitch,
        "velocity": velocity,
        "sample_rate": SAMPLE_RATE,
        "qualities": [int(quality in instrument.qualities) for quality in QUALITIES],
        "qualities_str": [quality for quality in QUALITIES if quality in instrument.qualities],
        "instrument_family": list(FAMILIES).index(instrument.family),
        "instrument_family_str": instrument.family,
        "instrument_source": instrument.source,
        "instrument_source_str": SOURCES[instrument.source],
    }


def _clips(
    examples: dict[str, dict[str, Any]], instruments: dict[str, Instrument], seed: int
) -> Iterator[tuple[str, Samples]]:
    for name, note in examples.items():
        instrument = instruments[note["instrument_str"]]
        samples = synthesize_note(instrument, note["pitch"], note["velocity"], seed)
        yield f"audio/{name}.wav", samples


def _with_qualities(samples: Samples, instrument: Instrument, seed: int) -> Samples:
    """A note as the effects of its instrument leave it."""
    stream = random_stream(seed, CORPUS, instrument.name, "qualities")
    if "distortion" in instrument.qualities:
        samples = np.tanh(stream.uniform(2, 4) * unit_rms(samples))
    if "bright" in instrument.qualities:
        samples = samples + filtered(samples, low=2000, order=1)
    if "dark" in instrument.qualities:
        samples = filtered(samples, high=stream.uniform(900, 1600), order=1)
    if "reverb" in instrument.qualities:
        seconds = stream.uniform(0.4, 0.9)
        samples = reverberated(stream, samples, seconds, wet=stream.uniform(0.1, 0.3))
    return samples


def _key_held(attack: float, release: float) -> Samples:
    """An envelope of 4 s: up in `attack` s, and down in `release` s after 3 s."""
    num_samples = min(round((_HELD_SECONDS + release) * SAMPLE_RATE), _NUM_SAMPLES)
    falling = num_samples - round(_HELD_SECONDS * SAMPLE_RATE)
    envelope = held(num_samples, round(attack * SAMPLE_RATE), falling)
    return np.pad(envelope, (0, _NUM_SAMPLES - num_samples))


def _steady(note: Note) -> Samples:
    """The phase of an unbent note."""
    return phase_of(np.full(_NUM_SAMPLES, note.frequency))


def _plucked(amplitudes: Amplitudes) -> Amplitudes:
    """Amplitudes of a string that is plucked at a seventh of its length."""
    numbers = np.arange(1, len(amplitudes) + 1)
    return amplitudes * (0.05 + np.abs(np.sin(np.pi * numbers / 7)))


def _air(note: Note, low: float, high: float) -> Samples:
    """The noise of breath or bow, with an RMS of 1."""
    return unit_rms(filtered(note.stream.standard_normal(_NUM_SAMPLES), low, high, order=1))


def _bass(note: Note) -> Samples:
    """A low string that dies away slowly, or a synthesizer's filter that closes."""
    own = note.instrument
    timbre = Timbre(slope=own.uniform(-8, -4))
    brightness = own.uniform(0.72, 0.86) + 0.1 * note.force
    if own.random() < 0.4:
        fall = np.exp(-_TIMES / own.uniform(0.15, 0.4))
        closing = brightness * (0.7 + 0.3 * fall)
        tone = partials(_steady(note), note.amplitudes(timbre), closing)
    else:
        dying = brightness * np.exp(-_TIMES * own.uniform(0.3, 0.8))
        tone = partials(_steady(note), note.amplitudes(timbre), dying)
    return tone * _key_held(0.006, own.uniform(0.1, 0.3))


def _brass(note: Note) -> Samples:
    """A tone that comes up from below and is bright only once it is loud."""
    own = note.instrument
    timbre = Timbre(own.uniform(-5, -3), resonances=(Resonance(own.uniform(900, 1500), 0.7, 7),))
    attack = own.uniform(0.07, 0.14)
    opening = 1 - np.exp(-_TIMES / attack)
    cents = -60 * np.exp(-_TIMES / 0.04)
    cents += vibrato(note.stream, _NUM_SAMPLES, 5.0, own.uniform(0, 8), SAMPLE_RATE)
    phase = phase_of(bent(note.frequency, cents))
    brightness = (0.6 + 0.18 * opening + 0.18 * note.force * opening) * opening**0.2
    tone = partials(phase, note.amplitudes(timbre), brightness)
    return tone * _key_held(attack, 0.12)


def _flute(note: Note) -> Samples:
    """Few partials, breath, and a vibrato of loudness."""
    own = note.instrument
    timbre = Timbre(own.uniform(-16, -11))
    wave = vibrato(note.stream, _NUM_SAMPLES, own.uniform(4.5, 5.8), 12, SAMPLE_RATE)
    tone = partials(phase_of(bent(note.frequency, wave)), note.amplitudes(timbre))
    tone = unit_rms(tone) * (1 + wave / 12 * own.uniform(0.05, 0.15))
    breath = _air(note, 800, 5000)
    return with_noise(tone, breath, own.uniform(-24, -15)) * _key_held(own.uniform(0.05, 0.12), 0.1)


def _guitar(note: Note) -> Samples:
    """A plucked string on a hollow body."""
    own = note.instrument
    body = (Resonance(own.uniform(100, 125), 0.3, 5), Resonance(own.uniform(190, 240), 0.3, 4))
    amplitudes = _plucked(note.amplitudes(Timbre(own.uniform(-5, -2), resonances=body)))
    brightness = 0.8 + 0.15 * note.force
    dying = brightness * np.exp(-_TIMES * own.uniform(0.5, 1.2) * (note.frequency / 200) ** 0.5)
    tone = partials(_steady(note), amplitudes, dying)
    pick = placed([(0, burst(note.stream, 0.02, 1500, 6000))], _NUM_SAMPLES)
    return (scaled_to_peak(tone, 1) + 0.15 * pick) * _key_held(0.002, 0.3)


def _keyboard(note: Note) -> Samples:
    """Hammered strings, three a key and not quite in tune, and the thump of the hammer."""
    own = note.instrument
    timbre = Timbre(own.uniform(-7, -5))
    brightness = own.uniform(0.6, 0.75) + 0.22 * note.force
    dying = brightness * np.exp(-_TIMES * own.uniform(0.15, 0.35) * (note.frequency / 200) ** 0.6)
    tone = np.zeros(_NUM_SAMPLES)
    for cents in note.stream.uniform(-1.5, 1.5, 3):
        phase = phase_of(np.full(_NUM_SAMPLES, note.frequency * 2 ** (cents / 1200)))
        tone += partials(phase, note.amplitudes(timbre), dying)
    thump = placed([(0, burst(note.stream, 0.06, 80, 500))], _NUM_SAMPLES)
    level = own.uniform(0.1, 0.25)
    return (scaled_to_peak(tone, 1) + level * thump) * _key_held(0.004, 0.15)


def _mallet(note: Note) -> Samples:
    """A bar that is struck: three modes that are no harmonics, each shorter than the last."""
    own = note.instrument
    ratios = ((1.0, 3.98, 9.8), (1.0, 2.76, 5.4), (1.0, 4.0, 10.0))[int(own.integers(3))]
    seconds = own.uniform(0.8, 3.0) * (400 / note.frequency) ** 0.5
    tone = np.zeros(_NUM_SAMPLES)
    for number, ratio in enumerate(ratios):
        if ratio * note.frequency < 0.45 * SAMPLE_RATE:
            phase = phase_of(np.full(_NUM_SAMPLES, ratio * note.frequency))
            loudness = (own.uniform(0.2, 0.5) * (0.4 + 0.6 * note.force)) ** number
            tone += loudness * harmonics(phase, (1,)) * decay(_NUM_SAMPLES, seconds / 3**number)
    strike = placed([(0, burst(note.stream, 0.015, 1000, 7000))], _NUM_SAMPLES)
    return (scaled_to_peak(tone, 1) + 0.1 * strike) * _key_held(0.001, 0.6)


def _organ(note: Note) -> Samples:
    """Pipes at 1, 2, 3, 4, 6 and 8 times the frequency that speak at once and never change."""
    own = note.instrument
    drawn = np.zeros(8)
    drawn[[0, 1, 2, 3, 5, 7]] = own.uniform(0, 1, 6) ** 1.5
    drawn[0] = 1
    fitting = drawn[: max(int(0.45 * SAMPLE_RATE / note.frequency), 1)]
    turning = vibrato(
        note.stream, _NUM_SAMPLES, own.uniform(5.5, 7), own.uniform(0, 6), SAMPLE_RATE
    )
    tone = unit_rms(partials(phase_of(bent(note.frequency, turning)), fitting))
    click = placed([(0, burst(note.stream, 0.01, 1000, 6000))], _NUM_SAMPLES)
    return (tone + own.uniform(0, 0.5) * click) * _key_held(own.uniform(0.005, 0.03), 0.05)


def _reed(note: Note) -> Samples:
    """Odd partials as in a clarinet, or a nose as in an oboe or a saxophone."""
    own = note.instrument
    nose = Resonance(own.uniform(800, 1400), 0.45, own.uniform(4, 12))
    even = own.uniform(-22, -2)
    timbre = Timbre(own.uniform(-9, -6), even=even, resonances=(nose,))
    wave = vibrato(note.stream, _NUM_SAMPLES, 5.2, own.uniform(0, 6), SAMPLE_RATE)
    brightness = 0.86 + 0.1 * note.force
    tone = unit_rms(
        partials(phase_of(bent(note.frequency, wave)), note.amplitudes(timbre), brightness)
    )
    breath = _air(note, 1500, 6000)
    return with_noise(tone, breath, own.uniform(-34, -26)) * _key_held(
        own.uniform(0.02, 0.06), 0.08
    )


def _string(note: Note) -> Samples:
    """Some players with a bow, each with a vibrato and an intonation of their own."""
    own = note.instrument
    body = tuple(
        Resonance(frequency * own.uniform(0.85, 1.15), 0.2, own.uniform(3, 8))
        for frequency in (280, 460, 1000, 2500)
    )
    amplitudes = note.amplitudes(Timbre(own.uniform(-7, -5), resonances=body))
    tone = np.zeros(_NUM_SAMPLES)
    for _ in range(int(own.integers(1, 5))):
        cents = note.stream.uniform(-8, 8) + vibrato(
            note.stream, _NUM_SAMPLES, note.stream.uniform(5, 6.5), own.uniform(8, 22), SAMPLE_RATE
        )
        tone += partials(phase_of(bent(note.frequency, cents)), amplitudes, 0.88 + 0.1 * note.force)
    bow = _air(note, 1500, 7000)
    bowed = with_noise(unit_rms(tone), bow, own.uniform(-30, -22))
    swell = wander(note.stream, _NUM_SAMPLES, rate=2.0, depth=0.12)
    return bowed * swell * _key_held(own.uniform(0.12, 0.4), 0.3)


def _synth_lead(note: Note) -> Samples:
    """Saw or square waves a little out of tune, through a filter that opens and closes."""
    own = note.instrument
    even = -60.0 if own.random() < 0.4 else 0.0
    timbre = Timbre(-6.0, even=even)
    speed = own.uniform(0.3, 4)
    wave = np.sin(2 * np.pi * speed * _TIMES + own.uniform(0, 2 * np.pi))
    filter_opening = own.uniform(0.86, 0.95) + 0.045 * wave
    detuning = own.uniform(4, 18)
    tone = np.zeros(_NUM_SAMPLES)
    for cents in (-detuning, detuning * own.uniform(0.5, 1)):
        phase = phase_of(np.full(_NUM_SAMPLES, note.frequency * 2 ** (cents / 1200)))
        tone += partials(phase, note.amplitudes(timbre), filter_opening)
    return tone * _key_held(own.uniform(0.004, 0.03), own.uniform(0.05, 0.3))


def _vocal(note: Note) -> Samples:
    """A sung vowel."""
    own = note.instrument
    formants = _VOWELS[int(own.integers(len(_VOWELS)))]
    size = own.uniform(0.92, 1.18)
    tract = tuple(
        Resonance(size * formant, width, gain)
        for formant, width, gain in zip(formants, (0.2, 0.15, 0.12), (24, 22, 18), strict=True)
    )
    amplitudes = note.amplitudes(Timbre(own.uniform(-13, -10), resonances=tract))
    wave = vibrato(note.stream, _NUM_SAMPLES, own.uniform(5, 6.2), own.uniform(20, 50), SAMPLE_RATE)
    cents = wave - 80 * np.exp(-_TIMES / 0.08)
    tone = unit_rms(partials(phase_of(bent(note.frequency, cents)), amplitudes))
    breath = _air(note, 1000, 6000)
    sung = with_noise(tone, breath, own.uniform(-34, -24))
    return sung * _key_held(own.uniform(0.08, 0.25), 0.2)


# In the order of the real corpus: a family's place is its label.
FAMILIES = {
    "bass": Family(_bass, (28, 48), optional=("bright", "dark", "distortion")),
    "brass": Family(_brass, (48, 77), (0, 2)),
    "flute": Family(_flute, (60, 88), (0, 2)),
    "guitar": Family(
        _guitar, (40, 76), (0, 1), ("fast_decay",), ("bright", "dark", "distortion", "reverb")
    ),
    "keyboard": Family(_keyboard, (36, 90), qualities=("percussive",)),
    "mallet": Family(_mallet, (48, 92), qualities=("fast_decay", "percussive")),
    "organ": Family(_organ, (36, 84), (0, 1)),
    "reed": Family(_reed, (46, 78), (0,)),
    "string": Family(_string, (40, 84), (0, 2), ("long_release",)),
    "synth_lead": Family(
        _synth_lead, (45, 88), (2,), ("nonlinear_env",), ("bright", "dark", "distortion", "reverb")
    ),
    "vocal": Family(_vocal, (45, 76), (0, 2)),
}
