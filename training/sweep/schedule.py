"""Which run is next, what becomes of its result, and the tables of all.

Who executes runs is the launcher's matter; the results folder tells every process what is done.
"""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

from config.advice import run_again
from config.command_line import EXIT_FAILED_RUNS
from config.errors import UserError
from config.experiments import Experiment
from config.files import Identity, identity_of, locked, remove_partial_files, write_json, write_text
from config.log import logger
from config.settings import Cluster
from config.text import counted
from training.engine.distributed import is_distributed, is_main, join_processes, leave_processes
from training.results.dictionary import InstanceFiles, has_copies, write_copies
from training.results.loading import read_result
from training.results.runs_table import RUNS_TABLE, update_runs_table
from training.results.spreadsheet import is_outdated, update_spreadsheet
from training.sweep.execute import RunResult, RunTask, attempt, reason_of, tidy
from training.sweep.input_cache import InputCache
from training.sweep.launchers import LAUNCHERS, Launcher
from training.sweep.progress import Progress
from training.sweep.runs import Run, dependencies, runs_of
from training.sweep.search import trials_of
from training.sweep.status import Status, refuse_unfit, status_of

POLL_SECONDS = 2.0
# Spreadsheets and the table of all runs are written at most so often, and in the end; of thousands
# of runs less often, so that they take no more than a fiftieth of the time.
TABLE_SECONDS = 20.0
TABLE_SHARE = 1 / 50


def run_sweep(
    runs: Sequence[Run],
    gpus: Sequence[int],
    cluster: Cluster,
    overwrite: bool,
    inputs: InputCache,
) -> int:
    """Run what is not finished, where [cluster] says; return the exit code.

    Args:
        gpus: of this machine, a run on each at a time; CPU: its cores. On a Ray cluster, which
            gives each run a GPU of its own choice, only whether it is the CPU counts.

    Raises:
        UserError: there is no such GPU or cluster, a result was made with other parameters, or
            what executes the runs is lost.
    """
    replaced = {run: identity_of(run.files.json_path) for run in runs} if overwrite else {}
    todo = find_unfinished(runs, replaced, inputs) if is_main() else []
    if is_distributed():
        return _run_together(runs, todo, gpus, cluster, inputs)
    launcher = LAUNCHERS[cluster.launcher](gpus, cluster, runs, inputs)
    return execute_all(runs, todo, launcher, inputs)


def _run_together(
    runs: Sequence[Run],
    todo: Sequence[RunTask],
    gpus: Sequence[int],
    cluster: Cluster,
    inputs: InputCache,
) -> int:
    """Run in each of several processes, which train every run together."""
    if cluster.launcher != "local":
        raise UserError(
            f"[cluster] launcher = {cluster.launcher}: runs that several processes train together "
            "are launched by torchrun or accelerate alone"
        )
    from training.sweep.run_context import RunContext
    from training.sweep.torchrun import LeadingLauncher, follow

    context = RunContext(join_processes(gpus), inputs)
    code = 0
    if is_main():
        code = execute_all(runs, todo, LeadingLauncher(runs, context), inputs)
    else:
        follow(runs, context)
    leave_processes()
    return code


def find_unfinished(
    runs: Sequence[Run], replaced: Mapping[Run, Identity | None], inputs: InputCache
) -> list[RunTask]:
    """Return tasks for the runs without a result, or with one that is to be replaced.

    Of what a finished run left, copies of its JSON file are written again if they are lost.

    Raises:
        UserError: a result is there that is damaged, or was made with other parameters or inputs.
    """
    # Before the results are read: one that another process writes meanwhile is not replaced.
    identities = {run: identity_of(run.files.json_path) for run in runs}
    statuses = {run: status_of(run, inputs) for run in runs if run not in replaced}
    refuse_unfit(statuses)
    tasks = []
    for run in runs:
        if run in replaced:
            tasks.append(RunTask(run, replaced[run]))
        elif not statuses[run].is_finished:
            for name in statuses[run].lost:
                logger.info(f"{name}: is missing or cut off, so {run.title} runs again")
            tasks.append(RunTask(run, identities[run]))
        elif not has_copies(run.files):
            write_copies(run.files, read_result(run.files.json_path))
            logger.info(
                f"{run.title}: what was lost of its result is written again from its JSON file"
            )
    _tell_lost_predictions(statuses)
    return tasks


def _tell_lost_predictions(statuses: Mapping[Run, Status]) -> None:
    """Say of which finished runs the predictions are lost; older versions wrote none."""
    lost: dict[int, list[Run]] = {}
    for run, status in statuses.items():
        has_them = status.result is not None and "test_groups" in status.result["0"]
        if status.is_finished and has_them and not run.files.predictions.exists():
            lost.setdefault(run.experiment.id, []).append(run)
    for experiment, runs in lost.items():
        command = run_again(experiment, [run.instance.number for run in runs], "--overwrite")
        logger.info(
            f"experiment {experiment}: the predictions of {counted(len(runs), 'finished run')} are "
            f"lost ({runs[0].files.predictions.name}); only training makes them again: {command}"
        )


def execute_all(
    runs: Sequence[Run], todo: Sequence[RunTask], launcher: Launcher, inputs: InputCache
) -> int:
    """Execute tasks with a launcher; return the exit code.

    What another process is running is left to it and waited for; if that process ends without a
    result, this one takes over.

    Args:
        runs: that were asked for, those that are finished included.
    """
    num_done = len(runs) - len(todo)
    are = "is" if len(runs) == 1 else "are"
    logger.info(
        f"{num_done} of {counted(len(runs), 'instance')} {are} finished, {len(todo)} to run"
    )
    _remove_leftovers(runs)
    with Progress(len(runs), num_done) as progress:
        sweep = Sweep(todo, launcher, progress, inputs)
        try:
            sweep.work()
        finally:
            launcher.close()
            sweep.complete_tables(runs)
    if sweep.num_failed:
        logger.error(f"{sweep.num_failed} of {counted(len(runs), 'instance')} failed")
    return EXIT_FAILED_RUNS if sweep.num_failed else 0


@dataclass(eq=False)
class PendingRun:
    """A run on its way.

    Attributes:
        sources: experiments that it starts from; it waits for all runs of them. One that a search
            chooses the settings of waits for all trials, too.
        rests_until: when it is tried again, because another process was at it.
    """

    task: RunTask
    sources: set[int]
    rests_until: float = 0.0
    was_announced: bool = False

    @property
    def experiment(self) -> int:
        """Its experiment's ID."""
        return self.task.run.experiment.id


class Sweep:
    """Runs that are not finished, and the launcher that executes them."""

    def __init__(
        self, todo: Sequence[RunTask], launcher: Launcher, progress: Progress, inputs: InputCache
    ) -> None:
        sources = {task.run.experiment.id: dependencies(task.run.experiment) for task in todo}
        self.num_failed = 0
        self._waiting = [PendingRun(task, sources[task.run.experiment.id]) for task in todo]
        self._running: dict[Future[RunResult], PendingRun] = {}
        self._launcher = launcher
        self._progress = progress
        self._inputs = inputs
        # When a spreadsheet, or the table of a results folder, may be written again.
        self._due_at: dict[Path, float] = {}
        # Spreadsheets without the last results.
        self._incomplete: set[Path] = set()

    def work(self) -> None:
        """Execute all of them.

        Raises:
            UserError: what executes them is lost.
        """
        while self._waiting or self._running:
            self._launcher.check()
            while len(self._running) < self._launcher.num_slots and (pending := self._next()):
                self._waiting.remove(pending)
                self._running[self._launcher.submit(pending.task)] = pending
            if not self._running:
                time.sleep(POLL_SECONDS)
                continue
            ended, _ = wait(self._running, POLL_SECONDS, FIRST_COMPLETED)
            for future in ended:
                num_running = len(self._running)
                pending = self._running.pop(future)
                self._take(pending, future, num_running)
                if pending.task.run.is_trial:
                    self._end_search(pending.task.run.experiment)

    def _next(self) -> PendingRun | None:
        """Return the first that waits for no other, if there is one."""
        active = (*self._waiting, *self._running.values())
        unfinished = {each.experiment for each in active}
        searching = {each.experiment for each in active if each.task.run.is_trial}
        now = time.monotonic()
        for pending in self._waiting:
            is_early = pending.task.run.is_chosen and pending.experiment in searching
            if pending.rests_until <= now and not pending.sources & unfinished and not is_early:
                return pending
        return None

    def _take(self, pending: PendingRun, future: "Future[RunResult]", num_running: int) -> None:
        """Note what a task led to."""
        run, error = pending.task.run, future.exception()
        if isinstance(error, UserError):  # of what all runs need, as locks
            raise error
        if error is not None:
            raise UserError(
                f"{run.title}: what executed it is lost: {reason_of(error)}; the same command goes "
                "on from there"
            )
        result = future.result()
        if result.is_busy:
            if not pending.was_announced:
                self._progress.say(f"{run.title}: another process is running it")
            pending.was_announced = True
            pending.rests_until = time.monotonic() + POLL_SECONDS
            self._waiting.append(pending)
            return
        if result.text:
            self._progress.say(result.text)
        if result.failure:
            self.num_failed += 1
            self._progress.fail_run(f"failed: {result.failure}")
            self._note(run.title, lambda: write_json(run.files.failure, {"failed": result.failure}))
            return
        run.files.failure.unlink(missing_ok=True)
        tidy(run.files)
        place = "" if result.host == socket.gethostname() else f" on {result.host}"
        took = f"{result.seconds:.0f} s{place}" if result.seconds > 0 else "by another process"
        self._progress.end_run(f"{run.title} ({took})", result.seconds, num_running)
        self._incomplete.add(run.files.spreadsheet)
        if time.monotonic() >= self._due_at.get(run.files.spreadsheet, 0.0):
            self._write_spreadsheet(run)
        if time.monotonic() >= self._due_at.get(run.files.results_folder, 0.0):
            self._write_runs_table(run.files.results_folder)

    def _end_search(self, experiment: Experiment) -> None:
        """Say which trial is best once the last has ended, and which results are of another one."""
        active = (*self._waiting, *self._running.values())
        if any(each.task.run.is_trial and each.experiment == experiment.id for each in active):
            return

        def say() -> None:
            trials = trials_of(experiment, self._inputs.results)
            # Others were not asked for; if all failed, the runs that wait for the choice say so.
            if trials.has_best:
                self._progress.say(trials.describe_best())
                chosen = [run for run in runs_of(experiment) if run.is_chosen]
                refuse_unfit({run: status_of(run, self._inputs) for run in chosen})

        self._note(f"experiment {experiment.id}", say)

    def complete_tables(self, runs: Sequence[Run]) -> None:
        """Write the spreadsheets that lack results, whoever made these, and the table of runs."""
        for run in {run.files.spreadsheet: run for run in runs}.values():
            if (
                run.files.spreadsheet in self._incomplete
                or is_outdated(run.files.spreadsheet, _files_of_all(run))
                or (run.files.spreadsheet.exists() and not description_of(run).exists())
            ):
                self._write_spreadsheet(run)
        self._write_runs_table(runs[0].files.results_folder, is_last=True)

    def _write_runs_table(self, results_folder: Path, is_last: bool = False) -> None:
        """Write the table of all runs; say in the end what it lacks."""

        def update() -> None:
            lacking = update_runs_table(results_folder, self._inputs.results)
            if lacking and is_last:
                self._progress.say(f"warning: {lacking}")

        self._write(results_folder, RUNS_TABLE, update)

    def _write_spreadsheet(self, run: Run) -> None:
        sheet = run.files.spreadsheet
        self._incomplete.discard(sheet)
        self._write(sheet, sheet.name, lambda: self._update(run))

    def _write(self, place: Path, name: str, action: Callable[[], object]) -> None:
        begun = time.monotonic()
        self._note(name, action)
        took = time.monotonic() - begun
        self._due_at[place] = begun + max(TABLE_SECONDS, took / TABLE_SHARE)

    def _update(self, run: Run) -> None:
        description = description_of(run)
        if not description.exists():
            text = f"{run.experiment.description}\n{run.experiment.question}\n"
            write_text(description, text)
        task = run.instance.parameters["task"]
        update_spreadsheet(run.files.spreadsheet, _files_of_all(run), task, self._inputs.results)

    def _note(self, name: str, action: Callable[[], object]) -> None:
        """Do something that is said, and counts as a failure, if it goes wrong."""
        failure = attempt(name, action)
        if failure:
            self.num_failed += 1
            self._progress.say(f"failed: {failure}", is_error=True)


def description_of(run: Run) -> Path:
    """Return the file that says what a run's experiment is about."""
    return run.files.folder / "description.txt"


def _files_of_all(run: Run) -> list[InstanceFiles]:
    """Return the files of all instances of a run's experiment."""
    return [each.files for each in runs_of(run.experiment)]


def _remove_leftovers(runs: Sequence[Run]) -> None:
    """Remove what processes left that were killed, and that no run goes on from."""
    from training.sweep.instance import forget_unfinished

    for run in runs:
        if run.files.unfinished.exists() and run.files.json_path.exists():
            with locked(run.files.lock) as is_ours:
                if is_ours:
                    forget_unfinished(run.files, run.instance.settings.training_defaults.num_folds)
                    tidy(run.files)
    for folder in {run.files.folder for run in runs}:
        for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            remove_partial_files(each)
