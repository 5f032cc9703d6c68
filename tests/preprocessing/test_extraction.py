"""From clips to matrices: what is written, what is left out, what a second run does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from config.errors import UserError
from config.ini_files import load_settings
from preprocessing.corpora import all_datasets
from preprocessing.pipeline import examples, extraction
from preprocessing.pipeline.audio import decode
from preprocessing.pipeline.dataset import OWN_SPLIT, SETS, Clip
from preprocessing.pipeline.matrices import PARTS, open_matrices
from tests.preprocessing.conftest import RATE, TINY, Prepare, WriteWav, contents, spectrum


def samples_of(clip: Clip) -> np.ndarray:
    return np.asarray(soundfile.read(clip.path, dtype="float32")[0])


class TestMatrices:
    def test_examples_are_padded_and_cut_spectra(
        self, prepare: Prepare, clips: list[Clip], folder: Path
    ) -> None:
        matrices = prepare()
        assert set(contents(folder)) == {f"{TINY}_{part}.{kind}" for part, kind in PARTS.items()}
        # 2.6 s are 326 frames: two segments from the end and the rest at the beginning; 1.5 s are
        # 189, of which one segment is cut from the end.
        expected = []
        for number, clip in enumerate(clips):
            values = spectrum(samples_of(clip))
            for first in {2: (0, 74, 200), 6: (63,)}.get(number, (0,)):
                cut = values[first : first + 126]
                expected.append(np.pad(cut, ((0, 126 - len(cut)), (0, 0))))
        assert matrices.predictors.shape == (14, 126, 129)
        np.testing.assert_allclose(matrices.predictors, np.array(expected), rtol=1e-6)
        assert matrices.target.tolist() == [0, 1, 2, 2, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
        assert matrices.info["examples_per_class"] == {"no": 4, "yes": 4, "maybe": 6}

    def test_short_clips_are_padded_before_features_are_taken(
        self, prepare: Prepare, clips: list[Clip], tmp_path: Path
    ) -> None:
        """Clip 0 lasts 8000 of 16000 samples: frames that overlap its end are not 0."""
        stft = prepare(features_type="stft", output_folder=tmp_path / "stft")
        padded = np.pad(samples_of(clips[0]).astype(np.float64), (512, 8512))
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
        frames = [padded[first : first + 1024] for first in range(0, 16001, 512)]
        expected = np.abs(np.fft.rfft(np.array(frames) * window))
        assert stft.predictors.shape[1:] == (32, 513)
        np.testing.assert_allclose(stft.predictors[0], expected, rtol=1e-3, atol=1e-4)
        # Frame k is centred on sample 512 k: 0 to 15 lie in the clip, 16 reaches back into it.
        assert stft.index["num_frames"][0] == 16
        assert stft.predictors[0, 16].max() > 0.01
        assert not stft.predictors[0, 17:].any()

    def test_index_knows_every_example(self, prepare: Prepare) -> None:
        index = prepare().index
        assert index["clip"][:6].tolist() == [f"c{n:02}.wav" for n in (0, 1, 2, 2, 2, 3)]
        assert index["first_frame"][:6].tolist() == [0, 0, 0, 74, 200, 0]
        # 0.5 s: 64 frames; 0.3 s: 39 frames.
        assert index["num_frames"][:6].tolist() == [64, 126, 126, 126, 126, 39]
        assert index["class_name"][:6].tolist() == ["no", "yes", *["maybe"] * 3, "no"]
        assert index["true_snr"][:6].tolist() == ["0.0", "0.5", *["1.0"] * 3, "1.5"]
        assert set(index["augmented"]) == {0}

    def test_identifiers_stay_text(self, prepare: Prepare, clips: list[Clip]) -> None:
        """In the index, the groups of the split, and what a probe asks for."""
        names = ["12", "00000012", "1e999999", "nan", "NA", "", "True", "0x10", " 7", "1_000"]
        names += ['a, "b"', "naïve\nname"]
        clips[:] = [
            replace(clip, name=name, group=name, details={"speaker": name})
            for clip, name in zip(clips, names, strict=True)
        ]
        matrices = prepare(split_type="by speaker", segmentation=False)
        for column in ("clip", "group", "speaker"):
            assert matrices.index[column].tolist() == names
        assert matrices.splits["order"] == names

    def test_split_is_by_clip_and_seeded(self, prepare: Prepare, clips: list[Clip]) -> None:
        matrices = prepare()
        (fold,) = matrices.folds((0.7, 0.2, 0.1), 1)
        # 12 groups: 8 / 2 / 2.
        assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [8, 2, 2]
        order = matrices.splits["order"]
        assert sorted(order) == [clip.name for clip in clips]
        assert order != sorted(order)
        assert prepare(**{"preprocessing.seed": 1}).splits["order"] != order


class TestOptions:
    @pytest.mark.parametrize(
        ("changes", "num_frames"),
        [
            ({"feature_extraction.sequence_length": 0.5}, 64),
            ({"feature_extraction.sequence_length": 0.5, "pretraining.sequence_length": 2}, 251),
        ],
    )
    def test_sequence_length(
        self, prepare: Prepare, changes: dict[str, float], num_frames: int
    ) -> None:
        assert prepare(**changes).predictors.shape[1] == num_frames

    def test_overlap(self, prepare: Prepare) -> None:
        index = prepare(sequence_overlap=0.5).index
        starts = index["first_frame"][index["clip"] == "c02.wav"]
        # 326 frames, step 63: the rest of 11 frames at the beginning becomes one more.
        assert starts.tolist() == [0, 11, 74, 137, 200]

    def test_without_segmentation_all_clips_are_as_long_as_the_longest(
        self, prepare: Prepare, clips: list[Clip]
    ) -> None:
        matrices = prepare(segmentation=False)
        assert matrices.predictors.shape == (12, 326, 129)
        assert matrices.index["num_frames"].tolist()[:4] == [64, 126, 326, 39]
        for row, clip in enumerate(clips):
            values = spectrum(samples_of(clip))
            np.testing.assert_allclose(matrices.predictors[row, : len(values)], values, rtol=1e-6)
            assert not matrices.predictors[row, len(values) :].any()

    def test_normalization_scales_the_peak(self, prepare: Prepare, clips: list[Clip]) -> None:
        matrices = prepare(normalization=True)
        samples = samples_of(clips[1])
        expected = spectrum(samples * (0.8 / np.abs(samples).max()))
        np.testing.assert_allclose(matrices.predictors[1], expected, rtol=1e-4, atol=1e-7)

    def test_altered_copies_are_for_training_alone(self, prepare: Prepare) -> None:
        plain = np.array(prepare().predictors)
        matrices = prepare(augmentation=True, num_aug_samples=2)
        assert matrices.index["augmented"].value_counts().to_dict() == {0: 14, 1: 14, 2: 14}
        originals = (matrices.index["augmented"] == 0).to_numpy()
        np.testing.assert_array_equal(matrices.predictors[originals], plain)
        assert not np.array_equal(matrices.predictors[0], matrices.predictors[1])
        assert not np.array_equal(matrices.predictors[1], matrices.predictors[2])
        (fold,) = matrices.folds((0.7, 0.2, 0.1), 1)
        train = matrices.rows_of(fold.train, with_augmented=True)
        test = matrices.rows_of(fold.test, with_augmented=False)
        assert set(matrices.index["augmented"][train]) == {0, 1, 2}
        assert set(matrices.index["augmented"][test]) == {0}
        assert not set(matrices.index["group"][train]) & set(matrices.index["group"][test])


def test_what_cannot_be_a_dataset_is_refused(prepare: Prepare, clips: list[Clip]) -> None:
    for clip in clips[1::3]:
        soundfile.write(clip.path, np.zeros(RATE), RATE)
    with pytest.raises(UserError, match="tiny: no example of 1 of 3 classes: yes"):
        prepare()
    for clip in clips:
        soundfile.write(clip.path, np.zeros(RATE), RATE)
    with pytest.raises(UserError, match="not one of 12 clips can be used"):
        prepare()


class TestRefusedBeforeTheFirstClipIsRead:
    """What would end a preparation is found before it costs anything, all of it at once."""

    @pytest.fixture(autouse=True)
    def no_reading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extraction, "_write_examples", None)

    def test_names_twice(self, prepare: Prepare, clips: list[Clip]) -> None:
        clips[7] = replace(clips[7], name="c01.wav")
        clips[9] = replace(clips[9], name="c02.wav")
        with pytest.raises(UserError, match=r"c01\.wav is there 2 times; c02\.wav is there 2"):
            prepare()

    def test_classes_that_no_clip_has(self, prepare: Prepare, clips: list[Clip]) -> None:
        clips[:] = [replace(clip, label=2 * clip.label) for clip in clips]
        with pytest.raises(UserError, match="no example of 2 of 5 classes: 1, 3"):
            prepare()

    def test_no_clips_at_all(self, prepare: Prepare, clips: list[Clip]) -> None:
        clips.clear()
        with pytest.raises(UserError, match="0 groups are too few for three sets"):
            prepare()

    def test_sets_without_clips(self, prepare: Prepare, clips: list[Clip]) -> None:
        clips[:] = [replace(clip, fixed_set="validation") for clip in clips]
        with pytest.raises(UserError, match="no clips to use for train, test"):
            prepare(split_type=OWN_SPLIT)

    def test_groups_in_two_sets(self, prepare: Prepare, clips: list[Clip]) -> None:
        clips[:] = [
            replace(clip, fixed_set=SETS[number % 3], group=f"g{number // 4}")
            for number, clip in enumerate(clips)
        ]
        with pytest.raises(UserError, match=r"g0 is in train and in validation; .*g2 is in"):
            prepare(split_type=OWN_SPLIT)

    def test_missing_files(self, prepare: Prepare, clips: list[Clip], folder: Path) -> None:
        for clip in clips[:5]:
            clip.path.unlink()
        with pytest.raises(UserError, match="5 of 12 clips cannot be used"):
            prepare()
        assert (folder / f"{TINY}_left_out.csv").read_text().count(",missing\n") == 5

    @pytest.mark.parametrize("split_type", ["by group", OWN_SPLIT])
    def test_equal_files(self, prepare: Prepare, clips: list[Clip], split_type: str) -> None:
        """Those equal in size, beginning and middle alone are no duplicates, nor silent ones."""
        # 12 groups in their order: 8 train, 2 validate, 2 test.
        sets = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
        clips[:] = [replace(c, fixed_set=name) for c, name in zip(clips, sets, strict=True)]
        for number in (3, 8):
            soundfile.write(clips[number].path, np.zeros(RATE), RATE)
        for one, other in ((0, 10), (1, 11), (2, 9)):
            clips[other].path.write_bytes(clips[one].path.read_bytes())
        changed = bytearray(clips[9].path.read_bytes())
        changed[-2:] = b"\0\1"
        clips[9].path.write_bytes(changed)
        expected = r"2 problems: c00.wav \(train\) and c10.wav \(test\) hold .*; c01.wav \(train\)"
        with pytest.raises(UserError, match=expected):
            prepare(split_type=split_type)


@pytest.mark.parametrize(
    ("leave_out_silence", "left_out"), [(True, {"c01.wav", "c04.wav"}), (False, set())]
)
def test_silence_is_left_out_except_where_release_or_protocol_count_it(
    prepare: Prepare,
    clips: list[Clip],
    write_wav: WriteWav,
    leave_out_silence: bool,
    left_out: set[str],
) -> None:
    """Clip 1 has a peak of 0.04, clip 4 holds zeros alone."""
    write_wav(clips[1].path, 1.0, seed=1, peak=0.04)
    soundfile.write(clips[4].path, np.zeros(RATE), RATE)
    matrices = prepare(leave_out_silence=leave_out_silence)
    assert {clip.name for clip in clips} - set(matrices.index["clip"]) == left_out
    kept = {
        name
        for name, dataset in all_datasets(load_settings()).items()
        if not dataset.leave_out_silence
    }
    official = {"gsc_v2_10", "gsc_v2_12", "gsc_v2_35", "iemocap_5folds"}
    official |= {"iemocap_excited_5folds", "iemocap_excited_10folds"}
    assert kept == {"librispeech", "nsynth"} | official


def test_the_number_of_processes_changes_nothing(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six blocks, so that two processes have something to do."""
    monkeypatch.setattr(examples, "BLOCK_CLIPS", 2)
    one, two = tmp_path / "one", tmp_path / "two"
    prepare(output_folder=one, workers=1, augmentation=True)
    prepare(output_folder=two, workers=2, augmentation=True)
    assert contents(one) == contents(two)


class TestSecondRun:
    @pytest.fixture
    def read(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the files that are read."""
        names: list[str] = []

        def counting(path: Path) -> Any:
            names.append(path.name)
            return decode(path)

        monkeypatch.setattr(examples, "decode", counting)
        return names

    @pytest.mark.parametrize("first", [None, {"normalization": True}])
    def test_an_interrupted_run_leaves_what_was_there_and_begins_anew(
        self,
        prepare: Prepare,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        first: dict[str, Any] | None,
    ) -> None:
        if first is not None:
            prepare(**first)
        before = contents(folder)

        def interrupted(path: Path) -> Any:
            if path.name == "c07.wav":
                raise KeyboardInterrupt
            return decode(path)

        with monkeypatch.context() as patch:
            patch.setattr(examples, "decode", interrupted)
            with pytest.raises(KeyboardInterrupt):
                prepare()
        assert contents(folder) == before
        prepare()
        prepare(output_folder=tmp_path / "undisturbed")
        assert contents(folder) == contents(tmp_path / "undisturbed")

    def test_an_error_between_the_files_leaves_no_complete_matrices(
        self, prepare: Prepare, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepare()
        undisturbed = contents(folder)
        with monkeypatch.context() as patch:
            patch.setattr(extraction, "describe", lambda *_: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                prepare(normalization=True)
        with pytest.raises(UserError, match="holds no complete matrices"):
            open_matrices(folder, TINY)
        prepare()
        assert contents(folder) == undisturbed

    def test_a_missing_file_is_made_again_and_settings_that_do_not_matter_leave_it(
        self, prepare: Prepare, folder: Path, read: list[str]
    ) -> None:
        prepare()
        before = contents(folder)
        (folder / f"{TINY}_index.csv").unlink()
        prepare()
        assert contents(folder) == before
        prepare(workers=2, batch_size=5, patience=2)
        assert len(read) == 24
        assert contents(folder) == before

    @pytest.mark.parametrize(
        "changes", [{"preprocessing.seed": 1}, {"normalization": True}, {"num_folds": 3}]
    )
    def test_changed_settings_redo_it(
        self, prepare: Prepare, read: list[str], changes: dict[str, Any]
    ) -> None:
        assert prepare(**changes).fingerprint != prepare().fingerprint
        assert len(read) == 24

    def test_changed_clips_redo_it(
        self, prepare: Prepare, clips: list[Clip], read: list[str], write_wav: WriteWav
    ) -> None:
        fingerprints = [prepare().fingerprint]
        write_wav(clips[5].path, 0.9, seed=99)
        fingerprints.append(prepare().fingerprint)
        clips[5] = replace(clips[5], label=1, class_name="yes")
        fingerprints.append(prepare().fingerprint)
        del clips[5]
        fingerprints.append(prepare().fingerprint)
        assert len(read) == 12 + 12 + 12 + 11
        assert len(set(fingerprints)) == 4

    def test_a_moved_corpus_is_the_same(
        self, prepare: Prepare, clips: list[Clip], read: list[str], tmp_path: Path
    ) -> None:
        prepare()
        (tmp_path / "corpus").rename(tmp_path / "elsewhere")
        clips[:] = [replace(c, path=tmp_path / "elsewhere" / c.name) for c in clips]
        prepare()
        assert len(read) == 12
