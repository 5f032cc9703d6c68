"""Which run is next, what becomes of those that fail or are lost, and the spreadsheets of all.

Who carries runs out is the launcher's matter; the results folder tells every process what is done.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from config.command_line import EXIT_FAILED_RUNS
from config.errors import UserError
from config.files import Identity, identity_of, remove_partial_files, write_json
from config.locks import locked
from config.sections import Cluster
from config.settings import display_path
from config.words import CPU
from training.engine.distributed import is_distributed, is_main, join_processes, leave_processes
from training.results.best_run import files_of_best_run
from training.results.dictionary import differences
from training.results.loading import ResultReader
from training.sweep.inputs import sources_of
from training.sweep.progress import View
from training.sweep.runs import Run
from training.sweep.spreadsheets import Spreadsheets
from training.sweep.task import Order, Outcome, attempt, reason_of, tidy

if TYPE_CHECKING:
    from training.sweep.instance import Workshop
    from training.sweep.launchers import Launcher

POLL_SECONDS = 2.0
# How often a run is begun again whose process, node or cluster was lost.
MAX_LOSSES = 3
# The results that a command replaces, as they were when it began.
Stale = Mapping[Path, Identity | None]


def launch(
    runs: Sequence[Run],
    gpus: Sequence[int],
    cluster: Cluster,
    overwrite: bool,
    reader: ResultReader,
) -> int:
    """Run what is not finished, where [cluster] says; returns the exit code.

    Args:
        gpus: of this machine, a run on each at a time; CPU: its cores. On a Ray cluster, which
            gives each run a GPU of its own choice, only whether it is the CPU counts.

    Raises:
        UserError: there is no such GPU, or no such cluster.
    """
    stale = (
        {run.files.json_path: identity_of(run.files.json_path) for run in runs} if overwrite else {}
    )
    if is_distributed():
        return _launch_together(runs, gpus, cluster, stale, reader)
    if cluster.launcher == "ray":
        from training.sweep.supervision import supervised

        return supervised(run_on_cluster, (runs, CPU in gpus, cluster, stale))
    from training.engine.devices import choose_device
    from training.sweep.instance import Workshop
    from training.sweep.launchers import InlineLauncher, ProcessLauncher, slots_of

    devices = [choose_device(gpu) for gpu in gpus]
    workshop = Workshop(device=devices[0], results=reader)
    if len(slots_of(gpus, cluster)) == 1:
        return run_all(runs, InlineLauncher(workshop), stale, reader, workshop)
    return run_all(runs, ProcessLauncher(gpus, cluster), stale, reader, workshop)


def _launch_together(
    runs: Sequence[Run],
    gpus: Sequence[int],
    cluster: Cluster,
    stale: Stale,
    reader: ResultReader,
) -> int:
    """In each of several processes, which train every run together."""
    if cluster.launcher != "local":
        raise UserError(
            f"[cluster] launcher = {cluster.launcher}: runs that several processes train together "
            "are launched by torchrun or accelerate alone"
        )
    from training.sweep.instance import Workshop
    from training.sweep.together import LeadingLauncher, follow

    workshop = Workshop(device=join_processes(gpus), results=reader)
    if is_main():
        code = run_all(runs, LeadingLauncher(runs, workshop), stale, reader, workshop)
    else:
        code = follow(runs, workshop)
    leave_processes()
    return code


def run_on_cluster(
    has_joined: Callable[[], None],
    runs: Sequence[Run],
    on_cpu: bool,
    cluster: Cluster,
    stale: Stale,
) -> int:
    """The work of the process that talks to a Ray cluster; returns the exit code.

    Args:
        has_joined: to be called when the cluster is joined.
        stale: what is replaced; what took its place before a cluster was lost is not.
    """
    import torch

    from config.cluster import joined
    from training.sweep.instance import Workshop
    from training.sweep.ray_launcher import RayLauncher

    reader = ResultReader()
    workshop = Workshop(device=torch.device("cpu"), results=reader)
    with joined(cluster) as ray:
        has_joined()
        launcher = RayLauncher(ray, cluster, on_cpu, runs[0].files.results_folder)
        return run_all(runs, launcher, stale, reader, workshop)


def run_all(
    runs: Sequence[Run],
    launcher: "Launcher",
    stale: Stale,
    reader: ResultReader,
    workshop: "Workshop",
) -> int:
    """Run what is not finished; returns the exit code.

    What another process is running is left to it and waited for; if that process ends without a
    result, this one takes over.

    Args:
        stale: results to be replaced.
        workshop: what shows which data and networks there are now.
    """
    from training.sweep.instance import input_fingerprints

    _clear_away(runs)
    todo = _unfinished(runs, stale, reader, lambda run: input_fingerprints(run.instance, workshop))
    print(f"{len(runs) - len(todo)} of {len(runs)} instances are finished, {len(todo)} to run")
    spreadsheets = Spreadsheets(reader)
    sweep = Sweep(todo, launcher, reader, spreadsheets, stale)
    try:
        sweep.work(len(runs))
    finally:
        launcher.close()
        for run in spreadsheets.outdated(runs):
            sweep.note(attempt(run.files.spreadsheet.name, partial(spreadsheets.write, run)))
    for failure in sweep.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return EXIT_FAILED_RUNS if sweep.failures else 0


@dataclass
class _Turn:
    """A run on its way.

    Attributes:
        stale: the result that it replaces.
        losses: how often its process, node or cluster was lost.
        rests_until: when it is tried again, because another process was at it.
    """

    run: Run
    stale: Identity | None
    losses: int = 0
    rests_until: float = 0.0
    was_announced: bool = False


@dataclass
class Sweep:
    """Runs that are not finished, and the launcher that carries them out."""

    todo: Sequence[Run]
    launcher: "Launcher"
    reader: ResultReader
    spreadsheets: Spreadsheets
    stale: Stale = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._waiting = [_Turn(run, self.stale.get(run.files.json_path)) for run in self.todo]
        self._running: dict[Future[Outcome], _Turn] = {}
        experiments = {run.experiment.id: run.experiment for run in self.todo}
        self._sources = {each: sources_of(experiments[each]) for each in experiments}
        self._view: View | None = None
        self._has_room = True

    def work(self, total: int) -> None:
        """Carry all of them out.

        Args:
            total: runs that were asked for, those that are finished included.
        """
        if not self.launcher.is_elsewhere:
            self._work()
            return
        with View(total, total - len(self._waiting)) as self._view:
            self._work()

    def note(self, failure: str) -> None:
        """Something failed, unless it is ""; it is said now, and once more at the end."""
        if failure:
            self.failures.append(failure)
            self._say(f"failed: {failure}", is_error=True)

    def _work(self) -> None:
        while self._waiting or self._running:
            num_slots = self.launcher.num_slots
            while len(self._running) < num_slots and (turn := self._next_turn()):
                self._waiting.remove(turn)
                self._running[self.launcher.submit(self._order(turn))] = turn
            self._show(num_slots)
            if not self._running:
                time.sleep(POLL_SECONDS)
                continue
            ended, _ = wait(self._running, POLL_SECONDS, FIRST_COMPLETED)
            for future in ended:
                self._end(future, self._running.pop(future))
        self._show(self.launcher.num_slots)

    def _show(self, num_slots: int) -> None:
        if self._has_room and self._waiting and not num_slots:
            self._say(
                "no node of the cluster has what a run takes ([cluster] gpus_per_run, "
                "cpus_per_run); the runs wait until one joins; GPU -1 runs them on cores alone"
            )
        self._has_room = num_slots > 0
        if self._view:
            self._view.show(len(self._running), num_slots)

    def _next_turn(self) -> _Turn | None:
        """The first that waits for no other, if there is one."""
        unfinished = {turn.run.experiment.id for turn in (*self._waiting, *self._running.values())}
        now = time.monotonic()
        for turn in self._waiting:
            own = turn.run.experiment.id
            if turn.rests_until <= now and not self._sources[own] & (unfinished - {own}):
                return turn
        return None

    def _order(self, turn: _Turn) -> Order:
        settings, source = turn.run.instance.settings, None
        if settings.training_defaults.source_experiment is not None:
            with suppress(UserError):  # the run itself says so
                source = files_of_best_run(settings, self.reader)
        return Order(turn.run, turn.stale, source)

    def _end(self, future: "Future[Outcome]", turn: _Turn) -> None:
        run = turn.run
        try:
            outcome = future.result()
        except self.launcher.losses as error:
            if turn.losses < MAX_LOSSES:
                turn.losses += 1
                self._say(f"{run.title}: lost, begins again: {reason_of(error)}")
                self._waiting.insert(0, turn)
                return
            outcome = Outcome(f"{run.title}: lost {turn.losses + 1} times: {reason_of(error)}")
        except Exception as error:  # whatever it is, the other runs go on
            outcome = Outcome(f"{run.title}: {reason_of(error)}")
        if outcome.is_busy:
            self._rest(turn)
            return
        self._take(run, outcome)

    def _rest(self, turn: _Turn) -> None:
        if not turn.was_announced:
            self._say(f"{turn.run.title}: another process is running it")
        turn.was_announced = True
        turn.rests_until = time.monotonic() + POLL_SECONDS
        self._waiting.append(turn)

    def _take(self, run: Run, outcome: Outcome) -> None:
        """What an order led to."""
        if outcome.text:
            self._say(outcome.text)
        self.note(outcome.failure)
        if outcome.failure:
            record = {"failed": outcome.failure}
            self.note(attempt(run.title, lambda: write_json(run.files.failure, record)))
        elif outcome.seconds > 0:
            run.files.failure.unlink(missing_ok=True)
            with suppress(OSError):  # others of the experiment are unfinished
                run.files.unfinished.rmdir()
            self.note(attempt(run.title, lambda: self.spreadsheets.add(run)))
        if self._view:
            line = "" if outcome.failure else f"done: {run.title} ({_duration(outcome)})"
            self._view.end_run(line, outcome.seconds, bool(outcome.failure))

    def _say(self, line: str, is_error: bool = False) -> None:
        if self._view:
            self._view.say(line, is_error)
        else:
            print(line, file=sys.stderr if is_error else sys.stdout)


def _duration(outcome: Outcome) -> str:
    if outcome.seconds <= 0:
        return "by another process"
    return f"{outcome.seconds:.0f} s on {outcome.host}"


def _clear_away(runs: Sequence[Run]) -> None:
    """Remove what processes left that were killed, and that no run goes on from."""
    from training.sweep.instance import forget_unfinished

    for run in runs:
        if not run.files.unfinished.exists() or not run.files.json_path.exists():
            continue
        with locked(run.files.lock) as is_ours:
            if is_ours:
                forget_unfinished(run.files, run.instance.settings.training_defaults.num_folds)
                tidy(run.files)
    caches = {run.instance.settings.results.cache_folder for run in runs}
    for folder in {run.files.folder for run in runs} | caches:
        for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            remove_partial_files(each)


def _unfinished(
    runs: Sequence[Run],
    stale: Stale,
    reader: ResultReader,
    inputs_of: Callable[[Run], Mapping[str, str]],
) -> list[Run]:
    """Runs without a result, or with one that is to be replaced.

    Raises:
        UserError: a result is there that was made with other parameters.
    """
    todo = []
    for run in runs:
        is_stale = identity_of(run.files.json_path) == stale.get(run.files.json_path)
        result = None if is_stale else reader.find(run.files.json_path)
        if result is None:
            todo.append(run)
            continue
        different = differences(result, run.instance.parameters, inputs_of(run))
        if different:
            raise UserError(
                f"{display_path(run.files.json_path)}: was made otherwise "
                f"({'; '.join(different)}); --overwrite runs it again, "
                "--set results_folder=FOLDER keeps both"
            )
    return todo
