"""Where a miniature corpus may be written: never over anything that was not made here.

A corpus is made in a folder beside its own, then renamed. Its marker file says what it was made
from, and names every file, so that nothing else is ever removed with it.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import write_json

MARKER = "miniature.json"
VERSION = 1  # raise it when the same recipe gives other audio


def make_corpus_folder(
    folder: Path, recipe: Mapping[str, Any], make: Callable[[Path], object]
) -> bool:
    """Make a corpus unless it is there already.

    Args:
        folder: where the corpus belongs. May be missing, empty, or hold a miniature corpus.
        recipe: what the corpus is made from (its name, seed, sizes), as JSON can hold it.
        make: writes the corpus into the folder that it is given.

    Returns:
        Whether it was made; False if one of the same recipe was there, whole.

    Raises:
        UserError: the folder holds something that is not a miniature corpus.
    """
    folder = folder.resolve()
    wanted = {"version": VERSION, **recipe}
    if folder.exists():
        found = _read_marker(folder)
        if found is not None and _is_whole(folder, found) and _recipe_of(found) == wanted:
            return False
        _refuse_foreign_files(folder, found)
    aside = folder.with_name(f".{folder.name}.miniature-partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        make(aside)
        write_json(aside / MARKER, wanted | {"files": sorted(_files_below(aside))})
        if folder.exists():
            shutil.rmtree(folder)
        aside.replace(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def _files_below(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            yield path.relative_to(folder).as_posix()


def _read_marker(folder: Path) -> dict[str, Any] | None:
    """What a marker says, or None if there is none that can be trusted."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("files"), list) else None


def _recipe_of(marker: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in marker.items() if key != "files"}


def _is_whole(folder: Path, marker: Mapping[str, Any]) -> bool:
    return all((folder / name).is_file() for name in marker["files"])


def _refuse_foreign_files(folder: Path, marker: Mapping[str, Any] | None) -> None:
    """Raise if a folder holds a file that is not in its marker's list."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; name another one with --set or --config")
    known = {MARKER, *marker["files"]} if marker is not None else set()
    foreign = next((name for name in _files_below(folder) if name not in known), None)
    if foreign is not None:
        raise UserError(
            f"{folder}: holds {foreign}, which this script did not make, so nothing is written "
            "there; name another folder, or run with --config config/demo.ini"
        )
