"""Speech Commands from the raw folder to matrices, clean and in noise; the scripts themselves."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from config.errors import UserError
from preprocessing.corpora.gsc import (
    CLEAN_RANDSPLIT,
    DIGITS,
    NOISY_MORE_RANDSPLIT,
    NOISY_RANDSPLIT,
    SPEAKER_RANDSPLIT,
    choose_balanced,
    clip_of,
    mixtures_folder,
    plan_noisy,
    write_balanced,
    write_noisy_balanced,
    write_noisy_more_balanced,
)
from preprocessing.corpora.gsc_confounded import plan_confounded, write_confounded
from preprocessing.pipeline.generated_folders import read_manifest
from tests.preprocessing.conftest import MakeSettings, WriteWav, prepared


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.wav")}


class TestBalanced:
    def test_as_many_clips_of_each_digit(
        self, speech_commands: Path, make_settings: MakeSettings
    ) -> None:
        folder = write_balanced(make_settings())
        assert folder == speech_commands.parent / "gsc_augmented" / "balanced"
        names = names_in(folder)
        assert len(names) == 30
        for digit in DIGITS:
            chosen = [name for name in names if name.endswith(f"_{digit}.wav")]
            assert len(chosen) == 3
            for name in chosen:
                source = speech_commands / digit / name.replace(f"_{digit}.wav", ".wav")
                assert (folder / name).read_bytes() == source.read_bytes()
        assert {row["file"] for row in read_manifest(folder, "")} == names

    def test_too_few_clips(self, speech_commands: Path, make_settings: MakeSettings) -> None:
        with pytest.raises(
            UserError, match=r"items_per_class = 5: zero 4, .*nine 4; pass .*=4 or less"
        ):
            choose_balanced(make_settings(items_per_class=5))
        for word in ("two", "nine"):
            shutil.rmtree(speech_commands / word)
        with pytest.raises(UserError, match=r"holds no \.wav files of two, nine"):
            choose_balanced(make_settings())


@pytest.mark.usefixtures("ms_snsd")
def test_a_broken_clip_is_left_out_and_taken_up_when_repaired(
    speech_commands: Path, make_settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of forty clips, of three speakers, is broken when it is balanced, and repaired later."""
    clip = speech_commands / "nine" / "ef567890_nohash_0.wav"
    clip.rename(clip.with_name("aaaaaaaa_nohash_0.wav"))
    path = speech_commands / "two" / "abcd1234_nohash_0.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])
    with pytest.raises(UserError, match=r"1 of 40 clips cannot be used \(1 truncated\)"):
        write_balanced(make_settings(items_per_class=4))
    settings = make_settings(items_per_class=4, max_skipped_fraction=0.03)
    folder = write_balanced(settings)
    assert "39 clips; left out: 1 clip (1 truncated), listed in" in capsys.readouterr().out
    assert len(names_in(folder)) == 39
    write_noisy_balanced(settings)
    write_confounded(settings)
    path.write_bytes(whole)
    assert len(names_in(write_balanced(settings))) == 40
    write_noisy_balanced(settings)
    write_confounded(settings)
    assert [len(names_in(each)) for each in folder.parent.iterdir()] == [40] * 3


def test_what_was_replaced_is_taken_up(
    speech_commands: Path, ms_snsd: Path, make_settings: MakeSettings, write_wav: WriteWav
) -> None:
    """A clip or a noise of the same name and length, as when the first was of the wrong person."""
    settings = make_settings(items_per_class=4)
    folder = mixtures_folder(settings, "noisy_balanced")

    def changed_by(path: Path, seconds: float) -> set[str]:
        before = {each.name: each.read_bytes() for each in folder.glob("*.wav")}
        write_wav(path, seconds, seed=4321)
        write_balanced(settings)
        write_noisy_balanced(settings)
        return {name for name in before if (folder / name).read_bytes() != before[name]}

    write_balanced(settings)
    write_noisy_balanced(settings)
    rows = read_manifest(folder, "")
    for path, seconds in (
        (speech_commands / "two" / "abcd1234_nohash_0.wav", 0.75),
        (ms_snsd / "noise_train" / "Typing_1.wav", 1.1),
    ):
        names = {path.name, f"{path.stem}_two.wav"}
        expected = {row["file"] for row in rows if names & {row["speech"], row["noise"]}}
        assert expected
        assert changed_by(path, seconds) == expected


def test_speakers_of_a_single_clip_are_no_class(
    speech_commands: Path, make_settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of forty clips one is of a third speaker."""
    clip = speech_commands / "nine" / "ef567890_nohash_0.wav"
    clip.rename(clip.with_name("aaaaaaaa_nohash_0.wav"))
    settings = make_settings(items_per_class=4)
    write_balanced(settings)
    clips = SPEAKER_RANDSPLIT.list_clips(settings)
    assert len(clips) == 39
    for clip_of_speaker in clips:
        speaker, _, _, word = clip_of_speaker.path.stem.split("_")
        assert (clip_of_speaker.class_name, clip_of_speaker.details["word"]) == (speaker, word)
        assert clip_of_speaker.label == ["abcd1234", "ef567890"].index(speaker)
    assert "1 of 40 clips left out, of 1 speaker with fewer than 10" in capsys.readouterr().out


@pytest.mark.usefixtures("speech_commands", "ms_snsd", "balanced")
class TestInNoise:
    @pytest.fixture
    def balanced(self, make_settings: MakeSettings) -> set[str]:
        return names_in(write_balanced(make_settings()))

    @pytest.mark.parametrize("snrs", [(20.0, 25.0, 30.0, 35.0, 40.0), (0.0, 2.5, 5.0, 7.5, 10.0)])
    def test_each_clip_once_at_a_random_snr(
        self, balanced: set[str], make_settings: MakeSettings, snrs: tuple[float, ...]
    ) -> None:
        mixtures = plan_noisy(make_settings(), snrs)
        assert sorted(path.name for m in mixtures for path in m.speech) == sorted(balanced)
        assert {snr for mixture in mixtures for snr in mixture.snrs} == set(snrs)
        for counter, mixture in enumerate(mixtures, start=1):
            (snr,), (file,) = mixture.snrs, mixture.files
            assert file == f"noisy{counter}_SNRdb_{snr:g}_{mixture.speech[0].name}"
            assert {p.stem.partition("_")[0] for p in mixture.noise} == {mixture.noise_type}
        assert len({mixture.noise_type for mixture in mixtures}) > 5

    def test_two_folders_two_datasets(self, make_settings: MakeSettings, tmp_path: Path) -> None:
        settings = make_settings(workers=1)
        write_noisy_balanced(settings)
        write_noisy_more_balanced(settings)
        for dataset, requested in (
            (NOISY_RANDSPLIT, {20, 25, 30, 35, 40}),
            (NOISY_MORE_RANDSPLIT, {0, 2.5, 5, 7.5, 10}),
        ):
            matrices = prepared(dataset, settings)
            index = matrices.index
            assert matrices.classes == list(DIGITS)
            requested_snr, true_snr = (
                index[column].astype(float) for column in ("requested_snr", "true_snr")
            )
            assert set(requested_snr) <= requested
            np.testing.assert_allclose(true_snr, requested_snr / 2, atol=1e-3)
            assert set(index["speaker"]) == {"abcd1234", "ef567890"}
            words = [Path(clip).stem.rpartition("_")[2] for clip in index["clip"]]
            assert matrices.target.tolist() == [DIGITS.index(word) for word in words]
            assert index["class_name"].tolist() == words
        assert (tmp_path / "gsc_augmented" / "noisy_MORE_balanced").is_dir()


class TestSpeakers:
    """Who speaks is in the name, if it follows the corpus's rule, and nowhere else."""

    @pytest.mark.parametrize(
        ("name", "speaker"),
        [
            ("0a7c2a8d_nohash_0_seven", "0a7c2a8d"),
            ("noisy12_SNRdb_2.5_0a7c2a8d_nohash_13_seven", "0a7c2a8d"),
            ("00000012_nohash_0_two", "00000012"),
            ("1e999999_nohash_0_two", "1e999999"),
            ("seven_seven", ""),
            ("0a7c2a8d_seven", ""),
            ("0a7c2a8d_nohash_seven", ""),
            ("0a7c2a8d_nohash_x_seven", ""),
            ("my_0a7c2a8d_nohash_0_seven", ""),
            ("_nohash_0_seven", ""),
            ("noisy12_SNRdb_20_kitchen seven_seven", ""),
            ("noisy12_SNRdb_20_kitchen_7_seven", ""),
        ],
    )
    def test_names(self, name: str, speaker: str) -> None:
        assert clip_of(Path(f"{name}.wav"), {}).details == {"speaker": speaker}

    def test_what_needs_no_speaker_works_without(
        self, speech_commands: Path, make_settings: MakeSettings
    ) -> None:
        for word in ("one", "two"):
            path = speech_commands / word / "abcd1234_nohash_1.wav"
            path.rename(path.with_name("mine.WAV"))
        settings = make_settings(items_per_class=4)
        folder = write_balanced(settings)
        matrices = prepared(CLEAN_RANDSPLIT, settings)
        assert Counter(matrices.index["speaker"]) == {"abcd1234": 18, "ef567890": 20, "": 2}
        assert matrices.info["sources"] == {"speaker": {"shared": 2, "of": 2, "unknown": 2}}
        split = "random by clip: speakers shared, speaker of 2 clips not known"
        assert matrices.info["split"] == split
        with pytest.raises(UserError, match="2 of 40 clips tell no speaker") as caught:
            plan_confounded(settings)
        assert "mine_one.wav, mine_two.wav" in str(caught.value)
        assert str(folder) in str(caught.value)
