"""From clips to matrices: what is written, what is left out, what a restart does."""

import csv
import json
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
from preprocessing.pipeline import blocks, extraction
from preprocessing.pipeline.audio import Clip, read_audio
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Dataset
from preprocessing.pipeline.extraction import preprocess
from preprocessing.pipeline.matrices import OWN_SPLIT, PARTS, Matrices, open_matrices

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


def left_out_of(settings: Settings) -> dict[str, str]:
    path = settings.preprocessing.output_folder / f"{NAME}_left_out.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {row["clip"]: row["reason"] for row in csv.DictReader(file)}


def contents(settings: Settings) -> dict[str, bytes]:
    folder = settings.preprocessing.output_folder
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal line after every second clip."""
    monkeypatch.setattr(extraction, "BLOCK_CLIPS", 2)


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

    def test_info_says_how_it_was_made(self, dataset: Dataset, make_settings: MakeSettings) -> None:
        matrices = prepared(dataset, make_settings())
        info = matrices.info
        assert info["command"] == "python preprocessing/preprocessing_TINY.py"
        assert matrices.classes == list(CLASSES)
        assert info["examples_per_class"] == {"no": 4, "yes": 4, "maybe": 6}
        assert (info["num_clips"], info["num_examples"], info["num_left_out"]) == (12, 14, 0)
        assert (info["seconds"], info["sample_rate"]) == (1.0, RATE)

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

    @pytest.mark.usefixtures("small_blocks")
    def test_the_number_of_processes_changes_nothing(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        tmp_path: Path,
    ) -> None:
        settings = [
            make_settings(output_folder=tmp_path / f"{n}", workers=n, augmentation=True)
            for n in (1, 2)
        ]
        for each in settings:
            preprocess(dataset, each)
        assert contents(settings[0]) == contents(settings[1])


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

    def test_power_law(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        matrices = prepared(dataset, make_settings(power_law_compression=True))
        expected = spectrum(samples_of(clips[1])) ** (2 / 3)
        np.testing.assert_allclose(matrices.predictors[1], expected, rtol=1e-5)

    def test_other_features_lie_beside(self, dataset: Dataset, make_settings: MakeSettings) -> None:
        settings = make_settings(features_type="stft")
        preprocess(dataset, make_settings())
        matrices = open_matrices(preprocess(dataset, settings), "tiny_stft")
        assert matrices.predictors.shape == (14, 32, 513)
        assert len(contents(settings)) == 2 * len(PARTS)

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
    @pytest.fixture
    def broken(self, clips: list[Clip]) -> list[Clip]:
        """Six of the twelve clips are of no use, each for a reason of its own."""
        soundfile.write(clips[1].path, np.full(RATE, 0.04), RATE)
        clips[2].path.write_text("this is no audio")
        values = np.full(RATE, 0.2, dtype=np.float32)
        values[500] = np.nan
        soundfile.write(clips[4].path, values, RATE, subtype="FLOAT")
        clips[6].path.unlink()
        soundfile.write(clips[7].path, np.zeros(0), RATE)
        soundfile.write(clips[9].path, np.zeros(RATE), RATE)
        return clips

    @pytest.mark.usefixtures("small_blocks")
    def test_each_is_listed_with_its_reason(
        self,
        dataset: Dataset,
        broken: list[Clip],
        make_settings: MakeSettings,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Of the block of c06 and c07 nothing is kept."""
        settings = make_settings(max_skipped_fraction=0.4)
        matrices = prepared(dataset, settings)
        reasons = left_out_of(settings)
        assert reasons.pop("c02.wav").startswith("unreadable: ")
        assert reasons == {
            "c01.wav": "silent: no sample above 0.05",
            "c04.wav": "holds NaN or infinite samples",
            "c06.wav": "missing",
            "c07.wav": "empty",
            "c09.wav": "silent: no sample above 0.05",
        }
        kept = [f"c{n:02}.wav" for n in (0, 3, 5, 8, 10, 11)]
        assert matrices.index["clip"].tolist() == kept
        assert matrices.target.tolist() == [0, 0, 2, 2, 1, 2]
        np.testing.assert_allclose(
            matrices.predictors[5], spectrum(samples_of(broken[11])), rtol=1e-6
        )
        assert sorted(matrices.splits["order"]) == kept
        assert matrices.info["num_left_out"] == 6
        assert "6 clips left out, listed in" in capsys.readouterr().out

    @pytest.mark.usefixtures("broken")
    def test_too_many_stop_before_the_matrices(
        self, dataset: Dataset, make_settings: MakeSettings
    ) -> None:
        """Four of twelve are broken; the two silent ones do not count."""
        settings = make_settings(max_skipped_fraction=0.33)
        with pytest.raises(UserError) as caught:
            preprocess(dataset, settings)
        message = str(caught.value)
        assert message.startswith("4 of 12 clips cannot be used")
        assert "max_skipped_fraction = 0.33" in message
        assert "\n" not in message
        assert not {f"{NAME}_{part}.{PARTS[part]}" for part in PARTS if part != "left_out"} & set(
            contents(settings)
        )
        assert len(left_out_of(settings)) == 6

    def test_mended_or_allowed_goes_on(
        self, dataset: Dataset, broken: list[Clip], make_settings: MakeSettings, write_wav: WriteWav
    ) -> None:
        with pytest.raises(UserError):
            preprocess(dataset, make_settings())
        for number in (2, 4, 6, 7):
            write_wav(broken[number].path, 0.5, seed=number)
        assert len(prepared(dataset, make_settings()).target) == 10

    def test_silence_alone_does_not_stop(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        for clip in clips[3:]:
            soundfile.write(clip.path, np.zeros(RATE), RATE)
        settings = make_settings(max_skipped_fraction=0)
        assert len(prepared(dataset, settings).info["classes"]) == 3
        assert len(left_out_of(settings)) == 9

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

    def test_clips_of_a_few_samples_are_padded(
        self, dataset: Dataset, clips: list[Clip], make_settings: MakeSettings
    ) -> None:
        soundfile.write(clips[0].path, np.full(100, 0.3), RATE)
        matrices = prepared(dataset, make_settings())
        assert matrices.index["num_frames"][0] == 3
        assert matrices.predictors[0, 0].any()
        assert not matrices.predictors[0, 3:].any()


class TestRestart:
    @pytest.fixture
    def counted(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """Counts the clips that are read, and stops with Ctrl-C after the given number."""
        counts: dict[str, Any] = {"read": [], "stop_after": None}

        def counting(path: Path, *arguments: Any) -> Any:
            if len(counts["read"]) == counts["stop_after"]:
                raise KeyboardInterrupt
            counts["read"].append(path.name)
            return read_audio(path, *arguments)

        monkeypatch.setattr(blocks, "read_audio", counting)
        return counts

    def test_second_run_leaves_everything_as_it_is(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        counted: dict[str, Any],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        settings = make_settings()
        preprocess(dataset, settings)
        before = contents(settings)
        assert len(counted["read"]) == 12
        preprocess(dataset, settings)
        assert len(counted["read"]) == 12
        assert contents(settings) == before
        assert "tiny_spectrum_fast: already there, unchanged" in capsys.readouterr().out

    def test_matrices_of_an_older_version_learn_which_labels_are_orthogonal(
        self, dataset: Dataset, make_settings: MakeSettings, counted: dict[str, Any]
    ) -> None:
        settings = make_settings()
        old = prepared(dataset, settings)
        assert old.orthogonal_labels == []
        path = settings.preprocessing.output_folder / f"{NAME}_info.json"
        info = json.loads(path.read_text())
        del info["orthogonal_labels"]
        path.write_text(json.dumps(info))
        assert open_matrices(old.folder, NAME).orthogonal_labels == []
        new = prepared(replace(dataset, orthogonal_labels=("speaker",)), settings)
        assert new.orthogonal_labels == ["speaker"]
        assert new.info | {"orthogonal_labels": []} == old.info
        assert len(counted["read"]) == 12

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
        counted: dict[str, Any],
        changes: dict[str, Any],
    ) -> None:
        before = prepared(dataset, make_settings()).fingerprint
        after = prepared(dataset, make_settings(**changes)).fingerprint
        assert len(counted["read"]) == 24
        assert after != before

    @pytest.mark.parametrize("changes", [{"workers": 2}, {"batch_size": 5}, {"patience": 2}])
    def test_settings_that_do_not_matter_leave_it(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        counted: dict[str, Any],
        changes: dict[str, Any],
    ) -> None:
        preprocess(dataset, make_settings())
        preprocess(dataset, make_settings(**changes))
        assert len(counted["read"]) == 12

    def test_changed_clips_redo_it(
        self,
        dataset: Dataset,
        clips: list[Clip],
        make_settings: MakeSettings,
        counted: dict[str, Any],
        write_wav: WriteWav,
    ) -> None:
        fingerprints = [prepared(dataset, make_settings()).fingerprint]
        write_wav(clips[5].path, 0.9, seed=99)
        fingerprints.append(prepared(dataset, make_settings()).fingerprint)
        clips[5] = replace(clips[5], label=1, class_name="yes")
        fingerprints.append(prepared(dataset, make_settings()).fingerprint)
        del clips[5]
        fingerprints.append(prepared(dataset, make_settings()).fingerprint)
        assert len(counted["read"]) == 12 + 12 + 12 + 11
        assert len(set(fingerprints)) == 4

    def test_a_moved_corpus_is_the_same(
        self,
        dataset: Dataset,
        clips: list[Clip],
        make_settings: MakeSettings,
        counted: dict[str, Any],
        tmp_path: Path,
    ) -> None:
        preprocess(dataset, make_settings())
        (tmp_path / "corpus").rename(tmp_path / "elsewhere")
        clips[:] = [replace(c, path=tmp_path / "elsewhere" / c.name) for c in clips]
        preprocess(dataset, make_settings())
        assert len(counted["read"]) == 12

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize(("stop_after", "done"), [(0, 0), (1, 0), (5, 4), (11, 10)])
    def test_interrupted_run_goes_on_and_ends_the_same(
        self,
        dataset: Dataset,
        clips: list[Clip],
        make_settings: MakeSettings,
        tmp_path: Path,
        counted: dict[str, Any],
        stop_after: int,
        done: int,
    ) -> None:
        undisturbed = make_settings(output_folder=tmp_path / "undisturbed")
        disturbed = make_settings(output_folder=tmp_path / "disturbed")
        preprocess(dataset, undisturbed)
        counted["read"].clear()
        counted["stop_after"] = stop_after
        with pytest.raises(KeyboardInterrupt):
            preprocess(dataset, disturbed)
        with pytest.raises(UserError, match="holds no complete matrices"):
            open_matrices(disturbed.preprocessing.output_folder, NAME)
        counted["read"].clear()
        counted["stop_after"] = None
        preprocess(dataset, disturbed)
        assert counted["read"] == [clip.name for clip in clips[done:]]
        assert contents(disturbed) == contents(undisturbed)

    @pytest.mark.usefixtures("small_blocks")
    def test_interrupted_twice_with_its_examples_lost_in_between(
        self,
        dataset: Dataset,
        clips: list[Clip],
        make_settings: MakeSettings,
        tmp_path: Path,
        counted: dict[str, Any],
    ) -> None:
        """The journal alone must not count as finished work."""
        undisturbed = make_settings(output_folder=tmp_path / "undisturbed")
        disturbed = make_settings(output_folder=tmp_path / "disturbed")
        preprocess(dataset, undisturbed)
        unfinished = tmp_path / "disturbed" / f"{NAME}_predictors.npy.unfinished"
        for stop_after, kept_bytes in ((9, 0), (5, 1000), (7, None)):
            counted["read"].clear()
            counted["stop_after"] = stop_after
            with pytest.raises(KeyboardInterrupt):
                preprocess(dataset, disturbed)
            if kept_bytes is not None:
                unfinished.write_bytes(unfinished.read_bytes()[:kept_bytes])
            if kept_bytes == 0:
                unfinished.unlink()
        counted["read"].clear()
        counted["stop_after"] = None
        preprocess(dataset, disturbed)
        assert counted["read"] == [clip.name for clip in clips[6:]]
        assert contents(disturbed) == contents(undisturbed)

    def test_interrupted_at_the_very_end(
        self, dataset: Dataset, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All files have their final names but the one that marks them complete."""
        settings = make_settings()
        preprocess(dataset, settings)
        undisturbed = contents(settings)
        with monkeypatch.context() as patch:
            patch.setattr(extraction, "description", lambda *_: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                preprocess(dataset, make_settings(normalization=True))
        with pytest.raises(UserError, match="holds no complete matrices"):
            open_matrices(settings.preprocessing.output_folder, NAME)
        preprocess(dataset, settings)
        assert contents(settings) == undisturbed

    @pytest.mark.usefixtures("small_blocks")
    def test_other_settings_after_an_interruption_start_anew(
        self,
        dataset: Dataset,
        make_settings: MakeSettings,
        tmp_path: Path,
        counted: dict[str, Any],
    ) -> None:
        undisturbed = make_settings(output_folder=tmp_path / "undisturbed", normalization=True)
        preprocess(dataset, undisturbed)
        counted["read"].clear()
        counted["stop_after"] = 6
        with pytest.raises(KeyboardInterrupt):
            preprocess(dataset, make_settings())
        counted["stop_after"] = None
        preprocess(dataset, make_settings(normalization=True))
        assert contents(make_settings()) == contents(undisturbed)

    @pytest.mark.parametrize("part", ["predictors", "target", "index", "splits", "info"])
    def test_damaged_or_missing_files_are_made_again(
        self, dataset: Dataset, make_settings: MakeSettings, part: str
    ) -> None:
        settings = make_settings()
        preprocess(dataset, settings)
        before = contents(settings)
        path = settings.preprocessing.output_folder / f"{NAME}_{part}.{PARTS[part]}"
        path.unlink()
        preprocess(dataset, settings)
        assert contents(settings) == before
        if part in ("predictors", "target", "info"):
            path.write_bytes(path.read_bytes()[:50])
            preprocess(dataset, settings)
            assert contents(settings) == before

    def test_info_of_another_version_counts_as_unfinished(
        self, dataset: Dataset, make_settings: MakeSettings
    ) -> None:
        settings = make_settings()
        preprocess(dataset, settings)
        before = contents(settings)
        path = settings.preprocessing.output_folder / f"{NAME}_info.json"
        info = json.loads(path.read_text())
        del info["plan"]
        path.write_text(json.dumps(info))
        preprocess(dataset, settings)
        assert contents(settings) == before


def test_impossible_features_stop_before_anything_is_written(
    dataset: Dataset, make_settings: MakeSettings
) -> None:
    settings = make_settings(features_type="mfcc", power_law_compression=True)
    with pytest.raises(UserError, match="power_law_compression"):
        preprocess(dataset, settings)
    assert not settings.preprocessing.output_folder.exists()
