"""IEMOCAP in its real layout: which utterances count, what they are called, where they go."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import UserError
from config.settings import Settings
from preprocessing.corpora.iemocap import (
    EXCITED_FIVE_FOLDS,
    EXCITED_TEN_FOLDS,
    FIVE_FOLDS,
    ONE_SECOND_ACTORSPLIT,
    RANDSPLIT,
    SPEAKER_RANDSPLIT,
)
from preprocessing.pipeline.dataset import Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import Matrices, open_matrices

# emotion of each turn; the first dialogue is improvised, the second played from a script
IMPROVISED = {"F000": "neu", "F001": "xxx", "M000": "ang", "M001": "exc", "MXX0": "fru"}
SCRIPTED = {"F000": "hap", "M000": "sad", "M001": "neu", "M002": "sur"}
SECONDS = {"F000": 0.6, "M000": 1.4}
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
JUDGES = (
    "C-E2:\tNeutral;\t()\nC-E4:\tNeutral; Sadness;\t()\nC-F1:\tAnger;\t()\n"
    "A-E3:\tval 3; act 2; dom  2;\t()\nA-F1:\tval 3; act 2; dom  1;\t([tired] and bored)\n\n"
)

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]


def evaluation_of(dialog: str, turns: dict[str, str]) -> str:
    """The text of an evaluation file, with the lines of the single judges."""
    blocks = [
        f"[{start}.2901 - {start + 3}.2360]\t{dialog}_{turn}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n"
        for start, (turn, emotion) in enumerate(turns.items())
    ]
    return HEADER + "".join(block + JUDGES for block in blocks)


@pytest.fixture
def corpus(tmp_path: Path, write_wav: WriteWav) -> Path:
    """Five sessions of two dialogues, with the files of macOS that the real release holds."""
    folder = tmp_path / "IEMOCAP_full_release"
    seed = 0
    for number in range(1, 6):
        session = folder / f"Session{number}"
        evaluations = session / "dialog" / "EmoEvaluation"
        (evaluations / "Categorical").mkdir(parents=True)
        dialogs = {
            f"Ses0{number}F_impro01": IMPROVISED,
            f"Ses0{number}M_script01_1b": SCRIPTED,
        }
        for dialog, turns in dialogs.items():
            (evaluations / f"{dialog}.txt").write_text(evaluation_of(dialog, turns))
            (evaluations / f"._{dialog}.txt").write_bytes(b"\0\5\x16\7\xff")
            (evaluations / "Categorical" / f"{dialog}_e2_cat.txt").write_text("other\tformat\tfea")
            sentences = session / "sentences" / "wav" / dialog
            for turn in turns:
                seed += 1
                write_wav(sentences / f"{dialog}_{turn}.wav", SECONDS.get(turn, 1.0), seed)
            (sentences / f"._{dialog}_F000.wav").write_bytes(b"\0\5\x16\7")
    return folder


@pytest.fixture
def settings(corpus: Path, make_settings: MakeSettings) -> Settings:
    """Settings for the tiny corpus."""
    return make_settings(input_iemocap_folder=corpus)


def sessions_of(matrices: Matrices, set_name: str) -> set[str]:
    """The sessions whose examples are in a set, by their names in the index."""
    groups = matrices.splits["folds"][0][set_name]
    rows = matrices.rows_of(groups, with_augmented=False)
    return {name.split("_")[0][:5] for name in matrices.index["clip"].iloc[rows]}


def settings_of(corpus: Path, key: str, value: str) -> dict[str, object]:
    return {"input_iemocap_folder": corpus, key: value}


class TestLabels:
    def test_the_four_emotions(self, settings: Settings) -> None:
        """Of nine turns a session, neu counts twice, ang, hap and sad once; all others go."""
        clips = RANDSPLIT.list_clips(settings)
        assert Counter((clip.class_name, clip.label) for clip in clips) == {
            ("neu", 0): 10,
            ("ang", 1): 5,
            ("hap", 2): 5,
            ("sad", 3): 5,
        }
        labels = {clip.name: clip.class_name for clip in clips}
        assert labels["Ses03F_impro01_M000.wav"] == "ang"
        assert labels["Ses03M_script01_1b_F000.wav"] == "hap"
        assert "Ses03F_impro01_M001.wav" not in labels

    def test_details(self, settings: Settings) -> None:
        """The speaker is the one whose turn it is, not the one who wears the markers."""
        clips = {clip.name: clip for clip in SPEAKER_RANDSPLIT.list_clips(settings)}
        assert clips["Ses02F_impro01_M001.wav"].details == {
            "session": "Session2",
            "speaker": "Ses02M",
            "gender": "M",
            "dialog": "Ses02F_impro01",
            "emotion": "exc",
            "performance": "improvised",
        }
        details = clips["Ses05M_script01_1b_F000.wav"].details
        assert details["speaker"] == "Ses05F"
        assert details["performance"] == "scripted"

    def test_ten_actors(self, settings: Settings) -> None:
        """Three turns of each actress and six of each actor, whatever the emotion."""
        clips = SPEAKER_RANDSPLIT.list_clips(settings)
        expected = {}
        for number in range(1, 6):
            expected[f"Ses0{number}F", 2 * number - 2] = 3
            expected[f"Ses0{number}M", 2 * number - 1] = 6
        assert Counter((clip.class_name, clip.label) for clip in clips) == expected
        assert all(clip.group == clip.name for clip in clips)

    def test_five_sessions_as_in_the_release(
        self, corpus: Path, make_settings: MakeSettings
    ) -> None:
        settings = make_settings(input_iemocap_folder=corpus, speaker_label="session")
        clips = SPEAKER_RANDSPLIT.list_clips(settings)
        expected = {(f"Session{number}", number - 1): 9 for number in range(1, 6)}
        assert Counter((clip.class_name, clip.label) for clip in clips) == expected


class TestLabelFiles:
    def test_files_that_give_nothing_are_named(
        self, corpus: Path, make_settings: MakeSettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        labels = corpus / "Session2" / "dialog" / "EmoEvaluation"
        (labels / "Ses02F_impro01.txt").write_text("nothing\n")
        (labels / "Ses02M_script01_1b.txt").unlink()
        said = (
            "9 of 45 utterances have no emotion; no line [start - end] utterance emotion in 2 "
            f"label files: {labels}/Ses02F_impro01.txt, {labels}/Ses02M_script01_1b.txt (missing)"
        )
        settings = make_settings(input_iemocap_folder=corpus)
        with pytest.raises(UserError, match=re.escape(said)) as caught:
            RANDSPLIT.list_clips(settings)
        assert len(SPEAKER_RANDSPLIT.list_clips(settings)) == 45
        _, _, option = str(caught.value).rpartition("--set ")
        key, _, value = option.partition("=")
        assert len(RANDSPLIT.list_clips(make_settings(**settings_of(corpus, key, value)))) == 20
        assert said in capsys.readouterr().out


def test_whose_name_contradicts_its_folder_is_left_out_and_counted(
    corpus: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy would be a second utterance; one of another session, a speaker in two sessions."""
    dialog = corpus / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    names = ("Ses01F_impro01_F000 (1)", "Ses02F_impro01_F000", "F\n\x1b[31m", "Ses01F_impro02_F000")
    for name in names:
        shutil.copyfile(dialog / "Ses01F_impro01_F000.wav", dialog / f"{name}.wav")
    shutil.copytree(corpus / "Session1", corpus / "Session1.bak")
    shutil.copytree(corpus / "Session1", corpus / "Session6")
    clips = SPEAKER_RANDSPLIT.list_clips(settings)
    assert len(clips) == 45
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "17 files left out" in line]
    assert r"F\n\x1b[31m.wav" in said


class TestFolds:
    """Of a session's nine turns, neu (F, M), ang (M), hap (F), sad (M) and exc (M) are used."""

    @pytest.mark.parametrize(("dataset", "per_session"), [(FIVE_FOLDS, 5), (EXCITED_FIVE_FOLDS, 6)])
    def test_each_session_is_tested_once_and_the_next_one_validates(
        self, settings: Settings, dataset: Dataset, per_session: int
    ) -> None:
        matrices = open_matrices(preprocess(dataset, settings), dataset.name)
        folds = matrices.folds((0.7, 0.2, 0.1), num_folds=5)
        for number, fold in enumerate(folds):
            following = [f"Session{(number + step) % 5 + 1}" for step in range(5)]
            assert (fold.test, fold.validation) == (following[:1], following[1:2])
            assert sorted(fold.train) == sorted(following[2:])
            rows = matrices.rows_of(fold.test, with_augmented=False)
            tested = matrices.index.iloc[rows]
            assert tested["clip"].nunique() == per_session
            assert set(tested["session"]) == set(fold.test)

    def test_each_speaker_is_tested_once_and_the_other_of_the_session_validates(
        self, settings: Settings
    ) -> None:
        matrices = open_matrices(preprocess(EXCITED_TEN_FOLDS, settings), EXCITED_TEN_FOLDS.name)
        folds = matrices.folds((0.7, 0.2, 0.1), num_folds=10)
        speakers = [f"Ses0{session}{gender}" for session in range(1, 6) for gender in "FM"]
        assert [fold.test for fold in folds] == [[speaker] for speaker in speakers]
        for fold in folds:
            ((tested,), (validating,)) = fold.test, fold.validation
            assert validating == tested[:5] + {"F": "M", "M": "F"}[tested[5]]
            assert sorted(fold.train) == sorted(set(speakers) - {tested, validating})
            rows = matrices.rows_of(fold.train, with_augmented=False)
            assert not matrices.index["dialog"].iloc[rows].str.startswith(tested[:5]).any()

    def test_excited_is_happy(self, settings: Settings) -> None:
        (clip,) = [
            each
            for each in EXCITED_FIVE_FOLDS.list_clips(settings)
            if each.name == "Ses03F_impro01_M001.wav"
        ]
        assert (clip.class_name, clip.label, clip.details["emotion"]) == ("hap", 2, "exc")


class TestMatrices:
    def test_by_session(self, settings: Settings) -> None:
        """Sessions in order: three to train on, the fourth to choose by, the fifth to test."""
        matrices = open_matrices(
            preprocess(ONE_SECOND_ACTORSPLIT, settings), "iemocap_1sec_actorsplit"
        )
        assert matrices.info["split_type"] == "speaker-wise: by session"
        assert sessions_of(matrices, "train") == {"Ses01", "Ses02", "Ses03"}
        assert sessions_of(matrices, "validation") == {"Ses04"}
        assert sessions_of(matrices, "test") == {"Ses05"}
        assert matrices.predictors.shape == (25, 126, 129)
        assert matrices.info["examples_per_class"] == {"neu": 10, "ang": 5, "hap": 5, "sad": 5}
