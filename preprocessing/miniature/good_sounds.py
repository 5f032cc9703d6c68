"""Good-Sounds in miniature: notes of twelve instruments, good or bad in one of four ways."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product

import numpy as np

from preprocessing.miniature.notes import Instrument, hertz, tone
from preprocessing.miniature.sounds import Samples, gain, random_stream, scaled_to_peak

CORPUS = "goodsounds"
SAMPLE_RATE = 48000  # Hz
MICROPHONE = "neumann"
PLAYERS = ("ada", "bela")
# Tags in the database: the goodnesses that the scripts tell apart, and one that they leave out.
GOODNESS = ("good-sound", "bad-dynamics", "bad-pitch", "bad-timbre", "bad-attack")
LEFT_OUT = "scale-good"
INSTRUMENTS = {
    "flute": Instrument((60, 79), -12, 0, 800, 0.06),
    "clarinet": Instrument((52, 72), -7, -26, 1500, 0.04),
    "trumpet": Instrument((56, 75), -3, 0, 1300, 0.03),
    "violin": Instrument((57, 79), -5, 0, 2800, 0.1),
    "cello": Instrument((38, 58), -6, 0, 220, 0.12),
    "sax_alto": Instrument((51, 70), -7, 0, 750, 0.04),
    "sax_tenor": Instrument((46, 65), -7, 0, 520, 0.045),
    "sax_baritone": Instrument((37, 56), -6, 0, 330, 0.05),
    "sax_soprano": Instrument((58, 77), -7, 0, 1150, 0.035),
    "oboe": Instrument((60, 79), -1, -6, 1000, 0.025),
    "piccolo": Instrument((77, 96), -14, 0, 1600, 0.04),
    "bass": Instrument((29, 48), -7, 0, 100, 0.01, fall=9),
}
TABLES = """
CREATE TABLE packs (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE sounds (
    id INTEGER PRIMARY KEY, instrument TEXT, player TEXT, klass TEXT, pack_filename TEXT,
    pack_id INTEGER REFERENCES packs (id)
);
CREATE TABLE takes (
    id INTEGER PRIMARY KEY, microphone TEXT, filename TEXT, sound_id INTEGER REFERENCES sounds (id)
);
"""


def make_good_sounds(seed: int, sounds_per_goodness: int) -> Iterator[tuple[str, Samples | bytes]]:
    """Make `sound_files/<pack>/<microphone>/<n>.wav` and the database that describes them.

    Two players of each instrument share its sounds; each recorded a pack, and a scale besides.
    """
    sound_id = 0
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(TABLES)
        for pack_id, (name, player) in enumerate(product(INSTRUMENTS, PLAYERS), start=1):
            pack = f"{name}_{player}_reference"
            database.execute("INSERT INTO packs VALUES (?, ?)", (pack_id, pack))
            num_own = len(range(PLAYERS.index(player), sounds_per_goodness, len(PLAYERS)))
            for index, klass in enumerate((*GOODNESS * num_own, LEFT_OUT)):
                sound_id += 1
                file = f"{index:04}.wav"
                path = f"sound_files/{pack}/{MICROPHONE}/{file}"
                sound = (sound_id, name, player, klass, file, pack_id)
                database.execute("INSERT INTO sounds VALUES (?, ?, ?, ?, ?, ?)", sound)
                take = (sound_id, MICROPHONE, path, sound_id)
                database.execute("INSERT INTO takes VALUES (?, ?, ?, ?)", take)
                yield path, _play(INSTRUMENTS[name], klass, random_stream(seed, CORPUS, path))
        database.commit()
        yield "database.sqlite", database.serialize()


def _play(instrument: Instrument, klass: str, stream: np.random.Generator) -> Samples:
    """Play a note of 1.0 to 1.5 s; a bad one drifts, trembles, hisses or speaks late."""
    frequency = hertz(int(stream.integers(*instrument.pitches)))
    times = np.arange(round(stream.uniform(1.0, 1.5) * SAMPLE_RATE)) / SAMPLE_RATE
    cents = 8 * np.sin(2 * np.pi * stream.uniform(4.5, 6) * times)
    level = np.zeros(len(times))
    noise = -45.0
    instrument = instrument.varied(stream)
    if klass == "bad-pitch":
        cents += stream.choice((-1, 1)) * stream.uniform(100, 300) * times
    elif klass == "bad-dynamics":
        level = 8 * np.sin(2 * np.pi * stream.uniform(3, 7) * times)
    elif klass == "bad-timbre":
        noise = stream.uniform(-14, -6)
    elif klass == "bad-attack":
        instrument = replace(instrument, attack=stream.uniform(0.4, 0.8))
    played = tone(instrument, frequency * 2 ** (cents / 1200), SAMPLE_RATE)
    samples = played * 10 ** (level / 20) + gain(noise) * stream.standard_normal(len(times))
    return scaled_to_peak(samples, gain(stream.uniform(-12, -3)))
