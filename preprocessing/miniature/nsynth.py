"""NSynth in miniature: notes of eleven families; no instrument is in two of the three sets."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from preprocessing.miniature.notes import Instrument, hertz, tone
from preprocessing.miniature.sounds import (
    SAMPLE_RATE,
    Samples,
    gain,
    random_stream,
    scaled_to_peak,
)

CORPUS = "nsynth"
SECONDS = 4
NOTES_PER_INSTRUMENT = 4
VELOCITIES = (25, 50, 75, 100, 127)
SOURCES = ("acoustic", "electronic", "synthetic")
# In the order of the real corpus: a family's place is its label.
FAMILIES = {
    "bass": Instrument((28, 48), -5, 0, 100, 0.01, fall=6),
    "brass": Instrument((48, 77), -3, 0, 1200, 0.1),
    "flute": Instrument((60, 88), -14, 0, 800, 0.08),
    "guitar": Instrument((40, 76), -4, 0, 220, 0.005, fall=15),
    "keyboard": Instrument((36, 90), -7, 0, 400, 0.005, fall=8),
    "mallet": Instrument((48, 92), -20, -20, 1000, 0.002, fall=30),
    "organ": Instrument((36, 84), 0, -6, 300, 0.02),
    "reed": Instrument((46, 78), -7, -20, 1100, 0.04),
    "string": Instrument((40, 84), -6, 0, 2500, 0.3),
    "synth_lead": Instrument((45, 88), -6, -60, 4000, 0.01),
    "vocal": Instrument((45, 76), -11, 0, 650, 0.15),
}


def make_nsynth(seed: int, notes_per_family: int) -> Iterator[tuple[str, Samples | str]]:
    """Make `nsynth-<train, valid or test>/audio/<note>.wav` and their `examples.json`."""
    first_instrument = 0
    for part in ("train", "valid", "test"):
        num_notes = notes_per_family if part == "train" else max(notes_per_family // 4, 1)
        num_instruments = -(-num_notes // NOTES_PER_INSTRUMENT)
        examples: dict[str, dict[str, Any]] = {}
        for family in FAMILIES:
            for index in range(num_notes):
                instrument = first_instrument + index // NOTES_PER_INSTRUMENT
                place = index % NOTES_PER_INSTRUMENT
                note = _describe(family, instrument, place, len(examples), seed)
                examples[note["note_str"]] = note
                yield f"nsynth-{part}/audio/{note['note_str']}.wav", _play(note, seed)
            first_instrument += num_instruments
        yield f"nsynth-{part}/examples.json", json.dumps(examples, indent=1)


def _describe(family: str, instrument: int, place: int, number: int, seed: int) -> dict[str, Any]:
    """Return what examples.json says of one of an instrument's notes."""
    stream = random_stream(seed, CORPUS, instrument)
    low, high = FAMILIES[family].pitches
    pitch = int(stream.choice(np.arange(low, high), NOTES_PER_INSTRUMENT, replace=False)[place])
    velocity = int(stream.choice(VELOCITIES, NOTES_PER_INSTRUMENT)[place])
    source = instrument % len(SOURCES)
    name = f"{family}_{SOURCES[source]}_{instrument:03}"
    return {
        "note": number,
        "note_str": f"{name}-{pitch:03}-{velocity:03}",
        "instrument": instrument,
        "instrument_str": name,
        "pitch": pitch,
        "velocity": velocity,
        "sample_rate": SAMPLE_RATE,
        "qualities": [0] * 10,
        "qualities_str": [],
        "instrument_family": list(FAMILIES).index(family),
        "instrument_family_str": family,
        "instrument_source": source,
        "instrument_source_str": SOURCES[source],
    }


def _play(note: dict[str, Any], seed: int) -> Samples:
    """Hold a note for 4 s; the velocity decides its level."""
    own = random_stream(seed, CORPUS, note["instrument_str"])
    instrument = FAMILIES[note["instrument_family_str"]].varied(own)
    stream = random_stream(seed, CORPUS, note["note_str"])
    frequency = np.full(SECONDS * SAMPLE_RATE, hertz(note["pitch"]))
    level = -3 - 16 * (1 - note["velocity"] / 127)
    samples = scaled_to_peak(tone(instrument, frequency, SAMPLE_RATE), gain(level))
    return samples + gain(-70) * stream.standard_normal(len(samples))
