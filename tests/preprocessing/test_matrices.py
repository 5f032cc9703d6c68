"""Matrices on the disk: appended, opened without reading, refused when they do not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.pipeline.dataset import OWN_SPLIT
from preprocessing.pipeline.matrices import open_matrices, part_path
from preprocessing.pipeline.splits import Split
from tests.conftest import message_of

NAME = "tiny_spectrum_fast"
GROUPS = [f"clip{number}" for number in range(10)]


def examples(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 3, 4)).astype(np.float32)


def change_json(folder: Path, part: str, **changes: Any) -> None:
    path = part_path(folder, NAME, part)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten clips in order, the second with an altered copy, split by hand 7/2/1."""
    np.save(tmp_path / f"{NAME}_predictors.npy", examples(11))
    labels = np.array([0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1], dtype=np.int64)
    np.save(tmp_path / f"{NAME}_target.npy", labels)
    rows = ["clip,label,class_name,group,first_frame,num_frames,augmented,content,speaker"]
    copies = [("clip0", 0), ("clip1", 0), ("clip1", 1), *((group, 0) for group in GROUPS[2:])]
    for number, ((group, copy), label) in enumerate(zip(copies, labels, strict=True)):
        rows.append(f"{group}.wav,{label},NA,{group},0,3,{copy},{number:04},007")
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
    info = {
        "num_examples": 11,
        "classes": ["no", "yes"],
        "fingerprint": "abc",
        "split": "random by clip: speakers shared",
        "command": "python preprocessing/preprocessing_TINY.py",
    }
    (tmp_path / f"{NAME}_info.json").write_text(json.dumps(info))
    return tmp_path


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

    @pytest.mark.parametrize(
        ("part", "content", "expected"),
        [
            ("predictors", examples(10), "10 examples, 11 targets, 11 announced"),
            ("predictors", examples(11).astype(np.float64), "holds float64 in 3 dimensions"),
            ("target", np.zeros(11, dtype=np.int32), "holds int32 in 1 dimensions, not int64"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, folder: Path, part: str, content: np.ndarray, expected: str
    ) -> None:
        np.save(part_path(folder, NAME, part), content)
        assert expected in message_of(lambda: open_matrices(folder, NAME))

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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"folds": []}, "folds: "),
        ({"folds": [{"train": GROUPS[:7], "validation": GROUPS[7:]}]}, "folds.0.test: missing"),
        (
            {"folds": [{"train": GROUPS[:8], "validation": GROUPS[7:9], "test": GROUPS[9:]}]},
            "folds.0: its sets do not divide the groups",
        ),
        ({"num_folds": 2}, "holds 1 folds, not num_folds"),
        ({"order": GROUPS[:9]}, "folds.0: its sets do not divide the groups"),
    ],
)
def test_what_is_no_split(folder: Path, changes: dict[str, Any], expected: str) -> None:
    change_json(folder, "splits", **changes)
    message = message_of(lambda: open_matrices(folder, NAME).folds((0.7, 0.2, 0.1), 1))
    assert f"{NAME}_splits.json: {expected}" in message


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
