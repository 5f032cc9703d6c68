"""LibriSpeech, the most frequent words: each occurrence cut straight from its utterance.

Layout as for SpeechVGG: split/<set>/<speaker>/<chapter>/<utterance>.flac, and in word_labels
<n>-mostfreq (a word a line) and <set>-selected-<n>.txt (a word occurrence a line).
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from config.errors import refuse_all
from config.files import read_text
from config.listing import files_in, folders_in
from config.settings import Settings
from config.text import display_path, printable
from preprocessing.corpora import register
from preprocessing.pipeline.dataset import OWN_SPLIT, Archive, Clip, Corpus, Dataset

LABELS_SOURCE = "https://github.com/bepierre/SpeechVGG"
OPENSLR = "https://www.openslr.org/resources/12"
# Checksums of torchaudio.datasets
CHECKSUMS = {
    "dev-clean": "sha256:76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "test-clean": "sha256:39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "train-clean-100": "sha256:d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
}
CORPUS = Corpus(
    name="librispeech",
    title="LibriSpeech",
    key="input_librispeech_folder",
    folder_name="LibriSpeech",
    layout=f"LibriSpeech with split (its sets) and word_labels (of {LABELS_SOURCE})",
    page="https://www.openslr.org/12",
    licence="LibriSpeech: CC BY 4.0",
    archives=tuple(
        Archive(f"{OPENSLR}/{name}.tar.gz", checksum, "split", "LibriSpeech")
        for name, checksum in CHECKSUMS.items()
    ),
    by_hand=(
        f"Then download the folder word_labels, to which {LABELS_SOURCE} "
        "links (a page for browsers, https://imperialcollegelondon.app.box.com/s/"
        "yd541e9qsmctknaj6ggj5k2cnb4mabkc), and put it beside split."
    ),
)
NUM_UTTERANCES = {"train-clean-100": 28_539, "dev-clean": 2_703, "test-clean": 2_620}
PARTS_OF_SETS = {"dev": "validation", "train": "train", "test": "test"}
UTTERANCE = re.compile(r"\w+-\w+-\w+")
OCCURRENCE = "<utterance> <channel> <start s> <duration s> <word> <confidence>"


class Occurrence(NamedTuple):
    """A word in an utterance; start and duration in s."""

    utterance: str
    start: float
    duration: float
    word: str


def list_words(settings: Settings) -> list[Clip]:
    """Return every labelled occurrence of the words to tell apart; those of a file together.

    Raises:
        UserError: the corpus or its word labels are missing or not as expected; names all lines
            that are not.
    """
    words = CORPUS.folder(settings, "word_labels")
    num_words = settings.pretraining.num_classes_librispeech
    sets = _find_sets(CORPUS.folder(settings, "split"))
    word_list = words / f"{num_words}-mostfreq"
    label_files = {folder: words / f"{folder.name}-selected-{num_words}.txt" for folder, _ in sets}
    _refuse_missing_labels([word_list, *label_files.values()])
    problems: list[str] = []
    labels = _read_words(word_list, num_words, problems)
    clips: list[Clip] = []
    for folder, part in sets:
        if folder.name in NUM_UTTERANCES:
            expected = NUM_UTTERANCES[folder.name]
            chapters = (each for speaker in folders_in(folder) for each in folders_in(speaker))
            found = sum(len(files_in(chapter, ".flac")) for chapter in chapters)
            CORPUS.expect(f"utterances in {folder.name}", expected, found)
        occurrences = _read_occurrences(label_files[folder], labels, problems)
        clips += _words_of_set(folder, part, occurrences, labels)
    refuse_all(display_path(words), problems)
    heard = {clip.label for clip in clips}
    unheard = [word for word, label in labels.items() if label not in heard]
    refuse_all(
        display_path(words), [f"no occurrence of {word} in the sets of split" for word in unheard]
    )
    return clips


def _find_sets(split: Path) -> list[tuple[Path, str]]:
    """Return (folder, part) of every set; refuse a corpus without training, validation or test."""
    sets = []
    for folder in folders_in(split):
        parts = [part for word, part in PARTS_OF_SETS.items() if word in folder.name]
        if parts:
            sets.append((folder, parts[0]))
    found = {part for _, part in sets}
    missing = [word for word, part in PARTS_OF_SETS.items() if part not in found]
    if missing:
        problem = f"holds no set with {' and none with '.join(missing)} in its name"
        raise CORPUS.wrong_folder(split, problem)
    return sets


def _refuse_missing_labels(files: Sequence[Path]) -> None:
    cure = (
        f"the word labels come from {LABELS_SOURCE}, and [pretraining] num_classes_librispeech is "
        "the number in their names"
    )
    missing = [f"{path.name}: no such file" for path in files if not path.is_file()]
    refuse_all(display_path(files[0].parent), missing, cure)


def _read_words(path: Path, num_words: int, problems: list[str]) -> dict[str, int]:
    """Return the label of each word: its line, from 0; other lines are added to the problems."""
    labels: dict[str, int] = {}
    for label, line in enumerate(read_text(path).rstrip().splitlines()):
        word = line.strip().lower()
        if not word or word in labels:
            what = f"{printable(word)} again" if word else "empty, but a label is a word's line"
            problems.append(f"{path.name}, line {label + 1}: {what}")
        labels.setdefault(word, label)
    CORPUS.expect(f"words in {path.name}", num_words, len(labels))
    return labels


def _read_occurrences(
    path: Path, labels: dict[str, int], problems: list[str]
) -> Iterator[Occurrence]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                yield _parse_occurrence(line, labels)
            except ValueError as error:
                problems.append(f"{path.name}, line {number}: {error}")


def _parse_occurrence(line: str, labels: dict[str, int]) -> Occurrence:
    fields = line.split()
    if len(fields) != 6 or not UTTERANCE.fullmatch(fields[0]):
        raise ValueError(f"is not {OCCURRENCE}: {printable(line)}")
    utterance, _, start, duration, word, _ = fields
    occurrence = Occurrence(utterance, float(start), float(duration), word)
    if not (0 <= occurrence.start < math.inf and 0 < occurrence.duration < math.inf):
        raise ValueError(f"start {start} and duration {duration} are no stretch of an utterance")
    if word.lower() not in labels:
        raise ValueError(f"{printable(word)} is not one of the {len(labels)} most frequent words")
    return occurrence


def _words_of_set(
    folder: Path, part: str, occurrences: Iterator[Occurrence], labels: dict[str, int]
) -> Iterator[Clip]:
    by_utterance = attrgetter("utterance")
    files_of = cache(lambda chapter: {path.stem: path for path in files_in(chapter, ".flac")})
    for utterance, words in groupby(sorted(occurrences, key=by_utterance), key=by_utterance):
        speaker, chapter, _ = utterance.split("-")
        path = folder / speaker / chapter / f"{utterance}.flac"
        path = files_of(path.parent).get(utterance, path)
        for number, occurrence in enumerate(words):
            yield Clip(
                path=path,
                name=f"{utterance}_{number}",
                label=labels[occurrence.word.lower()],
                class_name=occurrence.word.lower(),
                group=utterance,
                details={
                    "speaker": speaker,
                    "chapter": chapter,
                    "utterance": utterance,
                    "set": folder.name,
                    "word": occurrence.word,
                },
                start=occurrence.start,
                duration=occurrence.duration,
                fixed_set=part,
            )


WORDS = Dataset(
    name="librispeech",
    script="preprocessing_LIBRISPEECH",
    task="spoken word",
    sequence_length=4.0,
    split_type=OWN_SPLIT,
    list_clips=list_words,
    sources=("speaker",),
    orthogonal_labels=("speaker",),
    licence=CORPUS.licence,
    leave_out_silence=False,  # as in the release
)

register(CORPUS, WORDS)
