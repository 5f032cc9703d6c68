"""Google Speech Commands v0.02 with its official lists: 35 words, ten commands, or twelve classes.

Layout: one folder per word, files <speaker hash>_nohash_<n>.wav; validation_list.txt and
testing_list.txt; _background_noise_; and, for the twelve classes, the official test set in
speech_commands_test_set_v0.02.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from config.errors import UserError
from config.files import read_text
from config.listing import files_in
from config.log import logger
from config.settings import Settings
from config.text import display_path
from preprocessing.corpora import register
from preprocessing.pipeline.audio import audio_seconds
from preprocessing.pipeline.dataset import OWN_SPLIT, SETS, Archive, Clip, Corpus, Dataset
from preprocessing.pipeline.decoding import UnusableAudioError

ARCHIVES = "http://download.tensorflow.org/data"
TEST_SET = "speech_commands_test_set_v0.02"
# The checksums are those of torchaudio.datasets and of TensorFlow Datasets.
CORPUS = Corpus(
    name="gsc_v2",
    title="Google Speech Commands v0.02",
    key="input_gsc_v2_folder",
    folder_name="speech_commands_v0.02",
    layout=(
        "Google Speech Commands v0.02 with a folder for each word, validation_list.txt and "
        "testing_list.txt"
    ),
    page="https://arxiv.org/abs/1804.03209",
    licence="Google Speech Commands: CC BY 4.0",
    archives=(
        Archive(
            f"{ARCHIVES}/speech_commands_v0.02.tar.gz",
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ),
        Archive(
            f"{ARCHIVES}/{TEST_SET}.tar.gz",
            "sha256:cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
            folder=TEST_SET,
        ),
    ),
)
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow"),
    *("backward", "forward", "follow", "learn", "visual"),
)
WORDS = (*COMMANDS, *OTHER_WORDS)
UNKNOWN, SILENCE = "unknown", "silence"
CLASSES = (*COMMANDS, UNKNOWN, SILENCE)
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
NUM_FILES = {"train": 84_843, "validation": 9_981, "test": 11_005}
NUM_TEST_SET = 4_890
TEST_FOLDERS = {UNKNOWN: "_unknown_", SILENCE: "_silence_"}
NOISES = "_background_noise_"
# So many unknown words, and as many stretches of silence, in percent of the commands of a set.
ADDED_PERCENT = 10
# Which stretch of each noise is for which set, so that no second of it is in two.
STRETCHES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
# 0c540988_nohash_0.wav, and of the test set backward_0c540988_nohash_0.wav
SPEAKER = re.compile(r"(?:[a-z]+_)?([^_]+)_nohash_")


def list_words(settings: Settings, words: Sequence[str] = WORDS) -> list[Clip]:
    """Return the clips of these words, in the sets that the official lists say.

    Args:
        words: the first of WORDS, so that labels are those of all words.

    Raises:
        UserError: the corpus or a list is missing.
    """
    root = CORPUS.folder(settings)
    missing = [name for name in LISTS.values() if not (root / name).is_file()]
    if missing:
        raise CORPUS.wrong_folder(root, f"holds no {', '.join(missing)}")
    set_of = {
        line.strip().removesuffix(".wav"): set_name
        for set_name, name in LISTS.items()
        for line in read_text(root / name).splitlines()
    }
    clips = [
        _clip(path, word, label, set_of.get(f"{word}/{path.stem}", "train"))
        for label, word in enumerate(WORDS)
        for path in files_in(root / word, ".wav")
    ]
    found = Counter(clip.fixed_set for clip in clips)
    for set_name, expected in NUM_FILES.items():
        CORPUS.expect(f"clips of 35 words for {set_name}", expected, found[set_name])
    return [clip for clip in clips if clip.class_name in words]


def list_twelve_classes(settings: Settings) -> list[Clip]:
    """Return the ten commands, and for each set a tenth as many unknown words and silences.

    The test set is the official one if it lies in the corpus's folder; else it is drawn as the
    other two.

    Raises:
        UserError: as list_words, or there is no background noise that can be read.
    """
    root = CORPUS.folder(settings)
    generator = np.random.default_rng(settings.preprocessing.seed)
    words = list_words(settings)
    noises = _noise_lengths(root / NOISES)
    clips = _official_test_set(root / TEST_SET)
    if not clips:
        logger.info(
            f"{display_path(root)}: holds no {TEST_SET}, so the test set is drawn from "
            f"{LISTS['test']} and {NOISES}"
        )
    for set_name in SETS[:2] if clips else SETS:
        of_set = [clip for clip in words if clip.fixed_set == set_name]
        clips += _drawn(of_set, set_name, noises, generator)
    return clips


def _drawn(
    words: Sequence[Clip],
    set_name: str,
    noises: dict[Path, float],
    generator: np.random.Generator,
) -> Iterator[Clip]:
    """Yield the commands among the words of a set, some of the others as unknown, and silences."""
    commands = [clip for clip in words if clip.class_name in COMMANDS]
    others = [clip for clip in words if clip.class_name not in COMMANDS]
    count = math.ceil(len(commands) * ADDED_PERCENT / 100)
    yield from commands
    for number in sorted(generator.permutation(len(others))[:count].tolist()):
        yield replace(others[number], label=CLASSES.index(UNKNOWN), class_name=UNKNOWN)
    yield from _silences(noises, set_name, count, generator)


def _clip(path: Path, class_name: str, label: int, set_name: str) -> Clip:
    """Return a clip of one file, which stays with all others of its speaker."""
    name = f"{path.parent.name}/{path.name}"
    named = SPEAKER.match(path.name)
    speaker = named[1] if named else ""
    return Clip(
        path=path,
        name=name,
        label=label,
        class_name=class_name,
        group=speaker or name,
        details={"speaker": speaker, "word": path.parent.name},
        fixed_set=set_name,
    )


def _official_test_set(folder: Path) -> list[Clip]:
    """Return the clips of the published test set of twelve classes; none if it is not there."""
    clips = [
        _clip(path, class_name, label, "test")
        for label, class_name in enumerate(CLASSES)
        for path in files_in(folder / TEST_FOLDERS.get(class_name, class_name), ".wav")
    ]
    if clips:
        CORPUS.expect(f"clips in {folder.name}", NUM_TEST_SET, len(clips))
    return clips


def _noise_lengths(folder: Path) -> dict[Path, float]:
    """Return the length of each background noise in s.

    Raises:
        UserError: there is none, or one that cannot be read.
    """
    noises = files_in(folder, ".wav")
    if not noises:
        raise CORPUS.wrong_folder(folder, "holds no .wav files")
    try:
        return {path: audio_seconds(path) for path in noises}
    except UnusableAudioError as error:
        raise UserError(f"{display_path(folder)}: a noise cannot be read: {error}") from None


def _silences(
    noises: dict[Path, float], set_name: str, count: int, generator: np.random.Generator
) -> Iterator[Clip]:
    """Yield stretches of 1 s at random places of the noises, from the part that is for the set."""
    first, last = STRETCHES[set_name]
    paths = list(noises)
    for number in range(count):
        path = paths[int(generator.integers(len(paths)))]
        part = noises[path] * (last - first)
        seconds = min(1.0, part)
        start = noises[path] * first + generator.uniform(0, part - seconds)
        name = f"{SILENCE}/{set_name}_{number}"
        yield Clip(
            path=path,
            name=name,
            label=CLASSES.index(SILENCE),
            class_name=SILENCE,
            group=name,
            details={"speaker": "", "word": ""},
            start=start,
            duration=seconds,
            fixed_set=set_name,
        )


THIRTY_FIVE_WORDS = Dataset(
    name="gsc_v2_35",
    script="",
    task="one of 35 spoken words",
    sequence_length=1.0,
    split_type=OWN_SPLIT,
    list_clips=list_words,
    classes=WORDS,
    sources=("speaker",),
    orthogonal_labels=("speaker",),
    leave_out_silence=False,  # the official lists count every clip
    licence=CORPUS.licence,
)
TEN_WORDS = replace(
    THIRTY_FIVE_WORDS,
    name="gsc_v2_10",
    task="one of ten spoken commands",
    list_clips=partial(list_words, words=COMMANDS),
    classes=COMMANDS,
)
TWELVE_CLASSES = replace(
    THIRTY_FIVE_WORDS,
    name="gsc_v2_12",
    task="one of ten spoken commands, another word, or silence",
    list_clips=list_twelve_classes,
    classes=CLASSES,
)

register(CORPUS, THIRTY_FIVE_WORDS, TEN_WORDS, TWELVE_CLASSES)
