"""Whether two folders hold the same results, file by file, each kind of file in its own way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import torch

DRAWINGS = (".png", ".pdf")  # they hold the time at which they were drawn
LOCKS = (".lock",)


def differences(folder: Path, reference: Path) -> list[str]:
    """What is in one folder and not in the other, or differs; empty: nothing does."""
    files, expected = files_below(folder), files_below(reference)
    return [
        *(f"{name}: left over" for name in sorted(files - expected)),
        *(f"{name}: missing" for name in sorted(expected - files)),
        *(
            f"{name}: differs"
            for name in sorted(files & expected)
            if not are_equal(folder / name, reference / name)
        ),
    ]


def files_below(folder: Path) -> set[str]:
    """Names of all files but locks, which may stay."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in LOCKS
    }


def are_equal(path: Path, other: Path) -> bool:
    """Whether two files hold the same: bytes, or where these may differ, all values."""
    if path.suffix in DRAWINGS:
        return path.stat().st_size > 0
    if path.read_bytes() == other.read_bytes():
        return True
    read = READERS.get(path.suffix)
    return read is not None and same_values(read(path), read(other))


def same_values(value: Any, other: Any) -> bool:
    """Equality of nested values; tensors must agree in every bit, and NaN equals nothing."""
    if isinstance(value, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(value, other)
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return list(value) == list(other) and all(same_values(value[k], other[k]) for k in value)
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(same_values, value, other))
    return bool(value == other)


def _weights(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def _dictionary(path: Path) -> Any:
    """A result's dictionary, which this test has just seen written; a matrix has no values here."""
    array = np.load(path, allow_pickle=True)
    return array.item() if array.dtype == object else array.tobytes()


def _cells(path: Path) -> Any:
    book = openpyxl.load_workbook(path)
    return {sheet.title: [list(row) for row in sheet.values] for sheet in book.worksheets}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


READERS: dict[str, Callable[[Path], Any]] = {
    ".pt": _weights,
    ".npy": _dictionary,
    ".xlsx": _cells,
    ".json": _json,
}
