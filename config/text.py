"""Text for people: names as they would type them, on one line, with the nearest valid one."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
LONGEST_TEXT = 200
# A spreadsheet takes a text that begins so for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """Return the text on one line, control characters escaped."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def shorten(value: object) -> str:
    """Return what others wrote (a file, a package) on one line, not endlessly long."""
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?'; empty if nothing is like it."""
    names = sorted(set(known))
    near = [
        *difflib.get_close_matches(name, names, n=1),
        *difflib.get_close_matches(name.lower(), names, n=1),
    ]
    return f"; did you mean {near[0]}?" if near else ""


def hint(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?', or what there is to choose from."""
    names = sorted(set(known))
    allowed = f"; allowed: {', '.join(names)}" if len(names) <= 16 else ""
    return nearest(name, names) or allowed


def plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def counted(number: int, noun: str) -> str:
    """Return '1 clip', '2 clips'."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def first_of(texts: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Return the first of some texts, printable, and how many more: 'a, b and 3 more'."""
    shown = separator.join(map(printable, texts[:most]))
    return f"{shown} and {len(texts) - most} more" if len(texts) > most else shown


def display_path(path: Path) -> str:
    """Return the path as a person would type it in the project's folder, on one line.

    Names that are no UTF-8 are escaped: no table, terminal or log could hold them.
    """
    resolved = path.resolve()
    inside = resolved.is_relative_to(PROJECT_FOLDER)
    return printable(str(resolved.relative_to(PROJECT_FOLDER) if inside else path))


def no_formula(text: str) -> str:
    """Return a cell for a CSV file, quoted so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines whose columns stand below each other, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
