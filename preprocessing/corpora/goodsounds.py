"""Good-Sounds: single notes of twelve instruments, played well or badly in one of four ways.

Layout: database.sqlite (tables sounds and packs), and
sound_files/<pack>/<microphone>/<pack_filename>.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from config.errors import UserError
from config.listing import files_in, folders_in
from config.log import logger
from config.settings import Settings
from config.text import display_path, first_of
from preprocessing.corpora import register
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Archive, Clip, Corpus, Dataset

# The checksum is that of Zenodo (as in mirdata).
CORPUS = Corpus(
    name="good-sounds",
    title="Good-Sounds",
    key="input_good-sounds_folder",
    folder_name="good-sounds",
    layout="the Good-Sounds folder with database.sqlite and sound_files",
    page="https://www.upf.edu/web/mtg/good-sounds",
    licence=(
        "Good-Sounds: Creative Commons, as https://zenodo.org/records/820937 states "
        "(mirdata calls it CC BY-SA 4.0)"
    ),
    archives=(
        Archive(
            "https://zenodo.org/records/820937/files/good-sounds.zip?download=1",
            "md5:2137bbb2d32c1d60aa51e1301225f541",
            inner_folder="good-sounds",
        ),
    ),
)
DATABASE, SOUND_FILES = "database.sqlite", "sound_files"
SOUNDS_QUERY = """
    SELECT sounds.id, CAST(COALESCE(sounds.instrument, '') AS TEXT),
        CAST(COALESCE(sounds.klass, '') AS TEXT),
        CAST(COALESCE(sounds.pack_filename, '') AS TEXT), CAST(COALESCE(packs.name, '') AS TEXT)
    FROM sounds JOIN packs ON CAST(packs.id AS INTEGER) = CAST(sounds.pack_id AS INTEGER)
    ORDER BY sounds.id
"""
GOODNESS = ("good-sound", "bad-dynamics", "bad-pitch", "bad-timbre", "bad-attack")
SINGLE_TAGS = {
    "good-sound": "good-sound",
    "bad-dynamics": "bad-dynamics",
    "bad-attack": "bad-attack",
    "bad-timbre": "bad-timbre",
    "bad-richness": "bad-timbre",
}
INSTRUMENTS = (
    "flute",
    "clarinet",
    "trumpet",
    "violin",
    "cello",
    "sax_alto",
    "sax_tenor",
    "sax_baritone",
    "sax_soprano",
    "oboe",
    "piccolo",
    "bass",
)


@dataclass(frozen=True)
class Sound:
    """One single note, in the recording of one microphone.

    goodness: one of GOODNESS, from klass, the tags that the musicians gave it.
    """

    path: Path
    identifier: int
    instrument: str
    goodness: str
    klass: str
    pack: str

    @property
    def name(self) -> str:
        """Pack and file: what the database knows a sound by, whatever the microphone."""
        return f"{self.pack}/{self.path.name}"


def goodness_of(klass: str) -> str | None:
    """Return the goodness that tags stand for; None: a scale, or tags that name no single one.

    Bad pitch is rare, so it counts beside other tags too.
    """
    if "scale" in klass:
        return None
    if "bad-pitch" in klass:
        return "bad-pitch"
    if " " in klass or klass.count("bad") > 1:
        return None
    return next((goodness for tag, goodness in SINGLE_TAGS.items() if tag in klass), None)


def find_sounds(settings: Settings) -> list[Sound]:
    """Return every sound with a goodness and a file, sorted by instrument and number.

    Instruments stand in the order in which the database first names them, which decides who is
    tested in the split by instrument. Of two rows for one file the last counts.

    Raises:
        UserError: the folder is not set or not the corpus, or its database cannot be read.
    """
    folder = CORPUS.folder(settings)
    if not (folder / DATABASE).is_file():
        raise CORPUS.wrong_folder(folder, f"holds no {DATABASE}")
    rows = read_database(folder / DATABASE)
    order = list(dict.fromkeys(instrument for _, instrument, *_ in rows))
    CORPUS.expect("instruments", len(INSTRUMENTS), len(order))
    unknown = [instrument for instrument in order if instrument not in INSTRUMENTS]
    if unknown:
        logger.warning(
            f"warning: {CORPUS.title}: notes of other instruments left out: {first_of(unknown)}"
        )
    labelled = {
        (pack, file): (identifier, instrument, klass)
        for identifier, instrument, klass, file, pack in rows
        if instrument in INSTRUMENTS and goodness_of(klass)
    }
    files_of = cache(_files_of)
    sounds: list[Sound] = []
    missing: list[str] = []
    for (pack, file), (identifier, instrument, klass) in labelled.items():
        path = files_of(folder / SOUND_FILES / pack).get(_with_lower_suffix(file)) if pack else None
        if path is None:
            missing.append(f"{pack}/{file}")
        else:
            goodness = goodness_of(klass) or ""
            sounds.append(Sound(path, identifier, instrument, goodness, klass, pack))
    if not sounds:
        problem = f"holds no <pack>/<microphone>/<file>.wav of the {len(labelled)} in {DATABASE}"
        raise CORPUS.wrong_folder(folder / SOUND_FILES, problem)
    if missing:
        logger.warning(
            f"warning: {CORPUS.title}: {len(missing)} of {len(labelled)} labelled notes have no "
            f"file: {first_of(missing)}"
        )
    return sorted(sounds, key=lambda sound: (order.index(sound.instrument), sound.identifier))


def read_database(path: Path) -> list[tuple[int, str, str, str, str]]:
    """Read (id, instrument, klass, pack_filename, name of the pack) of all sounds.

    Raises:
        UserError: the file is no SQLite database, or lacks a table or column that is needed.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute(SOUNDS_QUERY).fetchall()
    except sqlite3.Error as error:
        raise UserError(
            f"{display_path(path)}: cannot be read: {error}; get it anew from {CORPUS.page}"
        ) from None


def _files_of(pack: Path) -> dict[str, Path]:
    """Return the .wav files of a pack's first microphone, by name (suffix in lower case).

    First by name; folders with _ or # in their names hold no takes of a microphone.
    """
    microphones = [path for path in folders_in(pack) if not set("_#") & set(path.name)]
    files = files_in(microphones[0], ".wav") if microphones else []
    return {_with_lower_suffix(path.name): path for path in files}


def _with_lower_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}"


def choose_balanced(settings: Settings) -> list[Sound]:
    """Draw one sound less of each goodness than the rarest one has, as the release does.

    Instrument recognition uses the same sounds as the goodness tasks, as in the release: how good
    a sound is then says nothing about how many there are, and [preprocessing] seed gives both
    tasks the same sounds.

    Raises:
        UserError: as find_sounds, or there are fewer than two sounds of some goodness.
    """
    sounds = find_sounds(settings)
    classes = [[sound for sound in sounds if sound.goodness == name] for name in GOODNESS]
    size = min(map(len, classes)) - 1
    if size < 1:
        rare = [name for name, members in zip(GOODNESS, classes, strict=True) if len(members) < 2]
        raise UserError(
            f"{CORPUS.title}: fewer than two sounds with a file are {', '.join(rare)}; get the "
            f"whole corpus from {CORPUS.page}"
        )
    generator = np.random.default_rng(settings.preprocessing.seed)
    chosen = {
        members[number].name
        for members in classes
        for number in generator.choice(len(members), size=size, replace=False)
    }
    return [sound for sound in sounds if sound.name in chosen]


def _list_goodness(settings: Settings, by_instrument: bool) -> list[Clip]:
    return [
        _clip(sound, GOODNESS, sound.goodness, sound.instrument if by_instrument else sound.name)
        for sound in choose_balanced(settings)
    ]


def _list_instruments(settings: Settings) -> list[Clip]:
    return [
        _clip(sound, INSTRUMENTS, sound.instrument, sound.name)
        for sound in choose_balanced(settings)
    ]


def _clip(sound: Sound, classes: tuple[str, ...], class_name: str, group: str) -> Clip:
    return Clip(
        path=sound.path,
        name=sound.name,
        label=classes.index(class_name),
        class_name=class_name,
        group=group,
        details={
            "instrument": sound.instrument,
            "pack": sound.pack,
            "microphone": sound.path.parent.name,
            "klass": sound.klass,
            "sound_id": sound.identifier,
        },
    )


RANDSPLIT = Dataset(
    name="goodsounds_randsplit",
    script="preprocessing_GOODSOUNDS_randsplit",
    task="goodness of a note",
    sequence_length=6.0,
    split_type=RANDOM_BY_CLIP,
    list_clips=partial(_list_goodness, by_instrument=False),
    classes=GOODNESS,
    sources=("instrument", "pack"),
    orthogonal_labels=("instrument", "pack"),
    licence=CORPUS.licence,
)
INSTRUMENTSPLIT = replace(
    RANDSPLIT,
    name="goodsounds_instrumentsplit",
    script="preprocessing_GOODSOUNDS_actorsplit",
    task="goodness of a note of an unheard instrument",
    split_type="by instrument",
    list_clips=partial(_list_goodness, by_instrument=True),
)
INSTRUMENT_RANDSPLIT = replace(
    RANDSPLIT,
    name="goodsounds_instrument_randsplit",
    script="preprocessing_GOODSOUNDS_randsplit_INSTRUMENT",
    task="instrument",
    list_clips=_list_instruments,
    classes=INSTRUMENTS,
    sources=("pack",),
    orthogonal_labels=("klass",),
)

register(CORPUS, RANDSPLIT, INSTRUMENTSPLIT, INSTRUMENT_RANDSPLIT)
