"""From clips to matrices: what is written, what is left out, what a restart does."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile

from config.errors import UserError
from config.settings import Settings
from preprocessing.pipeline import examples, extraction, torchaudio_features
from preprocessing.pipeline.audio import decode, read_audio
from preprocessing.pipeline.dataset import OWN_SPLIT, RANDOM_BY_CLIP, Clip, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.features import extract_features
from preprocessing.pipeline.matrices import PARTS, Matrices, open_matrices

RATE = 16000
NAME = "tiny_spectrum_fast"
CLASSES = ("no", "yes", "maybe")
SECONDS = (0.5, 1.0, 2.6, 0.3, 1.0, 0.9, 1.5, 1.0, 0.7, 1.0, 0.8, 1.0)

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]


def spectrum(samples: np.ndarray) -> np.ndarray:
    """The features of the paper's experiments, straight from scipy."""
    _, _, values = scipy.signal.stft(samples, window="hamming", nperseg=256, noverlap=128)
    return np.asarray(np.abs(values).T)


def samples_of(clip: Clip) -> np.ndarray:
    return np.asarray(soundfile.read(clip.path, dtype="float32")[0])


def contents(settings: Settings) -> dict[str, bytes]:
    folder = settings.preprocessing.output_folder
    return {path.name: path.read_bytes() for path in folder.glob("*.*")}


def prepared(dataset: Dataset, settings: Settings) -> Matrices:
    return open_matrices(preprocess(dataset, settings), NAME)


@pytest.fixture
def clips(tmp_path: Path, write_wav: WriteWav) -> list[Clip]:
    """Twelve clips of three classes, 0.3 to 2.6 s."""
    return [
        Clip(
            path=write_wav(tmp_path / "corpus" / f"c{number:02}.wav", seconds, seed=number),
            name=f"c{number:02}.wav",
            label=number % 3,
            class_name=CLASSES[number % 3],
            group=f"c{number:02}.wav",
            details={"speaker": f"{number // 4:03}", "true_snr": number / 2},
        )
        for number, seconds in enumerate(SECONDS)
    ]


@pytest.fixture
def dataset(clips: list[Clip]) -> Dataset:
    """The clips as a dataset of 1 s examples; tests change the list of clips in place."""
    return Dataset("tiny", "preprocessing_TINY", "test", 1.0, RANDOM_BY_CLIP, lambda _: list(clips))


class TestMatrices:
    def test_files_are_complete_and_nothing_else_is_left(
        self, dataset: Dataset, make_settings: MakeSettings
    ) -> None:
        settings = make_settings()
        assert preprocess(dataset, settings) == settings.preprocessing.output_folder
        assert set(contents(settings)) == {f"{NAME}_{part}.{PARTS[part]}" for part in PARTS}

    def test_examples_are_a_memory_map_of_padded_and_cut_spectra(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        matrices = prepared(dataset, make_settings())
        assert isinstance(matrices.predictors, np.memmap)
        assert matrices.predictors.dtype == np.float32
        assert matrices.target.dtype == np.int64
        # 2.6 s are 326 frames: two segments and the rest, from the end; 1.5 s only one.
        expected = []
        for number, clip in enumerate(clips):
            values = spectrum(samples_of(clip))
            for first in {2: (0, 126, 200)}.get(number, (0,)):
                cut = values[first : first + 126]
                expected.append(np.pad(cut, ((0, 126 - len(cut)), (0, 0))))
        assert matrices.predictors.shape == (14, 126, 129)
        np.testing.assert_allclose(matrices.predictors, np.array(expected), rtol=1e-6)
        assert matrices.target.tolist() == [0, 1, 2, 2, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]

    def test_index_knows_every_example(self, dataset: Dataset, make_settings: MakeSettings) -> None:
        index = prepared(dataset, make_settings()).index
        assert list(index.columns) == [
            "clip",
            "label",
            "class_name",
            "group",
            "first_frame",
            "num_frames",
            "augmented",
            "content",
            "speaker",
            "true_snr",
        ]
        assert index["clip"][:6].tolist() == [f"c{n:02}.wav" for n in (0, 1, 2, 2, 2, 3)]
        assert index["first_frame"][:6].tolist() == [0, 0, 0, 126, 200, 0]
        # 0.5 s: 64 frames; 0.3 s: 39 frames.
        assert index["num_frames"][:6].tolist() == [64, 126, 126, 126, 126, 39]
        assert index["class_name"][:6].tolist() == ["no", "yes", *["maybe"] * 3, "no"]
        assert index["true_snr"][:6].tolist() == [0.0, 0.5, 1.0, 1.0, 1.0, 1.5]
        assert set(index["augmented"]) == {0}

    def test_split_is_by_clip_and_seeded(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        matrices = prepared(dataset, make_settings())
        (fold,) = matrices.folds((0.7, 0.2, 0.1), 1)
        # 12 groups: 8 / 2 / 2.
        assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [8, 2, 2]
        order = fold.train + fold.validation + fold.test
        assert sorted(order) == [clip.name for clip in clips]
        assert order != sorted(order)
        other = prepared(dataset, make_settings(**{"preprocessing.seed": 1}))
        assert other.splits["order"] != matrices.splits["order"]
        assert sorted(other.splits["order"]) == sorted(order)

    def test_groups_stay_together_and_keep_their_order_if_not_random(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        clips[:] = [replace(c, group=f"session{n % 5}") for n, c in enumerate(clips)]
        matrices = prepared(replace(dataset, split_type="by session"), make_settings())
        (fold,) = matrices.folds((0.7, 0.2, 0.1), 1)
        assert fold.train == ["session0", "session1", "session2"]
        assert (fold.validation, fold.test) == (["session3"], ["session4"])
        rows = matrices.rows_of(fold.test, with_augmented=False)
        assert matrices.index["clip"][rows].tolist() == ["c04.wav", "c09.wav"]

    def test_a_corpuss_own_split(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        sets = ["train"] * 9 + ["validation"] * 2 + ["test"]
        clips[:] = [replace(c, fixed_set=s) for c, s in zip(clips, sets, strict=True)]
        own = replace(dataset, split_type=OWN_SPLIT)
        matrices = prepared(own, make_settings(num_folds=5))
        (fold,) = matrices.folds((0.5, 0.3, 0.2), 1)
        names = [clip.name for clip in clips]
        assert (fold.train, fold.validation, fold.test) == (names[:9], names[9:11], names[11:])
        with pytest.raises(UserError, match="only num_folds = 1 is possible"):
            matrices.folds((0.7, 0.2, 0.1), 5)
        clips[:] = [replace(c, fixed_set="train") for c in clips]
        with pytest.raises(UserError, match="no clips in its validation set"):
            preprocess(own, make_settings())


class TestOptions:
    @pytest.mark.parametrize(
        ("changes", "num_frames"),
        [
            ({}, 126),
            ({"feature_extraction.sequence_length": 0.5}, 64),
            ({"feature_extraction.sequence_length": 0.5, "pretraining.sequence_length": 2}, 251),
        ],
    )
    def test_sequence_length(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        changes: dict[str, float],
        num_frames: int,
    ) -> None:
        assert prepared(dataset, make_settings(**changes)).predictors.shape[1] == num_frames

    def test_overlap(self, dataset: Dataset, make_settings: MakeSettings) -> None:
        index = prepared(dataset, make_settings(sequence_overlap=0.5)).index
        starts = index["first_frame"][index["clip"] == "c02.wav"]
        # 326 frames, step 63: the rest of 11 frames becomes one more.
        assert starts.tolist() == [0, 63, 126, 189, 200]

    def test_without_segmentation_all_clips_are_as_long_as_the_longest(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        matrices = prepared(dataset, make_settings(segmentation=False))
        assert matrices.predictors.shape == (12, 326, 129)
        assert matrices.index["num_frames"].tolist()[:4] == [64, 126, 326, 39]
        for row, clip in enumerate(clips):
            values = spectrum(samples_of(clip))
            np.testing.assert_allclose(matrices.predictors[row, : len(values)], values, rtol=1e-6)
            assert not matrices.predictors[row, len(values) :].any()

    def test_normalization_scales_the_peak(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        matrices = prepared(dataset, make_settings(normalization=True))
        samples = samples_of(clips[1])
        expected = spectrum(samples * (0.8 / np.abs(samples).max()))
        np.testing.assert_allclose(matrices.predictors[1], expected, rtol=1e-4, atol=1e-7)

    def test_altered_copies_are_for_training_alone(
        self, dataset: Dataset, make_settings: MakeSettings
    ) -> None:
        plain = prepared(dataset, make_settings())
        examples = np.array(plain.predictors)
        matrices = prepared(dataset, make_settings(augmentation=True, num_aug_samples=2))
        assert len(matrices.target) == 3 * 14
        assert matrices.index["augmented"].value_counts().to_dict() == {0: 14, 1: 14, 2: 14}
        originals = (matrices.index["augmented"] == 0).to_numpy()
        np.testing.assert_array_equal(matrices.predictors[originals], examples)
        assert not np.array_equal(matrices.predictors[0], matrices.predictors[1])
        assert not np.array_equal(matrices.predictors[1], matrices.predictors[2])
        (fold,) = matrices.folds((0.7, 0.2, 0.1), 1)
        train = matrices.rows_of(fold.train, with_augmented=True)
        test = matrices.rows_of(fold.test, with_augmented=False)
        assert set(matrices.index["augmented"][train]) == {0, 1, 2}
        assert set(matrices.index["augmented"][test]) == {0}
        assert not set(matrices.index["group"][train]) & set(matrices.index["group"][test])

    def test_a_stretch_of_a_file(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        clips[2] = replace(clips[2], start=1.25, duration=0.5)
        matrices = prepared(dataset, make_settings(segmentation=False))
        # The longest is now 1.5 s: 188 steps of 128 samples, the last one padded.
        assert matrices.predictors.shape == (12, 189, 129)
        expected = spectrum(read_audio(clips[2].path, RATE)[20000:28000])
        np.testing.assert_allclose(matrices.predictors[2, :64], expected, rtol=1e-6)


class TestLeftOut:
    @pytest.mark.parametrize("part", ["predictors", "target", "index", "splits", "info"])
    def test_missing_files_are_made_again(
        self, dataset: Dataset, make_settings: MakeSettings, part: str
    ) -> None:
        settings = make_settings()
        preprocess(dataset, settings)
        before = contents(settings)
        (settings.preprocessing.output_folder / f"{NAME}_{part}.{PARTS[part]}").unlink()
        preprocess(dataset, settings)
        assert contents(settings) == before

    def test_a_class_without_examples_is_refused(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        for clip in clips[1::3]:
            soundfile.write(clip.path, np.zeros(RATE), RATE)
        with pytest.raises(UserError, match="tiny: no example of 1 of 3 classes: yes"):
            preprocess(dataset, make_settings())

    def test_nothing_usable_is_refused(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        for clip in clips:
            soundfile.write(clip.path, np.zeros(RATE), RATE)
        with pytest.raises(UserError, match="not one of 12 clips can be used"):
            preprocess(dataset, make_settings())


class TestProcesses:
    @pytest.fixture(autouse=True)
    def small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Six blocks, so that several processes have something to do."""
        monkeypatch.setattr(examples, "BLOCK_CLIPS", 2)

    @pytest.mark.parametrize("features_type", ["spectrum_fast", "stft"])
    def test_their_number_changes_nothing(
        self, dataset: Dataset, make_settings: MakeSettings, tmp_path: Path, features_type: str
    ) -> None:
        outputs = []
        for workers in (1, 2, 5):
            settings = make_settings(
                output_folder=tmp_path / str(workers),
                workers=workers,
                augmentation=True,
                features_type=features_type,
            )
            preprocess(dataset, settings)
            outputs.append(contents(settings))
        assert outputs[0] == outputs[1] == outputs[2]

    def test_on_a_gpu_features_are_taken_in_the_parent(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With the CPU's features in the place of the GPU's; only the note of it differs."""
        on_cpu = make_settings(output_folder=tmp_path / "cpu")
        preprocess(dataset, on_cpu)
        seen = set()

        def batched_features(*arguments: Any) -> list[np.ndarray]:
            seen.add(os.getpid())
            return extract_features(*arguments)

        monkeypatch.setattr(torchaudio_features, "batched_features", batched_features)
        monkeypatch.setattr(torchaudio_features, "check_torchaudio", lambda _: None)
        on_gpu = make_settings(
            output_folder=tmp_path / "gpu", workers=2, features_backend="torchaudio"
        )
        preprocess(dataset, on_gpu)
        assert seen == {os.getpid()}
        expected, found = contents(on_cpu), contents(on_gpu)
        assert {name for name in expected if found[name] != expected[name]} == {f"{NAME}_info.json"}


class TestRestart:
    @pytest.fixture
    def counted(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the files that are read."""
        read: list[str] = []

        def counting(path: Path) -> Any:
            read.append(path.name)
            return decode(path)

        monkeypatch.setattr(examples, "decode", counting)
        return read

    @pytest.mark.parametrize("settings_before", [None, {"normalization": True}])
    def test_an_interrupted_run_leaves_what_was_there_and_begins_anew(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        monkeypatch: pytest.MonkeyPatch,
        settings_before: dict[str, Any] | None,
    ) -> None:
        settings = make_settings()
        if settings_before is not None:
            preprocess(dataset, make_settings(**settings_before))
        before = contents(settings)

        def interrupted(path: Path) -> Any:
            if path.name == "c07.wav":
                raise KeyboardInterrupt
            return decode(path)

        with monkeypatch.context() as patch:
            patch.setattr(examples, "decode", interrupted)
            with pytest.raises(KeyboardInterrupt):
                preprocess(dataset, settings)
        assert contents(settings) == before
        preprocess(dataset, settings)
        undisturbed = make_settings(output_folder=settings.preprocessing.output_folder / "other")
        preprocess(dataset, undisturbed)
        found = {path.name for path in settings.preprocessing.output_folder.glob("*.*")}
        assert found == set(contents(undisturbed))
        for name, content in contents(undisturbed).items():
            assert (settings.preprocessing.output_folder / name).read_bytes() == content

    def test_an_error_between_the_files_leaves_no_complete_matrices(
        self, dataset: Dataset, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = make_settings()
        preprocess(dataset, settings)
        undisturbed = contents(settings)
        with monkeypatch.context() as patch:
            patch.setattr(extraction, "describe", lambda *_: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                preprocess(dataset, make_settings(normalization=True))
        with pytest.raises(UserError, match="holds no complete matrices"):
            open_matrices(settings.preprocessing.output_folder, NAME)
        preprocess(dataset, settings)
        assert contents(settings) == undisturbed

    def test_second_run_leaves_everything_as_it_is(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        counted: list[str],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        settings = make_settings()
        preprocess(dataset, settings)
        before = contents(settings)
        assert len(counted) == 12
        preprocess(dataset, settings)
        assert len(counted) == 12
        assert contents(settings) == before
        assert "tiny_spectrum_fast: already there, unchanged" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "changes",
        [
            {"preprocessing.seed": 1},
            {"normalization": True},
            {"pretraining.sequence_length": 0.5},
            {"train_split": 0.6, "test_split": 0.2},
            {"num_folds": 3},
            {"sr_target": 8000},
        ],
    )
    def test_changed_settings_redo_it(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        counted: list[str],
        changes: dict[str, Any],
    ) -> None:
        before = prepared(dataset, make_settings()).fingerprint
        after = prepared(dataset, make_settings(**changes)).fingerprint
        assert len(counted) == 24
        assert after != before

    @pytest.mark.parametrize("changes", [{"workers": 2}, {"batch_size": 5}, {"patience": 2}])
    def test_settings_that_do_not_matter_leave_it(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        counted: list[str],
        changes: dict[str, Any],
    ) -> None:
        preprocess(dataset, make_settings())
        preprocess(dataset, make_settings(**changes))
        assert len(counted) == 12

    def test_changed_clips_redo_it(
        self,
        dataset: Dataset,
        clips: list[Clip],
        make_settings: MakeSettings,
        counted: list[str],
        write_wav: WriteWav,
    ) -> None:
        fingerprints = [prepared(dataset, make_settings()).fingerprint]
        write_wav(clips[5].path, 0.9, seed=99)
        fingerprints.append(prepared(dataset, make_settings()).fingerprint)
        clips[5] = replace(clips[5], label=1, class_name="yes")
        fingerprints.append(prepared(dataset, make_settings()).fingerprint)
        del clips[5]
        fingerprints.append(prepared(dataset, make_settings()).fingerprint)
        assert len(counted) == 12 + 12 + 12 + 11
        assert len(set(fingerprints)) == 4

    def test_a_moved_corpus_is_the_same(
        self,
        dataset: Dataset,
        clips: list[Clip],
        make_settings: MakeSettings,
        counted: list[str],
        tmp_path: Path,
    ) -> None:
        preprocess(dataset, make_settings())
        (tmp_path / "corpus").rename(tmp_path / "elsewhere")
        clips[:] = [replace(c, path=tmp_path / "elsewhere" / c.name) for c in clips]
        preprocess(dataset, make_settings())
        assert len(counted) == 12
