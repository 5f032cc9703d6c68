"""Well and badly played notes in the layout of Good-Sounds, with its SQLite database."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing.miniature.audio import (
    Samples,
    decibels_to_gain,
    random_stream,
    scaled_to_peak,
    write_clips,
)
from preprocessing.miniature.played_instruments import (
    DEFECTS,
    INSTRUMENTS,
    PLAYED_SAMPLE_RATE,
    good_performance,
    sound_of,
    spoiled,
)
from preprocessing.miniature.sound_design import coloured

CORPUS = "goodsounds"
GOOD = "good-sound"
DATABASE = "database.sqlite"
SOUND_FILES = "sound_files"
# Tags that the scripts leave out: scales, several defects at once, none of the five goodnesses.
LEFT_OUT = (
    "scale-good",
    "bad-attack bad-timbre-stability",
    "good-attack-accent>",
    "scale-bad-dynamics-stability-errors",
    "bad-dynamics-stability-errors-bad-richness",
    "air-outside",
    "scale-good minor staccato",
    "",
)
# Bad pitch counts beside other tags too.
MULTIPLE = "bad-pitch-stability bad-dynamics-stability-tremolo"
_GOOD_PER_BAD = 1.5
_SECONDS = (1.2, 2.4)
_SCALE_STEPS = (0, 2, 4, 5, 7)
_SCALE_NOTE_SECONDS = 0.35
_MICROPHONES = (("neumann",), ("akg",), ("neumann",), ("earth", "iphone"))
_COLOUR = 1.0  # dB, how far microphones differ in an octave's level
_PEAKS = (-12.0, -3.0)  # dBFS
_FLOORS = (-72.0, -62.0)  # dBFS
_NOTE_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_PLAYERS = ("ada", "bela", "carla", "dario", "elena", "fabio", "gina", "hugo")
_TABLES = """
CREATE TABLE packs (id INTEGER PRIMARY KEY, name TEXT, description TEXT);
CREATE TABLE sounds (
    id INTEGER PRIMARY KEY, instrument TEXT, note TEXT, octave INTEGER, dynamics TEXT,
    recorded_at TEXT, location TEXT, player TEXT, bow_velocity TEXT, bridge_position TEXT,
    string TEXT, csv_file INTEGER, csv_id INTEGER, pack_filename TEXT,
    pack_id INTEGER REFERENCES packs (id), attack INTEGER, decay INTEGER, sustain INTEGER,
    release INTEGER, offset INTEGER, reference INTEGER, klass TEXT, comments TEXT,
    semitone INTEGER, pitch_reference INTEGER
);
CREATE TABLE takes (
    id INTEGER PRIMARY KEY, microphone TEXT, filename TEXT, original_filename TEXT,
    freesound_id INTEGER, sound_id INTEGER REFERENCES sounds (id), goodsound_id INTEGER
);
CREATE TABLE ratings (
    id INTEGER PRIMARY KEY, mark INTEGER, type TEXT, created_at TEXT, comments TEXT,
    sound_id INTEGER REFERENCES sounds (id), rater TEXT
);
"""


@dataclass(frozen=True)
class Pack:
    """What one player recorded on one day.

    Attributes:
        number: id in the database, from 1.
        microphones: names of the folders; the same notes are in each.
        channels, bits: of the files.
    """

    number: int
    name: str
    instrument: str
    player: str
    microphones: tuple[str, ...]
    channels: int
    bits: int

    @property
    def folder(self) -> str:
        """Below the corpus's."""
        return f"{SOUND_FILES}/{self.name}"


@dataclass(frozen=True)
class Sound:
    """A note (or a scale) that was played.

    Attributes:
        number: id in the database, from 1.
        klass: tags of how it was played.
        pitch: MIDI note.
        start, end: of the sound in its file, in s.
    """

    number: int
    pack: Pack
    filename: str
    klass: str
    pitch: int
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return self.end - self.start


def make_good_sounds(
    folder: Path,
    sounds_per_goodness: int,
    seed: int,
    instruments: Sequence[str] = tuple(INSTRUMENTS),
) -> int:
    """Write `sound_files/<pack>/<microphone>/<file>.wav` and the database that describes them.

    Two players of each instrument recorded a pack each. Some packs are stereo, some have 24 bits,
    some a second microphone; some hold files and folders that belong to no sound. The same
    arguments give the same files, bit for bit.

    Args:
        folder: takes the database and the folder of files; made if need be.
        sounds_per_goodness: of each instrument for each of the four kinds of bad sounds; there are
            half as many more good ones, and some that are neither.
        seed: of players, microphones, notes and defects.
        instruments: of `INSTRUMENTS`.

    Returns:
        How many audio files were written.

    Raises:
        FileExistsError: a file is there already.
    """
    packs = _packs(instruments)
    sounds = _all_sounds(packs, sounds_per_goodness, seed)
    _write_database(folder, packs, sounds, seed)
    num_written = 0
    for bits in sorted({pack.bits for pack in packs}):
        chosen = [pack for pack in packs if pack.bits == bits]
        own = [sound for sound in sounds if sound.pack in chosen]
        num_clips = sum(len(sound.pack.microphones) for sound in own)
        clips = _clips(own, seed)
        num_written += write_clips(
            folder, clips, num_clips, f"notes of {bits} bits", PLAYED_SAMPLE_RATE, bits
        )
    strays = list(_strays(packs, seed))
    num_written += write_clips(folder, strays, len(strays), "other files", PLAYED_SAMPLE_RATE)
    for pack in packs:
        (folder / pack.folder / f"{pack.name}.csv").write_text("file;note\n", encoding="utf-8")
    return num_written


def _packs(instruments: Sequence[str]) -> list[Pack]:
    packs = []
    for index in range(2 * len(instruments)):
        instrument = instruments[index // 2]
        player = _PLAYERS[index % len(_PLAYERS)]
        kind = ("reference", "improvement_recordings")[index % 2]
        packs.append(
            Pack(
                number=index + 1,
                name=f"{instrument}_{player}_{kind}",
                instrument=instrument,
                player=player,
                microphones=_MICROPHONES[index % len(_MICROPHONES)],
                channels=2 if index % 5 == 3 else 1,
                bits=24 if index % 5 == 1 else 16,
            )
        )
    return packs


def _all_sounds(packs: list[Pack], sounds_per_goodness: int, seed: int) -> list[Sound]:
    """What is played, pack by pack; both packs of an instrument have all kinds of sounds."""
    sounds: list[Sound] = []
    left_out = cycle(LEFT_OUT)
    for instrument in dict.fromkeys(pack.instrument for pack in packs):
        stream = random_stream(seed, CORPUS, instrument)
        klasses = [*_klasses(sounds_per_goodness, stream), *islice(left_out, 2)]
        order = stream.permutation(len(klasses))
        own = [pack for pack in packs if pack.instrument == instrument]
        for place, pack in enumerate(own):
            for index, which in enumerate(order[place :: len(own)]):
                name = f"{index:04}.wav"
                sounds.append(_draw_sound(len(sounds) + 1, pack, name, klasses[which], seed))
    return sounds


def _klasses(sounds_per_goodness: int, stream: np.random.Generator) -> list[str]:
    """The tags of an instrument's sounds, as alike in number as can be."""
    klasses = [GOOD] * round(_GOOD_PER_BAD * sounds_per_goodness)
    for goodness, defects in DEFECTS.items():
        # Among few sounds, which defects there are differs between instruments.
        first = int(stream.integers(len(defects)))
        chosen = list(islice(cycle(defects), first, first + sounds_per_goodness))
        if goodness == "bad-pitch" and stream.random() < 0.5:
            chosen[-1] = MULTIPLE
        klasses += chosen
    return klasses


def _draw_sound(number: int, pack: Pack, filename: str, klass: str, seed: int) -> Sound:
    stream = random_stream(seed, CORPUS, pack.name, filename, "score")
    low, high = INSTRUMENTS[pack.instrument].pitches
    is_scale = klass.startswith("scale")
    pitch = int(stream.integers(low, high + 1 - (_SCALE_STEPS[-1] if is_scale else 0)))
    seconds = stream.uniform(*_SECONDS)
    if is_scale:
        seconds = len(_SCALE_STEPS) * _SCALE_NOTE_SECONDS
    start = stream.uniform(0.05, 0.25)
    return Sound(number, pack, filename, klass, pitch, start, start + seconds)


def _clips(sounds: list[Sound], seed: int) -> Iterator[tuple[str, Samples]]:
    """Each sound as each microphone of its pack recorded it."""
    for sound in sounds:
        played = _played(sound, random_stream(seed, CORPUS, sound.pack.name, sound.filename))
        for microphone in sound.pack.microphones:
            path = f"{sound.pack.folder}/{microphone}/{sound.filename}"
            yield path, _recorded(played, sound, microphone, seed)


def _played(sound: Sound, stream: np.random.Generator) -> Samples:
    """A sound from its beginning to its end."""
    instrument = INSTRUMENTS[sound.pack.instrument]
    if not sound.klass.startswith("scale"):
        good = good_performance(instrument, sound.seconds, stream)
        return sound_of(spoiled(good, sound.klass, stream), sound.pitch, stream)
    return np.concatenate(
        [
            sound_of(
                good_performance(instrument, _SCALE_NOTE_SECONDS, stream),
                sound.pitch + step,
                stream,
            )
            for step in _SCALE_STEPS
        ]
    )


def _recorded(played: Samples, sound: Sound, microphone: str, seed: int) -> Samples:
    """What a microphone makes of a sound, with silence around it; shape (samples[, channels])."""
    stream = random_stream(seed, CORPUS, sound.pack.name, sound.filename, microphone)
    before = round(sound.start * PLAYED_SAMPLE_RATE)
    after = round(stream.uniform(0.05, 0.25) * PLAYED_SAMPLE_RATE)
    place = random_stream(seed, CORPUS, sound.pack.name, microphone)
    samples = coloured(place, np.pad(played, (before, after)), _COLOUR, PLAYED_SAMPLE_RATE)
    samples = scaled_to_peak(samples, decibels_to_gain(stream.uniform(*_PEAKS)))
    if sound.pack.channels == 2:
        sides = place.uniform(0.6, 1, 2)
        samples = samples[:, np.newaxis] * sides / sides.max()
    floor = decibels_to_gain(place.uniform(*_FLOORS))
    return samples + floor * stream.standard_normal(samples.shape)


def _strays(packs: list[Pack], seed: int) -> Iterator[tuple[str, Samples]]:
    """Files of no sound: in folders that are no microphone's, and beside the sounds."""
    for pack in packs[1::4]:
        stream = random_stream(seed, CORPUS, pack.name, "strays")
        places = ("#old/0000", "Edited_takes/0000", f"{pack.microphones[0]}/0000_old")
        for place in (*places, f"{pack.microphones[0]}/0000#2"):
            noise = 0.1 * stream.standard_normal(PLAYED_SAMPLE_RATE // 4)
            yield f"{pack.folder}/{place}.wav", noise


def _write_database(folder: Path, packs: list[Pack], sounds: list[Sound], seed: int) -> None:
    """Write the tables of the real database; what is not known of a sound is left empty."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / DATABASE).open("xb"):
        pass
    takes = [(sound, name) for sound in sounds for name in sound.pack.microphones]
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.executescript(_TABLES)
        _insert(database, "packs", [_pack_row(pack) for pack in packs])
        _insert(database, "sounds", [_sound_row(sound, seed) for sound in sounds])
        # A sound that belongs to no pack must not stop whoever reads the table.
        lost = {"id": len(sounds) + 1, "instrument": "flute", "klass": GOOD}
        _insert(database, "sounds", [lost])
        rows = [_take_row(number, *take) for number, take in enumerate(takes, start=1)]
        _insert(database, "takes", rows)


def _insert(database: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Add rows of the same columns."""
    names = ", ".join(rows[0])
    values = ", ".join(f":{name}" for name in rows[0])
    database.executemany(f"INSERT INTO {table} ({names}) VALUES ({values})", rows)


def _pack_row(pack: Pack) -> dict[str, Any]:
    return {"id": pack.number, "name": pack.name, "description": f"{pack.player} plays notes"}


def _sound_row(sound: Sound, seed: int) -> dict[str, Any]:
    stream = random_stream(seed, CORPUS, sound.pack.name, sound.filename, "row")
    return {
        "id": sound.number,
        "instrument": sound.pack.instrument,
        "note": _NOTE_NAMES[sound.pitch % 12],
        "octave": sound.pitch // 12 - 1,
        "dynamics": str(stream.choice(("p", "mf", "f"))),
        "recorded_at": f"2013-10-{sound.pack.number:02} 12:00:00.000000",
        "location": "miniature studio",
        "player": sound.pack.player,
        "csv_file": sound.pack.number,
        "csv_id": int(sound.filename[:4]),
        "pack_filename": sound.filename,
        "pack_id": sound.pack.number,
        "attack": round(sound.start * PLAYED_SAMPLE_RATE),
        "offset": round(sound.end * PLAYED_SAMPLE_RATE),
        "reference": int(sound.klass == GOOD),
        "klass": sound.klass or None,
        "semitone": sound.pitch - 12,
        "pitch_reference": 442,
    }


def _take_row(number: int, sound: Sound, microphone: str) -> dict[str, Any]:
    return {
        "id": number,
        "microphone": microphone,
        "filename": f"{sound.pack.folder}/{microphone}/{sound.filename}",
        "original_filename": f"{microphone} {sound.filename}",
        "sound_id": sound.number,
    }
