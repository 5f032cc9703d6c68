"""The experiments' spreadsheets, which one process keeps however many carry out the runs."""

import time
from collections.abc import Sequence
from pathlib import Path

from config.locks import waited_for
from training.results.dictionary import InstanceFiles
from training.results.loading import ResultReader
from training.sweep.runs import Run, files_of

# Writing a spreadsheet may take this part of the time that its instances take.
SPREADSHEET_SHARE = 0.01


class Spreadsheets:
    """Keeps the spreadsheets of the experiments that run, at little cost however many they hold.

    One that takes long to write is left for later: what is outdated must be written in the end.
    """

    def __init__(self, reader: ResultReader) -> None:
        self._reader = reader
        self._rests_until: dict[Path, float] = {}
        # A result that comes while one is being written is older than it, and not in it.
        self._lacking: set[Path] = set()

    def add(self, run: Run) -> None:
        """Note that an instance is finished."""
        self._lacking.add(run.files.spreadsheet)
        start = time.monotonic()
        if start >= self._rests_until.get(run.files.spreadsheet, start):
            self.write(run)
            end = time.monotonic()
            self._rests_until[run.files.spreadsheet] = end + (end - start) / SPREADSHEET_SHARE

    def outdated(self, runs: Sequence[Run]) -> list[Run]:
        """A run of each experiment whose spreadsheet lacks results, whoever made them."""
        one_of_each = {run.files.spreadsheet: run for run in runs}.values()
        return [
            run
            for run in one_of_each
            if run.files.spreadsheet in self._lacking
            or max(_time_of(files.json_path) for files in _files_of_all(run))
            > _time_of(run.files.spreadsheet)
        ]

    def write(self, run: Run) -> None:
        """Write the spreadsheet of a run's experiment, with all results that there are now."""
        from config.files import write_text
        from training.results.spreadsheet import write_spreadsheet

        # First, for a spreadsheet that is up to date says that there is nothing left to write.
        description = run.files.folder / "description.txt"
        if not description.exists():
            text = f"{run.experiment.description}\n{run.experiment.question}\n"
            write_text(description, text)
        with waited_for(run.files.spreadsheet.with_name(f".{run.files.spreadsheet.stem}.lock")):
            found = [(self._reader.find(files.json_path), files) for files in _files_of_all(run)]
            rows = [(result, files.parameters) for result, files in found if result is not None]
            write_spreadsheet(run.files.spreadsheet, rows, run.instance.parameters["task"])
        self._lacking.discard(run.files.spreadsheet)


def _files_of_all(run: Run) -> list[InstanceFiles]:
    """Of all instances of a run's experiment."""
    return [files_of(run.experiment, instance) for instance in run.experiment.instances]


def _time_of(path: Path) -> int:
    """When a file was written, in ns; -1 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return -1
