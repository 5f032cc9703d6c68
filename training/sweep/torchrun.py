"""Several processes that train each run together, under torchrun or accelerate launch.

The main one decides what runs and writes; the others train what it names, and nothing else.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from config.errors import UserError
from training.engine.checks import TrainingError
from training.engine.distributed import broadcast
from training.sweep.execute import RunResult, RunTask
from training.sweep.launchers import Launcher, train_run
from training.sweep.runs import Run
from training.sweep.search import with_chosen_settings

if TYPE_CHECKING:
    from training.sweep.run_context import RunContext


class LeadingLauncher(Launcher):
    """Executes each run while it is submitted, in this process and those that follow it."""

    def __init__(self, runs: Sequence[Run], context: "RunContext") -> None:
        super().__init__(context)
        self._runs = list(runs)
        self._others_wait = True

    def submit(self, task: RunTask) -> "Future[RunResult]":
        """Begin a task; of errors that the others may not share, all processes end."""
        future = super().submit(task)
        if not self._others_wait:
            raise UserError(f"{future.result().failure}; all processes that trained it end here")
        return future

    def _train(self, run: Run) -> None:
        with_chosen_settings(run, self._context.inputs.results)  # fails while the others wait
        broadcast(self._runs.index(run))
        self._others_wait = False
        try:
            super()._train(run)
        except TrainingError:  # of metrics that are the same everywhere
            self._others_wait = True
            raise
        self._others_wait = True

    def close(self) -> None:
        """Let the others go, unless they are in the middle of a run."""
        if self._others_wait:
            broadcast(None)


def follow(runs: Sequence[Run], context: "RunContext") -> None:
    """Train the runs that the main process names by their index, until it names no more."""
    number: int | None = broadcast(None)
    while number is not None:
        with suppress(TrainingError):  # the main process says it
            train_run(runs[number], context)
        number = broadcast(None)
