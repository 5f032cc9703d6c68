"""Words for people: names as they would type them, on one line, with the nearest valid one."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
# Tabs separate words like spaces. Surrogates stand for bytes that are no UTF-8 text.
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line, control characters escaped."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def hint(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?', or what there is to choose from."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name.lower(), names, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; allowed: {', '.join(names)}" if len(names) <= 16 else ""


def display_path(path: Path) -> str:
    """The path as a person would type it in the project's folder."""
    try:
        return str(path.resolve().relative_to(PROJECT_FOLDER))
    except (ValueError, RuntimeError):  # elsewhere; a NUL in it; a loop of symbolic links
        return str(path)
