"""What a corpus should hold: a line with both numbers if it does not, an error if it is not there.

A corpus that differs is still prepared: releases differ, and part of one is enough to try things.
"""

from collections.abc import Collection
from pathlib import Path

from config.errors import UserError
from config.settings import display_path


def expect(corpus: str, what: str, expected: int, found: int) -> None:
    """Print one line if the numbers differ, as "IEMOCAP: expected 10,039 utterances, found 12"."""
    if found != expected:
        print(f"warning: {corpus}: expected {expected:,} {what}, found {found:,}")


def expect_names(corpus: str, what: str, expected: Collection[str], found: Collection[str]) -> None:
    """Print one line if the names differ: how many of each, which are missing, which unknown."""
    missing = [name for name in expected if name not in found]
    unknown = sorted(set(found) - set(expected))
    if not missing and not unknown:
        return
    differences = [
        f"{kind}: {', '.join(names[:20])}"
        for kind, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    print(
        f"warning: {corpus}: expected {len(set(expected)):,} {what}, found {len(set(found)):,} "
        f"({'; '.join(differences)})"
    )


def corpus_folder(folder: Path | None, key: str, corpus: str, source: str) -> Path:
    """The folder of a corpus, as set in [preprocessing].

    Args:
        folder: the value of the key.
        key: for example input_iemocap_folder.
        corpus: what the folder must be, in words.
        source: where to get it.

    Raises:
        UserError: the key is empty, or names no folder.
    """
    if folder is None:
        raise UserError(
            f"[preprocessing] {key} is empty: get {corpus} from {source} and put its folder there, "
            f"or pass --set {key}=FOLDER"
        )
    if not folder.is_dir():
        raise wrong_folder(folder, "there is no such folder", key, corpus, source)
    return folder


def wrong_folder(place: Path, problem: str, key: str, corpus: str, source: str) -> UserError:
    """The error for a folder that is not the corpus: what was looked for, where to get it."""
    return UserError(
        f"{display_path(place)}: {problem}; [preprocessing] {key} must be {corpus}, from {source}"
    )
