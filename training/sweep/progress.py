"""How far a sweep is: one bar over all runs with the time left; in a log, a line for each run."""

import logging
import sys
from contextlib import AbstractContextManager, redirect_stdout
from typing import Self, TextIO, cast

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from config.log import logger
from config.progress import on_terminal
from training.engine.distributed import shows_progress

# At most 80 columns, of which some 35 are left to the numbers.
BAR_FORMAT = "runs {n_fmt}/{total_fmt} |{bar:20}| {desc}"


class Progress:
    """A line at the bottom of the terminal; in a log, what it would say after each run.

    Args:
        total: runs, those that are finished included.
        done: runs that are finished.
    """

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done, self._failed = total, done, 0
        self._seconds: list[float] = []
        self._time_left = "?"
        self._is_log = not on_terminal()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=self._words,
            bar_format=BAR_FORMAT,
            disable=self._is_log or not shows_progress(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def say(self, line: str, is_error: bool = False) -> None:
        """Print a line above the bar."""
        with tqdm.external_write_mode():
            logger.log(logging.ERROR if is_error else logging.INFO, line)

    def end_run(self, line: str, seconds: float, num_running: int) -> None:
        """Count a run that is finished.

        Args:
            line: what to say of it.
            seconds: that it took; 0: another process had finished it.
            num_running: runs that were at work at a time, this one included.
        """
        self._done += 1
        if seconds > 0:
            self._seconds.append(seconds)
        num_left = self._total - self._done - self._failed
        left = time_left(self._seconds, num_left, num_running)
        self._time_left = "?" if left is None else tqdm.format_interval(left)
        self.say(
            f"{self._done}/{self._total} done, {self._words}: {line}" if self._is_log else line
        )
        self._bar.n = self._done
        self._bar.set_description_str(self._words)

    def fail_run(self, line: str) -> None:
        """Count a run that has failed."""
        self._failed += 1
        self.say(line, is_error=True)
        self._bar.set_description_str(self._words)

    @property
    def _words(self) -> str:
        return f"{self._time_left} left" + (f", {self._failed} failed" if self._failed else "")


def time_left(seconds: list[float], num_left: int, num_running: int) -> float | None:
    """Return the seconds until so many runs are done, by what others took; None: unknown."""
    if not num_left:
        return 0.0
    if not seconds:
        return None
    return -(-num_left // num_running) * sum(seconds) / len(seconds)


class _AboveBars(DummyTqdmFile):
    """Writes whole lines where tqdm knows that bars stand below: to what sys.stdout was."""

    def write(self, text: str, nolock: bool = False) -> None:
        with redirect_stdout(self._wrapped):
            super().write(text, nolock)


def above_bars() -> AbstractContextManager[TextIO]:
    """Return a block in which what is printed stands above all bars."""
    return redirect_stdout(cast(TextIO, _AboveBars(sys.stdout)))
