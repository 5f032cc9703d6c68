"""NSynth: notes of 1,006 instruments of eleven families, with the corpus's own split.

Layout: nsynth-{train,valid,test}, each with examples.json and audio/<note>.wav.
"""

from codecs import BOM_UTF8
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from config.errors import refuse_all
from config.listing import files_in
from config.settings import Settings
from config.text import display_path, printable
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
    licence="NSynth: CC BY 4.0",
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


class Note(BaseModel):
    """What examples.json says of a note, as far as it is needed."""

    instrument_family: Annotated[int, Field(ge=0, lt=len(FAMILIES))]
    instrument_str: Annotated[str, Field(min_length=1)]
    instrument_source_str: str
    pitch: int
    velocity: int


# Names become names of files.
NOTES_OF_SET = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], Note])


def list_notes(settings: Settings) -> list[Clip]:
    """Return the notes of the three sets; of a set with more than 56,001, as many at random.

    Raises:
        UserError: the corpus is missing, or its lists are not as expected; names all that is wrong.
    """
    root = CORPUS.folder(settings)
    generator = np.random.default_rng(settings.preprocessing.seed)
    lists = {name: root / f"nsynth-{name}" / "examples.json" for name in PARTS}
    missing = [str(path.relative_to(root)) for path in lists.values() if not path.is_file()]
    if missing:
        raise CORPUS.wrong_folder(root, f"holds no {', '.join(missing)}")
    clips = []
    problems: list[str] = []
    for name, part in PARTS.items():
        folder = lists[name].parent
        notes = _read_notes(lists[name], problems)
        CORPUS.expect(f"notes in {folder.name}", NUM_NOTES[name], len(notes))
        names = sorted(notes)
        if len(names) > MOST_NOTES:
            chosen = generator.choice(len(names), size=MOST_NOTES, replace=False)
            names = [names[number] for number in sorted(chosen.tolist())]
        files = {path.stem: path for path in files_in(folder / "audio", ".wav")}
        for note in names:
            path = files.get(note, folder / "audio" / f"{note}.wav")
            clips.append(_clip(path, note, notes[note], part))
    refuse_all(display_path(root), problems)
    return clips


def _read_notes(path: Path, problems: list[str]) -> dict[str, Note]:
    """Return the notes of a set by name; what is wrong with any is added to the problems."""
    content = path.read_bytes().removeprefix(BOM_UTF8)
    try:
        return NOTES_OF_SET.validate_json(content)
    except ValidationError as error:
        for each in error.errors(include_input=False, include_url=False):
            place = " ".join([f"{path.parent.name}/{path.name},", *map(str, each["loc"])])
            problems.append(printable(f"{place.rstrip(',')}: {each['msg']}"))
        return {}


def _clip(path: Path, name: str, note: Note, part: str) -> Clip:
    family = FAMILIES[note.instrument_family]
    return Clip(
        path=path,
        name=name,
        label=note.instrument_family,
        class_name=family,
        group=name,
        details={
            "instrument": note.instrument_str,
            "family": family,
            "source": note.instrument_source_str,
            "pitch": note.pitch,
            "velocity": note.velocity,
            "set": path.parents[1].name.removeprefix("nsynth-"),
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
    licence=CORPUS.licence,
    leave_out_silence=False,  # as in the release
)

register(CORPUS, NOTES)
