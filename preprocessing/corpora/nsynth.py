"""NSynth: notes of 1,006 instruments of eleven families, with the corpus's own split.

Layout: nsynth-{train,valid,test}, each with examples.json and audio/<note>.wav.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from config.errors import UserError
from config.settings import Settings
from config.text import display_path
from preprocessing.corpora import register
from preprocessing.pipeline.dataset import OWN_SPLIT, Archive, Clip, Corpus, Dataset

MAGENTA = "http://download.magenta.tensorflow.org/datasets/nsynth"
CORPUS = Corpus(
    name="nsynth",
    title="NSynth",
    key="input_nsynth_folder",
    folder_name="NSynth",
    layout="NSynth with nsynth-train, nsynth-valid and nsynth-test",
    page="https://magenta.tensorflow.org/datasets/nsynth",
    archives=tuple(
        Archive(f"{MAGENTA}/nsynth-{name}.jsonwav.tar.gz", None)
        for name in ("test", "valid", "train")
    ),
)
FAMILIES = (
    "bass",
    "brass",
    "flute",
    "guitar",
    "keyboard",
    "mallet",
    "organ",
    "reed",
    "string",
    "synth_lead",
    "vocal",
)
PARTS = {"train": "train", "valid": "validation", "test": "test"}
NUM_NOTES = {"train": 289_205, "valid": 12_678, "test": 4_096}
MOST_NOTES = 56_001


class Note(NamedTuple):
    """What examples.json says of a note, as far as it is needed."""

    family: int
    instrument: str
    source: str
    pitch: int
    velocity: int


def list_notes(settings: Settings) -> list[Clip]:
    """Return the notes of the three sets; of a set with more than 56,001, as many at random.

    Raises:
        UserError: the corpus is missing or not as expected.
    """
    root = CORPUS.folder(settings)
    generator = np.random.default_rng(settings.preprocessing.seed)
    clips = []
    for name, part in PARTS.items():
        folder = root / f"nsynth-{name}"
        notes = _read_notes(folder)
        CORPUS.expect(f"notes in {folder.name}", NUM_NOTES[name], len(notes))
        names = sorted(notes)
        if len(names) > MOST_NOTES:
            chosen = generator.choice(len(names), size=MOST_NOTES, replace=False)
            names = [names[number] for number in sorted(chosen.tolist())]
        clips += [_clip(folder, note, notes[note], part) for note in names]
    return clips


def _read_notes(folder: Path) -> dict[str, Note]:
    path = folder / "examples.json"
    if not path.is_file():
        raise CORPUS.wrong_folder(path, "there is no such file")
    try:
        notes = json.loads(path.read_bytes(), object_hook=_keep_what_is_needed)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__} {error}"
        raise UserError(f"{display_path(path)}: is no list of NSynth notes: {reason}") from None
    if not isinstance(notes, dict) or not all(isinstance(note, Note) for note in notes.values()):
        raise UserError(f"{display_path(path)}: is no list of NSynth notes")
    return notes


def _keep_what_is_needed(fields: dict[str, Any]) -> Note | dict[str, Any]:
    """Reduce each object as it is read, so that no note is held as a whole."""
    if "instrument_family" not in fields:
        return fields
    return Note(
        family=int(fields["instrument_family"]),
        instrument=str(fields["instrument_str"]),
        source=str(fields["instrument_source_str"]),
        pitch=int(fields["pitch"]),
        velocity=int(fields["velocity"]),
    )


def _clip(folder: Path, name: str, note: Note, part: str) -> Clip:
    return Clip(
        path=folder / "audio" / f"{name}.wav",
        name=name,
        label=note.family,
        class_name=FAMILIES[note.family],
        group=name,
        details={
            "instrument": note.instrument,
            "family": FAMILIES[note.family],
            "source": note.source,
            "pitch": note.pitch,
            "velocity": note.velocity,
            "set": folder.name.removeprefix("nsynth-"),
        },
        fixed_set=part,
    )


NOTES = Dataset(
    name="nsynth",
    script="preprocessing_NSYNTH",
    task="instrument family",
    sequence_length=6.0,
    split_type=OWN_SPLIT,
    list_clips=list_notes,
    classes=FAMILIES,
    sources=("instrument",),
    orthogonal_labels=("pitch", "velocity", "source"),
    leave_out_silence=False,  # as in the release
)

register(CORPUS, NOTES)
