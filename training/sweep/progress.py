"""How far a sweep is whose runs are elsewhere: done, running, waiting, failed, time left."""

import sys
from types import TracebackType
from typing import Self

from tqdm import tqdm

BAR_FORMAT = "runs |{bar:20}| {n_fmt}/{total_fmt} done{postfix}"


class View:
    """A line at the bottom of the terminal; in a log, what it would say after each run.

    Args:
        total: runs, those that are finished included.
        done: runs that are finished.
    """

    def __init__(self, total: int, done: int) -> None:
        is_log = not sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, bar_format=BAR_FORMAT, disable=is_log)
        self._total = total
        self._done = done
        self._failed = 0
        self._seconds: list[float] = []
        self._words = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def say(self, line: str, is_error: bool = False) -> None:
        """Print a line above the bar."""
        with tqdm.external_write_mode():
            print(line, file=sys.stderr if is_error else sys.stdout, flush=True)

    def end_run(self, line: str, seconds: float, has_failed: bool) -> None:
        """A run is over.

        Args:
            line: what to say of it; "": nothing more.
            seconds: that it took; 0: it was not run here.
        """
        self._failed += has_failed
        self._done += not has_failed
        if seconds > 0:
            self._seconds.append(seconds)
        if line:
            self.say(line)
        self._bar.update(not has_failed)

    def show(self, running: int, slots: int) -> None:
        """What is so now: so many are at work, of so many that could be."""
        num_left = self._total - self._done - self._failed
        left = time_left(self._seconds, num_left, slots)
        words = (
            f"{running} running, {num_left - running} waiting, {self._failed} failed, "
            f"{'?' if left is None else tqdm.format_interval(left)} left"
        )
        self._bar.set_postfix_str(words)
        if self._bar.disable and words != self._words:
            print(f"{self._done}/{self._total} done, {words}", file=sys.stderr, flush=True)
        self._words = words


def time_left(seconds: list[float], num_left: int, slots: int) -> float | None:
    """Seconds until so many runs are done, going by what others took; None: none is done yet."""
    if not num_left:
        return 0.0
    if not seconds or not slots:
        return None
    rounds = -(-num_left // slots)
    return rounds * sum(seconds) / len(seconds)
