"""Speech Commands v0.02 in its real layout: the official lists, and the classes that are drawn."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import UserError
from config.settings import Settings
from preprocessing.corpora.gsc_v2 import (
    COMMANDS,
    OTHER_WORDS,
    TEN_WORDS,
    THIRTY_FIVE_WORDS,
    TWELVE_CLASSES,
)
from preprocessing.pipeline.dataset import Clip, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import open_matrices

SPEAKERS = {"train": ("0a0a0a0a", "abcdefab"), "validation": ("1b1b1b1b",), "test": ("2c2c2c2c",)}
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
NOISE_SECONDS = 12
TEST_SET = "speech_commands_test_set_v0.02"

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]


@pytest.fixture
def corpus(tmp_path: Path, write_wav: WriteWav) -> Path:
    """Each of 35 words twice by two speakers of the training set and once by the two others."""
    folder = tmp_path / "speech_commands_v0.02"
    seed = 0
    listed: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for word in (*COMMANDS, *OTHER_WORDS):
        for set_name, speakers in SPEAKERS.items():
            for speaker in speakers:
                seed += 1
                name = f"{word}/{speaker}_nohash_{seed % 3}.wav"
                write_wav(folder / word / Path(name).name, 0.1, seed, peak=0.04)
                listed[set_name].append(name)
    for set_name, file in LISTS.items():
        (folder / file).write_text("\n".join(listed[set_name]) + "\n")
    for number in range(2):
        write_wav(folder / "_background_noise_" / f"n{number}.wav", NOISE_SECONDS, 900 + number)
    return folder


@pytest.fixture
def settings(corpus: Path, make_settings: MakeSettings) -> Settings:
    return make_settings(input_gsc_v2_folder=corpus)


def of_set(clips: list[Clip], set_name: str) -> list[Clip]:
    return [clip for clip in clips if clip.fixed_set == set_name]


@pytest.mark.parametrize(
    ("dataset", "words"), [(THIRTY_FIVE_WORDS, (*COMMANDS, *OTHER_WORDS)), (TEN_WORDS, COMMANDS)]
)
def test_the_official_lists_decide(settings: Settings, dataset: Dataset, words: tuple[str]) -> None:
    """Quiet clips count as well, and every speaker is in one set."""
    matrices = open_matrices(preprocess(dataset, settings), dataset.name)
    assert matrices.info["classes"] == list(words)
    (fold,) = matrices.folds((0.7, 0.2, 0.1), num_folds=1)
    assert {name: tuple(groups) for name, groups in vars(fold).items()} == SPEAKERS
    counts = Counter(zip(matrices.index["class_name"], matrices.index["speaker"], strict=True))
    speakers = [speaker for names in SPEAKERS.values() for speaker in names]
    assert counts == {(word, speaker): 1 for word in words for speaker in speakers}


class TestTwelveClasses:
    def test_a_tenth_of_each_set_is_unknown_and_a_tenth_silent(
        self, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        clips = TWELVE_CLASSES.list_clips(settings)
        assert f"holds no {TEST_SET}, so the test set is drawn" in capsys.readouterr().out
        for set_name, speakers in SPEAKERS.items():
            counts = Counter(clip.class_name for clip in of_set(clips, set_name))
            assert counts == dict.fromkeys(COMMANDS, len(speakers)) | {
                "unknown": len(speakers),
                "silence": len(speakers),
            }
        unknown = {str(clip.details["word"]) for clip in clips if clip.class_name == "unknown"}
        assert unknown <= set(OTHER_WORDS)
        assert {clip.label for clip in clips} == set(range(12))

    def test_no_second_of_noise_is_in_two_sets(
        self, corpus: Path, make_settings: MakeSettings
    ) -> None:
        first = {"train": 0.0, "validation": 9.6, "test": 10.8}
        last = {"train": 9.6, "validation": 10.8, "test": 12.0}
        for seed in range(20):
            settings = make_settings(input_gsc_v2_folder=corpus, seed=seed)
            clips = TWELVE_CLASSES.list_clips(settings)
            silences = [clip for clip in clips if clip.class_name == "silence"]
            assert len(silences) == 4
            for clip in silences:
                assert clip.path.parent.name == "_background_noise_"
                assert clip.duration == 1.0
                assert first[str(clip.fixed_set)] <= clip.start
                assert clip.start + 1 <= last[str(clip.fixed_set)]

    def test_the_seed_draws(self, corpus: Path, make_settings: MakeSettings) -> None:
        drawn = [
            {
                (clip.name, clip.start)
                for clip in TWELVE_CLASSES.list_clips(
                    make_settings(input_gsc_v2_folder=corpus, seed=seed)
                )
            }
            for seed in (1, 1, 2)
        ]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_the_official_test_set(
        self, corpus: Path, settings: Settings, write_wav: WriteWav
    ) -> None:
        """As it is, whatever the list says; with the names that its archive has."""
        names = ["yes/2c2c2c2c_nohash_0.wav", "_unknown_/bird_2c2c2c2c_nohash_4.wav"]
        names.append("_silence_/n0.wav.wav")
        for seed, name in enumerate(names):
            write_wav(corpus / TEST_SET / name, 0.5, 700 + seed)
        clips = TWELVE_CLASSES.list_clips(settings)
        tested = of_set(clips, "test")
        assert [(clip.name, clip.class_name, clip.details["speaker"]) for clip in tested] == [
            (names[0], "yes", "2c2c2c2c"),
            (names[1], "unknown", "2c2c2c2c"),
            (names[2], "silence", ""),
        ]
        assert len(of_set(clips, "validation")) == 12
        matrices = open_matrices(preprocess(TWELVE_CLASSES, settings), TWELVE_CLASSES.name)
        (fold,) = matrices.folds((0.7, 0.2, 0.1), num_folds=1)
        assert fold.test == ["2c2c2c2c", names[2]]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("testing_list.txt", "holds no testing_list.txt; [preprocessing] input_gsc_v2_folder"),
        ("_background_noise_/n0.wav", "a noise cannot be read: "),
    ],
)
def test_what_is_missing_is_named(
    corpus: Path, settings: Settings, missing: str, said: str
) -> None:
    (corpus / missing).unlink()
    if missing.endswith(".wav"):
        (corpus / missing).write_bytes(b"no sound")
    with pytest.raises(UserError) as caught:
        TWELVE_CLASSES.list_clips(settings)
    assert said in str(caught.value)
