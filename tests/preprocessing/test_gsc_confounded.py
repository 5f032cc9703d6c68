"""The benchmark with a known answer: how far the noise follows the word, counted in its plan."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.stats import chi2_contingency

from config.settings import Settings
from preprocessing.corpora.gsc import DIGITS, write_balanced
from preprocessing.corpora.gsc_confounded import (
    SNRS,
    SPEAKERSPLIT,
    plan_confounded,
    write_confounded,
)
from preprocessing.corpora.noisyspeech import NOISE_TYPES
from preprocessing.pipeline.dataset import SETS
from preprocessing.pipeline.generated_folders import read_manifest
from preprocessing.pipeline.noise_mixing import Mixture
from tests.preprocessing.conftest import MakeSettings, WriteWav, prepared

TEN_TYPES = list(NOISE_TYPES[:10])
TYPE_OF_WORD = dict(zip(DIGITS, TEN_TYPES, strict=True))
NUM_SPEAKERS, CLIPS_OF_SPEAKER = 20, 4

MakePlan = Callable[..., list[Mixture]]


def word_of(mixture: Mixture) -> str:
    return mixture.files[0].removesuffix(".wav").split("_")[-1]


def speaker_of(mixture: Mixture) -> str:
    return mixture.speech[0].name.split("_")[0]


def set_of(mixture: Mixture) -> str:
    return dict(mixture.notes)["set"]


def is_confounded(mixture: Mixture) -> bool:
    return {"0": False, "1": True}[dict(mixture.notes)["confounded"]]


def table_of(mixtures: list[Mixture]) -> np.ndarray:
    """Clips of each word (row) with each type of noise (column)."""
    counts = Counter((word_of(mixture), mixture.noise_type) for mixture in mixtures)
    return np.array([[counts[word, kind] for kind in TEN_TYPES] for word in DIGITS])


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """Each digit four times by each of twenty speakers; six files of each type of noise.

    A manifest of balanced clips and names of noises are all that a plan reads.
    """
    balanced = tmp_path / "gsc_augmented" / "balanced"
    balanced.mkdir(parents=True)
    names = [
        f"{speaker:08x}_nohash_{clip}_{word}.wav"
        for word in DIGITS
        for speaker in range(NUM_SPEAKERS)
        for clip in range(CLIPS_OF_SPEAKER)
    ]
    (balanced / "manifest.csv").write_text("\n".join(["file", *names]) + "\n")
    noises = tmp_path / "MS-SNSD" / "noise_train"
    noises.mkdir(parents=True)
    for kind in (*TEN_TYPES, "WasherDryer", "Washing", "Aircraft"):
        for number in range(6):
            (noises / f"{kind}_{number}.wav").touch()
    return tmp_path


@pytest.fixture
def plan(names: Path, make_settings: MakeSettings) -> MakePlan:
    def plan(confounding: float = 0.9, **changes: Any) -> list[Mixture]:
        assert names.is_dir()
        return plan_confounded(make_settings(confounding=confounding, **changes))

    return plan


class TestConfounding:
    # 14 of 20 speakers are in training: 56 clips of each word; 4 in validation: 16; 2 in test: 8.
    @pytest.mark.parametrize(
        ("confounding", "train", "validation"),
        [(0.0, 0, 0), (0.25, 14, 4), (0.5, 28, 8), (0.9, 50, 14), (1.0, 56, 16)],
    )
    def test_the_fraction_is_that_of_each_word_and_set(
        self, plan: MakePlan, confounding: float, train: int, validation: int
    ) -> None:
        mixtures = plan(confounding)
        expected = {"train": (56, train), "validation": (16, validation), "test": (8, 0)}
        for word in DIGITS:
            for name, (size, num_confounded) in expected.items():
                members = [m for m in mixtures if (word_of(m), set_of(m)) == (word, name)]
                confounded = [m for m in members if is_confounded(m)]
                assert (len(members), len(confounded)) == (size, num_confounded)
                assert {m.noise_type for m in confounded} <= {TYPE_OF_WORD[word]}

    def test_the_test_set_is_independent_where_training_is_not(self, plan: MakePlan) -> None:
        """Each word has eight of the ten types; in training all clips are on a diagonal."""
        mixtures = plan(1.0)
        tables = {
            name: table_of([mixture for mixture in mixtures if set_of(mixture) == name])
            for name in SETS
        }
        assert (tables["train"] == 56 * np.eye(10)).all()
        assert (tables["validation"] == 16 * np.eye(10)).all()
        assert tables["test"].max() == 1
        assert (tables["test"].sum(axis=1) == 8).all()
        assert chi2_contingency(tables["train"]).statistic == pytest.approx(560 * 9)
        assert chi2_contingency(tables["test"]).pvalue > 0.5


class TestSets:
    def test_speakers_and_files_of_noise_are_in_one_set_only(self, plan: MakePlan) -> None:
        mixtures = plan()
        for of, sizes in ((speaker_of, (14, 4, 2)), (lambda m: m.noise[0].name, (40, 10, 10))):
            members = {name: {of(m) for m in mixtures if set_of(m) == name} for name in SETS}
            assert tuple(len(members[name]) for name in SETS) == sizes
            assert len(set.union(*members.values())) == sum(sizes)
        assert {mixture.noise_type for mixture in mixtures} == set(TEN_TYPES)
        assert all(m.noise[0].name.split("_")[0] == m.noise_type for m in mixtures)

    def test_another_confounding_changes_nothing_else(self, plan: MakePlan) -> None:
        less, more = plan(0.3), plan(0.8)
        for fewer, other in zip(less, more, strict=True):
            for of in (set_of, lambda m: (m.speech, m.snrs, m.noise_position)):
                assert of(fewer) == of(other)
            if is_confounded(fewer):
                assert is_confounded(other)
            if is_confounded(fewer) == is_confounded(other):
                assert fewer.noise == other.noise
        assert 0.0 <= min(m.noise_position for m in more) < 0.02
        assert 0.98 < max(m.noise_position for m in more) < 1.0
        counts = Counter(snr for mixture in more for snr in mixture.snrs)
        assert set(counts) == set(SNRS)
        assert min(counts.values()) > 0.15 * len(more)


class TestFolders:
    """Six speakers say each digit once; three noises of each type, longer than the clips."""

    @pytest.fixture
    def settings(
        self, tmp_path: Path, write_wav: WriteWav, make_settings: MakeSettings
    ) -> MakeSettings:
        seeds = iter(range(1000))
        for word in DIGITS:
            for speaker in range(6):
                name = f"{speaker:08x}_nohash_0.wav"
                write_wav(tmp_path / "speech_commands" / word / name, 0.3, seed=next(seeds))
        for kind in TEN_TYPES:
            for number in range(3):
                name = f"{kind}_{number}.wav"
                write_wav(tmp_path / "MS-SNSD" / "noise_train" / name, 0.5, seed=next(seeds))

        def settings(**changes: Any) -> Settings:
            splits = {"train_split": 0.5, "validation_split": 0.25, "test_split": 0.25}
            return make_settings(**({"items_per_class": 6, "confounding": 0.5} | splits | changes))

        write_balanced(settings())
        return settings

    def test_matrices_have_the_split_of_the_mixtures(
        self, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = write_confounded(settings())
        # 3 train speakers give each word 3 clips, of which round(1.5) = 2 are confounded;
        # 2 validation speakers give 2, of which 1; one speaker is left for the test. Some of the
        # others have the noise of their word by chance, one in ten on average.
        manifest = read_manifest(folder, "")
        follow = Counter(
            row["set"]
            for row in manifest
            if row["noise_type"] == TYPE_OF_WORD[row["file"].removesuffix(".wav").split("_")[-1]]
        )
        assert follow["train"] >= 20
        assert follow["validation"] >= 10
        said = (
            f"noise follows the word in {follow['train']} of 30 train, {follow['validation']} of "
            f"20 validation, {follow['test']} of 10 test clips; by chance it would in 3, 2, 1\n"
        )
        assert said in capsys.readouterr().out
        matrices = prepared(SPEAKERSPLIT, settings())
        words = "the corpus's own: no speaker or noise shared; confounding 0.5"
        assert matrices.info["split"] == words
        assert matrices.orthogonal_labels == ["noise_type", "speaker"]
        assert matrices.classes == list(DIGITS)
        index = matrices.index
        rows = {row["file"]: row for row in manifest}
        for _, entry in index.iterrows():
            row = rows[entry["clip"]]
            assert (entry["set"], entry["confounded"]) == (row["set"], row["confounded"])
            assert (entry["noise_type"], entry["noise"]) == (row["noise_type"], row["noise"])
            assert entry["group"] == row["speech"].split("_")[0]
        (fold,) = matrices.folds((0.7, 0.2, 0.1), 1)
        for name in SETS:
            examples = matrices.rows_of(getattr(fold, name), with_augmented=False)
            assert set(index["set"][examples]) == {name}
        assert [len(fold.train), len(fold.validation), len(fold.test)] == [3, 2, 1]

    @pytest.mark.parametrize("convention", ["ms_snsd", "decibel"])
    def test_true_snr_and_the_stretch_of_noise(
        self, settings: MakeSettings, convention: str
    ) -> None:
        """Whatever the convention, the SNR measured is the one asked for."""
        chosen = settings(snr_convention=convention)
        folder = write_confounded(chosen)
        for mixture, row in zip(plan_confounded(chosen), read_manifest(folder, ""), strict=True):
            speech, _ = soundfile.read(mixture.speech[0])
            noise, _ = soundfile.read(mixture.noise[0])
            noisy, _ = soundfile.read(folder / row["file"])
            clean = speech * 10 ** (-25 / 20) / np.sqrt(np.mean(speech**2))
            rest = noisy / float(row["gain"]) - clean
            measured = 10 * np.log10(np.mean(clean**2) / np.mean(rest**2))
            assert measured == pytest.approx(mixture.snrs[0], abs=0.05)
            assert float(row["true_snr"]) == pytest.approx(mixture.snrs[0], abs=1e-3)
            start = round(mixture.noise_position * (len(noise) - len(speech)))
            assert np.corrcoef(rest, noise[start : start + len(speech)])[0, 1] > 0.999
