"""Matrices on the disk: appended, opened without reading, refused when they do not fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.errors import UserError
from preprocessing.pipeline.matrices import (
    OWN_SPLIT,
    MatrixWriter,
    matrices_ready,
    open_matrices,
    part_path,
)
from preprocessing.pipeline.splits import Split

NAME = "tiny_spectrum_fast"
GROUPS = [f"clip{number}" for number in range(10)]


def examples(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 3, 4)).astype(np.float32)


def message_of(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_json(folder: Path, part: str, **changes: Any) -> None:
    path = part_path(folder, NAME, part)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten clips in order, the second with an altered copy, split by hand 7/2/1."""
    np.save(tmp_path / f"{NAME}_predictors.npy", examples(11))
    labels = np.array([0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1], dtype=np.int64)
    np.save(tmp_path / f"{NAME}_target.npy", labels)
    rows = ["clip,label,class_name,group,first_frame,num_frames,augmented,speaker"]
    for group, copy in [("clip0", 0), ("clip1", 0), ("clip1", 1), *((g, 0) for g in GROUPS[2:])]:
        rows.append(f"{group}.wav,1,NA,{group},0,3,{copy},007")
    (tmp_path / f"{NAME}_index.csv").write_text("\n".join(rows) + "\n")
    splits = {
        "type": "random by clip",
        "seed": 0,
        "fractions": [0.7, 0.2, 0.1],
        "num_folds": 1,
        "order": GROUPS[::-1],
        "folds": [{"train": GROUPS[:7], "validation": GROUPS[7:9], "test": GROUPS[9:]}],
    }
    (tmp_path / f"{NAME}_splits.json").write_text(json.dumps(splits))
    (tmp_path / f"{NAME}_left_out.csv").write_text("clip,file,reason\n")
    info = {"num_examples": 11, "classes": ["no", "yes"], "fingerprint": "abc"}
    (tmp_path / f"{NAME}_info.json").write_text(json.dumps(info))
    return tmp_path


class TestWriter:
    def test_is_what_numpy_writes(self, tmp_path: Path) -> None:
        """Appended in blocks, the file is byte by byte that of one np.save."""
        values = examples(7)
        writer = MatrixWriter(tmp_path / "new" / "a.npy", (3, 4))
        for block in (values[:2], values[2:2], values[2:3], values[3:]):
            writer.append(block)
        writer.finish()
        np.save(tmp_path / "b.npy", values)
        assert (tmp_path / "new" / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()

    @pytest.mark.parametrize("kept", [0, 3, 5])
    def test_goes_on_after_the_examples_that_count(self, tmp_path: Path, kept: int) -> None:
        """Examples beyond the journal's, and half a block, are overwritten."""
        values, path = examples(9), tmp_path / "a.npy"
        writer = MatrixWriter(path, (3, 4))
        writer.append(values[:5])
        writer.close()
        if kept < 5:
            path.write_bytes(path.read_bytes() + b"half a block")
        writer = MatrixWriter(path, (3, 4), kept)
        assert writer.num_examples == kept
        writer.append(values[kept:])
        writer.finish()
        read = np.load(path)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, values)

    def test_what_does_not_count_is_gone_even_if_nothing_follows(self, tmp_path: Path) -> None:
        values, path = examples(5), tmp_path / "a.npy"
        writer = MatrixWriter(path, (3, 4))
        writer.append(values)
        writer.close()
        MatrixWriter(path, (3, 4), 2).finish()
        np.save(tmp_path / "b.npy", values[:2])
        assert path.read_bytes() == (tmp_path / "b.npy").read_bytes()

    def test_a_file_with_fewer_examples_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        writer = MatrixWriter(path, (3, 4))
        writer.append(examples(5))
        writer.close()
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ValueError, match="fewer than 5 examples"):
            MatrixWriter(path, (3, 4), 5)

    @pytest.mark.parametrize(
        "wrong", [np.zeros((1, 4, 3), dtype=np.float32), np.zeros((1, 3, 4), dtype=np.float64)]
    )
    def test_other_shapes_and_types_are_refused(self, tmp_path: Path, wrong: np.ndarray) -> None:
        writer = MatrixWriter(tmp_path / "a.npy", (3, 4))
        with pytest.raises(ValueError, match="does not fit"):
            writer.append(wrong)
        writer.close()


class TestOpening:
    def test_examples_stay_on_the_disk(self, folder: Path) -> None:
        matrices = open_matrices(folder, NAME)
        assert isinstance(matrices.predictors, np.memmap)
        assert not matrices.predictors.flags.writeable
        assert matrices.predictors.dtype == np.float32
        assert matrices.target.dtype == np.int64
        np.testing.assert_array_equal(matrices.predictors, examples(11))
        assert matrices.classes == ["no", "yes"]
        assert matrices.fingerprint == "abc"

    def test_names_in_the_index_stay_texts(self, folder: Path) -> None:
        index = open_matrices(folder, NAME).index
        assert list(index["clip"][:3]) == ["clip0.wav", "clip1.wav", "clip1.wav"]
        assert set(index["class_name"]) == {"NA"}

    def test_by_the_datasets_name_alone(self, folder: Path) -> None:
        assert open_matrices(folder, "tiny").name == NAME
        for part in ("predictors", "target", "info"):
            path = part_path(folder, NAME, part)
            part_path(folder, "tiny_mel", part).write_bytes(path.read_bytes())
        assert open_matrices(folder, "tiny_mel").name == "tiny_mel"
        assert "holds no complete matrices tiny" in message_of(
            lambda: open_matrices(folder, "tiny")
        )

    def test_missing(self, folder: Path) -> None:
        assert matrices_ready(folder, NAME)
        part_path(folder, NAME, "info").unlink()
        assert not matrices_ready(folder, NAME)
        message = message_of(lambda: open_matrices(folder, NAME))
        assert f"holds no complete matrices {NAME}" in message

    @pytest.mark.parametrize(
        ("part", "content", "expected"),
        [
            ("predictors", examples(10), "10 examples, 11 targets, 11 announced"),
            ("target", np.zeros(12, dtype=np.int64), "11 examples, 12 targets"),
            ("predictors", examples(11).astype(np.float64), "holds float64 in 3 dimensions"),
            ("predictors", examples(11)[0], "holds float32 in 2 dimensions"),
            ("target", np.zeros(11, dtype=np.int32), "holds int32 in 1 dimensions, not int64"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, folder: Path, part: str, content: np.ndarray, expected: str
    ) -> None:
        np.save(part_path(folder, NAME, part), content)
        assert expected in message_of(lambda: open_matrices(folder, NAME))

    def test_fewer_examples_than_announced_are_refused(self, folder: Path) -> None:
        change_json(folder, "info", num_examples=12)
        message = message_of(lambda: open_matrices(folder, NAME))
        assert "11 examples, 11 targets, 12 announced; prepare it again" in message

    def test_damaged_files_are_refused(self, folder: Path) -> None:
        path = part_path(folder, NAME, "predictors")
        whole = path.read_bytes()
        for content in (whole[:-8], b"", b"no matrix"):
            path.write_bytes(content)
            assert "is no usable matrix" in message_of(lambda: open_matrices(folder, NAME))
        path.write_bytes(whole)
        for text in ("{", "[]"):
            part_path(folder, NAME, "info").write_text(text)
            assert "_info.json" in message_of(lambda: open_matrices(folder, NAME))

    def test_pickles_are_not_read(self, folder: Path) -> None:
        path = part_path(folder, NAME, "predictors")
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        assert "is no usable matrix" in message_of(lambda: open_matrices(folder, NAME))


class TestFolds:
    def test_stored_ones_if_they_are_asked_for(self, folder: Path) -> None:
        (fold,) = open_matrices(folder, NAME).folds((0.7, 0.2, 0.1), 1)
        assert fold == Split(GROUPS[:7], GROUPS[7:9], GROUPS[9:])

    def test_new_ones_from_the_stored_order(self, folder: Path) -> None:
        matrices = open_matrices(folder, NAME)
        turned = GROUPS[::-1]
        (fold,) = matrices.folds((0.5, 0.3, 0.2), 1)
        assert fold == Split(turned[:5], turned[5:8], turned[8:])
        folds = matrices.folds((0.7, 0.2, 0.1), 5)
        assert [f.train[0] for f in folds] == [turned[i] for i in (0, 2, 4, 6, 8)]

    def test_a_corpuss_own_split_is_kept(self, folder: Path) -> None:
        change_json(folder, "splits", type=OWN_SPLIT)
        matrices = open_matrices(folder, NAME)
        for fractions in ((0.7, 0.2, 0.1), (0.5, 0.3, 0.2)):
            (fold,) = matrices.folds(fractions, 1)
            assert fold.test == GROUPS[9:]
        message = message_of(lambda: matrices.folds((0.7, 0.2, 0.1), 5))
        assert "only num_folds = 1 is possible" in message

    def test_rows(self, folder: Path) -> None:
        matrices = open_matrices(folder, NAME)
        rows = matrices.rows_of(["clip1", "clip9"], with_augmented=True)
        assert rows.tolist() == [1, 2, 10]
        rows = matrices.rows_of(["clip1", "clip9"], with_augmented=False)
        assert rows.tolist() == [1, 10]
        assert matrices.rows_of([], with_augmented=True).tolist() == []
