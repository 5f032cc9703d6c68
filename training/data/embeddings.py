"""Embeddings: a vector for each clip, computed with any tool, in place of a frozen network.

The file holds what the matrices' index calls the clips (clip) and their vectors: .npz with the
arrays clip (clips,) and vector (clips, features); .csv with a column clip and a column of numbers
for each feature; .parquet the same, or with one column of lists.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from config.errors import UserError
from config.text import counted, display_path, first_of, shorten
from preprocessing.pipeline.matrices import Matrices

if TYPE_CHECKING:
    import pandas

CLIP, VECTOR = "clip", "vector"
SUFFIXES = (".npz", ".csv", ".parquet")
NAMED_CLIPS = 3
UNNAMED = "Unnamed: "  # what pandas calls a column without a name
Vectors = npt.NDArray[np.float32]


def read_embedding(path: Path) -> tuple[list[str], Vectors]:
    """Return the clips of an embedding file, and a row for each of them, (clips, features).

    Raises:
        UserError: the file is missing or no such table, a clip stands twice, or a value is no
            finite number.
    """
    place = display_path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{place}: is no embedding; its name must end in {', '.join(SUFFIXES)}")
    try:
        clips, vectors = _read_arrays(path) if path.suffix == ".npz" else _read_columns(path)
    except OSError as error:
        reason = error.strerror or shorten(error)
        raise UserError(f"{place}: cannot be read: {reason}") from None
    except (ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{place}: is no embedding: {shorten(error)}") from None
    if vectors.ndim != 2 or len(vectors) != len(clips) or not vectors.size:
        raise UserError(
            f"{place}: holds {counted(len(clips), 'clip')} and vectors of shape {vectors.shape}, "
            f"expected ({len(clips)}, features)"
        )
    twice = [clip for clip, count in Counter(clips).items() if count > 1]
    if twice:
        raise UserError(f"{place}: {_named(twice)} given more than once")
    is_broken = ~np.isfinite(vectors)
    if is_broken.any():
        named = _named([clips[row] for row in np.flatnonzero(is_broken.any(axis=1))])
        feature = np.flatnonzero(is_broken.any(axis=0))[0] + 1
        raise UserError(
            f"{place}: {named} given what is no finite number, such as feature {feature}"
        )
    return clips, vectors


def vectors_for(matrices: Matrices, path: Path) -> Vectors:
    """Return the vector of the clip of each row of the matrices, (examples, features).

    Raises:
        UserError: as read_embedding, or a clip has no vector.
    """
    clips, vectors = read_embedding(path)
    row_of = {clip: row for row, clip in enumerate(clips)}
    wanted = [clip for (clip,) in matrices.columns("clip")]
    missing = sorted(set(wanted) - row_of.keys())
    if missing:
        raise UserError(
            f"{display_path(path)}: {_named(missing, f' of {matrices.name}')} without a vector; "
            f"its clips must be called as in the column {CLIP} of {matrices.name}_index.csv"
        )
    return vectors[[row_of[clip] for clip in wanted]]


def _read_arrays(path: Path) -> tuple[list[str], Vectors]:
    with np.load(path, allow_pickle=False) as arrays:
        _require_columns(list(arrays), [CLIP, VECTOR])
        try:
            clips, vectors = arrays[CLIP], arrays[VECTOR]
        except ValueError as error:  # such as names that are Python objects, as pandas gives them
            raise ValueError(f"{error}; save {CLIP} as numpy.array(clips, dtype=str)") from None
        return clips.astype(str).tolist(), vectors.astype(np.float32)


def _read_columns(path: Path) -> tuple[list[str], Vectors]:
    table = _read_table(path)
    _require_columns(list(table.columns), [CLIP])
    features = table.drop(columns=CLIP)
    if list(features) == [VECTOR] and features[VECTOR].dtype == object:
        vectors = np.stack([np.asarray(vector, np.float32) for vector in features[VECTOR]])
    else:
        vectors = features.to_numpy(np.float32)
    return table[CLIP].astype(str).tolist(), vectors


def _read_table(path: Path) -> "pandas.DataFrame":
    import pandas

    if path.suffix == ".csv":
        table = pandas.read_csv(path, dtype=str, keep_default_na=False)
        features = [name for name in table.columns if name != CLIP]
        if any(name.startswith(UNNAMED) for name in features):
            raise ValueError("a column has no name; of pandas' index, write it with index=False")
        # What is no number becomes NaN, so that its clip is named.
        return table.assign(**table[features].apply(pandas.to_numeric, errors="coerce"))
    try:
        return pandas.read_parquet(path)
    except ImportError:
        raise UserError(
            f"{display_path(path)}: needs pyarrow to be read; pip install pyarrow"
        ) from None


def _require_columns(found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(f"there is no {' and no '.join(missing)}, only {', '.join(found)}")


def _named(clips: Sequence[str], where: str = "") -> str:
    """Return how many clips there are, and the first: '5 clips (a.wav, b.wav and 3 more) are'."""
    names = first_of(clips, NAMED_CLIPS)
    return f"{counted(len(clips), 'clip')} ({names}){where} {'is' if len(clips) == 1 else 'are'}"
