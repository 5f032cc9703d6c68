"""How far long work is: a bar on a terminal; in a log, a line now and then."""

import os
import sys
import time
from typing import Self

from tqdm import tqdm

# What matters comes first: a narrow terminal cuts the end off.
BAR_FORMAT = "{unit} {n_fmt}/{total_fmt}, {remaining} left{postfix}: {desc} |{bar}|"
LOG_SECONDS = 30.0


def on_terminal() -> bool:
    """Tell whether bars can be shown: a terminal is there, and can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class ProgressBar:
    """Shows on stderr how many units are done, how long the others take, and what came out so far.

    Args:
        unit: what is counted, in the singular.
        done: units that were done before.
        is_shown: False: nothing is.
    """

    def __init__(
        self, total: int, title: str, unit: str, done: int = 0, is_shown: bool = True
    ) -> None:
        self._total, self._title, self._unit = total, title, unit
        self._done = self._done_before = done
        self._began = self._said = time.monotonic()
        self._logs = is_shown and not on_terminal()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=title,
            unit=unit,
            bar_format=BAR_FORMAT,
            mininterval=0.5,
            leave=None,  # on the terminal in the end, unless it is below another
            disable=self._logs or not is_shown,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def advance(self, number: int = 1, note: str = "") -> None:
        """Count what is done, with what is to be seen of it."""
        self._done += number
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(number)
        now = time.monotonic()
        if self._logs and now - self._said >= LOG_SECONDS:
            self._said = now
            seconds = (now - self._began) / (self._done - self._done_before)
            left = tqdm.format_interval(seconds * (self._total - self._done))
            line = f"{self._unit} {self._done}/{self._total}, {left} left"
            print(", ".join(filter(None, [line, note])) + f": {self._title}", file=sys.stderr)
