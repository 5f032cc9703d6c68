"""Good-Sounds in its real layout: a SQLite database, packs, microphones, 48 kHz files."""

import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import soundfile

from config.errors import UserError
from preprocessing.corpora.goodsounds import (
    INSTRUMENT_RANDSPLIT,
    INSTRUMENTS,
    INSTRUMENTSPLIT,
    RANDSPLIT,
    find_sounds,
    goodness_of,
)
from preprocessing.pipeline.matrices import Matrices
from tests.preprocessing.conftest import MakeSettings, prepared

# tags of the sounds of each pack, in order; the file of the number n is <n>.wav
KLASSES = (
    "good-sound",
    "bad-dynamics",
    "bad-attack bad-pitch",
    "bad-richness",
    "bad-attack",
    "scale-good major",
    "good-sound",
    "bad-attack bad-timbre",
    "bad-dynamics-tremolo",
    None,
)
SCHEMA = """
    CREATE TABLE packs (id INTEGER PRIMARY KEY, name TEXT, description TEXT);
    CREATE TABLE sounds (
        id INTEGER PRIMARY KEY, instrument TEXT, note TEXT, octave INTEGER, klass TEXT,
        player TEXT, pack_filename TEXT, pack_id
    );
    CREATE TABLE takes (
        id INTEGER PRIMARY KEY, microphone TEXT, filename TEXT, sound_id INTEGER
    );
    CREATE TABLE ratings (id INTEGER PRIMARY KEY, mark REAL, sound_id INTEGER);
"""
RATE = 48_000


def pack_of(instrument: str) -> str:
    return f"{instrument}_maria_reference"


def write_note(path: Path, pitch: float, left_only: bool = False) -> None:
    """0.3 s of a tone of amplitude 0.8 as 48 kHz stereo 24-bit WAV; no two files are equal."""
    tone = 0.8 * np.sin(2 * np.pi * pitch * np.arange(round(0.3 * RATE)) / RATE)
    tone += 1e-5 * np.random.default_rng(crc32(str(path).encode())).standard_normal(len(tone))
    path.parent.mkdir(parents=True, exist_ok=True)
    both = np.stack([tone, 0 * tone if left_only else tone], axis=1)
    soundfile.write(path, both, RATE, subtype="PCM_24")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve packs of ten sounds, each with two microphones and what lies beside them."""
    folder = tmp_path_factory.mktemp("good-sounds")
    with closing(sqlite3.connect(folder / "database.sqlite")) as database:
        database.executescript(SCHEMA)
        for pack_id, instrument in enumerate(INSTRUMENTS, start=1):
            database.execute("INSERT INTO packs VALUES (?, ?, '')", (pack_id, pack_of(instrument)))
            pack = folder / "sound_files" / pack_of(instrument)
            (pack / "Akg_original").mkdir(parents=True)
            (pack / "Akg#1").mkdir()
            (pack / "a.csv").write_text("id,klass\n")
            for number, klass in enumerate(KLASSES):
                file = f"{number:04}.wav"
                database.execute(
                    "INSERT INTO sounds (instrument, klass, pack_filename, pack_id) "
                    "VALUES (?, ?, ?, ?)",
                    (instrument, klass, file, str(pack_id)),
                )
                write_note(pack / "akg" / file, 500 * (number + 1), left_only=number == 1)
            write_note(pack / "neumann" / "0004.wav", 7000)
        database.commit()
    return folder


@pytest.fixture
def corpus(original: Path, tmp_path: Path) -> Path:
    """A copy to change; its sound files are links."""
    folder = tmp_path / "good-sounds"
    shutil.copytree(original / "sound_files", folder / "sound_files", copy_function=os.link)
    shutil.copyfile(original / "database.sqlite", folder / "database.sqlite")
    return folder


@pytest.fixture
def settings_for(corpus: Path, make_settings: MakeSettings) -> MakeSettings:
    """Settings for the tiny corpus; keyword arguments change them."""
    return lambda **changes: make_settings(**{"input_good-sounds_folder": corpus} | changes)


def change(corpus: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(corpus / "database.sqlite")) as database:
        database.execute(statement, values)
        database.commit()


def instruments_of(matrices: Matrices, set_name: str) -> set[str]:
    rows = matrices.rows_of(matrices.splits["folds"][0][set_name], with_augmented=False)
    return set(matrices.index["instrument"].iloc[rows])


@pytest.mark.parametrize(
    ("klass", "goodness"),
    [
        ("good-sound", "good-sound"),
        ("bad-richness", "bad-timbre"),
        ("bad-dynamics-tremolo", "bad-dynamics"),
        ("bad-attack bad-pitch", "bad-pitch"),
        ("bad-pitch minor", "bad-pitch"),
        ("bad-attack bad-timbre", None),
        ("good-sound ponticello", None),
        ("scale-bad bad-pitch", None),
        ("scale-good", None),
        ("", None),
    ],
)
def test_tags(klass: str, goodness: str | None) -> None:
    assert goodness_of(klass) == goodness


class TestSounds:
    def test_which_count(self, settings_for: MakeSettings) -> None:
        """Of ten sounds of an instrument a scale, a doubly bad one and an untagged one go."""
        sounds = find_sounds(settings_for())
        numbers = Counter(sound.path.stem for sound in sounds)
        # Akg#1 and Akg_original come before akg, but are no microphones.
        assert {sound.path.parent.name for sound in sounds} == {"akg"}
        assert numbers == {f"{number:04}": 12 for number in (0, 1, 2, 3, 4, 6, 8)}
        assert [sound.instrument for sound in sounds] == [
            instrument for instrument in INSTRUMENTS for _ in range(7)
        ]

    def test_instruments_stand_in_the_order_of_the_database(
        self, settings_for: MakeSettings, corpus: Path
    ) -> None:
        """A first sound of the bass, and be it a scale, puts the bass first of twelve."""
        change(corpus, "INSERT INTO sounds (id, instrument, klass) VALUES (0, 'bass', 'scale')")
        change(corpus, "UPDATE sounds SET pack_id = 12, pack_filename = 'x.wav' WHERE id = 0")
        sounds = find_sounds(settings_for())
        order = list(dict.fromkeys(sound.instrument for sound in sounds))
        assert order == ["bass", *INSTRUMENTS[:11]]
        clips = INSTRUMENTSPLIT.list_clips(settings_for())
        assert list(dict.fromkeys(clip.group for clip in clips)) == order
        labels = {
            clip.class_name: clip.label for clip in INSTRUMENT_RANDSPLIT.list_clips(settings_for())
        }
        assert labels["bass"] == 11


def test_goodness_is_balanced(settings_for: MakeSettings) -> None:
    """Bad pitch, timbre and attack have 12 sounds each, so every class keeps 11."""
    clips = RANDSPLIT.list_clips(settings_for())
    assert Counter((clip.class_name, clip.label) for clip in clips) == {
        ("good-sound", 0): 11,
        ("bad-dynamics", 1): 11,
        ("bad-pitch", 2): 11,
        ("bad-timbre", 3): 11,
        ("bad-attack", 4): 11,
    }
    assert all(clip.group == clip.name for clip in clips)
    assert len({clip.name for clip in clips}) == 55


def test_a_database_that_cannot_be_read(settings_for: MakeSettings, corpus: Path) -> None:
    change(corpus, "DROP TABLE sounds")
    with pytest.raises(UserError, match=r"database\.sqlite: .*no such table: sounds"):
        find_sounds(settings_for())
    (corpus / "database.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="file is not a database"):
        find_sounds(settings_for())


class TestMatrices:
    def test_by_instrument(self, settings_for: MakeSettings) -> None:
        """Eight, two and two instruments in the database's order."""
        matrices = prepared(INSTRUMENTSPLIT, settings_for(sequence_length=0.25))
        assert instruments_of(matrices, "train") == set(INSTRUMENTS[:8])
        assert instruments_of(matrices, "validation") == {"sax_soprano", "oboe"}
        assert instruments_of(matrices, "test") == {"piccolo", "bass"}

    def test_48_khz_stereo_24_bit(self, settings_for: MakeSettings) -> None:
        """Each note at its own frequency, for the 0.3 s that it lasts, in an example of 6 s."""
        matrices = prepared(INSTRUMENT_RANDSPLIT, settings_for())
        assert matrices.predictors.shape == (55, 751, 129)
        assert matrices.classes == list(INSTRUMENTS)
        rows = {clip[-8:]: row for row, clip in enumerate(matrices.index["clip"])}
        # note n is 500 (n + 1) Hz; bins are 16000 / 256 = 62.5 Hz apart
        for number in (2, 3, 4):
            middle = matrices.predictors[rows[f"{number:04}.wav"], 19]
            assert middle.argmax() == 8 * (number + 1)
            assert middle.max() == pytest.approx(0.4, rel=0.01)
        # 0.3 s are 4,800 samples: 37.5 hops of 128, so 38, and one frame more
        assert set(matrices.index["num_frames"]) == {39}
        assert not matrices.predictors[:, 39:].any()
