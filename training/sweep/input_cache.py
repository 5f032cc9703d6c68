"""What runs read from the disk, each thing read once however many runs need it."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from config.declarations import TRAINING_AUDIO
from preprocessing.pipeline.matrices import Matrices, matrices_ready, open_matrices
from training.data.embeddings import Vectors, vectors_for
from training.models.description import read_description
from training.models.weights import file_fingerprint, load_weights
from training.results.loading import ResultReader, count_finished

if TYPE_CHECKING:
    from torch import Tensor


class InputCache:
    """Matrices, descriptions of extractors, weights and results, without torch until it is needed.

    Attributes:
        results: what is read of earlier results.
        has_matrices: (folder, name) -> whether all files of a dataset's matrices are there.
        matrices: (folder, name) -> a dataset's matrices, opened.
        whole_matrices: the same, after reading index and split, too.
        description: (folder) -> an extractor's description.
        vectors: (folder, name, embedding file) -> a vector for each example of a dataset.
        file_fingerprint: (path) -> hash of a file's content.
        num_finished: (results folder, experiment) -> instances that have a result.
        training_audio: (folder) -> hashes of an extractor's training clips; None: not known.
        test_audio: (folder, name, fractions, folds) -> hashes of the clips of all test sets.
    """

    def __init__(self, results: ResultReader | None = None) -> None:
        self.results = results or ResultReader()
        self.has_matrices = cache(matrices_ready)
        self.matrices = cache(open_matrices)
        self.whole_matrices = cache(self._whole_matrices)
        self.description = cache(read_description)
        self.vectors = cache(self._vectors)
        self.file_fingerprint = cache(file_fingerprint)
        self.num_finished = cache(count_finished)
        self.training_audio = cache(_training_audio)
        self.test_audio = cache(self._test_audio)
        self._weights: tuple[Path, Mapping[str, Tensor]] | None = None

    def weights(self, path: Path, remedy: str = "") -> "Mapping[str, Tensor]":
        """Read parameters that trainings start from; those of the last file only are kept.

        Args:
            remedy: what to do about a file that cannot be used; empty: what made it makes it anew.
        """
        if self._weights is None or self._weights[0] != path:
            self._weights = None
            self._weights = path, load_weights(path, remedy)
        return self._weights[1]

    def _whole_matrices(self, folder: Path, name: str) -> Matrices:
        matrices = self.matrices(folder, name)
        matrices.check_parts()
        return matrices

    def _vectors(self, folder: Path, name: str, file: Path) -> Vectors:
        return vectors_for(self.matrices(folder, name), file)

    def _test_audio(
        self, folder: Path, name: str, fractions: tuple[float, float, float], num_folds: int
    ) -> set[str]:
        matrices = self.matrices(folder, name)
        folds = matrices.folds(fractions, num_folds)
        groups = {group for fold in folds for group in fold.test}
        return {audio for group, audio in matrices.columns("group", "content") if group in groups}


def _training_audio(folder: Path) -> set[str] | None:
    path = folder / TRAINING_AUDIO
    return set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else None
