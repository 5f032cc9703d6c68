"""Examples appended to an .npy file whose length is known at its end only."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt


class MatrixWriter:
    """Write examples one block after the other; the block of a with statement ends the file.

    NumPy pads the header so that the first axis can grow in place.
    """

    def __init__(self, path: Path, example_shape: tuple[int, ...]) -> None:
        self.num_examples = 0
        self._shape = example_shape
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        self._write_header()
        return self

    def write(self, examples: npt.NDArray[np.float32]) -> None:
        """Append examples, float32 of shape (examples, *example_shape)."""
        self._file.write(np.ascontiguousarray(examples).data)
        self.num_examples += len(examples)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._file:
            if error is None:
                self._file.seek(0)
                self._write_header()

    def _write_header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
            "fortran_order": False,
            "shape": (self.num_examples, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)
