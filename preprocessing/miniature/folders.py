"""Where a miniature corpus may be written: never over anything that was not made here.

A corpus is made in a folder beside its own, then renamed. Its marker file says what it was made
from, and names every file, so that nothing else is ever removed with it.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError
from config.files import read_json, waited_for, write_json
from preprocessing.miniature.sounds import Samples

MARKER = "miniature.json"
OTHER_FOLDER = "--set KEY=FOLDER"
VERSION = 3  # raise it when the same recipe gives other files

Content = Samples | str | bytes


def make_corpus_folder(
    folder: Path,
    recipe: Mapping[str, Any],
    files: Iterable[tuple[str, Content]],
    sample_rate: int,
) -> bool:
    """Write the files of a corpus unless they are there already.

    Args:
        folder: where the corpus belongs. May be missing, empty, or hold a miniature corpus.
        recipe: what the corpus is made from (its name, seed, sizes), as JSON can hold it.
        files: path below the folder, and text, bytes, or samples in [-1, 1] of a .wav or .flac.
        sample_rate: of the samples, in Hz.

    Returns:
        Whether it was made; False if one of the same recipe was there, whole.

    Raises:
        UserError: the folder holds something that is not a miniature corpus.
    """
    folder = folder.resolve()
    wanted = {"version": VERSION, **recipe}
    if _is_made(folder, wanted):
        return False
    with waited_for(folder.with_name(f".{folder.name}.lock"), folder.name, OTHER_FOLDER):
        if _is_made(folder, wanted):
            return False
        _write_corpus(folder, wanted, files, sample_rate)
    return True


def _is_made(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Tell whether the corpus is there, whole.

    Raises:
        UserError: the folder holds something that is not a miniature corpus.
    """
    if not folder.exists():
        return False
    marker = _read_marker(folder)
    known = {MARKER, *marker.pop("files", ())}
    if marker == wanted and all((folder / name).is_file() for name in known):
        return True
    _refuse_foreign_files(folder, known)
    return False


def _write_corpus(
    folder: Path,
    wanted: Mapping[str, Any],
    files: Iterable[tuple[str, Content]],
    sample_rate: int,
) -> None:
    """Write a corpus into a folder that no other process writes to now."""
    from tqdm import tqdm

    aside = folder.with_name(f".{folder.name}.miniature-partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        for name, content in tqdm(files, folder.name, unit="file", disable=None):
            _write(aside / name, content, sample_rate)
        write_json(aside / MARKER, {**wanted, "files": sorted(_files_below(aside))})
        if folder.exists():
            shutil.rmtree(folder)
        aside.replace(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(path: Path, content: Content, sample_rate: int) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        integers = np.rint(np.clip(content, -1, 1) * (2**15 - 1)).astype(np.int16)
        soundfile.write(path, integers, sample_rate, subtype="PCM_16")


def _files_below(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            yield path.relative_to(folder).as_posix()


def _read_marker(folder: Path) -> dict[str, Any]:
    """Return what a marker says, or nothing if there is none that can be trusted."""
    try:
        marker = read_json(folder / MARKER)
    except UserError:
        return {}
    return marker if isinstance(marker.get("files"), list) else {}


def _refuse_foreign_files(folder: Path, known: set[str]) -> None:
    """Raise if a folder holds a file that its marker does not name."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; name another one with --set or --config")
    foreign = next((name for name in _files_below(folder) if name not in known), None)
    if foreign is not None:
        raise UserError(
            f"{folder}: holds {foreign}, which this script did not make, so nothing is written "
            "there; name another folder, or run with --config config/demo.ini"
        )
