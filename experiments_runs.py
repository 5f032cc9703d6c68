"""Instances are run one after the other, each by one process of all that may be running them.

What fails is noted, and does not stop the others.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from config.command_line import EXIT_FAILED_RUNS
from config.errors import UserError
from config.files import remove_partial_files, write_json
from config.locks import locked, waited_for
from config.settings import display_path, printable
from experiments_inputs import sources_of
from training.results import InstanceFiles, ResultReader, differences
from training.runs import Run, files_of

# Writing a spreadsheet may take this part of the time that its instances take.
SPREADSHEET_SHARE = 0.01
POLL_SECONDS = 2.0


def run_all(runs: Sequence[Run], gpu: int, overwrite: bool, reader: ResultReader) -> int:
    """Run what is not finished; returns the exit code.

    What another process is running is left to it and waited for; if that process ends without a
    result, this one takes over.
    """
    from training.devices import choose_device
    from training.instance import Workshop, input_fingerprints, run_instance

    workshop = Workshop(device=choose_device(gpu), results=reader)
    _clear_away(runs)
    todo = runs
    if not overwrite:
        todo = _unfinished(runs, reader, lambda run: input_fingerprints(run.instance, workshop))
    print(f"{len(runs) - len(todo)} of {len(runs)} instances are finished, {len(todo)} to run")
    spreadsheets = Spreadsheets(reader)
    failures: list[str] = []
    started = time.time_ns()

    def carry_out(run: Run) -> None:
        is_new = _time_of(run.files.twin) >= started if overwrite else run.files.twin.exists()
        if not is_new:  # else another process has finished it in the meantime
            run_instance(run.instance, run.files, workshop, run.title)
            run.files.failure.unlink(missing_ok=True)
            spreadsheets.add(run)

    try:
        for run in _as_they_are_free(todo):
            reasons = _attempt(run.title, partial(carry_out, run))
            failures += reasons
            if reasons:
                _attempt(run.title, partial(write_json, run.files.failure, {"failed": reasons[0]}))
    finally:
        for run in spreadsheets.outdated(runs):
            failures += _attempt(run.files.spreadsheet.name, partial(spreadsheets.write, run))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return EXIT_FAILED_RUNS if failures else 0


def _clear_away(runs: Sequence[Run]) -> None:
    """Remove what processes left that were killed, and that no run goes on from."""
    from training.instance import forget_unfinished

    for run in runs:
        if not run.files.unfinished.exists() or not run.files.twin.exists():
            continue
        with locked(run.files.lock) as is_ours:
            if is_ours:
                forget_unfinished(run.files, run.instance.settings.training_defaults.num_folds)
                _tidy(run.files)
    caches = {run.instance.settings.results.cache_folder for run in runs}
    for folder in {run.files.folder for run in runs} | caches:
        for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            remove_partial_files(each)


def _as_they_are_free(todo: Sequence[Run]) -> Iterator[Run]:
    """Each run once, locked while it is worked on, and after all that it starts from."""
    waiting = list(todo)
    announced: set[str] = set()
    while waiting:
        num_waiting = len(waiting)
        for run in list(waiting):
            others = {each.experiment.id for each in waiting} - {run.experiment.id}
            if sources_of(run.experiment) & others:
                continue
            with locked(run.files.lock) as is_ours:
                if is_ours:
                    yield run
                    waiting.remove(run)
                    _tidy(run.files)
                elif run.title not in announced:
                    announced.add(run.title)
                    print(f"{run.title}: another process is running it")
        if len(waiting) == num_waiting:
            time.sleep(POLL_SECONDS)


def _tidy(files: InstanceFiles) -> None:
    """Remove what only unfinished instances need; a process that waits looks for the result."""
    if files.twin.exists():
        files.lock.unlink(missing_ok=True)
        with suppress(OSError):  # others of the experiment are unfinished
            files.unfinished.rmdir()


def _attempt(name: str, action: Callable[[], None]) -> list[str]:
    """Do something that others must not suffer from; returns what went wrong, if anything did."""
    try:
        action()
    except Exception as error:  # whatever it is, the next instance goes on
        failure = f"{name}: {_reason(error)}"
        print(f"failed: {failure}", file=sys.stderr)
        return [failure]
    return []


def _reason(error: Exception) -> str:
    text = printable(" ".join(str(error).split()))
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _unfinished(
    runs: Sequence[Run], reader: ResultReader, inputs_of: Callable[[Run], Mapping[str, str]]
) -> list[Run]:
    """Runs without a result.

    Raises:
        UserError: a result is there that was made with other parameters.
    """
    todo = []
    for run in runs:
        result = reader.find(run.files.twin)
        if result is None:
            todo.append(run)
            continue
        different = differences(result, run.instance.parameters, inputs_of(run))
        if different:
            raise UserError(
                f"{display_path(run.files.twin)}: was made otherwise ({'; '.join(different)}); "
                "--overwrite runs it again, --set results_folder=FOLDER keeps both"
            )
    return todo


class Spreadsheets:
    """Keeps the spreadsheets of the experiments that run, at little cost however many they hold.

    One that takes long to write is left for later: what is outdated must be written in the end.
    """

    def __init__(self, reader: ResultReader) -> None:
        self._reader = reader
        self._rests_until: dict[Path, float] = {}

    def add(self, run: Run) -> None:
        """Note that an instance is finished."""
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
            if max(_time_of(files.twin) for files in _files_of_all(run))
            > _time_of(run.files.spreadsheet)
        ]

    def write(self, run: Run) -> None:
        """Write the spreadsheet of a run's experiment, with all results that there are now."""
        from config.files import write_text
        from training.spreadsheet import write_spreadsheet

        # First, for a spreadsheet that is up to date says that there is nothing left to write.
        description = run.files.folder / "description.txt"
        if not description.exists():
            text = f"{run.experiment.description}\n{run.experiment.question}\n"
            write_text(description, text)
        with waited_for(run.files.spreadsheet.with_name(f".{run.files.spreadsheet.stem}.lock")):
            found = [(self._reader.find(files.twin), files) for files in _files_of_all(run)]
            rows = [(result, files.parameters) for result, files in found if result is not None]
            write_spreadsheet(run.files.spreadsheet, rows, run.instance.parameters["task"])


def _files_of_all(run: Run) -> list[InstanceFiles]:
    """Of all instances of a run's experiment."""
    return [files_of(run.experiment, instance) for instance in run.experiment.instances]


def _time_of(path: Path) -> int:
    """When a file was written, in ns; -1 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return -1
