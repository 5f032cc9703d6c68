"""Embedding files against the tables they were written from, and what is wrong with others."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas
import pytest

from config.errors import UserError
from preprocessing.pipeline.matrices import open_matrices
from training.data.embeddings import read_embedding, vectors_for

if TYPE_CHECKING:
    from tests.conftest import Suite

CLIPS = ["007", "NA", "b.wav"]
VECTORS = np.array([[1.0, 0.5], [-2.0, 0.25], [3.0, 4.0]], dtype=np.float32)


def _csv(path: Path, clips: list[str], vectors: Any) -> None:
    columns = {f"x{number}": column for number, column in enumerate(np.transpose(vectors))}
    pandas.DataFrame({**columns, "clip": clips}).to_csv(path, index=False)


def _wide_parquet(path: Path, clips: list[str], vectors: Any) -> None:
    columns = {f"x{number}": column for number, column in enumerate(np.transpose(vectors))}
    pandas.DataFrame({"clip": clips, **columns}).to_parquet(path)


def _parquet(path: Path, clips: list[str], vectors: Any) -> None:
    pandas.DataFrame({"clip": clips, "vector": [list(each) for each in vectors]}).to_parquet(path)


def _npz(path: Path, clips: Any, vectors: Any) -> None:
    np.savez(path, clip=np.array(clips), vector=np.asarray(vectors))


WRITERS = {"a.npz": _npz, "a.csv": _csv, "a.parquet": _parquet, "b.parquet": _wide_parquet}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_what_was_written(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, CLIPS, VECTORS)
    clips, vectors = read_embedding(tmp_path / name)
    assert clips == CLIPS  # as text: neither numbers nor missing values
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, VECTORS)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("clips", "vectors", "message"),
    [
        (["a", "b", "a"], VECTORS, r"1 clip \(a\) is given more than once"),
        (["a", "b", "c"], np.where(VECTORS > 3, np.nan, VECTORS), r"1 clip \(c\) is given what"),
        (["a", "b", "c"], np.where(VECTORS > 0, np.inf, VECTORS), r"3 clips \(a, b, c\) are given"),
    ],
)
def test_bad_values(
    tmp_path: Path, name: str, clips: list[str], vectors: Any, message: str
) -> None:
    WRITERS[name](tmp_path / name, clips, vectors)
    with pytest.raises(UserError, match=rf"{re.escape(name)}: {message}"):
        read_embedding(tmp_path / name)


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("none.npz", lambda path: path, "No such file"),
        ("a.pt", _text("x"), r"its name must end in \.npz, \.csv, \.parquet"),
        ("a.csv", _text("file,x\na,1\n"), "there is no clip, only file, x"),
        (
            "a.csv",
            _text("clip,x\na,loud\n"),
            r"1 clip \(a\) is given what is no finite number",
        ),
        ("a.csv", _text(",clip,x\n0,a,1\n"), "a column has no name; .* write it with index=False"),
        ("a.csv", _text("clip\na\n"), "1 clip and vectors of shape"),
        ("a.csv", _text("clip,x\n"), "0 clips and vectors of shape"),
        ("a.npz", lambda path: np.savez(path, clip=np.array(["a"])), "there is no vector, only"),
        ("a.npz", lambda path: _npz(path, ["a"], VECTORS), r"1 clip and vectors of shape \(3"),
        ("a.npz", _text("PK broken"), "is no embedding"),
        ("a.npz", lambda path: _npz(path, np.array([None]), VECTORS), "save clip as numpy.array"),
        ("a.parquet", _text("broken"), "is no embedding"),
        ("a.parquet", lambda path: _parquet(path, ["a", "b"], [[1.0, 2.0], [1.0]]), "no embedding"),
    ],
)
def test_bad_files(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(UserError, match=rf"{re.escape(name)}: .*{message}"):
        read_embedding(tmp_path / name)


def test_each_row_of_the_matrices_gets_the_vector_of_its_clip(suite: "Suite") -> None:
    suite.write_matrices("noisyspeech_randsplit")
    matrices = open_matrices(suite.matrices, "noisyspeech_randsplit")
    clips = matrices.index["clip"].tolist()
    written = np.random.default_rng(0).standard_normal((len(clips), 5))
    path = suite.folder / "a.npz"
    _npz(path, clips[::-1], written[::-1])
    np.testing.assert_allclose(vectors_for(matrices, path), written, rtol=1e-6)
    _npz(path, clips[5:], written[5:])
    message = (
        r"5 clips \(clip000.wav, clip001.wav, clip002.wav and 2 more\) of "
        "noisyspeech_randsplit_spectrum_fast are without a vector"
    )
    with pytest.raises(UserError, match=message):
        vectors_for(matrices, path)


def test_what_does_not_fit_is_found_before_a_run(
    suite: "Suite", capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_matrices()
    pooled = {"at_aggregation": "pool", "at_distance": "cka_within_class", "at_layer": 3}
    suite.write_experiment(1, {"anti_transfer": True, "at_dataset": "embedding:room", **pooled})
    with pytest.raises(UserError, match="no extractor embedding:room"):
        suite.manage("--check", "1")
    with suite.config.open("a") as file:
        file.write("[embedding room]\nfile = room.npz\n")
    with pytest.raises(UserError, match=r"no extractor room; did you mean embedding:room\?"):
        suite.manage("--check", "1", "--set", "at_dataset=room")
    assert suite.manage("--check", "1") == 2
    said = capsys.readouterr().err
    assert "[embedding room]" in said and "No such file" in said
    path, clips = suite.folder / "room.npz", [f"clip{number:03}.wav" for number in range(60)]
    _npz(path, clips[1:], np.ones((59, 4)))
    assert suite.manage("--check", "1") == 2
    assert "1 clip (clip000.wav) of tiny_spectrum_fast is without a vector" in (
        capsys.readouterr().err
    )
    _npz(path, clips, np.ones((60, 4)))
    assert suite.manage("--check", "1") == 0
