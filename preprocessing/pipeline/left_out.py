"""What cannot be used: listed in a file, counted by reason, and no more of it than is allowed."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from config.errors import UserError
from config.settings import Settings
from config.text import counted, display_path, plural
from preprocessing.pipeline.tables import write_rows

# The list in a folder of generated audio, and its columns.
LEFT_OUT = "left_out.csv"
LISTED = ("files", "reason")


class Unusable(NamedTuple):
    """What cannot be used of the things of one kind.

    what: one of them in words.
    reasons: (thing, reason) of each that cannot.
    total: all of that kind.
    """

    what: str
    reasons: Sequence[tuple[object, str]]
    total: int

    @property
    def by_reason(self) -> str:
        """How many there are for each reason."""
        kinds = Counter(reason.partition(":")[0] for _, reason in self.reasons)
        return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def note_left_out(folder: Path, kinds: Sequence[Unusable], settings: Settings) -> str:
    """Write the list of what is left out; return it in words, as left_out_in_words.

    Raises:
        UserError: as refuse_many_left_out.
    """
    path = folder / LEFT_OUT
    rows = [{"files": name, "reason": reason} for kind in kinds for name, reason in kind.reasons]
    write_rows(path, rows, LISTED)
    for kind in kinds:
        refuse_many_left_out(kind, path, settings)
    return left_out_in_words(kinds, path)


def left_out_in_words(kinds: Sequence[Unusable], path: Path) -> str:
    """Return what is left out, counted by reason, and where it is listed; "" if nothing is."""
    parts = [
        f"{counted(len(kind.reasons), kind.what)} ({kind.by_reason})"
        for kind in kinds
        if kind.reasons
    ]
    return f"; left out: {', '.join(parts)}, listed in {display_path(path)}" if parts else ""


def refuse_many_left_out(unusable: Unusable, path: Path, settings: Settings) -> None:
    """Make sure that no more than max_skipped_fraction is left out.

    Args:
        path: the list of what is.

    Raises:
        UserError: it is more.
    """
    number, total = len(unusable.reasons), unusable.total
    allowed = settings.preprocessing.max_skipped_fraction
    if number > allowed * total:
        needed = math.ceil(1000 * number / total) / 1000
        raise UserError(
            f"{number} of {total} {plural(unusable.what)} cannot be used ({unusable.by_reason}), "
            f"more than max_skipped_fraction = {allowed:g} allows; see {display_path(path)}, mend "
            f"the corpus or pass --set max_skipped_fraction={needed:g}"
        )
