"""LibriSpeech words: labels, sets and positions against a corpus whose every number is known."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from config.settings import Settings
from preprocessing.corpora.librispeech import WORDS
from preprocessing.pipeline.audio import cut, decode
from preprocessing.pipeline.matrices import open_matrices
from tests.conftest import message_of, run_script
from tests.preprocessing.conftest import RATE, MakeSettings

NAME = "librispeech_spectrum_fast"
SECONDS = 3.0
# The label of a word is its line, from 0.
MOST_FREQUENT = ("that", "with", "nan")
# By set: utterance, start and duration in s, word. Not in the order of the utterances.
OCCURRENCES = {
    "dev-clean": [
        ("84-121123-0001", "0.29", "0.33", "THAT"),
        ("84-121123-0001", "1.01", "0.5", "WITH"),
    ],
    "test-clean": [
        ("61-70968-0000", "0", "0.41", "WITH"),
        ("61-70968-0000", "2.5", "0.5", "NAN"),
        ("61-70970-0000", "0.70", "0.21", "THAT"),
    ],
    "train-clean-100": [
        ("103-1240-0001", "0.57", "0.57", "WITH"),
        ("103-1240-0001", "1.14", "0.13", "THAT"),
        ("103-1240-0000", "0.07", "0.29", "THAT"),
        ("103-1240-0001", "1.4", "1.2", "THAT"),
        ("19-198-0003", "2.01", "0.97", "NAN"),
    ],
}


def utterance_path(corpus: Path, part: str, utterance: str) -> Path:
    speaker, chapter, _ = utterance.split("-")
    return corpus / "split" / part / speaker / chapter / f"{utterance}.flac"


def write_labels(corpus: Path, part: str, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    (corpus / "word_labels" / f"{part}-selected-3.txt").write_text(text)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six utterances of 3 s in three sets, with ten labelled words of three kinds."""
    folder = tmp_path / "LibriSpeech"
    (folder / "word_labels").mkdir(parents=True)
    (folder / "word_labels" / "3-mostfreq").write_text("\n".join(MOST_FREQUENT) + "\n")
    for part, occurrences in OCCURRENCES.items():
        for number, utterance in enumerate(sorted({occurrence[0] for occurrence in occurrences})):
            path = utterance_path(folder, part, utterance)
            path.parent.mkdir(parents=True, exist_ok=True)
            generator = np.random.default_rng([number, len(occurrences)])
            samples = generator.uniform(-0.5, 0.5, round(SECONDS * RATE))
            soundfile.write(path, samples, RATE, subtype="PCM_16")
            (path.parent / "text.trans.txt").write_text(f"{utterance} THAT WITH\n")
        lines = [
            f"{name} 1 {start} {length} {word} 1.00" for name, start, length, word in occurrences
        ]
        write_labels(folder, part, lines)
    (folder / "split" / "LICENSE.TXT").write_text("CC BY 4.0")
    (folder / "split" / "notes").mkdir()
    return folder


@pytest.fixture
def settings(corpus: Path, make_settings: MakeSettings) -> Settings:
    return make_settings(input_librispeech_folder=corpus, num_classes_librispeech=3)


class TestWords:
    def test_labels_sets_and_names(self, settings: Settings) -> None:
        clips = WORDS.list_clips(settings)
        assert [(clip.name, clip.label, clip.class_name, clip.fixed_set) for clip in clips] == [
            ("84-121123-0001_0", 0, "that", "validation"),
            ("84-121123-0001_1", 1, "with", "validation"),
            ("61-70968-0000_0", 1, "with", "test"),
            ("61-70968-0000_1", 2, "nan", "test"),
            ("61-70970-0000_0", 0, "that", "test"),
            ("103-1240-0000_0", 0, "that", "train"),
            ("103-1240-0001_0", 1, "with", "train"),
            ("103-1240-0001_1", 0, "that", "train"),
            ("103-1240-0001_2", 0, "that", "train"),
            ("19-198-0003_0", 2, "nan", "train"),
        ]

    def test_a_cut_is_the_slice_of_its_utterance(self, corpus: Path, settings: Settings) -> None:
        clips = {clip.name: clip for clip in WORDS.list_clips(settings)}
        for part, occurrences in OCCURRENCES.items():
            seen: Counter[str] = Counter()
            for utterance, start, duration, _ in occurrences:
                whole = soundfile.read(utterance_path(corpus, part, utterance), dtype="int16")[0]
                # Times are hundredths of a second, so 160 samples each; one start and three ends
                # are stored as a little less, so that int() takes the sample before.
                first, count = (round(100 * float(text)) * 160 for text in (start, duration))
                end = first + count
                first -= start == "2.01"
                end -= start in {"0.70", "1.4", "2.01"}
                clip = clips[f"{utterance}_{seen[utterance]}"]
                seen[utterance] += 1
                samples = cut(decode(clip.path), RATE, clip.start, clip.duration)
                np.testing.assert_array_equal(samples, whole[first:end] / 32768)


class TestWrongFolders:
    def test_all_lines_are_named_at_once(self, corpus: Path, settings: Settings) -> None:
        """Labels are line numbers, so an empty line would be a class that nobody says."""
        (corpus / "word_labels" / "3-mostfreq").write_text("that\n\nwith\nnan\nThat\n\n")
        problems = {
            "84-121123-0001 1 0.29 0.33 THAT": "is not <utterance> <channel>",
            "../../../etc/passwd 1 0.29 0.33 THAT 1": "is not <utterance> <channel>",
            "84-121123-0001 1 soon 0.33 THAT 1.00": "could not convert",
            "84-121123-0001 1 -0.29 0.33 THAT 1.00": "start -0.29 and duration 0.33 are no stretch",
            "84-121123-0001 1 0.29 inf THAT 1.00": "start 0.29 and duration inf are no stretch",
            "84-121123-0001 1 1 0 that 1": "start 1 and duration 0 are no stretch",
            "84-121123-0001 1 0.29 0.33 THIS 1.00": "THIS is not one of the ",
        }
        write_labels(corpus, "dev-clean", ["84-121123-0001 1 1 1 that 1", "", *problems])
        write_labels(corpus, "train-clean-100", ["that 1"])
        said = message_of(WORDS.list_clips, settings)
        assert "word_labels: 10 problems: 3-mostfreq, line 2: empty" in said
        assert "3-mostfreq, line 5: that again" in said
        for number, problem in enumerate(problems.values(), start=3):
            assert f"dev-clean-selected-3.txt, line {number}: {problem}" in said
        assert "train-clean-100-selected-3.txt, line 1: is not <utterance> <channel>" in said


def test_positional_arguments_start_where_the_command_is_typed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [corpus.name, "made", "3", "--set", "seed=3"]
    options = ["--set", "input_librispeech_folder=/nowhere"]
    assert run_script("preprocessing/preprocessing_LIBRISPEECH.py", *words, *options) == 0
    matrices = open_matrices(tmp_path / "made", NAME)
    assert (len(matrices.target), matrices.splits["seed"]) == (10, 3)
