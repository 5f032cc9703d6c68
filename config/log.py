"""What a command says: on the terminal as it stands, and in a log file beside what it writes.

All of it is said through `logger`: errors appear on stderr, everything else on stdout. Only how far
work is (progress bars) is shown without being logged, and a command that only shows something
(--list, --check, --help) keeps no log file.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TIME_FORMAT = "%Y-%m-%d %H:%M:%S%z"


class _Terminal(logging.Handler):
    """Prints each message as it is, to what sys.stdout and sys.stderr are at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it; an error of the terminal, as of a pipe that nobody reads, ends the command."""
        is_error = record.levelno >= logging.ERROR
        print(record.getMessage(), file=sys.stderr if is_error else sys.stdout, flush=True)


class CommandLog(logging.Handler):
    """The log file of the command that runs in this process, if it keeps one.

    Lines wait until the command has said where it writes, and has made that folder; where it never
    does, there is no log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._in_command = False
        self._path: Path | None = None
        self._lines: list[str] = []

    @contextmanager
    def of_command(self) -> Iterator[None]:
        """Enter the block of a command, with which its log ends; a traceback is noted in it."""
        self._in_command, self._path, self._lines = True, None, []
        try:
            yield
        except Exception:
            self._note(logging.ERROR, traceback.format_exc())
            raise
        finally:
            self._append()
            self._in_command = False

    def begin(self, path: Path, first_line: str) -> None:
        """Append what the command says to a file, after a first line that the terminal lacks.

        Nothing to do where no command runs: who calls its functions gets no files for it.
        """
        said, self._lines, self._path = self._lines, [], path
        if logger.isEnabledFor(logging.INFO):
            self._note(logging.INFO, first_line)
        self._lines += said

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, each of its lines with time, level and process."""
        if not self._in_command:
            return
        time = logging.Formatter().formatTime(record, TIME_FORMAT)
        start = f"{time} {record.levelname} {record.process}"
        self._lines += [f"{start} {line}" for line in record.getMessage().splitlines() if line]
        self._append()

    def _note(self, level: int, text: str) -> None:
        """Write what the terminal does not show, or has from Python."""
        self.handle(logging.LogRecord(logger.name, level, "", 0, text, None, None))

    def _append(self) -> None:
        """Write the lines that wait, if their folder is there; without them the work goes on."""
        if self._path is None or not self._lines:
            return
        try:
            if not self._path.parent.is_dir():
                return
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write("\n".join(self._lines) + "\n")
        except OSError as error:
            path, self._path = self._path, None
            logger.warning(f"warning: {path}: cannot be written: {error.strerror}")
        self._lines = []


logger = logging.getLogger("anti_transfer")
logger.setLevel(logging.INFO)
# What a notebook or a library does with the root logger must not say it twice.
logger.propagate = False
command_log = CommandLog()
# First the file: a terminal that is gone ends the command, and the log is to say how.
logger.handlers = [command_log, _Terminal()]
